"""engine and mtcnn: ONNX Runtime and torch find and say the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import SAMPLES, read_rgb, texture
from onnx import TensorProto, helper

from deepfake_detect import Detector, Options, OptionsError, WeightsError, checkpoint
from deepfake_detect.engine import Examiner, OnnxEngine, TorchEngine, choose, face_finder, pooled
from deepfake_detect.faces import sharpness
from deepfake_detect.model import pool
from deepfake_detect.mtcnn import _Sums
from deepfake_detect.training.export import golden_crops
from deepfake_detect.types import Crop, Face, Frame, Look, Softness

PORTRAIT = read_rgb(SAMPLES / "portrait_genuine.jpg")


def small(height: int, width: int) -> np.ndarray:
    return cv2.resize(PORTRAIT, (width, height), interpolation=cv2.INTER_AREA)


def group() -> np.ndarray:
    """Faces of three sizes before a background."""
    picture = texture(420, 700)
    picture[:384, :384] = PORTRAIT
    picture[200:392, 390:582] = small(192, 192)
    picture[20:116, 590:686] = small(96, 96)
    return picture


@pytest.mark.parametrize(
    "picture", [PORTRAIT, group(), small(50, 50), PORTRAIT[40:330, 60:300], texture(301, 203), texture(24, 24)]
)
def test_both_engines_find_the_same_faces(picture: np.ndarray) -> None:
    frame = Frame(np.ascontiguousarray(picture))
    found, wanted = (face_finder(engine).find(frame) for engine in (OnnxEngine(), TorchEngine()))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert np.allclose(one.box, other.box, atol=0.5)
        assert np.allclose(one.landmarks, other.landmarks, atol=0.5)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


def test_both_engines_judge_alike() -> None:
    entry = checkpoint.find()
    size = entry.architecture.size
    pixels = [*golden_crops(size), texture(size, size), small(size, size)]
    crops = [Crop(picture, np.eye(2, 3)) for picture in pixels]
    graph, net = OnnxEngine().scorer(entry), TorchEngine().scorer(entry)
    (maps, logits), (wanted_maps, wanted_logits) = graph.score(crops, batch_size=4), net.score(crops, batch_size=4)
    assert maps.shape == wanted_maps.shape
    assert np.allclose(maps, wanted_maps, atol=1e-3)
    assert np.allclose(logits, wanted_logits, atol=1e-3)
    assert graph.score([])[0].shape == (0, size // 8, size // 8)


class _Stub:
    """Stands in for a net: its map is how bright each cell is."""

    def score(self, crops: Sequence[Crop], *, batch_size: int = 32) -> tuple[np.ndarray, np.ndarray]:
        maps = [
            cv2.resize(crop.pixels[..., 0].astype(np.float32), (28, 28), interpolation=cv2.INTER_AREA) for crop in crops
        ]
        return np.array(maps, np.float32).reshape(-1, 28, 28), np.array([one.mean() for one in maps], np.float32)


class _Louder(_Stub):
    """Says so much more of the first of two looks at a face, and of the second than of the first."""

    def __init__(self, first: float, step: float) -> None:
        self._first, self._step = first, step

    def score(self, crops: Sequence[Crop], *, batch_size: int = 32) -> tuple[np.ndarray, np.ndarray]:
        maps, logits = super().score(crops)
        more = self._first + self._step * (np.arange(len(crops)) % 2)
        return maps + more[:, None, None].astype(np.float32), logits


class _StubEngine:
    name = "stub"
    at_a_time = 1

    def scorer(self, entry: checkpoint.ManifestEntry) -> _Stub:
        return _Stub()


def examiner(*looks: Look) -> Examiner:
    entry = checkpoint.find()
    return Examiner(_StubEngine(), replace(entry, image_looks=looks, softness=None, image_hottest=()))  # type: ignore[arg-type]


FACE = Face((80.0, 90.0, 180.0, 190.0), ((0.0, 0.0),) * 5, 1.0)


def soft(seed: int = 0) -> Frame:
    """A picture without detail, so that maps taken at different scales can be compared."""
    return Frame(cv2.GaussianBlur(texture(300, 280, seed), (0, 0), 12))


def test_looks_are_averaged_by_weight_and_their_mean_is_pooled() -> None:
    frame, alone = soft(), examiner(Look(0.1))
    (plain,), _ = alone.score([alone.cut(frame, FACE, kind="image")], kind="image")
    both = examiner(Look(0.1, weight=3.0), Look(0.1, mirrored=True, weight=1.0))
    both._net = _Louder(8, 8)
    maps, logits = both.score([both.cut(frame, FACE, kind="image")] * 2, kind="image")
    assert np.allclose(maps, plain + 0.75 * 8 + 0.25 * 16, atol=1e-3)
    assert np.allclose(logits, pool(torch.from_numpy(maps), sharpness=1.0).numpy(), atol=1e-3)


@pytest.mark.parametrize("other", [Look(0.5), Look(0.4, 0.1), Look(0.1, mirrored=True), Look(0.6, mirrored=True)])
def test_every_look_s_map_lies_over_the_first_one_s_crop(other: Look) -> None:
    """A stand-in whose map is the picture's brightness gives the same map for the same place, however it looks."""
    frame, first = soft(), Look(0.1)
    alone, both = examiner(first), examiner(first, replace(other, weight=1000.0))
    (wanted,), (found,) = (one.score([one.cut(frame, FACE, kind="image")], kind="image")[0] for one in (alone, both))
    inner = slice(3, -3)
    assert np.abs(wanted - wanted[:, ::-1]).max() > 10  # The picture is not its own mirror image.
    assert np.abs(found - wanted)[inner, inner].max() < 3


