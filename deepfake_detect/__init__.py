"""Finds traces of manipulation in pictures and videos of faces, on your own machine.

    from deepfake_detect import Detector
    report = Detector().detect("clip.mp4")
    report.verdict.label, report.verdict.probability, report.tracks[0].heatmaps

Names are loaded when they are first used, so that importing the package is quick and quiet.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .detector import Detector
    from .errors import DeepfakeDetectError, MediaError, OptionsError, WeightsError, WorkerError
    from .options import Options, ReportOptions
    from .types import Face, FaceTrack, Heatmap, MediaInfo, Report, Score, Verdict

__version__ = "0.2.0.dev3"

_HOMES = {
    "Detector": "detector",
    "DeepfakeDetectError": "errors",
    "MediaError": "errors",
    "OptionsError": "errors",
    "WeightsError": "errors",
    "WorkerError": "errors",
    "Options": "options",
    "Face": "types",
    "FaceTrack": "types",
    "Heatmap": "types",
    "MediaInfo": "types",
    "Report": "types",
    "ReportOptions": "options",
    "Score": "types",
    "Verdict": "types",
}

__all__ = [
    "DeepfakeDetectError",
    "Detector",
    "Face",
    "FaceTrack",
    "Heatmap",
    "MediaError",
    "MediaInfo",
    "Options",
    "OptionsError",
    "Report",
    "ReportOptions",
    "Score",
    "Verdict",
    "WeightsError",
    "WorkerError",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
