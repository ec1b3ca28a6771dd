"""The command: what goes to stdout, what to stderr, and the exit status."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from conftest import SAMPLES

from deepfake_detect.cli import main
from deepfake_detect.report import SCHEMA_FILE

PICTURE = SAMPLES / "portrait_genuine.jpg"


def test_json_is_one_object_a_line_in_order_and_nothing_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    names = [str(PICTURE), str(tmp_path / "empty.png"), str(SAMPLES / "portrait_forged.jpg")]
    assert main(["--json", *names]) == 1
    out, err = capsys.readouterr()
    reports = [json.loads(line) for line in out.splitlines()]
    schema = json.loads(SCHEMA_FILE.read_text())
    for report in reports:
        jsonschema.validate(report, schema)
    assert [report["media"]["path"] for report in reports] == names
    assert [report["verdict"] is None for report in reports] == [False, True, False]
    assert err.count("\n") == 1
    assert "the file is empty" in err


def test_json_stays_on_stdout_while_the_bar_is_on_a_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deepfake_detect", "--json", str(PICTURE)]
    environment = {"PYTHONPATH": str(SAMPLES.parent), "PATH": "/usr/bin:/bin", "FORCE_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] is not None
    assert "judging" in done.stderr


def test_a_summary_names_verdict_reason_and_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SAMPLES / "clip_genuine.mp4")]) == 0
    out, err = capsys.readouterr()
    assert "P(manipulated)" in out
    assert "person 1" in out
    assert "32 frames looked at" in out
    assert err == ""


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quiet", str(PICTURE)]) == 0
    assert capsys.readouterr() == ("", "")


def test_reports_of_one_file_and_of_several(tmp_path: Path) -> None:
    assert main(["-q", str(PICTURE), "--report", str(tmp_path / "one")]) == 0
    assert (tmp_path / "one/report.json").exists()
    other = tmp_path / "elsewhere" / PICTURE.name
    other.parent.mkdir()
    shutil.copy(PICTURE, other)
    assert main(["-q", str(PICTURE), str(other), "--report", str(tmp_path / "many")]) == 0
    assert sorted(p.name for p in (tmp_path / "many").iterdir()) == ["portrait_genuine.jpg", "portrait_genuine.jpg-2"]


def test_fail_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", str(PICTURE)]) == 0
    label = json.loads(capsys.readouterr().out)["verdict"]["label"]
    others = {"manipulated", "inconclusive", "no_manipulation_found", "no_face"} - {label}
    assert main(["-q", "--fail-on", label, str(PICTURE)]) == 3
    assert main(["-q", "--fail-on", ",".join(sorted(others)), str(PICTURE)]) == 0


@pytest.mark.parametrize(
    "arguments",
    [[], ["--frames", "0", "x"], ["--frames", "many", "x"], ["--start", "5", "--end", "2", "x"], ["--fail-on", "fake", "x"],
     ["--nonsense", "x"], ["-q", "-v", "x"], ["--report", str(PICTURE), "x"], ["--fps", "nan", "x"]],
)  # fmt: skip
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(str(stop.code))
    assert status == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err


def test_an_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deepfake_detect.detector.Detector._detect", interrupted)
    assert main(["-q", str(PICTURE)]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["-q", str(PICTURE), "--report", str(tmp_path / "file" / "below")]) == 1
    assert "can't be written" in capsys.readouterr().err


def test_help_shows_examples_and_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    assert "exit status:" in out


def test_the_module_is_the_command_and_a_dash_name_works(tmp_path: Path) -> None:
    shutil.copy(PICTURE, tmp_path / "-odd.jpg")
    command = [sys.executable, "-W", "error::UserWarning", "-m", "deepfake_detect", "--json", "--", "-odd.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path,
                          env={"PYTHONPATH": str(SAMPLES.parent), "PATH": "/usr/bin:/bin"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["media"]["path"] == "-odd.jpg"
    assert done.stderr == ""


def test_other_weights_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--weights", str(tmp_path), str(SAMPLES / "portrait_genuine.jpg")]) == 1
    assert "manifest.json" in capsys.readouterr().err
    shutil.copytree(SAMPLES.parent / "weights", tmp_path / "weights")
    assert main(["--json", "--weights", str(tmp_path / "weights"), str(SAMPLES / "portrait_genuine.jpg")]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["label"]


def test_fast_looks_at_few_frames_and_says_so_and_thorough_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(SAMPLES / "clip_genuine.mp4")
    sampled, warned = {}, {}
    for how in ("--fast", "--thorough"):
        assert main(["--json", how, clip]) == 0
        found = json.loads(capsys.readouterr().out)
        sampled[how], warned[how] = len(found["media"]["sampled_times_s"]), found["warnings"]
    assert sampled == {"--fast": 8, "--thorough": 75}
    (warning,) = warned["--fast"]
    assert warning.startswith("Only 8 frames of the video were looked at, one every 0.4 s")
    assert not warned["--thorough"]


@pytest.mark.parametrize("both", [["--fast", "--thorough"], ["--fast", "--frames", "9"], ["--thorough", "--fps", "2"]])
def test_one_way_to_choose_frames_at_a_time(both: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*both, str(SAMPLES / "clip_genuine.mp4")])
    assert stopped.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("language", ["de", "es"])
def test_the_stable_label_is_there_in_every_language(language: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SAMPLES / "portrait_genuine.jpg"), "--lang", language]) == 0
    out = capsys.readouterr().out
    (label,) = re.findall(r"\[([a-z ]+)\]", out)
    assert label in ("manipulated", "inconclusive", "no manipulation found")
