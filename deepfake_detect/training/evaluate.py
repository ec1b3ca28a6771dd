"""Runs the shipped detector over labelled media, as a user would, and says how good it is and how sure that is.

A data set is a folder with `index.csv` (columns path, label, source, method, group, and perhaps split), or with the
folders `real/` and `fake/`, whose subfolders are then the sources. Every file is judged once and its score kept in
`scores.csv`, so a stopped evaluation goes on where it was; `--again` starts over. Intervals are percentile bootstraps over
groups, since files of one clip or one person are not independent.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_auc_score

from ..detector import Detector
from ..verdict import deciding, label_of, likelihood_ratio, probability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..types import Calibration, Report

_RESAMPLES = 1000


@dataclass(frozen=True)
class Item:
    """One labelled file, and what the detector said of it.

    Attributes:
        path: Below the data set's folder.
        label: `real` or `fake`.
        logit: Of the deciding person; None where nobody could be judged.
        verdict: The label of the verdict, or `error`.
    """

    path: str
    label: str
    source: str
    method: str
    group: str
    kind: str = ""
    verdict: str = ""
    probability: float | None = None
    logit: float | None = None
    model: str = ""


def read_dataset(root: Path, *, split: str | None) -> list[Item]:
    """The labelled files of a folder.

    Raises:
        SystemExit: It is laid out in neither of the known ways.
    """
    index = root / "index.csv"
    if index.is_file():
        with index.open(newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if split is None or row.get("split", split) == split]
        return [Item(r["path"], r["label"], r["source"], r.get("method", ""), r["group"]) for r in rows]
    items = []
    for label in ("real", "fake"):
        for path in sorted(p for p in (root / label).rglob("*") if p.is_file()):
            below = path.relative_to(root / label).parts
            items.append(Item(str(path.relative_to(root)), label, below[0] if len(below) > 1 else "all", "", path.stem))
    if not items:
        raise SystemExit(f"{root}: expected index.csv, or the folders real/ and fake/ with media; found neither")
    return items


def judge(item: Item, report: Report) -> Item:
    """The item with what the report says."""
    worst = deciding(report.tracks)
    verdict = report.verdict
    return Item(
        item.path, item.label, item.source, item.method, item.group,
        kind=report.media.kind if report.media else "",
        verdict=verdict.label if verdict else "error",
        probability=verdict.probability if verdict else None,
        logit=worst.logit if worst else None,
        model=report.tool.model_sha256,
    )  # fmt: skip


def run(root: Path, items: Sequence[Item], scores: Path, detector: Detector) -> list[Item]:
    """Judge what `scores` does not hold yet; each row is written as soon as it is known.

    Logits depend on the net alone. What an earlier run found is labelled anew, by the calibration there is now.
    """
    known = {item.path: item for item in read_scores(scores) if item.model == detector.tool.model_sha256}
    todo = [item for item in items if item.path not in known]
    if not known and scores.exists():
        scores.unlink()
    with scores.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, [field.name for field in fields(Item)])
        if not known:
            writer.writeheader()
        reports = detector.detect_many(root / item.path for item in todo)
        for i, (item, report) in enumerate(zip(todo, reports, strict=True)):
            known[item.path] = judge(item, report)
            writer.writerow(asdict(known[item.path]))
            lines.flush()
            if i % 50 == 49:
                print(f"{i + 1} of {len(todo)}", file=sys.stderr)
    return [relabelled(known[item.path], detector.calibration) for item in items]


def relabelled(item: Item, calibration: Calibration) -> Item:
    """The item with the label and probability that this calibration gives its logit; as it is where it has none."""
    if item.logit is None:
        return item
    bands = calibration.image if item.kind == "image" else calibration.video
    chance = probability(likelihood_ratio(item.logit, bands))
    return replace(item, verdict=label_of(item.logit, bands), probability=chance)


def read_scores(path: Path) -> list[Item]:
    """What an earlier run wrote; nothing where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as lines:
        return [_item(row) for row in csv.DictReader(lines)]


def _item(row: dict[str, str]) -> Item:
    return Item(
        path=row["path"],
        label=row["label"],
        source=row["source"],
        method=row["method"],
        group=row["group"],
        kind=row["kind"],
        verdict=row["verdict"],
        probability=_number(row["probability"]),
        logit=_number(row["logit"]),
        model=row["model"],
    )


def auc(items: Iterable[Item]) -> float:
    """Area under the ROC curve of the logits, over the files that could be judged; NaN where a class is missing."""
    judged = [(item.label == "fake", item.logit) for item in items if item.logit is not None]
    if len({fake for fake, _ in judged}) < 2:
        return math.nan
    return float(roc_auc_score([fake for fake, _ in judged], [logit for _, logit in judged]))


