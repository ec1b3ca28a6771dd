"""verdict and pooling: exact facts about pure functions."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest

from deepfake_detect import checkpoint
from deepfake_detect.options import Options
from deepfake_detect.pooling import pool
from deepfake_detect.types import (
    Bands,
    Calibration,
    ContentCredentials,
    CredentialState,
    Face,
    FaceTrack,
    Kind,
    Note,
    Provenance,
    Score,
)
from deepfake_detect.verdict import (
    decide,
    deciding,
    exclusion,
    finding,
    glimpses,
    interval,
    is_open,
    judge,
    label_of,
    likelihood_ratio,
    limited,
    probability,
    strength,
    strongest_moment,
    too_many_for_one,
    warnings,
)
from deepfake_detect.words import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

BANDS = Bands(slope=1.0, offset=0.0, lower=0.2, upper=0.8, genuine=50, manipulated=50, false_alarm_rate=0.02,
              miss_rate=0.04, largest_ratio=50.0)  # fmt: skip
CALIBRATION = Calibration("test", "2026-01-01", "made up", BANDS, BANDS)
FACE = Face((0, 0, 100, 120), ((0.0, 0.0),) * 5, 0.99)


def scores(*logits: float, quality: float = 1.0) -> tuple[Score, ...]:
    return tuple(Score(float(i), FACE, quality, logit=logit) for i, logit in enumerate(logits))


def track(number: int, *logits: float) -> FaceTrack:
    return judge(FaceTrack(number, scores(*logits)), kind="video", calibration=CALIBRATION)


@pytest.mark.parametrize(
    ("size", "confidence", "sharpness", "expected"),
    [
        (100, 0.99, 0.2, None),
        (47, 0.99, 0.2, "too_small"),
        (100, 0.89, 0.2, "too_uncertain"),
        (100, 0.99, 0.01, "too_blurred"),
        (47, 0.1, 0.0, "too_small"),
    ],
)
def test_who_votes(size: float, confidence: float, sharpness: float, expected: str | None) -> None:
    assert exclusion(Face((0, 0, size, size), FACE.landmarks, confidence), sharpness, Options()) == expected


def test_pool_of_nothing_is_none() -> None:
    assert pool(()) is None
    assert pool((Score(0.0, FACE, 0.5, "too_small"),)) is None


def test_pool_of_equal_frames_is_their_logit() -> None:
    assert pool(scores(*[1.5] * 12)) == pytest.approx(1.5)


def test_pool_weighs_by_quality() -> None:
    mixed = (Score(0.0, FACE, 1.0, logit=2.0), Score(1.0, FACE, 0.5, logit=-1.0))
    assert pool(mixed) == pytest.approx((2.0 - 0.5) / 1.5)


@pytest.mark.parametrize("calm", [-1.0, -0.5, -0.3])
@pytest.mark.parametrize("glitch", [5.0, 8.0, 50.0])
def test_one_glitch_does_not_convict(calm: float, glitch: float) -> None:
    """So calm are the genuine validation videos, by the calibration that ships."""
    bands = checkpoint.find().calibration.video
    for views in range(3, 33):
        for place in (0, views // 2, views - 1):
            logits = [calm] * views
            logits[place] = glitch
            assert label_of(pool(scores(*logits)) or 0.0, bands) != "manipulated"


def test_a_view_counts_by_how_far_it_lies_from_the_others() -> None:
    assert pool(scores(*[-2.0] * 31, 50.0)) == pytest.approx((31 * -2 + 0) / 32)
    assert pool(scores(*[2.0] * 31, -50.0)) == pytest.approx((31 * 2 + 0) / 32)
    assert pool(scores(-1.0, -0.5, 0.0, 0.5, 1.5)) == pytest.approx(0.1)
    # Of two nobody can say which is the odd one.
    assert pool(scores(-2.0, 4.0)) == pytest.approx(1.0)


def test_a_short_forged_segment_does_not_drown() -> None:
    quarter = scores(*[-3.0] * 24, *[4.0] * 8)
    assert pool(quarter) == pytest.approx(4.0 - 1.0)


@pytest.mark.parametrize(
    ("forged", "logit", "label"),
    [
        # More than half of an eighth of the time keeps "nothing found" from being said.
        (2, 4.0, "no_manipulation_found"),
        (3, 4.0, "inconclusive"),
        (4, 1.0, "no_manipulation_found"),
        (4, 1.5, "inconclusive"),
        (4, 4.0, "inconclusive"),
        # More than half of a quarter speaks for the whole, if it is a logit beyond what the label asks for.
        (5, 2.0, "inconclusive"),
        (5, 2.5, "manipulated"),
        (16, 2.0, "inconclusive"),
        (16, 2.5, "manipulated"),
    ],
)
def test_what_a_forged_part_of_32_views_comes_to(forged: int, logit: float, label: str) -> None:
    logits = [-3.0] * 32
    logits[9 : 9 + forged] = [logit] * forged
    assert decide([track(1, *logits)], kind="video", calibration=CALIBRATION).label == label
    if 4 <= forged < 16:
        # Whether a shot of an eighth is taken for another person makes no other answer.
        two = [track(1, *[-3.0] * (32 - forged)), track(2, *[logit] * forged)]
        apart = decide(two, kind="video", calibration=CALIBRATION).label
        assert (apart == "no_manipulation_found") is (label == "no_manipulation_found")


def test_a_part_that_shows_traces_is_told_with_its_moment() -> None:
    logits = [-3.0] * 32
    logits[20:24] = [2.0, 2.0, 4.0, 2.0]
    answer = decide([track(1, *logits)], kind="video", calibration=CALIBRATION)
    assert answer.label == "inconclusive"
    assert "in a part around 22.0 s" in answer.reason
    assert answer.probability == track(1, *logits).probability
    beside = decide([track(1, *[-3.0] * 32), track(2, *logits)], kind="video", calibration=CALIBRATION)
    assert beside.label == "inconclusive"
    assert "person 2 shows no traces" in beside.reason


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (-3.0, "The face shows no traces of manipulation over most of the time, but does in a part around 28.0 s"),
        (-1.0, "The face is unclear taken as a whole, but a part around 28.0 s shows traces"),
        (0.5, "The face is unclear taken as a whole, but a part around 28.0 s shows traces"),
    ],
)
def test_a_part_is_told_whatever_the_rest_comes_to(rest: float, said: str) -> None:
    answer = decide([track(1, *[rest] * 28, *[2.0] * 4)], kind="video", calibration=CALIBRATION)
    assert answer.label == "inconclusive"
    assert answer.reason.startswith(said)


def test_a_part_of_one_is_told_where_another_decides() -> None:
    people = [track(1, *[-1.0] * 32), track(2, *[-3.0] * 28, *[2.0] * 4)]
    answer = decide(people, kind="video", calibration=CALIBRATION)
    assert deciding(people) == people[0]
    assert answer.label == "inconclusive"
    assert answer.reason.startswith("The face of person 2 shows no traces of manipulation over most of the time")


def test_the_warmest_of_a_genuine_video_is_no_part() -> None:
    """Views that scatter as those of genuine validation videos do."""
    rng = np.random.default_rng(0)
    labels = [
        decide([track(1, *(-2.0 + 0.5 * rng.standard_normal(32)))], kind="video", calibration=CALIBRATION).label
        for _ in range(50)
    ]
    assert set(labels) == {"no_manipulation_found"}


@pytest.mark.parametrize(("views", "forged", "penalty"), [(320, 40, 2), (320, 20, 3), (3200, 100, 4), (3200, 50, 5)])
def test_of_many_views_a_smaller_part_speaks_if_it_is_worse_still(views: int, forged: int, penalty: int) -> None:
    logits = [-3.0] * views
    logits[101 : 101 + forged] = [7.0] * forged
    assert pool(scores(*logits)) == pytest.approx(7.0 - penalty)
    (moment, *_) = [strongest_moment(FaceTrack(1, scores(*logits)))]
    assert moment is not None
    assert 101 <= moment.time_s < 101 + forged
    assert pool(scores(*[-3.0] * views)) == pytest.approx(-3.0)


def test_poor_views_do_not_convict() -> None:
    good, poor = scores(*[-3.0] * 24), scores(*[3.0] * 8, quality=0.05)
    assert pool((*good[:12], *poor[:4], *good[12:], *poor[4:])) == pytest.approx(-3.0, abs=0.2)
    clear = [*scores(-3.0, -3.0), *scores(3.0, quality=0.05)]
    assert pool(clear) == pytest.approx(-3.0)
    assert pool(scores(-1.0, 1.0, 2.0, 3.0)) == pytest.approx(1.5)


def test_the_moment_named_is_one_of_those_that_decided() -> None:
    logits = [-2.0] * 20 + [3.0] * 12
    logits[4] = 6.0
    moment = strongest_moment(FaceTrack(1, scores(*logits)))
    assert moment is not None
    assert moment.time_s >= 20


@pytest.mark.parametrize(("logit", "ratio"), [(0.0, 1.0), (0.3, math.exp(0.3)), (99.0, 50.0), (-99.0, 0.02)])
def test_likelihood_ratio_is_limited(logit: float, ratio: float) -> None:
    assert likelihood_ratio(logit, BANDS) == pytest.approx(ratio, rel=2e-3)
    assert probability(ratio) == pytest.approx(ratio / (1 + ratio))


def test_stronger_evidence_gives_the_larger_ratio_up_to_the_limit() -> None:
    ratios = [likelihood_ratio(logit / 4, BANDS) for logit in range(-40, 41)]
    assert ratios == sorted(set(ratios))
    assert ratios[0] * ratios[-1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("logit", "label"),
    [(3.0, "manipulated"), (0.5, "inconclusive"), (-0.5, "inconclusive"), (-3.0, "no_manipulation_found")],
)
def test_bands(logit: float, label: str) -> None:
    verdict = decide([track(1, *[logit] * 5)], kind="video", calibration=CALIBRATION)
    assert verdict.label == label
    assert verdict.probability == pytest.approx(probability(likelihood_ratio(logit, BANDS)))


def test_no_face_is_an_answer_of_its_own() -> None:
    verdict = decide([], kind="image", calibration=CALIBRATION)
    assert (verdict.label, verdict.probability, verdict.likelihood_ratio) == ("no_face", None, None)


def test_faces_that_do_not_vote_give_no_probability() -> None:
    small = FaceTrack(1, (Score(0.0, FACE, 0.1, "too_small"),))
    verdict = decide([judge(small, kind="image", calibration=CALIBRATION)], kind="image", calibration=CALIBRATION)
    assert (verdict.label, verdict.probability) == ("inconclusive", None)
    assert "too small" in verdict.reason


def test_why_several_can_not_be_judged_is_said_of_none_of_whom_it_is_not_so() -> None:
    """Most views are too small, and most people too blurred."""
    small = FaceTrack(1, tuple(Score(float(i), FACE, 0.1, "too_small") for i in range(16)))
    blurred = [FaceTrack(number, (Score(0.0, FACE, 0.1, "too_blurred"),)) for number in (2, 3)]
    for people, said in (
        ([small, *blurred], "none of their faces can be judged (too small in the picture, too blurred);"),
        (blurred, "none of their faces can be judged (too blurred);"),
        ([small], "A face was found, but it is too small in the picture to judge;"),
    ):
        reason = decide(people, kind="video", calibration=CALIBRATION).reason
        assert said in reason


def test_how_many_are_counted_who_decide() -> None:
    people = [track(1, *[1.2] * 16), track(2, *[-3.0] * 16), track(3, *[-3.0] * 4)]
    (said,) = warnings([], people, kind="video", calibration=CALIBRATION, words=Words())
    assert said.startswith("2 people were seen enough to decide")


def test_the_worst_person_decides() -> None:
    people = [track(1, *[-3.0] * 6), track(2, *[3.0] * 6)]
    assert decide(people, kind="video", calibration=CALIBRATION).label == "manipulated"
    assert "person 2" in decide(people, kind="video", calibration=CALIBRATION).reason


def test_a_face_seen_once_does_not_decide_beside_one_seen_long() -> None:
    assert deciding([track(1, *[-3.0] * 6), track(2, 6.0)]) == track(1, *[-3.0] * 6)
    assert deciding([track(1, -3.0), track(2, 6.0)]) == track(2, 6.0)


def test_a_person_seen_half_as_long_as_another_decides_and_one_seen_less_is_told_of() -> None:
    long, half, brief = track(1, *[-3.0] * 12), track(2, *[6.0] * 6), track(2, *[6.0] * 5)
    people = [judge(one, kind="video", calibration=CALIBRATION) for one in (long, half, brief)]
    known = {"kind": "video", "calibration": CALIBRATION, "words": Words()}
    assert deciding(people[:2]) == people[1]
    assert glimpses(people[:2], **known) == ()  # type: ignore[arg-type]
    assert deciding([people[0], people[2]]) == people[0]
    (said,) = glimpses([people[0], people[2]], **known)  # type: ignore[arg-type]
    assert said.startswith("Person 2 was judged in 5 views only (0.0 to 4.0 s) and does not decide")
    cold = judge(track(2, *[-6.0] * 5), kind="video", calibration=CALIBRATION)
    assert glimpses([people[0], cold], **known) == ()  # type: ignore[arg-type]


def test_no_reason_speaks_for_people_who_did_not_decide() -> None:
    known = {"kind": "video", "calibration": CALIBRATION}
    people = [track(1, *[-4.0] * 32), track(2, *[6.0] * 15)]
    answer = decide(people[:1], **known)  # type: ignore[arg-type]
    assert answer.label == "no_manipulation_found"
    assert " 32 views" in answer.reason
    briefly = decide([people[0], track(2, *[6.0] * 3)], **known)  # type: ignore[arg-type]
    assert briefly.label == "no_manipulation_found"
    assert " 32 views" in briefly.reason


def seen_at(number: int, times: Sequence[int], *logits: float) -> FaceTrack:
    seen = tuple(Score(float(time), FACE, 1.0, logit=logit) for time, logit in zip(times, logits, strict=True))
    return judge(FaceTrack(number, seen), kind="video", calibration=CALIBRATION)


@pytest.mark.parametrize("views", [16, 64, 128])
def test_what_is_forged_all_the_time_is_seen_in_however_many_shots(views: int) -> None:
    """Beside a genuine face that stays: an interpreter in a corner, a poster on the wall."""
    stays = track(1, *[-3.0] * views)
    for shots in range(1, 65):
        shown = [[t for t in range(views) if t * shots // views == shot] for shot in range(shots)]
        shown = [times for times in shown if times]
        hot, calm = (
            [stays, *(seen_at(number, times, *[logit] * len(times)) for number, times in enumerate(shown, start=2))]
            for logit in (5.0, -1.5)
        )
        answer = decide(hot, kind="video", calibration=CALIBRATION)
        assert answer.label != "no_manipulation_found"
        if shots < 10:
            continue
        assert answer.label == "inconclusive"
        people = f"but the {len(shown)} people who were each seen too briefly to decide do, taken together"
        assert f"{people}, most of all around 0.0 s" in answer.reason
        assert answer.reason.endswith(Words()("after_cuts"))
        # Where nobody shows anything that is said, and of whom.
        nothing = decide(calm, kind="video", calibration=CALIBRATION)
        assert nothing.label == "no_manipulation_found"
        assert f"in the {views} views of those who were seen enough to decide" in nothing.reason
        assert not is_open(calm, kind="video", calibration=CALIBRATION)
    alone = decide([stays], kind="video", calibration=CALIBRATION).reason
    assert f"in the {views} views of faces judged" in alone


def test_some_who_are_warm_among_many_seen_briefly_are_chance() -> None:
    rng = np.random.default_rng(0)
    stays = track(1, *[-4.0] * 128)
    strangers = [
        seen_at(number, range(3 * number, 3 * number + 3), *(rng.normal(-1.5, 2.0) + rng.normal(0, 0.5, 3)))
        for number in range(2, 44)
    ]
    assert sum(label_of(one.logit or 0.0, BANDS) == "manipulated" for one in strangers) > 1
    assert decide([stays, *strangers], kind="video", calibration=CALIBRATION).label == "no_manipulation_found"


@pytest.mark.parametrize(("others", "label"), [(15, "no_manipulation_found"), (16, "inconclusive")])
def test_people_seen_once_speak_together_from_an_eighth_of_the_views_on(others: int, label: str) -> None:
    people = [track(1, *[-4.0] * 128), *(seen_at(number, [number], 6.0) for number in range(2, others + 2))]
    assert decide(people, kind="video", calibration=CALIBRATION).label == label


@pytest.mark.parametrize(("long", "brief"), [(32, 15), (32, 4), (12, 5)])
def test_nothing_is_found_only_where_nobody_seen_for_long_shows_traces(long: int, brief: int) -> None:
    people = [track(1, *[-4.0] * long), track(2, *[6.0] * brief)]
    answer = decide(people, kind="video", calibration=CALIBRATION)
    assert answer.label == "inconclusive"
    assert "that of person 2, seen too briefly" in answer.reason
    assert answer.probability == people[0].probability


def test_of_someone_seen_briefly_the_reason_says_no_more_than_is_so() -> None:
    """Neither that one shows traces who is unclear alone, nor that one shows none who is."""
    unclear, cold = track(1, *[-1.0] * 32), track(1, *[-4.0] * 32)
    for long, brief in ((unclear, 0.5), (unclear, 6.0), (cold, 0.5)):
        people = [long, track(2, *[brief] * 6)]
        reason = decide(people, kind="video", calibration=CALIBRATION).reason
        assert ("The face of person 1 is unclear, but that of person 2, seen too briefly" in reason) is (brief > 1)
        assert "person 1 shows no traces" not in reason
        told = glimpses(people, kind="video", calibration=CALIBRATION, words=Words())
        assert bool(told) is (brief > 1)
    reason = decide([cold, track(2, *[2.0] * 6), track(3, *[6.0] * 6)], kind="video", calibration=CALIBRATION).reason
    assert "that of person 3, seen too briefly" in reason


@pytest.mark.parametrize("people", [1, 3, 4, 30])
def test_who_asks_for_a_part_to_be_examined_says_which(people: int) -> None:
    brief = [
        seen_at(number, range(4 * number, 4 * number + 3 + number % 2), *[6.0] * (3 + number % 2))
        for number in range(2, people + 2)
    ]
    known = {"kind": "video", "calibration": CALIBRATION}
    told = glimpses([track(1, *[-4.0] * 128), *brief], **known, words=Words())  # type: ignore[arg-type]
    assert len(told) == (people if people <= 3 else 1)
    assert all("--start" in said for said in told)
    if people > 3:
        assert told[0].startswith(f"{people} people seen too briefly to decide")
        assert told[0].endswith(Words()("after_cuts"))
    said = " ".join(told)
    # Of very many those are named who are seen most.
    named = [one for one in brief if f"erson {one.id} " in said]
    assert len(named) == min(people, 20)
    assert min(len(one.voting) for one in named) == 3
    assert people < 30 or {one.id for one in brief if len(one.voting) == 4} <= {one.id for one in named}
    assert ("10 more" in said) is (people == 30)
    for one in named:
        assert f"({one.start_s:.1f} to {one.end_s:.1f} s)" in said
    reason = decide([track(1, *[-4.0] * 16), *brief], **known).reason  # type: ignore[arg-type]
    strongest = max(brief, key=lambda one: one.logit or 0.0)
    assert (
        f"that of person {strongest.id}, seen too briefly to decide (around {strongest.start_s:.1f} s), does" in reason
    )


def test_of_one_view_the_time_is_told_once() -> None:
    people = [track(1, *[-4.0] * 4), seen_at(2, [7], 6.0)]
    (said,) = glimpses(people, kind="video", calibration=CALIBRATION, words=Words())
    assert said.startswith("Person 2 was judged in 1 view only (7.0 s) and does not decide, but this shows")


@pytest.mark.parametrize(("first", "second"), [(4, 2), (3, 2), (2, 1), (5, 2)])
def test_whoever_does_not_decide_is_told_of_in_few_views_too(first: int, second: int) -> None:
    people = [track(1, *[-4.0] * first), track(2, *[6.0] * second)]
    decides = deciding(people) == people[1]
    assert decides != bool(glimpses(people, kind="video", calibration=CALIBRATION, words=Words()))


def test_of_several_people_one_must_speak_as_many_times_as_strongly() -> None:
    """One of ten, nobody knows which: the ratio is the mean of theirs."""
    one = track(1, 2.2)
    nine = [track(number, -2.5) for number in range(2, 11)]
    alone = decide([one], kind="image", calibration=CALIBRATION)
    among = decide([one, *nine], kind="image", calibration=CALIBRATION)
    assert (alone.label, among.label) == ("manipulated", "inconclusive")
    ratios = [likelihood_ratio(person.logit or 0.0, BANDS) for person in (one, *nine)]
    assert among.likelihood_ratio == pytest.approx(np.mean(ratios))
    assert among.probability == pytest.approx(probability(float(np.mean(ratios))))
    known = {"kind": "image", "calibration": CALIBRATION, "words": Words()}
    (said,) = warnings([], [one, *nine], **known)  # type: ignore[arg-type]
    assert said.startswith("10 people were seen enough to decide")
    assert f"{one.probability:.2f}" in said
    assert warnings([], [one], **known) == ()  # type: ignore[arg-type]
    # Equal people say together what each says, and a very strong one is still enough.
    assert decide([track(i, 1.0) for i in (1, 2, 3)], kind="image", calibration=CALIBRATION).probability == (
        pytest.approx(track(1, 1.0).probability)
    )
    assert decide([track(1, 7.0), *nine], kind="image", calibration=CALIBRATION).label == "manipulated"


def test_the_reason_says_who_would_be_called_manipulated_alone() -> None:
    group = [track(1, *[3.0] * 8), *(track(number, *[-1.5] * 8) for number in range(2, 8))]
    found = decide(group, kind="video", calibration=CALIBRATION)
    assert decide(group[:1], kind="video", calibration=CALIBRATION).label == "manipulated"
    assert found.label == "inconclusive"
    assert found.reason.startswith("The face of person 1 alone would be called manipulated; among 7 people")


@pytest.mark.parametrize("others", [1, 6, 29, 200])
def test_nothing_is_found_among_however_many_only_where_nobody_alone_shows_traces(others: int) -> None:
    crowd = [track(number, *[-4.0] * 8) for number in range(2, others + 2)]
    assert decide(crowd, kind="video", calibration=CALIBRATION).label == "no_manipulation_found"
    found = decide([track(1, *[1.5] * 8), *crowd], kind="video", calibration=CALIBRATION)
    assert decide([track(1, *[1.5] * 8)], kind="video", calibration=CALIBRATION).label == "manipulated"
    assert found.label == "inconclusive"
    assert found.reason.startswith("The face of person 1 alone would be called manipulated")
    assert found.probability is not None
    assert (found.probability < BANDS.lower) is (others > 6)
    # Who shows a little is no reason to say nothing of the rest.
    little = decide([track(1, *[1.0] * 8), *crowd], kind="video", calibration=CALIBRATION)
    assert little.label == ("no_manipulation_found" if others > 20 else "inconclusive")


@pytest.mark.parametrize("kind", get_args(Kind))
def test_what_leans_either_way_is_not_said_to_show_too_little_either_way(kind: Kind) -> None:
    for logit, said in (
        (1.0, "about 2.7 times more probable for a manipulated"),
        (0.5, "too little evidence either way"),
        (-0.5, "too little evidence either way"),
        (-1.0, "about 2.7 times more probable for a genuine"),
    ):
        one = judge(FaceTrack(1, scores(logit)), kind=kind, calibration=CALIBRATION)
        answer = decide([one], kind=kind, calibration=CALIBRATION)
        assert answer.label == "inconclusive"
        assert said in answer.reason


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("people", range(1, 9))
def test_too_little_either_way_is_said_of_a_person_and_of_a_file_of_whom_it_is_so(kind: Kind, people: int) -> None:
    either_way = []
    for logit in np.arange(-1.3, 1.4, 0.1):
        group = [track(1, logit), *(track(number, -3.0) for number in range(2, people + 1))]
        answer = decide(group, kind=kind, calibration=CALIBRATION)
        if answer.label != "inconclusive":
            continue
        assert label_of(logit, BANDS) == "inconclusive"
        assert group[0].probability is not None
        assert answer.likelihood_ratio is not None
        said = "too little evidence either way" in answer.reason
        assert said is (1 / 3 < group[0].probability < 2 / 3 and strength(answer.likelihood_ratio) == "strength_no")
        # What is supported is said, and of whom.
        assert ("speaks for manipulation, and too little to say so" in answer.reason) is (group[0].probability >= 2 / 3)
        assert ("more probable for a genuine" in answer.reason) is (not said and group[0].probability < 2 / 3)
        either_way.append(said)
    assert True in either_way or people > 2
    assert False in either_way


@pytest.mark.parametrize("kind", ["image", "video"])
def test_where_one_alone_is_unclear_the_reason_does_not_speak_of_each(kind: Kind) -> None:
    crowd = [track(number, -4.0) for number in range(2, 42)]
    known = {"kind": kind, "calibration": CALIBRATION}
    assert decide(crowd, **known).reason.startswith("No traces of")  # type: ignore[arg-type]
    found = decide([track(1, 1.0), *crowd], **known)  # type: ignore[arg-type]
    assert found.label == "no_manipulation_found"
    assert found.reason.startswith("Taken together, the 41 views of faces judged show no traces")
    assert "though the face of person 1 alone is unclear" in found.reason


def test_of_a_video_it_is_said_that_one_person_may_be_counted_as_several() -> None:
    group = [track(1, 3.0), *(track(number, -1.5) for number in range(2, 8))]
    for kind in get_args(Kind):
        reason = decide(group, kind=kind, calibration=CALIBRATION).reason
        (warning,) = warnings([], group, kind=kind, calibration=CALIBRATION, words=Words())
        for said in (reason, warning):
            assert said.endswith(Words()("after_cuts")) is (kind == "video")


@pytest.mark.parametrize("others", [1, 2, 3, 4, 9, 11])
def test_what_is_stated_of_several_people_bears_the_label(others: int) -> None:
    bands = replace(BANDS, largest_ratio=8)
    least = limited(math.log(bands.upper / (1 - bands.upper)), 8)
    for logit in (1.0, 2.0, 3.0, 8.0):
        label, ratio = finding([(logit, 1.0)] + [(-3.0, 1.0)] * others, bands)
        assert label != "manipulated" or ratio >= least * 0.999
    label, ratio = finding([(8.0, 1.0)] + [(-3.0, 1.0)] * others, bands)
    assert label == ("manipulated" if 8 / (1 + others) > least else "inconclusive")
    # Neither fewer nor more than from how many on it is said to be so.
    assert (label != "manipulated") is (1 + others >= (too_many_for_one(bands) or math.inf))


def test_several_are_too_many_for_one_only_where_the_others_show_nothing_and_one_alone_is_enough() -> None:
    bands = replace(BANDS, upper=0.75, largest_ratio=8)
    number = too_many_for_one(bands)
    assert number == 4
    unclear = -bands.offset / bands.slope
    assert finding([(8.0, 1.0)] + [(unclear, 1.0)] * (number - 1), bands)[0] == "manipulated"
    assert too_many_for_one(replace(bands, upper=1.0)) is None


def test_the_reason_tells_what_stands_in_the_way_of_one_among_several() -> None:
    """Whether it is the others, or what the calibration can bear."""
    known = replace(CALIBRATION, video=replace(BANDS, largest_ratio=8))
    for logit, others, said in (
        (2.0, 2, "is not enough, for the worst of several"),
        (8.0, 4, "rests on too few media"),
    ):
        group = [
            judge(FaceTrack(i, scores(*[level] * 8)), kind="video", calibration=known)
            for i, level in enumerate((logit, *[-3.0] * others), start=1)
        ]
        answer = decide(group, kind="video", calibration=known)
        assert answer.label == "inconclusive"
        assert answer.reason.startswith("The face of person 1 alone would be called manipulated")
        assert said in answer.reason


def test_a_net_that_was_never_calibrated_calls_nothing_manipulated() -> None:
    assert finding([(20.0, 1.0)], replace(BANDS, lower=0.0, upper=1.0))[0] == "inconclusive"


def test_of_a_video_one_view_says_no_more_than_two_that_agree_as_frames_do() -> None:
    bands = replace(BANDS, logit_sd=0.3)
    one, picture = (interval(track(1, 0.3), bands, kind=kind) for kind in ("video", "image"))
    many = interval(track(1, *[0.3] * 8), bands)
    assert one is not None
    assert picture is not None
    assert picture == pytest.approx(many)
    assert one[0] < picture[0] < picture[1] < one[1]


def test_an_interval_of_several_people_is_narrower_towards_certainty() -> None:
    wide = replace(CALIBRATION, image=replace(BANDS, logit_sd=0.5))
    people = [judge(FaceTrack(i, scores(logit)), kind="image", calibration=wide) for i, logit in ((1, 2.0), (2, -2.0))]
    both = decide(people, kind="image", calibration=wide)
    assert people[0].interval is not None
    assert both.interval is not None
    assert both.probability is not None
    assert both.interval[0] < both.probability < both.interval[1]
    assert both.interval[1] < people[0].interval[1]


@pytest.mark.parametrize("people", [1, 2, 4, 8])
@pytest.mark.parametrize(("kind", "views"), [("image", 1), ("video", 16)])
def test_an_interval_of_several_people_holds_what_is_so_of_all_of_them(kind: Kind, views: int, people: int) -> None:
    """Each has a logit of their own that is off by chance; slope and offset are off by the same for all."""
    rng, draws, held = np.random.default_rng(people), 200, 0
    bands = replace(BANDS, slope=1.4, logit_sd=0.6, slope_sd=0.25, offset_sd=0.3)
    calibration = replace(CALIBRATION, image=bands, video=bands)
    for _ in range(draws):
        true = rng.normal(0, 0.7, people)
        slope, offset = rng.normal(bands.slope, bands.slope_sd), rng.normal(bands.offset, bands.offset_sd)
        seen = [logit + rng.normal(0, bands.logit_sd) + (0.45 * rng.standard_normal(views) if views > 1 else np.zeros(1))
                for logit in true]  # fmt: skip
        tracks = [judge(FaceTrack(i, scores(*logits)), kind=kind, calibration=calibration)
                  for i, logits in enumerate(seen, 1)]  # fmt: skip
        bounds = decide(tracks, kind=kind, calibration=calibration).interval
        assert bounds is not None
        ratio = np.mean([limited(slope * logit + offset, bands.largest_ratio) for logit in true])
        held += bounds[0] <= probability(float(ratio)) <= bounds[1]
    assert held >= 0.9 * draws


@pytest.mark.parametrize("logit", [-2.0, 0.3, 2.0, 7.0])
def test_a_person_counted_several_times_is_no_more_certain_by_that(logit: float) -> None:
    """As after cuts: what is uncertain of the calibration is so of each copy."""
    fitted = replace(BANDS, offset_sd=0.5)
    # What is uncertain of each copy alone is taken for independent.
    for bands, least in ((fitted, 1.0), (replace(fitted, logit_sd=0.3), 0.85)):
        calibration = replace(CALIBRATION, image=bands)
        copies = [judge(FaceTrack(i, scores(logit)), kind="image", calibration=calibration) for i in range(1, 5)]
        one, four = (decide(some, kind="image", calibration=calibration).interval for some in (copies[:1], copies))
        assert one is not None
        assert four is not None
        assert least - 1e-9 < (four[1] - four[0]) / (one[1] - one[0]) < 1 + 1e-9


@pytest.mark.parametrize(("long", "brief", "told"), [(8, 2, True), (8, 1, True), (32, 3, True), (32, 2, False)])
def test_whoever_is_there_for_an_eighth_of_the_time_is_told_of(long: int, brief: int, told: bool) -> None:
    people = [track(1, *[-4.0] * long), track(2, *[6.0] * brief)]
    assert bool(glimpses(people, kind="video", calibration=CALIBRATION, words=Words())) is told


@pytest.mark.parametrize(
    ("state", "where", "kind", "generated", "broken"),
    [
        ("valid", "C2PA", "trainedAlgorithmicMedia", True, False),
        ("valid", "C2PA", "digitalCapture", False, False),
        ("absent", "XMP", "compositeWithTrainedAlgorithmicMedia", True, False),
        ("invalid", "XMP", "trainedAlgorithmicMedia", True, True),
        # Whoever broke the signature may have written this, too.
        ("invalid", "C2PA", "trainedAlgorithmicMedia", False, True),
    ],
)
def test_the_reason_tells_what_the_file_says_of_itself(
    state: CredentialState, where: str, kind: str, generated: bool, broken: bool
) -> None:
    note = Note("digital_source_type", {"field": where, "type": kind})
    known = Provenance("0" * 32, notes=(note,), content_credentials=ContentCredentials(state))
    people = [track(1, *[-3.0] * 6)]
    plain = decide(people, kind="video", calibration=CALIBRATION)
    told = decide(people, kind="video", calibration=CALIBRATION, provenance=known)
    assert (f"made or changed by a generator ({kind})" in told.reason) is generated
    assert ("Content Credentials that do not hold" in told.reason) is broken
    assert told.reason.startswith(plain.reason)
    assert replace(told, reason=plain.reason) == plain


def test_no_reason_claims_certainty_or_calls_anything_real() -> None:
    for logit in (-9.0, -3.0, 0.0, 3.0, 9.0):
        reason = decide([track(1, *[logit] * 5)], kind="video", calibration=CALIBRATION).reason.lower()
        assert not {"real", "fake", "certain", "certainly", "proves", "authentic"} & set(re.findall(r"\w+", reason))
        assert reason.endswith(".")


@pytest.mark.parametrize(
    ("ratio", "words"), [(1.5, "no"), (0.2, "weak"), (30, "moderate"), (0.01, "moderately strong")]
)
def test_strength_in_words(ratio: float, words: str) -> None:
    assert Words()(strength(ratio)) == words


def test_bands_must_be_ordered() -> None:
    with pytest.raises(ValueError, match="ordered"):
        replace(BANDS, lower=0.9)


def test_low_quality_moves_the_odds_less() -> None:
    bands = replace(BANDS, quality_loss=0.5)
    sharp, poor = (likelihood_ratio(2.0, bands, quality=q) for q in (1.0, 0.2))
    assert sharp == likelihood_ratio(2.0, BANDS)
    assert poor == pytest.approx(likelihood_ratio(2.0 * (1 - 0.5 * 0.8), BANDS))
    assert label_of(2.0, bands, quality=1.0) == "manipulated"
    assert label_of(2.0, bands, quality=0.2) == "inconclusive"


def test_an_interval_holds_its_probability_and_widens_with_what_is_uncertain() -> None:
    certain = track(1, *[1.0] * 20)
    assert interval(certain, BANDS) == pytest.approx((certain.probability, certain.probability))
    widths = []
    for bands, logits in (
        (replace(BANDS, logit_sd=0.3), [1.0] * 20),
        (replace(BANDS, slope_sd=0.3), [1.0] * 20),
        (BANDS, [0.0] * 10 + [2.0] * 10),
        (replace(BANDS, logit_sd=0.3, slope_sd=0.3), [0.0] * 10 + [2.0] * 10),
    ):
        found = track(1, *logits)
        bounds = interval(found, bands)
        assert bounds is not None
        assert found.probability is not None
        assert 0 < bounds[0] < found.probability < bounds[1] < 1
        widths.append(bounds[1] - bounds[0])
    assert widths[3] > max(widths[:3])


def test_an_interval_is_of_the_views_on_which_the_logit_rests() -> None:
    rng = np.random.default_rng(0)
    forged = track(1, *rng.normal(-1.5, 0.4, 24), *rng.normal(2.2, 0.4, 8))
    bounds = interval(forged, BANDS)
    assert bounds is not None
    assert forged.probability is not None
    assert bounds[0] < forged.probability < bounds[1] < bounds[0] + 0.5


@pytest.mark.parametrize(("forged", "least"), [(5, 0.3), (6, 0.4)])
def test_an_interval_does_not_take_in_what_lies_beside_a_short_forged_part(forged: int, least: float) -> None:
    """A stretch is eight of 32 views: two or three of them may be genuine, and its median is none of theirs."""
    lows = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        logits = rng.normal(-2, 0.45, 32)
        logits[9 : 9 + forged] = rng.normal(2.5, 0.45, forged)
        bounds = interval(track(1, *logits), BANDS)
        assert bounds is not None
        lows.append(bounds[0])
    assert np.median(lows) > least


@pytest.mark.parametrize("frames", [2, 3, 4, 6, 8, 10, 32])
def test_an_interval_of_frames_that_disagree_by_chance_holds_the_truth_in_95_of_100(frames: int) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        found = track(1, *rng.normal(0, 1, frames))
        bounds = interval(found, BANDS)
        assert bounds is not None
        held += bounds[0] <= probability(likelihood_ratio(0.0, BANDS)) <= bounds[1]
    assert 0.92 < held / 2000 < 0.985


def test_an_interval_widens_as_the_picture_gets_poorer() -> None:
    bands = replace(BANDS, quality_loss=0.8, logit_sd=0.5)
    calibration = replace(CALIBRATION, video=bands)
    widths = []
    for quality in (1.0, 0.6, 0.2):
        found = judge(FaceTrack(1, scores(*[0.3] * 8, quality=quality)), kind="video", calibration=calibration)
        assert found.interval is not None
        widths.append(found.interval[1] - found.interval[0])
    assert widths == sorted(widths)
    assert widths[2] > 1.5 * widths[0]


def opens(*logits: float) -> bool:
    return is_open([track(1, *logits)], kind="video", calibration=CALIBRATION)


def test_a_label_is_open_where_other_frames_could_give_another() -> None:
    edge = math.log(4)
    noise = 0.5 * np.random.default_rng(1).standard_normal(32)
    noise -= noise.mean()
    # The mean of so many differs by 0.09 or so.
    assert opens(*(edge + 0.05 + noise))
    assert opens(*(edge - 0.05 + noise))
    assert not opens(*(edge + 0.5 + noise))
    assert not opens(*(noise - 0.2))
    # What changes slowly is seen by any frames taken as far apart.
    assert not opens(*(edge + 0.05 + np.sort(noise)))
    # Two views of sixteen that show plainly what the others don't leave it open; what a single one shows drowns.
    assert opens(*(-3 + noise[:8]), 4, 4, *(-3 + noise[10:16]))
    assert not opens(*(-3 + noise[:8]), 4, *(-3 + noise[9:16]))
    # One glitch moves the mean by no more than it counts, nor what is thought to be open.
    assert not opens(*(noise[:8] + 0.6), 8, *(noise[9:16] + 0.6))
    # A part may be what is open.
    assert opens(*(-3 + noise[:14]), *(edge + noise[14:18]), *(-3 + noise[18:]))
    assert not opens(*(-3 + noise))
    # Where nobody was judged, somebody may be among more frames.
    assert is_open([], kind="video", calibration=CALIBRATION)
    assert not is_open([track(1, edge)], kind="image", calibration=CALIBRATION)
    assert opens(edge)


@pytest.mark.parametrize(("views", "is_so"), [(3, False), (7, True), (8, True), (14, False)])
def test_a_label_is_open_where_one_view_more_or_less_decides_who_decides(views: int, is_so: bool) -> None:
    cold, hot = track(1, *[-4.0] * 16), track(2, *[5.0] * views)
    assert is_open([cold, hot], kind="video", calibration=CALIBRATION) == is_so
    forged, other = track(1, *[1.8] * 16), track(2, *[-4.0] * views)
    assert is_open([forged, other], kind="video", calibration=CALIBRATION) == is_so


def test_of_few_views_no_more_labels_are_taken_for_settled() -> None:
    rng, edge = np.random.default_rng(2), math.log(4)
    for views in (2, 3, 5, 8, 16):
        wrong = 0
        for _ in range(1000):
            logits = edge + 0.45 * rng.standard_normal(views)
            # Just below the edge in truth: what is called manipulated for good is wrong.
            one = track(1, *logits)
            wrong += one.logit is not None and one.logit > edge and not opens(*logits)
        assert wrong <= 0.09 * 1000


def test_of_labels_that_are_not_open_few_differ_from_those_of_all_frames() -> None:
    rng = np.random.default_rng(0)
    settled = same = 0
    for _ in range(120):
        logits = rng.uniform(-2.5, 2.5) + 0.6 * np.convolve(rng.standard_normal(516), np.full(5, 5**-0.5), "valid")
        few, every = (track(1, *logits[i::step]) for i, step in ((8, 16), (0, 1)))
        if not is_open([few], kind="video", calibration=CALIBRATION):
            settled += 1
            same += label_of(few.logit or 0.0, BANDS) == label_of(every.logit or 0.0, BANDS)
    assert settled > 80
    assert same >= 0.97 * settled


def test_a_poor_picture_with_a_louder_logit_does_not_decide() -> None:
    calibration = replace(CALIBRATION, video=replace(BANDS, quality_loss=0.8))
    poor = judge(FaceTrack(1, scores(*[3.2] * 8, quality=0.2)), kind="video", calibration=calibration)
    clear = judge(FaceTrack(2, scores(*[3.0] * 8, quality=1.0)), kind="video", calibration=calibration)
    assert deciding([poor, clear]) is clear
    assert decide([poor, clear], kind="video", calibration=calibration).label == "manipulated"


def test_an_interval_without_a_verdict_is_none() -> None:
    unjudged = FaceTrack(1, (Score(0.0, FACE, 0.5, "too_small"),))
    for kind in get_args(Kind):
        reason = decide([unjudged, replace(unjudged, id=2)], kind=kind, calibration=CALIBRATION).reason
        assert reason.startswith("2 people were found, but none")
        assert reason.endswith(Words()("after_cuts")) is (kind == "video")
    assert interval(unjudged, BANDS) is None
    assert decide([unjudged], kind="image", calibration=CALIBRATION).interval is None
    judged = track(1, 1.0)
    assert decide([judged], kind="video", calibration=CALIBRATION).interval == judged.interval
