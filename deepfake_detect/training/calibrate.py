"""Scores of held-out media -> the calibration in the manifest: what a logit means, and where the bands lie.

Platt scaling (Platt, 1999) for pictures and videos apart, with one term more: evidence from a face of low quality counts
less, by as much as held-out media say. There are few videos, so their fit starts from what pictures say: a prior around the
pictures' slope and offset, which a few dozen videos outweigh. Both classes weigh the same, and within a class every source
by the square root of its count, so that a large source does not drown the others. The bands are the widest that keep to the
stated error rates on these media. How well that carries over is measured by fitting on four fifths of the groups and
counting on the rest. A file of several people gives its worst one to the fit; the bands, and all that is counted, are of
what is said of the whole file (`verdict.finding`).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import spearmanr
from sklearn.model_selection import StratifiedGroupKFold

from .. import checkpoint
from ..files import NAMES
from ..types import Bands
from ..verdict import LEAST_SUPPORT, weighed
from .export import read_manifest, write_manifest
from .metrics import calibration_error, calibration_error_by_chance, effective_groups, group_resamples
from .scores import Item, read_scores, said_of, unlimited

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Of every source with at least _ENOUGH genuine files, and of all genuine files, no more than this is called manipulated.
FALSE_ALARMS = 0.03
# Of all manipulated files no more than this is called "no manipulation found".
MISSES = 0.05
_ENOUGH = 30
# Of either class: with fewer a fit can't be checked on other groups.
FEWEST_GROUPS = 5
_LARGEST_RATIO = 100.0
# What happens to media on their way and must not change what is said of them; as `benchmarks/robustness.py` names it.
HARMLESS = ("JPEG 95", "JPEG 75", "WebP 75", "cropped by 5 %", "mirrored", "screenshot", "H.264 CRF 23")
_RESAMPLES = 100
# From this quality on (`faces.quality`) a face is a fair view: as large, sharp and sure as a usual portrait has it.
FAIR_QUALITY = 0.8
# Keeps the fit from believing in an endless slope where few files happen to be separable.
RIDGE = 1e-3
# So many genuine groups without a false alarm say that there are hardly more than one in ten (Wilson). Of fewer a ratio
# that is any support at all is not enough for a label.
_TELLING, _SUPPORT_OF_FEW = 35, 3.0
# How far another kind of media may lie from pictures: standard deviations of the slope's logarithm and of the offset. Set
# beforehand, not fitted: half again as steep, or odds of e to 1, would be no surprise.
_PRIOR_SD = (0.5, 1.0)


def fit(items: Sequence[Item], *, others: Sequence[Item] = ()) -> Bands:
    """The bands of one kind of media.

    They are kept between .01 and .99: where the media would need more than that, more of them err than is aimed at, and
    the error rates say so.

    Args:
        items: Judged files of both classes.
        others: Judged files of both classes of another kind of media, whose slope and offset are a prior; or none.
    """
    logits, quality, fake = arrays(items)
    slope, offset, loss = _platt(logits, quality, fake, source_weights(items), _line(others))
    groups = {label: _groups(items, label) for label in ("real", "fake")}
    effective = {
        label: round(effective_groups(item.group for item in items if item.label == label), 1) for label in groups
    }
    # With n media of a class that know nothing of each other, odds beyond n : 1 are extrapolation.
    largest = float(min(_LARGEST_RATIO, *(count + 1 for count in groups.values())))
    line = Bands(
        slope=round(slope, 4), offset=round(offset, 4), lower=0.0, upper=1.0, genuine=int((~fake).sum()),
        manipulated=int(fake.sum()), genuine_groups=groups["real"], manipulated_groups=groups["fake"],
        false_alarm_rate=0.0, miss_rate=0.0, largest_ratio=largest, quality_loss=round(loss, 4),
        genuine_effective=effective["real"], manipulated_effective=effective["fake"],
    )  # fmt: skip
    chance = deciding_chances(items, line)
    genuine = chance[~fake]
    sources = np.array([item.source for item in items])[~fake]
    bars = [_quantile(genuine, 1 - FALSE_ALARMS)]
    bars += [_quantile(genuine[sources == name], 1 - FALSE_ALARMS)
             for name, count in Counter(sources).items() if count >= _ENOUGH]  # fmt: skip
    floor = _supported(largest, LEAST_SUPPORT if groups["real"] >= _TELLING else _SUPPORT_OF_FEW)
    upper = min(0.99, max(floor, *bars) + 1e-3)
    lower = max(0.01, min(1 - floor, float(np.sort(chance[fake])[int(MISSES * fake.sum())])) - 1e-3)
    bands = replace(line, lower=round(lower, 4), upper=round(upper, 4))
    false_alarms, misses, _ = error_rates(verdicts(items, bands), fake)
    return replace(bands, false_alarm_rate=round(false_alarms, 4), miss_rate=round(misses, 4))


def deciding_chances(items: Sequence[Item], bands: Bands) -> np.ndarray:
    """P(manipulated) of judged files, of which the bands decide, (N,): before any limit, and of all their people."""
    odds = np.array([unlimited(item, bands) for item in items], np.float64)
    return np.asarray(1 / (1 + np.exp(-odds)))


def verdicts(items: Sequence[Item], bands: Bands) -> np.ndarray:
    """What these bands say of judged files: the label of each, (N,)."""
    return np.array([said_of(item, bands)[0] for item in items])


def error_rates(said: np.ndarray, fake: np.ndarray) -> tuple[float, float, float]:
    """Shares of genuine files called manipulated, of manipulated ones of which nothing was found, and inconclusive ones."""
    return (
        float((said[~fake] == "manipulated").mean()),
        float((said[fake] == "no_manipulation_found").mean()),
        float((said == "inconclusive").mean()),
    )


def _supported(largest_ratio: float, least: float) -> float:
    """The probability from which the ratio that is stated, see `verdict.limited`, is so large."""
    limit = math.log(max(largest_ratio, 2 * least))
    return 1 / (1 + math.exp(-limit * math.atanh(math.log(least) / limit)))


def uncertainty(items: Sequence[Item], *, others: Sequence[Item] = (), seed: int = 0) -> dict[str, float]:
    """Standard errors of slope and offset and their correlation, from fits to groups drawn with replacement.

    The others' line is only about right for these, by `_PRIOR_SD`, and so is each fit's prior: else the fewer the media,
    the surer a fit would seem that rests on nothing but the prior.
    """
    logits, quality, fake = arrays(items)
    line = _line(others)
    rng = np.random.default_rng(seed)
    fits = []
    for chosen in group_resamples(np.array([item.group for item in items]), resamples=_RESAMPLES, seed=seed):
        if 0 < fake[chosen].sum() < len(chosen):
            # Both classes weigh alike in each, as they do in the fit itself.
            weights = source_weights([items[i] for i in chosen])
            slope_by, offset_by = rng.normal(0, _PRIOR_SD)
            prior = None if line is None else (line[0] * math.exp(slope_by), line[1] + offset_by)
            fits.append(_platt(logits[chosen], quality[chosen], fake[chosen], weights, prior)[:2])
    slopes, offsets = np.array(fits).T
    # A resample that happens to be separable has no slope: quantiles bear that, a standard deviation would not.
    spreads = [float(np.subtract(*np.percentile(values, [84, 16])) / 2) for values in (slopes, offsets)]
    together = float(spearmanr(slopes, offsets).statistic) if min(spreads) > 0 else 0.0
    return {"slope_sd": round(spreads[0], 4), "offset_sd": round(spreads[1], 4), "correlation": round(together, 3)}


def handled_moves(handled: Path, kind: str) -> dict[str, list[float]]:
    """By how much the logit of each file moved in each of the ways in `HARMLESS` that were tried on this kind of media.

    Args:
        handled: The judged.csv of `benchmarks/robustness.py`: path, kind, alteration, logit.
    """
    logits: dict[str, dict[str, float]] = {}
    with handled.open("r", -1, *NAMES, newline="") as lines:
        for row in csv.DictReader(lines):
            if row["kind"] == kind and row["logit"] and row.get("part") != "crops":
                logits.setdefault(row["path"], {})[row["alteration"]] = float(row["logit"])
    moves: dict[str, list[float]] = {}
    for name in HARMLESS:
        moved = [of[name] - of["unaltered"] for of in logits.values() if "unaltered" in of and name in of]
        if moved:
            moves[name] = moved
    return moves


def root_mean_square(moves: Sequence[float]) -> float:
    """How much a logit moves; by which way it moves on the average, too."""
    return float(np.sqrt(np.mean(np.square(moves))))


def carried_over(items: Sequence[Item], *, others: Sequence[Item] = (), folds: int = 5) -> dict[str, float]:
    """Error rates and calibration error on groups that the bands, and the prior from others, were not fitted on."""
    groups = [item.group for item in items]
    chance, said = np.zeros(len(items)), np.zeros(len(items), "U32")
    _, quality, fake = arrays(items)
    for fitted, rest in StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(items, fake, groups):
        left_out = {groups[i] for i in rest}
        bands = fit([items[i] for i in fitted], others=[item for item in others if item.group not in left_out])
        left = [items[i] for i in rest]
        chance[rest], said[rest] = deciding_chances(left, bands), verdicts(left, bands)
    likely = np.where(fake, chance, 1 - chance).clip(1e-6)
    fair = quality >= FAIR_QUALITY
    weights = source_weights(items)
    false_alarms, misses, inconclusive = error_rates(said, fake)
    return {
        "false_alarm_rate": false_alarms,
        "miss_rate": misses,
        "inconclusive": inconclusive,
        "inconclusive_fair": float((said[fair] == "inconclusive").mean()) if fair.any() else 0.0,
        "ece_balanced": calibration_error(chance, fake),
        "ece_by_chance": calibration_error_by_chance(chance, fake),
        "log_loss": float(-(weights * np.log(likely)).sum() / weights.sum()),
    }


def calibrate(
    scores: Sequence[Item],
    folder: Path,
    *,
    data: str,
    handled: Path | None = None,
    moved: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Fit the default net's calibration and write it into its entry.

    Args:
        scores: Files judged by that net. A kind of media with files of one class alone keeps the calibration it has.
        folder: Where manifest.json lies.
        data: The held-out media in words.
        handled: What `handled_moves` reads; what each way of handling did is kept beside the calibration.
        moved: For `image` and `video` the spread of a similar net, for a kind on which `handled` has nothing; None for
            what the entry has.

    Returns:
        The entry.

    Raises:
        SystemExit: The scores are of other weights, looks or softness, or neither kind has both classes.
    """
    manifest = read_manifest(folder)
    name = manifest["default"]
    entry: dict[str, Any] = manifest["models"][name]
    if strangers := {item.model for item in scores} - {checkpoint.find(folder=folder).evidence_sha256, ""}:
        raise SystemExit(
            f"these scores are of other weights, looks or softness ({', '.join(strangers)}); evaluate again"
        )
    items = [item for item in scores if item.logit is not None]
    now = datetime.now(UTC).date().isoformat()
    calibration: dict[str, Any] = {**entry["calibration"], "name": f"{name}-{now}", "date": now, "data": data}
    check: dict[str, dict[str, float]] = {}
    ways: dict[str, dict[str, float]] = dict(entry.get("calibration_handled", {}))
    for kind, mine, others in by_kind(items):
        # Not measured is not unmoved: an interval that leaves this out is too narrow.
        known = (moved or {}).get(kind) or entry["calibration"][kind].get("logit_sd", 0.0)
        moves = handled_moves(handled, kind) if handled else {}
        spread = root_mean_square([by for each in moves.values() for by in each]) if moves else known
        if moves:
            ways[kind] = {name: round(root_mean_square(each), 2) for name, each in moves.items()}
        elif (moved or {}).get(kind):
            # Another net's, of which is not known here how it was found.
            ways.pop(kind, None)
        bands, doubts = fit(mine, others=others), uncertainty(mine, others=others)
        calibration[kind] = vars(bands) | doubts | {"logit_sd": round(spread, 4)}
        check[kind] = {figure: round(value, 4) for figure, value in carried_over(mine, others=others).items()}
    if not check:
        raise SystemExit(
            f"nothing to calibrate on: expected at least {FEWEST_GROUPS} groups of judged genuine and of judged manipulated"
            " pictures, or of both kinds of videos; more held-out media are needed"
        )
    # A kind of media without files of its own is judged by the other's.
    for kind, other in (("image", "video"), ("video", "image")):
        own, others_own = ({**entry["calibration"][name], "logit_sd": 0.0} for name in (kind, other))
        if kind not in check and (own == others_own or calibration[kind]["genuine"] == 0):
            calibration[kind] = calibration[other] | ({"logit_sd": round(moved[kind], 4)} if moved else {})
    kept = {kind: rates for kind, rates in entry.get("calibration_on_other_groups", {}).items()
            if calibration[kind] == entry["calibration"][kind]}  # fmt: skip
    entry["calibration"], entry["calibration_on_other_groups"] = calibration, kept | check
    entry["calibration_handled"] = ways
    write_manifest(folder, manifest)
    return entry


