"""A claim holds, is unclear, or fails: its 95% interval decides, and without one it cannot be judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from benchmark.report.images import REPLICATES, OfImages, bootstrap
from benchmark.report.intervals import estimate

Verdict = Literal["holds", "unclear", "fails", "not judged"]
VERDICTS: tuple[Verdict, ...] = ("holds", "unclear", "fails", "not judged")
LEVEL = 0.05

Interval = tuple[float, float]
ABOVE: Interval = (0.0, math.inf)  # where a value must lie for the claim to be true
BELOW: Interval = (-math.inf, 0.0)
HOW = (
    "Holds: the whole 95% interval is where the claim has it. Fails: all of it is outside, on one side. Unclear: "
    "neither. Could not be judged: nothing is measured, or there is one run and no interval.",
    "The interval of n > 1 seeds is Student's t of the mean, seed by seed. Of one run it is over its test images alone "
    f"({REPLICATES:,} paired bootstrap resamples): what another seed would give is not in it.",
)


def within(points: float) -> Interval:
    """At most so many points to either side."""
    return -points, points


@dataclass(frozen=True)
class Measured:
    """A value that a claim is about, seed by seed. images: the same of the one run's test images, None where that is
    not known; asked where there is one seed."""

    by_seed: Sequence[float]
    images: Callable[[], OfImages | None] = lambda: None

    @property
    def mean(self) -> float:
        return fmean(self.by_seed)

    def interval(self, level: float = LEVEL) -> Interval | None:
        """That of 1 - level, two-sided."""
        found = estimate(self.by_seed, level)
        if found.half is not None:
            return found.mean - found.half, found.mean + found.half
        if (one := self.images()) is None:
            return None
        low, high = np.quantile(bootstrap([one])[:, 0], [level / 2, 1 - level / 2])
        return float(low), float(high)


def verdict(interval: Interval | None, region: Interval) -> Verdict:
    """Of the claim that the value lies in `region`."""
    if interval is None:
        return "not judged"
    if region[0] < interval[0] and interval[1] < region[1]:
        return "holds"
    return "fails" if interval[1] < region[0] or region[1] < interval[0] else "unclear"


def verdict_of_all(several: Sequence[Measured]) -> Verdict:
    """Of the claim that every one of these is above 0, the least first. It holds where each of them is at the level,
    and fails where the least is below, at the level that its choice among so many leaves (Bonferroni)."""
    found = [verdict(one.interval(), ABOVE) for one in several]
    if "not judged" in found:
        return "not judged"
    if set(found) == {"holds"}:
        return "holds"
    return "fails" if verdict(several[0].interval(LEVEL / len(several)), ABOVE) == "fails" else "unclear"


def tally(verdicts: Sequence[Verdict]) -> list[str]:
    """ "3 hold", "2 unclear", "1 fails", "0 could not be judged"."""
    counts = [verdicts.count(one) for one in VERDICTS]
    said = ("hold" + "s" * (counts[0] == 1), "unclear", "fail" + "s" * (counts[2] == 1), "could not be judged")
    return [f"{count} {text}" for count, text in zip(counts, said, strict=True)]
