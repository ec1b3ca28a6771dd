"""Runs the shipped detector over labelled media, as a user would, and says how good it is and how sure that is.

The data set is a CSV, a folder with `index.csv`, `real/` and `fake/`, or laid out as FaceForensics++, Celeb-DF, DFDC or
DF40 are (`training/datasets.py` describes each). Every file is judged once and its score kept in `scores.csv` (and those of
its frames in `frames.csv`), so a stopped evaluation goes on where it was; `--again` starts over. Scores of files that are
not asked for, as after another `--split`, are kept in `other_scores.csv`, and no figure is of them. Out come
`evaluation.json`, `table.md` and `evaluation.html`, a page that needs nothing else. Intervals are percentile bootstraps
over groups, since files of one clip or one person are not independent, and left out where a class is of fewer than three
groups; those of shares are Wilson's, of as many as groups of equal size would tell as much (`metrics.effective_groups`). An
AUC of exactly 1 or 0 has a bound on one side (`metrics.perfect`). The calibration error has, in place of an interval, what
so few files would show by chance if every probability were exact.

A forgery that shows one person in the clip of another, as those of Celeb-DF, DeepFakeDetection and DF40's cdf/ do, is in
the group of the one whose clip it is, and in no other: intervals there are somewhat too narrow.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..detector import Detector
from ..errors import DeepfakeDetectError
from ..files import write_atomically
from ..media import shown as readable
from ..options import Options, sampling
from ..verdict import wilson
from .datasets import read_dataset
from .metrics import (
    RESAMPLES,
    Scored,
    auc,
    calibration_error_by_chance,
    effective_groups,
    figures,
    reliability,
    with_intervals,
)
from .scores import KEPT, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .datasets import Labelled
    from .scores import FrameScore, Item

_MANY = 5000
#: Of frames only what their order gives: the probability is the file's.
_OF_FRAMES = ("auc", "ap", "eer", "recall_at_1", "recall_at_5")


def scored(items: Iterable[Item]) -> Scored:
    """The files that could be judged, as arrays, ordered as their verdicts are.

    What an older version wrote and nobody has relabelled has logits alone: then these order all of them, since a logit and
    log odds can't be compared.
    """
    judged = [item for item in items if item.logit is not None]
    old = any(item.log_odds is None for item in judged)
    return Scored(
        fake=np.array([item.label == "fake" for item in judged], bool),
        evidence=np.array([item.logit if old else item.log_odds for item in judged], float),
        chance=np.array([item.probability for item in judged], float),
        group=np.array([item.group for item in judged], str),
    )


def scored_frames(items: Sequence[Item], frames: Mapping[str, Sequence[FrameScore]]) -> Scored:
    """The frames of these files, given by path, each with its file's label, group and probability.

    Those of a file count together as one: of a video that is looked at again since its label is open there are eight times
    as many as of one that is clear at once.
    """
    mine = [(item, frame) for item in items if item.logit is not None for frame in frames.get(item.path, ())]
    return Scored(
        fake=np.array([item.label == "fake" for item, _ in mine], bool),
        evidence=np.array([frame.logit for _, frame in mine], float),
        chance=np.array([item.probability for item, _ in mine], float),
        group=np.array([item.group for item, _ in mine], str),
        weight=np.array([1 / len(frames[item.path]) for item, _ in mine], float),
    )


def share(items: Sequence[Item], verdict: str) -> float:
    """The share with this verdict, of the files that could be read."""
    read = [item for item in items if item.verdict != "error"]
    return sum(item.verdict == verdict for item in read) / len(read) if read else math.nan


def share_interval(items: Sequence[Item], verdict: str) -> tuple[float, float]:
    """95 % interval of `share`: Wilson's of as many as `effective_groups`, since files of a group may all be judged alike.

    A bootstrap over groups would be too narrow where few files have the verdict, as false alarms are, and blind for none.
    """
    groups = effective_groups(item.group for item in items if item.verdict != "error")
    return wilson(share(items, verdict) * groups if groups else 0, groups)


def table(
    items: Sequence[Item],
    frames: Sequence[FrameScore] = (),
    *,
    together: Sequence[Sequence[str]] = (),
    resamples: int = RESAMPLES,
) -> list[dict[str, Any]]:
    """A row for each source, one for each of its methods against all genuine files of that source, and one for everything.

    Args:
        together: Sources that make one row more, such as those that are parts of one data set.

    Each row: counts; `media`, the figures of `metrics.figures` and, as `ece_by_chance`, what exact probabilities would show
    as ECE; `frames`, those of them that follow from an order; `media_95`, their intervals, and `frames_95`, that of the
    AUC; and how the verdicts fell.
    """
    rows = []
    resamples = _resamples(len(items), resamples)
    by_path: dict[str, list[FrameScore]] = defaultdict(list)
    for frame in frames:
        by_path[frame.path].append(frame)
    sources = sorted({item.source for item in items})
    for source in sources:
        mine = [item for item in items if item.source == source]
        rows.append(_row(source, "all", mine, by_path, resamples))
        methods = sorted({item.method for item in mine if item.label == "fake"})
        if len(methods) > 1:
            genuine = [item for item in mine if item.label == "real"]
            rows += [
                _row(source, m, genuine + [i for i in mine if i.label == "fake" and i.method == m], by_path, resamples)
                for m in methods
            ]
    for names in together:
        if len(mine := [item for item in items if item.source in names]):
            rows.append(_row(" + ".join(names), "all", mine, by_path, resamples))
    if len(sources) > 1:
        rows.append(_row("all", "all", list(items), by_path, resamples))
    return rows


def _row(
    source: str, method: str, items: list[Item], frames: Mapping[str, Sequence[FrameScore]], resamples: int
) -> dict[str, Any]:
    genuine = [item for item in items if item.label == "real"]
    fake = [item for item in items if item.label == "fake"]
    judged = scored(items)
    media, media_95 = with_intervals(judged, resamples=resamples)
    media["ece_by_chance"] = (
        math.nan if math.isnan(media["ece"]) else calibration_error_by_chance(judged.chance, judged.fake)
    )
    of_frames = scored_frames(items, frames)
    unjudged = {label: sum(item.logit is None for item in mine) for label, mine in (("real", genuine), ("fake", fake))}
    return {
        "source": readable(source),
        "method": readable(method),
        "genuine": len(genuine),
        "manipulated": len(fake),
        "unjudged": unjudged["real"] + unjudged["fake"],
        "unjudged_genuine": unjudged["real"],
        "unjudged_manipulated": unjudged["fake"],
        "media": media,
        "media_95": media_95,
        "frames_judged": len(of_frames),
        "frames": {name: value for name, value in figures(of_frames).items() if name in _OF_FRAMES and len(of_frames)},
        "frames_95": with_intervals(of_frames, auc, resamples=_resamples(len(of_frames), resamples))[1],
        "false_alarms": share(genuine, "manipulated"),
        "false_alarms_95": share_interval(genuine, "manipulated"),
        "found": share(fake, "manipulated"),
        "found_95": share_interval(fake, "manipulated"),
        "missed": share(fake, "no_manipulation_found"),
        "missed_95": share_interval(fake, "no_manipulation_found"),
        "inconclusive": share(items, "inconclusive"),
    }


def _resamples(count: int, wanted: int) -> int:
    """How often so many files or frames are drawn anew: many have narrow intervals anyway, and take long each time."""
    return wanted if count < _MANY else min(wanted, 200)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The verdicts' table, and that of the figures, for people."""
    lines = [
        "| source | method | genuine / manipulated | AUC (95 %) | genuine called manipulated (95 %) | manipulated found"
        " | called nothing found | inconclusive | unjudged, genuine / manipulated |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        media, bounds = row["media"], row["media_95"]
        lines.append(
            f"| {row['source']} | {row['method']} | {row['genuine']} / {row['manipulated']}"
            f" | {shown(media['auc'], bounds['auc'])} | {shown(row['false_alarms'], row['false_alarms_95'])}"
            f" | {shown(row['found'])} | {shown(row['missed'])} | {shown(row['inconclusive'])}"
            f" | {row['unjudged_genuine']} / {row['unjudged_manipulated']} |"
        )
    lines += [
        "",
        "| source | method | AP | EER | balanced accuracy | found at 1 % / 5 % false alarms | ECE | Brier | frame AUC |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        media, bounds = row["media"], row["media_95"]
        if not math.isnan(media["auc"]):
            lines.append(
                f"| {row['source']} | {row['method']}"
                f" | {shown(media['ap'], bounds['ap'])} | {shown(media['eer'], bounds['eer'])}"
                f" | {shown(media['balanced_accuracy'], bounds['balanced_accuracy'])}"
                f" | {shown(media['recall_at_1'])} / {shown(media['recall_at_5'])} | {shown_ece(media)}"
                f" | {shown(media['brier'], bounds['brier'])}"
                f" | {shown(row['frames'].get('auc', math.nan), row['frames_95'].get('auc'))} |"
            )
    return "\n".join(lines) + "\n"


def shown(value: float, bounds: tuple[float, float] | None = None) -> str:
    """A figure with its interval, for people."""
    if math.isnan(value):
        return "–"
    text = f"{value:.3f}"
    return text + (f" ({bounds[0]:.2f}–{bounds[1]:.2f})" if bounds and not math.isnan(bounds[0]) else "")


def shown_ece(media: Mapping[str, float]) -> str:
    """The calibration error with what chance alone would show of so many files, for people."""
    return f"{shown(media['ece'])} ({shown(media['ece_by_chance'])} by chance)"


def without_nan(value: Any) -> Any:
    """The same with None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write(
    out: Path,
    items: Sequence[Item],
    frames: Sequence[FrameScore],
    detector: Detector,
    *,
    name: str,
    layout: str = "",
    split: str | None = None,
    together: Sequence[Sequence[str]] = (),
) -> str:
    """All the results into a folder.

    Args:
        name: Of the data set.
        layout: See `Dataset`.
        split: See `Dataset`.
        together: See `table`.

    Returns:
        The tables for people.
    """
    from .evaluation_page import page

    rows = table(items, frames, together=together)
    every = scored(items)
    record = {
        "dataset": readable(name),
        "layout": layout,
        "split": None if split is None else readable(split),
        "frames_of_a_video": max(detector.options.looks),
        "tool": asdict(detector.tool),
        "files": len(items),
        # A CSV may hold absolute paths; whose machine it was is nobody's business.
        "errors": [
            readable(Path(p).name if Path(p).is_absolute() else p)
            for p in (i.path for i in items if i.verdict == "error")
        ],
        "rows": rows,
        "reliability": {
            kind: reliability(some.chance, some.fake)
            for kind in ("image", "video")
            if len(some := scored(item for item in items if item.kind == kind))
            and some.fake.any()
            and not some.fake.all()
        },
    }
    write_atomically(out / "evaluation.json", json.dumps(without_nan(record), indent=1, allow_nan=False).encode())
    text = markdown(rows)
    write_atomically(out / "table.md", text.encode())
    write_atomically(out / "evaluation.html", page(record, items, every).encode())
    return text


def add_together(parser: argparse.ArgumentParser) -> None:
    """The option for the argument `together` of `table`."""
    parser.add_argument(
        "--together",
        action="append",
        default=[],
        type=lambda text: [name.strip() for name in text.split(",")],
        metavar="SOURCE,SOURCE",
        help="one row more for these sources as one",
    )


def check_together(together: Sequence[Sequence[str]], items: Sequence[Labelled]) -> None:
    """
    Raises:
        SystemExit: A source of which there is no file, so that its row would hold less than its name says.
    """
    known = {item.source for item in items}
    if unknown := sorted({name for names in together for name in names} - known):
        raise SystemExit(f"--together: expected some of {', '.join(sorted(known))}; found {', '.join(unknown)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m deepfake_detect.training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m deepfake_detect.training.evaluate FaceForensics++ --out results",
    )
    parser.add_argument("dataset", type=Path, help="a folder, or a CSV with the columns path and label")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--split", help="only these rows of a CSV with a column split")
    parser.add_argument("--weights", type=Path, help="folder with other weights, such as finetune makes")
    parser.add_argument("--net", help="name of a net in the manifest, instead of its default")
    parser.add_argument("--frames", type=int, help="of a video (as many as the command looks at)")
    add_together(parser)
    parser.add_argument("--again", action="store_true", help="forget the scores an earlier run left in --out")
    arguments = parser.parse_args()
    dataset = read_dataset(arguments.dataset, split=arguments.split)
    print(dataset.summary, file=sys.stderr)
    check_together(arguments.together, dataset.items)
    try:
        detector = Detector(
            Options(**sampling(arguments.frames)), weights=arguments.net, weights_folder=arguments.weights
        )
    except DeepfakeDetectError as error:
        raise SystemExit(f"evaluate: {error}") from error
    if arguments.again:
        for name in KEPT:
            (arguments.out / name).unlink(missing_ok=True)
    items, frames = run(dataset.root, dataset.items, arguments.out, detector)
    where = arguments.dataset.resolve()
    print(write(arguments.out, items, frames, detector, name=where.stem if where.is_file() else where.name,
                layout=dataset.layout, split=dataset.split, together=arguments.together))  # fmt: skip


if __name__ == "__main__":
    main()
