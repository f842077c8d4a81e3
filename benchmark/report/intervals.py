"""Means over seeds, correlations over variants, and the sampling error of one AUROC, each with its n."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds. half: half the width of the 95% Student-t interval, None for n = 1."""

    mean: float
    half: float | None
    n: int


def estimate(values: Sequence[float], level: float = 0.05) -> Estimate:
    """Mean of at least one value, with mean +- t(1 - level / 2, n - 1) s / sqrt(n), s with n - 1 in its denominator."""
    n = len(values)
    mean = fmean(values)
    if n == 1:
        return Estimate(mean, None, 1)
    return Estimate(mean, float(stats.t.ppf(1 - level / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n)), n)


@dataclass(frozen=True)
class Correlation:
    """Pearson's r with its 95% interval from Fisher's z (n >= 4), and Spearman's rho. None: undefined."""

    n: int
    r: float | None = None
    low: float | None = None
    high: float | None = None
    rho: float | None = None

    def __str__(self) -> str:
        if self.r is None:
            return f"correlation undefined, n = {self.n}"
        interval = f" [{self.low:.2f}, {self.high:.2f}]" if self.low is not None else ""
        return f"r = {self.r:.2f}{interval}, ρ = {self.rho:.2f}, n = {self.n}"


def correlate(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Correlation of n pairs; undefined for n < 3 or where one side is constant."""
    n = len(x)
    if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(n)
    found, rho = stats.pearsonr(x, y), float(stats.spearmanr(x, y).statistic)
    r = float(found.statistic)
    if n < 4 or abs(r) > 1 - 1e-12:
        return Correlation(n, r, r if n >= 4 else None, r if n >= 4 else None, rho)
    interval = found.confidence_interval(0.95)
    return Correlation(n, r, float(interval.low), float(interval.high), rho)


def kendall(x: Sequence[float], y: Sequence[float]) -> tuple[float, float] | None:
    """Kendall's tau-b of two orders and its two-sided p; None where all of one are equal."""
    if len(set(x)) == 1 or len(set(y)) == 1:
        return None
    tau, p = stats.kendalltau(x, y)
    return float(tau), float(p)


# --- two columns held against each other --------------------------------------------------------------------------


def student(difference: float, error: float, freedom: float) -> tuple[float, float]:
    """Half the 95% interval of a difference with this standard error, and its two-sided p."""
    half = float(stats.t.ppf(0.975, freedom) * error)
    if error == 0:
        return half, 1.0 if difference == 0 else 0.0
    return half, float(2 * stats.t.sf(abs(difference) / error, freedom))


def by_seeds(one: Mapping[int, float], other: Mapping[int, float]) -> tuple[float, float, str] | None:
    """Half the 95% interval of the difference of two means over seeds, its two-sided p, and by what: paired by seed
    where both have the same two or more ("seeds"), else Welch's t ("Welch"). None where one side has a single seed."""
    if min(len(one), len(other)) < 2:
        return None
    if one.keys() == other.keys():
        steps = [other[seed] - one[seed] for seed in one]
        error = float(np.std(steps, ddof=1)) / math.sqrt(len(steps))
        return *student(float(np.mean(steps)), error, len(steps) - 1), "seeds"
    sides = [list(side.values()) for side in (one, other)]
    parts = [float(np.var(side, ddof=1)) / len(side) for side in sides]
    below = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    freedom = sum(parts) ** 2 / below if below else math.inf
    difference = estimate(sides[1]).mean - estimate(sides[0]).mean
    return *student(difference, math.sqrt(sum(parts)), freedom), "Welch"


# --- what the number of images leaves open in one AUROC -----------------------------------------------------------


def placements(negatives: NDArray[np.floating], positives: NDArray[np.floating]) -> tuple[Values, Values]:
    """For each positive the share of negatives below it, for each negative the share of positives above it; a tie is
    half. The mean of either is the AUROC (0 to 1). DeLong et al. 1988, V10 and V01 of their eq. 5."""
    above = 1 - _shares_below(positives, negatives)
    return _shares_below(negatives, positives), above


def _shares_below(of: NDArray[np.floating], each: NDArray[np.floating]) -> Values:
    """For each of `each` the share of `of` below it, a tie being half."""
    ordered = np.sort(of)
    return (np.searchsorted(ordered, each, "left") + np.searchsorted(ordered, each, "right")) / (2 * len(of))


def delong(
    first: tuple[NDArray[np.floating], NDArray[np.floating]],
    second: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
) -> float:
    """Standard error, in points, of the AUROC of (negatives, positives); with `second`, two scores of the same images
    in the same order, of the difference of the two AUROCs (DeLong et al. 1988). NaN where a side is one image alone."""
    if second is not None:
        return delong_of_means([first], [second])
    return 100 * math.sqrt(sum(map(_variance, placements(*first))))


def delong_of_means(
    first: Sequence[tuple[NDArray[np.floating], NDArray[np.floating]]],
    second: Sequence[tuple[NDArray[np.floating], NDArray[np.floating]]],
) -> float:
    """The same of the difference of two means of AUROCs, of several positives against the same negatives each."""
    pairs = [(placements(*one), placements(*other)) for one, other in zip(first, second, strict=True)]
    below = [one[0] - other[0] for one, other in pairs]
    above = np.mean([one[1] - other[1] for one, other in pairs], axis=0)
    of_positives = sum(map(_variance, below)) / len(pairs) ** 2
    return 100 * math.sqrt(_variance(above) + of_positives)


def _variance(shares: Values) -> float:
    """Of their mean; NaN of one alone, which says nothing of the others that might have been drawn."""
    return float(np.var(shares, ddof=1)) / len(shares) if len(shares) > 1 else math.nan


def hanley_mcneil(auroc: float, n_negative: int, n_positive: int) -> float:
    """Standard error, in points, of an AUROC (in %) from the numbers of images alone (Hanley and McNeil 1982)."""
    a = auroc / 100
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    spread = a * (1 - a) + (n_positive - 1) * (q1 - a * a) + (n_negative - 1) * (q2 - a * a)
    return 100 * math.sqrt(spread / (n_negative * n_positive))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's p-values: adjusted so that any one false alarm among them has the stated probability.

    Raises ValueError for NaN, which has no place among them."""
    if any(map(math.isnan, p_values)):
        raise ValueError("a p-value is not a number")
    adjusted, running = [1.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, (len(p_values) - place) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted
