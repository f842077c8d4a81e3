"""The figure of the conclusion: what each variant detects, near and far, beside the published value."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.data.catalog import info
from benchmark.report.figures.files import Key, Picture
from benchmark.report.figures.panels import Dot, Dots
from benchmark.report.figures.style import GREY, style_of
from benchmark.report.groups import Case, Column, Group, by_nearness
from benchmark.report.intervals import estimate, hanley_mcneil
from benchmark.report.published import sets as published
from benchmark.store.records import Record


def variants(group: Group, in_dist: str) -> Picture | None:
    """AUROC on near OOD (left) and far OOD (right) of DINO's variants and of the reference rows, with 95% intervals and
    the published values; a set of sets is averaged."""
    parts = zip(("near", "far"), by_nearness(group.cases(in_dist)), strict=True)
    kinds = [(kind, cases) for kind, cases in parts if cases]
    shown = [column for column in group.columns(in_dist) if group.records(in_dist, column.key)
             and (column.is_reference or column.config.method.name == "dino")]  # fmt: skip
    panels = tuple(_panel(*one, group, in_dist, shown, first=one is kinds[0]) for one in kinds)
    if not panels or all(column.is_reference for column in shown):
        return None
    dots = [dot for panel in panels for dot in panel.dots]
    ours = [dot for dot in dots if dot.ours and not dot.reference]  # a reference is named below the axis
    kinds_of_mark = (
        (any(dot.seeds for dot in ours), Key("interval", "ours: mean over seeds, a dash per seed", GREY, "o")),
        (any(not dot.seeds for dot in ours), Key("single", "ours: one run", GREY, "o", "single")),
        (any(dot.published for dot in dots), Key("published", "published (larger)", GREY, "o", "published")),
    )
    keys = tuple(key for is_drawn, key in kinds_of_mark if is_drawn)
    heading = (
        f"AUROC by negatives: trained on {info(in_dist).title}; bars: 95%, over seeds, or over test images of one run"
    )
    told = f"\n{group.heading}" if group.heading else ""
    return Picture(heading + told, (panels,), keys, (4.9 * len(panels) + 0.4, 4.4), widths=(1.0,) * len(panels))


def _panel(kind: str, cases: Sequence[Case], group: Group, in_dist: str, columns: Sequence[Column], first: bool
           ) -> Dots:  # fmt: skip
    mean = group.mean(cases)
    dots = []
    for place, column in enumerate(columns):
        paper = published.average(in_dist, [case.ood for case in cases], column.paper)
        where = column.label, column.title, *style_of(column.label), place
        if list(cases) != mean.cases[column.key]:
            dots.append(Dot(*where, published=paper))
            continue
        seeds = mean.seeds(column.key)
        ours = estimate(list(seeds.values()))
        one = group.records(in_dist, column.key)[next(iter(seeds))]
        half = ours.half if ours.half is not None else _of_images(one, group.score_of(one), cases)
        dots.append(Dot(*where, ours, (ours.mean - half, ours.mean + half), seeds if ours.n > 1 else {}, paper,
                        column.is_reference))  # fmt: skip
    names = cases[0].title if len(cases) == 1 else f"mean of {len(cases)} sets"
    places = [column.title for column in columns]
    return Dots(f"{kind} OOD: {names}", places, dots, "AUROC, %" if first else "", slanted=True)


def _of_images(record: Record, score: str, cases: Sequence[Case]) -> float:
    """Half the 95% interval of one run's average that its numbers of images leave: the mean of the sets' own, which is
    the most that it can be, since all share the ID test images."""
    found = [record.scores[score].ood[case.ood] for case in cases]
    return 1.96 * sum(hanley_mcneil(one.auroc, one.n_id, one.n_ood) for one in found) / len(found)
