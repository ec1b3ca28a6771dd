"""Scores of held-out media -> the calibration in the manifest: what a logit means, and where the bands lie.

Platt scaling (Platt, 1999), for pictures and videos apart. Both classes weigh the same, and within a class every source by
the square root of its count, so that a large source does not drown the others. The bands are the widest that keep to the
stated error rates on these media. How well that carries over is measured by fitting on four fifths of the groups and
counting on the rest.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from ..types import Bands
from .evaluate import Item, read_scores
from .export import read_manifest, write_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of every source with at least _ENOUGH genuine files, and of all genuine files, no more than this is called manipulated.
FALSE_ALARMS = 0.03
# Of all manipulated files no more than this is called "no manipulation found".
MISSES = 0.05
_ENOUGH = 30
_LARGEST_RATIO = 100.0


def fit(items: Sequence[Item]) -> Bands:
    """The bands of one kind of media.

    Args:
        items: Judged files of both classes.
    """
    logits = np.array([item.logit for item in items], np.float64)
    fake = np.array([item.label == "fake" for item in items])
    weights = _weights(items)
    model = LogisticRegression(C=1e3).fit(logits[:, None], fake, sample_weight=weights)
    slope, offset = max(float(model.coef_[0, 0]), 1e-3), float(model.intercept_[0])
    chance = 1 / (1 + np.exp(-(slope * logits + offset)))
    genuine = chance[~fake]
    sources = np.array([item.source for item in items])[~fake]
    bars = [_quantile(genuine, 1 - FALSE_ALARMS)]
    bars += [_quantile(genuine[sources == name], 1 - FALSE_ALARMS)
             for name, count in Counter(sources).items() if count >= _ENOUGH]  # fmt: skip
    upper = min(0.99, max(0.6, *bars) + 1e-3)
    lower = max(0.01, min(0.4, float(np.sort(chance[fake])[int(MISSES * fake.sum())]) - 1e-3))
    fewest = int(min(fake.sum(), (~fake).sum()))
    return Bands(
        slope=round(slope, 4),
        offset=round(offset, 4),
        lower=round(lower, 4),
        upper=round(upper, 4),
        genuine=int((~fake).sum()),
        manipulated=int(fake.sum()),
        false_alarm_rate=round(float((genuine >= upper).mean()), 4),
        miss_rate=round(float((chance[fake] <= lower).mean()), 4),
        # With n media of a class, odds beyond n : 1 are extrapolation.
        largest_ratio=float(min(_LARGEST_RATIO, fewest + 1)),
    )


def carried_over(items: Sequence[Item], *, folds: int = 5) -> dict[str, float]:
    """Error rates and calibration error on groups that the bands were not fitted on."""
    groups = [item.group for item in items]
    chance, label = np.zeros(len(items)), np.zeros(len(items), int)
    fake = np.array([item.label == "fake" for item in items])
    for fitted, rest in GroupKFold(folds).split(items, groups=groups):
        bands = fit([items[i] for i in fitted])
        logits = np.array([items[i].logit for i in rest], np.float64)
        chance[rest] = 1 / (1 + np.exp(-(bands.slope * logits + bands.offset)))
        label[rest] = np.where(chance[rest] >= bands.upper, 1, np.where(chance[rest] <= bands.lower, -1, 0))
    return {
        "false_alarm_rate": float((label[~fake] == 1).mean()),
        "miss_rate": float((label[fake] == -1).mean()),
        "inconclusive": float((label == 0).mean()),
        "ece_balanced": calibration_error(chance, fake),
    }


def calibration_error(chance: np.ndarray, fake: np.ndarray, *, bins: int = 10) -> float:
    """Expected calibration error with both classes weighing the same (Guo et al., ICML 2017)."""
    weights = np.where(fake, 0.5 / max(1, fake.sum()), 0.5 / max(1, (~fake).sum()))
    place = np.minimum((chance * bins).astype(int), bins - 1)
    error = 0.0
    for i in range(bins):
        inside = place == i
        if inside.any():
            error += abs(float((weights * (fake - chance))[inside].sum()))
    return error


def _weights(items: Sequence[Item]) -> np.ndarray:
    counts = Counter((item.label, item.source) for item in items)
    weights = np.array([counts[item.label, item.source] ** -0.5 for item in items])
    fake = np.array([item.label == "fake" for item in items])
    for side in (fake, ~fake):
        weights[side] *= len(items) / 2 / weights[side].sum()
    return weights


def _quantile(values: np.ndarray, share: float) -> float:
    """The smallest value that at most 1 - share of the values lie above."""
    ordered = np.sort(values)
    return float(ordered[min(len(ordered) - 1, int(np.ceil(share * len(ordered))) - 1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path, help="scores.csv of deepfake_detect.training.evaluate, on held-out media")
    parser.add_argument("--folder", type=Path, default=Path("weights"), help="where manifest.json lies (%(default)s)")
    parser.add_argument("--data", required=True, help="the held-out media in words, for the manifest")
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.folder)
    name = manifest["default"]
    entry: dict[str, Any] = manifest["models"][name]
    scores = read_scores(arguments.scores)
    if strangers := {item.model for item in scores} - {entry["sha256"]}:
        raise SystemExit(f"{arguments.scores} holds scores of other weights ({strangers}); evaluate again")
    items = [item for item in scores if item.logit is not None]
    now = datetime.now(UTC).date().isoformat()
    calibration: dict[str, Any] = {"name": f"{name}-{now}", "date": now, "data": arguments.data}
    check: dict[str, dict[str, float]] = {}
    for kind in ("image", "video"):
        mine = [item for item in items if item.kind == kind]
        calibration[kind] = vars(fit(mine))
        check[kind] = {figure: round(value, 4) for figure, value in carried_over(mine).items()}
        print(kind, json.dumps(calibration[kind]), "on other groups:", json.dumps(check[kind]))
    entry["calibration"] = calibration
    entry["calibration_on_other_groups"] = check
    write_manifest(arguments.folder, manifest)


if __name__ == "__main__":
    main()
