"""dossier and verify: what the folder holds, that it says where it comes from, and that a changed byte is named."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
from conftest import SAMPLES, read_rgb

from deepfake_detect import (
    Detector,
    MediaError,
    Options,
    OptionsError,
    ReportOptions,
    __version__,
    checkpoint,
    media,
    verdict,
    words,
)
from deepfake_detect.cli import main
from deepfake_detect.dossier import INCOMPLETE, JSON, SUMS, read_key, read_sums, save, sha256_of, sums_text
from deepfake_detect.engine import pooled
from deepfake_detect.folder import opened
from deepfake_detect.pdq import perceptual_hash
from deepfake_detect.report import SCHEMA_FILE, to_dict
from deepfake_detect.types import Failure, Frame, HashedMoment, Report
from deepfake_detect.verify import Check, signed, verify

if TYPE_CHECKING:
    from collections.abc import Callable

PICTURE, CLIP = SAMPLES / "portrait_forged.jpg", SAMPLES / "clip_forged.mp4"
# Of nobody: openssl req -x509 -newkey ed25519 -nodes -keyout /dev/null -subj /CN=Test -days 1
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBMjCB5aADAgECAhRrScyO5w35Bdc9ZXFev5oEbkbZojAFBgMrZXAwDzENMAsG
A1UEAwwEVGVzdDAeFw0yNjExMzAxNTI5MjRaFw0yNjEyMDExNTI5MjRaMA8xDTAL
BgNVBAMMBFRlc3QwKjAFBgMrZXADIQBIsGdKvuwPrYwVeu7XipNXIUmwQ5/FRrkY
90R9QyxwyqNTMFEwHQYDVR0OBBYEFN2neD0LWapv5voTaq1rstsG9qiwMB8GA1Ud
IwQYMBaAFN2neD0LWapv5voTaq1rstsG9qiwMA8GA1UdEwEB/wQFMAMBAf8wBQYD
K2VwA0EAMDXELeteDhnmoJpSadjfstAeZux+rxc6dhzKj/dvoalz0HAStqoceQbv
beOw1tn/EW3upjTNvPrRyrgAdE09Bw==
-----END CERTIFICATE-----
"""


@pytest.fixture(scope="module")
def picture() -> Report:
    return Detector(Options(provenance=True)).detect(PICTURE)


@pytest.fixture(scope="module")
def clip() -> Report:
    return Detector(Options(frames=6, provenance=True)).detect(CLIP)


@pytest.fixture(scope="module")
def folder(clip: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(clip, tmp_path_factory.mktemp("report"))


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def bad(checks: tuple[Check, ...]) -> dict[str, str]:
    return {check.name: check.message for check in checks if not check.good}


def test_the_folder_holds_what_it_lists_and_no_more(
    picture: Report, clip: Report, folder: Path, tmp_path: Path
) -> None:
    before = CLIP.read_bytes()
    save(picture, tmp_path)
    assert {"report.html", "report.json", "annotated.jpg", "contact_sheet.jpg", SUMS} < names(tmp_path)
    assert {"report.html", "report.json", "annotated.mp4", "contact_sheet.jpg", SUMS} < names(folder)
    for one in (tmp_path, folder):
        assert set(read_sums((one / SUMS).read_text())) == names(one) - {SUMS}
        evidence = [name for name in names(one) if name.startswith("evidence/")]
        assert len(evidence) == (1 if one == tmp_path else 6)
    assert CLIP.read_bytes() == before


def test_the_record_keeps_the_contract_and_adds_what_one_needs_to_check_it(clip: Report, folder: Path) -> None:
    record = json.loads((folder / JSON).read_text())
    jsonschema.validate(record, json.loads(SCHEMA_FILE.read_text()))
    plain = to_dict(clip)
    assert record["verdict"] == plain["verdict"]
    assert record["media"] == {**plain["media"], "path": CLIP.name}
    known = record["examination"]
    assert known["calibration"]["genuine"] > 0
    assert known["calibration"]["on_other_groups"].keys() == {"false_alarm_rate", "miss_rate", "inconclusive"}
    assert known["posteriors"][2]["probability"] == pytest.approx(plain["verdict"]["probability"], abs=1e-4)
    assert [entry["time_s"] for entry in known["provenance"]["pdq"]] == [0, 1, 2]
    assert len(known["limits"]) == 6
    assert known["limits"][-1].startswith("Of a video it judges the frames looked at")
    for face in record["tracks"][0]["faces"]:
        with np.load(folder / face["evidence"]["file"]) as kept:
            assert kept["evidence"].shape == (28, 28)
            assert kept["crop"].shape == (224, 224, 3)
            # What is drawn is what was decided on: the stored map gives the stated logit.
            (logit,) = pooled(kept["evidence"][None].astype(np.float32), checkpoint.find(), kind="video")
        assert logit == pytest.approx(face["logit"], abs=1e-3)


def test_every_second_has_the_hash_of_its_first_frame(clip: Report) -> None:
    assert clip.provenance is not None
    with media.open(CLIP, Options()) as opened:
        frames = {frame.time_s: frame for frame in opened.stretch() if isinstance(frame, Frame)}
    # None of these is among the six that were looked at.
    assert not {0.0, 1.0, 2.0} & set(clip.sampled_times_s)
    assert clip.provenance.perceptual_hashes == tuple(
        HashedMoment(second, perceptual_hash(frames[second].pixels)) for second in (0.0, 1.0, 2.0)
    )
    assert "hashes_cut" not in {note.key for note in clip.provenance.notes}


def test_the_seconds_that_are_hashed_change_no_finding(clip: Report) -> None:
    plain = Detector(Options(frames=6)).detect(CLIP)
    assert clip.sampled_times_s == plain.sampled_times_s
    for name in ("verdict", "tracks", "warnings"):
        assert to_dict(clip)[name] == to_dict(plain)[name]


def test_a_longer_video_says_which_seconds_have_a_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MOST_SECONDS", 1)
    report = Detector(Options(frames=3, provenance=True)).detect(CLIP)
    assert report.provenance is not None
    # After that one, those that were looked at anyway, one in each second.
    first, *others = [moment.time_s for moment in report.provenance.perceptual_hashes]
    assert first == 0
    assert set(others) <= set(report.sampled_times_s)
    assert [int(time_s) for time_s in others] == [1, 2]
    record = json.loads((save(report, tmp_path) / JSON).read_text())
    jsonschema.validate(record, json.loads(SCHEMA_FILE.read_text()))
    notes = record["examination"]["provenance"]["notes"]
    assert {"key": "hashes_cut", "values": {"seconds": "1"}} in notes
    assert "first 1 seconds examined" in (tmp_path / "report.html").read_text()


def test_two_reports_are_equal_but_for_times(folder: Path, tmp_path: Path) -> None:
    again = save(Detector(Options(frames=6, provenance=True)).detect(CLIP), tmp_path)
    first, second = (json.loads((one / JSON).read_text()) for one in (folder, again))
    for record in (first, second):
        del record["timing_s"], record["examination"]["created_utc"]
    assert first == second


def test_a_report_that_was_not_touched_is_good(folder: Path) -> None:
    checks = verify(folder, media=CLIP)
    assert not bad(checks)
    found = {check.name: check.message for check in checks}
    assert (
        found["verdict"]
        == "found again, with the same figures and 6 maps; the page and its pictures were not made again"
    )
    assert {"media", "model", JSON, SUMS} - set(found) == {SUMS}


def test_an_error_of_the_program_is_not_one_of_the_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Detector, "detect", lambda *_, **__: [][0])
    found = bad(verify(folder, media=CLIP))
    assert found.keys() == {"verdict"}
    assert "can't be repeated: internal error (IndexError" in found["verdict"]


