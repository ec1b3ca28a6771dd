"""benchmarks: most of them run, tiny. Time is never judged here."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
import scipy
import torch
from conftest import SAMPLES, read_rgb, write_video

from deepfake_detect import Detector, checkpoint
from deepfake_detect.engine import Examiner, choose, load_net
from deepfake_detect.training import calibrate, scores
from deepfake_detect.training.datasets import Labelled
from deepfake_detect.training.export import read_manifest
from deepfake_detect.types import Frame, Kind, Look

BENCHMARKS = SAMPLES.parent / "benchmarks"


@pytest.mark.parametrize(
    ("command", "rows"),
    [
        (
            ["speed.py", "--tiny", "--only", "video", "every", "start"],
            [
                "0.2 s of 240p, 2 frames | naive, EfficientNet-B4 at 380 |",
                "every frame, warm | naive, our net |",
                "--version",
            ],
        ),
        (["ideal.py", "--tiny"], ["| classifying 2 crops |", "| decoding 1 s, every frame |", "s, 2 frames |"]),
        (["decode.py", "--tiny"], ["| 1080, 2, every frame |", "| 1080, 2, none |"]),
        (
            ["growth.py", "--tiny"],
            ["| seconds of 1080p | 2 |", "one-minute video | 180 |", "| faces in view", "one call | 2 |"],
        ),
        (["stages.py", "--tiny"], ["| photo |", "| minute |", "| crowd |"]),
        (["detection.py", str(SAMPLES), "--frames", "2"], ["| videos | 4 |", "| pictures | 2 |", "| groups | 8 |"]),
    ],
)
def test_a_tiny_run_fills_its_table(command: list[str], rows: list[str]) -> None:
    printed = run(*command)
    for row in rows:
        assert row in printed


def test_how_many_frames_are_needed(tmp_path: Path) -> None:
    for name in ("clip_genuine.mp4", "clip_forged.mp4"):
        shutil.copy(SAMPLES / name, tmp_path)
    # A forgery and the clip that it was made of are one group, and no more than that is known twice.
    (tmp_path / "index.csv").write_text("path,label,group\nclip_genuine.mp4,real,a\nclip_forged.mp4,fake,a\n")
    printed = run("effort.py", str(tmp_path / "index.csv"), "--splices", "2")
    assert "2 videos in 1 groups, of 75 to 75 frames" in printed
    assert "| all | 2 of 2 (0.21–1.00) | 1.000 | 0.00 | 0.00 | 0 | 75 |" in printed


def test_where_the_map_is_warm(drawn_data: Path) -> None:
    printed = run("localisation.py", str(drawn_data), "--pairs", "8")
    for row in ("| halves of blends, worn | 8 |", "| pictures as they are | 4 |", "| all of these, Grad-CAM++ |"):
        assert row in printed


def test_what_else_the_frames_of_one_person_say(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["path,label,group"]
    for i, (clip, label) in enumerate([("genuine", "real"), ("forged", "fake")] * 2):
        shutil.copy(SAMPLES / f"clip_{clip}.mp4", tmp_path / f"{i}.mp4")
        lines.append(f"{i}.mp4,{label},{i}")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    printed = run("looks.py", str(tmp_path), "--frames", "4", "--resamples", "20")
    assert "4 videos, 2 genuine, 4 groups" in printed
    for look in ("mirrored too", "seam against the inside", "flicker of the seam against the inside"):
        assert f"| {look} |" in printed
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from looks import judged_by, other_way_round

    (track,) = detector.detect(tmp_path / "1.mp4").tracks
    again, turned = (
        judged_by(examiner, tmp_path / "1.mp4", track, detector.options)
        for examiner in (Examiner(choose(), checkpoint.find()), other_way_round())
    )
    logits = [score.logit for score in track.voting]
    assert again == pytest.approx(logits, abs=1e-4)
    # Other crops, and the same faces.
    assert 0.001 < np.abs(turned - logits).mean() < 2


def test_the_sweep_begins_with_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import sweep

    shipped = checkpoint.find()
    trained = read_manifest(shipped.path.parent)["models"][shipped.name]["training"]["settings"]
    variants = {name: sweep.variant(name, crops=64, seed=5) for name in sweep.VARIANTS}
    entry, settings = variants["as shipped"]
    for of in ("architecture", "image_looks", "video_looks"):
        assert getattr(entry, of) == getattr(shipped, of)
    for of in ("narrowest", "widest", "closest", "norms"):
        assert getattr(settings, of) == trained[of]
    assert (settings.pictures, settings.seed) == (64, 5)
    one, _ = variants["one look of 0.3"]
    assert one.image_looks == one.video_looks == (Look(0.3),)
    recipes = [(entry.architecture, settings) for entry, settings in variants.values()]
    assert all(recipes.count(recipe) == 1 for recipe in recipes)

    items = [Labelled(f"portrait_{name}.jpg", label, "samples", "", name)
             for name, label in (("genuine", "real"), ("forged", "fake"))]  # fmt: skip
    faces = sweep.found_faces(SAMPLES, items, tmp_path / "faces.json")
    assert sweep.held_out(sweep.examiner_of(load_net(shipped), entry), SAMPLES, items, faces) == {"samples": 1.0}


def test_files_of_one_clip_or_of_a_swap_and_its_sources_are_one_group(tmp_path: Path) -> None:
    together = [
        ["ffpp_c23/original_253.mp4", "ffpp_c23/Face2Face_253_183.mp4", "ffpp_c23/original_183.mp4"],
        ["crops_mixed/ffpp_Deepfakes_000_003_025.png", "crops_mixed/ffpp_Face2Face_000_003_009.png"],
        ["crops_mixed/Celeb-real_id0_0000_045.png", "crops_mixed/Celeb-synthesis_id0_id1_0000_000.png"],
        ["crops_mixed/celebdf_YouTube-real_00000_000.png", "crops_mixed/celebdf_YouTube-real_00000_043.png"],
        ["crops_mixed/celebdf_YouTube-real_00001_000.png"],
        ["ffpp_raw/ex_original.png", "ffpp_raw/ex_deepfakes.png", "ffpp_raw/ex_neuraltextures.png"],
        ["ffpp_raw/ex_original_actors.png", "ffpp_raw/ex_deepfakedetection.png"],
        ["dfdc_faces/aabyjxwqyo_ppulbuhtsc_0.jpg", "dfdc_faces/aabyjxwqyo_3.jpg", "dfdc/ppulbuhtsc.mp4"],
        ["hardfaces/000_003_1.jpg"],
        ["hardfaces/000_003_2.jpg"],
    ]
    lines = [f"{name},real,{name.split('/')[0]},{name}" for names in together for name in names]
    (tmp_path / "index.csv").write_text("\n".join(["path,label,source,group", *lines]))
    rows = csv.DictReader(run("groups.py", str(tmp_path / "index.csv")).splitlines())
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["group"], set()).add(str(Path(row["path"]).relative_to(tmp_path.resolve())))
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, together))


def test_listed_media_count_while_they_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import public

    with public.LIST.open(encoding="utf-8", newline="") as lines:
        listed = list(csv.DictReader(lines))
    assert len({row["sha256"] for row in listed}) == len(listed)
    assert {row["label"] for row in listed} == {"real", "fake"}
    # These hold the very pictures of sets that were trained on.
    carriers = ("All-Age-Faces", "CivilServiceUSA/", "AI-Lab-Final-Project-FALL25")
    assert not [row for row in listed if any(name in row["repository"] for name in carriers)]
    # Of people and clips of whom a genuine file was listed, as the card counts them.
    assert len({row["group"] for row in listed if row["source"] == "public_videos" and row["label"] == "real"}) > 200

    photo = SAMPLES / "portrait_genuine.jpg"
    (tmp_path / "a/b/faces").mkdir(parents=True)
    for name in ("same.jpg", "changed.jpg"):
        shutil.copy(photo, tmp_path / "a/b/faces" / name)
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    rows = [("same", digest), ("changed", "0" * 64), ("gone", digest)]
    (tmp_path / "list.csv").write_text(
        "repository,file,sha256,label,source,method,group\n"
        + "".join(f"a/b,faces/{name}.jpg,{sha256},real,public_pictures,,{name}\n" for name, sha256 in rows)
    )
    found, missing, changed = public.at_hand(tmp_path, tmp_path / "list.csv")
    assert [(Path(item.path).name, item.label, item.group) for item in found] == [("same.jpg", "real", "same")]
    assert [Path(path).name for path in (*missing, *changed)] == ["gone.jpg", "changed.jpg"]
    monkeypatch.setattr(sys, "argv", ["public.py", str(tmp_path / "empty")])
    with pytest.raises(SystemExit, match="expected clones of the repositories"):
        public.main()


def test_what_is_left_after_each_alteration(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for label, name in (("real", "portrait_genuine.jpg"), ("fake", "portrait_forged.jpg")):
        clip = write_video(tmp_path / f"{label}.mp4", [read_rgb(SAMPLES / name)] * 2)
        # No source holds pictures of both classes, which spares the bootstrap of 22 alterations.
        rows += [
            {"path": SAMPLES / name, "label": label, "source": label},
            {"path": clip, "label": label, "source": "clips"},
        ]
    # Without the gradient attack, which takes ten steps for each look and each strength.
    arguments = ("--attacked", "0", "--frames", "1", "--out", str(tmp_path))
    printed = run("robustness.py", str(table(tmp_path / "index.csv", rows)), *arguments)
    for row in ("pictures: 2", "| messenger chain |", "| re-photographed |", "videos: 2", "| H.264 CRF 40 |"):
        assert row in printed
    assert len((tmp_path / "judged.csv").read_text().splitlines()) == 1 + 2 * 22 + 2 * 5


def test_what_can_t_be_read_is_passed_over(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import robustness

    monkeypatch.setattr(robustness, "PICTURES", {"unaltered": lambda pixels: pixels})
    there, gone = (Labelled(name, "real", "s", "", name) for name in ("portrait_genuine.jpg", "gone.jpg"))
    ((name, judged),) = robustness.judged_pictures(SAMPLES, [gone, there], detector)
    assert (name, [item.path for item in judged]) == ("unaltered", ["portrait_genuine.jpg"])
    assert next(robustness.judged_videos(SAMPLES, [gone], detector)) == ("unaltered", [])
    assert list(robustness.attacked(SAMPLES, [gone], detector)) == []
    assert capsys.readouterr().err.count("passed over: ") == 3


def test_the_gradient_attack_is_on_the_logit_that_decides(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import robustness

    monkeypatch.setattr(robustness, "EPSILONS", (4,))
    monkeypatch.setattr(robustness, "STEPS", 2)
    items = [Labelled(f"portrait_{name}.jpg", label, "s", "", name)
             for name, label in (("genuine", "real"), ("forged", "fake"))]  # fmt: skip
    (name, unaltered), (attack, attacked) = robustness.attacked(SAMPLES, items, detector)
    assert (name, attack) == ("unaltered", "gradient attack, 4/255")
    entry = checkpoint.find()
    examiner, net = Examiner(choose(), entry), load_net(entry)
    for item, before, after, sign in zip(items, unaltered, attacked, (1, -1), strict=True):
        (track,) = detector.detect(SAMPLES / item.path).tracks
        assert before.logit == pytest.approx(track.logit, abs=1e-4)
        assert sign * (after.logit - before.logit) > 1
        # What the gradient is of.
        view = examiner.cut(Frame(read_rgb(SAMPLES / item.path)), track.scores[0].face, kind="image")
        crops = torch.from_numpy(np.stack([crop.pixels for crop in view])).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            found = float(robustness._logit(net, entry, crops, robustness._onto_first(entry, view)))
        assert found - examiner.warmth(view) == pytest.approx(track.logit, abs=1e-3)


def test_false_alarms_by_groups_of_people(tmp_path: Path) -> None:
    people = [("25_0_0", 9), ("35_1_0", -9), ("45_0_1", -9), ("70_1_4", -9), ("12_1_3", -9)]
    rows = [{"path": f"{person}_20170116174525125.jpg", "label": "real", "source": "utkface", "group": person,
             "kind": "image", "logit": logit} for person, logit in people]  # fmt: skip
    printed = run("fairness.py", str(table(tmp_path / "scores.csv", rows)))
    for row in (
        "| group | White | 2 | 0.500 (",
        "| group | Indian | 1 | 0.000 (",
        "| sex | male | 2 |",
        "| age | 60 to 119 |",
    ):
        assert row in printed
    assert "group: worst and best 50.0 points apart" in printed
    # Whoever is under 18 is in no band.
    assert printed.count("| age |") == 4


def test_ways_to_calibrate(tmp_path: Path) -> None:
    printed = run("calibrations.py", str(table(tmp_path / "scores.csv", judged(40))), "--splits", "1")
    for row in (
        "| image | temperature |",
        "| video | the same, beginning with what pictures say |",
        "| both together | beta |",
    ):
        assert row in printed


def test_ways_to_calibrate_are_held_by_one_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few files that are separable the slope is the penalty's doing: another one would look like another way."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from calibrations import WAYS

    few = [scores.Item(f"{i}", label, "made", "", f"{i}", logit=level + i / 10)
           for label, level in (("real", -2.0), ("fake", 1.0)) for i in range(12)]  # fmt: skip
    logits, ones, fake = calibrate.arrays(few)
    slope, offset, _ = calibrate._platt(logits, ones, fake, calibrate.source_weights(few))
    odds = scipy.special.logit(WAYS["Platt"](few, few))
    fitted_slope, fitted_offset = np.polyfit(logits, odds, 1)
    assert slope > 2
    assert fitted_slope == pytest.approx(slope, rel=0.03)
    assert fitted_offset == pytest.approx(offset, abs=0.1)


def test_the_model_card_is_filled_and_keeps_what_was_written_by_hand(tmp_path: Path) -> None:
    leave = shutil.ignore_patterns("__pycache__")
    weights = shutil.copytree(SAMPLES.parent / "weights", tmp_path / "weights", ignore=leave)
    (tmp_path / "benchmarks").mkdir()
    program = shutil.copy(BENCHMARKS / "card.py", tmp_path / "benchmarks")
    table(tmp_path / "scores.csv", judged(10))
    (tmp_path / "measured.md").write_text("As measured.\n")
    calibrate.calibrate(scores.read_scores(tmp_path / "scores.csv"), weights, data="made")
    before, part = (weights / "MODEL_CARD.md").read_text(), re.compile(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", re.S)
    run(program, str(tmp_path), f"robustness={tmp_path / 'measured.md'}")
    card = (weights / "MODEL_CARD.md").read_text()
    assert part.sub(r"\1\3", card) == part.sub(r"\1\3", before)
    filled = {match[2]: match[0] for match in part.finditer(card)}
    assert filled.keys() >= {"identity", "results", "figures", "calibration", "robustness"}
    assert "| made | all | 10 / 10 |" in filled["results"]
    assert filled["robustness"] == "<!-- robustness -->\nAs measured.\n<!-- /robustness -->"
    assert (weights / "reliability.svg").read_text().startswith("<svg")
    # One file judged anew, and what ships as calibration is of other scores than the card's.
    rows = judged(10)
    table(tmp_path / "scores.csv", [{**rows[0], "logit": 0.5}, *rows[1:]])
    done = subprocess.run([sys.executable, program, str(tmp_path)], capture_output=True, text=True, check=False,
                          cwd=SAMPLES.parent)  # fmt: skip
    assert done.returncode == 1
    assert "calibrated on other scores (slope of image: " in done.stderr
    assert (weights / "MODEL_CARD.md").read_text() == card


def test_the_card_that_ships_is_that_of_the_weights_that_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import card

    text = (card.WEIGHTS / "MODEL_CARD.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- /\1 -->", text, re.DOTALL))
    manifest, found = read_manifest(card.WEIGHTS), checkpoint.find(folder=card.WEIGHTS)
    entry = manifest["models"][manifest["default"]]
    looks = {"picture": found.image_looks, "video": found.video_looks}
    assert parts["identity"] == card.identity(entry, looks, found)
    assert parts["calibration"] == card.calibration(entry)
    lost = re.search(r'"evidence lost at quality 0" is (.+?) for pictures, (.+?) for videos', text)
    assert lost is not None
    shown = [f"{found.calibration.bands(kind).quality_loss * 100:.0f} %" for kind in get_args(Kind)]
    assert [*lost.groups()] == ["none" if share == "0 %" else share for share in shown]


def test_the_card_names_what_was_tried_on_each_kind_of_media(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import card

    manifest = read_manifest(card.WEIGHTS)
    entry = manifest["models"][manifest["default"]]
    tried = {"image": {"mirrored": 0.67, "screenshot": 1.56}, "video": {"H.264 CRF 23": 0.41}}
    filled = card.calibration({**entry, "calibration_handled": tried})
    assert filled.endswith(": images: mirrored 0.67, screenshot 1.56; videos: H.264 CRF 23 0.41.")
    assert card.calibration({**entry, "calibration_handled": {}}).endswith("|")


def test_whole_numbers_beside_fractions(drawn_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(drawn_data, tmp_path / "data")
    with (data / "index.csv").open("a") as lines:
        for name, label in (("portrait_genuine.jpg", "real"), ("portrait_forged.jpg", "fake")):
            shutil.copy(SAMPLES / name, data)
            lines.write(f"{name},{label},val,samples,,,{name}\n")
    printed = run("int8.py", str(data), "--tiny")
    assert "| float32 |" in printed
    assert "| int8 |" in printed


def test_what_misleads_the_detector_is_shown(tmp_path: Path) -> None:
    run("failures.py", str(tmp_path / "sheet.jpg"))
    assert cv2.imread(str(tmp_path / "sheet.jpg")) is not None


def judged(count: int) -> list[dict[str, object]]:
    """Rows of so many genuine and so many manipulated files that were judged, every other a video, all strangers."""
    rng = np.random.default_rng(0)
    return [
        {"path": f"{label}{i}", "label": label, "source": "made", "group": f"{label}{i}", "kind": ("image", "video")[i % 2],
         "logit": rng.normal(mean, 1.5), "quality": rng.uniform()}
        for label, mean in (("real", -1.5), ("fake", 1.5)) for i in range(count)
    ]  # fmt: skip


def table(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def run(name: str | Path, *arguments: str) -> str:
    """What a benchmark prints."""
    done = subprocess.run([sys.executable, str(BENCHMARKS / name), *arguments], capture_output=True, text=True,
                          check=False, cwd=SAMPLES.parent)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
