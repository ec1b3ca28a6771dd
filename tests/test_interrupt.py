"""Ctrl-C at any moment: nothing is left outside the folder asked for, and that one is complete or says that it is not."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import SAMPLES

from deepfake_detect import annotate
from deepfake_detect.cli import main
from deepfake_detect.dossier import INCOMPLETE
from deepfake_detect.files import replacing, write_atomically
from deepfake_detect.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """A shell lets what it runs in the background ignore SIGINT, and a child inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


CLIP = str(SAMPLES / "clip_forged.mp4")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1, 0.25, 0.5])
def test_an_interrupted_report_says_that_it_is_not_finished(after_s: float, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    folder = tmp_path / "report"
    command = [sys.executable, "-m", "deepfake_detect", CLIP, "--report", "report", "--frames", "8"]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=quiet, stderr=quiet) as process:
        # From when the writing begins.
        while not (folder / INCOMPLETE).exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        status = process.wait(timeout=120)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "scratch"]
    assert not list((tmp_path / "scratch").iterdir())
    assert not list(tmp_path.rglob("*.part"))
    finished = not (folder / INCOMPLETE).exists()
    assert finished == all(check.good for check in verify(folder))
    # Whether it came before the end can be known only where there was still much to write.
    assert status == 130 or (finished and after_s > 0.1)
    # While Python takes itself apart the signal itself ends it, which a shell tells as 130.
    assert status in (0, 130, -signal.SIGINT)


# When the signal comes, as shares of what a run takes that is left alone: while it loads, judges, writes, and ends. By the
# last one it is done, though it be much slower.
MOMENTS = (*sorted(round(float(share), 3) for share in np.random.default_rng(1).uniform(0, 1.1, 14)), 10.0)
BEGINS = "import sys; from deepfake_detect.cli import main; print('begins', flush=True); sys.exit(main())"


@dataclass(frozen=True)
class Run:
    """A run that was interrupted, or left alone: what it left, and what it said."""

    folder: Path
    status: int
    out: str
    err: str
    took_s: float

    @property
    def began_to_write(self) -> bool:
        return self.folder.exists()

    @property
    def finished(self) -> bool:
        return self.began_to_write and any(self.folder.iterdir()) and not (self.folder / INCOMPLETE).exists()


def interrupted(place: Path, after_s: float) -> Run:
    """A run in this place, from when it begins; it is interrupted if it takes longer."""
    (place / "scratch").mkdir(parents=True)
    command = [sys.executable, "-c", BEGINS, CLIP, "--report", "report", "--frames", "8", "--quiet"]
    environment = {**os.environ, "TMPDIR": str(place / "scratch")}
    with subprocess.Popen(command, cwd=place, env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        began = time.monotonic()
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    return Run(place / "report", process.returncode, out, err, time.monotonic() - began)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_interrupted_at_any_moment_it_says_so_and_leaves_no_report_that_looks_finished(tmp_path: Path) -> None:
    # The first one may have to fetch from the disk what the others find in memory.
    alone = [interrupted(tmp_path / f"alone{i}", 120) for i in range(2)][-1]
    assert (alone.status, alone.finished) == (0, True)
    runs = [interrupted(tmp_path / str(share), share * alone.took_s) for share in MOMENTS]
    for run, share in zip(runs, MOMENTS, strict=True):
        assert not list((run.folder.parent / "scratch").iterdir()), share
        assert not list(run.folder.parent.rglob("*.part")), share
        assert not run.finished or all(check.good for check in verify(run.folder)), share
        assert run.out == "", share
        if run.status == 130:
            assert run.err == "interrupted\n", share
        else:
            # It was done; while Python takes itself apart the signal itself ends it, and what is said then is Python's.
            assert run.finished, (share, run)
            assert run.status in (0, -signal.SIGINT), share
            assert "in main" not in run.err, share
    # Else nothing was said above of what these leave.
    assert any(run.status == 130 and not run.began_to_write for run in runs)
    assert any((run.folder / INCOMPLETE).exists() for run in runs)
    assert runs[-1].finished


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_a_file_that_takes_long_to_read_is_let_go_at_once(tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.write((SAMPLES / "clip_forged.mp4").read_bytes())
        # Nothing but a hole, which takes a while to read all the same.
        file.truncate(200 * 2**30)
    quiet = subprocess.DEVNULL
    with subprocess.Popen([sys.executable, "-m", "deepfake_detect", str(large)], stdout=quiet, stderr=quiet) as process:
        time.sleep(3)
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert time.monotonic() - began < 10


class _Drops:
    """An exception does not get out of this, as out of what FFmpeg calls back."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def _drop_and_go_on(*_: object, **__: object) -> None:
    _Drops()
    _go_on()


def _go_on() -> None:
    before = time.monotonic()
    while time.monotonic() - before < 10:
        time.sleep(0.001)
    pytest.fail("it went on as if nothing had been")


def _print_and_go_on(*_: object, **__: object) -> None:
    """As NumPy does while a module of compiled code is loaded."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        sys.excepthook(KeyboardInterrupt, error, error.__traceback__)
    _go_on()


def _put_another_in_its_place(*_: object, **__: object) -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        raise ValueError("can't be closed now")


@pytest.mark.parametrize("writes", [_drop_and_go_on, _print_and_go_on, _put_another_in_its_place])
def test_an_interrupt_that_a_library_loses_still_ends_the_run(
    writes: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(annotate, "write_copy", writes)
    hooks = signal.getsignal(signal.SIGINT), sys.unraisablehook, sys.excepthook
    assert main([str(SAMPLES / "portrait_genuine.jpg"), "--quiet", "--report", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert (tmp_path / INCOMPLETE).exists()
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook, sys.excepthook) == hooks


def test_an_error_without_an_interrupt_stays_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(annotate, "write_copy", fail)
    with pytest.raises(ValueError, match="a bug"):
        main([str(SAMPLES / "portrait_genuine.jpg"), "--quiet", "--report", str(tmp_path)])


def test_what_bears_its_final_name_is_on_the_disk_by_then(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fsync, renamed, done = os.fsync, os.replace, list[str]()

    def note(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else f"{os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def rename(source: Path, target: Path) -> None:
        done.append("name")
        renamed(source, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", rename)
    write_atomically(tmp_path / "table", b"five!")
    assert done == ["5 bytes", "name", *["folder"] * (os.name != "nt")]
    assert (tmp_path / "table").read_bytes() == b"five!"


def test_a_full_disk_leaves_what_was_there_and_a_drive_without_such_promises_is_written_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "table").write_bytes(b"years of work")
    full = False

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) or full:
            raise OSError(errno.ENOSPC if full else errno.EINVAL, "no")

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomically(tmp_path / "table", b"more of it")
    full = True
    with pytest.raises(OSError, match="no"), replacing(tmp_path / "table") as partial:
        partial.write_bytes(b"lost")
    assert [path.name for path in tmp_path.iterdir()] == ["table"]
    assert (tmp_path / "table").read_bytes() == b"more of it"
