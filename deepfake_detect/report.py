"""Report -> the record that programs read: `to_dict` and `to_json`, a contract with a schema beside it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import numpy as np

    from .types import FaceTrack, Report, Score

SCHEMA = "deepfake-detect/1"
SCHEMA_FILE = Path(__file__).with_name("report.schema.json")


def to_dict(report: Report) -> dict[str, Any]:
    """The report as the contract `deepfake-detect/1` lays it down (`report.schema.json`)."""
    verdict = report.verdict
    return {
        "schema": SCHEMA,
        "tool": dict(vars(report.tool)),
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
        "effort": report.effort and {**vars(report.effort), "looks": list(report.effort.looks)},
        "warnings": list(report.warnings),
        "timing_s": {stage: round(seconds, 4) for stage, seconds in report.timing_s.items()},
        "error": report.error and {"kind": report.error.kind, "message": report.error.message},
    }


def to_json(report: Report, *, indent: int | None = None) -> str:
    """`to_dict` as text: ASCII only, so that any name and any terminal will do, and never NaN."""
    return json.dumps(to_dict(report), indent=indent, allow_nan=False)


def _media(report: Report) -> dict[str, Any]:
    info = report.media
    names = ("kind", "size_bytes", "sha256", "width", "height", "start_s", "duration_s", "fps", "codec", "container")
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


def jpeg(pixels: np.ndarray) -> bytes:
    """A picture, uint8 (H, W, 3) RGB, as a file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