def test_a_close_look_has_no_say_in_what_it_does_not_see() -> None:
    """Of the map over the first crop only the cells that the close one shows are the mean of both."""
    frame, first = soft(), Look(0.5)
    alone, both = examiner(first), examiner(first, Look(-0.2))
    both._net = _Louder(0, 40)
    (wanted,), (found,) = (one.score([one.cut(frame, FACE, kind="image")], kind="image")[0] for one in (alone, both))
    # The face's inside is 0.6 / 2 of the crop's side: 8.4 of 28 cells.
    assert np.abs((found - wanted)[11:17, 11:17] - 20).max() < 2
    assert np.allclose(found[:9], wanted[:9])
    assert np.allclose(found[:, 19:], wanted[:, 19:])


def test_what_softness_explains_is_taken_off_map_and_logit() -> None:
    looks = (Look(0.1), Look(0.5))
    alone, aware = examiner(*looks), examiner(*looks)
    aware._entry = replace(aware._entry, softness=Softness(below=0.15, down_to=0.075, slope=0.5))
    pictures = [cv2.GaussianBlur(texture(300, 280, 0), (0, 0), sigma) for sigma in (0.01, 0.6, 2.0)]
    views = [alone.cut(Frame(picture), FACE, kind="image") for picture in pictures]
    sharp, soft, softest = (sharpness(view[0].pixels) for view in views)
    assert sharp > 0.15 > soft > 0.075 > softest
    (maps, logits), (less, fewer) = (one.score(views, kind="image") for one in (alone, aware))
    warmth = np.array([0, 0.5 * np.log(0.15 / soft), 0.5 * np.log(2)])
    assert np.allclose(maps - less, warmth[:, None, None], atol=1e-3)
    assert np.allclose(logits - fewer, warmth, atol=1e-3)


def test_the_hottest_cells_of_the_mean_of_looks_are_averaged() -> None:
    some = examiner(Look(0.1), Look(0.5))
    some._entry = replace(some._entry, image_hottest=(0.1,))
    views = [some.cut(Frame(texture(300, 280, seed)), FACE, kind="image") for seed in (1, 2)]
    maps, logits = some.score(views, kind="image")
    assert logits == pytest.approx([sorted(one.ravel())[-78:] @ np.full(78, 1 / 78) for one in maps], abs=1e-3)
    some._entry = replace(some._entry, image_hottest=(1.0,))
    assert some.score(views, kind="image")[1] == pytest.approx(maps.mean((1, 2)), abs=1e-3)
    some._entry = replace(some._entry, image_hottest=(1e-9,))
    assert some.score(views, kind="image")[1] == pytest.approx(maps.max((1, 2)), abs=1e-3)
    some._entry = replace(some._entry, image_hottest=(1e-9, 1.0))
    assert some.score(views, kind="image")[1] == pytest.approx((maps.max((1, 2)) + maps.mean((1, 2))) / 2, abs=1e-3)


def test_pictures_and_videos_are_pooled_in_their_own_ways() -> None:
    entry = replace(checkpoint.find(), image_hottest=(1e-9,), video_hottest=(1.0,))
    maps = np.arange(784, dtype=np.float32).reshape(1, 28, 28)
    assert pooled(maps, entry, kind="image") == [783]
    assert pooled(maps, entry, kind="video") == [391.5]


