"""Thresholds and p-values against simulation, plain counting and the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.detection.threshold import choose_threshold, p_values
from benchmark.errors import BenchError


def test_the_threshold_is_an_order_statistic_that_keeps_the_promise() -> None:
    """5% of 99 images: the fifth from the top is the first that may stand; 1 in 20 new images is above it."""
    scores = np.random.default_rng(0).permutation(99).astype(float)
    chosen = choose_threshold(scores, 0.05)
    assert chosen.value == 94.0 and chosen.rate == pytest.approx(0.05)  # 95, 96, 97, 98 and a newcomer: 5 of 100
    assert (scores > chosen.value).sum() == 4
    assert choose_threshold(scores, 0.29).rate == pytest.approx(0.29)  # 0.29 x 100 is 28.999999999999996


def test_false_alarms_of_many_draws_are_as_often_as_said_and_inside_the_interval() -> None:
    """Exponential scores, whose true rate above t is exp(-t): the mean, both intervals' coverage, over 1,500 draws."""
    random = np.random.default_rng(1)
    drawn = [choose_threshold(random.exponential(size=60), 0.1) for _ in range(1500)]
    true_rate = np.exp([-one.value for one in drawn])
    assert true_rate.mean() == pytest.approx(drawn[0].rate, abs=0.003)  # 6 of 61
    inside = [one.rate_low <= rate <= one.rate_high for one, rate in zip(drawn, true_rate, strict=True)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
    quantile = np.log(10)
    covered = [(one.value_low or -1) <= quantile <= (one.value_high or np.inf) for one in drawn]
    assert 0.945 <= np.mean(covered) <= 0.985  # conservative: the binomial has steps
    assert any(one.value_high is not None for one in drawn)


def test_an_interval_that_needs_more_images_says_so() -> None:
    chosen = choose_threshold(np.arange(30.0), 0.05)
    assert chosen.value_high is None and chosen.value_low is not None


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_rates_that_are_none(rate: float) -> None:
    with pytest.raises(BenchError, match=r"^false-alarm rate .*: must be above 0% and below 100%$"):
        choose_threshold(np.arange(100.0), rate)


def test_too_few_images_for_the_rate() -> None:
    with pytest.raises(BenchError, match=r"^false-alarm rate 1%: 50 held-out ID images allow no less than 2%$"):
        choose_threshold(np.arange(50.0), 0.01)
    assert choose_threshold(np.arange(99.0), 0.01).value == 98.0


def test_p_values_by_counting_with_ties() -> None:
    held_out = np.array([3.0, 1.0, 2.0, 2.0])
    asked = np.array([0.0, 1.0, 2.0, 2.5, 3.0, 9.0])
    by_hand = [(1 + sum(one >= score for one in held_out)) / 5 for score in asked]
    assert p_values(held_out, asked).tolist() == by_hand == [1.0, 1.0, 0.8, 0.4, 0.4, 0.2]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.29, 0.5])
def test_above_the_threshold_exactly_where_the_p_value_is_at_most_the_rate(rate: float, ties: bool) -> None:
    random = np.random.default_rng(2)
    held_out = random.integers(0, 20, 199).astype(float) if ties else random.normal(size=199)
    asked = np.concatenate([held_out, np.linspace(held_out.min() - 1, held_out.max() + 1, 500)])
    above = asked > choose_threshold(held_out, rate).value
    assert np.array_equal(above, p_values(held_out, asked) <= rate + 1e-12)
    assert above.any() and not above.all()


def _fewer(k: int, n: int, p: float) -> float:
    """How likely fewer than k of n draws are hits of probability p: a plain sum."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k))


@pytest.mark.parametrize("n", [60, 199])
@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_both_intervals_have_half_of_the_rest_on_either_side(n: int, rate: float) -> None:
    """The scores are their own ranks, so that an end of an interval tells which of them it is."""
    chosen = choose_threshold(np.arange(1.0, n + 1), rate)
    assert chosen.value_low is not None and chosen.value_high is not None
    low, high, k = int(chosen.value_low), int(chosen.value_high), int(chosen.value)
    # Below the true quantile lie `low` scores or more, and fewer than `high`; one rank further in, either is too rare.
    assert _fewer(low, n, 1 - rate) <= 0.025 < _fewer(low + 1, n, 1 - rate)
    assert 1 - _fewer(high, n, 1 - rate) <= 0.025 < 1 - _fewer(high - 1, n, 1 - rate)
    # The share above the k-th score is at most r where fewer than k scores lie below the 1 - r quantile.
    assert _fewer(k, n, 1 - chosen.rate_low) == pytest.approx(0.025)
    assert _fewer(k, n, 1 - chosen.rate_high) == pytest.approx(0.975)
