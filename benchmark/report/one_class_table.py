"""The table of the one-class protocol: a row a class and their mean, a column a method, published values beside."""

from __future__ import annotations

from functools import partial

from benchmark.data.catalog import info
from benchmark.plan.training_data import SCRATCH, training_data
from benchmark.report.cells import Cell, Row, Table
from benchmark.report.one_class import Column, OneClass, of_images
from benchmark.report.one_class_notes import notes
from benchmark.report.published import one_class as published
from benchmark.report.tied import bold_note, mark_best

DECIMALS = 1  # as published: a class has about a thousand test images
MEAN = "mean"  # the key of its row


def one_class(group: OneClass) -> list[Table]:
    """The one table of a group of runs on single classes of a set."""
    rivals = _rivals(group)
    columns = {column.key: column.title for column in group.columns if not column.is_reference}
    columns |= {title: f"{title} (publ.)" for title in rivals}
    columns |= {column.key: column.title for column in group.columns if column.is_reference}
    learns_from = {column.key: training_data(column.config) for column in group.columns}
    learns_from |= dict.fromkeys(rivals, SCRATCH)
    rows = [
        Row(group.parent, "training data", "training data", "texts", texts=learns_from, block=group.parent),
        *(_class_row(group, name, rivals) for name in group.classes),
        _mean_row(group, rivals),
        Row(group.parent, "n", "n (runs)", "n", texts=_counts(group), block=group.parent),
    ]
    set_title = info(group.parent).title
    title = (
        f"One-class protocol on {set_title}. AUROC in % of the test images of one class (in-distribution, trained on) "
        "against those of all other classes"
    )
    labels = {column.key: column.label for column in group.columns}
    said = bold_note(rows) + notes(group, learns_from)
    return [
        Table("one-class", title, group.heading, "class", columns, rows, said, labels=labels, training_data=learns_from,
              quoted=frozenset(rivals))
    ]  # fmt: skip


def _rivals(group: OneClass) -> list[str]:
    """The published columns: those of methods that this group has no column of, and those of other systems."""
    if not published.is_known(group.parent):
        return []
    ours = {column.label for column in group.columns}
    whole = [title for title, label in published.BY_CLASS.items() if label not in ours]
    shown = {title for label, title in published.OF_LABEL.items() if label in ours}
    alone = [title for title in published.MEANS_ALONE if title not in shown]
    return whole + (alone if len(group.classes) == group.total else [])


def _class_row(group: OneClass, name: str, rivals: list[str]) -> Row:
    cells = {}
    for column in group.columns:
        values = group.values(column, name)
        planned = bool(group.planned(column, name))
        cells[column.key] = Cell(values, published.value(group.parent, name, column.label), planned,
                                images=partial(of_images, group, [name], column))  # fmt: skip
    for title in rivals:
        label = published.BY_CLASS.get(title, "")
        cells[title] = Cell(published=published.value(group.parent, name, label))
    key = f"{group.parent}:{name}"
    ood = f"{group.parent}:not-{name}"
    return Row(key, ood, name, "ood", _mark_best(group.columns, cells), decimals=DECIMALS, block=group.parent)


def _mean_row(group: OneClass, rivals: list[str]) -> Row:
    """The mean over classes. A published one stands beside ours only where both are over all classes of the set."""
    cells = {}
    whole = len(group.classes) == group.total
    for column in group.columns:
        mean = group.mean(column)
        over = len(mean.classes) if mean.ours and len(mean.classes) < len(group.classes) else 0
        paper = published.mean(group.parent, column.label) if whole and not over else None
        planned = any(group.planned(column, name) for name in group.classes)
        images = partial(of_images, group, mean.classes, column)
        cells[column.key] = Cell(mean.by_seed, paper, planned, over=over, images=images)
    for title in rivals:
        label = published.BY_CLASS.get(title, "")
        paper = published.MEANS_ALONE.get(title, published.mean(group.parent, label))
        cells[title] = Cell(published=paper if whole else None)
    count = f"{len(group.classes)}" if whole else f"{len(group.classes)} of {group.total}"
    best = _mark_best(group.columns, cells)
    return Row(
        group.parent, MEAN, f"mean ({count})", "average", best, decimals=DECIMALS, block=group.parent, over=count
    )


def _mark_best(columns: list[Column], cells: dict[str, Cell]) -> dict[str, Cell]:
    return mark_best(cells, [column.key for column in columns if not column.is_reference], decimals=DECIMALS)


def _counts(group: OneClass) -> dict[str, str]:
    """n of each column: the number of seeds of a class, or the range of it."""
    texts = {}
    for column in group.columns:
        found = {len(group.values(column, name)) for name in group.classes if group.planned(column, name)}
        texts[column.key] = "-".join(map(str, sorted({min(found), max(found)}))) if found else "0"
    return texts
