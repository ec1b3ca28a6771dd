"""What a worker says of a file -> what is taken from it: it may have been taken over, so that nothing goes on unchecked.

That it is JSON, an object, and without numbers that are none, `worker` sees as it arrives.
"""

from __future__ import annotations

import base64
import re
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from .compare import ERROR_RATES, ComparisonLabel
from .job import Outcome, Progress
from .report import to_dict
from .types import Effort, Face, FaceTrack, Failure, Kind, MediaInfo, Report, Score, ToolInfo, Verdict
from .words import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from .job import Job
    from .types import Exclusion

_T = TypeVar("_T")

# What a worker may call an error: those of the file, and its own.
_KINDS = ("not_found", "not_a_file", "unreadable", "empty", "unsupported", "damaged", "too_large", "no_video", "no_frames",
          "timed_out", "out_of_memory", "internal", "report", "options", "weights")  # fmt: skip
_LONGEST_ERROR = 4096
# Of what a worker says. What is larger than any finding would be too much for those who keep it: rows, journals, databases.
_LARGEST_NUMBER, _LONGEST_TEXT = 1e18, 100_000
_SHA256 = "[0-9a-f]{64}"


def understood(message: dict[str, Any], job: Job, confinement: str) -> Progress | Failure | Outcome:
    """What a worker said, checked: it may have been taken over. Of a record nothing goes on but what belongs there.

    Raises:
        KeyError, TypeError, ValueError: It makes no sense.
    """
    if "stage" in message:
        stage, done = message["stage"], _number(message["done"])
        if stage not in ("judging", "writing"):
            raise ValueError(f"expected a stage, found {stage!r}")
        return Progress(stage, min(max(done, 0.0), 1.0))
    if "error" in message:
        kind, text = (str(part)[:_LONGEST_ERROR] for part in message["error"])
        if kind not in _KINDS:
            raise ValueError(f"expected a kind of error, found {kind!r}")
        return Failure(kind, text.encode("utf-8", "replace").decode())
    said = message["record"]
    if job.original is not None:
        record = _comparison(said, job.path, job.original.path)
    else:
        record = to_dict(_report(said, job.path))
    reasons = {language: _text(message["reasons"][language]) for language in LANGUAGES}
    crop = base64.b64decode(message["crop"], validate=True)
    if crop and not crop.startswith(b"\xff\xd8\xff"):
        raise ValueError("the crop is no JPEG")
    return Outcome(record, confinement, reasons, crop)


def _number(value: object, least: float = -_LARGEST_NUMBER, most: float = _LARGEST_NUMBER) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"expected a number from {least:g} to {most:g}")
    return float(value)


def _whole(value: object, least: float = 0, most: float = _LARGEST_NUMBER) -> int:
    if not isinstance(value, int):
        raise TypeError(f"expected a whole number, found {type(value).__name__}")
    _number(value, least, most)
    return value


def _whether(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected true or false, found {type(value).__name__}")
    return value


def _text(value: object, pattern: str = "") -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or (pattern and not re.fullmatch(pattern, value)):
        raise ValueError(f"expected text {pattern}")
    # Halves of surrogate pairs can be written nowhere.
    return value.encode("utf-8", "replace").decode()


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list of texts, found {type(value).__name__}")
    return [_text(text) for text in value]


def _if_any(value: object, check: Callable[..., _T], *limits: Any) -> _T | None:
    return None if value is None else check(value, *limits)


def _report(said: dict[str, Any], path: str) -> Report:
    """The report that a worker's record was made of, as far as it is in there."""
    info, found = said["media"], said["verdict"]
    if info["kind"] not in get_args(Kind):
        raise ValueError("expected a picture or a video")
    return Report(
        path=path,
        tool=ToolInfo(**{field.name: _text(said["tool"][field.name]) for field in fields(ToolInfo)}),
        media=MediaInfo(
            path,
            info["kind"],
            _whole(info["size_bytes"]),
            _text(info["sha256"], _SHA256),
            width=_whole(info["width"], 1, 2**31),
            height=_whole(info["height"], 1, 2**31),
            duration_s=_if_any(info["duration_s"], _number, 0, 1e9),
            fps=_if_any(info["fps"], _number),
            codec=_text(info["codec"]),
            container=_if_any(info["container"], _text),
            start_s=_if_any(info["start_s"], _number),
        ),
        sampled_times_s=tuple(_number(time_s) for time_s in info["sampled_times_s"]),
        effort=_if_any(said["effort"], _effort),
        verdict=Verdict(
            found["label"],
            _if_any(found["probability"], _number),
            _if_any(found["likelihood_ratio"], _number, 0),
            _text(found["reason"]),
            _interval(found["probability_interval"]),
        ),
        tracks=tuple(_track(track) for track in said["tracks"]),
        warnings=tuple(_texts(said["warnings"])),
        timing_s={_text(stage): _number(seconds) for stage, seconds in dict(said["timing_s"]).items()},
    )


def _track(said: dict[str, Any]) -> FaceTrack:
    return FaceTrack(
        _whole(said["id"], 1),
        tuple(_score(face) for face in said["faces"]),
        _if_any(said["logit"], _number),
        _if_any(said["probability"], _number, 0, 1),
        _interval(said["probability_interval"]),
    )


def _effort(said: dict[str, Any]) -> Effort:
    looks = tuple(_whole(count, 1) for count in said["looks"])
    return Effort(_whole(said["available"], 1), looks, _whether(said["settled"]))


def _score(said: dict[str, Any]) -> Score:
    left, top, right, bottom = (_number(edge) for edge in said["box"])
    landmarks = tuple((_number(x), _number(y)) for x, y in said["landmarks"])
    face = Face((left, top, right, bottom), landmarks, _number(said["detector_confidence"], 0, 1))
    logit = _if_any(said["logit"], _number)
    # Why it does not vote is in the warnings, and in no record.
    why: Exclusion | None = "too_uncertain" if logit is None else None
    return Score(_number(said["time_s"]), face, _number(said["quality"], 0, 1), why, logit)


def _interval(said: object) -> tuple[float, float] | None:
    if said is None:
        return None
    if not isinstance(said, list) or len(said) != 2:
        raise TypeError("expected the ends of an interval")
    return _number(said[0], 0, 1), _number(said[1], 0, 1)


def _comparison(said: dict[str, Any], suspect: str, original: str) -> dict[str, Any]:
    """What a worker said about a pair, in the same way: see `Comparison.to_dict`."""
    if said["label"] not in get_args(ComparisonLabel):
        raise ValueError("expected a label of a comparison")
    return {
        "schema": "deepfake-detect/compare/1",
        "label": said["label"],
        "score": _if_any(said["score"], _number),
        "likelihood_ratio": _if_any(said["likelihood_ratio"], _number, 0),
        "reason": _text(said["reason"]),
        "suspect": {"path": suspect, "sha256": _text(said["suspect"]["sha256"], _SHA256)},
        "original": {"path": original, "sha256": _text(said["original"]["sha256"], _SHA256)},
        "time_s": _if_any(said["time_s"], _number),
        "mirrored": _if_any(said["mirrored"], _whether),
        "frame_matches": _if_any(said["frame_matches"], _whether),
        "faces_compared": _whole(said["faces_compared"]),
        # Those of this way of comparing, and no finding.
        "error_rates": asdict(ERROR_RATES),
        "warnings": _texts(said["warnings"]),
    }
