"""From scores to decisions: a threshold with a known false-alarm rate, and p-values, from held-out ID scores.

n ID images that neither the training nor the bank has seen; larger score = more OOD. All statements hold where new
ID images are drawn as these n were (exchangeable); none needs an OOD image, or assumes how scores are distributed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.errors import BenchError

CONFIDENCE = 0.95


class Threshold(NamedTuple):
    """An image is called OOD where its score is above `value`."""

    value: float
    rate: float  # expected share of false alarms among new ID images: (n + 1 - k) / (n + 1), at most what was asked
    rate_low: float  # 95% interval of the true share at this very threshold
    rate_high: float
    value_low: float | None  # 95% interval of the score that exactly the asked share of ID images exceeds;
    value_high: float | None  # None: beyond the n scores


def choose_threshold(id_scores: ArrayLike, false_alarms: float) -> Threshold:
    """The k-th smallest of n held-out ID scores, k = ceil((n + 1)(1 - false_alarms)).

    This is split conformal prediction's choice (Vovk et al. 2005): among new ID images the expected share above it is
    at most `false_alarms`, and an image is above it exactly where its `p_values` is at most `false_alarms`.
    The share above this one threshold follows Beta(n + 1 - k, k), whose quantiles are the exact interval `rate_low` to
    `rate_high`. `value_low` to `value_high` are the order statistics that hold the true quantile between them with at
    least 95% (binomial, distribution-free).

    Raises BenchError when the rate is not inside 0..1 or n is too small for it: below 1 / false_alarms - 1.
    """
    from scipy.stats import beta, binom

    scores = np.sort(np.asarray(id_scores, dtype=np.float64).ravel())
    n = len(scores)
    if not 0 < false_alarms < 1:
        raise BenchError(f"false-alarm rate {false_alarms}: must be above 0% and below 100%")
    alarms = min(n, math.floor((n + 1) * false_alarms + 1e-9))  # n + 1 - k; 1e-9: 0.29 x 100 is 28.999999999999996
    if alarms < 1:
        raise BenchError(
            f"false-alarm rate {100 * false_alarms:g}%: {n} held-out ID images allow no less than {100 / (n + 1):.2g}%"
        )
    k = n + 1 - alarms
    tail = (1 - CONFIDENCE) / 2
    low = int(binom.ppf(tail, n, 1 - false_alarms))  # P(fewer than `low` scores lie below the quantile) < tail
    high = int(binom.ppf(1 - tail, n, 1 - false_alarms)) + 1
    return Threshold(
        value=float(scores[k - 1]),
        rate=alarms / (n + 1),
        rate_low=float(beta.ppf(tail, alarms, k)),
        rate_high=float(beta.ppf(1 - tail, alarms, k)),
        value_low=float(scores[low - 1]) if low >= 1 else None,
        value_high=float(scores[high - 1]) if high <= n else None,
    )


def p_values(id_scores: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """(1 + number of the n ID scores that are at least as large) / (n + 1), for each score: shape as `scores`.

    For a new ID image P(p <= a) is at most a, for every a; never 0, and 1 / (n + 1) at the least.
    """
    held_out = np.sort(np.asarray(id_scores).ravel())
    at_least = len(held_out) - np.searchsorted(held_out, np.asarray(scores), side="left")
    return (1 + at_least) / (len(held_out) + 1)


def exact_interval(count: int, n: int) -> tuple[float, float]:
    """The exact 95% interval of a probability of which `count` of n were seen (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    found = binomtest(count, n).proportion_ci(CONFIDENCE, method="exact")
    return float(found.low), float(found.high)
