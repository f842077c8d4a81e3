"""Numbers of records, and their averages over sets and seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmark.report.groups import Group
from benchmark.report.intervals import Estimate, estimate
from benchmark.store.records import OODMetrics, Record


def measured(record: Record, score: str | None = None) -> dict[str, OODMetrics]:
    """OOD set -> what `score`, one of `eval.scores` or by default the method's own, detects; {} where it is lacking."""
    if score is None:
        return record.own_score.ood
    return record.scores[score].ood if score in record.scores else {}


def auroc(record: Record, ood: str, score: str | None = None) -> float | None:
    """AUROC in %, None where this set has not been scored. score: see `measured`."""
    found = measured(record, score)
    return found[ood].auroc if ood in found else None


def sensitivity(record: Record, score: str | None = None) -> float | None:
    """In %, of the score; None where it is lacking."""
    if score is None:
        return None if math.isnan(record.own_score.sensitivity) else record.own_score.sensitivity
    return record.scores[score].sensitivity if score in record.scores else None


def occupied(record: Record, reading: str) -> float | None:
    """Occupied soft classes in this reading, None for a run without a head."""
    return (record.occupancy or {}).get(reading)


def knn_accuracy(record: Record, k: int) -> float | None:
    return record.knn_accuracy.get(str(k))


def accuracy(record: Record) -> float | None:
    """Of a classifier, in % of the ID test images; None for other methods."""
    value: float | None = record.extra.get("accuracy")
    return value


def average_over(
    sets: Iterable[str], records: dict[int, Record] | None, score: str | None = None
) -> tuple[Estimate | None, list[str]]:
    """The average AUROC over `sets`, taken seed by seed, and the sets it is over: those that every seed has."""
    seeds, shared = averages_over(sets, records, score)
    return (estimate(list(seeds.values())) if seeds else None), shared


def averages_over(
    sets: Iterable[str], records: dict[int, Record] | None, score: str | None = None
) -> tuple[dict[int, float], list[str]]:
    """Each seed's average AUROC over those of `sets` that every seed has, and these; ({}, []) where there are none."""
    done = records or {}
    shared = [ood for ood in sets if done and all(ood in measured(record, score) for record in done.values())]
    return {seed: mean_auroc(record, shared, score) for seed, record in done.items() if shared}, shared


def mean_auroc(record: Record, oods: Sequence[str], score: str | None = None) -> float:
    found = measured(record, score)
    return math.fsum(found[ood].auroc for ood in oods) / len(oods)


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
