"""training.train, scores, evaluate, calibrate, export: small runs whose outcome is known."""

from __future__ import annotations

import argparse
import csv
import errno
import json
import math
import os
import pickle
import re
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SAMPLES, drawn_face
from safetensors.torch import load_file, save_file

from deepfake_detect import Detector, Options, checkpoint
from deepfake_detect.errors import MediaError, WorkerError
from deepfake_detect.model import EvidenceNet
from deepfake_detect.training import calibrate, evaluate, finetune, scores, softness
from deepfake_detect.training import export as export_module
from deepfake_detect.training.datasets import Dataset, Labelled, read_dataset
from deepfake_detect.training.evaluate import table
from deepfake_detect.training.export import enter, export, read_manifest, write_manifest
from deepfake_detect.training.pairs import IGNORE, Pair, PairMaker
from deepfake_detect.training.scores import Item, read_scores
from deepfake_detect.training.train import (
    Learner,
    Settings,
    _keep_settings,
    _save_weights,
    apart,
    collate,
    forward,
    learning_rate,
    likeness,
    load_imagenet,
    load_start,
    loss,
    measure,
    parser,
    strangers,
    taught,
    train,
)
from deepfake_detect.types import Architecture, Bands, Calibration, Look, Softness
from deepfake_detect.verdict import label_of, limited

TINY = Architecture(size=64, head=8)
ENTRY = {"file": "a.safetensors", "sha256": "0" * 64, "architecture": asdict(TINY)}


def settings(pictures: int = 64) -> Settings:
    return Settings(pictures=pictures, batch=16, warm_up=16)


def run(folder: Path, data: Path, **options: object) -> Path:
    return train(folder, [data], None, settings(), TINY, every=32, measured_pairs=24, workers=1, **options)  # type: ignore[arg-type]


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(drawn_data: Path, tmp_path: Path) -> None:
    through = load_file(run(tmp_path / "through", drawn_data))
    run(tmp_path / "stopped", drawn_data, stop_after=32)
    resumed = load_file(run(tmp_path / "stopped", drawn_data))
    assert through.keys() == resumed.keys()
    for name, value in through.items():
        assert torch.allclose(value.float(), resumed[name].float(), atol=1e-5), name
    with (tmp_path / "stopped/log.csv").open(newline="") as lines:
        assert [row["seen"] for row in csv.DictReader(lines)] == ["32", "64"]


def test_a_run_does_not_go_on_with_other_settings(drawn_data: Path, tmp_path: Path) -> None:
    run(tmp_path, drawn_data, stop_after=32)
    kept = json.loads((tmp_path / "settings.json").read_text())
    del kept["architecture"]["backbone"]
    (tmp_path / "settings.json").write_text(json.dumps(kept))
    run(tmp_path, drawn_data)  # A run from before there was a choice of backbone goes on.
    with pytest.raises(SystemExit, match="other settings"):
        train(tmp_path, [drawn_data], None, replace(settings(), seed=1), TINY)


def test_a_run_that_can_t_begin_says_why(drawn_data: Path, tmp_path: Path) -> None:
    """And starts no workers, of which a pool would start others for ever."""
    for data, restored, left_out, said in (
        (tmp_path, None, (), "expected index.csv, found none"),
        (drawn_data, tmp_path / "typo", (), "expected a folder of redrawn faces"),
        (drawn_data, None, [f"person{i}" for i in range(40)], "expected genuine faces to train on, found none"),
    ):
        with pytest.raises(SystemExit, match=said):
            train(tmp_path / "run", [data], restored, settings(), TINY, leave_out=frozenset(left_out), measured_pairs=0)
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_begin_no_run(drawn_data: Path, tmp_path: Path) -> None:
    """Which the right command would be refused to go on with."""
    start = tmp_path / "start.safetensors"
    save_file(EvidenceNet(TINY).state_dict(), start)
    wider = replace(TINY, head=16)
    for wrong, why in ((start, "does not fit the architecture"), (tmp_path / "no.safetensors", "no.safetensors")):
        with pytest.raises(SystemExit, match=why):
            train(tmp_path / "run", [drawn_data], None, settings(), wider, start=wrong, measured_pairs=0)
        assert not (tmp_path / "run").exists()
    assert run(tmp_path / "run", drawn_data, start=start, stop_after=32).exists()
    with pytest.raises(SystemExit, match="holds a run with other settings"):
        train(tmp_path / "run", [drawn_data], None, settings(), wider, start=start, measured_pairs=0)


