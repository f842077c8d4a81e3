"""Tables 1 and 2: our runs beside the published values, as Markdown, LaTeX, tidy CSV and for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from benchmark.data.catalog import info, is_near
from benchmark.plan.methods import REFERENCES
from benchmark.plan.titles import title_of
from benchmark.plan.training_data import LABELS, SCRATCH, meaning, training_data
from benchmark.report.cells import Cell, Row, Table
from benchmark.report.groups import Group
from benchmark.report.images import of_records
from benchmark.report.numbers import (
    accuracy,
    auroc,
    averages_over,
    classes,
    knn_accuracy,
    knn_ks,
    occupancy_reading,
    occupied,
    sensitivity,
)
from benchmark.report.published import sets as published
from benchmark.report.table_notes import about, missing_notes, published_notes, row_notes
from benchmark.report.tied import bold_note, mark_best
from benchmark.store.records import Record

Measure = Callable[[Record, str | None], float | None]  # of a record, by a score


@dataclass(frozen=True)
class Column:
    """A column: the runs of a label, and the score that detects, None for the method's own.

    key: what the table and the published values call it. quoted: published values alone, nothing is run here.
    """

    key: str
    title: str
    label: str
    score: str | None = None
    quoted: bool = False


def table1(group: Group) -> list[Table]:
    """Table 1: one for all in-distribution sets. The rivals' columns are ours where the sweep trains them, with the
    published values beside; else quoted."""
    return [_table("1", group, group.in_dists)]


def table2(group: Group) -> list[Table]:
    """Table 2: one for each in-distribution set."""
    return [_table("2", group, [in_dist]) for in_dist in group.in_dists]


def columns_of(group: Group, in_dists: list[str], rivals: bool = False) -> list[Column]:
    """The trained columns, the references last; rivals: with those of Table 1 before."""
    labels = dict.fromkeys(label for in_dist in in_dists for label in group.labels(in_dist))
    made = []
    known = {(rival, i) for i, _, rival in published.VALUES if rival in published.RIVALS}
    for rival in published.RIVALS if rivals else ():
        label, score = published.TRAINED_AS.get(rival, (rival, None))
        if label in labels:
            made.append(Column(rival, rival, label, score))
        elif any((rival, published.original(in_dist)) in known for in_dist in in_dists):
            made.append(Column(rival, f"{rival} (publ.)", label, score, quoted=True))
    shown = {(column.label, column.score) for column in made}
    ordered = sorted(labels, key=lambda label: label in REFERENCES)
    return made + [Column(label, title_of(label), label) for label in ordered if (label, None) not in shown]


def training_data_of(group: Group, columns: Iterable[Column]) -> dict[str, str]:
    """Key -> what the column may learn from."""
    configs = {run.config.label: run.config for run in group.runs}
    quoted = {rival: SCRATCH if rival in published.LABEL_FREE_RIVALS else LABELS for rival in published.RIVALS}
    return {c.key: quoted[c.key] if c.quoted else training_data(configs[c.label]) for c in columns}


def _table(name: str, group: Group, in_dists: list[str]) -> Table:
    with_rivals = name == "1"
    made = columns_of(group, in_dists, with_rivals)
    columns = {column.key: column.title for column in made}
    rows = [row for in_dist in in_dists for row in _rows(group, in_dist, made)]
    learns_from = training_data_of(group, made) if with_rivals else {}
    if learns_from:
        rows.insert(0, Row(in_dists[0], "training data", "training data", "texts", texts=learns_from))
    names = " and ".join(info(in_dist).title for in_dist in in_dists)
    title = f"Table {name}. AUROC in % of {names} (in-distribution) against each out-of-distribution set"
    notes = missing_notes(rows, columns, group, in_dists) + bold_note(rows) + row_notes(rows, columns)
    if learns_from:
        notes.append(meaning(list(learns_from.values())))
    notes += published_notes(with_rivals, rows, columns) + about(group, in_dists)
    corner = "ID → OOD" if with_rivals else "OOD set"
    labels = {column.key: column.label for column in made if not column.quoted}
    quoted = frozenset(column.key for column in made if column.quoted)
    return Table(name, title, group.heading, corner, columns, rows, notes, with_rivals, labels, learns_from, quoted)


def _rows(group: Group, in_dist: str, columns: list[Column]) -> list[Row]:
    labels = group.labels(in_dist)
    planned = {column.key for column in columns if column.label in labels and not column.quoted}
    records = {c.key: group.records(in_dist, c.label) for c in columns if c.key in planned}
    oods = group.ood_sets(in_dist)

    among = trained(columns)

    def cells(value: Measure, paper: Callable[[str], float | None], over: Sequence[str] = ()) -> dict[str, Cell]:
        made = {}
        for column in columns:
            done = records.get(column.key, {}).items()
            values = {seed: number for seed, record in done if (number := value(record, column.score)) is not None}
            images = partial(of_records, records.get(column.key, {}).values(), over, column.score)
            made[column.key] = Cell(values, paper(column.key), column.key in planned, images=images)
        return made

    rows = []
    for ood in oods:
        paper = partial(published.value, in_dist, ood)
        made = cells(lambda record, score, ood=ood: auroc(record, ood, score), paper, [ood])  # type: ignore[misc]
        rows.append(Row(in_dist, ood, info(ood).title + stand_in_mark(ood, made), "ood", mark_best(made, among)))
    if not oods:
        empty = {column.key: Cell(planned=column.key in planned) for column in columns}
        rows.append(Row(in_dist, "none", "AUROC: not measured", "average", empty))
    near = [ood for ood in oods if is_near(in_dist, ood)]
    for name, sets in (("average", oods), ("near average", near), ("far average", [o for o in oods if o not in near])):
        if sets:
            made = {c.key: _average(in_dist, sets, c, records.get(c.key), c.key in planned) for c in columns}
            stands_in = "†" if any(stand_in_mark(ood, made) for ood in sets) else ""
            rows.append(Row(in_dist, name, f"{name} ({len(sets)}){stands_in}", "average", mark_best(made, among),
                            over=str(len(sets))))  # fmt: skip

    reading = occupancy_reading(group)
    measures: list[tuple[str, Measure, int]] = [
        *((f"k-NN accuracy, k={k}", lambda record, _, k=k: knn_accuracy(record, k), 2) for k in knn_ks(group, in_dist)),  # type: ignore[misc]
        ("accuracy", lambda record, _: accuracy(record), 2),
        ("sensitivity", sensitivity, 2),
        (f"occupied{_of_classes(group, in_dist)} classes", lambda record, _: occupied(record, reading), 0),
    ]
    for name, value, decimals in measures:
        made = cells(value, lambda _: None)
        # A run that is done and has no such number (occupancy without a head) lacks nothing.
        made = {c: replace(cell, planned=cell.planned and not records.get(c)) for c, cell in made.items()}
        if any(cell.ours for cell in made.values()):
            best = "accuracy" in name  # more is not better of the other two
            rows.append(Row(in_dist, name, name, "measure", mark_best(made, among) if best else made, {}, decimals))
    counts = {column.key: _n_range(rows, column.key) for column in columns if column.key in planned}
    rows.append(Row(in_dist, "n", "n (runs)", "n", texts=counts))
    return rows


def _average(in_dist: str, sets: list[str], column: Column, records: dict[int, Record] | None, planned: bool) -> Cell:
    seeds, shared = averages_over(sets, records, column.score)
    incomplete = 0 < len(shared) < len(sets)
    paper = published.average(in_dist, sets, column.key)
    images = partial(of_records, (records or {}).values(), sets, column.score)
    return Cell(seeds, None if incomplete else paper, planned, over=len(shared) if incomplete else 0, images=images)


def stand_in_mark(ood: str, cells: dict[str, Cell]) -> str:
    """ "†" behind the name of a set that a published value stands beside and that only stands in for the published."""
    return "†" if published.is_stand_in(ood) and any(cell.published is not None for cell in cells.values()) else ""


def trained(columns: Iterable[Column]) -> list[str]:
    """The keys of the columns that may be the best: not the references."""
    return [column.key for column in columns if column.key not in REFERENCES]


def _of_classes(group: Group, in_dist: str) -> str:
    count = classes(group, in_dist)
    return f" of {count}" if count else " soft"


def _n_range(rows: list[Row], column: str) -> str:
    counts = {row.cells[column].ours.n for row in rows if row.cells[column].ours}  # type: ignore[union-attr]
    if not counts:
        return "0"
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)}-{max(counts)}"
