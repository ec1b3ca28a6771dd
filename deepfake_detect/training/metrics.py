"""How good scores are, and how sure that is: metrics, and intervals by a bootstrap over groups.

What depends on an order is scikit-learn's. What is a plain mean is written out, for a bootstrap asks a thousand times, and
scikit-learn's checks of its arguments would double the time.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import auc as area
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Figures = dict[str, float]
    Intervals = dict[str, tuple[float, float]]


RESAMPLES = 1000
FALSE_ALARM_RATES = (0.01, 0.05)
# Of a class, for a bootstrap.
_FEWEST_GROUPS = 3


@dataclass(frozen=True, eq=False)
class Scored:
    """Files, or frames, of known label with what was said of them; row by row.

    Attributes:
        fake: bool (N,).
        evidence: float (N,): orders them. Of files the log odds that decide, of frames their logits.
        chance: float (N,): calibrated P(manipulated).
        group: str (N,): rows of one group are not independent.
        weight: float (N,): what a row counts in figures that follow from the order; None where each counts alike.
    """

    fake: np.ndarray
    evidence: np.ndarray
    chance: np.ndarray
    group: np.ndarray
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.fake)

    def rows(self, chosen: np.ndarray) -> Scored:
        """Some rows, by index or mask."""
        weight = None if self.weight is None else self.weight[chosen]
        return Scored(self.fake[chosen], self.evidence[chosen], self.chance[chosen], self.group[chosen], weight)


def figures(scored: Scored) -> Figures:
    """All figures; each is NaN where a class is missing.

    Returns:
        auc                area under the ROC curve
        ap                 average precision, manipulated being the positives
        eer                where both error rates are equal
        balanced_accuracy  of P >= .5
        recall_at_1 / _5   share of manipulated found where 1 % / 5 % of genuine are called so
        ece                expected calibration error, both classes weighing the same
        brier              mean squared error of P, both classes weighing the same
    """
    fake, chance = scored.fake, scored.chance
    names = ("auc", "ap", "eer", "balanced_accuracy", "recall_at_1", "recall_at_5", "ece", "brier")
    if fake.all() or not fake.any():
        return dict.fromkeys(names, math.nan)
    of_order = {"sample_weight": scored.weight}
    false_alarms, recall, _ = roc_curve(fake, scored.evidence, drop_intermediate=False, **of_order)
    # The rates meet between two points of a stepped curve: the middle of the two errors where they are closest.
    nearest = int(np.argmin(np.abs(false_alarms - (1 - recall))))
    found = chance >= 0.5
    # Sums of weights are right but for a last digit.
    at = [float(recall[false_alarms <= rate + 1e-12].max()) for rate in FALSE_ALARM_RATES]
    weights = _balanced(fake)
    values = (
        float(area(false_alarms, recall)),
        float(average_precision_score(fake, scored.evidence, **of_order)),
        float((false_alarms[nearest] + 1 - recall[nearest]) / 2),
        float((found[fake].mean() + (~found[~fake]).mean()) / 2),
        *at,
        calibration_error(chance, fake),
        float((weights * (chance - fake) ** 2).sum()),
    )
    return dict(zip(names, values, strict=True))


def with_intervals(
    scored: Scored, of: Callable[[Scored], Figures] | None = None, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[Figures, Intervals]:
    """The figures and their 95 % intervals; that of an AUC of 1 or 0 is by `perfect`, and the ECE has none (NaN twice).

    What an ECE of few files shows is too much by what chance adds (`calibration_error_by_chance`), and a resample adds it
    once more: an interval of these does not hold the truth of a detector that is calibrated, at times not the ECE itself.

    Args:
        of: What finds them, the AUC among them; None for `figures`.
    """
    of = of or figures
    found, intervals = of(scored), bootstrap(scored, of, seed=seed, resamples=resamples)
    if math.isnan(intervals["auc"][0]):
        intervals["auc"] = perfect(scored, found["auc"])
    if "ece" in intervals:
        intervals["ece"] = (math.nan, math.nan)
    return found, intervals


def auc(scored: Scored) -> Figures:
    """The area under the ROC curve alone: all of `figures` take too long where there are many frames."""
    if scored.fake.all() or not scored.fake.any():
        return {"auc": math.nan}
    return {"auc": float(roc_auc_score(scored.fake, scored.evidence, sample_weight=scored.weight))}


def perfect(scored: Scored, area: float) -> tuple[float, float]:
    """What an AUC of exactly 1 or 0 still leaves possible: the one-sided 95 % bound, and the AUC itself; NaN for others.

    A bootstrap is blind for what never happened. But pairs of one genuine and one manipulated file that share no group with
    one another are independent trials, and the AUC is the chance that one is ordered rightly. All of n were: the bound is
    that of Clopper and Pearson (1934), .05 ** (1 / n), about 1 - 3 / n. It is cautious, since each group counts once.
    """
    genuine, fake = (set(scored.group[scored.fake == label].tolist()) for label in (False, True))
    pairs = min(len(genuine), len(fake), len(genuine | fake) // 2)
    if not pairs or not (math.isclose(area, 1) or math.isclose(area, 0, abs_tol=1e-9)):
        return math.nan, math.nan
    bound = 0.05 ** (1 / pairs)
    return (bound, 1.0) if area > 0.5 else (0.0, 1 - bound)


def group_resamples(group: np.ndarray, *, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """The rows of each resample: as many groups as there are, whole, drawn with replacement.

    Args:
        group: str (N,).
    """
    names, place = np.unique(group, return_inverse=True)
    members = [np.flatnonzero(place == i) for i in range(len(names))]
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))])


def effective_groups(groups: Iterable[str]) -> float:
    """So many groups of equal size would tell as much of a share as these do, given file by file; 0 of none.

    Files of a group may well all be judged alike. Then the share varies by p (1 - p) times the sum of the groups' squared
    shares of the files, whose inverse this is (Kish, Survey Sampling, 1965): one group that holds most of them says little
    more than itself.
    """
    sizes = np.array(list(Counter(groups).values()), float)
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if len(sizes) else 0.0


def few_groups(fake: np.ndarray, group: np.ndarray) -> bool:
    """Whether a class is of fewer than three groups, so that drawing groups says next to nothing of it.

    Of one group every sample holds the same files of that class, or none, and what varies is the other class alone.

    Args:
        fake: bool (N,).
        group: str (N,).
    """
    return min(len(np.unique(group[fake == label])) for label in (False, True)) < _FEWEST_GROUPS


def bootstrap(
    scored: Scored, of: Callable[[Scored], Figures], *, seed: int = 0, resamples: int = RESAMPLES
) -> Intervals:
    """95 % percentile bootstrap, whole groups drawn with replacement.

    Returns:
        NaN twice for a figure that is undefined in most samples or the same in all (then the bootstrap knows nothing of
        what was never seen), and for all of them where a class is of `few_groups`.
    """
    drawn: dict[str, list[float]] = {}
    few = few_groups(scored.fake, scored.group)
    for chosen in group_resamples(scored.group, resamples=0 if few else resamples, seed=seed):
        for name, value in of(scored.rows(chosen)).items():
            drawn.setdefault(name, []).append(value)
    intervals = {}
    for name in of(scored):
        defined = [value for value in drawn.get(name, []) if not math.isnan(value)]
        low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) > resamples / 2 else (math.nan, math.nan)
        # A perfect AUC is 1 but for its last digit, which differs from sample to sample.
        same = math.isclose(low, high, abs_tol=1e-9)
        intervals[name] = (math.nan, math.nan) if same else (float(low), float(high))
    return intervals


def reliability(chance: np.ndarray, fake: np.ndarray, *, bins: int = 10) -> list[tuple[float, float, float]]:
    """For each bin that holds anything: mean P stated, share that was manipulated, share of the weight in it.

    Both classes weigh the same in all, so that the diagram does not depend on how many of each were collected.
    """
    weights = _balanced(fake)
    place = np.minimum((chance * bins).astype(int), bins - 1)
    rows = []
    for i in range(bins):
        inside = place == i
        weight = float(weights[inside].sum())
        if weight:
            stated = float((weights * chance)[inside].sum()) / weight
            rows.append((stated, float((weights * fake)[inside].sum()) / weight, weight))
    return rows


def calibration_error(chance: np.ndarray, fake: np.ndarray, *, bins: int = 10) -> float:
    """Expected calibration error with both classes weighing the same (Guo et al., ICML 2017)."""
    return sum(weight * abs(stated - was) for stated, was, weight in reliability(chance, fake, bins=bins))


def calibration_error_by_chance(chance: np.ndarray, fake: np.ndarray, *, bins: int = 10, draws: int = 200) -> float:
    """The mean calibration error that so many files would show if every P stated were exactly right.

    An error of few files is never 0: in each bin a few of one class too many turn up by chance, and it is their size that
    counts (Vaicenavicius et al., AISTATS 2019). Labels are drawn from what is stated, at the odds of the classes as they
    are here.
    """
    odds = chance / (1 - chance).clip(1e-12) * fake.sum() / max(1, int((~fake).sum()))
    rng = np.random.default_rng(0)
    drawn = [rng.random(len(chance)) < odds / (1 + odds) for _ in range(draws)]
    both = [labels for labels in drawn if labels.any() and not labels.all()]
    return float(np.mean([calibration_error(chance, labels, bins=bins) for labels in both])) if both else 0.0


def _balanced(fake: np.ndarray) -> np.ndarray:
    """Weights of sum 1, half of it for each class."""
    return np.where(fake, 0.5 / max(1, int(fake.sum())), 0.5 / max(1, int((~fake).sum())))
