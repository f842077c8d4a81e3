"""Tables 1, 2 and one-class: AUROC by case, our runs beside the published values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from benchmark.data.catalog import info
from benchmark.plan.scores import OWN
from benchmark.plan.training_data import LABELS, SCRATCH, training_data
from benchmark.report.groups import Case, Column, Group, by_nearness, seeds_of
from benchmark.report.images import of_column
from benchmark.report.published import one_class as of_classes
from benchmark.report.published import sets as of_sets
from benchmark.report.tables.cells import Cell, Row, Table, by_key, trained
from benchmark.report.tables.notes import notes
from benchmark.report.tables.tied import mark_best

Columns = Mapping[str, Column]
Published = Callable[[Column], float | None]


def table1(group: Group) -> list[Table]:
    """Table 1: one for all in-distribution sets. The rivals' columns are ours where the sweep trains them, with the
    published values beside; else quoted."""
    return [_table("1", group, group.in_dists, _with_rivals(group))]


def table2(group: Group) -> list[Table]:
    """Table 2: one for each in-distribution set."""
    return [_table("2", group, [in_dist], columns_of(group, in_dist)) for in_dist in group.in_dists]


def one_class(group: Group) -> list[Table]:
    """The one table of a group of runs on single classes of a set."""
    return [_table("one-class", group, [group.parent], _with_published(group))]


def columns_of(group: Group, *subjects: str) -> list[Column]:
    """The group's columns, with what each may learn from."""
    return [replace(c, learns_from=training_data(c.config)) for c in group.columns(*subjects)]


def _with_rivals(group: Group) -> list[Column]:
    """The rivals of Table 1 before the group's own; one that a rival's column shows stands there alone."""
    ours = by_key(columns_of(group))
    known = {(rival, in_dist) for in_dist, _, rival in of_sets.VALUES if rival in of_sets.RIVALS}
    made = []
    for rival in of_sets.RIVALS:
        label, score = of_sets.TRAINED_AS.get(rival, (rival, OWN))
        if label in ours:
            made.append(replace(ours[label], key=rival, title=rival, runs=label, score=score, paper=rival))
        elif any((rival, of_sets.original(in_dist)) in known for in_dist in group.in_dists):
            learns_from = SCRATCH if rival in of_sets.LABEL_FREE_RIVALS else LABELS
            made.append(Column(rival, rival, rival, paper=rival, learns_from=learns_from))
    shown = {column.label for column in made if column.score == OWN}
    return made + [column for column in ours.values() if column.label not in shown]


def _with_published(group: Group) -> list[Column]:
    """The group's columns; before the references published ones, of methods that it has no column of and of other
    systems, of which the mean alone is known."""
    ours = columns_of(group)
    quoted: dict[str, str] = {}
    if of_classes.is_known(group.parent):
        labels = {column.label for column in ours}
        quoted = {title: label for title, label in of_classes.BY_CLASS.items() if label not in labels}
        if len(group.cases(group.parent)) == group.total:
            beside = {of_classes.OF_LABEL.get(label) for label in labels}
            quoted |= {title: title for title in of_classes.MEANS_ALONE if title not in beside}
    made = [Column(title, title, title, paper=paper, learns_from=SCRATCH) for title, paper in quoted.items()]
    return [c for c in ours if not c.is_reference] + made + [c for c in ours if c.is_reference]


def _table(name: str, group: Group, subjects: list[str], made: Sequence[Column]) -> Table:
    columns = by_key(made if name != "2" else [replace(column, learns_from="") for column in made])
    rows = [row for subject in subjects for row in _rows(group, subject, columns)]
    learns_from = {key: column.learns_from for key, column in columns.items() if column.learns_from}
    if learns_from:
        block = group.parent and subjects[0]
        rows.insert(0, Row(subjects[0], "training data", "training data", "texts", texts=learns_from, block=block))
    names = " and ".join(info(subject).title for subject in subjects)
    if group.parent:
        title = (f"One-class protocol on {names}. AUROC in % of the test images of one class (in-distribution, trained "
                 "on) against those of all other classes")  # fmt: skip
    else:
        title = f"AUROC in % of {names} (in-distribution) against each out-of-distribution set"
    corner = {"1": "ID → OOD", "2": "OOD set"}.get(name, "class")
    below = notes(group, subjects, columns, rows)
    return Table(name, title, group.heading, corner, columns, rows, below, several_in_dists=name == "1")


