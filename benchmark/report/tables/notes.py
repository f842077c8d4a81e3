"""The notes below a table of AUROCs: what is missing, stood in for, published elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmark.data.catalog import info, is_near, set_behind
from benchmark.errors import some_of
from benchmark.plan.scores import OWN
from benchmark.plan.titles import title_of
from benchmark.plan.training_data import meaning
from benchmark.report.groups import Column, Group
from benchmark.report.intervals import kendall
from benchmark.report.published import one_class, sets
from benchmark.report.tables.about import about
from benchmark.report.tables.cells import Row
from benchmark.report.tables.tied import bold_note

Columns = Mapping[str, Column]


def notes(group: Group, subjects: Sequence[str], columns: Columns, rows: list[Row]) -> list[str]:
    """All that Tables 1, 2 and one-class need said, in order."""
    made = missing_notes(group, subjects, columns, rows) + bold_note(rows) + row_notes(group, columns, rows)
    if any(column.learns_from for column in columns.values()):
        made.append(meaning([column.learns_from for column in columns.values()]))
    made += _of_classes(group, columns) if group.parent else []
    return made + _published(group, columns, rows) + about(group, subjects)


def missing_notes(group: Group, subjects: Sequence[str], columns: Columns, rows: list[Row]) -> list[str]:
    planned = missing = 0
    parts = []
    for subject in subjects:
        cases = [row for row in rows if row.section == "ood" and row.subject == subject]
        gaps = []
        for key, column in columns.items():
            wanted = [row for row in cases if row.cells[key].planned]
            gone = [row.title for row in wanted if not row.cells[key].ours]
            planned, missing = planned + len(wanted), missing + len(gone)
            if gone:
                gaps.append(f"{column.heading} ({'all' if len(gone) == len(wanted) else ', '.join(gone)})")
        if gaps:
            parts.append((f"{info(subject).title}: " if len(subjects) > 1 else "") + ", ".join(gaps))
    made = [f"{missing} of {planned} cells missing: {'; '.join(parts)}."] if missing else []
    runs = [run for subject in subjects for run in group.runs_of(subject)]
    todo = [run.config.short_name for run in runs if not run.record]
    return made + ([f"{len(todo)} of {len(runs)} runs have no record yet: {some_of(todo, 6)}."] if todo else [])


def seed_notes(columns: Columns, rows: list[Row]) -> list[str]:
    """What ± is, where there is one, and where a column's rows are over fewer seeds than its others."""
    found = {key: [(row, ours) for row in rows if (cell := row.cells.get(key)) and (ours := cell.ours)]
             for key in columns}  # fmt: skip
    made = []
    if any(ours.half is not None for of_column in found.values() for _, ours in of_column):
        made.append("± is half of the 95% Student-t interval of the mean over n runs (seeds), of an average over sets "
                    "or classes over the seeds' averages, not over the classes; n = 1 has none.")  # fmt: skip
    mixed = []
    for key, of_column in found.items():
        usual = max((ours.n for _, ours in of_column), default=0)
        fewer = [f"{row.title} n = {ours.n}" for row, ours in of_column if ours.n < usual]
        if fewer and len({row.subject for row in rows}) == 1:
            mixed.append(f"{columns[key].heading}: {', '.join(fewer)}, the rest n = {usual}")
    return made + ([f"n differs within a column: {'; '.join(mixed)}."] if mixed else [])


def row_notes(group: Group, columns: Columns, rows: list[Row]) -> list[str]:
    cases, averages = ([row for row in rows if row.section == kind] for kind in ("ood", "average"))
    made = [] if cases else ["These runs score no OOD set (eval.ood: []): no AUROC is measured."]
    made += seed_notes(columns, rows)
    incomplete = [text for row in averages for key in columns if (text := _incomplete(row, key, columns[key], cases))]
    if incomplete:
        made.append(f"* incomplete, over what all seeds of the column have: {'; '.join(incomplete)}.")
    if group.parent and len(cases) < group.total:
        made.append(f"The sweep has {len(cases)} of the {group.total} classes of {info(group.parent).title}: its means "
                    "are over these.")  # fmt: skip
    stand_ins = dict.fromkeys(f"{info(row.key).title} stands in for {info(sets.original(row.key)).title}"
                              for row in cases if row.stands_in)  # fmt: skip
    if stand_ins:
        made.append(f"† {'; '.join(stand_ins)}: the published value is of other images.")
    if any(set_behind(row.in_dist) == "cifar10" and sets.original(row.key) == "stl10" for row in cases):
        made.append("STL10 shares all its classes but monkey with CIFAR10: a test of shift, not of new classes.")
    measured = {row.title for row in rows if row.section == "measure"}
    if "sensitivity" in measured:
        made.append("sensitivity: AUROC of ID training images against ID test images; at 50 they look alike.")
    if any(title.startswith("occupied") for title in measured):
        made.append("occupied: soft classes whose mean probability over the ID test images is above the average.")
    if any(column.is_reference for column in columns.values()):
        of = (
            "A class that they already tell from the others"
            if group.parent
            else "An OOD set that they already separate"
        )
        return [*made, f"untrained, image statistics: references. {of} proves nothing."]
    easy = "classes" if group.parent else "OOD sets"
    return [*made, f"This sweep has no reference rows (untrained, image-statistics): easy {easy} are not noticed."]