def test_a_disk_that_fills_up_costs_a_run_nothing_that_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space is left")

    learner = Learner(settings(), TINY, None)
    writes = {
        "state.pt": learner.save,
        "average.safetensors": lambda path: _save_weights(learner.average.module, path),
        "settings.json": lambda path: _keep_settings(path.parent, {"start": "imagenet"}),
    }
    for name, write in writes.items():
        write(tmp_path / name)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() == writes.keys()
    monkeypatch.setattr(os, "fsync", refuse)
    for name, write in writes.items():
        with pytest.raises(OSError, match="no space is left"):
            write(tmp_path / name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("error", [MediaError("7.png: damaged", kind="damaged"), WorkerError("gone", kind="killed")])
def test_an_error_gets_through_to_the_process_that_waits_for_it(error: MediaError | WorkerError) -> None:
    """A pool whose worker raised what can't be read again waits for ever."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.kind) == (str(error), error.kind)


def test_what_was_not_blended_has_no_pixel_auc() -> None:
    torch.manual_seed(0)
    halves = np.stack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])
    mask = np.zeros((8, 8), np.float32)
    mask[2:4] = 1
    whole, blended = (measure(EvidenceNet(TINY), [Pair(halves, mask, family)] * 2) for family in ("whole", "self"))
    assert whole["auc"] == whole["auc_whole"]
    assert math.isnan(whole["auc_pixel"])
    assert 0 <= blended["auc_pixel"] <= 1


def test_training_learns(drawn_data: Path, tmp_path: Path) -> None:
    """A net that sees the same few pairs again and again must come to tell them apart."""
    from deepfake_detect.training.pairs import PairMaker

    maker = PairMaker([drawn_data], None, TINY)
    crops, masks, labels, weights = collate([maker.make(seed) for seed in range(8)])
    torch.manual_seed(0)
    net = EvidenceNet(TINY)
    load_imagenet(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(60):
        total = loss(*net(crops), masks, labels, weights, map_weight=1.0)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(total.item())
    assert losses[-1] < 0.5 * losses[0]


def test_in_training_a_crop_is_judged_without_the_others_of_its_batch() -> None:
    """Its own forgery is among them: what the norms learn of a batch would show which of the two it is."""
    torch.manual_seed(0)
    net = EvidenceNet(TINY)
    crops = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert not torch.allclose(net.train()(crops)[1][:1], net(crops[:1])[1], atol=1e-4)  # What a plain one does.
        apart(net)
        assert net.training
        assert torch.allclose(net(crops)[1][:1], net(crops[:1])[1], atol=1e-6)


def test_among_strangers_no_crop_meets_its_twin() -> None:
    parts = strangers(16)
    assert sorted(torch.cat(parts).tolist()) == list(range(16))
    for part in parts:
        assert len({index // 2 for index in part.tolist()}) == 8  # Of eight different pairs,
        assert sum(index % 2 for index in part.tolist()) == 4  # half of them forgeries.
    with pytest.raises(ValueError, match="multiple of 4"):
        Settings(batch=6, norms="strangers")


def test_what_is_judged_among_strangers_comes_back_in_order() -> None:
    torch.manual_seed(0)
    net = EvidenceNet(TINY)
    crops = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        maps, logits = forward(net, crops, "strangers")
        part = strangers(8)[0]
        assert torch.allclose(logits[part], net.train()(crops[part])[1], atol=1e-5)
        assert maps.shape == (8, 8, 8)
        assert not torch.allclose(logits, forward(net, crops, "batch")[1], atol=1e-4)


def test_imagenet_weights_fit_by_position() -> None:
    net = EvidenceNet(Architecture())
    before = net.state_dict()["stages.4.2.layers.1.0.weight"].clone()
    load_imagenet(net)
    state = net.state_dict()
    assert state["stem.1.weight"].abs().sum() > 0
    assert not torch.equal(before, state["stages.4.2.layers.1.0.weight"])
    assert state["stages.4.2.layers.2.1.running_var"].min() > 0


def grown(start: Path, **more: int | str) -> tuple[EvidenceNet, EvidenceNet]:
    """A small net, and one with more to it that began with its weights, which says the same; both are new each time."""
    torch.manual_seed(0)
    small, large = EvidenceNet(TINY).eval(), EvidenceNet(replace(TINY, **more)).eval()  # type: ignore[arg-type]
    save_file(small.state_dict(), start)
    load_start(large, start)
    crops = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.allclose(small(crops)[0], large(crops)[0], atol=1e-5)
    return small, large


def test_a_deeper_net_starts_with_what_a_shallower_one_says(tmp_path: Path) -> None:
    _, deeper = grown(tmp_path / "shallow.safetensors", stages=7)
    assert deeper.state_dict()["stages.6.0.layers.0.1.running_var"].std() > 0  # Not as a new net's: from ImageNet.
    with pytest.raises(ValueError, match="does not fit the architecture"):
        load_start(EvidenceNet(replace(TINY, backbone="lite2")), tmp_path / "shallow.safetensors")


def test_a_net_with_more_blocks_starts_with_what_one_with_fewer_says(tmp_path: Path) -> None:
    small, large = grown(tmp_path / "lite0.safetensors", backbone="lite1")
    further = sorted({name.rsplit(".layers", 1)[0] for name in large.state_dict().keys() - small.state_dict().keys()})
    assert further == ["stages.1.2", "stages.2.2", "stages.3.3", "stages.4.3"]
    maps, _ = large(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    maps.sum().backward()
    for block in further:  # They add nothing yet, and learn to.
        assert large.get_parameter(f"{block}.layers.2.1.weight").grad.abs().sum() > 0  # type: ignore[union-attr]


def test_a_net_of_colours_alone_can_be_given_the_noise_residual(tmp_path: Path) -> None:
    seeing, also = grown(tmp_path / "colours.safetensors", residual=1)
    save_file(also.state_dict(), tmp_path / "more.safetensors")
    with pytest.raises(ValueError, match="does not fit the architecture"):
        load_start(seeing, tmp_path / "more.safetensors")


def test_what_the_net_sees_beside_colours_starts_at_nothing() -> None:
    """Right after ImageNet's weights are loaded, the noise residual changes no answer."""
    torch.manual_seed(0)
    net = EvidenceNet(Architecture(residual=1))
    load_imagenet(net)
    plain = EvidenceNet(Architecture())
    plain.load_state_dict({**net.state_dict(), "stem.1.weight": net.state_dict()["stem.1.weight"][:, :3]})
    picture = 255 * torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.allclose(net.eval()(picture)[0], plain.eval()(picture)[0], atol=1e-5)


def test_loss_ignores_what_is_unknown() -> None:
    maps, logits, labels = torch.randn(2, 4, 4), torch.zeros(2), torch.tensor([0.0, 1.0])
    unknown = torch.full((2, 4, 4), IGNORE)
    assert loss(maps, logits, unknown, labels, torch.ones(2), map_weight=5.0).item() == pytest.approx(math.log(2))


def test_loss_counts_a_crop_by_its_weight() -> None:
    maps, logits, labels = torch.zeros(2, 4, 4), torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1.0])
    masks = torch.ones(2, 4, 4)
    found = loss(maps, logits, masks, labels, torch.tensor([1.0, 0.0]), map_weight=1.0)
    assert found.item() == pytest.approx(2 * math.log(2))


