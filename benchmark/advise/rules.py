"""Rules for choosing negatives without labels of OOD images, tried on records: how much each loses, score by score.

What a user has is the ID images: the sensitivity by a score, k-NN accuracy where there are classes, occupied soft
classes; and these records, which are of other OOD sets than the one that will come. So the records' own favourite is
tried by leaving one out: what was best on all other sets (or, in the one-class protocol, for all other classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pandas as pd

from benchmark.data.catalog import split_class
from benchmark.plan.scores import OWN
from benchmark.report.groups import Case, Group

RULES = ("sensitivity", "k-NN", "occupied", "others", "random")
FEWEST = 3  # variants to choose from
ANY = "any score"  # the row in which the score is chosen too


@dataclass(frozen=True)
class RulesTried:
    """How much each rule loses.

    lost: score -> rule -> points of AUROC lost against the best variant (in `ANY`: best variant and score), mean over
    the tasks. Rules: sensitivity by the score, k-NN accuracy, occupied soft classes (each the largest); others, the
    best on the other tasks; random, the mean variant. best: score -> mean AUROC of the best variant of each task.
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
        means = {r: fmean(row[r] for row in rows) for r in RULES if all(r in row for row in rows)}
        rule = min(means, key=lambda rule: means[rule])
        return rule, means[rule]


def tried(name: str, group: Group, in_dists: Sequence[str]) -> RulesTried | None:
    """The rules on the runs of a group, of DINO alone.

    in_dists: one in-distribution set, whose OOD sets are the tasks, or several classes of a set, each a task. None for
    fewer than three variants or two tasks that all of them have.
    """
    cases = [case for in_dist in in_dists for case in group.cases(in_dist)]
    dino = [column.key for column in group.columns(in_dists[0]) if column.config.method.name == "dino"]
    own = by_case(group, cases)
    labels = [key for key in dino if key in own and own[key].notna().all()]
    if len(labels) < FEWEST or len(cases) < 2:
        return None

    def table(metric: str, score: str = OWN) -> pd.DataFrame:
        """One row per task, one column per variant that has the measure in all of them; empty with too few of these."""
        found = by_case(group, cases, metric, score)[labels].dropna(axis=1)
        return found if len(found.columns) >= FEWEST else found.iloc[:, :0]

    fixed = {"k-NN": table(f"knn_accuracy_{group.knn_ks(in_dists[0])[0]}"), "occupied": table(group.occupancy)}
    by_score = {score: table("auroc", score) for score in [OWN, *group.scores(*in_dists)]}
    aurocs = {score: values for score, values in by_score.items() if len(values.columns)}
    lost: dict[str, dict[str, float]] = {}
    for score, values in aurocs.items():
        by = {"sensitivity": table("sensitivity", score), **fixed}
        lost[score] = {rule: _lost(values, measure[values.columns].idxmax(axis=1)) for rule, measure in by.items()
                       if set(values.columns) <= set(measure.columns)}  # fmt: skip
        lost[score] |= _without_measures(values)
    if len(aurocs) > 1:
        lost[ANY] = _without_measures(pd.concat(aurocs, axis=1))
    kind = "classes" if split_class(in_dists[0])[1] is not None else "OOD sets"
    best = {score: float(values.max(axis=1).mean()) for score, values in aurocs.items()}
    return RulesTried(name, kind, len(cases), len(labels), lost, best)


def by_case(group: Group, cases: Sequence[Case], metric: str = "auroc", score: str = OWN) -> pd.DataFrame:
    """One row per case, the group's columns across: the mean over their seeds, NaN where one lacks the metric."""
    rows = []
    for case in cases:
        values = group.values(metric, case.in_dist, case.ood if metric == "auroc" else "", score)
        done = [len(group.records(case.in_dist, key)) for key in group.keys]
        rows.append(np.where(values.count() == done, values.mean(), np.nan))
    return pd.DataFrame(rows, columns=group.keys, dtype=float)


def _without_measures(values: pd.DataFrame) -> dict[str, float]:
    """What is lost by what has the largest mean over the other tasks, and by a random choice."""
    best = values.max(axis=1)
    return {"others": _lost(values, (values.sum() - values).idxmax(axis=1)),
            "random": float((best - values.mean(axis=1)).mean())}  # fmt: skip


def _lost(values: pd.DataFrame, chosen: pd.Series) -> float:
    """Points lost against the best of each task by the column chosen there."""
    places = values.columns.get_indexer(pd.Index(chosen))
    return float((values.max(axis=1) - values.to_numpy()[np.arange(len(values)), places]).mean())