def _incomplete(row: Row, key: str, column: Column, cases: list[Row]) -> str:
    """Over how many cases an average is that is not over all, or that there is none."""
    cell = row.cells[key]
    of = [case for case in cases if case.subject == row.subject and case.cells[key].ours]
    if cell.over:
        whole = f", all of them in seed {', '.join(map(str, cell.complete))} alone" if cell.complete else ""
        return f"{column.heading}, {row.title}: over {cell.over}{whole}"
    return f"{column.heading}, {row.title}: none in common" if cell.planned and of and not cell.ours else ""


def _of_classes(group: Group, columns: Columns) -> list[str]:
    made = [f"The class labels of {info(group.parent).title} are used to select the images of the one class, and for "
            "nothing else."]  # fmt: skip
    several = [f"{column.title}: {column.own}" for column in columns.values() if column.own]
    return made + ([f"Columns of one name are of different settings. {'; '.join(several)}."] if several else [])


def _published(group: Group, columns: Columns, rows: list[Row]) -> list[str]:
    quoted = [column for column in columns.values() if column.is_quoted]
    others = ["Columns marked (publ.) are published figures of others' systems, not run here."] if quoted else []
    if group.parent:
        return [*one_class.NOTES, *others] if one_class.is_known(group.parent) else []
    shown = {(sets.original(row.in_dist), sets.original(row.key), columns[key].paper)
             for row in rows for key, cell in row.cells.items() if cell.published is not None}  # fmt: skip
    if not shown:
        return []
    made = ["Published: ViT-S/16, views of 256 and 128 px, K = 4096, 500 epochs, single runs (arXiv 2201.06378). "
            "Published averages are shown where the sets are the paper's.", *others]  # fmt: skip
    trained = [f"{column.title}: {title_of(column.label)}" + (f" by {column.score}" if column.score != OWN else "")
               for column in columns.values() if column.runs]  # fmt: skip
    if trained:
        how = "; ".join(trained)
        made.append(f"Trained here, each with settings of its own: {how}. Their published values are others' systems.")
    if shown & sets.DOUBTFUL:
        made.append(
            "The paper prints the same CIFAR100 (93.77) and SVHN (99.86) for DTI and Rot. DTI, probably a slip."
        )
    order = rank_agreement(columns, rows)
    return made + ([order] if order else [])


def rank_agreement(columns: Columns, rows: list[Row]) -> str | None:
    """Kendall's tau between the columns' order in our averages and in the published ones, None below three columns.

    Over the OOD sets that the paper has and that all compared columns have; over the near ones of these too.
    """
    cases = [row for row in rows if row.section == "ood" and any(c.published is not None for c in row.cells.values())]
    chosen = [key for key in columns if any(row.cells[key].difference is not None for row in cases)]
    cases = [row for row in cases if all(row.cells[key].difference is not None for key in chosen)]
    if len(chosen) < 3 or not cases:
        return None

    def agreement(over: list[Row]) -> str:
        ours = [math.fsum(row.cells[key].ours.mean for row in over) for key in chosen]  # type: ignore[union-attr]
        paper = [math.fsum(row.cells[key].published or 0.0 for row in over) for key in chosen]
        return tau_in_words(kendall(ours, paper))

    near = [row for row in cases if is_near(row.in_dist, row.key)]
    names = ", ".join(row.heading for row in near)
    alone = f"; by {names} alone {agreement(near)}" if 0 < len(near) < len(cases) else ""
    return (f"Kendall's τ of our order of columns with the published one, n = {len(chosen)} columns: "
            f"by the average over {len(cases)} OOD sets {agreement(cases)}{alone}.")  # fmt: skip


def tau_in_words(tau: tuple[float, float] | None) -> str:
    return "undefined (all equal)" if tau is None else f"{tau[0]:.2f} (p = {tau[1]:.2g})"
