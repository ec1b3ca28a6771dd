"""Views of a person -> their logit: the mean of all, or a stretch of them that is much worse. Pure functions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .types import FaceTrack, Score

# One frame counts no more than this, in logits: beyond it a net is not surer, only louder.
LOUDEST = 8.0
# In the mean of five and more views none lies further from their median. Views of one shot lie nearer: of the 37 validation
# videos one has any further off, and what is forged for a part of the time speaks by its stretch's median.
_APART = 2.0
# A stretch of a quarter of the views must be this much worse to speak for the whole, and one half as long by so much more
# again: the worst of many stretches is always bad. Halved they are down to so many views and such a share of all.
_STRETCH_PENALTY, _SHORTEST_OF_MANY, _SMALLEST_PART = 1.0, 8, 1 / 64
SHORTEST_STRETCH = 4


def pool(scores: Sequence[Score]) -> float | None:
    """One logit for a person: the quality-weighted mean of the frames, or the worst stretch if that is much worse.

    From five on single frames count no further than two logits from the median of all, and a stretch is represented by its
    median, in which poor views weigh less, so that one glitch does not convict; a quarter of the frames is enough for a
    stretch, and of many frames a smaller part that is worse still, so that a short forged part does not drown. Three or
    four frames are pooled by their median.

    Args:
        scores: Of one person, in order of time.

    Returns:
        The logit, or None when none of the scores votes.
    """
    return _pooled([score for score in scores if score.logit is not None])[0]


def _pooled(voting: Sequence[Score]) -> tuple[float | None, Sequence[Score]]:
    """The logit of `pool`, and the views it rests on."""
    if not voting:
        return None, voting
    logits, weights = _weighed_views(voting)
    length, penalty = max(SHORTEST_STRETCH, math.ceil(len(logits) / 4)), _STRETCH_PENALTY
    if 3 <= len(logits) <= length:
        return median(logits, weights), voting
    mean = float((_as_averaged(logits, weights) * weights).sum() / weights.sum())
    if length >= len(logits):
        return mean, voting
    best, part = mean, slice(None)
    shortest = max(_SHORTEST_OF_MANY, _SMALLEST_PART * len(logits))
    while True:
        for tried in _stretches(len(logits), length):
            if (found := median(logits[tried], weights[tried]) - penalty) > best:
                best, part = found, tried
        if length // 2 < shortest:
            return best, voting[part]
        length, penalty = length // 2, penalty + _STRETCH_PENALTY


def _stretches(views: int, length: int) -> Iterator[slice]:
    """Those of so many neighbouring views that are worth trying: of long ones not every beginning, since what differs by a
    few views is about the same."""
    last = views - length
    for start in (*range(0, last, max(1, length // 8)), last):
        yield slice(start, start + length)


def _weighed_views(voting: Sequence[Score]) -> tuple[np.ndarray, np.ndarray]:
    """The logit of each view, as far as one counts, and its weight."""
    logits = np.array([score.logit for score in voting], np.float64).clip(-LOUDEST, LOUDEST)
    return logits, np.array([max(score.quality, 0.05) for score in voting], np.float64)


def as_pooled(voting: Sequence[Score]) -> tuple[np.ndarray, np.ndarray, bool]:
    """The logits of the views that a person's own rests on, as that takes them; their weights; whether of a stretch."""
    views = _pooled(voting)[1]
    logits, weights = _weighed_views(views)
    of_stretch = len(views) < len(voting)
    return logits if of_stretch else _as_averaged(logits, weights), weights, of_stretch


def _as_averaged(logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The logits of all of a person's views as their mean takes them; a stretch's median takes them as they are."""
    if len(logits) <= SHORTEST_STRETCH:
        return logits
    middle = median(logits, weights)
    return middle + (logits - middle).clip(-_APART, _APART)


def median(values: np.ndarray, weights: np.ndarray) -> float:
    """The value in the middle of the weight; the mean of two between which it is halved."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    low, high = (int(np.searchsorted(share, 0.5 + sign * 1e-9)) for sign in (-1, 1))
    return float((values[order[low]] + values[order[min(high, len(values) - 1)]]) / 2)


def warmest_part(track: FaceTrack, length: int) -> FaceTrack | None:
    """So many neighbouring views of a person, those whose median is highest; None where there are no more than these."""
    voting = track.voting
    if length >= len(voting):
        return None
    logits, weights = _weighed_views(voting)
    warmest = max(_stretches(len(voting), length), key=lambda tried: median(logits[tried], weights[tried]))
    part = voting[warmest]
    return replace(track, scores=part, logit=pool(part), probability=None, interval=None)


def resting_on(track: FaceTrack) -> Sequence[Score]:
    """The views on which a person's logit rests: all that vote, or those of a stretch."""
    return _pooled(track.voting)[1]
