"""The figure of the one-class protocol: AUROC of every class by method, and the means at the side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.data.catalog import info
from benchmark.plan.titles import title_of
from benchmark.report.figures.files import Key, Picture
from benchmark.report.figures.panels import Dot, Dots
from benchmark.report.figures.style import style_of
from benchmark.report.groups import Column, Group, seeds_of
from benchmark.report.intervals import estimate
from benchmark.report.published import one_class as published

_SPARE = ("s", "^", "v", "X", "P", "*", "D", "o")  # markers for further recipes of a label
_ROOM = 0.84  # of a class's width that its points take


def slots(group: Group) -> list[tuple[Column, Dot]]:
    """The columns with a value, after what is published class by class alone, from left to right: each with its dot, of
    no value, whose x is its distance from the middle of a class; several recipes of a label differ in their marker."""
    cases = group.cases(group.parent)
    numbers = [group.values("auroc", case.in_dist, case.ood) for case in cases]
    shown = [column for column in group.columns() if any(seeds_of(one, column.key) for one in numbers)]
    if published.is_known(group.parent):
        labels = {column.label for column in shown}
        shown = [Column(one, one, one, paper=one) for one in published.MEANS if one not in labels] + shown
    made: list[tuple[Column, Dot]] = []
    for place, column in enumerate(shown):
        colour, marker = style_of(column.label)
        used = [dot.shape for _, dot in made if dot.colour == colour]
        if marker in used:
            marker = next((spare for spare in _SPARE if spare not in used), marker)
        if column.label in {other.label for other, _ in made}:  # published values are shown once a label
            column = replace(column, paper="")
        offset = (place - (len(shown) - 1) / 2) * _ROOM / len(shown)
        dot = Dot(column.label, column.title, colour, marker, offset, reference=column.is_reference)
        made.append((column, dot))
    return made


def one_class(group: Group, subject: str) -> Picture:
    """A dot per class and method at the mean over seeds, the seeds and their range behind it, published values open;
    beside it the means over classes with their intervals."""
    cases = group.cases(subject)
    whole = len(cases) == group.total
    mean, places = group.mean(cases), slots(group)
    dots, means = [], []
    counts = set()
    for column, at in places:
        for place, case in enumerate(cases):
            seeds = seeds_of(group.values("auroc", case.in_dist, case.ood), column.key)
            ends = (min(seeds.values()), max(seeds.values())) if len(seeds) > 1 else None
            paper = published.value(subject, case.title, column.paper)
            dots.append(_filled(at, place, seeds, ends, paper))
            counts |= {len(seeds)} if seeds and not column.is_reference else set()
        seeds = mean.seeds(column.key)
        ours = estimate(list(seeds.values())) if seeds else None
        ends = (ours.mean - ours.half, ours.mean + ours.half) if ours and ours.half is not None else None
        means.append(_filled(at, 0, seeds, ends, published.mean(subject, column.paper) if whole else None))
    rules = published.MEANS_ALONE if published.is_known(subject) and whole else {}
    runs = "-".join(map(str, sorted({min(counts), max(counts)}))) if counts else "0"
    spread = "; dashes: seeds, bar: their range, of a mean 95% Student-t" if max(counts, default=0) > 1 else ""
    spread += "; pale: n = 1" if 1 in counts else ""
    heading = f"\n{group.heading}" if group.heading else ""
    shown = [[dot for dot in some if dot.ours or dot.published is not None] for some in (dots, means)]
    panels = (Dots("", [case.title for case in cases], shown[0], "AUROC (%) against all other classes"),
              Dots("", ["mean" if whole else f"mean of {len(cases)}"], shown[1], rules=rules))  # fmt: skip
    over = {key: len(some) for key, some in mean.cases.items() if 0 < len(some) < len(cases)}
    return Picture(
        f"One-class protocol on {info(subject).title}, {runs} run{'' if runs == '1' else 's'} per class and method"
        f"{spread}{heading}",
        (panels,), keys_of(places, over, published.is_known(subject)),
        (min(16.0, max(7.0, 3.6 + 0.75 * len(cases))), 5.2), widths=(max(len(cases), 1), 1.9),
    )  # fmt: skip


def _filled(at: Dot, place: int, seeds: dict[int, float], ends: tuple[float, float] | None, paper: float | None) -> Dot:
    ours = estimate(list(seeds.values())) if seeds else None
    return replace(at, x=place + at.x, ours=ours, ends=ends, seeds=seeds, published=paper)


def keys_of(places: Sequence[tuple[Column, Dot]], over: dict[str, int], known: bool) -> tuple[Key, ...]:
    """The methods, and over how many classes a mean is where these are not all; published values as open markers of the
    same shape."""
    keys = [Key(dot.label, dot.title + (f" (mean of {over[column.key]})" if column.key in over else ""), dot.colour,
                dot.shape, "reference" if dot.reference else "interval")
            for column, dot in places if not column.is_quoted]  # fmt: skip
    first = {dot.label: dot for _, dot in reversed(places) if known and dot.label in published.MEANS}
    return (*keys, *(Key(dot.label, f"{title_of(dot.label)}, published", dot.colour, dot.shape, "published")
                     for dot in first.values()))  # fmt: skip
