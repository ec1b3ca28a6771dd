"""Report -> JSON, annotated picture or video, contact sheet. One writer per format; all from one report."""

from __future__ import annotations

import json
import math
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import draw, media
from .errors import MediaError
from .options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from .types import FaceTrack, Frame, Report, Score

SCHEMA = "deepfake-detect/1"
SCHEMA_FILE = Path(__file__).with_name("report.schema.json")
# In the annotated video a frame is shown for as long as it stands for, within these bounds.
_SHORTEST_S, _LONGEST_S = 0.04, 0.5
_VIDEO_TICK = Fraction(1, 1000)
_LONGEST_VIDEO_SIDE_PX = 1920


def to_dict(report: Report) -> dict[str, Any]:
    """The report as the contract `deepfake-detect/1` lays it down (`report.schema.json`)."""
    verdict = report.verdict
    return {
        "schema": SCHEMA,
        "tool": {
            "version": report.tool.version,
            "model": report.tool.model,
            "model_sha256": report.tool.model_sha256,
            "calibration": report.tool.calibration,
        },
        "media": _media(report),
        "verdict": verdict
        and {
            "label": verdict.label,
            "probability": _rounded(verdict.probability, 6),
            "probability_interval": _interval(verdict.interval),
            "likelihood_ratio": _rounded(verdict.likelihood_ratio, 4),
            "reason": verdict.reason,
        },
        "tracks": [_track(track) for track in report.tracks],
        "warnings": list(report.warnings),
        "timing_s": {stage: round(seconds, 4) for stage, seconds in report.timing_s.items()},
        "error": report.error and {"kind": report.error.kind, "message": report.error.message},
    }


def to_json(report: Report, *, indent: int | None = None) -> str:
    """`to_dict` as text: ASCII only, so that any name and any terminal will do, and never NaN."""
    return json.dumps(to_dict(report), indent=indent, allow_nan=False)


def save(report: Report, folder: str | PathLike[str]) -> None:
    """Write into a folder, made when missing: `report.json`, and for what could be judged `annotated.jpg` (or `.mp4`
    for a video) and `contact_sheet.jpg`.

    The annotated video holds the frames that were judged and no others.

    Raises:
        MediaError: The media changed or disappeared since it was judged.
        OSError: The folder can't be written.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(target / "report.json", (to_json(report, indent=1) + "\n").encode("ascii"))
    if report.media is None or report.error is not None:
        return
    if report.media.kind == "image":
        for frame in _frames(report):
            write_atomically(target / "annotated.jpg", _jpeg(_annotated(report, frame)))
    else:
        _write_video(report, target / "annotated.mp4")
    if any(track.heatmaps for track in report.tracks):
        write_atomically(target / "contact_sheet.jpg", _jpeg(draw.contact_sheet(report.tracks)))


def _media(report: Report) -> dict[str, Any]:
    info = report.media
    names = ("kind", "size_bytes", "sha256", "width", "height", "duration_s", "fps", "codec")
    known = {name: getattr(info, name, None) for name in names}
    return {"path": report.path, **known, "sampled_times_s": [round(t, 6) for t in report.sampled_times_s]}


def _track(track: FaceTrack) -> dict[str, Any]:
    return {
        "id": track.id,
        "probability": _rounded(track.probability, 6),
        "probability_interval": _interval(track.interval),
        "logit": _rounded(track.logit, 4),
        "start_s": round(track.start_s, 6),
        "end_s": round(track.end_s, 6),
        "faces": [_face(score) for score in track.scores],
    }


def _face(score: Score) -> dict[str, Any]:
    return {
        "time_s": round(score.time_s, 6),
        "box": [round(v, 2) for v in score.face.box],
        "landmarks": [[round(x, 2), round(y, 2)] for x, y in score.face.landmarks],
        "detector_confidence": round(score.face.confidence, 4),
        "quality": round(score.quality, 4),
        "logit": _rounded(score.logit, 4),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _interval(bounds: tuple[float, float] | None) -> list[float] | None:
    return None if bounds is None else [round(value, 6) for value in bounds]


def _frames(report: Report) -> Iterator[Frame]:
    """The judged frames once more, from the media itself: a report holds no pictures but face crops."""
    assert report.media is not None
    if report.pixels is not None:
        with media.from_array(report.pixels, Options(max_pixels=10**9)) as opened:
            yield from opened.frames()
        return
    with media.open(report.path, report.options) as opened:
        if opened.info.sha256 != report.media.sha256:
            raise MediaError(
                f"{media.shown(report.path)}: changed since it was judged; judge it again", kind="unreadable"
            )
        yield from opened.frames()


def _annotated(report: Report, frame: Frame) -> np.ndarray:
    people = [
        (track, score) for track in report.tracks for score in track.scores if math.isclose(score.time_s, frame.time_s)
    ]
    still = report.media is not None and report.media.kind == "image"
    return draw.annotate(frame.pixels, people, caption="" if still else f"{frame.time_s:.2f} s")


def _write_video(report: Report, path: Path) -> None:
    import av

    partial = path.with_suffix(".part")
    times = report.sampled_times_s
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else _LONGEST_S
    shown_s = min(max(spacing, _SHORTEST_S), _LONGEST_S)
    try:
        # A file and not a name, since FFmpeg takes a name with a colon for an address.
        with partial.open("wb") as file, av.open(file, "w", format="mp4") as container:
            stream = container.add_stream(
                "libx264", rate=round(1 / shown_s), options={"crf": "20", "preset": "veryfast"}
            )
            stream.pix_fmt, stream.time_base = "yuv420p", _VIDEO_TICK
            stream.codec_context.time_base = _VIDEO_TICK
            for i, frame in enumerate(_frames(report)):
                pixels = _even(_annotated(report, frame))
                if i == 0:
                    stream.height, stream.width = pixels.shape[:2]
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                picture.pts, picture.time_base = round(i * shown_s / _VIDEO_TICK), _VIDEO_TICK
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _even(pixels: np.ndarray) -> np.ndarray:
    """H.264 wants even sides; very large frames are reduced, as not every player shows them."""
    import cv2

    scale = min(1.0, _LONGEST_VIDEO_SIDE_PX / max(pixels.shape[:2]))
    width, height = (max(2, round(side * scale) // 2 * 2) for side in (pixels.shape[1], pixels.shape[0]))
    if (height, width) == pixels.shape[:2]:
        return np.ascontiguousarray(pixels)
    if scale == 1 and height > 0 and width > 0 and min(pixels.shape[:2]) > 1:
        return np.ascontiguousarray(pixels[:height, :width])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def _jpeg(pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def write_atomically(path: Path, data: bytes) -> None:
    """All or nothing: a crash leaves no half-written file under its final name."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