def test_a_student_comes_to_say_what_its_teacher_says(drawn_data: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    teacher = EvidenceNet(TINY).eval()
    save_file(teacher.state_dict(), tmp_path / "teacher.safetensors")
    maker = PairMaker([drawn_data], None, TINY, unworn=True)
    pairs = [maker.make(seed) for seed in range(8)]
    learner = Learner(
        replace(settings(), learning_rate=3e-3, norms="kept"), TINY, None, tmp_path / "teacher.safetensors"
    )
    losses = [learner.learn(pairs)[0] for _ in range(12)]
    assert min(losses[-3:]) < 0.5 * losses[0]


def test_a_teacher_sees_crops_before_their_wear() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    pair = Pair(np.zeros_like(crops), np.zeros((8, 8), np.float32), "self", unworn=crops)
    torch.manual_seed(0)
    net = EvidenceNet(TINY).eval()
    with torch.no_grad():
        assert torch.allclose(taught(net, [pair]), net(torch.from_numpy(crops).permute(0, 3, 1, 2))[0], atol=1e-5)


def test_labels_count_beside_a_teacher_as_much_as_is_asked(drawn_data: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    weights = tmp_path / "net.safetensors"
    save_file(EvidenceNet(TINY).state_dict(), weights)
    maker = PairMaker([drawn_data], None, TINY, unworn=True)
    pairs = [maker.make(seed) for seed in range(4)]

    def first_loss(label_weight: float, *, teacher: bool = True) -> float:
        plan = replace(settings(), norms="kept", label_weight=label_weight)
        return Learner(plan, TINY, weights, weights if teacher else None).learn(pairs)[0]

    taken, told = first_loss(0), first_loss(0, teacher=False)
    assert taken != pytest.approx(told)
    assert first_loss(0.5) == pytest.approx(taken + 0.5 * told, rel=1e-4)


def test_a_teacher_may_be_asked_of_what_was_not_blended_here_alone(drawn_data: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    weights = tmp_path / "net.safetensors"
    save_file(EvidenceNet(TINY).state_dict(), weights)
    maker = PairMaker([drawn_data], None, TINY, unworn=True)
    blends = [replace(maker.make(seed), family="self") for seed in range(4)]
    whole = [replace(pair, family="whole") for pair in blends]

    def first_loss(pairs: list[Pair], taught: str, *, teacher: bool = True) -> float:
        plan = replace(settings(), norms="kept", taught=taught)
        return Learner(plan, TINY, weights, weights if teacher else None).learn(pairs)[0]

    assert first_loss(blends, "whole") == pytest.approx(first_loss(blends, "all", teacher=False), rel=1e-4)
    assert first_loss(whole, "whole") == pytest.approx(first_loss(whole, "all"), rel=1e-4)
    mixed = first_loss([*blends[:2], *whole[2:]], "whole")
    parts = first_loss(blends[:2], "whole"), first_loss(whole[2:], "whole")
    assert mixed == pytest.approx(sum(parts) / 2, rel=1e-4)
    alone = [replace(pair, family="alone") for pair in blends]
    assert first_loss(whole, "alone") == pytest.approx(first_loss(whole, "all", teacher=False), rel=1e-4)
    assert first_loss(alone, "alone") == pytest.approx(first_loss(alone, "all"), rel=1e-4)
    with pytest.raises(ValueError, match="taught: expected all, whole or alone"):
        replace(settings(), taught="blends")


def test_what_nothing_is_known_of_has_no_weight() -> None:
    crops, unknown = np.zeros((2, 8, 8, 3), np.uint8), np.full((1, 1), IGNORE, np.float32)
    known = Pair(crops, np.ones((1, 1), np.float32), "self")
    _, masks, labels, weights = collate([Pair(crops, unknown, "alone"), known])
    assert weights.tolist() == [0, 0, 1, 1]
    logits = torch.tensor([5.0, -5.0, 0.0, 0.0])
    assert loss(logits.view(4, 1, 1), logits, masks, labels, weights, map_weight=1.0) == pytest.approx(2 * math.log(2))
    nothing = collate([Pair(crops, unknown, "alone")])
    assert loss(logits[:2].view(2, 1, 1), logits[:2], *nothing[1:], map_weight=1.0) == 0


def test_what_is_alike_costs_nothing_and_what_is_pooled_counts() -> None:
    maps = torch.zeros(2, 10, 10)
    assert likeness(maps, maps, map_weight=1.0) == 0
    hot = maps.clone()
    hot[:, 0, :8] = 0.5  # Eight of a hundred cells: what is pooled is half a logit apart, the map .04.
    assert likeness(maps, hot, map_weight=0.0) == pytest.approx(0.125)
    assert likeness(maps, hot, map_weight=1.0) == pytest.approx(0.125 + 0.01)


def test_pictures_alone_need_a_teacher(drawn_data: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="needs a --teacher"):
        train(tmp_path / "run", [drawn_data], None, replace(settings(), alone_share=0.5), TINY)
    assert not (tmp_path / "run").exists()


def test_loss_of_a_perfect_answer_is_nothing() -> None:
    masks = torch.zeros(2, 4, 4)
    masks[1, :2] = 1
    maps = (masks * 2 - 1) * 50
    labels = torch.tensor([0.0, 1.0])
    assert loss(maps, torch.tensor([-50.0, 50.0]), masks, labels, torch.ones(2), map_weight=1.0).item() < 1e-6


def test_collate_puts_each_genuine_crop_before_its_forgery() -> None:
    pairs = []
    for i in range(3):
        halves = np.stack([np.full((8, 8, 3), 2 * i + j, np.uint8) for j in range(2)])
        pairs.append(Pair(halves, np.ones((1, 1), np.float32), "self", weight=0.5))
    crops, masks, labels, weights = collate(pairs)
    assert weights.tolist() == [1, 0.5, 1, 0.5, 1, 0.5]
    assert crops[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert masks.flatten().tolist() == [0, 1, 0, 1, 0, 1]
    unknown = Pair(halves, np.array([[IGNORE, 1.0]], np.float32), "whole")
    assert collate([unknown])[1].tolist() == [[[IGNORE, 0]], [[IGNORE, 1]]]


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    plan = Settings(pictures=1000, warm_up=100, batch=10, learning_rate=1.0)
    assert learning_rate(0, plan) == pytest.approx(0.1)
    assert learning_rate(100, plan) == pytest.approx(1.0)
    assert learning_rate(1000, plan) == pytest.approx(0.0)


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    out = capsys.readouterr().out
    options = set(re.findall(r"^  (--[a-z-]+)", out, re.M))
    assert {f"--{field.name.replace('_', '-')}" for field in fields(Settings)} <= options
    assert {"--margin", "--restored"} <= options
    assert "example:" in out


def test_what_is_exported_can_be_used(drawn_data: Path, tmp_path: Path) -> None:
    weights = run(tmp_path / "run", drawn_data, stop_after=32)
    folder = tmp_path / "weights"
    entry = export(weights, folder, "tiny", trained_on="drawn pictures")
    assert entry["training"]["data"] == "drawn pictures"
    found = checkpoint.find(folder=folder)
    assert (found.name, found.architecture) == ("tiny", TINY)
    assert found.image_looks == found.video_looks == (Look(TINY.margin),)
    # The weights lie in one file, from which the graph takes them.
    assert (folder / "tiny.safetensors").stat().st_size > 3 * (folder / "tiny.onnx").stat().st_size
    report = Detector(weights_folder=str(folder)).detect(SAMPLES / "portrait_genuine.jpg")
    assert report.to_dict()["tool"]["model_sha256"] == report.tool.model_sha256
    assert report.tool.model_sha256 == entry["sha256"]


def test_what_nobody_could_use_is_not_exported(tmp_path: Path) -> None:
    source, folder = tmp_path / "average.safetensors", tmp_path / "weights"
    for name in ("../x", "a/b", "a\\b", "", " ", "a\n"):
        with pytest.raises(SystemExit, match="--name: expected"):
            export(source, folder, name, trained_on="")
        with pytest.raises(SystemExit, match="--name: expected"):
            finetune.finetune(
                Dataset(tmp_path, "csv", ()), tmp_path, name=name, settings=settings(), frames=1, workers=1
            )
    tensors = EvidenceNet(TINY).state_dict()
    (tmp_path / "settings.json").write_text(json.dumps({"architecture": asdict(TINY)}))
    # The second is finite until it is halved.
    for wrong in (math.nan, 1e6):
        tensors["stem.1.weight"][0, 0, 0, 0] = wrong
        save_file(tensors, source)
        with pytest.raises(
            SystemExit, match=r"expected finite numbers in half precision, found others in stem\.1\.weight"
        ):
            export(source, folder, "x", trained_on="")
    assert not folder.exists()


class _TrainedError(Exception):
    pass


def test_no_group_kept_apart_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are its faces that come from elsewhere; and what a folder was begun with stays."""
    own = [Labelled(f"{label}{i}.jpg", label, "s", "", f"g{i}") for label in ("real", "fake") for i in range(60)]
    told: list[frozenset[str]] = []

    def judged(_: Path, some: list[Labelled], *__: object) -> tuple[list[Item], list[scores.FrameScore]]:
        return [Item(**vars(item), kind="image", logit=0.0) for item in some], []

    def prepared(_: object, __: Path, faces: Path, *___: object, **____: object) -> int:
        faces.mkdir(parents=True)
        (faces / "landmarks.npz").touch()
        return 1

    def trained(_: Path, data: list[Path], *__: object, own: Path, leave_out: frozenset[str], **___: object) -> Path:
        assert data == [own]
        told.append(leave_out)
        raise _TrainedError

    monkeypatch.setattr(finetune, "Detector", lambda: None)
    for name, stand_in in (("run", judged), ("prepare", prepared), ("train", trained)):
        monkeypatch.setattr(finetune, name, stand_in)

    def tuned(**changed: object) -> None:
        given: dict[str, object] = {"name": "x", "settings": settings(), "frames": 2, "workers": 1} | changed
        finetune.finetune(Dataset(tmp_path, "csv", tuple(own)), tmp_path / "out", **given)  # type: ignore[arg-type]

    for _ in range(2):
        with pytest.raises(_TrainedError):
            tuned()
    apart = frozenset(item.group for item in own if finetune.kept_apart(item))
    assert told == [apart, apart]
    assert apart
    for changed in ({"frames": 3}, {"more": [tmp_path]}, {"restored": tmp_path}):
        with pytest.raises(SystemExit, match=r"was begun with other files, .* --frames, --more or --restored"):
            tuned(**changed)


def test_a_net_can_look_more_than_once(drawn_data: Path, tmp_path: Path) -> None:
    weights, folder = run(tmp_path / "run", drawn_data, stop_after=32), tmp_path / "weights"
    narrow, wide = {"margin": 0.1}, {"margin": 0.4, "least_margin": 0.2, "mirrored": True, "weight": 3.0}
    looks = {"narrow": [narrow], "wide": [wide], "both": [narrow, wide]}
    for name, several in looks.items():
        export(weights, folder, name, trained_on="drawn pictures", looks={"image": several, "video": [narrow]})

    def judged(name: str, file: str) -> tuple[np.ndarray, np.ndarray]:
        (track,) = Detector(weights=name, weights_folder=folder).detect(SAMPLES / file).tracks
        return np.array([one.evidence for one in track.heatmaps]), np.array([score.logit for score in track.voting])

    still, clip = "portrait_forged.jpg", "clip_forged.mp4"
    evidence, logits = judged("both", still)
    assert logits == pytest.approx(np.log(np.exp(evidence.astype(np.float64)).mean((1, 2))), abs=1e-4)
    for alone in ("narrow", "wide"):
        assert np.abs(evidence - judged(alone, still)[0]).max() > 1e-3
    assert np.allclose(judged("both", clip)[1], judged("narrow", clip)[1], atol=1e-5)


@pytest.mark.parametrize(
    "looks",
    [
        {"image": [{"margn": 0.2}]},
        {"image": [{"margin": 1000}]},
        {"image": [], "video": [{"margin": 0.2}]},
        {"video": {"margin": 0.2}},
        {"pictures": [{"margin": 0.2}]},
        [{"margin": 0.2}],
    ],
)
def test_wrong_looks_are_refused_before_anything_is_written(
    looks: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, weights = tmp_path / "looks.json", tmp_path / "weights"
    file.write_text(json.dumps(looks))
    given = ["export", "average.safetensors", "--name", "a", "--trained-on", "b", "--folder", str(weights)]
    monkeypatch.setattr(sys, "argv", [*given, "--looks", str(file)])
    with pytest.raises(SystemExit, match=r"looks\.json: expected the fields of each look"):
        export_module.main()
    assert not weights.exists()


def test_softness_is_the_warmth_of_soft_genuine_faces() -> None:
    rng = np.random.default_rng(0)
    sharp = np.exp(rng.uniform(np.log(0.03), np.log(0.6), 4000))
    logits = -1.0 - 0.8 * np.minimum(0, np.log(sharp / 0.15)) + rng.normal(0, 0.7, 4000)
    found = softness.fit(sharp, logits)
    assert found.below == pytest.approx(0.15, rel=0.1)
    assert found.slope == pytest.approx(0.8, abs=0.1)
    assert found.down_to == pytest.approx(0.03, rel=0.1)
    assert found.warmth(0.5) == 0
    assert found.warmth(0.06) == pytest.approx(0.8 * np.log(0.15 / 0.06), abs=0.1)
    assert found.warmth(0.001) == found.warmth(found.down_to)
    # Where the soft ones are the colder ones, nothing is added to what they show.
    assert softness.fit(sharp, -logits).warmth(0.03) == 0
    with pytest.raises(ValueError, match="unlike sharpness"):
        softness.fit(np.full(10, 0.1), logits[:10])


def test_softness_is_measured_and_entered(drawn_data: Path, tmp_path: Path) -> None:
    weights, folder = run(tmp_path / "run", drawn_data, stop_after=32), tmp_path / "weights"
    export(weights, folder, "tiny", trained_on="drawn pictures")
    assert checkpoint.find(folder=folder).softness is None
    found, (low, high) = softness.add(folder, [drawn_data], None, pairs=40)
    entered = checkpoint.find(folder=folder)
    assert entered.softness == found
    assert isinstance(found, Softness)
    assert 0 <= low <= high
    assert found.slope == 0 or low > 0
    assert entered.calibration.name == "tiny-uncalibrated"


def items(real: list[float], fake: list[float], *, groups: int = 1000) -> list[Item]:
    rows = [("real", value) for value in real] + [("fake", value) for value in fake]
    return [
        Item(
            path=f"{i}",
            label=label,
            source="s",
            method="m" if label == "fake" else "",
            group=f"g{i % groups}",
            kind="image",
            verdict="manipulated" if value > 0 else "no_manipulation_found",
            probability=0.5,
            logit=value,
        )
        for i, (label, value) in enumerate(rows)
    ]


def test_the_table_counts() -> None:
    (row,) = table(items([-1, -1, -1, 1], [1, 1, -1]), resamples=50)
    assert (row["genuine"], row["manipulated"], row["unjudged"]) == (4, 3, 0)
    assert row["false_alarms"] == pytest.approx(0.25)
    assert row["found"] == pytest.approx(2 / 3)
    assert row["missed"] == pytest.approx(1 / 3)


def test_frames_have_an_interval_and_the_unjudged_a_class() -> None:
    some = [*items([-1.0, -0.5, 0.5, -2.0], [1.0, -0.7, 2.0]), replace(items([], [0.0])[0], path="x", logit=None)]
    frames = [
        scores.FrameScore(item.path, time, item.logit) for item in some for time in (0.0, 1.0) if item.logit is not None
    ]
    (row,) = table(some, frames, resamples=50)
    # A video that was looked at again counts no more than one that was clear at once.
    (again,) = table(some, [*frames, *[frame for frame in frames if frame.path == frames[2].path] * 3], resamples=50)
    assert again["frames"] == pytest.approx(row["frames"])
    assert again["frames_judged"] == row["frames_judged"] + 6
    low, high = row["frames_95"]["auc"]
    assert low < row["frames"]["auc"] < high
    assert (row["unjudged_genuine"], row["unjudged_manipulated"], row["unjudged"]) == (0, 1, 1)
    # Whatever needs a probability, which is the file's, is nothing of the frames.
    assert list(row["frames"]) == ["auc", "ap", "eer", "recall_at_1", "recall_at_5"]
    text = evaluate.markdown([row])
    assert "| 0 / 1 |" in text
    assert text.rstrip().endswith(f"{row['frames']['auc']:.3f} ({low:.2f}–{high:.2f}) |")


#: Of slope 1: log odds are logits, but where a picture is poor.
LINE = Bands(slope=1.0, offset=0.0, lower=0.2, upper=0.8, genuine=9, manipulated=9, false_alarm_rate=0.0, miss_rate=0.0,
             largest_ratio=10.0, quality_loss=0.5)  # fmt: skip


def test_files_are_ordered_by_what_is_said_of_them_and_not_by_their_worst_person(tmp_path: Path) -> None:
    alone, crowd, poor = items([], [2.0, 3.0, 2.5])
    crowd, poor = replace(crowd, others=" ".join(["-4.0:1.0"] * 9)), replace(poor, quality=0.0)
    calibration = Calibration("c", "", "", LINE, LINE)
    said = [scores.relabelled(item, calibration) for item in (alone, crowd, poor)]
    assert [item.log_odds for item in said] == pytest.approx(
        [2.0, math.log((math.exp(3.0) + 9 * math.exp(-4.0)) / 10), 1.25]
    )
    for item in said:  # What the label rests on, to either side of its bar.
        assert item.log_odds is not None
        assert (item.verdict == "manipulated") == (item.log_odds >= math.log(4))
    assert evaluate.scored(said).evidence.tolist() == [item.log_odds for item in said]
    # An older table, in which there is no such column, is ordered by logits.
    columns = [field.name for field in fields(Item) if field.name != "log_odds"]
    with (tmp_path / "scores.csv").open("w", newline="") as lines:
        rows = csv.DictWriter(lines, columns, extrasaction="ignore")
        rows.writeheader()
        rows.writerows(vars(item) for item in said)
    old = read_scores(tmp_path / "scores.csv")
    assert evaluate.scored(old).evidence.tolist() == [2.0, 3.0, 2.5]
    assert evaluate.scored([*old, *said]).evidence.tolist() == [2.0, 3.0, 2.5] * 2
    assert [scores.relabelled(item, calibration) for item in old] == said


def test_the_rates_of_the_bands_are_those_of_what_is_said() -> None:
    """Among the genuine are ten with one bad face in a crowd; among the forged, three with one at the rim."""
    rng = np.random.default_rng(0)
    alone = items(list(rng.normal(-1.5, 1, 90)), list(rng.normal(1.5, 1, 90)))
    crowds = [replace(item, path=f"c{item.path}", group=f"c{item.path}", others=" ".join(["-6.0:1.0"] * 29))
              for item in items([4.0] * 10, [])]  # fmt: skip
    brief = [replace(item, path=f"b{item.path}", group=f"b{item.path}", brief="6.0:1.0")
             for item in items([], [-4.0] * 3)]  # fmt: skip
    mixed = [*alone, *crowds, *brief]
    bands = calibrate.fit(mixed)
    said = [scores.relabelled(item, Calibration("c", "", "", bands, bands)).verdict for item in mixed]
    alarms = [verdict == "manipulated" for item, verdict in zip(mixed, said, strict=True) if item.label == "real"]
    misses = [
        verdict == "no_manipulation_found" for item, verdict in zip(mixed, said, strict=True) if item.label == "fake"
    ]
    assert bands.false_alarm_rate == pytest.approx(np.mean(alarms), abs=1e-4)
    assert bands.false_alarm_rate <= calibrate.FALSE_ALARMS
    assert bands.miss_rate == pytest.approx(np.mean(misses), abs=1e-4)
    # One bad face in thirty is no reason to raise the bar for all the others.
    assert bands.upper < 0.8
    elsewhere = calibrate.carried_over(mixed)
    assert elsewhere["false_alarm_rate"] < 0.06


def test_sources_can_make_a_row_together() -> None:
    some = items([-1, 1], [1, 1])
    named = [replace(item, source=source) for item, source in zip(some, ("a", "b", "a", "c"), strict=True)]
    rows = table(named, together=[("a", "b")], resamples=50)
    (row,) = [row for row in rows if row["source"] == "a + b"]
    assert (row["genuine"], row["manipulated"]) == (2, 1)
    assert row["media"]["auc"] == pytest.approx(0.75)


def test_beside_the_calibration_error_stands_what_chance_would_show() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(400)
    some = items([0.0] * 200, [0.0] * 200)
    labels = np.where(rng.random(400) < chance, "fake", "real").tolist()
    exact = [replace(item, label=label, probability=stated, method="")
             for item, label, stated in zip(some, labels, chance.tolist(), strict=True)]  # fmt: skip
    (row,) = table(exact, resamples=20)
    by_chance = row["media"]["ece_by_chance"]
    assert by_chance == pytest.approx(0.042, abs=0.01)
    assert f"| {row['media']['ece']:.3f} ({by_chance:.3f} by chance) |" in evaluate.markdown([row])
    (row,) = table(exact[:1], resamples=20)
    assert math.isnan(row["media"]["ece_by_chance"])


def test_a_row_together_names_sources_that_are_there() -> None:
    options = argparse.ArgumentParser()
    evaluate.add_together(options)
    assert options.parse_args(["--together", "a, b"]).together == [["a", "b"]]
    some = [replace(item, source=source) for item, source in zip(items([-1], [1]), "ab", strict=True)]
    evaluate.check_together([["a", "b"]], some)
    with pytest.raises(SystemExit, match="expected some of a, b; found typo"):
        evaluate.check_together([["a", "b"], ["a", "typo"]], some)


def test_no_false_alarm_among_seven_says_little() -> None:
    low, high = evaluate.share_interval(items([-1.0] * 7, []), "manipulated")
    assert low == pytest.approx(0.0, abs=1e-9)
    assert high == pytest.approx(0.354, abs=0.01)
    # Seven more of one person, of whom nothing new is learned.
    seven = items([-1.0] * 7, [])
    copies = [*seven, *[seven[0]] * 7]
    assert evaluate.share_interval(copies, "manipulated")[1] > high + 0.1


@pytest.fixture
def few_media(tmp_path: Path) -> Path:
    for label, name in (("real", "portrait_genuine.jpg"), ("fake", "portrait_forged.jpg"), ("fake", "clip_forged.mp4")):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / name).write_bytes((SAMPLES / name).read_bytes())
    (tmp_path / "fake/broken.jpg").write_bytes(b"")
    return tmp_path


@pytest.fixture
def portraits(few_media: Path) -> list[Labelled]:
    """The two pictures of `few_media`, the forged one first."""
    return [item for item in read_dataset(few_media).items if "portrait" in item.path]


def test_a_narrower_run_loses_no_scores(few_media: Path, portraits: list[Labelled], detector: Detector) -> None:
    out = few_media / "out"
    first, _ = scores.run(few_media, portraits, out, detector)
    narrower, frames = scores.run(few_media, portraits[:1], out, detector)
    assert read_scores(out / "scores.csv") == narrower == first[:1]
    assert {frame.path for frame in frames} == {portraits[0].path}
    for item in portraits:
        (few_media / item.path).unlink()  # Whoever judges them anew finds an error.
    again, frames = scores.run(few_media, portraits, out, detector)
    assert again == first
    assert len(frames) == 2
    assert read_scores(out / "other_scores.csv") == []


def test_a_row_that_was_torn_costs_that_file_alone(
    few_media: Path, portraits: list[Labelled], detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    out = few_media / "out"
    first, frames = scores.run(few_media, portraits, out, detector)
    for name in ("scores.csv", "frames.csv"):
        whole = (out / name).read_bytes()
        header, _, rows = whole.partition(b"\n")
        # In the middle what a power cut may leave, and the last row as far as it came.
        (out / name).write_bytes(header + b"\nfake/portrait\r\n" + rows[:-4])
    again, frames_again = scores.run(few_media, portraits, out, detector)
    assert [(item.path, item.label, item.verdict) for item in again] == [
        (item.path, item.label, item.verdict) for item in first
    ]
    assert [item.logit for item in again] == pytest.approx([item.logit for item in first])
    assert [frame.path for frame in frames_again] == [frame.path for frame in frames]
    assert read_scores(out / "scores.csv") == again
    assert "1 rows can't be read" in caplog.text


def test_a_file_that_was_replaced_is_judged_anew(
    few_media: Path, portraits: list[Labelled], detector: Detector
) -> None:
    forged, genuine = portraits
    first, _ = scores.run(few_media, portraits, few_media / "out", detector)
    (few_media / forged.path).write_bytes((few_media / genuine.path).read_bytes())
    again, frames = scores.run(few_media, portraits, few_media / "out", detector)
    assert again[0].logit == pytest.approx(first[1].logit)
    assert again[0].logit != pytest.approx(first[0].logit)
    assert again[1] == first[1]
    assert sorted(frame.path for frame in frames) == [forged.path, genuine.path]


def test_scores_that_are_not_there_are_not_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["calibrate", str(tmp_path / "typo.csv"), "--data", "d", "--folder", str(tmp_path)]
    )
    with pytest.raises(SystemExit, match=r"typo\.csv: expected the scores\.csv"):
        calibrate.main()


@pytest.mark.skipif(os.name != "posix", reason="such names are those of Unix")
def test_refused_scores_are_named_as_can_be_printed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd = tmp_path / "x\nok   \x1b[2K"
    with pytest.raises(SystemExit, match=r"x\\nok   \\x1b\[2K: expected the scores\.csv"):
        read_scores(odd)
    odd.write_text("path,label\na\n")
    assert read_scores(odd) == []
    assert r"x\nok   \x1b[2K: 1 rows can't be read" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no such folder or file"),
        (["media", "--together", "media,typo"], "found typo"),
        (["media", "--weights", "nowhere"], "evaluate: .*nowhere"),
        (["media", "--frames", "0"], "evaluate: frames"),
    ],
)
def test_what_was_judged_is_forgotten_for_no_typo(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("media/real/a.jpg", "media/fake/b.jpg", "out/scores.csv"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("kept")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments, "--out", "out", "--again"])
    with pytest.raises(SystemExit, match=said):
        evaluate.main()
    assert (tmp_path / "out/scores.csv").read_text() == "kept"


def test_the_command_says_what_it_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "Celeb-DF-v2.0"
    for path in ("Celeb-real/id1_0001.mp4", "Celeb-synthesis/id1_id2_0001.mp4"):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text("x")
    (root / "List_of_testing_videos.txt").write_text("1 Celeb-real/id1_0001.mp4\n0 Celeb-synthesis/id1_id2_0001.mp4\n")
    written: dict[str, object] = {}
    monkeypatch.setattr(evaluate, "Detector", lambda *_, **__: None)
    monkeypatch.setattr(evaluate, "run", lambda *_: ([], []))
    monkeypatch.setattr(evaluate, "write", lambda *_, **named: written.update(named))
    monkeypatch.setattr(sys, "argv", ["evaluate", str(root), "--out", str(tmp_path / "out"), "--split", "test"])
    evaluate.main()
    assert written == {"name": "Celeb-DF-v2.0", "layout": "Celeb-DF", "split": "test", "together": []}
    assert capsys.readouterr().err == (
        "Celeb-DF: 1 genuine and 1 manipulated files in 1 groups; sources: celeb_df; methods: Celeb-synthesis\n"
    )


def test_names_that_are_no_text_are_shown(tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_resamples", lambda *_: 20)
    odd = "caf\udce9"
    some = [replace(item, path=f"{odd}/{item.path}", source=odd, group=odd + item.group, method=odd + item.method)
            for item in items([-1.0, 0.5, -2.0], [1.0, 2.0, -0.5])]  # fmt: skip
    two = [*some, *(replace(item, source="other", method="more") for item in some)]
    text = evaluate.write(tmp_path, two, [], detector, name=odd, split=odd, together=[[odd, "other"]])
    assert r"| caf\udce9 + other | all |" in text
    for name in ("table.md", "evaluation.html"):
        assert r"caf\udce9" in (tmp_path / name).read_text(encoding="utf-8")
    assert json.loads((tmp_path / "evaluation.json").read_text())["dataset"] == r"caf\udce9"
    assert sum(finetune.kept_apart(item) for item in some) < len(some)
    assert replace(drawn_face(0)[1], group=odd).held_back in (True, False)


def test_evaluation_goes_on_where_it_stopped(
    few_media: Path, detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    found = read_dataset(few_media).items
    assert [item.label for item in found] == ["fake", "fake", "fake", "real"]
    out = few_media / "out"
    first, _ = scores.run(few_media, found[-1:], out, detector)
    everything, frames = scores.run(few_media, found, out, detector)
    assert everything[-1].logit == pytest.approx(first[0].logit)
    assert everything[-1].probability == pytest.approx(first[0].probability)
    assert {item.path: item.verdict for item in everything}["fake/broken.jpg"] == "error"
    assert "broken.jpg: the file is empty" in caplog.text
    assert "1 of 4 files could not be read" in caplog.text
    assert sorted(item.path for item in read_scores(out / "scores.csv")) == sorted(item.path for item in found)
    clip = [frame for frame in frames if frame.path == "fake/clip_forged.mp4"]
    assert len(clip) > 4
    assert [frame.time_s for frame in clip] == sorted(frame.time_s for frame in clip)
    assert sum(frame.path == "real/portrait_genuine.jpg" for frame in frames) == 1


def test_results_of_other_options_or_versions_are_not_mixed(
    few_media: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_dataset(few_media).items
    scores.run(few_media, found[-1:], few_media / "out", detector)
    with pytest.raises(SystemExit, match="other media, weights or options"):
        scores.run(few_media, found, few_media / "out", Detector(Options(frames=3)))
    with monkeypatch.context() as changed:
        changed.setattr(scores, "__version__", "9.9")
        with pytest.raises(SystemExit, match=r"holds results of version \d\S*, this is 9\.9; remove"):
            scores.run(few_media, found, few_media / "out", detector)
    corrected = [replace(found[-1], label="fake", method="blend")]
    (item,), _ = scores.run(few_media, corrected, few_media / "out", detector)
    assert (item.label, item.method) == ("fake", "blend")
    kept = few_media / "out" / "run.json"
    kept.write_text(
        json.dumps({name: value for name, value in json.loads(kept.read_text()).items() if name != "version"})
    )
    with pytest.raises(SystemExit, match="holds results of version unknown, this is"):
        scores.run(few_media, corrected, few_media / "out", detector)


def test_the_results_are_written_for_programs_and_for_people(few_media: Path, detector: Detector) -> None:
    dataset = read_dataset(few_media)
    items, frames = scores.run(few_media, dataset.items, few_media / "out", detector)
    sources = sorted({item.source for item in items})
    text = evaluate.write(few_media / "out", items, frames, detector, name="<few> & small", layout=dataset.layout,
                          together=[sources])  # fmt: skip
    record = json.loads((few_media / "out/evaluation.json").read_text())
    assert record["errors"] == ["fake/broken.jpg"]
    assert " + ".join(sources) in {row["source"] for row in record["rows"]}
    assert record["tool"]["model"] == detector.tool.model
    page = (few_media / "out/evaluation.html").read_text()
    assert "&lt;few&gt; &amp; small" in page
    assert "4 files, read as real/ and fake/,\nof a video up to 128 frames; weights" in page
    assert (record["layout"], record["split"], record["frames_of_a_video"]) == ("real/ and fake/", None, 128)
    assert page.count("<svg") >= 2
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")
    assert text.startswith("| source |")


def test_calibration_finds_what_low_quality_costs() -> None:
    """Half of the media are poor, and their logits say a third of what they seem to."""
    rng = np.random.default_rng(0)
    good = items(list(rng.normal(-1, 1, 2000)), list(rng.normal(1, 1, 2000)), groups=8000)
    poor = items(list(3 * rng.normal(-1, 3, 2000)), list(3 * rng.normal(1, 3, 2000)), groups=8000)
    mixed = [replace(i, quality=1.0) for i in good] + [replace(i, quality=0.2, path="p" + i.path) for i in poor]
    bands = calibrate.fit(mixed)
    # The slope of the poor is 2 / 27 where that of the good is 2: all but 4 % of it is lost.
    assert 1 - bands.quality_loss * 0.8 < 0.25
    assert label_of(3.0, bands, quality=1.0) == "manipulated"
    assert label_of(3.0, bands, quality=0.2) == "inconclusive"


def test_the_error_of_the_offset_is_that_of_drawing_other_media() -> None:
    def drawn(seed: int) -> list[Item]:
        rng = np.random.default_rng(seed)
        return items(list(rng.normal(-1, 1, 40)), list(rng.normal(1, 1, 40)), groups=80)

    offsets = [calibrate.fit(drawn(seed)).offset for seed in range(60)]
    said = [calibrate.uncertainty(drawn(seed))["offset_sd"] for seed in range(4)]
    assert 0.7 < np.mean(said) / np.std(offsets) < 1.4


def test_a_kind_without_media_of_its_own_follows_the_other_again(tmp_path: Path) -> None:
    enter(tmp_path, "a", ENTRY)
    rng = np.random.default_rng(0)
    for centre in (1.0, 2.0):
        pictures = items(list(rng.normal(-centre, 1, 40)), list(rng.normal(centre, 1, 40)), groups=80)
        found = calibrate.calibrate(pictures, tmp_path, data="pictures")["calibration"]
        assert found["video"] == found["image"]
        assert (found["image"]["genuine_groups"], found["image"]["manipulated_groups"]) == (40, 40)
        assert (found["image"]["genuine_effective"], found["image"]["manipulated_effective"]) == (40.0, 40.0)


def test_a_logit_that_nobody_measured_anew_moves_as_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "_RESAMPLES", 3)
    enter(tmp_path, "a", ENTRY)
    manifest = read_manifest(tmp_path)
    manifest["models"]["a"]["calibration"]["image"]["logit_sd"] = 0.7
    write_manifest(tmp_path, manifest)
    rng = np.random.default_rng(0)
    pictures = items(list(rng.normal(-1, 1, 40)), list(rng.normal(1, 1, 40)), groups=80)
    found = calibrate.calibrate(pictures, tmp_path, data="pictures")["calibration"]
    assert found["image"]["logit_sd"] == 0.7
    moved = {"image": 0.6, "video": 0.3}
    found = calibrate.calibrate(pictures, tmp_path, data="pictures", moved=moved)["calibration"]
    assert (found["image"]["logit_sd"], found["video"]["logit_sd"]) == (0.6, 0.3)
    handled = tmp_path / "judged.csv"
    handled.write_text("path,kind,part,alteration,logit\na,image,,unaltered,1.0\na,image,,JPEG 75,1.5\n")
    found = calibrate.calibrate(pictures, tmp_path, data="pictures", handled=handled, moved=moved)["calibration"]
    assert (found["image"]["logit_sd"], found["video"]["logit_sd"]) == (0.5, 0.3)


def test_what_was_tried_on_each_kind_of_media_is_kept_beside_the_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "_RESAMPLES", 3)
    enter(tmp_path, "a", ENTRY)
    rng = np.random.default_rng(0)
    both = [
        replace(item, kind=kind, path=f"{kind}{item.path}")
        for kind in ("image", "video")
        for item in items(list(rng.normal(-1, 1, 40)), list(rng.normal(1, 1, 40)), groups=80)
    ]
    handled = tmp_path / "judged.csv"
    rows = [("a", "image", "pictures", "unaltered", 1.0), ("a", "image", "pictures", "screenshot", 3.0),
            ("a", "image", "pictures", "blur, sigma 2", 9.0), ("a", "image", "pictures", "mirrored", 1.0),
            ("b", "video", "videos", "unaltered", 0.0), ("b", "video", "videos", "H.264 CRF 23", -0.25),
            ("b", "video", "videos", "H.264 CRF 40", -3.0), ("c", "video", "videos", "mirrored", 0.5)]  # fmt: skip
    with handled.open("w", newline="") as lines:
        csv.writer(lines).writerows([("path", "kind", "part", "alteration", "logit"), *rows])
    entry = calibrate.calibrate(both, tmp_path, data="both", handled=handled)
    # What is no harmless handling does not count, nor what has nothing to be compared with.
    ways = {"image": {"mirrored": 0.0, "screenshot": 2.0}, "video": {"H.264 CRF 23": 0.25}}
    assert entry["calibration_handled"] == ways
    assert entry["calibration"]["image"]["logit_sd"] == pytest.approx(2**0.5, abs=1e-4)
    assert entry["calibration"]["video"]["logit_sd"] == 0.25
    assert calibrate.calibrate(both, tmp_path, data="both")["calibration_handled"] == ways
    # A similar net's spread says not of what it is.
    assert calibrate.calibrate(both, tmp_path, data="both", moved={"image": 0.4})["calibration_handled"].keys() == {
        "video"
    }


@pytest.mark.parametrize(("groups", "support"), [(5, 3.0), (9, 3.0), (400, 2.0)])
def test_no_label_is_given_that_the_stated_ratio_does_not_support(groups: int, support: float) -> None:
    rng = np.random.default_rng(2)
    bands = calibrate.fit(items(list(rng.normal(-3, 1, groups)), list(rng.normal(3, 1, groups)), groups=groups))
    for chance, least in ((bands.upper, support), (bands.lower, 1 / support)):
        ratio = limited(math.log(chance / (1 - chance)), bands.largest_ratio)
        assert ratio >= least if least > 1 else ratio <= least


def test_calibration_finds_the_odds_that_were_put_in() -> None:
    """Logits of two normal distributions of equal spread have exactly linear log odds: slope 2m / s², offset 0."""
    rng = np.random.default_rng(0)
    bands = calibrate.fit(items(list(rng.normal(-1, 1, 4000)), list(rng.normal(1, 1, 4000)), groups=8000))
    assert bands.slope == pytest.approx(2.0, rel=0.1)
    assert bands.offset == pytest.approx(0.0, abs=0.1)
    assert bands.false_alarm_rate <= calibrate.FALSE_ALARMS
    assert bands.miss_rate <= calibrate.MISSES + 1e-3
    assert bands.largest_ratio == 100


def test_few_videos_start_from_what_pictures_say_and_many_do_not() -> None:
    rng = np.random.default_rng(0)

    def drawn(count: int, mean: float) -> list[Item]:
        return items(list(rng.normal(-mean, 1, count)), list(rng.normal(mean, 1, count)), groups=8000)

    pictures = drawn(2000, 1.0)
    few, many = ([replace(item, kind="video") for item in drawn(count, 2.0)] for count in (6, 2000))
    alone = calibrate.fit(few)
    helped = calibrate.fit(few, others=pictures)
    assert 2.0 < helped.slope < alone.slope  # Six that are well apart seem to have an endless slope.
    assert calibrate.fit(many, others=pictures).slope == pytest.approx(calibrate.fit(many).slope, rel=0.02)


def test_few_media_support_small_ratios_only() -> None:
    bands = calibrate.fit(items([-1.0, -0.5, 0.2] * 3, [0.5, 1.0, 0.1] * 8))
    assert bands.largest_ratio == 10


def test_the_manifest_is_complete() -> None:
    folder = Path(__file__).parent.parent / "weights"
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = manifest["models"][manifest["default"]]
    assert {"file", "sha256", "date", "architecture", "training", "calibration"} <= entry.keys()
    assert "uncalibrated" not in entry["calibration"]["name"]
    for kind in ("image", "video"):
        assert entry["calibration"][kind]["genuine"] >= 7
