"""What the choice of test images leaves open in an AUROC: what each image adds to it, and a paired bootstrap over them.

The AUROC is the mean placement of its images (`intervals.placements`). Resampled images, a bootstrap draw, have the
mean of their placements among them all: the bootstrap of the AUROC itself but for a term that falls with the product
of the two numbers of images. So differences and means of AUROCs are resampled as cheaply as a mean is.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.plan.scores import OWN
from benchmark.report.groups import Case, Group
from benchmark.report.intervals import placements
from benchmark.store.folders import RunFolder, score_key
from benchmark.store.records import Record

Values = NDArray[np.float64]
REPLICATES = 1000
_AT_ONCE = 64  # replicates that are floats at a time: they stay in the processor's cache


@dataclass(frozen=True)
class OfImages:
    """An AUROC in %, or a mean or difference of several, by the images that it is measured on.

    added: a set of images -> (N,) what each adds to the value, in points, less their mean. Two numbers of one set are
    of the same images in the same order, and so are paired.
    """

    value: float
    added: Mapping[str, NDArray[np.float32]]

    def __sub__(self, other: OfImages | float) -> OfImages:
        if isinstance(other, OfImages):
            return _sum([(self, 1.0), (other, -1.0)])
        return OfImages(self.value - other, self.added)


def mean_of(several: Sequence[OfImages]) -> OfImages:
    """The mean of at least one."""
    return _sum([(one, 1 / len(several)) for one in several])


def _sum(weighted: Sequence[tuple[OfImages, float]]) -> OfImages:
    added: dict[str, NDArray[np.float32]] = {}
    for one, weight in weighted:
        for key, values in one.added.items():
            part = np.float32(weight) * values
            added[key] = added[key] + part if key in added else part
    return OfImages(math.fsum(weight * one.value for one, weight in weighted), added)


def of_column(
    group: Group, key: str, cases: Iterable[Case], score: str = OWN, seeds: Sequence[int] | None = None
) -> OfImages | None:
    """A column's mean AUROC over these cases and seeds (None: all that it has). None where there is nothing, or a run
    has not kept the scores of these images. Raises BenchError for a broken scores.npz."""
    found = []
    for case in cases:
        records = group.records(case.in_dist, key)
        some = [record for seed, record in records.items() if seeds is None or seed in seeds]
        of_case = [_detected(record, group.score_of(record, score)).get(case.ood) for record in some]
        if not of_case or None in of_case:
            return None
        found.append(mean_of([one for one in of_case if one]))
    return mean_of(found) if found else None


def _detected(record: Record, score: str) -> Mapping[str, OfImages]:
    if record.folder is None:
        return {}
    try:
        changed = (record.folder / "scores.npz").stat().st_mtime_ns
    except FileNotFoundError:
        return {}
    return _by_score(record.folder, score, changed)


@functools.lru_cache(maxsize=256)
def _by_score(path: Path, score: str, changed: int) -> Mapping[str, OfImages]:
    """OOD set -> its AUROC by `score`. changed: when scores.npz was, so that another file is another call."""
    record, kept = _read(path, changed)
    config = record.run_config
    found = {}
    for ood in record.scores[score].ood if score in record.scores else ():
        keys = (config.test_key, config.ood_key(ood))
        sides = [kept[name] for key in keys if (name := score_key(key, score)) in kept]
        if len(sides) == 2 and all(np.isfinite(side).all() for side in sides):
            names = [_images(record, key, len(side)) for key, side in zip(keys, sides, strict=True)]
            found[ood] = of_scores(sides[0], sides[1], *names)
    return found


@functools.lru_cache(maxsize=24)
def _read(path: Path, changed: int) -> tuple[Record, dict[str, NDArray[np.floating]]]:
    """The record, and what is kept of all its scores of test images."""
    folder = RunFolder(path)
    record = folder.read_record()
    assert record is not None
    config = record.run_config
    oods = {ood for one in record.scores.values() for ood in one.ood}
    keys = [config.test_key, *map(config.ood_key, oods)]
    return record, folder.read_scores(config, [score_key(key, name) for key in keys for name in record.scores])


def _images(record: Record, key: str, count: int) -> str:
    """What images these are: the same in every run that read the same."""
    seen = record.data.get(key)
    return f"{key} {seen.fingerprint if seen else ''} {count}"


def of_scores(
    negatives: NDArray[np.floating], positives: NDArray[np.floating], negatives_are: str, positives_are: str
) -> OfImages:
    """The AUROC of these scores; `*_are`: of which images they are."""
    below, above = placements(negatives, positives)
    auroc = float(below.mean())
    added = {negatives_are: above - auroc, positives_are: below - auroc}
    return OfImages(100 * auroc, {key: (100 * part).astype(np.float32) for key, part in added.items()})


def bootstrap(several: Sequence[OfImages]) -> Values:
    """(REPLICATES, len(several)) values of resampled images, drawn with replacement set by set. All of `several` see
    the same draws, every time, so that their differences are paired."""
    made = np.tile([one.value for one in several], (REPLICATES, 1))
    for key in dict.fromkeys(key for one in several for key in one.added):
        count = next(len(one.added[key]) for one in several if key in one.added)
        nothing = np.zeros(count, np.float32)
        columns = np.stack([one.added.get(key, nothing) for one in several], axis=1)
        drawn = _draws(key, count)
        for start in range(0, REPLICATES, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            made[part] += drawn[part].astype(np.float32) @ columns / count
    return made


@functools.lru_cache(maxsize=48)
def _draws(key: str, count: int) -> NDArray[np.uint8]:
    """(REPLICATES, count): how often each image of a set is drawn."""
    random = np.random.default_rng(zlib.crc32(key.encode()))
    drawn = np.empty((REPLICATES, count), np.uint8)
    for row in drawn:
        row[:] = np.bincount(random.integers(0, count, count), minlength=count)
    return drawn
