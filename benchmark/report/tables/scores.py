"""The table of scores: what detects, row by row, on what was trained, column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from benchmark.data.catalog import info
from benchmark.plan.scores import OWN, passes
from benchmark.report.groups import Case, Column, Group, by_nearness, seeds_of
from benchmark.report.images import of_column
from benchmark.report.intervals import kendall
from benchmark.report.published import sets as published
from benchmark.report.tables.about import about, about_controls
from benchmark.report.tables.cells import Cell, Row, Table, by_key
from benchmark.report.tables.notes import seed_notes, tau_in_words
from benchmark.report.tables.tied import bold_note, mark_best

NOTES = [
    f"{OWN}: the score that a method is published with; of DINO Eq. 6, at the record's temperature.",
    "Passes: of the network for a test image, 1 unless said.",
    "eq6-rotations and energy-gap ask the network about the image's rotated copies, their namesakes of permutations "
    "about shuffled ones, as served as negatives: no published method does. The formulas were fixed before measuring.",
]


def scores(group: Group) -> list[Table]:
    """One table for each in-distribution set; of classes, one of their means."""
    return [_table(group, one) for one in group.subjects if group.cases(one) and group.scores(one)]


def _table(group: Group, subject: str) -> Table:
    columns = by_key(group.columns(subject))
    parts = _parts(group, subject)
    rows = [row for part, (name, cases) in parts.items()
            for row in _block(subject, part, name, _cells(group, subject, cases))]  # fmt: skip
    below = NOTES + bold_note(rows, "column")
    below += _incomplete(rows, columns, len(group.cases(subject)))
    below += seed_notes(columns, [row for row in rows if row.block == rows[0].block])
    below += [] if group.parent else _order_notes(group, subject, parts, rows)
    below += about_controls(group, subject) + about(group, [subject])
    measured = group.mean(group.cases(subject))
    counts = {key: str(len(measured.seeds(key))) for key in columns}
    rows.append(Row(subject, "n", "n (runs)", "n", texts=counts))
    title, of = info(subject).title, "by the score that detects"
    if group.parent:
        title = f"Scores, one-class protocol on {title}. Mean AUROC in % of one class against the others {of}"
    else:
        title = f"Scores. Mean AUROC in % of {title} (in-distribution) {of}"
    return Table("scores", title, group.heading, "score", columns, rows, below)


def _parts(group: Group, subject: str) -> dict[str, tuple[str, list[Case]]]:
    """Part -> what it is of, and its cases: near and far ones apart, all, and what is in no mean."""
    cases = group.cases(subject)
    if group.parent:
        return {"near": (f"mean of {len(cases)} classes", cases)}
    near, far = by_nearness(cases)
    controls = [Case(subject, name, info(name).title) for name in group.controls(subject)]
    parts = {"near": near, "far": far, "all": cases if near else [], "control": controls}

    def named(some: list[Case]) -> str:
        return ", ".join(case.title for case in some) if len(some) < 3 else f"{len(some)} sets"

    return {part: (f"{part} ({named(some)})", some) for part, some in parts.items() if some}


Cells = dict[str, dict[str, Cell]]  # score -> column -> cell


def _cells(group: Group, subject: str, cases: Sequence[Case]) -> Cells:
    """The mean over these cases by each score, the method's own first. One of classes may be over fewer than all."""
    made: Cells = {}
    for score in [OWN, *group.scores(subject)]:
        mean = group.mean(cases, score=score)
        made[score] = {}
        for key in group.labels(subject):
            over = len(mean.cases[key]) % len(cases) if group.parent else 0
            seeds = mean.seeds(key) if group.parent else seeds_of(mean.whole, key)
            made[score][key] = Cell(seeds, over=over, images=partial(of_column, group, key, cases, score))
    return made


def _block(subject: str, part: str, title: str, cells: Cells) -> list[Row]:
    """A heading, and one row per score; the best of each column marked."""
    columns = list(cells[OWN])
    by_column = {key: {score: of[key] for score, of in cells.items()} for key in columns}
    best = {key: mark_best(of, of if part != "control" else [], 1) for key, of in by_column.items()}
    rows = [Row(subject, part, title, "texts", texts=dict.fromkeys(columns, " "), block=part)]
    for score in cells:
        count = 1 if score == OWN else passes(score)
        name = f"{score}, {count} passes" if count > 1 else score
        shown = {key: best[key][score] for key in columns}
        rows.append(Row(subject, f"{part}:{score}", name, "ood", shown, decimals=1, block=part))
    return rows


def _incomplete(rows: Sequence[Row], columns: Mapping[str, Column], classes: int) -> list[str]:
    fewer = [f"{columns[key].title}, {row.title}: {cell.over} of {classes}" for row in rows
             for key, cell in row.cells.items() if cell.over]  # fmt: skip
    return [f"* over the classes that have been scored so: {'; '.join(fewer)}; never bold."] if fewer else []


def _order_notes(
    group: Group, subject: str, parts: Mapping[str, tuple[str, list[Case]]], rows: Sequence[Row]
) -> list[str]:
    """How the columns' order by each score agrees with the published one, where three or more columns have both."""
    made = []
    for part in ("near", "all"):
        oods = [case.ood for case in parts.get(part, ("", []))[1]]
        paper = {column.key: value for column in group.columns(subject)
                 if (value := published.average(subject, oods, column.paper)) is not None}  # fmt: skip
        found = []
        for row in rows:
            ours = {key: cell.ours.mean for key, cell in row.cells.items() if cell.ours and not cell.over}
            if row.block == part and row.cells and len(paper) >= 3 and ours.keys() >= paper.keys():
                agree = tau_in_words(kendall([ours[key] for key in paper], list(paper.values())))
                found.append(f"{row.key.removeprefix(f'{part}:')} {agree}")
        if found:
            made.append(
                f"Kendall's τ of the columns' order with the published one (by Eq. 6), n = {len(paper)}, {part}: "
                f"{', '.join(found)}."
            )
    return made