def test_an_examiner_judges_nothing_in_nothing() -> None:
    maps, logits = examiner(Look(0.1)).score([], kind="image")
    assert maps.shape == (0, 28, 28)
    assert logits.shape == (0,)


@pytest.mark.parametrize("name", ["portrait_genuine.jpg", "portrait_forged.jpg", "clip_genuine.mp4", "clip_forged.mp4"])
def test_both_engines_give_the_same_verdict(name: str, detector: Detector) -> None:
    report = detector.detect(SAMPLES / name)
    other = Detector(Options(engine="torch")).detect(SAMPLES / name)
    assert (report.options.engine, other.options.engine) == ("onnx", "torch")
    assert report.verdict is not None
    assert other.verdict is not None
    assert report.verdict.label == other.verdict.label
    assert report.verdict.probability == pytest.approx(other.verdict.probability, abs=1e-2)
    assert [len(track.scores) for track in report.tracks] == [len(track.scores) for track in other.tracks]


@pytest.mark.parametrize(("height", "width"), [(24, 24), (36, 48), (7, 90), (97, 201), (1, 1)])
def test_a_reduced_picture_averages_whole_pixels(height: int, width: int) -> None:
    picture = texture(72, 96)
    made = _Sums(picture).reduced(height, width)
    assert made.shape == (1, 3, height, width)
    for y, x in ((0, 0), (height - 1, width - 1), (height // 2, width // 3)):
        rows = slice(y * 72 // height, -(-(y + 1) * 72 // height))
        columns = slice(x * 96 // width, -(-(x + 1) * 96 // width))
        assert np.allclose(made[0, :, y, x], picture[rows, columns].reshape(-1, 3).mean(0), atol=1e-4)


def test_auto_is_onnx_on_the_cpu_and_torch_elsewhere() -> None:
    assert choose().name == "onnx"
    assert choose(Options(device="cuda")).name == "torch"
    assert choose(Options(engine="torch")).name == "torch"
    assert choose(Options(threads=3)) == OnnxEngine(3)


@pytest.mark.parametrize(
    "values", [{"engine": "other"}, {"engine": "onnx", "device": "cuda"}, {"threads": 0}, {"threads": 1.5}]
)
def test_impossible_engines_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(OptionsError, match=r"engine|threads"):
        Options(**values)  # type: ignore[arg-type]


def test_what_is_no_graph_is_refused(tmp_path: os.PathLike[str]) -> None:
    entry = checkpoint.find()
    wrong = checkpoint.WeightFile(entry.path, entry.sha256)
    with pytest.raises(WeightsError, match="can't read it"):
        OnnxEngine(1).scorer(replace(entry, graph=wrong))


def test_a_graph_of_another_shape_is_refused_in_one_line(tmp_path: Path) -> None:
    """Valid graphs that are something else: without an input, of other inputs, or that fail when they are run."""
    floats = TensorProto.FLOAT
    out = helper.make_tensor_value_info("out", floats, None)
    constant = helper.make_node("Constant", [], ["out"], value_float=1.0)
    reshape = helper.make_node("Reshape", ["in", "shape"], ["out"])
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [7])
    image = helper.make_tensor_value_info("in", TensorProto.UINT8, ["n", 224, 224, 3])
    graphs = [
        helper.make_graph([constant], "none", [], [out]),
        helper.make_graph([helper.make_node("Cast", ["in"], ["out"], to=floats)], "one", [image], [out]),
        helper.make_graph([reshape], "fails", [image],
                          [helper.make_tensor_value_info("out", TensorProto.UINT8, None)], [shape]),
    ]  # fmt: skip
    entry = checkpoint.find()
    crop = Crop(small(224, 224), np.eye(2, 3))
    for graph in graphs:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = tmp_path / f"{graph.name}.onnx"
        path.write_bytes(model.SerializeToString())
        file = checkpoint.WeightFile(path, hashlib.sha256(path.read_bytes()).hexdigest())
        with pytest.raises(WeightsError, match=graph.name) as found:
            OnnxEngine(1).scorer(replace(entry, graph=file)).score([crop])
        assert "\n" not in str(found.value)


@pytest.mark.parametrize(("cores", "threads", "wanted"), [(1, 1, 1), (2, 1, 2), (16, 1, 4), (8, 4, 2), (2, 8, 1)])
def test_as_many_judge_as_the_cores_have_room_for(
    cores: int, threads: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfake_detect.engine.cores", lambda: cores)
    assert OnnxEngine(threads).at_a_time == wanted
