"""The table of detectors with labels or outliers: AUROC, AUPR and FPR95 by OOD set, in Outlier Exposure's convention.

OOD images are the positives of AUPR and of FPR95; AUPR is that of one OOD image to five in-distribution ones
(Hendrycks, Mazeika and Dietterich, ICLR 2019, section 4.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from benchmark.data.catalog import info, set_behind
from benchmark.negatives import IN_DIST
from benchmark.plan.training_data import meaning
from benchmark.report.cells import Cell, Row, Table
from benchmark.report.groups import Group
from benchmark.report.images import of_records
from benchmark.report.numbers import accuracy
from benchmark.report.published import detectors as published
from benchmark.report.table_notes import about, missing_notes, row_notes
from benchmark.report.tables import Column, columns_of, stand_in_mark, trained, training_data_of
from benchmark.report.tied import bold_note, mark_best
from benchmark.store.records import OODMetrics, Record

# key -> title, what of the metrics, whether more is better
METRICS: dict[str, tuple[str, Callable[[OODMetrics], float | None], bool]] = {
    "auroc": ("AUROC", lambda metrics: metrics.auroc, True),
    "aupr": ("AUPR", lambda metrics: metrics.aupr_oe, True),
    "fpr95": ("FPR95", lambda metrics: metrics.fpr95_ood, False),
}
CONVENTION = (
    "In %, OOD images as the positives. AUPR: at one OOD image to five in-distribution ones. FPR95: in-distribution "
    "images flagged where 95% of the OOD images are found, less is better."
)


def detectors(group: Group) -> list[Table]:
    """One table for each in-distribution set with a run that learns from labels."""
    with_labels = dict.fromkeys(run.config.in_dist for run in group.runs if run.config.method.labels)
    return [_table(group, in_dist) for in_dist in with_labels]


def _table(group: Group, in_dist: str) -> Table:
    made = columns_of(group, [in_dist])
    learns_from = training_data_of(group, made)
    columns = {column.key: column.title for column in made}
    rows = [Row(in_dist, "training data", "training data", "texts", texts=learns_from, block=in_dist)]
    for metric, (title, of, more) in METRICS.items():
        rows += _block(group, in_dist, made, metric, title, of, more)
    values = {c.key: {s: v for s, r in group.records(in_dist, c.label).items() if (v := accuracy(r)) is not None}
              for c in made}  # fmt: skip
    if any(values.values()):
        cells = {c.key: Cell(values[c.key], published.accuracy(in_dist, c.label)) for c in made}
        rows.append(Row(in_dist, "accuracy", "accuracy", "measure", mark_best(cells, trained(made))))
    counts = {c.key: str(len(group.records(in_dist, c.label))) for c in made}
    rows.append(Row(in_dist, "n", "n (runs)", "n", texts=counts))
    title = f"Detectors by what they learn from. {info(in_dist).title} (in-distribution) against each OOD set"
    sets = [replace(row, key=row.key.partition(":")[2]) for row in rows if row.section in ("ood", "average")]
    notes = [CONVENTION, *bold_note(rows), *missing_notes(sets, columns, group, [in_dist]), *row_notes(sets, columns)]
    notes.append(meaning(list(learns_from.values())))
    if any(cell.published is not None for row in rows for cell in row.cells.values()):
        notes += published.notes(in_dist)
    notes += _seen_before(group, in_dist, made) + about(group, [in_dist])
    return Table("oe", title, group.heading, "OOD set", columns, rows, notes, training_data=learns_from)


def _block(
    group: Group, in_dist: str, columns: list[Column], metric: str, title: str,
    of: Callable[[OODMetrics], float | None], more: bool,
) -> list[Row]:  # fmt: skip
    """A heading, a row an OOD set and their average."""
    oods = group.ood_sets(in_dist)

    def cells(
        value: Callable[[Record], float | None], paper: Callable[[str], float | None], over: Sequence[str]
    ) -> dict[str, Cell]:
        made = {}
        for column in columns:
            done = group.records(in_dist, column.label).items()
            values = {seed: number for seed, record in done if (number := value(record)) is not None}
            images = partial(of_records, group.records(in_dist, column.label).values(), over)
            made[column.key] = Cell(values, paper(column.label), True, images=images if metric == "auroc" else None)
        return mark_best(made, trained(columns), more)

    def one(record: Record, ood: str) -> float | None:
        return of(record.own_score.ood[ood]) if ood in record.own_score.ood else None

    def average(record: Record) -> float | None:
        values = [number for ood in oods if (number := one(record, ood)) is not None]
        return math.fsum(values) / len(values) if len(values) == len(oods) else None

    rows = [Row(in_dist, metric, title, "texts", texts=dict.fromkeys((c.key for c in columns), " "), block=metric)]
    for ood in oods:
        paper = partial(published.value, in_dist, ood, metric=metric)
        found = cells(lambda record, ood=ood: one(record, ood), paper, [ood])  # type: ignore[misc]
        rows.append(
            Row(in_dist, f"{metric}:{ood}", info(ood).title + stand_in_mark(ood, found), "ood", found, block=metric)
        )
    if len(oods) > 1:
        found = cells(average, lambda _: None, oods)
        rows.append(Row(in_dist, f"{metric}:average", f"average ({len(oods)})", "average", found, block=metric))
    return rows


def _seen_before(group: Group, in_dist: str, columns: list[Column]) -> list[str]:
    """Notes where a column learns from images of the very set that it is then to detect, or of the same origin."""
    configs = {run.config.label: run.config for run in group.runs if run.config.in_dist == in_dist}
    seen = []
    akin: dict[str, list[str]] = {}
    for column in columns:
        config = configs[column.label]
        used = {source for kind in config.kinds() for source in kind.sources} - {IN_DIST}
        sources = {config.data.sources[source] for source in used}
        names = {set_behind(source) for source in sources}
        seen += [f"{column.title}: {info(ood).title}" for ood in group.ood_sets(in_dist) if set_behind(ood) in names]
        origins = {info(source).taken_from for source in sources} - {""}
        alike = [info(o).title for o in group.ood_sets(in_dist) if info(o).taken_from in origins and o not in names]
        if alike:
            akin.setdefault(", ".join(alike), []).append(column.title)
    notes = [f"Not unseen, the training images are of the same set: {'; '.join(seen)}."] if seen else []
    for sets, titles in akin.items():
        notes.append(
            f"Of one origin with the outliers, and may be easier for it: {sets}, in {'; '.join(titles)}".rstrip(".")
            + "."
        )
    return notes