def _rows(group: Group, subject: str, columns: Columns) -> list[Row]:
    cases, decimals = group.cases(subject), _decimals(group)
    rows = [case_row(group, case, columns, lambda c, case=case: _paper(group, case, c)) for case in cases]  # type: ignore[misc]
    if not cases:
        empty = {key: Cell(planned=group.is_planned(subject, column.source)) for key, column in columns.items()}
        rows.append(Row(subject, "none", "AUROC: not measured", "average", empty))
    for name, some in _averages(group, cases).items():
        count = f"{len(some)} of {group.total}" if len(some) < group.total else f"{len(some)}"
        stands_in = any(row.stands_in for row, case in zip(rows, cases, strict=False) if case in some)
        best = mark_best(_mean_cells(group, subject, some, columns), trained(columns.values()), decimals)
        rows.append(Row(subject, name, f"{name} ({count})", "average", best, decimals=decimals, block=group.parent,
                        over=count, stands_in=stands_in))  # fmt: skip
    if not group.parent:
        rows += _measures(group, subject, columns)
    counts = {key: _n_range(rows, key) for key, column in columns.items() if group.is_shown(subject, column.source)}
    return [*rows, Row(subject, "n", "n (runs)", "n", texts=counts, block=group.parent)]


def case_row(
    group: Group,
    case: Case,
    columns: Columns,
    paper: Published,
    metric: str = "auroc",
    more: bool = True,
) -> Row:
    """The row of a case by one metric; `paper`: the published value of a column."""
    cells, decimals = {}, _decimals(group)
    for key, column in columns.items():
        seeds = seeds_of(group.values(metric, case.in_dist, case.ood, column.score), column.source)
        images = partial(of_column, group, column.source, [case], column.score) if metric == "auroc" else None
        cells[key] = Cell(seeds, paper(column), group.is_planned(case.in_dist, column.source), images=images)
    stands_in = of_sets.is_stand_in(case.ood) and any(cell.published is not None for cell in cells.values())
    best = mark_best(cells, trained(columns.values()), decimals, more)
    return Row(
        case.in_dist, case.ood, case.title, "ood", best, decimals=decimals, block=group.parent, stands_in=stands_in
    )


def _decimals(group: Group) -> int:
    return 1 if group.parent else 2  # as published: a class has about a thousand test images


def _averages(group: Group, cases: list[Case]) -> dict[str, list[Case]]:
    if group.parent:
        return {"mean": cases}
    near, far = by_nearness(cases)
    parts = {"average": cases, "near average": near, "far average": far}
    return {name: some for name, some in parts.items() if some}


def _mean_cells(group: Group, subject: str, cases: list[Case], columns: Columns) -> dict[str, Cell]:
    means = {score: group.mean(cases, score=score) for score in {column.score for column in columns.values()}}
    cells = {}
    for key, column in columns.items():
        mean = means[column.score]
        seeds, over = mean.seeds(column.source), len(mean.cases.get(column.source, ()))
        over = over if 0 < over < len(cases) else 0
        planned = any(group.is_planned(case.in_dist, column.source) for case in cases)
        paper = None if over else _paper_mean(group, subject, cases, column)
        images = partial(of_column, group, column.source, cases, column.score)
        whole = tuple(seeds_of(mean.whole, column.source)) if over else ()
        cells[key] = Cell(seeds, paper, planned, over=over, complete=whole, images=images)
    return cells


def _paper(group: Group, case: Case, column: Column) -> float | None:
    if group.parent:
        return of_classes.value(group.parent, case.title, column.paper)
    return of_sets.value(case.in_dist, case.ood, column.paper)


def _paper_mean(group: Group, subject: str, cases: list[Case], column: Column) -> float | None:
    """The published mean over the same cases, and where it is over all classes of a set."""
    if group.parent:
        return of_classes.mean(group.parent, column.paper) if len(cases) == group.total else None
    return of_sets.average(subject, [case.ood for case in cases], column.paper)


def _measures(group: Group, subject: str, columns: Columns) -> list[Row]:
    """What is measured of a run whatever the OOD set, where any has it."""
    count = group.soft_classes(subject)
    measures = {f"k-NN accuracy, k={k}": (f"knn_accuracy_{k}", 2) for k in group.knn_ks(subject)}
    measures |= {"accuracy": ("accuracy", 2), "sensitivity": ("sensitivity", 2)}
    measures[f"occupied {f'of {count}' if count else 'soft'} classes"] = group.occupancy, 0
    rows = []
    for name, (metric, decimals) in measures.items():
        cells = {}
        for key, column in columns.items():
            score = column.score if metric == "sensitivity" else OWN
            # A run that is done and has no such number (occupancy without a head) lacks nothing.
            missing = group.is_planned(subject, column.source) and not group.records(subject, column.source)
            cells[key] = Cell(seeds_of(group.values(metric, subject, score=score), column.source), planned=missing)
        if any(cell.ours for cell in cells.values()):
            compete = trained(columns.values()) if "accuracy" in name else []  # more is not better of the other two
            rows.append(Row(subject, name, name, "measure", mark_best(cells, compete), decimals=decimals))
    return rows


def _n_range(rows: list[Row], key: str) -> str:
    counts = {cell.ours.n for row in rows if (cell := row.cells[key]).ours}
    return "-".join(map(str, sorted({min(counts), max(counts)}))) if counts else "0"
