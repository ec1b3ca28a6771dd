"""model and checkpoint: what the net does to shapes and order, and that only the right bytes are used as weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import texture

from deepfake_detect import Detector, Options, WeightsError, checkpoint
from deepfake_detect.model import EvidenceNet, pool
from deepfake_detect.training.export import GOLDEN, golden_crops
from deepfake_detect.types import Architecture, Crop

WEIGHTS = Path(__file__).parent.parent / "weights"


@pytest.fixture(scope="module")
def net() -> EvidenceNet:
    torch.manual_seed(0)
    return EvidenceNet(Architecture()).eval()


def crops(count: int) -> list[Crop]:
    return [Crop(texture(224, 224, seed), np.eye(2, 3)) for seed in range(count)]


def test_pool_keeps_a_constant_and_lies_between_mean_and_maximum() -> None:
    assert pool(torch.full((1, 4, 4), 1.7), sharpness=1.0).item() == pytest.approx(1.7)
    cells = torch.tensor([[[0.0, 4.0], [0.0, 0.0]]])
    assert 1.0 < pool(cells, sharpness=1.0).item() < pool(cells, sharpness=5.0).item() < 4.0


def test_maps_have_a_cell_for_eight_pixels(net: EvidenceNet) -> None:
    maps, logits = net.score(crops(2))
    assert maps.shape == (2, 28, 28)
    assert np.allclose(pool(torch.from_numpy(maps), sharpness=1.0).numpy(), logits, atol=1e-5)


def test_a_batch_gives_what_one_by_one_gives(net: EvidenceNet) -> None:
    together = net.score(crops(5), batch_size=5)
    apart = net.score(crops(5), batch_size=1)
    assert np.allclose(together[0], apart[0], atol=1e-4)
    assert np.allclose(together[1], apart[1], atol=1e-4)


def test_nothing_in_nothing_out(net: EvidenceNet) -> None:
    maps, logits = net.score([])
    assert maps.shape == (0, 28, 28)
    assert logits.shape == (0,)


@pytest.mark.parametrize(
    "values",
    [
        {"size": 100},
        {"margin": -0.1},
        {"stages": 6},
        {"pooling": "mean"},
        {"sharpness": 0},
        {"sharpness": 10**400},
        {"mean": (1.0, 2.0, 10**400)},
        {"std": (1.0, 2.0, 0.0)},
        {"backbone": "b0"},
        {"residual": 2},
        {"stages": 7, "size": 240},
        {"mean": (1.0, 2.0)},
        {"size": 2**30},
        {"margin": 128.0},
        {"head": 10**9},
    ],
)
def test_impossible_architectures_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Architecture(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        (Architecture(stages=4), 261_857),
        (Architecture(), 710_689),
        (Architecture(stages=7), 2_989_313),
        (Architecture(backbone="lite1"), 999_201),
        (Architecture(backbone="lite2", stages=7), 4_391_489),
    ],
)
def test_sizes(architecture: Architecture, parameters: int) -> None:
    net = EvidenceNet(architecture).eval()
    assert sum(value.numel() for value in net.parameters()) == parameters
    with torch.inference_mode():
        maps, logits = net(torch.zeros(1, 3, 224, 224))
    assert maps.shape == (1, 28, 28)
    assert logits.shape == (1,)


def test_the_noise_residual_of_a_flat_picture_is_nothing() -> None:
    torch.manual_seed(0)
    net = EvidenceNet(Architecture(residual=1)).eval()
    plain = EvidenceNet(Architecture()).eval()
    state = net.state_dict()
    plain.load_state_dict({**state, "stem.1.weight": state["stem.1.weight"][:, :3]})
    flat = torch.full((1, 3, 224, 224), 90.0)
    grain = flat + 20 * torch.randn(1, 1, 224, 224)
    with torch.inference_mode():
        of_flat, of_grain = ((net(pixels)[0] - plain(pixels)[0]).abs().max().item() for pixels in (flat, grain))
    assert of_flat < 1e-6
    assert of_grain > 20 * max(of_flat, 1e-7)


def test_shipped_weights_give_the_golden_sample() -> None:
    entry = checkpoint.find()
    net = EvidenceNet(entry.architecture)
    net.load_state_dict(checkpoint.read(entry))
    net.eval()
    made = [Crop(pixels, np.eye(2, 3)) for pixels in golden_crops(entry.architecture.size)]
    maps, logits = net.score(made)
    with np.load(WEIGHTS / GOLDEN) as golden:
        assert np.allclose(maps, golden["maps"], atol=2e-3)
        assert np.allclose(logits, golden["logits"], atol=2e-3)


def test_the_shipped_net_is_small() -> None:
    assert sum(value.numel() for value in checkpoint.read(checkpoint.find()).values()) < 8e6
    # The weights lie in one file, from which the graph takes them.
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir() if path.is_file()) < 10e6


def test_every_file_of_weights_is_in_use() -> None:
    entry = checkpoint.find()
    assert entry.graph is not None
    used = {entry.path.name, entry.graph.path.name, *(file.path.name for file in checkpoint.find_face_nets())}
    assert {path.name for path in WEIGHTS.iterdir() if path.suffix in (".onnx", ".safetensors")} == used


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEIGHTS, tmp_path / "weights"))


@pytest.mark.parametrize(("engine", "part"), [("onnx", "graph"), ("onnx", "tensors"), ("torch", "tensors")])
def test_altered_weights_are_refused(engine: str, part: str, copied: Path) -> None:
    entry = checkpoint.find(folder=copied)
    assert entry.graph is not None
    path = entry.graph.path if part == "graph" else entry.path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(
        WeightsError, match=rf"{re.escape(path.name)}.* expected SHA-256 .* found .* export that folder again"
    ):
        Detector(Options(engine=engine), weights_folder=copied)


def test_what_to_do_about_weights_depends_on_whose_they_are(tmp_path: Path) -> None:
    shipped = checkpoint.find().path
    with pytest.raises(WeightsError, match=r"found .*; install again$"):
        checkpoint.WeightFile(shipped, "0" * 64).read()
    with pytest.raises(WeightsError, match=r"expected SHA-256 \\n, found"):  # On one line, whatever a manifest says.
        checkpoint.WeightFile(shipped, "\n").read()
    (tmp_path / "file").touch()
    for folder in (tmp_path / "tuned", tmp_path / "file", tmp_path):
        with pytest.raises(WeightsError, match=r"holds no manifest\.json; give the folder that export") as found:
            checkpoint.find(folder=folder)
        assert str(found.value).startswith(f"{folder}: ")
        assert "install" not in str(found.value)


def test_missing_weights_are_named(copied: Path) -> None:
    entry = checkpoint.find(folder=copied)
    entry.path.unlink()
    with pytest.raises(WeightsError, match=re.escape(entry.path.name)):
        checkpoint.read(entry)


def test_an_unknown_name_lists_the_known_ones(copied: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights named 'other'; there are "):
        checkpoint.find("other", folder=copied)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"default": "x", "models": {"x": {}}}',
        '{"models": 3}',
        "[" * 100_000,
        '{"default": NaN}',
        '{"default": "x", "models": {"x": []}}',
    ],
)
def test_a_broken_manifest_is_a_weights_error(copied: Path, text: str) -> None:
    (copied / "manifest.json").write_text(text)
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        checkpoint.find(folder=copied)


def refused(copied: Path, field: str, value: object) -> list[str]:
    """What is said where a file of the manifest, each in turn, has this in a field."""
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text())
    entry = manifest["models"][manifest["default"]]
    said = []
    for holder in (entry, entry["onnx"], manifest["mtcnn"]["pnet"]):
        before, holder[field] = holder[field], value
        path.write_text(json.dumps(manifest))
        read = checkpoint.find_face_nets if holder is manifest["mtcnn"]["pnet"] else checkpoint.find
        with pytest.raises(WeightsError, match=r"manifest\.json") as caught:
            read(folder=copied)
        said.append(str(caught.value))
        holder[field] = before
    return said


@pytest.mark.parametrize("name", ["/dev/zero", "../outside", "a/b", "a\0b", "", ".", "x" * 300])
def test_a_manifest_speaks_of_no_files_elsewhere(name: str, copied: Path) -> None:
    assert len(refused(copied, "file", name)) == 3


@pytest.mark.parametrize("sha256", ["", "x" * 10_000, "A" * 64, 7, None, ["0" * 64]])
def test_a_manifest_s_hashes_are_hashes(sha256: object, copied: Path) -> None:
    assert max(map(len, refused(copied, "sha256", sha256))) < 600


@pytest.mark.parametrize(
    "change",
    [
        {"looks": {"image": [{"margin": 0.2, "least_margin": [0.1]}]}},
        {"looks": {"image": [{"margin": 0.2, "mirrored": "no"}]}},
        {"looks": {"image": [{"margin": True}]}},
        {"looks": {"image": []}},
        {"looks": {"image": [{"margin": 0.2}] * 17}},
        {"looks": {"video": [{"margin": 128.0}]}},
        {"looks": []},
        {"softness": {"below": 0.2, "down_to": 0.3, "slope": 1.0}},
        {"softness": {"below": 0.2, "down_to": 0.0, "slope": 1.0}},
        {"softness": {"below": 0.2, "down_to": 0.1, "slope": -1.0}},
        {"softness": {"below": 0.2, "down_to": 0.1, "slope": "1"}},
        {"softness": None},
        {"hottest": 0},
        {"hottest": 1.5},
        {"hottest": "0.1"},
        {"hottest": True},
        {"hottest": {"image": [0.1], "video": [0]}},
        {"hottest": {"image": 0.1}},
        {"hottest": {"video": ["0.1"]}},
        {"hottest": [0.1]},
        {"hottest": {"images": [0.1]}},
        {"hottest": {"image": [0.1] * 17}},
    ],
)
def test_a_manifest_s_numbers_are_numbers(copied: Path, change: dict[str, object]) -> None:
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["models"][manifest["default"]] |= change
    path.write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="does not fit this version"):
        checkpoint.find(folder=copied)


def test_one_number_that_pools_both_kinds_of_media_makes_the_net_it_always_was(copied: Path) -> None:
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text())
    named = manifest["models"][manifest["default"]]
    found = []
    for hottest in (0.08, {"image": [0.08], "video": [0.08]}):
        named["hottest"] = hottest
        path.write_text(json.dumps(manifest))
        found.append(checkpoint.find(folder=copied))
    before = checkpoint._digest(
        found[0].sha256, found[0].architecture, found[0].image_looks, found[0].video_looks, found[0].softness, 0.08
    )
    assert [one.evidence_sha256 for one in found] == [before, before]
    assert checkpoint.find().evidence_sha256 != before


@pytest.mark.skipif(os.name != "posix", reason="pipes are those of Unix")
def test_a_pipe_in_place_of_weights_holds_nobody_up(copied: Path) -> None:
    entry = checkpoint.find(folder=copied)
    for path, read in ((entry.path, lambda: checkpoint.read(entry)),
                       (copied / "manifest.json", lambda: checkpoint.find(folder=copied))):  # fmt: skip
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(WeightsError, match=re.escape(path.name)):
            read()


def test_tensors_of_an_unknown_kind_are_a_weights_error(copied: Path) -> None:
    entry = checkpoint.find(folder=copied)
    for kind, size in (("F4", 1), ("NONE", 4), ("F32", 3)):
        head = json.dumps({"x": {"dtype": kind, "shape": [2 if size == 1 else 1], "data_offsets": [0, size]}}).encode()
        data = len(head).to_bytes(8, "little") + head + bytes(size)
        entry.path.write_bytes(data)
        with pytest.raises(WeightsError, match=re.escape(entry.path.name)):
            checkpoint.read(replace(entry, sha256=hashlib.sha256(data).hexdigest()))


def test_weights_of_another_shape_are_refused(copied: Path) -> None:
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["models"][manifest["default"]]["architecture"]["head"] = 32
    path.write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="do not fit"):
        Detector(Options(engine="torch"), weights_folder=copied)


def test_weights_without_a_graph_are_run_by_torch(copied: Path) -> None:
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["models"][manifest["default"]]["onnx"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="has no ONNX graph"):
        Detector(Options(engine="onnx"), weights_folder=copied)
    assert Detector(weights_folder=copied).options.engine == "torch"
