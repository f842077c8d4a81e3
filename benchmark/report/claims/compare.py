"""What claims compare: a column's number, a mean over cases, less another's, seed by seed and by test images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.plan.scores import OWN
from benchmark.plan.titles import title_of
from benchmark.report.claims.text import Claim, join, judged
from benchmark.report.claims.verdicts import ABOVE, Interval, Measured
from benchmark.report.groups import Case, Column, Group, seeds_of
from benchmark.report.images import OfImages, of_column
from benchmark.report.intervals import estimate

NOT_PUBLISHED = "none: ours"  # in place of a published value


@dataclass(frozen=True)
class Side:
    """The mean over these cases of what a column's runs have, by a score. metric: as in `store.measurements`."""

    column: Column
    cases: tuple[Case, ...]
    score: str = OWN
    metric: str = "auroc"

    def by_seed(self, group: Group) -> dict[int, float]:
        """Of the seeds that have all cases."""
        return seeds_of(group.mean(self.cases, self.metric, self.score).whole, self.column.key)

    def images(self, group: Group, seeds: Sequence[int] | None = None) -> OfImages | None:
        """The same by its test images, of these seeds or of all; of what is no AUROC never."""
        if self.metric != "auroc":
            return None
        return of_column(group, self.column.key, self.cases, self.score, seeds)


def column_of(group: Group, label: str) -> Column:
    """The one column of a label; one without a run where there is none."""
    return next((one for one in group.columns() if one.label == label), Column(label, title_of(label), label))


def less(group: Group, one: Side, other: Side, seeds: Sequence[int]) -> Measured:
    """What the first has less what the second has, of these seeds."""
    ours, theirs = one.by_seed(group), other.by_seed(group)
    return Measured([ours[seed] - theirs[seed] for seed in seeds], lambda: _minus(
        one.images(group, seeds[:1]), other.images(group, seeds[:1])))  # fmt: skip


def minus(group: Group, side: Side, seeds: Sequence[int], level: float | Side) -> Measured:
    """What it has less a number, or less the mean of another over all its seeds."""
    ours = side.by_seed(group)
    fixed = level if isinstance(level, float) else estimate(list(level.by_seed(group).values())).mean

    def images() -> OfImages | None:
        return _minus(side.images(group, seeds[:1]), level if isinstance(level, float) else level.images(group))

    return Measured([ours[seed] - fixed for seed in seeds], images)


def _minus(one: OfImages | None, other: OfImages | float | None) -> OfImages | None:
    return None if one is None or other is None else one - other


def shared_seeds(group: Group, sides: Iterable[Side]) -> list[int]:
    """The seeds that all sides have, on all of their cases."""
    return sorted(set.intersection(*(set(side.by_seed(group)) for side in sides)))


def paired(
    group: Group,
    text: str,
    paper: str,
    one: Side,
    other: Side,
    note: str | Callable[[], str] = "",
    region: Interval = ABOVE,
    by_case: str = "",
) -> Claim:
    """The claim that the first less the second lies in `region`, over the seeds that have all cases of both. by_case:
    what a case is, "sets" or "classes", where the note is to say on how many the first is above."""
    seeds = shared_seeds(group, (one, other))
    if not seeds:
        return Claim(text, paper, note=_lacking(group, one, other))
    told = _above(group, one, other, seeds, by_case) if by_case else ""
    note = note if isinstance(note, str) else note()
    return judged(text, paper, less(group, one, other, seeds), join([told, note]), region)


def _lacking(group: Group, one: Side, other: Side) -> str:
    """Why two sides have nothing to compare."""
    gone, short = [], []
    what = "classes" if group.parent else "sets"
    for side in (one, other):
        own = any(replace(side, cases=(case,), score=OWN).by_seed(group) for case in side.cases)
        name = side.column.title + (f" by {side.score}" if own and side.score != OWN else "")
        count = sum(bool(replace(side, cases=(case,)).by_seed(group)) for case in side.cases)
        gone += [name] if not count else []
        short += [f"{name} on {count} of {len(side.cases)} {what} alone"] if 0 < count < len(side.cases) else []
    told = [f"no complete run of {' and '.join(dict.fromkeys(gone))}"] if gone else []
    return "; ".join(dict.fromkeys(told + short)) or "no seed has all of both"


def _above(group: Group, one: Side, other: Side, seeds: Sequence[int], what: str) -> str:
    """On how many cases the first is above in the mean over seeds; of classes how much that depends on them."""
    steps = []
    for case in one.cases:
        both = [group.values(side.metric, case.in_dist, case.ood, side.score)[side.column.key] for side in (one, other)]
        steps.append(float(np.mean([both[0][seed] - both[1][seed] for seed in seeds])))
    spread = estimate(steps)
    over = f", ± {spread.half:.2f} over the classes" if group.parent and spread.half is not None else ""
    fewer = f"over {len(steps)} of {group.total} classes" if group.parent and len(steps) < group.total else ""
    return join([f"above on {sum(step > 0 for step in steps)} of {len(steps)} {what}{over}", fewer])
