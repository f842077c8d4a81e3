"""The figure of the one-class protocol: AUROC of every class by method, and the means at the side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.data.catalog import info
from benchmark.plan.titles import title_of
from benchmark.report.figures.files import Key, Picture
from benchmark.report.figures.panels import Dot, Dots
from benchmark.report.figures.style import style_of
from benchmark.report.intervals import Estimate, estimate
from benchmark.report.one_class import Column, OneClass
from benchmark.report.published import one_class as published

_SPARE = ("s", "^", "v", "X", "P", "*", "D", "o")  # markers for further recipes of a label
_ROOM = 0.84  # of a class's width that its points take


@dataclass(frozen=True)
class Slot:
    """A method's place in every class. offset: from the class's middle, in widths of a class. column: None where only
    published values are known; then `label` says of which. paper: published values are shown here, so once a label.
    """

    title: str
    label: str
    colour: str
    marker: str
    offset: float
    column: Column | None
    paper: bool = True

    def published(self, group: OneClass, name: str) -> float | None:
        """The published AUROC of a class to show at this place."""
        return published.value(group.parent, name, self.label) if self.paper else None

    def published_mean(self, group: OneClass) -> float | None:
        """That of the mean, where ours is over the same classes."""
        whole = len(group.classes) == group.total
        return published.mean(group.parent, self.label) if self.paper and whole else None

    def legend(self, group: OneClass) -> str:
        """The method, and over how many classes its mean is where these are not all that are shown."""
        mean = group.mean(self.column).classes if self.column else []
        return self.title + (f" (mean of {len(mean)})" if mean and len(mean) < len(group.classes) else "")


def slots(group: OneClass) -> list[Slot]:
    """The methods with a value, from left to right; several recipes of a label differ in their marker."""
    shown = [column for column in group.columns if any(group.values(column, name) for name in group.classes)]
    labels = {column.label for column in shown}
    alone = [label for label in published.MEANS if label not in labels] if published.is_known(group.parent) else []
    count = len(shown) + len(alone)
    offsets = [(place - (count - 1) / 2) * _ROOM / max(count, 1) for place in range(count)]
    made: list[Slot] = []
    for label, offset in zip(alone, offsets, strict=False):
        made.append(Slot(label, label, *style_of(label), offset, None))
    for column, offset in zip(shown, offsets[len(alone) :], strict=True):
        colour, marker = style_of(column.label)
        used = [slot.marker for slot in made if slot.colour == colour]
        if marker in used:
            marker = next((spare for spare in _SPARE if spare not in used), marker)
        first = column.label not in {slot.label for slot in made}
        made.append(Slot(column.title, column.label, colour, marker, offset, column, first))
    return made


def one_class(group: OneClass, in_dist: str) -> Picture:
    """A dot a class and method at the mean over seeds, the seeds and their range behind it, published values open; and
    the means over classes with their intervals."""
    many = len(group.classes)
    whole = many == group.total
    places = slots(group)
    dots, means = [], []
    for slot in places:
        for place, name in enumerate(group.classes):
            values = group.values(slot.column, name) if slot.column else {}
            ours = estimate(list(values.values())) if values else None
            ends = (min(values.values()), max(values.values())) if len(values) > 1 else None
            dots += _dot(slot, place, ours, ends, values, slot.published(group, name))
        mean = group.mean(slot.column) if slot.column else None
        ours, values = (mean.ours, mean.by_seed) if mean else (None, {})
        ends = (ours.mean - ours.half, ours.mean + ours.half) if ours and ours.half is not None else None
        means += _dot(slot, 0, ours, ends, values, slot.published_mean(group))
    rules = published.MEANS_ALONE if published.is_known(group.parent) and whole else {}
    counts = sorted({len(v) for slot in places if slot.column and not slot.column.is_reference
                     for name in group.classes if (v := group.values(slot.column, name))})  # fmt: skip
    runs = "-".join(str(n) for n in sorted({counts[0], counts[-1]})) if counts else "0"
    spread = "; dashes: seeds, bar: their range, of a mean 95% Student-t" if counts and counts[-1] > 1 else ""
    spread += "; pale: n = 1" if counts and counts[0] == 1 else ""
    heading = f"\n{group.heading}" if group.heading else ""
    panels = (Dots("", group.classes, dots, "AUROC (%) against all other classes"),
              Dots("", ["mean" if whole else f"mean of {many}"], means, rules=rules))  # fmt: skip
    return Picture(
        f"One-class protocol on {info(group.parent).title}, {runs} run{'' if runs == '1' else 's'} a class and method"
        f"{spread}{heading}",
        (panels,), tuple(keys_of(group, places)), (min(16.0, max(7.0, 3.6 + 0.75 * many)), 5.2),
        widths=(max(many, 1), 1.9),
    )  # fmt: skip


def _dot(slot: Slot, place: int, ours: Estimate | None, ends: tuple[float, float] | None, values: Mapping[int, float],
         paper: float | None) -> list[Dot]:  # fmt: skip
    """The dot of a method at a place, [] where it has nothing there."""
    reference = slot.column is not None and slot.column.is_reference
    if ours is None and paper is None:
        return []
    where = slot.label, slot.title, slot.colour, slot.marker, place + slot.offset
    return [Dot(*where, ours, ends, values, paper, reference)]


def keys_of(group: OneClass, places: list[Slot]) -> list[Key]:
    """The methods; published values as open markers of the same shape."""
    keys = [Key(slot.label, slot.legend(group), slot.colour, slot.marker,
                "reference" if slot.column.is_reference else "interval") for slot in places if slot.column]  # fmt: skip
    if published.is_known(group.parent):
        for slot in {slot.label: slot for slot in reversed(places) if slot.label in published.MEANS}.values():
            keys.append(Key(slot.label, f"{title_of(slot.label)}, published", slot.colour, slot.marker, "published"))
    return keys
