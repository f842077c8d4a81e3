"""Tables 1 and 2: our runs beside the published values, as Markdown, LaTeX, tidy CSV and for a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from benchmark.data.catalog import info, is_near
from benchmark.plan.methods import REFERENCES
from benchmark.report import published
from benchmark.report.groups import Group, title_of
from benchmark.report.intervals import estimate
from benchmark.store.records import Record

if TYPE_CHECKING:
    pass
from benchmark.report.cells import Cell, Row, Table
from benchmark.report.numbers import (
    auroc,
    average_over,
    classes,
    knn_accuracy,
    knn_ks,
    mean_auroc,
    occupancy_reading,
    occupied,
)
from benchmark.report.table_notes import about, missing_notes, published_notes, row_notes


def table1(group: Group) -> list[Table]:
    """Table 1: one for all in-distribution sets, with the rivals' published columns."""
    return [_table("1", group, group.in_dists)]


def table2(group: Group) -> list[Table]:
    """Table 2: one for each in-distribution set."""
    return [_table("2", group, [in_dist]) for in_dist in group.in_dists]


def _table(name: str, group: Group, in_dists: list[str]) -> Table:
    labels = dict.fromkeys(label for in_dist in in_dists for label in group.labels(in_dist))
    ordered = sorted(labels, key=lambda label: label in REFERENCES)
    columns = {label: title_of(label) for label in ordered}
    with_rivals = name == "1"
    if with_rivals:
        rivals = [
            r
            for r in published.RIVALS
            if any(
                known == published.original(i) and column == r
                for known, _, column in published.VALUES
                for i in in_dists
            )
        ]
        columns = {rival: f"{rival} (publ.)" for rival in rivals} | columns
    rows = [row for in_dist in in_dists for row in _rows(group, in_dist, list(columns))]
    names = " and ".join(info(in_dist).title for in_dist in in_dists)
    title = f"Table {name}. AUROC in % of {names} (in-distribution) against each out-of-distribution set"
    notes = missing_notes(rows, columns, group, in_dists) + row_notes(rows, columns)
    notes += published_notes(with_rivals, rows, columns) + about(group, in_dists)
    corner = "ID → OOD" if with_rivals else "OOD set"
    return Table(name, title, group.heading, corner, columns, rows, notes, several_in_dists=with_rivals)


def _rows(group: Group, in_dist: str, columns: list[str]) -> list[Row]:
    planned = group.labels(in_dist)
    records = {label: group.records(in_dist, label) for label in planned}
    oods = group.ood_sets(in_dist)

    def cells(value: Callable[[Record], float | None], paper: Callable[[str], float | None]) -> dict[str, Cell]:
        made = {}
        for column in columns:
            done = records.get(column, {}).items()
            values = {seed: number for seed, record in done if (number := value(record)) is not None}
            ours = estimate(list(values.values())) if values else None
            made[column] = Cell(ours, paper(column), column in planned, seeds=values)
        return made

    rows = []
    for ood in oods:
        made = cells(partial(auroc, ood=ood), partial(published.value, in_dist, ood))
        mark = "†" if published.is_stand_in(ood) and any(cell.published is not None for cell in made.values()) else ""
        rows.append(Row(in_dist, ood, info(ood).title + mark, "ood", _mark_best(made)))
    if not oods:
        empty = {column: Cell(planned=column in planned) for column in columns}
        rows.append(Row(in_dist, "none", "AUROC: not measured", "average", empty))
    near = [ood for ood in oods if is_near(in_dist, ood)]
    for name, sets in (("average", oods), ("near average", near), ("far average", [o for o in oods if o not in near])):
        if sets:
            made = {
                column: _average(in_dist, sets, column, records.get(column), column in planned) for column in columns
            }
            rows.append(Row(in_dist, name, f"{name} ({len(sets)})", "average", _mark_best(made)))

    measures: list[tuple[str, Callable[[Record], float | None], int]] = [
        *((f"k-NN accuracy, k={k}", partial(knn_accuracy, k=k), 2) for k in knn_ks(group, in_dist)),
        ("sensitivity", lambda record: record.sensitivity, 2),
        (f"occupied{_of_classes(group, in_dist)} classes", partial(occupied, reading=occupancy_reading(group)), 0),
    ]
    for name, value, decimals in measures:
        made = cells(value, lambda _: None)
        # A run that is done and has no such number (occupancy without a head) lacks nothing.
        made = {c: replace(cell, planned=cell.planned and not records.get(c)) for c, cell in made.items()}
        if any(cell.ours for cell in made.values()):
            best = name.startswith("k-NN")  # more is not better of the other two
            rows.append(Row(in_dist, name, name, "measure", _mark_best(made) if best else made, {}, decimals))
    counts = {column: _n_range(rows, column) for column in columns if column in planned}
    rows.append(Row(in_dist, "n", "n (runs)", "n", texts=counts))
    return rows


def _average(in_dist: str, sets: list[str], column: str, records: dict[int, Record] | None, planned: bool) -> Cell:
    ours, shared = average_over(sets, records)
    incomplete = ours is not None and len(shared) < len(sets)
    paper = published.average(in_dist, sets, column)
    seeds = {seed: mean_auroc(record, shared) for seed, record in (records or {}).items()} if shared else {}
    return Cell(ours, None if incomplete else paper, planned, over=len(shared) if incomplete else 0, seeds=seeds)


def _mark_best(cells: dict[str, Cell]) -> dict[str, Cell]:
    """Mark the highest mean of the trained columns, as printed; a lone one has nothing to be best of."""
    rivals = {column: round(cell.ours.mean, 2) for column, cell in cells.items()
              if cell.ours and column not in REFERENCES and not cell.over}  # fmt: skip
    best = max(rivals.values()) if len(rivals) > 1 else None
    return {
        column: replace(cell, best=best is not None and rivals.get(column) == best) for column, cell in cells.items()
    }


def _of_classes(group: Group, in_dist: str) -> str:
    count = classes(group, in_dist)
    return f" of {count}" if count else " soft"


def _n_range(rows: list[Row], column: str) -> str:
    counts = {row.cells[column].ours.n for row in rows if row.cells[column].ours}  # type: ignore[union-attr]
    if not counts:
        return "0"
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)}-{max(counts)}"
