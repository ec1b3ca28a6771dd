"""In a worker: what loads the net, gives up what judging does not need, and judges one file after another.

Whatever a hostile file makes of this process, its parent checks what it says (`answer`).
"""

from __future__ import annotations

import base64
import errno
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from functools import cache, partial
from multiprocessing import reduction, resource_tracker
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from . import draw, engine, media, verdict
from .compare import compare
from .confine import Limits, confine, fence, start_clock, stop_clock
from .errors import DeepfakeDetectError
from .job import packed
from .options import Options, ReportOptions
from .report import to_dict
from .source import is_hunger
from .words import LANGUAGES, Words

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

    from .faces import FaceFinder
    from .types import Report

    # Judges the file of a name; tells the share that is done, 0 to 1.
    Judge = Callable[[str, Callable[[float], None]], Report]

_CROP_PX = 96
_TELL_EVERY_S = 0.1


def load(options: Options, weights_folder: Path | None) -> Judge:
    """A detector that keeps to one thread, for there is a worker for each core."""
    from .detector import Detector

    cv2.setNumThreads(1)
    detector = Detector(replace(options, threads=1), weights_folder=weights_folder)
    if detector.options.engine == "torch":
        import torch

        torch.set_num_threads(1)
    # What is loaded at first use is loaded now, while it may be.
    detector.detect(np.full((160, 160, 3), 127, np.uint8))
    return lambda source, tell: detector.detect(source, progress=tell)


def work(connection: Connection, prepare: Callable[[], Judge], limits: Limits) -> None:
    """The life of a worker: told of files by its parent, it answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_terminal()
    _mute()
    try:
        # Before there is any other thread: it holds for those that are started after it.
        fenced = fence(limits)
        _die_with_parent()
        judge = prepare()
        confinement = "landlock+" * fenced + confine(limits)
    except DeepfakeDetectError as error:
        connection.send_bytes(packed({"failed": [error.kind, str(error)]}))
        return
    except Exception as error:
        found = f"a process that judges could not be started ({type(error).__name__}: {error})"
        connection.send_bytes(packed({"failed": ["not_started", found]}))
        return
    connection.send_bytes(packed({"ready": confinement}))
    while True:
        try:
            job = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        sources = [each["lies_at"] for each in (job, job["original"]) if each is not None]
        descriptors = []
        if os.name == "posix":
            descriptors = [reduction.recv_handle(connection) for _ in sources]
            for descriptor in descriptors:
                os.lseek(descriptor, 0, os.SEEK_SET)
            sources = [f"/dev/fd/{descriptor}" for descriptor in descriptors]
        start_clock(limits)
        answer = _said(judge, job, sources, _teller(connection))
        stop_clock()
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send_bytes(answer)


def _said(judge: Judge, job: dict[str, Any], sources: list[str], tell: Callable[[str, float], None]) -> bytes:
    path = job["path"]
    try:
        tell("judging", 0.0)
        if job["original"] is not None:
            return packed(_compared(job, sources, partial(tell, "judging")))
        judged = judge(sources[0], partial(tell, "judging"))
        judged = replace(judged, path=path, media=judged.media and replace(judged.media, path=path))
        if job["report"] is not None:
            tell("writing", 0.0)
            replace(judged, path=job["lies_at"]).save(
                job["report"],
                options=ReportOptions(**job["report_options"]),
                name=None if job["lies_at"] == path else path,
                called=job["report_called"],
                progress=partial(tell, "writing"),
            )
        return packed({
            "record": to_dict(judged),
            "reasons": {language: verdict.reason(judged, Words(language)) for language in LANGUAGES},
            "crop": base64.b64encode(_crop(judged) if job["crop"] else b"").decode("ascii"),
        })  # fmt: skip
    except Exception as error:
        kind, found = "internal", f"{media.shown(path)}: internal error ({type(error).__name__}); please report it"
        # FFmpeg says so (EAGAIN) where the limit on memory leaves no room for an encoder's threads.
        if is_hunger(error) or isinstance(error, BlockingIOError):
            kind, found = "out_of_memory", f"{media.shown(path)}: needs more memory than the limit allows"
        elif isinstance(error, DeepfakeDetectError):
            kind, found = error.kind, _with_names(str(error), job, sources)
        elif isinstance(error, OSError) and job["report"] is not None:
            kind = "report"
            found = f"{media.shown(path)}: its report can't be written ({error.strerror}); check the folder"
        return packed({"error": [kind, found]})


def _with_names(message: str, job: dict[str, Any], sources: list[str]) -> str:
    """An error's words with what the files are called in place of where they are."""
    files = [each for each in (job, job["original"]) if each is not None]
    for source, file in zip(sources, files, strict=True):
        for place in (source, media.shown(file["lies_at"])):
            message = message.replace(place, media.shown(file["path"]))
    return message


def _compared(job: dict[str, Any], sources: list[str], tell: Callable[[float], None]) -> dict[str, Any]:
    suspect, original = sources
    found = compare(suspect, original, finder=_face_finder(), progress=tell)
    picture = b""
    if job["crop"] and found.match is not None:
        drawn = found.picture(language=ReportOptions(**job["report_options"]).language)
        picture = cv2.imencode(".jpg", drawn[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 90))[1].tobytes()
    said = {
        language: " ".join([found.explain(words), *found.warnings(words), found.explain_errors(words)]).strip()
        for language, words in _every_language()
    }
    return {"record": found.to_dict(), "reasons": said, "crop": base64.b64encode(picture).decode("ascii")}


def _every_language() -> list[tuple[str, Words]]:
    return [(language, Words(language)) for language in LANGUAGES]


@cache
def _face_finder() -> FaceFinder:
    options = Options(threads=1)
    return engine.face_finder(engine.choose(options), smallest_px=options.min_face_px)


def _teller(connection: Connection) -> Callable[[str, float], None]:
    """Tells the parent how far a job is, when a stage begins and then not too often."""
    last = ("", 0.0)

    def tell(stage: str, done: float) -> None:
        nonlocal last
        now = time.monotonic()
        if stage != last[0] or now - last[1] >= _TELL_EVERY_S:
            last = (stage, now)
            connection.send_bytes(packed({"stage": stage, "done": done}))

    return tell


def _crop(judged: Report) -> bytes:
    track = verdict.deciding(judged.tracks)
    views = draw.telling(track, 1) if track else []
    if not views or views[0].heatmap is None:
        return b""
    small = cv2.resize(views[0].heatmap.crop.pixels, (_CROP_PX, _CROP_PX), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 80))
    return data.tobytes()


def _leave_terminal() -> None:
    """What is typed into a terminal by a process that it controls, its shell would run after us."""
    if sys.platform == "win32":
        return
    import fcntl
    import termios

    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
        try:
            # Not by a session of its own, for what is sent to the group, as by Ctrl-Z, has to stop us, too.
            fcntl.ioctl(terminal, termios.TIOCNOTTY)
        finally:
            os.close(terminal)
    except OSError as error:
        # Where there is none, all is well; where it can't be got at, it has to be left that way after all.
        if error.errno != errno.ENXIO:
            os.setsid()


def _mute() -> None:
    """What decoders print may be the file's own words, with marks that a terminal obeys.

    Nor is anything told to the process that removes what ours forget: it prints what it does not understand, and removes
    whatever of the user's it is told to.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    heard = resource_tracker.getfd() if os.name == "posix" else None
    for descriptor in (0, 1, 2, heard):
        if descriptor is not None:
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _die_with_parent() -> None:
    """Nobody is left to hear the answer, nor to stop us."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
