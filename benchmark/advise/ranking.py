"""Variants ranked by sensitivity, and which differences are noise. No OOD image is looked at here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmark.plan.scores import OWN
from benchmark.report.groups import Column, Group, seeds_of
from benchmark.report.intervals import by_seeds, delong, estimate, hanley_mcneil, holm, student
from benchmark.store.folders import RunFolder, score_key
from benchmark.store.records import Record

Scores = tuple[NDArray[np.floating], NDArray[np.floating]]  # of ID train (leave-one-out) and of ID test

LEVEL = 0.05


@dataclass(frozen=True)
class Candidate:
    """All that the ranking may read of a variant. sensitivity: seed -> AUROC in %. scores: seed -> scores of the ID
    images, where they are kept. counts: ID images (train, test)."""

    label: str
    sensitivity: dict[int, float]
    scores: dict[int, Scores]
    counts: tuple[int, int]

    @property
    def mean(self) -> float:
        return fmean(self.sensitivity.values())


@dataclass(frozen=True)
class Place:
    """A variant's place. half: half the 95% interval of the sensitivity, of the kind `interval`.

    difference, difference_half: this less the best, in points. p: of the difference, after Holm over all comparisons.
    how: what the difference was judged by. Of the best: None, None, None and "".
    """

    rank: int
    label: str
    sensitivity: float
    half: float
    interval: str
    n: int
    difference: float | None = None
    difference_half: float | None = None
    p: float | None = None
    how: str = ""

    @property
    def within_noise(self) -> bool:
        return self.p is None or self.p >= LEVEL


# --- the ranking: no OOD image is looked at here ------------------------------------------------------------------


def rank(candidates: Sequence[Candidate]) -> list[Place]:
    """The variants by mean sensitivity, the largest first, each held against the first.

    The same two or more seeds: paired by seed, Student's t. Two or more each, but other seeds: Welch's t. All seeds
    share the images, whose sampling error they do not show: DeLong's on the same images, in the mean over the seeds
    that both have. Of the two the wider decides. Without either, Hanley and McNeil's.
    """
    ordered = sorted(candidates, key=lambda candidate: -candidate.mean)
    best = ordered[0]
    judged = [_against(best, other) for other in ordered[1:]]
    adjusted = holm([p for _, p, _ in judged])
    places = [Place(1, best.label, best.mean, *_interval(best), len(best.sensitivity))]
    for number, (other, (half, _, how), p) in enumerate(zip(ordered[1:], judged, adjusted, strict=True), 2):
        n = len(other.sensitivity)
        difference = other.mean - best.mean
        places.append(Place(number, other.label, other.mean, *_interval(other), n, difference, half, p, how))
    return places


def _interval(one: Candidate) -> tuple[float, str]:
    found = []
    made = estimate(list(one.sensitivity.values()))
    if made.half is not None:
        found.append((made.half, "seeds"))
    error = mean_error(delong(one.scores[seed]) for seed in one.sensitivity if seed in one.scores)
    if error is not None:
        found.append((1.96 * error, "images (DeLong)"))
    if found:
        return max(found)
    return 1.96 * hanley_mcneil(one.mean, *one.counts), "images (Hanley-McNeil)"


def _against(best: Candidate, other: Candidate) -> tuple[float, float, str]:
    """Half the 95% interval of the difference of the means, its two-sided p, and the way they were found."""
    difference = other.mean - best.mean
    shared = sorted(best.sensitivity.keys() & other.sensitivity.keys())
    ways = by_seeds(best.sensitivity, other.sensitivity), _by_images(best, other, shared)
    found = [one for one in ways if one is not None]
    if found:
        return max(found, key=lambda one: one[1])
    error = math.hypot(*(hanley_mcneil(one.mean, *one.counts) for one in (best, other)))
    return *student(difference, error, math.inf), "Hanley-McNeil"


def _by_images(best: Candidate, other: Candidate, shared: list[int]) -> tuple[float, float, str] | None:
    """What the choice of the ID images leaves of it; None where no seed has both sides' scores of the same images."""
    pairs = [(best.scores[s], other.scores[s]) for s in shared if s in best.scores and s in other.scores]
    error = mean_error(delong(one, another) for one, another in pairs if same_images(one, another))
    return None if error is None else (*student(other.mean - best.mean, error, math.inf), "DeLong")


def mean_error(errors: Iterable[float]) -> float | None:
    """Of DeLong's standard errors of several seeds; None without any, and of one image, which has none."""
    found = list(errors)
    return None if not found or math.isnan(mean := fmean(found)) else mean


def same_images(one: Scores, other: Scores) -> bool:
    return [len(side) for side in one] == [len(side) for side in other]


def is_ranked(column: Column) -> bool:
    """Whether a column was trained on the in-distribution images, so that its sensitivity says something of it."""
    return not column.is_reference and column.config.method.trains


def candidates(group: Group, in_dist: str) -> list[Candidate]:
    """The variants of a group that have a record, with what the ranking may read of them."""
    found = []
    sensitivity = group.values("sensitivity", in_dist)
    for column in group.columns(in_dist):
        records = group.records(in_dist, column.key)
        if not is_ranked(column) or not column.config.method.negatives or not records:
            continue
        keys = [f"{in_dist}/{split}" for split in ("train", "test")]
        kept = {seed: scores_of(record, keys, group.score) for seed, record in records.items()}
        first = next(iter(records.values()))
        counts = (first.data[keys[0]].count, first.data[keys[1]].count)
        scores = {seed: (both[0], both[1]) for seed, both in kept.items() if both}
        found.append(Candidate(column.label, seeds_of(sensitivity, column.key), scores, counts))
    return found


def scores_of(record: Record, keys: list[str], score: str) -> list[NDArray[np.floating]] | None:
    """The scores of these sets and of no other, by `score`; None where one is not kept."""
    if record.folder is None or not (folder := RunFolder(record.folder)).scores.is_file():
        return None
    keys = [score_key(key, record.own if score == OWN else score) for key in keys]
    kept = folder.read_scores(record.run_config, keys)
    return [kept[key] for key in keys] if all(key in kept for key in keys) else None
