"""Which way to turn a logit into a probability carries over best to groups it was not fitted on?

Temperature (one number; Guo et al., ICML 2017), Platt scaling (slope and offset), Platt with evidence of low quality
counting less (what ships), and beta calibration (Kull et al., AISTATS 2017), for pictures and videos apart and for both.
Fitted on four fifths of the groups, counted on the rest; five splits, each with other groups in its fifths. All are held
from endless slopes by the same penalty, that of `calibrate`: what is compared is the ways.

python benchmarks/calibrations.py runs/val/scores.csv
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from deepfake_detect.training.calibrate import RIDGE, arrays, chances, fit, source_weights
from deepfake_detect.training.metrics import calibration_error
from deepfake_detect.training.scores import Item, read_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Fit = "Callable[[Sequence[Item], Sequence[Item]], np.ndarray]"


def logistic(features: Callable[[np.ndarray], np.ndarray], *, offset: bool) -> Fit:
    """Chances of the second items by a logistic model fitted on the first."""

    def held_out(fitted: Sequence[Item], rest: Sequence[Item]) -> np.ndarray:
        logits, _, fake = arrays(fitted)
        # scikit-learn's penalty of half a square stands beside the sum of the losses, `calibrate`'s beside their mean.
        model = LogisticRegression(C=0.5 / (RIDGE * len(fitted)), fit_intercept=offset, max_iter=1000)
        model.fit(features(logits), fake, sample_weight=source_weights(fitted))
        return np.asarray(model.predict_proba(features(arrays(rest)[0]))[:, 1])

    return held_out


def shipped(fitted: Sequence[Item], rest: Sequence[Item], *, others: Sequence[Item] = ()) -> np.ndarray:
    """As `calibrate` does: pictures without others, videos with the pictures of other groups."""
    left_out = {item.group for item in rest}
    bands = fit(fitted, others=[item for item in others if item.group not in left_out])
    logits, quality, _ = arrays(rest)
    return chances(logits, quality, bands.slope, bands.offset, bands.quality_loss)


WAYS: dict[str, Fit] = {
    "temperature": logistic(lambda logits: logits[:, None], offset=False),
    "Platt": logistic(lambda logits: logits[:, None], offset=True),
    "Platt with quality": shipped,
    # ln p and -ln(1 - p) of the uncalibrated probability.
    "beta": logistic(lambda logits: np.stack([log_expit(logits), -log_expit(-logits)], 1), offset=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path, help="scores.csv of an evaluation")
    parser.add_argument("--splits", type=int, default=5, help="(%(default)s)")
    arguments = parser.parse_args()
    judged = [item for item in read_scores(arguments.scores) if item.logit is not None]
    kinds = {kind: [item for item in judged if item.kind == kind] for kind in ("image", "video")}
    print("| media | way | ECE on other groups (each split) | log loss there |\n|---|---|---|---|")
    for kind, items in {**kinds, "both together": judged}.items():
        fake = np.array([item.label == "fake" for item in items])
        groups, weights = [item.group for item in items], source_weights(items)
        ways = dict(WAYS)
        if kind == "video":
            ways["the same, beginning with what pictures say"] = partial(shipped, others=kinds["image"])
        for name, way in ways.items():
            errors, losses = [], []
            for seed in range(arguments.splits):
                found = np.zeros(len(items))
                folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(items, fake, groups)
                for fitted, rest in folds:
                    found[rest] = way([items[i] for i in fitted], [items[i] for i in rest])
                errors.append(calibration_error(found, fake))
                likely = np.where(fake, found, 1 - found).clip(1e-6)
                losses.append(float(-(weights * np.log(likely)).sum() / weights.sum()))
            each = ", ".join(f"{error:.3f}" for error in errors)
            print(f"| {kind} | {name} | {np.mean(errors):.3f} ({each}) | {np.mean(losses):.3f} |")


if __name__ == "__main__":
    main()
