"""The table of detectors with labels or outliers: AUROC, AUPR and FPR95 by OOD set, in Outlier Exposure's convention.

OOD images are the positives of AUPR and of FPR95; AUPR is that of one OOD image to five in-distribution ones
(Hendrycks, Mazeika and Dietterich, ICLR 2019, section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from benchmark.data.catalog import info, set_behind
from benchmark.negatives import IN_DIST
from benchmark.plan.training_data import meaning
from benchmark.report.groups import Column, Group, seeds_of
from benchmark.report.images import of_column
from benchmark.report.published import detectors as published
from benchmark.report.tables.about import about
from benchmark.report.tables.auroc import case_row, columns_of
from benchmark.report.tables.cells import Cell, Row, Table, by_key, trained
from benchmark.report.tables.notes import missing_notes, row_notes
from benchmark.report.tables.tied import bold_note, mark_best

# key -> title, the metric of the measurements, whether more is better
METRICS = {
    "auroc": ("AUROC", "auroc", True),
    "aupr": ("AUPR", "aupr_oe", True),
    "fpr95": ("FPR95", "fpr95_ood", False),
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
    columns = by_key(columns_of(group, in_dist))
    learns_from = {key: column.learns_from for key, column in columns.items()}
    rows = [Row(in_dist, "training data", "training data", "texts", texts=learns_from, block=in_dist)]
    for metric in METRICS:
        rows += _block(group, in_dist, metric, columns)
    accuracy = group.values("accuracy", in_dist)
    cells = {key: Cell(seeds_of(accuracy, key), published.accuracy(in_dist, one.label)) for key, one in columns.items()}
    if any(cell.ours for cell in cells.values()):
        rows.append(Row(in_dist, "accuracy", "accuracy", "measure", mark_best(cells, trained(columns.values()))))
    counts = {key: str(len(group.records(in_dist, key))) for key in columns}
    title = f"Detectors by what they learn from. {info(in_dist).title} (in-distribution) against each OOD set"
    below = [CONVENTION, *bold_note(rows), *_notes(group, in_dist, columns, rows)]
    rows.append(Row(in_dist, "n", "n (runs)", "n", texts=counts))
    return Table("oe", title, group.heading, "OOD set", columns, rows, below)


def _block(group: Group, in_dist: str, metric: str, columns: Mapping[str, Column]) -> list[Row]:
    """A heading, one row per OOD set and their average."""
    title, measure, more = METRICS[metric]
    rows = [Row(in_dist, metric, title, "texts", texts=dict.fromkeys(columns, " "), block=metric)]
    cases = group.cases(in_dist)
    for case in cases:
        paper = lambda column, ood=case.ood: published.value(in_dist, ood, column.label, metric)  # noqa: E731
        row = case_row(group, case, columns, paper, measure, more)
        rows.append(replace(row, key=f"{metric}:{case.ood}", block=metric))
    if len(cases) > 1:
        mean = group.mean(cases, measure).whole
        images = {key: partial(of_column, group, key, cases) if metric == "auroc" else None for key in columns}
        cells = {key: Cell(seeds_of(mean, key), planned=True, images=images[key]) for key in columns}
        best = mark_best(cells, trained(columns.values()), more=more)
        rows.append(Row(in_dist, f"{metric}:average", f"average ({len(cases)})", "average", best, block=metric))
    return rows


def _notes(group: Group, in_dist: str, columns: Mapping[str, Column], rows: list[Row]) -> list[str]:
    sets = [replace(row, key=row.key.partition(":")[2], block="") for row in rows if row.section in ("ood", "average")]
    made = missing_notes(group, [in_dist], columns, sets) + row_notes(group, columns, sets)
    made.append(meaning([column.learns_from for column in columns.values()]))
    if any(cell.published is not None for row in rows for cell in row.cells.values()):
        made += published.notes(in_dist)
    return made + _seen_before(group, in_dist, columns) + about(group, [in_dist])


def _seen_before(group: Group, in_dist: str, columns: Mapping[str, Column]) -> list[str]:
    """Notes where a column learns from images of the very set that it is then to detect, or of the same origin."""
    seen = []
    akin: dict[str, list[str]] = {}
    for column in columns.values():
        config = column.config
        used = {source for kind in config.kinds() for source in kind.sources} - {IN_DIST}
        sources = {config.data.sources[source] for source in used}
        names = {set_behind(source) for source in sources}
        origins = {info(source).taken_from for source in sources} - {""}
        cases = group.cases(in_dist)
        seen += [f"{column.title}: {case.title}" for case in cases if set_behind(case.ood) in names]
        alike = [case.title for case in cases if info(case.ood).taken_from in origins and case.ood not in names]
        if alike:
            akin.setdefault(", ".join(alike), []).append(column.title)
    made = [f"Not unseen, the training images are of the same set: {'; '.join(seen)}."] if seen else []
    for sets, titles in akin.items():
        one = f"Of one origin with the outliers, and may be easier for it: {sets}, in {'; '.join(titles)}"
        made.append(one.rstrip(".") + ".")
    return made
