"""Rules for choosing negatives without labels of OOD images, tried on records: how much each loses, score by score.

What a user has is the ID images: the sensitivity by a score, k-NN accuracy where there are classes, occupied soft
classes; and these records, which are of other OOD sets than the one that will come. So the records' own favourite is
tried by leaving one out: what was best on all other sets (or, in the one-class protocol, for all other classes).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from benchmark.data.catalog import split_class
from benchmark.report.groups import Group
from benchmark.report.numbers import auroc, knn_accuracy, knn_ks, occupancy_reading, occupied, sensitivity
from benchmark.report.scores_table import OWN, scores_of
from benchmark.store.records import Record

RULES = ("sensitivity", "k-NN", "occupied", "others", "blind")
FEWEST = 3  # variants to choose from
ANY = "any score"  # the row in which the score is chosen too


@dataclass(frozen=True)
class RulesTried:
    """How much each rule loses.

    lost: score -> rule -> points of AUROC lost against the best variant (in `ANY`: best variant and score), mean over
    the tasks. Rules: sensitivity by the score, k-NN accuracy, occupied soft classes (each the largest); others, the
    best on the other tasks; blind, the mean variant. best: score -> mean AUROC of the best variant of each task.
    kind: of the tasks, "OOD sets" or "classes". tasks, n: how many tasks and variants.
    """

    name: str
    kind: str
    tasks: int
    n: int
    lost: dict[str, dict[str, float]]
    best: dict[str, float]

    @property
    def least(self) -> tuple[str, float]:
        """The rule that loses least in the mean over scores, of those known for every score, and what it loses."""
        rows = [row for score, row in self.lost.items() if score != ANY]
        means = {r: math.fsum(row[r] for row in rows) / len(rows) for r in RULES if all(r in row for row in rows)}
        rule = min(means, key=lambda rule: means[rule])
        return rule, means[rule]


def tried(name: str, group: Group, in_dists: Sequence[str]) -> RulesTried | None:
    """The rules on the runs of a group, of DINO alone.

    in_dists: one in-distribution set, whose OOD sets are the tasks, or several classes of a set, each a task. None for
    fewer than three variants or two tasks that all of them have.
    """
    tasks = [(in_dist, ood) for in_dist in in_dists for ood in group.ood_sets(in_dist)]
    dino = {run.config.label for run in group.runs if run.config.method.name == "dino"}
    labels = [label for label in group.labels(in_dists[0]) if label in dino]
    scores: list[str | None] = [None, *scores_of(run for i in in_dists for run in group.runs_of(i) if run.record)]

    def mean(label: str, in_dist: str, of: Callable[[Record], float | None]) -> float | None:
        found = [of(record) for record in group.records(in_dist, label).values()]
        known = [value for value in found if value is not None]
        return math.fsum(known) / len(known) if known and len(known) == len(found) else None

    def column(label: str, of: Callable[[Record, str], float | None]) -> list[float] | None:
        """A value a task, None where one is lacking."""
        values = [mean(label, in_dist, lambda record, ood=ood: of(record, ood)) for in_dist, ood in tasks]  # type: ignore[misc]
        known = [value for value in values if value is not None]
        return known if len(known) == len(tasks) else None

    def table(of: Callable[[Record, str], float | None]) -> dict[str, list[float]]:
        found = {label: values for label in labels if (values := column(label, of)) is not None}
        return found if len(found) >= FEWEST else {}

    labels = [label for label in labels if column(label, lambda record, ood: auroc(record, ood)) is not None]
    if len(labels) < FEWEST or len(tasks) < 2:
        return None
    k, reading = knn_ks(group, in_dists[0])[0], occupancy_reading(group)
    fixed = {
        "k-NN": table(lambda record, _: knn_accuracy(record, k)),
        "occupied": table(lambda record, _: occupied(record, reading)),
    }
    aurocs = {
        score or OWN: values
        for score in scores
        if (values := table(lambda r, o, s=score: auroc(r, o, s)))  # type: ignore[misc]
    }
    lost: dict[str, dict[str, float]] = {}
    for score, values in aurocs.items():
        own = None if score == OWN else score
        by = {"sensitivity": table(lambda record, _, s=own: sensitivity(record, s)), **fixed}  # type: ignore[misc]
        lost[score] = {rule: _lost(values, of) for rule, measure in by.items() if (of := _largest(measure, values))}
        lost[score] |= {"others": _lost(values, _best_elsewhere(values)), "blind": _blind(values)}
    if len(aurocs) > 1:
        pairs = {f"{score} {label}": row for score, values in aurocs.items() for label, row in values.items()}
        lost[ANY] = {"others": _lost(pairs, _best_elsewhere(pairs)), "blind": _blind(pairs)}
    kind = "classes" if split_class(in_dists[0])[1] is not None else "OOD sets"
    best = {score: _mean([max(column) for column in zip(*of.values(), strict=True)]) for score, of in aurocs.items()}
    return RulesTried(name, kind, len(tasks), len(labels), lost, best)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _largest(measure: dict[str, list[float]], labels: Collection[str]) -> list[str]:
    """Of these variants the one with the largest measure, task by task; [] where it is not known of all of them."""
    if not set(labels) <= set(measure):
        return []
    tasks = range(len(next(iter(measure.values()))))
    return [max(labels, key=lambda label: measure[label][task]) for task in tasks]


def _best_elsewhere(values: dict[str, list[float]]) -> list[str]:
    """For each task what has the largest mean over the other tasks."""
    tasks = range(len(next(iter(values.values()))))
    return [max(values, key=lambda one: math.fsum(values[one]) - values[one][task]) for task in tasks]


def _lost(values: dict[str, list[float]], chosen: list[str]) -> float:
    best = [max(column) for column in zip(*values.values(), strict=True)]
    return _mean([best[task] - values[one][task] for task, one in enumerate(chosen)])


def _blind(values: dict[str, list[float]]) -> float:
    columns = list(zip(*values.values(), strict=True))
    return _mean([max(column) - _mean(column) for column in columns])
