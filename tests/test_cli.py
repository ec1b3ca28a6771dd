"""The command: what goes to stdout, what to stderr, and the exit status."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import av
import jsonschema
import pytest
from conftest import SAMPLES
from rich.console import Console

from deepfake_detect import MediaError, media
from deepfake_detect.batch import Progress
from deepfake_detect.cli import _Bar, _folders, _name_on_windows, _person, _ScanBar, _verdict_line, main
from deepfake_detect.confine import Limits
from deepfake_detect.files import write_atomically
from deepfake_detect.options import Options, ReportOptions
from deepfake_detect.pooling import pool, resting_on
from deepfake_detect.report import SCHEMA_FILE
from deepfake_detect.server.guard import LOOPBACK
from deepfake_detect.source import open_file
from deepfake_detect.types import Face, FaceTrack, Score, Verdict
from deepfake_detect.words import LANGUAGES, Words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PICTURE = SAMPLES / "portrait_genuine.jpg"


def as_on(system: str) -> ModuleType:
    """The module `os` of another system, by its name alone."""
    found = ModuleType("os")
    found.__dict__.update(os.__dict__, name=system)
    return found


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
    assert "16 frames looked at" in out
    assert err == ""


@pytest.mark.parametrize(
    "words", ["-q scan queue --out t.csv", "--lang de serve --port 0", "-q verify out", "--json compare a.jpg b.jpg"]
)
def test_whoever_puts_options_before_a_command_is_told_where_they_go(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = {"scan", "serve", "verify", "compare"} & set(words.split())
    assert main(words.split()) == 2
    assert f"comes first: deepfake-detect {command} ..." in capsys.readouterr().err


def test_a_file_that_is_called_as_a_command_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(PICTURE, "scan")
    assert main(["-q", "scan"]) == 0
    with pytest.raises(SystemExit, match="2"):
        main(["-q", "scan", "--out", "t.csv"])
    assert "unrecognized arguments: --out" in capsys.readouterr().err


def test_patterns_are_the_files_that_fit_where_no_shell_did_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on Windows. What is there is no pattern, and what fits nothing is told under its name."""
    monkeypatch.setattr("deepfake_detect.cli.os", as_on("nt"))
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp4", "a.mp4", "[ab].mp4"):
        (tmp_path / name).touch()
    assert main(["--json", "*.mp4", "[ab].mp4", "*.avi"]) == 1
    judged = [json.loads(line)["media"]["path"] for line in capsys.readouterr().out.splitlines()]
    assert judged == ["[ab].mp4", "a.mp4", "b.mp4", "[ab].mp4", "*.avi"]


def test_what_no_file_can_be_called_is_said_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, "The filename, directory name, or volume label syntax is incorrect")

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(MediaError, match="not a possible file name") as found:
        open_file("*.avi")
    monkeypatch.undo()
    assert found.value.kind == "not_found"


@pytest.mark.parametrize("written", ["utf-8", "cp850"])
def test_names_that_windows_lists_keep_their_umlauts(written: str) -> None:
    assert _name_on_windows("C:\\Jörg\\ä.jpg\r".encode(written), "cp850") == "C:\\Jörg\\ä.jpg"


def test_the_time_left_of_a_scan_is_said_once_a_clock_shows_how_fast_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    bar = _ScanBar(Console(stderr=True), Words(), quiet=False)
    # Less than a tick for the first file.
    bar.tell(Progress(files=3, done=1, judged=1, seconds=0.0))
    assert capsys.readouterr().err == ""
    bar.tell(Progress(files=3, done=2, judged=2, seconds=0.016))
    assert capsys.readouterr().err.endswith(", 0:00:00 left\n")


def test_reports_lie_apart_on_every_file_system() -> None:
    names = ["a/caf\u00e9.jpg", "b/cafe\u0301.jpg", "c/CAF\u00c9.jpg", "d/cafe.jpg"]
    found = _folders(names, Path("out"))
    assert [found[name] for name in names] == [
        [Path("out/caf\u00e9.jpg")], [Path("out/cafe\u0301.jpg-2")], [Path("out/CAF\u00c9.jpg-3")], [Path("out/cafe.jpg")],
    ]  # fmt: skip


