"""Scores -> verdict: which faces vote, pooling over a person's frames, calibration, bands. Pure functions.

The words follow forensic practice (ENFSI guideline for evaluative reporting, 2015): they state how strongly the finding
supports one proposition over the other, never certainty, and never that something is "real".
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .types import Bands, Calibration, Face, FaceTrack, Kind, Label, Score, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .options import Options
    from .types import Exclusion

_Logits = TypeVar("_Logits", float, np.ndarray)

# One frame counts no more than this, in logits: beyond it a net is not surer, only louder.
_LOUDEST = 8.0
# A segment must be this much worse than its bar to speak for the whole: the worst of many segments is always bad.
_SEGMENT_PENALTY = 1.0
_SHORTEST_SEGMENT = 4
# A person seen in fewer frames decides a video's verdict only where nobody is seen longer.
_FEW_FRAMES = 3

_EXCLUSION_WORDS: dict[Exclusion, str] = {
    "too_small": "too small in the picture",
    "too_blurred": "too blurred",
    "too_uncertain": "too uncertain a detection",
}


def exclusion(face: Face, sharpness: float, options: Options) -> Exclusion | None:
    """Why a face does not vote, or None when it does."""
    if face.size_px < options.min_face_px:
        return "too_small"
    if face.confidence < options.min_confidence:
        return "too_uncertain"
    if sharpness < options.min_sharpness:
        return "too_blurred"
    return None


def pool(scores: Sequence[Score]) -> float | None:
    """One logit for a person: the quality-weighted mean of the frames, or the worst segment if that is much worse.

    Single frames are limited in how much they count, and a segment is represented by its median, so that one glitch does
    not convict; a quarter of the frames is enough for a segment, so that a short forged part does not drown. Three or four
    frames are pooled by their median.

    Args:
        scores: Of one person, in order of time.

    Returns:
        The logit, or None when none of the scores votes.
    """
    voting = [score for score in scores if score.logit is not None]
    if not voting:
        return None
    logits = np.array([score.logit for score in voting], np.float64).clip(-_LOUDEST, _LOUDEST)
    weights = np.array([max(score.quality, 0.05) for score in voting], np.float64)
    mean = float((logits * weights).sum() / weights.sum())
    length = max(_SHORTEST_SEGMENT, math.ceil(len(logits) / 4))
    if length >= len(logits):
        return mean if len(logits) < 3 else float(np.median(logits))
    worst = float(np.median(np.lib.stride_tricks.sliding_window_view(logits, length), axis=1).max())
    return max(mean, worst - _SEGMENT_PENALTY)


def weighed(logit: _Logits, quality: _Logits, *, slope: float, offset: float, quality_loss: float) -> _Logits:
    """Log odds of logits whose evidence counts less the poorer the picture of the face is."""
    return (1 - quality_loss * (1 - quality)) * (slope * logit + offset)


def log_odds(logit: float, bands: Bands, *, quality: float = 1.0) -> float:
    """Calibrated log odds at even prior odds, before any limit; nearer to none the poorer the picture of the face is."""
    return weighed(logit, quality, slope=bands.slope, offset=bands.offset, quality_loss=bands.quality_loss)


def likelihood_ratio(logit: float, bands: Bands, *, quality: float = 1.0) -> float:
    """How many times more probable such a logit is for manipulated media than for genuine ones.

    Since the calibration weighs both classes alike, its posterior odds are the ratio. What the amount of held-out media can
    support bounds it (Vergeer et al., Forensic Science International 2016): the logarithm bends smoothly towards the bound,
    so that stronger evidence still gives the larger ratio.
    """
    return _limited(log_odds(logit, bands, quality=quality), bands)


def _limited(odds: float, bands: Bands) -> float:
    limit = math.log(bands.largest_ratio)
    return math.exp(limit * math.tanh(odds / limit))


def interval(track: FaceTrack, bands: Bands) -> tuple[float, float] | None:
    """95 % interval of a person's probability; None where nobody could be judged.

    Three things make it uncertain, and their variances add: the frames disagree (batch means over up to five stretches of
    the video, since neighbouring frames are not independent), the same face gets another logit when it is saved again
    (measured), the more so the poorer its picture, and slope and offset were fitted on few media (their covariance).
    """
    if track.logit is None:
        return None
    logits = np.array([score.logit for score in track.voting], np.float64).clip(-_LOUDEST, _LOUDEST)
    stretches = [part.mean() for part in np.array_split(logits, max(1, min(5, len(logits) // 2)))]
    frames = np.var(stretches, ddof=1) / len(stretches) if len(stretches) > 1 else 0.0
    kept = max(1 - bands.quality_loss * (1 - track.quality), 0.1)
    fitted = (
        (track.logit * bands.slope_sd) ** 2
        + bands.offset_sd**2
        + 2 * bands.correlation * track.logit * bands.slope_sd * bands.offset_sd
    )
    spread = 1.96 * math.sqrt(bands.slope**2 * (frames + (bands.logit_sd / kept) ** 2) + max(0.0, fitted))
    odds = log_odds(track.logit, bands, quality=track.quality)
    low, high = (probability(_limited(odds + sign * spread, bands)) for sign in (-1, 1))
    return low, high


def probability(ratio: float) -> float:
    """P(manipulated) at even prior odds."""
    return ratio / (1 + ratio)


def label_of(logit: float, bands: Bands, *, quality: float = 1.0) -> Label:
    """Which band a pooled logit falls into.

    The bands lie on the probability before the ratio's limit: the limit is on what is stated, not on what is decided.
    """
    unlimited = 1 / (1 + math.exp(-log_odds(logit, bands, quality=quality)))
    if unlimited >= bands.upper:
        return "manipulated"
    return "no_manipulation_found" if unlimited <= bands.lower else "inconclusive"


def judge(track: FaceTrack, *, kind: Kind, calibration: Calibration) -> FaceTrack:
    """The track with its pooled logit and probability."""
    logit = pool(track.scores)
    if logit is None:
        return track
    bands = calibration.bands(kind)
    judged = replace(track, logit=logit, probability=probability(likelihood_ratio(logit, bands, quality=track.quality)))
    return replace(judged, interval=interval(judged, bands))


def decide(tracks: Sequence[FaceTrack], *, kind: Kind, calibration: Calibration) -> Verdict:
    """The media's verdict: that of the person with the strongest evidence of manipulation.

    Args:
        tracks: Judged by `judge`.
    """
    if not tracks:
        return Verdict("no_face", None, None, "No face was found, so there is nothing this tool can judge.")
    worst = deciding(tracks)
    if worst is None or worst.logit is None:
        return Verdict("inconclusive", None, None, _unjudged_reason(tracks))
    bands = calibration.bands(kind)
    ratio = likelihood_ratio(worst.logit, bands, quality=worst.quality)
    label = label_of(worst.logit, bands, quality=worst.quality)
    reason = _reason(label, worst, tracks, kind=kind, ratio=ratio)
    return Verdict(label, probability(ratio), ratio, reason, worst.interval)


def deciding(tracks: Sequence[FaceTrack]) -> FaceTrack | None:
    """The person whose evidence decides, of those judged by `judge`; None when nobody could be."""
    judged = [track for track in tracks if track.logit is not None]
    if not judged:
        return None
    enough = min(_FEW_FRAMES, max(len(track.voting) for track in judged))
    seen_enough = [track for track in judged if len(track.voting) >= enough]
    # The probability and not the logit, for a poor picture's logit counts less.
    return max(seen_enough, key=lambda track: (track.probability or 0.0, track.logit))


def strongest_moment(track: FaceTrack) -> Score | None:
    """The frame that speaks most for manipulation."""
    return max(track.voting, key=lambda score: -math.inf if score.logit is None else score.logit, default=None)


def strength(ratio: float) -> str:
    """A likelihood ratio in words, for the proposition it supports (scale of the ENFSI guideline)."""
    size = max(ratio, 1 / ratio)
    for limit, words in ((2, "no"), (10, "weak"), (100, "moderate"), (1000, "moderately strong")):
        if size < limit:
            return words
    return "strong"


def _reason(label: Label, worst: FaceTrack, tracks: Sequence[FaceTrack], *, kind: Kind, ratio: float) -> str:
    who = "The face" if len(tracks) == 1 else f"The face of person {worst.id}"
    what = "picture" if kind == "image" else "video"
    times = max(ratio, 1 / ratio)
    amount = f"about {times:.0f} times" if times >= 10 else f"about {times:.1f} times"
    if label == "manipulated":
        moment = strongest_moment(worst)
        when = f", most of all at {moment.time_s:.1f} s" if kind == "video" and moment else ""
        return (
            f"{who} shows traces of manipulation{when}; such a finding is {amount} more probable for a manipulated"
            f" {what} than for a genuine one ({strength(ratio)} support)."
        )
    if label == "no_manipulation_found":
        count = sum(len(track.voting) for track in tracks)
        faces = "the face" if count == 1 else f"the {count} views of faces"
        return (
            f"No traces of the manipulations this tool knows were found in {faces} judged; such a finding is {amount} more"
            f" probable for a genuine {what} ({strength(ratio)} support), and it does not rule out manipulation."
        )
    return f"{who} shows too little evidence either way to tell; a sharper or longer original may help."


def exclusions(tracks: Sequence[FaceTrack]) -> tuple[str, ...]:
    """A sentence for each person of whom some views do not vote."""
    sentences = []
    for track in tracks:
        reasons = Counter(score.excluded for score in track.scores if score.excluded)
        if reasons:
            counted = ", ".join(f"{count} {_EXCLUSION_WORDS[reason]}" for reason, count in sorted(reasons.items()))
            sentences.append(
                f"Person {track.id}: {reasons.total()} of {len(track.scores)} views do not count ({counted})."
            )
    return tuple(sentences)


def _unjudged_reason(tracks: Sequence[FaceTrack]) -> str:
    reasons = Counter(score.excluded for track in tracks for score in track.scores if score.excluded)
    main = reasons.most_common(1)[0][0]
    who = "A face was found, but it is" if len(tracks) == 1 else f"{len(tracks)} people were found, but their faces are"
    return f"{who} {_EXCLUSION_WORDS[main]} to judge; a larger or sharper original may help."
