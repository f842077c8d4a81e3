"""The table of scores: what detects, row by row, on what was trained, column by column. For both protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from benchmark.data.catalog import info, is_near
from benchmark.plan.methods import REFERENCES
from benchmark.plan.scores import passes
from benchmark.plan.titles import title_of
from benchmark.report.cells import Cell, Row, Table
from benchmark.report.groups import Group
from benchmark.report.images import of_records
from benchmark.report.numbers import auroc
from benchmark.report.one_class import OneClass, of_images
from benchmark.report.one_class_notes import about as about_classes
from benchmark.report.published import sets as published
from benchmark.report.table_notes import about, about_controls, kendall, seed_notes
from benchmark.report.tied import bold_note, mark_best
from benchmark.store.records import Record

OWN = "own"  # the key of the method's own score

NOTES = [
    f"{OWN}: the score that a method is published with; of DINO Eq. 6, at the record's temperature.",
    "Passes: of the network for a test image, 1 unless said.",
    "eq6-rotations and energy-gap ask the network about the image's rotated copies, their namesakes of permutations "
    "about shuffled ones, as served as negatives: no published method does. The formulas were fixed before measuring.",
]


def scores(group: Group | OneClass) -> list[Table]:
    """One table for each in-distribution set; of classes, one of their means."""
    if isinstance(group, OneClass):
        return _of_classes(group)
    shown = (i for i in group.in_dists if group.ood_sets(i) and scores_of(group.runs_of(i)))
    return [_of_set(group, in_dist) for in_dist in shown]


def _of_set(group: Group, in_dist: str) -> Table:
    labels = sorted(group.labels(in_dist), key=lambda label: label in REFERENCES)
    oods = group.ood_sets(in_dist)
    near = [ood for ood in oods if is_near(in_dist, ood)]
    rows = []
    far = [ood for ood in oods if ood not in near]
    for part, sets in (("near", near), ("far", far), ("all", oods), ("control", group.controls(in_dist))):
        named = ", ".join(info(ood).title for ood in sets) if len(sets) < 3 else f"{len(sets)} sets"

        def cell(label: str, score: str | None, sets: list[str] = sets) -> Cell:
            records = group.records(in_dist, label).items()
            values = {seed: v for seed, record in records if (v := _mean(record, sets, score)) is not None}
            return Cell(values, images=partial(of_records, [record for _, record in records], sets, score))

        if sets and not (part == "all" and not near):
            rows += _block(f"{part} ({named})", part, in_dist, scores_of(group.runs_of(in_dist)), labels, cell)
    title = f"Scores. Mean AUROC in % of {info(in_dist).title} (in-distribution) by the score that detects"
    columns = {label: title_of(label) for label in labels}
    order = _order_notes(in_dist, {"near": near, "all": oods}, labels, rows)
    counts = {label: str(len(group.records(in_dist, label))) for label in labels}
    rows.append(Row(in_dist, "n", "n (runs)", "n", texts=counts))
    notes = (
        NOTES
        + bold_note(rows, "column")
        + seed_notes([row for row in rows if row.block == rows[0].block], columns)
        + order
        + about_controls(group, in_dist)
        + about(group, [in_dist])
    )
    return Table("scores", title, group.heading, "score", columns, rows, notes)


def _order_notes(in_dist: str, parts: dict[str, list[str]], labels: list[str], rows: list[Row]) -> list[str]:
    """How the columns' order by each score agrees with the published one, where three or more columns have both."""
    notes = []
    for part, sets in parts.items():
        paper = {label: value for label in labels if (value := published.average(in_dist, sets, label)) is not None}
        found = []
        for row in rows:
            if row.block == part and row.cells and len(paper) >= 3 and all(row.cells[label].ours for label in paper):
                ours = [row.cells[label].ours.mean for label in paper]  # type: ignore[union-attr]
                found.append(f"{row.key.removeprefix(f'{part}:')} {kendall(ours, list(paper.values()))}")
        if found:
            notes.append(
                f"Kendall's τ of the columns' order with the published one (by Eq. 6), n = {len(paper)}, {part}: "
                f"{', '.join(found)}."
            )
    return notes


def _of_classes(group: OneClass) -> list[Table]:
    asked = scores_of(group.runs)
    if not asked:
        return []
    by_key = {column.key: column for column in group.columns}
    ordered = sorted(by_key, key=lambda key: by_key[key].is_reference)

    def cell(key: str, score: str | None) -> Cell:
        mean = group.mean(by_key[key], score)
        over = len(mean.classes) if mean.ours and len(mean.classes) < len(group.classes) else 0
        return Cell(mean.by_seed, over=over, images=partial(of_images, group, mean.classes, by_key[key], score))

    rows = _block(f"mean of {len(group.classes)} classes", "near", group.parent, asked, ordered, cell)
    fewer = [f"{by_key[key].title}, {row.title}: {one.over} of {len(group.classes)}" for row in rows
             for key, one in row.cells.items() if one.over]  # fmt: skip
    partly = [f"* over the classes that have been scored so: {'; '.join(fewer)}; never bold."] if fewer else []
    counts = {key: str(len(group.mean(by_key[key]).by_seed)) for key in ordered}
    columns = {key: by_key[key].title for key in ordered}
    rows.append(Row(group.parent, "n", "n (runs)", "n", texts=counts))
    notes = [*NOTES, *bold_note(rows, "column"), *partly, *seed_notes(rows, columns), *about_classes(group)]
    title = (
        f"Scores, one-class protocol on {info(group.parent).title}. Mean AUROC in % of one class against the others by "
        "the score that detects"
    )
    labels = {column.key: column.label for column in group.columns}
    return [Table("scores", title, group.heading, "score", columns, rows, notes, labels=labels)]


def scores_of(runs: Iterable[object]) -> list[str]:
    """The scores that any of the runs are asked for, in the order of the sweep."""
    return list(dict.fromkeys(name for run in runs for name in run.config.scores()))  # type: ignore[attr-defined]


def _mean(record: Record, sets: list[str], score: str | None) -> float | None:
    values = [auroc(record, ood, score) for ood in sets]
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if len(found) == len(sets) else None


def _block(
    title: str, part: str, in_dist: str, asked: list[str], columns: list[str], cell: Callable[[str, str | None], Cell]
) -> list[Row]:
    """A heading, and a row a score, the method's own first; the best of each trained column marked."""
    keys: dict[str, str | None] = {OWN: None, **{name: name for name in asked}}
    made = {key: {column: cell(column, score) for column in columns} for key, score in keys.items()}
    for column in columns:
        if part != "control":
            marked = mark_best({key: made[key][column] for key in keys}, keys, decimals=1)
            for key, one in marked.items():
                made[key][column] = one
    rows = [Row(in_dist, part, title, "texts", texts=dict.fromkeys(columns, " "), block=part)]
    for key, score in keys.items():
        count = passes(score) if score else 1
        name = f"{key}, {count} passes" if count > 1 else key
        rows.append(Row(in_dist, f"{part}:{key}", name, "ood", made[key], decimals=1, block=part))
    return rows