def test_other_tools_can_check_it(folder: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_any_changed_byte_is_named(folder: Path, tmp_path: Path) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    files = sorted(name for name in names(target) if not name.endswith(".mp4"))
    rng = random.Random(0)
    assert len(files) > 8
    for _ in range(200):
        name = rng.choice(files)
        path = target / name
        before = path.read_bytes()
        place = rng.randrange(len(before))
        changed = bytes([before[place] ^ (1 << rng.randrange(8))])
        path.write_bytes(before[:place] + changed + before[place + 1 :])
        found = bad(verify(target))
        # Of a changed list, the file whose line it was; or the list itself.
        assert name in found or (name == SUMS and found), (name, place)
        path.write_bytes(before)
    assert not bad(verify(target))


def resummed(folder: Path) -> None:
    """What somebody does who changes a file and hides it: writes the list anew."""
    sums = read_sums((folder / SUMS).read_text())
    (folder / SUMS).write_text(sums_text({name: sha256_of(folder / name) for name in sums}))


def test_what_is_missing_added_or_unfinished_is_named(folder: Path, tmp_path: Path) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    (target / "annotated.mp4").unlink()
    (target / "note.txt").write_text("mine")
    (target / "elsewhere").symlink_to(tmp_path)
    (target / INCOMPLETE).touch()
    assert bad(verify(target)).keys() == {"annotated.mp4", "note.txt", "elsewhere", INCOMPLETE}
    (target / SUMS).unlink()
    assert SUMS in bad(verify(target))
    with pytest.raises(OptionsError, match="expected the folder of a report"):
        verify(tmp_path / "none")


@pytest.mark.parametrize("below", ["", "evidence"])
def test_a_folder_that_must_not_be_entered_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")

    def denied(real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        # As of a folder whose names can be listed and no more; root, as which tests may run, enters any.
        def stat(path: Any, *how: Any, **more: Any) -> os.stat_result:
            if target / below in Path(os.fsdecode(path) if not isinstance(path, int) else "").parents:
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return real(path, *how, **more)

        return stat

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, denied(getattr(os, name)))
    found = bad(verify(target))
    assert found
    unread = {path.relative_to(target).as_posix() for path in target.glob("evidence/*")} if below else {SUMS}
    assert {name for name, said in found.items() if "Permission denied" in said} == unread


def test_other_media_and_another_finding_are_named(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(CLIP.read_bytes() + b"\0")
    assert "another file, or changed" in bad(verify(folder, media=other))["media"]
    target = shutil.copytree(folder, tmp_path / "copy")
    record = json.loads((target / JSON).read_text())
    record["tracks"][0]["faces"][2]["logit"] += 1
    (target / JSON).write_text(json.dumps(record))
    assert JSON in bad(verify(target, media=CLIP))
    resummed(target)
    assert "tracks[0].faces[2].logit: was" in bad(verify(target, media=CLIP))["verdict"]
    record["tracks"][0]["faces"][2]["logit"] -= 1
    used = record["tool"]["entry_sha256"]
    record["tool"]["entry_sha256"] = "0" * 64
    (target / JSON).write_text(json.dumps(record))
    resummed(target)
    assert "looks, softness, calibration or face finder are others" in bad(verify(target))["model"]
    record["tool"]["entry_sha256"] = used
    record["tool"]["model_sha256"] = "0" * 64
    (target / JSON).write_text(json.dumps(record))
    resummed(target)
    assert "this installation has" in bad(verify(target))["model"]


@pytest.mark.parametrize("name", ["signature", "media", "verdict", "notes.txt", "evidence/x.npz", "report.json.part"])
def test_a_list_that_names_what_no_report_holds_vouches_for_nothing(folder: Path, tmp_path: Path, name: str) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    (target / name).write_bytes(b"")
    sums = read_sums((target / SUMS).read_text()) | {name: sha256_of(target / name)}
    (target / SUMS).write_text(sums_text(sums))
    checks = verify(target)
    assert not signed(checks)
    assert not [check for check in checks if check.name == name and check.good]
    assert bad(checks).keys() == {SUMS, name, "model"}


def test_whatever_the_record_says_is_compared(folder: Path, tmp_path: Path) -> None:
    record = json.loads((folder / JSON).read_text())

    def found(**changed: object) -> str:
        target = shutil.copytree(folder, tmp_path / str(len(list(tmp_path.iterdir()))))
        (target / JSON).write_text(json.dumps({**record, **changed}))
        resummed(target)
        assert not bad(verify(target))
        checks = verify(target, media=CLIP)
        return "\n".join(check.message for check in checks if check.name == "verdict" and not check.good)

    assert not found()
    assert "verdict.probability: is missing" in found(verdict={"label": record["verdict"]["label"], "reason": ""})
    assert "tracks[0].id: is missing" in found(tracks=[{"faces": record["tracks"][0]["faces"]}])
    examination = record["examination"]
    for key in ("calibration", "posteriors", "left_out", "limits", "where_to_turn", "provenance"):
        assert f"examination.{key}" in found(
            examination={**examination, key: None if key == "calibration" else {"a": 1}}
        )
    metadata = {**examination["provenance"], "metadata": [["EXIF", "Software", "a camera"]]}
    assert "metadata" in found(examination={**examination, "provenance": metadata})
    assert "verdict.reason" in found(verdict={**record["verdict"], "reason": "It is genuine."})


def judged_before(monkeypatch: pytest.MonkeyPatch, report: Report) -> None:
    """What is found again is this report: for tests of how records are compared."""
    monkeypatch.setattr("deepfake_detect.verify._detected", lambda *_: report)


def test_names_that_nobody_writes_are_differences_wherever_they_stand(
    clip: Report, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_before(monkeypatch, clip)
    for place in (
        "examiner_statement", "x", "tool.lab", "media.evidence", "media.reason", "verdict.path", "effort.note",
        "timing_s.genuine", "tracks[0].reason", "tracks[0].path", "tracks[0].faces[0].reason",
        "tracks[0].faces[0].evidence.note", "examination.reason", "examination.options.note",
        "examination.report_options.note", "examination.provenance.content_credentials.evidence",
    ):  # fmt: skip
        *parents, name = place.replace("[0]", ".0").split(".")

        def change(record: dict[str, Any], parents: list[str] = parents, name: str = name) -> None:
            owner: Any = record
            for parent in parents:
                owner = owner[int(parent) if parent.isdigit() else parent]
            # What has no value is there, too.
            owner[name] = None if name == "x" else 0.1

        target = rewritten(folder, tmp_path / place, change)
        assert bad(verify(target, media=CLIP)) == {"verdict": f"{place}: is in no report"}

    def timed(record: dict[str, Any]) -> None:
        record["timing_s"]["total"] = "never"

    def made(record: dict[str, Any]) -> None:
        record["examination"]["created_utc"] = "long ago"

    for changed, said in ((timed, "timing_s.total: was never"), (made, "examination.created_utc: was long ago")):
        assert said in bad(verify(rewritten(folder, tmp_path / changed.__name__, changed), media=CLIP))["verdict"]


def test_a_name_that_stands_twice_is_named(folder: Path, tmp_path: Path) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    text = (folder / JSON).read_text()
    assert text.count('\n "verdict": {') == 1
    (target / JSON).write_text(
        text.replace('\n "verdict": {', '\n "verdict": {"label": "manipulated"},\n "verdict": {')
    )
    resummed(target)
    assert "verdict stands twice" in bad(verify(target))[JSON]


def test_what_came_later_may_be_missing_in_reports_of_other_versions_alone_and_another_container_is_named(
    folder: Path, tmp_path: Path
) -> None:
    def lacking(record: dict[str, Any]) -> None:
        assert "mp4" in record["media"].pop("container").split(",")
        assert record["media"].pop("start_s") == 0
        assert record.pop("effort")["looks"] == [6]
        del record["examination"]["options"]["most_frames"]
        for name in ("genuine_effective", "manipulated_effective"):
            del record["examination"]["calibration"][name]

    def older(record: dict[str, Any]) -> None:
        lacking(record)
        record["tool"]["version"] = "0.1.0"
        # Other odds were asked about.
        ratio, first = record["verdict"]["likelihood_ratio"], record["examination"]["posteriors"][0]
        assert first["prior_odds"] == "1 : 99"
        first.update(prior_odds="1 : 100", probability=round(ratio / (ratio + 100), 6))

    def other(record: dict[str, Any]) -> None:
        record["media"]["container"] = "avi"

    assert not bad(verify(rewritten(folder, tmp_path / "older", older), media=CLIP))
    said = bad(verify(rewritten(folder, tmp_path / "lacking", lacking), media=CLIP))["verdict"]
    assert "is missing" in said
    assert (
        "media.container: was avi" in bad(verify(rewritten(folder, tmp_path / "other", other), media=CLIP))["verdict"]
    )


def test_a_report_of_before_videos_were_looked_at_again_is_checked_as_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(record: dict[str, Any]) -> None:
        del record["effort"], record["examination"]["options"]["most_frames"]
        record["tool"]["version"] = "0.1.0"

    folder = save(Detector(Options(most_frames=16, provenance=True)).detect(CLIP), tmp_path / "once")
    for module in ("verdict", "again"):
        monkeypatch.setattr(f"deepfake_detect.{module}.is_open", lambda *_, **__: True)
    assert bad(verify(folder, media=CLIP))["verdict"] == "effort.settled: was True, is False"
    assert not bad(verify(rewritten(folder, tmp_path / "older", older), media=CLIP))


def test_where_a_processor_rounds_otherwise_the_same_frames_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, False])
    with monkeypatch.context() as patch:
        patch.setattr(verdict, "is_open", lambda *_, **__: next(answers))
        folder = save(Detector(Options(provenance=True)).detect(CLIP), tmp_path / "twice")
    assert json.loads((folder / JSON).read_text())["effort"]["looks"] == [16, 64]
    # The first look would settle it here.
    assert not bad(verify(folder, media=CLIP))

    def looks_otherwise(record: dict[str, Any]) -> None:
        record["effort"]["looks"] = [17, 64]

    def has_more(record: dict[str, Any]) -> None:
        record["effort"]["available"] = 76

    def is_open(record: dict[str, Any]) -> None:
        record["effort"]["settled"] = False

    for change in (looks_otherwise, has_more, is_open):
        assert "effort." in bad(verify(rewritten(folder, tmp_path / change.__name__, change), media=CLIP))["verdict"]


@pytest.mark.parametrize("name", ["schema", "verdict", "tracks", "error", "effort"])
@pytest.mark.parametrize("version", [None, "0.0.1"])
def test_what_was_taken_out_of_a_record_is_missed(folder: Path, tmp_path: Path, name: str, version: str | None) -> None:
    def change(record: dict[str, Any]) -> None:
        record["tool"]["version"] = version or record["tool"]["version"]
        del record[name]

    assert bad(verify(rewritten(folder, tmp_path / "copy", change), media=CLIP))


def rewritten(folder: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy whose record is changed and whose list says so."""
    shutil.copytree(folder, target)
    record = json.loads((target / JSON).read_text())
    change(record)
    (target / JSON).write_text(json.dumps(record))
    resummed(target)
    return target


def test_figures_in_sentences_may_round_otherwise_and_neither_they_nor_words_may_differ(
    clip: Report, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_before(monkeypatch, clip)
    known = json.loads((folder / JSON).read_text())["verdict"]["reason"]
    times = re.search(r"about (\d+(\.\d)?) times", known)
    assert times is not None
    at = re.search(r"around (\d+\.\d) s", known)
    assert at is not None

    def found(reason: str) -> dict[str, str]:
        def change(record: dict[str, Any]) -> None:
            record["verdict"]["reason"] = reason

        return bad(verify(rewritten(folder, tmp_path / str(len(list(tmp_path.iterdir()))), change), media=CLIP))

    def about(ratio: float) -> str:
        return known.replace(times[0], f"about {ratio:.{1 if times[2] else 0}f} times")

    digit = 0.1 if times[2] else 1
    assert not found(about(float(times[1]) + digit))
    for reason in (
        about(1.5 * float(times[1])), about(900_000), about(-3), known.replace(at[0], "around 9.9 s"),
        known.replace(times[1], "٣"), f"{known} 7",
    ):  # fmt: skip
        assert reason != known
        assert "verdict.reason: was" in found(reason)["verdict"]

    def warns(record: dict[str, Any]) -> None:
        record["warnings"] = [*record["warnings"], "Nothing to see here."]

    assert "warnings: were" in bad(verify(rewritten(folder, tmp_path / "warned", warns), media=CLIP))["verdict"]


def test_what_stands_before_a_figure_says_that_it_may_round() -> None:
    """The words by which `verify` knows them. When someone is seen are times of frames, which nobody rounds."""
    texts = json.loads((Path(words.__file__).parent / "languages" / "en.json").read_text())
    sentences = ("reason_", "amount_", "one_of_many", "glimpsed", "excluded_", "remark_", "after_cuts")
    rounded = {
        key: text[: figure.start()]
        for key, text in texts.items()
        if key.startswith(sentences)
        for figure in re.finditer(r"\{\w+:[.,\d]*[f%]\}", text)
    }
    rounded = {key: before for key, before in rounded.items() if key not in ("glimpsed_once", "glimpsed_span")}
    assert len(rounded) >= 6
    assert not [key for key, before in rounded.items() if not before.endswith(("about ", "around ", "would be "))]


def test_what_is_not_compared_is_told(folder: Path, tmp_path: Path) -> None:
    def older(record: dict[str, Any]) -> None:
        record["tool"]["version"] = "0.0.1"
        record["verdict"]["reason"], record["warnings"] = "Worded otherwise.", ["So is this."]

    def trusting(record: dict[str, Any]) -> None:
        record["verdict"]["reason"], record["examination"]["options"]["trust"] = "It is genuine.", "x.pem"

    def read_otherwise(record: dict[str, Any]) -> None:
        record["examination"]["provenance"]["content_credentials"]["reason"] = "elsewhere"

    def alone(record: dict[str, Any]) -> None:
        record["examination"]["report_options"]["person"] = 1

    def no_crops(record: dict[str, Any]) -> None:
        record["examination"]["report_options"]["images"] = False

    for change, said in (
        (older, f"; not compared: sentences (judged by version 0.0.1, this is {__version__})"),
        (trusting, "; not compared: the reason, notes and Content Credentials (x.pem was trusted)"),
        (read_otherwise, "; not compared: the reason, notes and Content Credentials (they were read otherwise)"),
        (alone, "; not compared: crops and the maps of others (person 1 is shown alone)"),
        (no_crops, "; not compared: crops (none are kept)"),
    ):
        checks = verify(rewritten(folder, tmp_path / change.__name__, change), media=CLIP)
        assert not bad(checks)
        assert checks[-1].message.endswith(said)


def test_maps_that_were_taken_out_are_missed(folder: Path, tmp_path: Path) -> None:
    def found(name: str, options: dict[str, int], report_options: dict[str, int]) -> list[Check]:
        def without(record: dict[str, Any]) -> None:
            record["files"] = {}
            record["examination"]["options"] |= options
            record["examination"]["report_options"] |= report_options
            for face in record["tracks"][0]["faces"]:
                del face["evidence"]

        target = shutil.copytree(folder, tmp_path / f"before {name}")
        shutil.rmtree(target / "evidence")
        for picture in ("annotated.mp4", "contact_sheet.jpg"):
            (target / picture).unlink()
        (target / SUMS).write_text(sums_text({one: sha256_of(target / one) for one in ("report.html", JSON)}))
        target = rewritten(target, tmp_path / name, without)
        assert not bad(verify(target))
        return [check for check in verify(target, media=CLIP) if check.name == "verdict"]

    missing = [f"tracks[0].faces[{i}]: has no map" for i in range(6)]
    checks = found("all", {}, {})
    assert [check.message for check in checks] == missing
    assert not any(check.good for check in checks)
    # Settings that the record itself states, to explain it.
    (check,) = found("nobody", {}, {"person": 9})
    assert not check.good
    assert check.message == "examination.report_options.person: was 9, who was not seen"
    for name, most, said in (("none kept", 0, "maps (none are kept)"), ("many", 6, "the maps of 6 views")):
        (check,) = found(name, {"max_heatmaps": most}, {})
        assert check.good
        assert " and " not in check.message.partition(";")[0]
        assert f"; not compared: {said}" in check.message


def test_what_stands_twice_in_a_record_must_agree_and_what_stands_once_be_so(folder: Path, tmp_path: Path) -> None:
    def sized(record: dict[str, Any]) -> None:
        record["files"]["contact_sheet.jpg"]["size_bytes"] += 1

    def printed(record: dict[str, Any]) -> None:
        record["tracks"][0]["faces"][3]["evidence"]["sha256"] = "0" * 64

    def unlisted(record: dict[str, Any]) -> None:
        del record["files"][record["tracks"][0]["faces"][3]["evidence"]["file"]]

    def calibrated(record: dict[str, Any]) -> None:
        record["tool"]["calibration"] = "certified by somebody"

    def failed(record: dict[str, Any]) -> None:
        record["error"] = {"kind": "damaged", "message": "It can't be judged."}

    def another_contract(record: dict[str, Any]) -> None:
        record["schema"] += "0"

    for change, name, said in (
        (sized, "contact_sheet.jpg", "is not the file that"),
        (printed, JSON, "states another fingerprint of evidence/person001"),
        (unlisted, JSON, "states another fingerprint of evidence/person001"),
        (calibrated, "model", "was calibrated by certified by somebody; it is by"),
        (failed, "verdict", "error: was {"),
        (another_contract, "verdict", "schema: was deepfake-detect/10"),
    ):
        target = rewritten(folder, tmp_path / change.__name__, change)
        assert said in bad(verify(target, media=CLIP if name == "verdict" else None))[name]


def test_a_report_without_its_page_is_none(folder: Path, tmp_path: Path) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    (target / "report.html").unlink()
    sums = read_sums((target / SUMS).read_text())
    del sums["report.html"]
    (target / SUMS).write_text(sums_text(sums))
    assert SUMS in bad(verify(target))


def kept_otherwise(folder: Path, target: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    """A copy in which the second map is another and all fingerprints say so."""
    shutil.copytree(folder, target)
    with np.load(sorted((target / "evidence").iterdir())[1]) as kept:
        arrays = dict(kept)
    change(arrays)
    with_map(target, packed(**arrays))
    return target


def test_a_retouched_mouth_and_another_place_are_named(folder: Path, tmp_path: Path) -> None:
    def retouched(arrays: dict[str, np.ndarray]) -> None:
        mouth = arrays["crop"][140:180, 80:140]
        mouth -= np.minimum(mouth, 30)

    def worn(arrays: dict[str, np.ndarray]) -> None:
        noise = np.random.default_rng(0).integers(-3, 4, arrays["crop"].shape)
        arrays["crop"] = (arrays["crop"] + noise).clip(0, 255).astype(np.uint8)

    def moved(arrays: dict[str, np.ndarray]) -> None:
        arrays["to_frame"][0, 2] += 40

    said = {
        change.__name__: bad(verify(kept_otherwise(folder, tmp_path / change.__name__, change), media=CLIP))
        for change in (retouched, worn, moved)
    }
    assert "the crop in" in said["retouched"]["verdict"]
    assert not said["worn"]
    assert "the place of the crop" in said["moved"]["verdict"]


def test_what_the_record_speaks_of_must_be_there_though_the_list_is_silent(folder: Path, tmp_path: Path) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    (target / "annotated.mp4").unlink()
    sums = read_sums((target / SUMS).read_text())
    del sums["annotated.mp4"]
    (target / SUMS).write_text(sums_text(sums))
    assert bad(verify(target))["annotated.mp4"].startswith("missing")


def test_a_map_that_the_net_does_not_give_is_named(folder: Path, tmp_path: Path) -> None:
    def hotter(arrays: dict[str, np.ndarray]) -> None:
        arrays["evidence"] = arrays["evidence"] + 3

    target = kept_otherwise(folder, tmp_path / "copy", hotter)
    assert not bad(verify(target))
    assert "is another: up to 3.00 logits apart" in bad(verify(target, media=CLIP))["verdict"]


def with_map(target: Path, data: bytes, name: str = "") -> None:
    """The second map is another, or lies elsewhere, and all fingerprints say so."""
    evidence = sorted((target / "evidence").iterdir())[1]
    evidence.write_bytes(data)
    record = json.loads((target / JSON).read_text())
    known = {"sha256": sha256_of(evidence), "size_bytes": len(data)}
    record["files"][evidence.relative_to(target).as_posix()] = known
    face = record["tracks"][0]["faces"][1]["evidence"]
    face["sha256"], face["file"] = sha256_of(evidence), name or face["file"]
    (target / JSON).write_text(json.dumps(record))
    resummed(target)


def packed(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def claiming(*shape: int) -> bytes:
    """A map of a few bytes whose header says that it is of this shape."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return archive(array.getvalue() + bytes(64))


def headed(header: bytes) -> bytes:
    """A map whose array has this header."""
    return archive(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def archive(data: bytes, *, count: int = 1, packing: int = zipfile.ZIP_STORED) -> bytes:
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", packing) as file:
        for i in range(count):
            file.writestr(f"{i or 'evidence'}.npy", data)
    return result.getvalue()


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (b"", "", "can't be read"),
        (b"PK\3\4 and no more", "", "can't be read"),
        (packed(evidence=np.full((28, 28), np.nan, np.float32)), "", "is another"),
        (packed(evidence=np.zeros((1, 1), np.float32)), "", "is another"),
        (packed(evidence=np.array([{"code": 1}], object)), "", "can't be read"),
        (packed(evidence=np.zeros(20_000_000, np.float32)), "", "would unpack to more"),
        (claiming(10**14), "", "would unpack to more"),
        (claiming(-1, 10**6, -(10**6)), "", "would unpack to more"),
        (claiming(28, 28), "", "can't be read"),
        (headed(b"{'descr': '<f4', 'fortran_order': False, 'shape': (28, 28"), "", "no header of an array"),
        (headed(b"{'descr': '(1,2', 'fortran_order': False, 'shape': (1,)}  \n"), "", "no header of an array"),
        (headed(b"{}\n   1\n 2\n"), "", "no header of an array"),
        (archive(bytes(200), packing=zipfile.ZIP_LZMA), "", "packed in no way"),
        (archive(bytes(200), count=4), "", "4 arrays, expected 3"),
        (packed(evidence=np.zeros((28, 28), np.float32))[:-40], "", "can't be read"),
        (packed(crop=np.zeros(3)), "", "can't be read"),
        (packed(evidence=np.zeros((28, 28), np.float32), crop=np.array(["x"])), "", "the crop in"),
        (b"x", "../outside.npz", "outside the folder"),
        (b"x", "/dev/zero", "outside the folder"),
        (b"x", "evidence", "is a folder"),
    ],
)
def test_a_hostile_map_is_a_difference(folder: Path, tmp_path: Path, data: bytes, name: str, said: str) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    with_map(target, data, name)
    found = [check.message for check in verify(target, media=CLIP) if not check.good]
    assert found
    assert any(said in message for message in found), found


@pytest.fixture(scope="module")
def signed_folder(clip: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    folder = save(clip, tmp_path_factory.mktemp("signed"), key=ed25519.Ed25519PrivateKey.generate())
    checks = verify(folder)
    assert signed(checks)
    assert not bad(checks)
    return folder


@pytest.mark.parametrize("name", ["/Users/x/file.npz", "C:/Users/x/file.npz", "D:file.npz", "//server/share/file.npz"])
def test_no_name_leads_out_of_the_folder_on_windows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepfake_detect.folder.Path", PureWindowsPath)
    monkeypatch.setattr(os.path, "realpath", lambda path: str(PureWindowsPath(path)))
    with pytest.raises(MediaError, match="outside the folder"):
        opened(Path("C:\\report"), name)


@pytest.mark.skipif(os.name != "posix", reason="links and pipes are those of Unix")
@pytest.mark.parametrize(
    ("name", "told"),
    [(SUMS, SUMS), (JSON, JSON), ("annotated.mp4", "annotated.mp4"), ("SHA256SUMS.sig", "signature"),
     ("SHA256SUMS.pub", "SHA256SUMS.pub")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "device", "link", "loop", "folder"])
def test_what_is_no_file_in_a_folder_is_named_and_not_opened(
    signed_folder: Path, tmp_path: Path, name: str, told: str, kind: str
) -> None:
    target = shutil.copytree(signed_folder, tmp_path / "copy")
    path = target / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": Path("/dev/zero"), "link": signed_folder / name, "loop": path}[kind])
    assert told in bad(verify(target))


@pytest.mark.skipif(os.name != "posix", reason="links are those of Unix")
def test_a_folder_of_evidence_that_is_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    shutil.move(target / "evidence", tmp_path / "elsewhere")
    (target / "evidence").symlink_to(tmp_path / "elsewhere")
    found = bad(verify(target))
    assert any("behind a link" in message for message in found.values()), found


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"files": NaN}', '{"files": {"a": 1}}', '{"files": {}, "tool": {"model": [], "model_sha256": 1}}',
     "\0", "9" * 5000, '{"files": {"../x": {"sha256": 1}}, "tool": 1}'],
)  # fmt: skip
def test_a_record_of_nonsense_is_named(folder: Path, tmp_path: Path, text: str) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    (target / JSON).write_text(text)
    resummed(target)
    found = bad(verify(target, media=CLIP))
    assert JSON in found
    assert len(found[JSON]) < 1000


