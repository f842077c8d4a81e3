"""Means over seeds and correlations over variants, each with its 95% interval and its n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds. half: half the width of the 95% Student-t interval, None for n = 1."""

    mean: float
    half: float | None
    n: int


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of at least one value, with mean +- t(0.975, n - 1) s / sqrt(n), s with n - 1 in its denominator."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, 1)
    return Estimate(mean, float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)), n)


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
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    rho = float(np.clip(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1], -1, 1))
    if n < 4 or abs(r) > 1 - 1e-12:
        return Correlation(n, r, r if n >= 4 else None, r if n >= 4 else None, rho)
    reach = stats.norm.ppf(0.975) / math.sqrt(n - 3)
    return Correlation(n, r, math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach), rho)
