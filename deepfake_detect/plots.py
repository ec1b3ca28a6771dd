"""Report -> figures and a table, for those who work in a notebook."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from . import draw
from .types import unbroken

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from .types import Report


def timeline(report: Report) -> Figure:
    """The evidence of each person over time, sampled moments marked.

    Raises:
        ImportError: matplotlib is missing.
    """
    _needed("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes: Any = figure.subplots()
    axes.axhline(0, color="0.5", linewidth=0.8)
    if report.calibration and report.media:
        even = report.calibration.bands(report.media.kind).even
        axes.axhline(even, color="0.5", linewidth=0.8, linestyle="--", label="even odds")
    for track in report.tracks:
        times, logits = [s.time_s for s in track.voting], [s.logit for s in track.voting]
        # What is no number breaks the line.
        gaps = [run.stop for run in unbroken(times, report.sampled_times_s)[:-1]]
        axes.plot(np.insert(times, gaps, np.nan), np.insert(np.array(logits, float), gaps, np.nan), marker="o",
                  markersize=3.5, linewidth=1.2, label=f"person {track.id}")  # fmt: skip
    axes.set(xlabel="seconds", ylabel="evidence (logits)", ylim=(-8.5, 8.5), yticks=(-8, -4, 0, 4, 8))
    if report.tracks:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def faces(report: Report, *, count: int = 6) -> Figure:
    """Of each person the most telling views, each above its map on the fixed scale.

    Args:
        count: Views a person.

    Raises:
        ImportError: matplotlib is missing.
    """
    _needed("matplotlib")
    from matplotlib.figure import Figure

    rows = [(track, scores) for track in report.tracks if (scores := draw.telling(track, count))]
    figure = Figure(figsize=(1.7 * count, max(1, len(rows)) * 3.9), layout="constrained")
    grid: Any = figure.subplots(2 * max(1, len(rows)), count, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for row, (track, scores) in enumerate(rows):
        for column, score in enumerate(scores):
            assert score.heatmap is not None
            grid[2 * row][column].imshow(score.heatmap.crop.pixels)
            grid[2 * row + 1][column].imshow(draw.overlay_crop(score.heatmap))
            moment = f"{score.time_s:.2f} s  " if report.media and report.media.kind == "video" else ""
            grid[2 * row + 1][column].set_title(f"{moment}{score.logit:+.2f}", fontsize=8)
        grid[2 * row][0].set_title(f"person {track.id}", loc="left", fontsize=9)
    return figure


def table(report: Report) -> DataFrame:
    """A row for each view of a face: person, time, box, quality, why it does not count, logit.

    Raises:
        ImportError: pandas is missing.
    """
    pandas: Any = _needed("pandas")
    rows = [
        {"person": track.id, "time_s": score.time_s, "x0": score.face.box[0], "y0": score.face.box[1],
         "x1": score.face.box[2], "y1": score.face.box[3], "confidence": score.face.confidence,
         "quality": score.quality, "excluded": score.excluded, "logit": score.logit}
        for track in report.tracks for score in track.scores
    ]  # fmt: skip
    columns = ["person", "time_s", "x0", "y0", "x1", "y1", "confidence", "quality", "excluded", "logit"]
    result: DataFrame = pandas.DataFrame(rows, columns=columns)
    return result


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is missing; install it: pip install {name}") from error
