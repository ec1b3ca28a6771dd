"""Every knob of a run and of its report, with its default, range and unit."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import Any

from .errors import OptionsError
from .words import LANGUAGES

ENGINES = ("auto", "onnx", "torch")
# Of a video: few enough for a first look, and more than any has.
FAST_FRAMES, EVERY_FRAME = 8, 1_000_000
# What is looked at first, unasked; how many times as many each time that it leaves the label open; and the most.
_FRAMES, _MORE, _MOST_FRAMES = 16, 4, 128
# name: (lowest, highest). None as a value means "not set" where the default is None.
_RANGES: dict[str, tuple[float, float]] = {
    "frames": (1, EVERY_FRAME),
    "most_frames": (1, EVERY_FRAME),
    "min_frames": (1, EVERY_FRAME),
    "start_s": (0, math.inf),
    "end_s": (0, math.inf),
    "fps": (0.001, 1000),
    "min_face_px": (20, 10_000),
    "min_confidence": (0, 1),
    "min_sharpness": (0, 1),
    "max_pixels": (1, 10**9),
    "max_heatmaps": (0, 100_000),
    "batch_size": (1, 4096),
    "threads": (1, 1024),
}


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return os.fsdecode(path)
    except TypeError as error:
        raise OptionsError(f"trust: expected the name of a file, found {path!r}") from error


def sampling(frames: int | None, fps: float | None = None) -> dict[str, Any]:
    """The options for what was asked for: exactly so many frames of a video, or a second, or with None the default."""
    return {"fps": fps} if frames is None else {"frames": frames, "most_frames": frames}


@dataclass(frozen=True)
class Options:
    """Settings of a run. Numbers that belong to a net are not here: they travel with its weights.

    Attributes:
        frames: How many frames of a video are looked at, spread over its whole length. Default 16.
        most_frames: Where these leave the label open (`verdict.is_open`), look again, at four times as many each time and
            at so many at most. Default: 128 where `frames` is 16, else `frames`: once.
        min_frames: With `fps`, never fewer than this many, as long as the video has them. Default 8.
        start_s: Look from here on, seconds after the first frame, whatever its own time stamp. Default: the beginning.
        end_s: Look up to here, seconds. Default: the end.
        fps: Look at so many frames a second instead of `frames` in all. Default: not set.
        min_face_px: A face whose box is smaller on its longer side does not vote. Default 48.
        min_confidence: A face the detector is less sure of does not vote, 0 to 1. Default 0.9.
        min_sharpness: A face with less detail does not vote, 0 to 1, see `faces.sharpness`. Default 0.02.
        max_pixels: A picture or a frame with more pixels is refused. Default 120 million.
        max_heatmaps: How many heatmaps of a file are kept, the most telling ones. Default 512 (about 80 MB).
        batch_size: Crops that are judged at a time. Default 2: on a CPU more are slower, for they no longer fit its
            caches; a GPU wants more.
        provenance: Read metadata and Content Credentials, and compute MD5 and PDQ hashes. Default False; a report that is
            saved should have them.
        trust: Name of a PEM file with the certificates of those whose Content Credentials are trusted. Default: none.
        engine: What runs the nets: `onnx` (ONNX Runtime, on the CPU), `torch` (the reference), or `auto`, which is `onnx`
            where the device is the CPU. Default `auto`.
        threads: That ONNX Runtime uses for one net. Default 1: nets this small gain little from more, and decoding, the
            search for faces and judging go on side by side as it is.
        device: A torch device name. Default `cpu`.
    """

    frames: int = _FRAMES
    most_frames: int | None = None
    min_frames: int = 8
    start_s: float | None = None
    end_s: float | None = None
    fps: float | None = None
    min_face_px: float = 48
    min_confidence: float = 0.9
    min_sharpness: float = 0.02
    max_pixels: int = 120_000_000
    max_heatmaps: int = 512
    batch_size: int = 2
    provenance: bool = False
    trust: str | None = None
    engine: str = "auto"
    threads: int | None = None
    device: str = "cpu"

    @property
    def looks(self) -> tuple[int, ...]:
        """How many frames are looked at and, as long as that leaves the label open, how many next."""
        looks = [self.frames]
        most = self.most_frames or (_MOST_FRAMES if self.frames == _FRAMES else self.frames)
        while looks[-1] < most and self.fps is None:
            looks.append(min(_MORE * looks[-1], most))
        return tuple(looks)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name not in _RANGES or (value is None and item.default is None):
                continue
            lowest, highest = _RANGES[item.name]
            wanted, kinds = ("a whole number", int) if str(item.type).startswith("int") else ("a number", (int, float))
            if isinstance(value, bool) or not isinstance(value, kinds) or not lowest <= value <= highest:
                raise OptionsError(f"{item.name}: expected {wanted} from {lowest:g} to {highest:g}, found {value!r}")
        if self.trust is not None:
            # A record of the run holds text.
            object.__setattr__(self, "trust", _text(self.trust))
        if self.engine not in ENGINES:
            raise OptionsError(f"engine: expected one of {', '.join(ENGINES)}, found {self.engine!r}")
        if self.engine == "onnx" and self.device != "cpu":
            raise OptionsError(
                f"engine onnx runs on the CPU only, found device {self.device!r}; choose the engine torch"
            )
        if self.start_s is not None and self.end_s is not None and self.start_s >= self.end_s:
            raise OptionsError(
                f"start_s {self.start_s:g} must lie before end_s {self.end_s:g}; swap them or leave one out"
            )


@dataclass(frozen=True)
class ReportOptions:
    """What the folder of a report holds. By default no picture shows anything but faces.

    Attributes:
        images: Write pictures: crops of faces, the annotated copy, the sheet. Default True.
        whole_frames: Show in the annotated copy all of each frame; else what lies around the judged faces is made
            unrecognisable. Default False.
        person: Show this person only, by number; others are made unrecognisable. Default: everybody.
        keep_path: State the path of the media as it was given; else its name alone. Default False.
        language: Of the page, one of `words.LANGUAGES`. Default `en`.
        pdf: Write the page as report.pdf too. Default False.
    """

    images: bool = True
    whole_frames: bool = False
    person: int | None = None
    keep_path: bool = False
    language: str = "en"
    pdf: bool = False

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise OptionsError(f"language: expected one of {', '.join(LANGUAGES)}, found {self.language!r}")
        if self.person is not None and self.person < 1:
            raise OptionsError(f"person: expected a number from 1, found {self.person}")
        if self.whole_frames and self.person is not None:
            # They would show everyone who was not found, or was there between two moments that were looked at.
            raise OptionsError(
                "whole frames (--whole-frames) can't show one person alone (--blur-others); leave one out"
            )
