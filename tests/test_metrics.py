"""training.metrics: figures whose value is known, intervals that know what a group is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from deepfake_detect.training.metrics import (
    Scored,
    auc,
    bootstrap,
    calibration_error,
    calibration_error_by_chance,
    effective_groups,
    figures,
    perfect,
    reliability,
    with_intervals,
)
from deepfake_detect.verdict import wilson


def scored(real: list[float], fake: list[float], *, groups: list[str] | None = None) -> Scored:
    logit = np.array(real + fake, float)
    names = np.array(groups or [f"g{i}" for i in range(len(logit))])
    return Scored(np.repeat([False, True], [len(real), len(fake)]), logit, 1 / (1 + np.exp(-logit)), names)


def test_figures_of_a_perfect_order() -> None:
    found = figures(scored([-3, -2], [2, 3]))
    assert found["auc"] == found["ap"] == found["balanced_accuracy"] == found["recall_at_1"] == 1
    assert found["eer"] == 0
    assert found["brier"] < 0.02


def test_auc_counts_ordered_pairs() -> None:
    assert figures(scored([-1, 0.5], [1, 0]))["auc"] == pytest.approx(0.75)
    assert math.isnan(figures(scored([1.0], []))["auc"])


def test_rows_of_one_weight_among_them_count_as_one() -> None:
    once = scored([-1, 0.5, 0.2], [1, 0, 0.4])
    times = np.array([1, 4, 2, 1, 3, 5])
    often = replace(once.rows(np.repeat(np.arange(6), times)), weight=1 / np.repeat(times, times))
    for of in (figures, auc):
        for name in {"auc", "ap", "recall_at_1", "recall_at_5"} & of(once).keys():
            assert of(often)[name] == pytest.approx(of(once)[name])
        assert of(replace(often, weight=None))["auc"] != pytest.approx(of(once)["auc"])
    assert bootstrap(often, auc)["auc"] == pytest.approx(bootstrap(once, auc)["auc"])


def test_errors_are_equal_where_they_cross() -> None:
    """One of four genuine lies above one of four manipulated: at a bar between them each class has one error in four."""
    assert figures(scored([-3, -2, -1, 1], [-0.5, 2, 3, 4]))["eer"] == pytest.approx(0.25)


def test_recall_at_a_share_of_false_alarms() -> None:
    real = [float(i) for i in range(100)]
    assert figures(scored(real, [98.5, 97.5, 93.5, 50]))["recall_at_1"] == pytest.approx(0.25)
    assert figures(scored(real, [98.5, 97.5, 94.5, 50]))["recall_at_5"] == pytest.approx(0.75)


def test_the_calibration_error_is_that_of_balanced_classes() -> None:
    fake = np.array([True] + [False] * 9)
    assert calibration_error(np.full(10, 0.5), fake) == pytest.approx(0.0)
    assert calibration_error(np.full(10, 0.95), fake) == pytest.approx(0.45)
    assert reliability(np.full(10, 0.55), fake) == [pytest.approx((0.55, 0.5, 1.0))]


def test_few_files_show_an_error_though_every_probability_is_right() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(4000)
    fake = rng.random(4000) < chance
    few = np.arange(40)
    many, by_chance = (calibration_error(chance, fake), calibration_error_by_chance(chance, fake))
    assert many == pytest.approx(by_chance, abs=0.012)
    assert by_chance < 0.03
    assert 0.1 < calibration_error_by_chance(chance[few], fake[few]) < 0.2
    # What is certain and right errs by nothing.
    assert calibration_error_by_chance(np.array([0.0, 0.0, 1.0, 1.0]), np.array([False, False, True, True])) == 0


def test_the_calibration_error_has_no_interval() -> None:
    """A bootstrap adds to it what chance has added once: of exact probabilities no interval held the truth."""
    rng = np.random.default_rng(0)
    chance = rng.random(400)
    exact = Scored(rng.random(400) < chance, np.log(chance / (1 - chance)), chance, np.arange(400).astype(str))
    found, intervals = with_intervals(exact, resamples=20)
    assert 0.02 < found["ece"] < 0.06
    assert all(map(math.isnan, intervals["ece"]))
    assert not any(map(math.isnan, intervals["brier"]))
    assert "ece" not in with_intervals(exact, auc, resamples=20)[1]


def test_copies_of_one_file_do_not_narrow_an_interval() -> None:
    """Ten files of each class, ten times each: as groups they say no more than once, as strangers they seem to."""
    rng = np.random.default_rng(0)
    real, fake = list(rng.normal(0, 1, 10)), list(rng.normal(1, 1, 10))
    names = [f"g{i}" for i in range(20)]
    low, high = bootstrap(scored(real, fake), figures)["auc"]
    assert low < figures(scored(real, fake))["auc"] < high
    tenfold = [value for value in real for _ in range(10)], [value for value in fake for _ in range(10)]
    copies = scored(*tenfold, groups=[name for name in names for _ in range(10)])
    assert bootstrap(copies, figures)["auc"] == pytest.approx((low, high), abs=0.03)
    seeming_low, seeming_high = bootstrap(scored(*tenfold), figures)["auc"]
    assert high - low > 2 * (seeming_high - seeming_low)
    assert math.isnan(bootstrap(scored(real, fake, groups=["g"] * 20), figures)["auc"][0])


@pytest.mark.parametrize(("groups", "known"), [(1, False), (2, False), (3, True)])
def test_no_interval_is_given_where_a_class_is_of_few_groups(groups: int, known: bool) -> None:
    """Of one clip every sample holds the same forgeries, or none: what varies is the genuine files alone."""
    rng = np.random.default_rng(0)
    names = [f"g{i}" for i in range(12)] + [f"clip{i % groups}" for i in range(6)]
    rows = scored(list(rng.normal(0, 1, 12)), list(rng.normal(1, 1, 6)), groups=names)
    found, intervals = with_intervals(rows, resamples=200)
    assert found["auc"] < 1
    assert all(math.isnan(low) is not known for name, (low, _) in intervals.items() if name != "ece")
    turned = Scored(~rows.fake, -rows.evidence, 1 - rows.chance, rows.group)
    assert math.isnan(with_intervals(turned, resamples=200)[1]["auc"][0]) is not known


def test_the_bootstrap_does_not_claim_to_know_what_never_varied() -> None:
    assert math.isnan(bootstrap(scored([-2.0] * 5, [2.0] * 5), figures)["auc"][0])
    # A perfect order is 1 but for a last digit.
    assert math.isnan(bootstrap(scored([-2.0] * 12, [2.0] * 4), figures)["auc"][0])


@pytest.mark.parametrize(("real", "fake", "pairs"), [(12, 4, 4), (1, 1, 1), (59, 60, 59)])
def test_a_perfect_order_has_a_bound_of_as_many_pairs_as_are_independent(real: int, fake: int, pairs: int) -> None:
    low, high = with_intervals(scored([-2.0] * real, [2.0] * fake), resamples=20)[1]["auc"]
    assert (low, high) == (pytest.approx(0.05 ** (1 / pairs)), 1.0)
    # So seldom would a net whose AUC is the bound order all of them rightly.
    assert low**pairs == pytest.approx(0.05)
    low, high = with_intervals(scored([2.0] * real, [-2.0] * fake), auc, resamples=20)[1]["auc"]
    assert (low, high) == (0.0, pytest.approx(1 - 0.05 ** (1 / pairs)))


def test_a_group_of_both_classes_is_in_one_pair_only() -> None:
    both = scored([-2.0] * 4, [2.0] * 4, groups=["a", "b", "c", "d"] * 2)
    assert perfect(both, 1.0) == (pytest.approx(0.05**0.5), 1.0)
    assert math.isnan(perfect(scored([-2.0], [2.0], groups=["a", "a"]), 1.0)[0])
    assert math.isnan(perfect(both, 0.9)[0])


@pytest.mark.parametrize(
    ("sizes", "as_many"), [([1] * 7, 7), ([3] * 4, 4), ([5], 1), ([], 0), ([10, 10] + [1] * 8, 28**2 / 208)]
)
def test_groups_of_unequal_size_tell_as_much_as_fewer_of_equal_size(sizes: list[int], as_many: float) -> None:
    groups = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    assert effective_groups(groups) == pytest.approx(as_many)


@pytest.mark.parametrize("chance", [0.1, 0.2, 0.35, 0.5])
def test_an_interval_of_a_share_holds_where_files_of_a_group_are_judged_alike(chance: float) -> None:
    """Sizes as those of the forged validation videos."""
    sizes = np.array([10, 10] + [1] * 8)
    as_many = effective_groups(np.repeat([f"g{i}" for i in range(10)], sizes).tolist())
    rng, held = np.random.default_rng(0), 0
    for _ in range(2000):
        share = float(sizes[rng.random(10) < chance].sum() / sizes.sum())
        low, high = wilson(share * as_many, as_many)
        held += low <= chance <= high
    assert held >= 0.93 * 2000


def test_wilson() -> None:
    assert wilson(0, 7) == pytest.approx((0.0, 0.354), abs=1e-3)
    assert wilson(5, 10) == pytest.approx((0.237, 0.763), abs=1e-3)
