"""Numbers of records, and their averages over sets and seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from benchmark.report.groups import Group
from benchmark.report.intervals import Estimate, estimate
from benchmark.store.records import Record

if TYPE_CHECKING:
    pass


def auroc(record: Record, ood: str, score: str | None = None) -> float | None:
    """AUROC in %, None where this set has not been scored. score: one of `eval.scores`, by default the method's own."""
    if score is not None and score not in record.scores:
        return None
    measured = record.ood if score is None else record.scores[score].ood
    return measured[ood].auroc if ood in measured else None


def occupied(record: Record, reading: str) -> float | None:
    """Occupied soft classes in this reading, None for a run without a head."""
    return (record.occupancy or {}).get(reading)


def knn_accuracy(record: Record, k: int) -> float | None:
    return record.knn_accuracy.get(str(k))


def average_over(sets: Iterable[str], records: dict[int, Record] | None) -> tuple[Estimate | None, list[str]]:
    """The average AUROC over `sets`, taken seed by seed, and the sets it is over: those that every seed has."""
    done = list((records or {}).values())
    shared = [ood for ood in sets if done and all(ood in record.ood for record in done)]
    if not shared:
        return None, []
    return estimate([mean_auroc(record, shared) for record in done]), shared


def mean_auroc(record: Record, oods: Sequence[str]) -> float:
    return math.fsum(record.ood[ood].auroc for ood in oods) / len(oods)


def occupancy_reading(group: Group) -> str:
    """Which reading of occupancy the group's protocol uses: "paper" or "authors"."""
    return group.trained[0].protocol if group.trained else "paper"


def classes(group: Group, in_dist: str) -> int | None:
    """K, where all records with a head agree on it."""
    found = {
        int(record.occupancy["classes"])
        for label in group.labels(in_dist)
        for record in group.records(in_dist, label).values()
        if record.occupancy and "classes" in record.occupancy
    }
    return found.pop() if len(found) == 1 else None


def knn_ks(group: Group, in_dist: str) -> list[int]:
    return list(dict.fromkeys(k for run in group.runs if run.config.in_dist == in_dist for k in run.config.eval.knn))