def share(items: Sequence[Item], label: str) -> float:
    """The share of files with this verdict."""
    return sum(item.verdict == label for item in items) / len(items) if items else math.nan


def interval(items: Sequence[Item], figure: Callable[[list[Item]], float], *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap of a figure, whole groups drawn with replacement.

    Returns:
        NaN twice where there is a single group, or the figure is undefined in most samples.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    names = sorted(groups)
    if len(names) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    values = [
        figure([item for i in rng.integers(len(names), size=len(names)) for item in groups[names[i]]])
        for _ in range(_RESAMPLES)
    ]
    defined = [value for value in values if not math.isnan(value)]
    if len(defined) < _RESAMPLES / 2:
        return math.nan, math.nan
    low, high = np.percentile(defined, [2.5, 97.5])
    if low == high:
        # Every sample gave the same: the bootstrap knows nothing of what was never seen.
        return math.nan, math.nan
    return float(low), float(high)


def share_interval(items: Sequence[Item], label: str) -> tuple[float, float]:
    """95 % interval of `share`: the bootstrap, or where it can't tell (none or all), Wilson's over the groups."""
    low, high = interval(items, lambda some: share(some, label))
    groups = len({item.group for item in items})
    if not math.isnan(low) or not groups:
        return low, high
    found, z = share(items, label), 1.96
    centre, spread = found + z * z / (2 * groups), z * math.sqrt(found * (1 - found) / groups + (z / (2 * groups)) ** 2)
    return max(0.0, (centre - spread) / (1 + z * z / groups)), min(1.0, (centre + spread) / (1 + z * z / groups))


def table(items: Sequence[Item]) -> list[dict[str, Any]]:
    """A row for each source, and one for each of its methods against all genuine files of that source."""
    rows = []
    for source in sorted({item.source for item in items}):
        mine = [item for item in items if item.source == source]
        rows.append(_row(source, "all", mine))
        methods = sorted({item.method for item in mine if item.label == "fake"})
        if len(methods) > 1:
            genuine = [item for item in mine if item.label == "real"]
            rows += [
                _row(source, m, genuine + [i for i in mine if i.label == "fake" and i.method == m]) for m in methods
            ]
    return rows


def _row(source: str, method: str, items: list[Item]) -> dict[str, Any]:
    genuine = [item for item in items if item.label == "real"]
    fake = [item for item in items if item.label == "fake"]
    return {
        "source": source,
        "method": method,
        "genuine": len(genuine),
        "manipulated": len(fake),
        "unjudged": sum(item.logit is None for item in items),
        "auc": auc(items),
        "auc_95": interval(items, auc),
        "false_alarms": share(genuine, "manipulated"),
        "false_alarms_95": share_interval(genuine, "manipulated"),
        "found": share(fake, "manipulated"),
        "missed": share(fake, "no_manipulation_found"),
        "inconclusive": share(items, "inconclusive"),
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table for people."""
    lines = [
        "| source | method | genuine / manipulated | AUC (95 %) | genuine called manipulated (95 %) | manipulated found"
        " | called nothing found | inconclusive | unjudged |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['source']} | {row['method']} | {row['genuine']} / {row['manipulated']}"
            f" | {_shown(row['auc'], row['auc_95'])} | {_shown(row['false_alarms'], row['false_alarms_95'])}"
            f" | {_shown(row['found'])} | {_shown(row['missed'])} | {_shown(row['inconclusive'])} | {row['unjudged']} |"
        )
    return "\n".join(lines) + "\n"


def _shown(value: float, bounds: tuple[float, float] | None = None) -> str:
    if math.isnan(value):
        return "–"
    text = f"{value:.3f}"
    return text + (f" ({bounds[0]:.2f}–{bounds[1]:.2f})" if bounds and not math.isnan(bounds[0]) else "")


def _number(text: str) -> float | None:
    return float(text) if text else None


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m deepfake_detect.training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", type=Path, help="folder with index.csv, or with real/ and fake/")
    parser.add_argument("--out", type=Path, required=True, help="folder for scores.csv, table.json and table.md")
    parser.add_argument("--split", help="only these rows of index.csv")
    parser.add_argument("--again", action="store_true", help="forget the scores an earlier run left in --out")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    scores = arguments.out / "scores.csv"
    if arguments.again and scores.exists():
        os.remove(scores)
    items = run(arguments.dataset, read_dataset(arguments.dataset, split=arguments.split), scores, Detector())
    rows = table(items)
    (arguments.out / "table.json").write_text(json.dumps(rows, indent=1))
    (arguments.out / "table.md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