def by_kind(items: Sequence[Item]) -> Iterator[tuple[str, list[Item], list[Item]]]:
    """Each kind of media of which there is enough to be fitted, its judged files, and the others that `fit` begins with."""
    kinds = {kind: [item for item in items if item.kind == kind and item.logit is not None]
             for kind in ("image", "video")}  # fmt: skip
    enough = {kind: mine for kind, mine in kinds.items() if fewest_groups(mine) >= FEWEST_GROUPS}
    for kind, mine in enough.items():
        yield kind, mine, enough.get("image", []) if kind == "video" else []


def fewest_groups(items: Sequence[Item]) -> int:
    """Of judged files: the number of groups of the class that has fewer."""
    judged = [item for item in items if item.logit is not None]
    return min(_groups(judged, label) for label in ("real", "fake"))


def _groups(items: Sequence[Item], label: str) -> int:
    return len({item.group for item in items if item.label == label})


def arrays(items: Sequence[Item]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, qualities and whether manipulated, each (N,), of judged files."""
    logits = np.array([item.logit for item in items], np.float64)
    quality = np.array([1.0 if item.quality is None else item.quality for item in items], np.float64)
    return logits, quality, np.array([item.label == "fake" for item in items])


def chances(logits: np.ndarray, quality: np.ndarray, slope: float, offset: float, loss: float) -> np.ndarray:
    """P(manipulated) at even prior odds, (N,)."""
    odds = weighed(logits, quality, slope=slope, offset=offset, quality_loss=loss)
    return np.asarray(1 / (1 + np.exp(-odds)))


def _line(items: Sequence[Item]) -> tuple[float, float] | None:
    """Slope and offset fitted to these files; None of none."""
    return _platt(*arrays(items), source_weights(items))[:2] if items else None


def _platt(
    logits: np.ndarray,
    quality: np.ndarray,
    fake: np.ndarray,
    weights: np.ndarray,
    prior: tuple[float, float] | None = None,
) -> tuple[float, float, float]:
    """Slope, offset and loss of the smallest weighted log loss; with a prior for slope and offset, see `_PRIOR_SD`."""
    sign = np.where(fake, 1.0, -1.0)

    def cost(values: np.ndarray) -> float:
        slope, offset, loss = values
        odds = weighed(logits, quality, slope=slope, offset=offset, quality_loss=loss)
        likelihood = float((weights * np.logaddexp(0, -sign * odds)).sum() / weights.sum())
        # Few files can't tell what quality costs: the loss has to earn its place against a prior at 0.
        likelihood += RIDGE * float(slope) ** 2 + float(loss) ** 2 / len(logits)
        if prior is not None:
            apart = (np.log(slope / prior[0]) / _PRIOR_SD[0], (offset - prior[1]) / _PRIOR_SD[1])
            likelihood += 0.5 * float(np.square(apart).sum()) / len(logits)
        return likelihood

    found = minimize(cost, np.array([0.5, 0.0, 0.1]), method="L-BFGS-B", bounds=[(1e-3, 20), (-20, 20), (0, 1)])
    slope, offset, loss = (float(value) for value in found.x)
    return slope, offset, loss


def source_weights(items: Sequence[Item]) -> np.ndarray:
    """What each file counts, (N,): both classes alike, within a class a source by the square root of its count."""
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
    parser.add_argument(
        "scores", type=Path, nargs="+", help="scores.csv of deepfake_detect.training.evaluate, on held-out media"
    )
    parser.add_argument("--folder", type=Path, default=Path("weights"), help="where manifest.json lies (%(default)s)")
    parser.add_argument("--handled", type=Path, help="judged.csv of benchmarks/robustness.py, for the intervals")
    parser.add_argument("--data", required=True, help="the held-out media in words, for the manifest")
    arguments = parser.parse_args()
    scores = [item for path in arguments.scores for item in read_scores(path)]
    entry = calibrate(scores, arguments.folder, data=arguments.data, handled=arguments.handled)
    for kind, figures in entry["calibration_on_other_groups"].items():
        print(kind, json.dumps(entry["calibration"][kind]), "on other groups:", json.dumps(figures))


if __name__ == "__main__":
    main()
