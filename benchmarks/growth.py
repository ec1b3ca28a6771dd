"""How do time and memory grow with a video's length and size, the faces in view, and the number of files?

It makes its own media. Each is judged by the command in a process of its own, start and end included.
Prints a table and draws it.

python benchmarks/growth.py [--rounds 3] [--only length size faces files] [--plot FILE.svg] [--tiny]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import made
from memory import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Series:
    """What grows, its steps, and the media of a step."""

    what: str
    steps: tuple[float, ...]
    make: Callable[[Path, float], list[Path]]


@dataclass(frozen=True)
class Point:
    """One measured step: seconds (median) and peak MiB (largest) of the whole command."""

    step: float
    seconds: float
    peak_mib: float


def _length(folder: Path, seconds: float) -> list[Path]:
    return [made.video(folder / "video.mp4", width=1920, height=1080, seconds=seconds)]


def _size(folder: Path, height: float, *, seconds: float = 60) -> list[Path]:
    width = round(height * 16 / 9 / 2) * 2
    return [made.video(folder / "video.mp4", width=width, height=round(height), seconds=seconds)]


def _faces(folder: Path, count: float, *, seconds: float = 10) -> list[Path]:
    return [made.video(folder / "video.mp4", width=1920, height=1080, seconds=seconds, faces=round(count))]


def _files(folder: Path, count: float) -> list[Path]:
    return [made.photo(folder / f"{i}.jpg", width=1224 + i % 7, height=816) for i in range(round(count))]


SERIES = {
    "length": Series("seconds of 1080p", (10, 60, 600, 3600), _length),
    "size": Series("lines of a one-minute video", (360, 720, 1080, 2160), _size),
    "faces": Series("faces in view, 10 s of 1080p", (1, 3, 10, 30), _faces),
    "files": Series("photos of a megapixel in one call", (1, 10, 100, 1000), _files),
}
TINY: dict[str, Series] = {
    "length": replace(SERIES["length"], steps=(1, 2)),
    "size": replace(SERIES["size"], steps=(90, 180), make=partial(_size, seconds=1)),
    "faces": replace(SERIES["faces"], steps=(1, 2), make=partial(_faces, seconds=1)),
    "files": replace(SERIES["files"], steps=(1, 2)),
}


def points(series: Series, *, rounds: int) -> list[Point]:
    """Measured one after another; a process for each run, since the peak of children is never forgotten."""
    result = []
    for step in series.steps:
        with tempfile.TemporaryDirectory() as folder:
            names = [str(path) for path in series.make(Path(folder), step)]
            runs = []
            for _ in range(rounds):
                with get_context("spawn").Pool(1) as pool:
                    runs.append(pool.apply(measure, names))
        result.append(Point(step, statistics.median(run[0] for run in runs), max(run[1] for run in runs)))
    return result


def draw(path: Path, found: dict[str, list[Point]]) -> None:
    """Seconds and memory of each series, both axes logarithmic, a straight line of slope one where growth is linear."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "growth"
    figure = Figure(figsize=(3.2 * len(found), 5), layout="constrained")
    for column, (name, measured) in enumerate(found.items()):
        steps: Sequence[float] = [point.step for point in measured]
        for row, values in enumerate(([p.seconds for p in measured], [p.peak_mib for p in measured])):
            axes = figure.add_subplot(2, len(found), row * len(found) + column + 1)
            axes.loglog(steps, values, marker="o", color="#b5432a")
            axes.set_ylim(bottom=min(values) / 3, top=max(values) * 3)
            axes.set_ylabel("MiB at the peak" if row else "seconds")
            axes.set_xlabel(SERIES[name].what if row else "")
            axes.grid(alpha=0.3, which="both")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--only", nargs="+", choices=tuple(SERIES), default=tuple(SERIES))
    parser.add_argument("--plot", type=Path, help="draw it here, as SVG")
    parser.add_argument("--tiny", action="store_true", help="to see that it runs; its times mean nothing")
    arguments = parser.parse_args()
    found = {}
    print("| what grows | step | seconds | peak MiB |\n|---|---|---|---|")
    for name in arguments.only:
        series = (TINY if arguments.tiny else SERIES)[name]
        found[name] = points(series, rounds=1 if arguments.tiny else arguments.rounds)
        for point in found[name]:
            print(f"| {series.what} | {point.step:g} | {point.seconds:.2f} | {point.peak_mib:.0f} |", flush=True)
    if arguments.plot:
        draw(arguments.plot, found)


if __name__ == "__main__":
    main()