def test_a_number_that_is_none_is_not_taken_for_any(folder: Path, tmp_path: Path) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    record = json.loads((target / JSON).read_text())
    record["verdict"]["probability"] = float("nan")
    (target / JSON).write_text(json.dumps(record))
    resummed(target)
    assert "NaN is no number" in bad(verify(target, media=CLIP))[JSON]


def test_a_list_of_fingerprints_names_only_what_can_lie_below_it() -> None:
    for name in ("/etc/passwd", "../x", "a/../../x", "a\0b", ""):
        with pytest.raises(ValueError, match="SHA256SUMS"):
            read_sums(f"{'0' * 64}  {name}\n")


def test_no_changed_key_makes_the_check_fail_instead_of_saying_so(folder: Path, tmp_path: Path) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    text = (folder / JSON).read_text()
    keys = sorted({match.start(1) for match in re.finditer(r'"([a-z_]+[0-9]*)":', text)})
    assert len(keys) > 100
    for place in keys[::7]:
        (target / JSON).write_text(text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :])
        resummed(target)
        verify(target)
    (target / JSON).write_text("[]")
    resummed(target)
    assert "is not a report" in bad(verify(target))[JSON]


def test_a_changed_byte_of_the_weights_is_named(folder: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(Path(__file__).parent.parent / "weights", weights, ignore=shutil.ignore_patterns("__pycache__"))
    assert not bad(verify(str(folder), weights_folder=str(weights)))
    (net,) = weights.glob("*.safetensors")
    data = bytearray(net.read_bytes())
    data[len(data) // 2] ^= 1
    net.write_bytes(data)
    assert net.name in bad(verify(folder, weights_folder=weights))["model"]


def test_a_signature_holds_for_its_key_alone(clip: Report, tmp_path: Path) -> None:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    from cryptography.hazmat.primitives import serialization as pem

    def write(key: object, path: Path) -> Path:
        path.write_bytes(
            key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())  # type: ignore[attr-defined]
        )
        return path

    mine, another = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    folder = save(clip, tmp_path / "signed", key=read_key(write(mine, tmp_path / "key.pem")))
    assert not bad(verify(folder))
    public = tmp_path / "another.pub"
    public.write_bytes(another.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
    assert "signature" in bad(verify(folder, key=public))
    # Nor may another lie beside it, for the next to go by.
    own, others = (folder / "SHA256SUMS.pub").read_bytes(), public.read_bytes()
    public.write_bytes(own)
    for beside, said in ((others, "is not the key given"), (b"", "is not the key given"), (None, "missing")):
        (folder / "SHA256SUMS.pub").unlink()
        if beside is not None:
            (folder / "SHA256SUMS.pub").write_bytes(beside)
        checks = verify(folder, key=public)
        assert bad(checks).keys() == {"SHA256SUMS.pub"}
        assert said in bad(checks)["SHA256SUMS.pub"]
        assert signed(checks)
    (folder / "SHA256SUMS.pub").write_bytes(own)
    public.write_bytes(mine.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
    assert not bad(verify(folder, key=public))
    # Whoever changes a file and the list with it can't sign the list anew.
    (folder / "report.html").write_text("other")
    resummed(folder)
    assert bad(verify(folder)).keys() == {"signature"}
    (tmp_path / "wrong.pem").write_text("no key")
    with pytest.raises(OptionsError, match="Ed25519 private key"):
        read_key(tmp_path / "wrong.pem")


def test_no_picture_is_written_where_none_is_wanted(picture: Report, tmp_path: Path) -> None:
    save(picture, tmp_path, ReportOptions(images=False))
    assert not [name for name in names(tmp_path) if name.endswith((".jpg", ".png", ".mp4"))]
    (evidence,) = (tmp_path / "evidence").iterdir()
    with np.load(evidence) as kept:
        assert "crop" not in kept
    assert "data:image" not in (tmp_path / "report.html").read_text()


def test_only_a_person_who_was_seen_can_be_shown_alone(picture: Report, tmp_path: Path) -> None:
    save(picture, tmp_path, ReportOptions(person=1))
    with pytest.raises(OptionsError, match="expected one of those that were seen, found 1"):
        save(picture, tmp_path, ReportOptions(person=7))


def test_who_is_not_to_be_shown_is_hidden_in_the_crops_of_the_one_who_is(tmp_path: Path, detector: Detector) -> None:
    photo = read_rgb(PICTURE)
    face = detector.detect(photo).tracks[0].scores[0].face
    x0, x1 = round(face.box[0] - 10), round(face.box[2] + 10)
    pair = np.ascontiguousarray(np.concatenate([photo[:, :x1], photo[:, x0:]], 1))
    judged = detector.detect(pair)
    assert len(judged.tracks) == 2
    person = judged.tracks[0].id
    for options in (ReportOptions(), ReportOptions(person=person)):
        save(judged, tmp_path / str(options.person), options)
    crops = {}
    for name in ("None", str(person)):
        evidence = sorted((tmp_path / name / "evidence").glob(f"person{person:03}*"))
        with np.load(evidence[0]) as kept:
            crops[name] = kept["crop"].astype(int)
    changed = np.abs(crops["None"] - crops[str(person)]).max(-1) > 0
    # The neighbour's side of the crop alone.
    score = judged.tracks[0].scores[0]
    assert score.heatmap is not None
    other = judged.tracks[1].scores[0].face.box
    to_left = other[0] < score.face.box[0]
    assert changed.any()
    assert not (changed[:, 112:] if to_left else changed[:, :112]).any()
    assert len(list((tmp_path / str(person) / "evidence").iterdir())) == 1


def test_the_path_stays_out_unless_it_is_asked_for(tmp_path: Path) -> None:
    secret = tmp_path / "home of somebody"
    secret.mkdir()
    media = secret / "a.jpg"
    media.write_bytes(PICTURE.read_bytes())
    report = Detector(Options(provenance=True)).detect(media)
    for keep in (False, True):
        folder = save(report, tmp_path / "out", ReportOptions(keep_path=keep))
        texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert any(b"home of somebody" in text for text in texts) is keep
    assert "home of somebody" in json.loads((folder / JSON).read_text())["media"]["path"]
    (failed,) = Detector().detect_many([secret / "none.jpg"])
    folder = save(failed, tmp_path / "failed")
    assert not any(b"home of somebody" in path.read_bytes() for path in folder.iterdir())
    assert failed.created_utc
    path = "/home/Anna Köhler/x.jpg"
    error = Failure("unreadable", f"{path!a}: can't be read")
    folder = save(replace(failed, path=path, error=error), tmp_path / "escaped")
    assert not any(b"Anna" in path.read_bytes() for path in folder.iterdir())


def test_the_record_is_the_same_in_every_language(picture: Report, tmp_path: Path) -> None:
    records = [
        json.loads((save(picture, tmp_path / one, ReportOptions(images=False, language=one)) / JSON).read_text())
        for one in ("en", "de")
    ]
    languages = [record["examination"]["report_options"].pop("language") for record in records]
    assert languages == ["en", "de"]
    assert records[0] == records[1]


def test_the_place_of_trusted_certificates_stays_out(tmp_path: Path) -> None:
    home = tmp_path / "home of somebody"
    home.mkdir()
    (home / "trusted.pem").write_text(CERTIFICATE)
    report = Detector(Options(provenance=True, trust=str(home / "trusted.pem"))).detect(PICTURE)
    folder = save(report, tmp_path / "out")
    assert json.loads((folder / JSON).read_text())["examination"]["options"]["trust"] == "trusted.pem"
    assert not any(b"home of somebody" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


def test_an_earlier_report_on_the_same_media_is_replaced_and_other_files_stay(picture: Report, tmp_path: Path) -> None:
    save(picture, tmp_path)
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "evidence/mine.npz").write_text("mine")
    save(picture, tmp_path, ReportOptions(images=False))
    assert {"note.txt", "evidence/mine.npz"} < names(tmp_path)
    assert "annotated.jpg" not in names(tmp_path)
    assert names(tmp_path) - {"note.txt", "evidence/mine.npz", SUMS} == set(read_sums((tmp_path / SUMS).read_text()))


def test_a_finished_report_is_not_replaced_by_one_on_other_media_or_on_an_error(
    picture: Report, detector: Detector, tmp_path: Path
) -> None:
    (failed,) = detector.detect_many([tmp_path / "none.jpg"])
    other = detector.detect(read_rgb(SAMPLES / "portrait_genuine.jpg"))
    # What could not be judged is gone without loss.
    save(failed, tmp_path)
    before = contents(save(picture, tmp_path))
    for later in (failed, other):
        with pytest.raises(OptionsError, match="holds a finished report on portrait_forged"):
            save(later, tmp_path)
        assert contents(tmp_path) == before
    assert not bad(verify(tmp_path))
    (tmp_path / JSON).write_bytes(before[JSON].replace(b'"path"', b'"pa th"'))
    with pytest.raises(OptionsError, match="that it no longer names"):
        save(picture, tmp_path)


def test_a_signed_report_is_not_replaced(signed_folder: Path, clip: Report, tmp_path: Path) -> None:
    folder = shutil.copytree(signed_folder, tmp_path / "copy")
    with pytest.raises(OptionsError, match="holds a signed report on clip_forged"):
        save(clip, folder)
    assert contents(folder) == contents(signed_folder)


def test_the_command_says_before_it_judges_that_a_report_is_not_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = shutil.copytree(folder, tmp_path / "copy")
    missing = str(tmp_path / "clip_forgd.mp4")
    # Its name is what it is told first; what was judged before it stays all the same.
    assert main(["-q", missing, "--report", str(target)]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "no such file" in first
    assert "holds a finished report on clip_forged.mp4" in second
    monkeypatch.setattr(Detector, "__init__", lambda *_, **__: pytest.fail("it is about to judge"))
    assert main(["-q", str(PICTURE), "--report", str(target)]) == 2
    assert "holds a finished report on clip_forged.mp4" in capsys.readouterr().err
    assert contents(target) == contents(folder)


def test_nothing_of_an_unfinished_report_stays_behind(
    picture: Report, clip: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("deepfake_detect.page.html", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save(clip, tmp_path)
    assert "annotated.mp4" in names(tmp_path)
    save(picture, tmp_path, ReportOptions(images=False))
    assert not [name for name in names(tmp_path) if name.endswith((".jpg", ".mp4"))]
    assert not bad(verify(tmp_path))


def test_files_of_others_are_never_replaced(picture: Report, tmp_path: Path) -> None:
    for name in ("report.json", "annotated.jpg", SUMS, "report.html"):
        kept_as_it_was(picture, tmp_path / name, name)


def kept_as_it_was(report: Report, folder: Path, name: str) -> None:
    """A report is not saved where somebody else's file of this name lies, which stays."""
    folder.mkdir()
    (folder / name).write_text("mine")
    with pytest.raises(OptionsError, match="was not written by this program"):
        save(report, folder)
    assert names(folder) == {name}
    assert (folder / name).read_text() == "mine"


def test_files_of_others_are_not_replaced_where_the_file_system_knows_no_large_letters(
    picture: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there(path: str | Path) -> bool:
        return Path(path).name.casefold() in {each.name.casefold() for each in Path(path).parent.glob("*")}

    monkeypatch.setattr(os.path, "lexists", there)
    for name in ("Report.html", "REPORT.pdf", "Annotated.jpg", "sha256sums"):
        kept_as_it_was(picture, tmp_path / name, name)


def test_the_media_itself_is_never_replaced(picture: Report, tmp_path: Path) -> None:
    folder = save(picture, tmp_path / "out")
    before = (folder / "annotated.jpg").read_bytes()
    again = Detector().detect(folder / "annotated.jpg")
    with pytest.raises(OptionsError, match="is the file to be examined"):
        save(again, folder)
    # Under another name, as large letters are where the file system does not know them.
    os.link(folder / "annotated.jpg", tmp_path / "same.jpg")
    with pytest.raises(OptionsError, match="is the file to be examined"):
        save(replace(again, path=str(tmp_path / "same.jpg")), folder)
    assert (folder / "annotated.jpg").read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_laid_in_the_folder_leads_nowhere(picture: Report, tmp_path: Path) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "out"
    precious.write_text("mine")
    folder.mkdir()
    for name in ("report.html.part", "annotated.jpg.part", "INCOMPLETE", "report.json"):
        (folder / name).symlink_to(precious)
    save(picture, folder)
    assert precious.read_text() == "mine"
    assert not bad(verify(folder))
    shutil.rmtree(folder / "evidence")
    (tmp_path / "elsewhere").mkdir()
    (folder / "evidence").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OptionsError, match="leads elsewhere"):
        save(picture, folder)


def test_a_name_that_is_no_text_can_be_reported(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff.jpg")
    media = tmp_path / name
    try:
        media.write_bytes(PICTURE.read_bytes())
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no such name")
    folder = save(Detector().detect(media), tmp_path / os.fsdecode(b"out\xff"))
    assert not bad(verify(folder))
    # A name that can't be shown as it is would lead nowhere.
    assert "deepfake-detect verify FOLDER --media" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "called", "said"),
    [("out", None, "out"), ("-q", None, "./-q"), ("Xq3_a", "report", "report"), ("a b", None, "&#34;a b&#34;"),
     ("it's", None, "&#34;it&#39;s&#34;"), ("$a b", None, "&#39;$a b&#39;")],
)  # fmt: skip
def test_the_command_that_checks_a_report_names_its_folder(
    name: str, called: str | None, said: str, detector: Detector, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    (failed,) = detector.detect_many([tmp_path / "broken.jpg"])
    failed.save(tmp_path / name, called=called)
    assert f"deepfake-detect verify {said}</code>" in (tmp_path / name / "report.html").read_text(encoding="utf-8")


def test_where_weasyprint_is_missing_nothing_is_written(
    picture: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(OptionsError, match="WeasyPrint and Pango"):
        save(picture, tmp_path, ReportOptions(pdf=True))
    assert not list(tmp_path.iterdir())


def test_a_report_that_breaks_off_says_so(clip: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("deepfake_detect.page.html", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(clip, tmp_path)
    assert (tmp_path / INCOMPLETE).exists()
    assert not [name for name in names(tmp_path) if name.endswith(".part")]
    assert {INCOMPLETE, SUMS} <= bad(verify(tmp_path)).keys()


def test_media_changed_since_leave_an_unfinished_report(tmp_path: Path) -> None:
    media = tmp_path / "a.jpg"
    media.write_bytes(PICTURE.read_bytes())
    report = Detector().detect(media)
    media.write_bytes((SAMPLES / "portrait_genuine.jpg").read_bytes())
    for images in (True, False):
        with pytest.raises(MediaError, match="changed since"):
            save(report, tmp_path / "out", ReportOptions(images=images))
        assert (tmp_path / "out" / INCOMPLETE).exists()


@pytest.mark.skipif(os.name != "posix", reason="such names are those of Unix")
def test_media_that_changed_or_went_are_named_as_can_be_printed(picture: Report, tmp_path: Path) -> None:
    media = tmp_path / "a\x1b[2K\n.jpg"
    judged = replace(picture, path=str(media))
    shown = re.escape(f"{tmp_path}/a\\x1b[2K\\n.jpg: ")
    for there in (False, True):
        if there:
            media.write_bytes((SAMPLES / "portrait_genuine.jpg").read_bytes())
        with pytest.raises(MediaError, match=f"{shown}{'changed since' if there else 'can.t be read any more'}"):
            save(judged, tmp_path / "out", ReportOptions(images=False))


def test_an_array_and_a_failure_can_be_saved(detector: Detector, tmp_path: Path) -> None:
    save(detector.detect(read_rgb(PICTURE)), tmp_path / "array")
    assert not bad(verify(tmp_path / "array"))
    (failed,) = detector.detect_many([tmp_path / "none.jpg"])
    save(failed, tmp_path / "failed")
    assert names(tmp_path / "failed") == {"report.html", JSON, SUMS}
    # There is nothing to repeat, and the page does not tell anybody to.
    assert bad(verify(tmp_path / "failed", media=PICTURE)) == {
        "media": f"{PICTURE}: could not be judged then, so there is nothing to repeat"
    }
    for name in ("array", "failed"):
        assert "--media" not in (tmp_path / name / "report.html").read_text(encoding="utf-8")
    assert "--media" in save(detector.detect(PICTURE), tmp_path / "file").joinpath("report.html").read_text("utf-8")


def test_what_a_file_says_of_its_maker_stands_in_the_reason_and_moves_nothing(tmp_path: Path) -> None:
    from PIL import Image, PngImagePlugin

    marked = tmp_path / "marked.png"
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", "a face\nSteps: 20, Sampler: Euler a, CFG scale: 7")
    Image.open(PICTURE).save(marked, pnginfo=notes)
    with_marks, without = (Detector(Options(provenance=wanted)).detect(marked) for wanted in (True, False))
    assert with_marks.verdict is not None
    assert without.verdict is not None
    assert "Stable Diffusion WebUI" in with_marks.verdict.reason
    assert replace(with_marks.verdict, reason="") == replace(without.verdict, reason="")


def test_the_command_checks_and_its_status_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(folder)]) == 0
    assert "all fits together" in capsys.readouterr().out
    target = shutil.copytree(folder, tmp_path / "copy")
    (target / "report.html").write_text("other")
    assert main(["verify", str(target), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["good"] is False
    assert said["signed"] is False
    assert [check["name"] for check in said["checks"] if not check["good"]] == ["report.html"]
    assert main(["verify", str(tmp_path / "none")]) == 2


def test_the_command_writes_what_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main([str(PICTURE), "--report", out, "--lang", "de", "--no-images"]) == 0
    assert "P(manipuliert)" in capsys.readouterr().out
    assert '<html lang="de">' in (tmp_path / "out/report.html").read_text()
    assert main([str(PICTURE), "--no-images"]) == 2
    assert "--report" in capsys.readouterr().err


def test_the_command_signs_and_checks_the_signature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    from cryptography.hazmat.primitives import serialization as pem

    key, out = tmp_path / "key.pem", str(tmp_path / "out")
    private = ed25519.Ed25519PrivateKey.generate()
    key.write_bytes(private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    assert main([str(PICTURE), "--report", out, "--sign", str(key), "-q"]) == 0
    assert main(["verify", out, "--key", str(tmp_path / "out/SHA256SUMS.pub")]) == 0
    assert "when it was signed" in capsys.readouterr().out
    assert main(["verify", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signed"] is True
    assert main(["verify", out, "--key", str(key)]) == 2
    assert main([str(PICTURE), "--report", out, "--sign", str(tmp_path / "none.pem")]) == 2
    assert "Ed25519 private key" in capsys.readouterr().err


def test_the_command_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    genuine, picture = SAMPLES / "portrait_genuine.jpg", tmp_path / "both.png"
    assert main(["compare", str(PICTURE), str(genuine), "--json", "--out", str(picture)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["label"] == "taken_from_this_photo"
    assert said["frame_matches"] is True
    assert picture.stat().st_size > 10_000
    mine = shutil.copy(genuine, tmp_path / "mine.png")
    assert main(["compare", str(PICTURE), str(mine), "--out", str(mine)]) == 2
    assert "would be replaced" in capsys.readouterr().err
    assert mine.read_bytes() == genuine.read_bytes()
    for folder in (str(tmp_path), "."):
        assert main(["compare", str(PICTURE), str(genuine), "--out", folder]) == 2
        out, err = capsys.readouterr()
        assert (out, "is a folder" in err) == ("", True)
    for name in ("both.jpg", "both"):
        assert main(["compare", str(PICTURE), str(genuine), "--out", str(tmp_path / name)]) == 2
        out, err = capsys.readouterr()
        assert (out, "expected a name ending in .png" in err) == ("", True)
    assert names(tmp_path) == {"both.png", "mine.png"}
    assert main(["compare", str(tmp_path / "none.jpg"), str(genuine)]) == 1
    assert "none.jpg" in capsys.readouterr().err


def test_a_file_of_trusted_certificates_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    assert main([str(PICTURE), "--report", str(tmp_path / "out"), "--trust", str(tmp_path / "none.pem")]) == 2