def test_a_table_that_is_open_elsewhere_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source), None, str(target))

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr("deepfake_detect.batch.scan", lambda _, out, **__: write_atomically(out, b""))
    assert main(["scan", str(PICTURE), "--out", str(tmp_path / "t.csv")]) == 1
    said = f"{tmp_path / 't.csv'}: Permission denied (is it open elsewhere?); the scan can go on later"
    assert said in capsys.readouterr().err


def test_what_windows_may_lack_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # As where its libraries can't be loaded.
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main([str(PICTURE)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "ONNX Runtime can't be loaded" in err
    assert "vc_redist.x64.exe" in err


def test_what_is_interrupted_while_it_is_loaded_is_not_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "onnxruntime":
                raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert main([str(PICTURE)]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_of_a_folder_it_is_said_what_judges_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "is a folder; give the files in it, or judge all of them with scan" in capsys.readouterr().err


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


def test_of_a_file_that_could_not_be_judged_no_label_takes_the_place(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    every = "manipulated,inconclusive,no_manipulation_found,no_face"
    assert main(["-q", "--fail-on", every, str(PICTURE), str(tmp_path / "empty.png")]) == 1
    assert main(["-q", "--fail-on", every, str(PICTURE)]) == 3


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
    every = "manipulated,inconclusive,no_manipulation_found,no_face"
    # Nor does a label take its place.
    for more in ([], ["--fail-on", every]):
        assert main(["-q", str(PICTURE), "--report", str(tmp_path / "file" / "below"), *more]) == 1
        assert "can't be written" in capsys.readouterr().err


def test_help_shows_examples_and_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    assert "exit status:" in out
    assert "1  some could not be, or a report could not be written" in out


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
    assert warning.startswith("Only 8 frames were looked at, none for up to 0.4 s at a time")
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


def test_a_summary_is_in_the_language_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SAMPLES / "clip_genuine.mp4"), "--lang", "de"]) == 0
    out, err = capsys.readouterr()
    assert "P(manipuliert)" in out
    assert "16 Bilder angesehen" in out
    assert "Person 1" in out
    assert "am stärksten bei" in out
    assert not {"frames", "evidence", "strongest", "odds", "warning:"} & set(out.split())
    assert err == ""


@pytest.mark.parametrize(
    ("interval", "said"),
    [((0.88, 0.8889), "0.89 at even"), ((0.86, 0.8889), "0.89 (0.86 to 0.89) at even"), (None, "0.89 at even")],
)
def test_no_range_is_told_where_both_ends_lie_at_the_limit(interval: tuple[float, float] | None, said: str) -> None:
    told = _verdict_line(Verdict("manipulated", 0.8888, 8.0, "reason", interval), Words())
    assert f"P(manipulated) {said}" in told


def test_the_strongest_moment_of_a_person_is_that_of_all_views() -> None:
    logits = (-1.0, -1.0, 7.0, *[-1.0] * 5, *[3.0] * 4, *[-1.0] * 4)
    face = Face((0, 0, 100, 120), ((0.0, 0.0),) * 5, 0.99)
    scores = tuple(Score(float(i), face, 1.0, logit=logit) for i, logit in enumerate(logits))
    person = FaceTrack(1, scores, pool(scores), 0.7)
    # The answer rests on others.
    assert 2.0 not in [score.time_s for score in resting_on(person)] != []
    assert "strongest at 2.0 s (16 of 16 views judged)" in _person(person, Words(), frames=16, brief=False)
    assert "seen 0.0 to 15.0 s in 16 of 20 frames, strongest" in _person(person, Words(), frames=20, brief=False)


@pytest.mark.parametrize("language", LANGUAGES)
def test_that_a_video_has_a_clock_of_its_own_is_told_where_it_begins_late(
    language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = tmp_path / "late.ts"
    with av.open(str(SAMPLES / "clip_forged.mp4")) as source, av.open(str(late), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None and packet.pts is not None:
                offset = int(3600 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                target.mux(packet)
    said = {}
    for path in (late, SAMPLES / "clip_forged.mp4"):
        assert main([str(path), "--fast", "--lang", language]) == 0
        said[path] = capsys.readouterr().out
    with media.open(late, Options()) as opened:
        start_s = opened.info.start_s
    assert start_s == pytest.approx(3600, abs=2)
    told = Words(language)("page_times", start_s=start_s)
    assert [told in out for out in said.values()] == [True, False]
    assert [told.split(",", maxsplit=1)[0] in out for out in said.values()] == [True, False]


def test_a_part_of_a_picture_is_told_to_be_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--start", "1", str(PICTURE)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["verdict"] is not None
    assert err.startswith(f"deepfake-detect: {PICTURE}: is a picture and was looked at as a whole; --start and --end")
    assert err.count("\n") == 1
    assert main(["-q", "--end", "1", str(PICTURE)]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["--json", "--end", "1", str(SAMPLES / "clip_genuine.mp4")]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "options", "contents"),
    [
        ("--start 1 --end 2 --fps 3 --trust t.pem --engine torch --blur-others 2 --keep-path --pdf --lang es",
         Options(start_s=1, end_s=2, fps=3, trust="t.pem", engine="torch", provenance=True),
         ReportOptions(person=2, keep_path=True, pdf=True, language="es")),
        ("--frames 9 --no-images", Options(frames=9, most_frames=9, provenance=True), ReportOptions(images=False)),
        ("--whole-frames", Options(provenance=True), ReportOptions(whole_frames=True)),
    ],
)  # fmt: skip
def test_every_option_of_a_report_reaches_it(
    arguments: str, options: Options, contents: ReportOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    class Made:
        def __init__(self, options: Options, *, weights_folder: Path) -> None:
            seen.update(options=options, weights=weights_folder)

        def detect_many(self, files: list[object], **_: object) -> list[object]:
            return [SimpleNamespace(error=None, verdict=None, media=None, save=saved) for _ in files]

    def saved(folder: Path, *, options: ReportOptions, key: object, progress: object) -> None:
        seen.update(folder=folder, contents=options, key=key)

    monkeypatch.setattr("deepfake_detect.detector.Detector", Made)
    monkeypatch.setattr("deepfake_detect.dossier.check", lambda contents: seen.update(checked=contents))
    monkeypatch.setattr("deepfake_detect.dossier.read_key", lambda path: f"the key in {path}")
    more = ["-q", str(PICTURE), "--report", str(tmp_path / "out"), "--sign", "k.pem", "--weights", "w"]
    assert main([*arguments.split(), *more]) == 0
    assert seen == {
        "options": options, "weights": Path("w"), "checked": contents, "contents": contents, "folder": tmp_path / "out",
        "key": "the key in k.pem",
    }  # fmt: skip


def test_the_bar_hears_how_far_writing_checking_and_comparing_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard: list[tuple[str, float]] = []

    class Bar(_Bar):
        def __init__(self, said: str, **how: Any) -> None:
            self.said = said
            super().__init__(said, **how)

        def tick(self, share: float) -> None:
            heard.append((self.said, share))

    class Made:
        def __init__(self, *_: object, **__: object) -> None: ...

        def detect_many(self, files: list[object], *, progress: Callable[[object, float], None]) -> Iterator[object]:
            for file in files:
                progress(file, 0.1)
                yield SimpleNamespace(error=None, verdict=None, media=None, save=written)

    def written(*_: object, progress: Callable[[float], None], **__: object) -> None:
        progress(0.2)

    def checked(*_: object, progress: Callable[[float], None], **__: object) -> list[object]:
        progress(0.3)
        return []

    def compared(*_: object, progress: Callable[[float], None], **__: object) -> None:
        progress(0.4)
        raise MediaError("not there", kind="not_found")

    monkeypatch.setattr("deepfake_detect.cli._Bar", Bar)
    monkeypatch.setattr("deepfake_detect.detector.Detector", Made)
    monkeypatch.setattr("deepfake_detect.verify.verify", checked)
    monkeypatch.setattr("deepfake_detect.compare.compare", compared)
    assert main(["-q", str(PICTURE), str(PICTURE), "--report", str(tmp_path)]) == 0
    assert main(["verify", "-q", str(tmp_path)]) == 0
    assert main(["compare", str(PICTURE), str(PICTURE), "--lang", "de"]) == 1
    one = [("judging", 0.1), ("writing the report", 0.2)]
    assert heard == [*one, *one, ("judging", 0.3), ("vergleicht", 0.4)]


@pytest.mark.parametrize(
    ("how", "told"),
    [((), ["deepfake_detect.annotate: odd"]), (("-q",), []),
     (("-v",), ["deepfake_detect.annotate: odd", "deepfake_detect.video: so it is", "another: odd"])],
)  # fmt: skip
def test_what_the_library_warns_of_is_told_unless_it_is_to_be_quiet(
    how: tuple[str, ...], told: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warns(*_: object, **__: object) -> None:
        logging.getLogger("deepfake_detect.annotate").warning("odd")
        logging.getLogger("deepfake_detect.video").debug("so it is")
        logging.getLogger("another").warning("odd")
        raise MediaError("not there", kind="not_found")

    loggers = [logging.getLogger(name) for name in ("", "deepfake_detect", "PIL", "libav", "asyncio")]
    before = [logger.level for logger in loggers]
    try:
        with monkeypatch.context() as patch:
            # As in a process of its own: nobody else listens.
            patch.setattr(loggers[0], "handlers", [])
            patch.setattr("deepfake_detect.detector.Detector", warns)
            assert main([*how, str(PICTURE)]) == 1
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.endswith((": odd", ": so it is"))] == told


@pytest.mark.parametrize(
    ("on", "where"), [("", {}), ("--on ray --ray-address local", {"ray": True, "ray_address": "local"})]
)
def test_every_option_of_a_scan_reaches_it(on: str, where: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def scan(paths: Iterator[str], out: Path, **how: object) -> object:
        seen.update(how, paths=[*paths], out=out)
        return SimpleNamespace(labels={}, errors={})

    monkeypatch.setattr("deepfake_detect.batch.scan", scan)
    given = ("scan -q a b --out t.csv --time-limit 7 --memory-limit 2 --size-limit 3 --workers 5 --no-images --follow-links"
             " --restart --retry --lang de --fps 2 --weights w")  # fmt: skip
    assert main([*given.split(), *on.split()]) == 0
    assert callable(seen.pop("progress"))
    assert seen == {
        "paths": ["a", "b"], "out": Path("t.csv"), "options": Options(fps=2), "weights_folder": Path("w"),
        "limits": Limits(seconds=7, cpu_s=14, memory_bytes=2 * 2**30, file_bytes=3 * 2**30), "workers": 5,
        "images": False, "language": "de", "follow_links": True, "restart": True, "retry": True, "ray": False,
        "ray_address": None, **where,
    }  # fmt: skip


def test_every_option_of_a_server_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    serve = pytest.importorskip("deepfake_detect.server.serve")
    from deepfake_detect.server import upload

    seen: list[object] = []
    monkeypatch.setattr(serve, "serve", lambda *what, ready, browser: seen.extend([*what, browser]))
    monkeypatch.setenv("DEEPFAKE_DETECT_TOKEN", "of-the-environment")
    given = ("serve --keep 2h --rate 30 --queue 7 --port 1234 --host 0.0.0.0 --name Proxy.example --no-browser --workers 3"
             " --time-limit 9 --size-limit 2 --lang de --data d --weights w")  # fmt: skip
    assert main(given.split()) == 0
    place = serve.Place(host="0.0.0.0", port=1234, data=Path("d"), keep_s=7200, workers=3, most_waiting=7, seconds=9,
                        weights_folder=Path("w"))  # fmt: skip
    settings = serve.Settings(token="of-the-environment", names=(*LOOPBACK, "proxy.example"), language="de",
                              uploads=upload.Limits(file_bytes=2 * 2**30), jobs_a_minute=30)  # fmt: skip
    assert seen == [place, settings, False]
    assert main(["serve", "--token", "of-the-command"]) == 0
    assert [seen[4].token, seen[5]] == ["of-the-command", True]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("system", "keep", "says"),
    [("posix", [], "and everything is deleted\n"), ("nt", [], "closed instead, that is done at the next start\n"),
     ("nt", ["--keep", "60s"], "results are kept for 60 s\n")],
)  # fmt: skip
def test_what_is_left_of_a_server_is_said(
    system: str, keep: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve = pytest.importorskip("deepfake_detect.server.serve")
    monkeypatch.setattr(serve, "serve", lambda *_, ready, browser: ready("http://127.0.0.1:8765/"))
    monkeypatch.setattr("deepfake_detect.cli.os", as_on(system))
    assert main(["serve", *keep]) == 0
    assert capsys.readouterr().err.endswith(says)


@pytest.mark.skipif(os.name != "posix", reason="such names are those of Unix")
def test_names_draw_no_lines_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["[bold]x.jpg", "x\nok   \x1b[2K.jpg"]
    for name in names:
        shutil.copy(PICTURE, tmp_path / name)
    (tmp_path / "\x1b[2Kempty\n.jpg").touch()
    assert main([str(path) for path in sorted(tmp_path.iterdir())]) == 1
    out, err = capsys.readouterr()
    assert f"{tmp_path}/[bold]x.jpg\n" in out
    assert f"{tmp_path}/x\\nok   \\x1b[2K.jpg\n" in out
    assert f"{tmp_path}/\\x1b[2Kempty\\n.jpg: " in err
    assert "\x1b" not in out + err


@pytest.mark.skipif(os.name != "posix", reason="such names are those of Unix")
def test_names_of_what_is_written_draw_no_lines_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "x\nok   \x1b[2K"
    odd.mkdir()
    photo, in_the_way = odd / "photo.jpg", odd / "file"
    shutil.copy(PICTURE, photo)
    in_the_way.write_text("in the way")
    (odd / "taken").mkdir()
    (odd / "taken" / "report.html").write_text("somebody else's")
    (odd / "linked").mkdir()
    (odd / "linked" / "evidence").symlink_to(tmp_path)
    (odd / "eaten").mkdir()
    (odd / "eaten" / "report.html").symlink_to(photo)
    (odd / "table.csv.journal").write_text("somebody else's, and longer than the head of a database is " * 9)
    compare, pem = ["compare", str(photo), str(photo), "--out"], str(in_the_way)
    for status, why, arguments in (
        (2, "is a file; give a folder", [str(photo), "--report", str(in_the_way)]),
        (1, "can't be written", [str(photo), "--report", str(in_the_way / "below")]),
        (2, "was not written by this program", [str(photo), "--report", str(odd / "taken")]),
        (2, "its folder evidence is a link", [str(photo), "--report", str(odd / "linked")]),
        (2, "is the file to be examined", [str(photo), "--report", str(odd / "eaten")]),
        (2, "expected an Ed25519 private key", [str(photo), "--report", str(odd / "new"), "--sign", pem]),
        (
            2,
            "expected a file of certificates",
            [str(photo), "--report", str(odd / "new"), "--trust", str(odd / "none")],
        ),
        (2, "expected certificates in PEM", [str(photo), "--report", str(odd / "new"), "--trust", pem]),
        (1, "holds no manifest.json", [str(photo), "--weights", str(odd)]),
        (2, "expected the folder of a report", ["verify", str(in_the_way)]),
        (1, "can't be written", [*compare, str(in_the_way / "below.png")]),
        (2, "is a folder", [*compare, str(odd)]),
        (2, "ending in .png", [*compare, str(odd / "both.jpg")]),
        (2, "is not a journal", ["scan", str(photo), "--out", str(odd / "table.csv")]),
    ):
        assert main(arguments) == status
        err = capsys.readouterr().err
        assert f"{tmp_path}/x\\nok   \\x1b[2K" in err
        assert why in err
        assert "\x1b" not in err
        assert err.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="such names are those of Unix")
def test_names_in_the_folder_of_a_report_forge_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", "--no-images", str(PICTURE), "--report", str(tmp_path)]) == 0
    (tmp_path / "report.html").write_text("other")
    (tmp_path / "x\nok   report.html: unchanged\x1b[2K").touch()
    assert main(["verify", str(tmp_path)]) == 1
    out, _ = capsys.readouterr()
    told = [line for line in out.splitlines() if "report.html" in line]
    assert [line.partition("  ")[0] for line in told] == ["BAD", "BAD"]
    assert "\x1b" not in out
