"""The figure of the one-class protocol: AUROC of every class by method, and the means at the side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.data.catalog import info
from benchmark.report.figures import marker_size, style_of
from benchmark.report.intervals import Estimate, estimate
from benchmark.report.one_class import Column, OneClass
from benchmark.report.published import one_class as published

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def one_class(group: OneClass, in_dist: str) -> Figure:
    """A dot a class and method at the mean over seeds, the seeds and their spread behind it, published values open."""
    from matplotlib.figure import Figure

    many = len(group.classes)
    figure = Figure(figsize=(min(16.0, max(7.0, 3.6 + 0.75 * many)), 5.2), layout="constrained")
    classes, means = figure.subplots(1, 2, sharey=True, width_ratios=[max(many, 1), 1.9])
    places = slots(group)
    for place, name in enumerate(group.classes):
        for slot in places:
            if slot.column:
                values = list(group.values(slot.column, name).values())
                if values:
                    _dot(classes, slot, place + slot.offset, estimate(values), values)
            _open(classes, slot, place + slot.offset, slot.published(group, name))
    whole = many == group.total
    for slot in places:
        mean = group.mean(slot.column) if slot.column else None
        if mean and mean.ours:
            _dot(means, slot, slot.offset, mean.ours, list(mean.by_seed.values()), interval=True)
        _open(means, slot, slot.offset, slot.published_mean(group))
    _mean_lines(means, group)
    _frame(classes, [*group.classes], "AUROC (%) against all other classes")
    _frame(means, ["mean" if whole else f"mean of {many}"], "")
    _legend(figure, group, places)
    counts = sorted({len(v) for slot in places if slot.column and not slot.column.is_reference
                     for name in group.classes if (v := group.values(slot.column, name))})  # fmt: skip
    runs = "-".join(str(n) for n in sorted({counts[0], counts[-1]})) if counts else "0"
    spread = (
        "; dashes: seeds, bar: their range, of a mean 95% Student-t over seeds" if counts and counts[-1] > 1 else ""
    )
    heading = f"\n{group.heading}" if group.heading else ""
    figure.suptitle(f"One-class protocol on {info(group.parent).title}, {runs} run{'' if runs == '1' else 's'} a class "
                    f"and method{spread}{heading}", fontsize=10)  # fmt: skip
    if not places:
        classes.text(0.5, 0.5, "not measured yet", transform=classes.transAxes, ha="center", va="center")
    return figure


def _dot(axes: Axes, slot: Slot, x: float, of: Estimate, seeds: list[float], interval: bool = False) -> None:
    """The mean; behind it each seed and a bar over their range, or over the interval of a mean."""
    ends = (min(seeds), max(seeds))
    if interval and of.half is not None:
        ends = (of.mean - of.half, of.mean + of.half)
    if len(seeds) > 1:
        axes.plot([x, x], ends, color=slot.colour, linewidth=1.4, alpha=0.7, zorder=2, solid_capstyle="butt")
        axes.plot([x] * len(seeds), seeds, linestyle="", marker="_", markersize=6, color=slot.colour, zorder=2)
    hollow = slot.column is not None and slot.column.is_reference
    axes.plot(x, of.mean, linestyle="", marker=slot.marker, markersize=0.75 * marker_size(slot.marker),
              color=slot.colour, markerfacecolor="white" if hollow else slot.colour,
              markeredgecolor=slot.colour if hollow else "white", markeredgewidth=1.2 if hollow else 0.5,
              zorder=3)  # fmt: skip


def _open(axes: Axes, slot: Slot, x: float, value: float | None) -> None:
    """A published value: an open marker, larger than ours, so that both are seen where they agree."""
    if value is not None:
        axes.plot(x, value, linestyle="", marker=slot.marker, markersize=1.2 * marker_size(slot.marker),
                  color=slot.colour, markerfacecolor="none", markeredgewidth=1.1, zorder=2.5)  # fmt: skip


def _mean_lines(axes: Axes, group: OneClass) -> None:
    """Published means of other systems: lines with their names."""
    if not (published.is_known(group.parent) and len(group.classes) == group.total):
        return
    for name, value in published.MEANS_ALONE.items():
        axes.axhline(value, color="#444444", linestyle=(0, (4, 2)), linewidth=0.8, zorder=1)
        axes.annotate(f"{name} {value:.1f}", (1.0, value), (4, 0), xycoords=("axes fraction", "data"), fontsize=7,
                      textcoords="offset points", va="center", color="#444444", annotation_clip=False)  # fmt: skip


def _frame(axes: Axes, names: list[str], y_label: str) -> None:
    """A class a tick, thin lines between the classes, chance dotted where it is in sight."""
    axes.set_xlim(-0.5, max(len(names), 1) - 0.5)
    turned = len(names) > 12
    axes.set_xticks(range(len(names)), names, fontsize=8, rotation=90 if turned else 0)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    for edge in range(1, len(names)):
        axes.axvline(edge - 0.5, color="#cccccc", linewidth=0.7, zorder=0)
    low, high = axes.get_ylim()
    if low < 50 < high:
        axes.axhline(50, color="#666666", linestyle=":", linewidth=1, zorder=0)
    axes.set_ylabel(y_label)


def _legend(figure: Figure, group: OneClass, places: list[Slot]) -> None:
    """Below the panels; published values as open markers of the same shape."""
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    for slot in places:
        if slot.column:
            face = "white" if slot.column.is_reference else slot.colour
            handles.append(Line2D([], [], linestyle="", marker=slot.marker, markersize=marker_size(slot.marker) * 0.85,
                                  color=slot.colour, markerfacecolor=face, label=slot.legend(group)))  # fmt: skip
    if published.is_known(group.parent):
        for slot in {slot.label: slot for slot in reversed(places) if slot.label in published.MEANS}.values():
            size, name = marker_size(slot.marker) * 1.1, f"{slot.label}, published"
            handles.append(Line2D([], [], linestyle="", marker=slot.marker, markersize=size, color=slot.colour,
                                  markerfacecolor="none", label=name))  # fmt: skip
    columns = max(1, min(6, math.ceil(len(handles) / 2)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False,
                  handletextpad=0.2, columnspacing=1.4)  # fmt: skip
