"""Records as another score sees them: what it detects stands in place of what the method's own does.

All that a report compares then is by that score: the tables, the figures, the paper's claims.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmark.errors import BenchError
from benchmark.plan import scores
from benchmark.plan.methods import REFERENCES
from benchmark.plan.titles import title_of
from benchmark.report.groups import Group
from benchmark.report.one_class import OneClass
from benchmark.store.records import Record, ScoreInRecord


def by_score(records: Sequence[Record], score: str) -> list[Record]:
    """The records with the AUROCs and sensitivity of `score`, one of `eval.scores`, in place of the method's own.

    A reference row that has no such score (image statistics have no features) keeps its own; other records without it
    have no AUROC and no sensitivity. Nothing has a trajectory: on the way only the method's own score is measured.
    Raises BenchError, one line, where `score` is no score, or no record that was trained has it.
    """
    scores.parts(score)
    trained = [record for record in records if record.config["method"]["name"] not in REFERENCES]
    if trained and not any(score in record.scores for record in trained):
        known = sorted({name for record in trained for name in record.scores if name != record.own})
        raise BenchError(
            f"--score {score}: none of the records has it (they have: {', '.join(known) or 'none but their own'}); "
            "add it to eval.scores and give bench sweep again, which trains nothing"
        )
    return [_by(record, score) for record in records]


def _by(record: Record, score: str) -> Record:
    new: dict[str, Any] = {}
    if score in record.scores:
        new = {"own": score}
    elif record.config["method"]["name"] not in REFERENCES:
        nothing = ScoreInRecord.model_construct(ood={}, sensitivity=math.nan, passes=1)
        new = {"own": score, "scores": record.scores | {score: nothing}}
    return record.model_copy(update={**new, "trajectory": []})


def named(group: Group | OneClass, score: str) -> Group | OneClass:
    """The group with a heading that says by which score it is."""
    lacking = {run.config.label for run in group.runs if run.record and run.record.own != score}
    own = [title_of(label) for label in REFERENCES if label in lacking]
    heading = f"by {score}" + (f" ({' and '.join(own)} by their own)" if own else "")
    return replace(group, heading="; ".join(part for part in (group.heading, heading) if part))
