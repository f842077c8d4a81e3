"""The figure of the conclusion: what each variant detects, near and far, beside the published value."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.data.catalog import info, is_near
from benchmark.plan.methods import REFERENCES
from benchmark.plan.titles import title_of
from benchmark.report.figures.files import Key, Picture
from benchmark.report.figures.panels import Dot, Dots
from benchmark.report.figures.style import GREY, style_of
from benchmark.report.groups import Group
from benchmark.report.intervals import hanley_mcneil
from benchmark.report.numbers import averages_over, estimate
from benchmark.report.published import sets as published
from benchmark.store.records import Record


def variants(group: Group, in_dist: str) -> Picture | None:
    """AUROC on near OOD (left) and far OOD (right) of DINO's variants and of the reference rows, with 95% intervals and
    the published values; a set of sets is averaged."""
    oods = group.ood_sets(in_dist)
    near = [ood for ood in oods if is_near(in_dist, ood)]
    far = [ood for ood in oods if ood not in near]
    dino = {run.config.label for run in group.runs if run.config.method.name == "dino"}
    labels = [label for label in group.labels(in_dist) if label in dino or label in REFERENCES]
    shown = [label for label in labels if group.records(in_dist, label)]
    kinds = [(kind, sets) for kind, sets in (("near", near), ("far", far)) if sets]
    panels = tuple(_panel(*one, group, in_dist, shown, first=one is kinds[0]) for one in kinds)
    if not panels or not set(shown) - set(REFERENCES):
        return None
    keys = (
        Key("interval", "ours, mean over seeds", GREY, "o", "interval"),
        Key("single", "ours, one run", GREY, "o", "single"),
        Key("reference", "not trained", GREY, "s", "reference"),
        Key("published", "published", GREY, "o", "published"),
    )
    heading = (
        f"AUROC by negatives: trained on {info(in_dist).title}; bars: 95%, over seeds, or over test images of one run"
    )
    told = f"\n{group.heading}" if group.heading else ""
    return Picture(heading + told, (panels,), keys, (4.9 * len(panels) + 0.4, 4.4), widths=(1.0,) * len(panels))


def _panel(kind: str, sets: Sequence[str], group: Group, in_dist: str, labels: Sequence[str], first: bool) -> Dots:
    dots = []
    for place, label in enumerate(labels):
        records = group.records(in_dist, label)
        seeds, shared = averages_over(sets, records)
        paper = None if label in REFERENCES else published.average(in_dist, sets, label)
        if list(sets) != shared:
            dots.append(Dot(label, title_of(label), *style_of(label), place, published=paper))
            continue
        ours = estimate(list(seeds.values()))
        half = ours.half if ours.half is not None else _of_images(next(iter(records.values())), sets)
        dots.append(Dot(label, title_of(label), *style_of(label), place, ours, (ours.mean - half, ours.mean + half),
                        seeds if ours.n > 1 else {}, paper, label in REFERENCES))  # fmt: skip
    names = info(sets[0]).title if len(sets) == 1 else f"mean of {len(sets)} sets"
    places = [title_of(label) for label in labels]
    return Dots(f"{kind} OOD: {names}", places, dots, "AUROC, %" if first else "", slanted=True)


def _of_images(record: Record, sets: Sequence[str]) -> float:
    """Half the 95% interval of one run's average that its numbers of images leave: the mean of the sets' own, which is
    the most that it can be, since all share the ID test images."""
    found = [record.own_score.ood[ood] for ood in sets]
    return 1.96 * sum(hanley_mcneil(one.auroc, one.n_id, one.n_ood) for one in found) / len(found)
