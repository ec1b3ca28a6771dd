"""Scores -> verdict: which faces vote, calibration, bands, and the reason in words. Pure functions.

The words follow forensic practice (ENFSI guideline for evaluative reporting, 2015): they state how strongly the finding
supports one proposition over the other, never certainty, and never that something is "real".
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .pooling import LOUDEST, SHORTEST_STRETCH, as_pooled, median, pool, resting_on, warmest_part
from .types import Bands, Calibration, Face, FaceTrack, Kind, Label, Score, Verdict
from .words import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .options import Options
    from .types import Exclusion, Note, Provenance, Report

_Logits = TypeVar("_Logits", float, np.ndarray)

# By how much a variance found from so few means counts more, so that 1.96 deviations make the 95 % of Student's t.
_FEW_MEANS = {count: (t / 1.96) ** 2 for count, t in ((2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776))}
# Views of a stretch that are further from its median than so many times the median distance belong to what lies beside it.
_ELSEWHERE = 4.0
# Frames of one video differ by so much: the standard deviation of their logits, of 34 validation videos (0.26 to 0.65 in
# eight of ten). Where a video gave a single view nothing else tells how much another would have said.
_ONE_FRAME_SD = 0.45
# One time in twenty a sample lies further off, to one side.
_ONE_SIDED = 1.645
# What frames usually differ by counts as much as so many differences that were seen.
_USUAL_STEPS = 2
# A smaller likelihood ratio supports neither proposition.
LEAST_SUPPORT = 2.0
# A person judged in fewer frames, or in a smaller share of the frames of the one judged most, does not decide a video's
# verdict: the worst of many is always bad, and worst of all where little was seen of it.
_FEW_FRAMES, _SMALL_SHARE = 3, 0.5
# An interval is hardly as narrow as that but at the largest ratio that may be stated.
_NO_RANGE = 0.02
# A person's own probability is told beside the verdict's where it is so much higher.
_TOLD_APART = 0.05
# Of more people nobody needs to know how many are too many for one, and with such a largest ratio nothing is limited.
_MOST_PEOPLE, _NO_LIMIT = 1000, 1e300
# Of so many people who were seen too briefly each has a sentence; of more, so many stand in the one for all.
_MOST_APART, _MOST_LISTED = 3, 20
# From this share on a warning names them: who is there in one or two of 16 views may be no face at all.
_GLIMPSE_SHARE = 1 / 8


def exclusion(face: Face, sharpness: float, options: Options) -> Exclusion | None:
    """Why a face does not vote, or None when it does."""
    if face.size_px < options.min_face_px:
        return "too_small"
    if face.confidence < options.min_confidence:
        return "too_uncertain"
    if sharpness < options.min_sharpness:
        return "too_blurred"
    return None


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
    return limited(log_odds(logit, bands, quality=quality), bands.largest_ratio)


def limited(odds: float, largest_ratio: float) -> float:
    """The ratio of these log odds, which bends smoothly towards the largest that may be stated."""
    limit = math.log(largest_ratio)
    return math.exp(limit * math.tanh(odds / limit))


def interval(track: FaceTrack, bands: Bands, *, kind: Kind = "video") -> tuple[float, float] | None:
    """95 % interval of a person's probability; None where nobody could be judged.

    Three things make it uncertain, and their variances add: the views on which its logit rests disagree (batch means over
    up to five parts of them, since neighbouring frames are not independent), the same face gets another logit when its file
    is handled harmlessly (`Bands.logit_sd`), the more so the poorer its picture, and slope and offset were fitted on few
    media (their covariance).
    """
    return interval_of_all([track], bands, kind=kind)


def interval_of_all(tracks: Sequence[FaceTrack], bands: Bands, *, kind: Kind = "video") -> tuple[float, float] | None:
    """95 % interval of the probability that one of these people, nobody knows which, is manipulated, see `finding`.

    What is uncertain of each alone partly cancels out among several; what is uncertain of slope and offset is the same
    error for all, and does not. By both the mean of the limited ratios moves so far (to first order), and its bounds are
    found by moving everyone by one and the same share of their own spread.

    Args:
        tracks: Judged by `judge`.

    Returns:
        None where nobody could be judged.
    """
    judged = [(track, track.logit) for track in tracks if track.logit is not None]
    if not judged:
        return None
    odds = np.array([log_odds(logit, bands, quality=track.quality) for track, logit in judged])
    own, fitted = np.array([_spreads(track, logit, bands, kind) for track, logit in judged]).T
    limit = math.log(bands.largest_ratio)
    ratios = np.array([limited(one, bands.largest_ratio) for one in odds])
    # At the limit nothing moves a ratio; yet not all would be moved by nothing.
    steep = ratios / ratios.sum() * (1 - np.tanh(odds / limit) ** 2 + 1e-3)
    each = np.hypot(own, fitted)
    together = math.hypot(float(np.linalg.norm(steep * own)), float(steep @ fitted))
    moved = 1.96 * each * together / max(float(steep @ each), 1e-12)
    low, high = (
        probability(float(np.mean([limited(one, bands.largest_ratio) for one in odds + sign * moved])))
        for sign in (-1, 1)
    )
    return low, high


def _spreads(track: FaceTrack, logit: float, bands: Bands, kind: Kind) -> tuple[float, float]:
    """Standard deviations of a person's log odds: by what is uncertain of this person alone, and by slope and offset."""
    logits, weights, of_stretch = as_pooled(track.voting)
    if of_stretch:
        # It reaches into what lies beside it, of which its median says nothing.
        middle = median(logits, weights)
        apart = np.abs(logits - middle)
        logits = np.where(apart > _ELSEWHERE * median(apart, weights), middle, logits)
    count = len(logits) if len(logits) < 4 else min(5, len(logits) // 2)
    parts = [part.mean() for part in np.array_split(logits, count)]
    if len(parts) > 1:
        frames = float(np.var(parts, ddof=1)) / len(parts) * _FEW_MEANS[len(parts)]
    else:
        frames = _ONE_FRAME_SD**2 if kind == "video" else 0.0
    kept = max(1 - bands.quality_loss * (1 - track.quality), 0.1)
    fitted = (
        (logit * bands.slope_sd) ** 2
        + bands.offset_sd**2
        + 2 * bands.correlation * logit * bands.slope_sd * bands.offset_sd
    )
    return bands.slope * math.sqrt(frames + (bands.logit_sd / kept) ** 2), math.sqrt(max(0.0, fitted))


def is_open(tracks: Sequence[FaceTrack], *, kind: Kind, calibration: Calibration) -> bool:
    """Whether other frames of the same video could well lead to another label: a chance of more than 5 % or so either way.

    Each person's pooled logit, and that of each part that shows something else, is moved up and down by as much as it would
    differ between equally spaced samples of frames. So is how many views who may decide must have, by one: of someone who
    comes or goes, other frames show one more or less. Where nothing was found and someone seen too briefly would be called
    manipulated alone, or where nobody could be judged, more frames may show more. What lies between two frames and shows in
    none is not reckoned with.

    Args:
        tracks: Judged by `judge`.
    """
    if kind != "video":
        return False
    if deciding(tracks) is None:
        return True
    bands, parts = calibration.bands(kind), _sampled(shown_in_part(tracks))
    found = {
        finding(_moved(people, sign * _ONE_SIDED), bands, brief=_moved(parts, sign * _ONE_SIDED))[0]
        for people in (_sampled(seen_enough(tracks, views=views)) for views in (-1, 0, 1))
        for sign in (-1, 0, 1)
    }
    if found == {"no_manipulation_found"}:
        return one_alone_shows(evidence(seen_too_briefly(tracks)), bands)
    return len(found) > 1


def _sampled(tracks: Sequence[FaceTrack]) -> list[tuple[float, float, float]]:
    """As `evidence`, with the standard deviation of each logit among samples of frames."""
    return [(track.logit, track.quality, _sampling_sd(track)) for track in tracks if track.logit is not None]


def _moved(people: Sequence[tuple[float, float, float]], deviations: float) -> list[tuple[float, float]]:
    """As `evidence`, each logit of `_sampled` moved by so many of its standard deviations."""
    return [(logit + deviations * spread, quality) for logit, quality, spread in people]


def _sampling_sd(track: FaceTrack) -> float:
    """By how much a person's pooled logit would differ if other frames had been taken, as far apart: standard deviation.

    From the differences of neighbouring views (von Neumann et al., Annals of Mathematical Statistics 1941), as is usual for
    samples taken at equal distances (Wolter, Journal of the American Statistical Association 1984): what changes slowly is
    seen by any such sample, and adds nothing. Few differences say little: what frames usually differ by stands beside them.
    """
    logits, _, of_stretch = as_pooled(track.voting)
    steps = np.diff(logits)
    usual = _USUAL_STEPS * _ONE_FRAME_SD**2
    variance = (float((steps**2).sum()) / 2 + usual) / (len(steps) + _USUAL_STEPS) / len(logits)
    # Of few views, and of a stretch, the median is taken, which varies more than the mean.
    if of_stretch or len(logits) <= SHORTEST_STRETCH:
        variance *= math.pi / 2
    return math.sqrt(variance)


def effort(report: Report, words: Words) -> tuple[str, ...]:
    """Why no more of a video was looked at, in phrases; none for a picture."""
    known = report.effort
    if known is None:
        return ()
    if known.looks[-1] == known.available:
        why = words("effort_all_in_part" if any(note.key == "part" for note in report.notes) else "effort_all")
    else:
        why = words("effort_settled" if known.settled else "effort_open")
    return (*(words("effort_before", frames=frames) for frames in known.looks[-2:-1]), why)


def probability(ratio: float) -> float:
    """P(manipulated) at even prior odds."""
    return ratio / (1 + ratio)


def label_of(logit: float, bands: Bands, *, quality: float = 1.0) -> Label:
    """Which band a pooled logit falls into.

    The bands lie on the probability before the ratio's limit: the limit is on what is stated, not on what is decided.
    """
    return finding([(logit, quality)], bands)[0]


def finding(
    people: Sequence[tuple[float, float]], bands: Bands, *, brief: Sequence[tuple[float, float]] = ()
) -> tuple[Label, float]:
    """Label and likelihood ratio of media with these people: whether one of them, nobody knows which, is manipulated.

    That is as many times more probable as the people's ratios are on average: the worst of many faces is always bad, and of
    ten people one must speak ten times as strongly as one who is alone. Each ratio is limited before it is stated, and what
    is stated must bear the label, too: of so many people that the largest ratio, shared by all, bears it no longer, one
    alone can't make media manipulated, however loudly it speaks.

    Args:
        people: Logit and quality of each who decides.
        brief: Of what shows for a good part of the time and does not decide, see `shown_in_part`. If one of them would be
            called manipulated who was alone, or one of several who decide, it is not said that nothing was found.
    """
    odds = [log_odds(logit, bands, quality=quality) for logit, quality in people]
    unlimited = float(np.exp(np.clip(odds, -500, 500)).mean())
    chance, ratio = unlimited / (1 + unlimited), float(np.mean([limited(one, bands.largest_ratio) for one in odds]))
    # A shade less, since for one person both conditions are the same one.
    least = bands.upper / (1 - bands.upper) if bands.upper < 1 else math.inf
    least = limited(math.log(least), bands.largest_ratio) * (1 - 1e-9)
    if chance >= bands.upper and ratio >= least:
        return "manipulated", ratio
    # Of one person all is said above.
    others = (*brief, *(people if len(people) > 1 else ()))
    if chance > bands.lower or one_alone_shows(others, bands):
        return "inconclusive", ratio
    return "no_manipulation_found", ratio


def too_many_for_one(bands: Bands) -> int | None:
    """Of how many people who decide one, as loud as a view counts, no longer makes media manipulated where each of the
    others alone would be called "no manipulation found", see `finding`; None where no number is too many, or one who is
    alone is not called manipulated either."""
    loud, calm = (LOUDEST, 1.0), (-LOUDEST, 1.0)
    if label_of(*loud[:1], bands, quality=loud[1]) != "manipulated":
        return None
    numbers = range(2, _MOST_PEOPLE + 1)
    return next((n for n in numbers if finding([loud, *[calm] * (n - 1)], bands)[0] != "manipulated"), None)


def one_alone_shows(people: Sequence[tuple[float, float]], bands: Bands) -> bool:
    """Whether one of these people, by logit and quality, would be called manipulated who was alone."""
    return any(label_of(logit, bands, quality=quality) == "manipulated" for logit, quality in people)


def judge(track: FaceTrack, *, kind: Kind, calibration: Calibration) -> FaceTrack:
    """The track with its pooled logit and probability."""
    logit = pool(track.scores)
    if logit is None:
        return track
    bands = calibration.bands(kind)
    judged = replace(track, logit=logit, probability=probability(likelihood_ratio(logit, bands, quality=track.quality)))
    return replace(judged, interval=interval(judged, bands, kind=kind))


def decide(
    tracks: Sequence[FaceTrack], *, kind: Kind, calibration: Calibration, provenance: Provenance | None = None
) -> Verdict:
    """The media's verdict: whether one of the people is manipulated, see `finding`; the one who shows most is named.

    Nothing is found only where nothing was seen: it is inconclusive if someone would be called manipulated who was alone,
    be it among many, or seen too little to decide, yet for a good part of the time. The same holds of a part, as long, of
    one who decides, and of all together who do not, see `together`: whether two shots show one person or two must not
    matter.

    Args:
        tracks: Judged by `judge`.
        provenance: Of the file, where it was asked for: adds to the reason, and moves nothing else.
    """
    said = partial(explain, tracks=tracks, kind=kind, calibration=calibration, words=Words(), provenance=provenance)
    worst = deciding(tracks)
    if worst is None or worst.logit is None:
        label: Label = "inconclusive" if tracks else "no_face"
        return Verdict(label, None, None, said(label, ratio=None))
    bands = calibration.bands(kind)
    able = seen_enough(tracks)
    label, ratio = finding(evidence(able), bands, brief=evidence(shown_in_part(tracks)))
    bounds = interval_of_all(able, bands, kind=kind)
    return Verdict(label, probability(ratio), ratio, said(label, ratio=ratio), bounds)


def deciding(tracks: Sequence[FaceTrack]) -> FaceTrack | None:
    """The person whose evidence decides, of those judged by `judge`; None when nobody could be."""
    # The probability and not the logit, for a poor picture's logit counts less.
    return max(seen_enough(tracks), key=lambda track: (track.probability or 0.0, track.logit), default=None)


def seen_enough(tracks: Sequence[FaceTrack], *, views: int = 0) -> list[FaceTrack]:
    """Who may decide, of those judged by `judge`: in at least half as many views as the one judged most.

    Args:
        views: So many more views, or fewer, are asked for; never more than the one judged most has.
    """
    enough = min(_views_to_decide(tracks) + views, _most_views(tracks))
    return [track for track in tracks if track.logit is not None and len(track.voting) >= enough]


def _views_to_decide(tracks: Sequence[FaceTrack]) -> float:
    most = _most_views(tracks)
    return max(min(_FEW_FRAMES, most), _SMALL_SHARE * most)


def _most_views(tracks: Sequence[FaceTrack]) -> int:
    """How many views of the person judged most vote."""
    return max((len(track.voting) for track in tracks), default=0)


def seen_in_part(tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
    """Who may not decide, and yet was judged in a good part of the views of the one judged most."""
    return _brief(tracks, _views_of_a_part(tracks))


def _views_of_a_part(tracks: Sequence[FaceTrack]) -> float:
    """From how many views on it is a good part of the time in which something shows."""
    return max(_FEW_FRAMES, _GLIMPSE_SHARE * _most_views(tracks))


def shown_in_part(tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
    """What does not decide and shows for a good part of the time: who is `seen_in_part`, all `together` who do not decide,
    and of each who decides in more views than that the warmest such part, as if someone else had been seen in it."""
    able = seen_enough(tracks)
    # Of their own views as many as someone must be seen in to be `seen_in_part`.
    lengths = (max(_FEW_FRAMES, math.ceil(_GLIMPSE_SHARE * len(track.voting))) for track in able)
    parts = (together(tracks), *map(warmest_part, able, lengths))
    return [*seen_in_part(tracks), *(part for part in parts if part is not None)]


def together(tracks: Sequence[FaceTrack]) -> FaceTrack | None:
    """Everyone who was judged and may not decide as if one person had been seen, who is number 0; None where these are
    fewer than two, or all their views no more than a small part of the time. So a forgery that is cut into many shots is
    seen however many people it is counted as, while of genuine strangers one is now and then warm, and all hardly ever."""
    brief = seen_too_briefly(tracks)
    views = sorted((score for track in brief for score in track.voting), key=lambda score: score.time_s)
    if len(brief) < 2 or len(views) < _views_of_a_part(tracks):
        return None
    return FaceTrack(0, tuple(views), logit=pool(views))


def seen_too_briefly(tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
    """Who was judged and may not decide, in however few views."""
    return _brief(tracks, 1)


def _brief(tracks: Sequence[FaceTrack], enough: float) -> list[FaceTrack]:
    """Who was judged in at least so many views, and in too few to decide."""
    too_many = _views_to_decide(tracks)
    return [track for track in tracks if track.logit is not None and enough <= len(track.voting) < too_many]


def evidence(tracks: Sequence[FaceTrack]) -> list[tuple[float, float]]:
    """Logit and quality of each who was judged, as `finding` takes them."""
    return [(track.logit, track.quality) for track in tracks if track.logit is not None]


def glimpses(tracks: Sequence[FaceTrack], *, kind: Kind, calibration: Calibration, words: Words) -> tuple[str, ...]:
    """A sentence for each person seen too little to decide, whose few views alone would be called manipulated, with their
    times; of many people one for all."""
    people = _glimpsed(tracks, calibration.bands(kind))
    if len(people) <= _MOST_APART:
        return tuple(
            words("glimpsed", person=track.id, views=len(track.voting), span=_span(track, words)) for track in people
        )
    # By how often they are seen and not by what they show, of which rounding may put either first.
    listed = sorted(people, key=lambda track: (-len(track.voting), track.id))[:_MOST_LISTED]
    which = [
        words("glimpsed_person", person=track.id, span=_span(track, words))
        for track in sorted(listed, key=lambda track: track.id)
    ]
    if more := len(people) - len(listed):
        which.append(words("glimpsed_more", people=more))
    return (_with_cuts(words("glimpsed_many", people=len(people), which=", ".join(which)), kind, words),)


def _span(track: FaceTrack, words: Words) -> str:
    """From when to when the views of a person lie that vote."""
    first, last = track.voting[0].time_s, track.voting[-1].time_s
    return words("glimpsed_span" if last > first else "glimpsed_once", start_s=first, end_s=last)


def _glimpsed(tracks: Sequence[FaceTrack], bands: Bands) -> list[FaceTrack]:
    """Who was seen too little to decide, and more than once or twice among many views, and would be called manipulated."""
    brief = _brief(tracks, min(_FEW_FRAMES, _GLIMPSE_SHARE * _most_views(tracks)))
    return [track for track in brief if _alone(track, bands) == "manipulated"]


def _alone(track: FaceTrack, bands: Bands) -> Label | None:
    """What a person would be called who is alone; None where nothing of them votes."""
    return None if track.logit is None else label_of(track.logit, bands, quality=track.quality)


def strongest_moment(track: FaceTrack) -> Score | None:
    """The frame that speaks most for manipulation, of those on which the person's logit rests."""
    return max(resting_on(track), key=lambda score: -math.inf if score.logit is None else score.logit, default=None)


def wilson(found: float, of: float) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927), for where a bootstrap can't tell: none, or all.

    Args:
        found: How many of them; a part of one where a share of files is counted in groups of files.
        of: How many in all, each by itself; likewise.
    """
    if not of:
        return math.nan, math.nan
    z, share = 1.96, found / of
    centre, spread = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + (z / (2 * of)) ** 2)
    return max(0.0, (centre - spread) / (1 + z * z / of)), min(1.0, (centre + spread) / (1 + z * z / of))


def strength(ratio: float) -> str:
    """How strongly a likelihood ratio supports its proposition: a word's key (scale of the ENFSI guideline)."""
    size = max(ratio, 1 / ratio)
    for limit, key in ((LEAST_SUPPORT, "no"), (10, "weak"), (100, "moderate"), (1000, "moderately_strong")):
        if size < limit:
            return f"strength_{key}"
    return "strength_strong"


def amount(ratio: float, words: Words) -> str:
    """How many times more probable a finding is for what it supports, in words."""
    times = max(ratio, 1 / ratio)
    return words("amount_large" if times >= 10 else "amount_small", times=times)


def told_interval(found: Verdict) -> tuple[float, float] | None:
    """The interval of a verdict; None where its ends are so near to each other that it would read as certainty: at the
    largest ratio that may be stated both lie at it."""
    if found.interval is None or found.interval[1] - found.interval[0] < _NO_RANGE:
        return None
    return found.interval


def reason(report: Report, words: Words) -> str:
    """The reason for a report's verdict, see `explain`; empty where the file could not be judged."""
    if report.verdict is None or report.media is None or report.calibration is None:
        return ""
    return explain(
        report.verdict.label, report.tracks, kind=report.media.kind, ratio=report.verdict.likelihood_ratio,
        calibration=report.calibration, words=words, provenance=report.provenance,
    )  # fmt: skip


def explain(
    label: Label, tracks: Sequence[FaceTrack], *, kind: Kind, ratio: float | None, calibration: Calibration,
    words: Words, provenance: Provenance | None = None,
) -> str:  # fmt: skip
    """The reason for a verdict: one sentence a lay person understands, and `remarks` on what the file says of itself.

    Args:
        label: Of the verdict.
        tracks: Judged by `judge`.
        ratio: Of the verdict; None where nobody could be judged.
        provenance: Of the file, where it was asked for.
    """
    return " ".join((_finding(label, tracks, kind, ratio, calibration, words), *remarks(provenance, words)))


def _finding(
    label: Label, tracks: Sequence[FaceTrack], kind: Kind, ratio: float | None, calibration: Calibration, words: Words
) -> str:
    if not tracks:
        return words("reason_no_face")
    worst = deciding(tracks)
    if worst is None or ratio is None:
        every = [words(f"excluded_{reason}") for reason in _exclusions_of(tracks)]
        if len(tracks) == 1:
            return words("reason_unjudged_one", why=every[0])
        # What is so of most views need not be so of each person.
        return _with_cuts(words("reason_unjudged_many", people=len(tracks), why=", ".join(every)), kind, words)
    who = words("face_only") if len(tracks) == 1 else words("face_of", person=worst.id)
    said = {"who": who, "amount": amount(ratio, words), "strength": words(strength(ratio))}
    if label == "manipulated":
        moment = strongest_moment(worst)
        return words(f"reason_manipulated_{kind}", **said, time_s=moment.time_s if moment else 0.0)
    able, bands = seen_enough(tracks), calibration.bands(kind)
    alone = _alone(worst, bands)
    if label == "no_manipulation_found":
        # Not those of people who could not decide: nobody said that these show nothing.
        views = sum(len(track.voting) for track in able)
        whose = "able" if seen_too_briefly(tracks) else "many"
        some = "one" if views == 1 else whose if alone == label else f"{whose}_but"
        return words(f"reason_nothing_{some}_{kind}", **said, views=views, person=worst.id)
    if len(able) > 1 and alone == "manipulated":
        # If it is not the others but only the limit of what may be stated that stands in the way.
        held_back = finding(evidence(able), replace(bands, largest_ratio=_NO_LIMIT))[0] == "manipulated"
        said_of_many = f"reason_one_of_many{'_limit' if held_back else ''}"
        return _with_cuts(words(said_of_many, who=who, people=len(able)), kind, words)
    glimpsed = [track for track in seen_in_part(tracks) if _alone(track, bands) == "manipulated"]
    if glimpsed:
        person = max(glimpsed, key=lambda track: track.probability or 0.0)
        moment = strongest_moment(person)
        when = {"person": person.id, "time_s": moment.time_s if moment else 0.0}
        return words(f"reason_glimpsed{_unless_nothing(alone)}", who=who, **when)
    others = together(tracks)
    if others is not None and _alone(others, bands) == "manipulated":
        moment, brief = strongest_moment(others), len(seen_too_briefly(tracks))
        counted = {"who": who, "people": brief, "time_s": moment.time_s if moment else 0.0}
        return _with_cuts(words(f"reason_together{_unless_nothing(alone)}", **counted), kind, words)
    parts = [part for part in shown_in_part(able) if _alone(part, bands) == "manipulated"]
    if parts:
        part = max(parts, key=lambda one: -math.inf if one.logit is None else one.logit)
        (whole,) = (_alone(track, bands) for track in able if track.id == part.id)
        who = words("face_only") if len(tracks) == 1 else words("face_of", person=part.id)
        moment = strongest_moment(part)
        return words(f"reason_part{_unless_nothing(whole)}", who=who, time_s=moment.time_s if moment else 0.0)
    if ratio >= LEAST_SUPPORT:
        return words(f"reason_leaning_{kind}", **said)
    if likelihood_ratio(worst.logit or 0.0, bands, quality=worst.quality) >= LEAST_SUPPORT:
        # It is the others who take from it.
        return _with_cuts(words("reason_leaning_of_many", who=who, people=len(able)), kind, words)
    leaning = "leaning_genuine" if ratio <= 1 / LEAST_SUPPORT else "inconclusive"
    return words(f"reason_{leaning}_{kind}", **said)


def _unless_nothing(alone: Label | None) -> str:
    """The end of a sentence's key, where nobody can say of a person that they show no traces."""
    return "" if alone == "no_manipulation_found" else "_unclear"


def _with_cuts(said: str, kind: Kind, words: Words) -> str:
    """What counts people, and of a video that this may be too many."""
    return f"{said} {words('after_cuts')}" if kind == "video" else said


def remarks(provenance: Provenance | None, words: Words) -> tuple[str, ...]:
    """What the file says of itself that belongs beside any verdict, a sentence each: that a generator made it, or that its
    Content Credentials are broken. It never moves the probability."""
    if provenance is None:
        return ()
    broken = provenance.content_credentials.state == "invalid"
    # What only resembles a generator's name may be a phone's, or part of a caption: that is for the page to show.
    named = [note.values["generator"] for note in provenance.notes if note.key == "generator_data"]
    named += [
        note.values["type"]
        for note in provenance.notes
        if note.key == "digital_source_type"
        and "trained" in note.values["type"].casefold()
        and not (broken and note.values["field"] == "C2PA")
    ]
    sentences = [words("remark_generated", what=", ".join(dict.fromkeys(named)))] if named else []
    if broken:
        sentences.append(words("remark_broken"))
    return tuple(sentences)


def exclusions(tracks: Sequence[FaceTrack], words: Words) -> tuple[str, ...]:
    """A sentence for each person of whom some views do not vote."""
    sentences = []
    for track in tracks:
        reasons = Counter(score.excluded for score in track.scores if score.excluded)
        if reasons:
            why = ", ".join(f"{count} {words(f'excluded_{reason}')}" for reason, count in sorted(reasons.items()))
            counted = {"person": track.id, "excluded": reasons.total(), "views": len(track.scores), "why": why}
            sentences.append(words("excluded_views", **counted))
    return tuple(sentences)


def warnings(
    notes: Sequence[Note], tracks: Sequence[FaceTrack], *, kind: Kind, calibration: Calibration, words: Words
) -> tuple[str, ...]:
    """What the reader must know, a sentence each: of the file, and of the people in it.

    Args:
        notes: What was noticed when the file was read.
        tracks: Judged by `judge`.
    """
    return (
        *(words(f"note_{note.key}", **note.values) for note in notes),
        *exclusions(tracks, words),
        *glimpses(tracks, kind=kind, calibration=calibration, words=words),
        *_one_of_many(tracks, kind=kind, calibration=calibration, words=words),
    )


def _one_of_many(tracks: Sequence[FaceTrack], *, kind: Kind, calibration: Calibration, words: Words) -> tuple[str, ...]:
    """That a figure of the verdict speaks of several people, where that of one of them alone is clearly higher."""
    worst, able, bands = deciding(tracks), seen_enough(tracks), calibration.bands(kind)
    if worst is None or worst.probability is None or len(able) < 2:
        return ()
    ratio = finding(evidence(able), bands)[1]
    if worst.probability - probability(ratio) < _TOLD_APART:
        return ()
    said = words("one_of_many", people=len(able), person=worst.id, probability=worst.probability)
    return (_with_cuts(said, kind, words),)


def _exclusions_of(tracks: Sequence[FaceTrack]) -> list[Exclusion]:
    """Why views of these people do not vote, the most frequent reason first."""
    reasons = Counter(score.excluded for track in tracks for score in track.scores if score.excluded)
    return [reason for reason, _ in reasons.most_common()]
