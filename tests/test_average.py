"""training.average: the mean of nets, and that what is written can be exported."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from deepfake_detect.model import EvidenceNet
from deepfake_detect.training import average
from deepfake_detect.training.average import mixed
from deepfake_detect.training.export import export
from deepfake_detect.training.train import Settings
from deepfake_detect.types import Architecture

TINY = Architecture(size=64, stages=5, head=8)


def saved(path: Path, seed: int, architecture: Architecture = TINY) -> Path:
    torch.manual_seed(seed)
    save_file(EvidenceNet(architecture).state_dict(), path)
    return path


def test_the_mean_is_weighed_by_the_shares(tmp_path: Path) -> None:
    one, two = (saved(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    found, first, second = mixed({one: 0.25, two: 0.75}), load_file(one), load_file(two)
    assert found.keys() == first.keys()
    for name, tensor in found.items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, 0.25 * first[name] + 0.75 * second[name])
        else:
            assert torch.equal(tensor, first[name])


def test_a_centre_moves_every_cell_alike(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.safetensors", 3)
    maps = []
    for centre in (0.0, 1.3):
        net = EvidenceNet(TINY)
        net.load_state_dict(mixed({path: 1.0}, centre=centre))
        with torch.inference_mode():
            maps.append(net.eval()(torch.zeros(1, 3, 64, 64))[0])
    assert torch.allclose(maps[1], maps[0] + 1.3, atol=1e-5)


@pytest.mark.parametrize("shares", [(), (0.5, 0.4), (1.5, -0.5)])
def test_shares_that_make_no_mean(shares: tuple[float, ...], tmp_path: Path) -> None:
    parts = {saved(tmp_path / f"{i}.safetensors", i): share for i, share in enumerate(shares)}
    with pytest.raises(ValueError, match="shares above 0 that make 1"):
        mixed(parts)


def test_other_architectures_and_other_files_are_named(tmp_path: Path) -> None:
    one, wider = saved(tmp_path / "a.safetensors", 1), tmp_path / "b.safetensors"
    saved(wider, 1, Architecture(size=64, stages=5, head=16))
    with pytest.raises(ValueError, match=r"b\.safetensors: its tensors are not those of"):
        mixed({one: 0.5, wider: 0.5})
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(ValueError, match="text: can't be read as weights"):
        mixed({one: 0.5, tmp_path / "text": 0.5})


def test_what_the_command_writes_can_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (saved(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    settings, out = tmp_path / "settings.json", tmp_path / "mixed" / "average.safetensors"
    settings.write_text(json.dumps({"settings": asdict(Settings()), "architecture": asdict(TINY), "start": "imagenet"}))
    given = ["average", str(out), f"{one}=0.5", f"{two}=0.5", "--settings", str(settings), "--centre", "1"]
    monkeypatch.setattr(sys, "argv", given)
    average.main()
    entry = export(out, tmp_path / "weights", "mean", trained_on="nothing")
    named = {f"{tmp_path.name}/{path.name}": 0.5 for path in (one, two)}
    assert entry["training"]["mixed"] == {"parts": named, "centre": 1.0}
    monkeypatch.setattr(sys, "argv", [*given[:-4], "--settings", str(tmp_path / "none.json")])
    with pytest.raises(SystemExit, match=r"none\.json"):
        average.main()


def test_averages_of_several_runs_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    for seed, run in enumerate(("a", "b", "elsewhere/b")):
        (tmp_path / run).mkdir(parents=True)
        parts.append(saved(tmp_path / run / "average.safetensors", seed))
    settings, out = tmp_path / "settings.json", tmp_path / "mixed" / "average.safetensors"
    settings.write_text(json.dumps({"settings": asdict(Settings())}))

    def mix(*chosen: Path) -> None:
        given = [f"{path}=0.5" for path in chosen]
        monkeypatch.setattr(sys, "argv", ["average", str(out), *given, "--settings", str(settings)])
        average.main()

    for _ in range(2):  # Over a mix that is there, too.
        mix(*parts[:2])
    record = json.loads((out.parent / "settings.json").read_text())
    assert record["mixed"]["parts"] == {"a/average.safetensors": 0.5, "b/average.safetensors": 0.5}
    with pytest.raises(SystemExit, match="expected parts that differ in folder or name"):
        mix(*parts[1:])


def test_nothing_is_mixed_into_the_folder_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, kept = saved(tmp_path / "average_0000032.safetensors", 1), tmp_path / "settings.json"
    kept.write_text(json.dumps({"settings": asdict(Settings())}))
    before = kept.read_bytes()
    given = ["average", str(tmp_path / "average.safetensors"), f"{one}=1", "--settings", str(kept)]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit, match=r"settings\.json is a run's"):
        average.main()
    assert kept.read_bytes() == before
    assert not (tmp_path / "average.safetensors").exists()
