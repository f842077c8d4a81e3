"""Figures 2 and 3: occupied soft classes, and what goes with good detection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmark.data.catalog import info, is_near
from benchmark.plan.methods import REFERENCES
from benchmark.plan.titles import title_of
from benchmark.report.figures.files import Key, Picture
from benchmark.report.figures.panels import Bars, Point, Scatter
from benchmark.report.figures.style import style_of
from benchmark.report.groups import Group
from benchmark.report.intervals import Estimate, estimate
from benchmark.report.numbers import auroc, average_over, classes, occupancy_reading, occupied
from benchmark.report.published import sets as published
from benchmark.store.records import Record

Of = Callable[[Record], float | None]
Points = dict[str, tuple[Estimate, Estimate]]


def near_and_far(group: Group, in_dist: str) -> dict[str, str]:
    """ "near" and "far" -> the OOD set of Figure 3: the first near one, and the textures or else the first far one."""
    oods = group.ood_sets(in_dist)
    near = [ood for ood in oods if is_near(in_dist, ood)]
    far = [ood for ood in oods if ood not in near]
    far.sort(key=lambda ood: "texture" not in published.original(ood))  # texture, synthetic-textures, ...
    return {kind: sets[0] for kind, sets in (("near", near), ("far", far)) if sets}


def measures(group: Group, in_dist: str) -> dict[str, Of]:
    """The two measures of Figure 3 that need no OOD images."""
    k = next(run.config.eval.knn[0] for run in group.runs if run.config.in_dist == in_dist)
    return {
        f"k-NN accuracy, k={k}": lambda record: record.knn_accuracy.get(str(k)),
        "Sensitivity": lambda r: r.own_score.sensitivity,
    }


def near_average(group: Group, in_dist: str) -> tuple[str, Of]:
    """The titles of the near OOD sets and the average AUROC over them, Figure 2's horizontal axis."""
    near = [ood for ood in group.ood_sets(in_dist) if is_near(in_dist, ood)]

    def of(record: Record) -> float | None:
        average, shared = average_over(near, {0: record})
        return average.mean if average and shared == near else None

    return ", ".join(info(ood).title for ood in near) or "no near OOD set", of


def variant_points(group: Group, in_dist: str, x: Of, y: Of, references: bool = False) -> Points:
    """Column -> its means (x, y) over the seeds that have both. DINO's columns, or the reference rows alone."""
    points = {}
    dino = {run.config.label for run in group.runs if run.config.method.name == "dino"}
    for label in (label for label in group.labels(in_dist) if references or label in dino):
        pairs = [(x(record), y(record)) for record in group.records(in_dist, label).values()]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if known and (label in REFERENCES) == references:
            points[label] = (estimate([a for a, _ in known]), estimate([b for _, b in known]))
    return points


def figure2(group: Group, in_dist: str) -> Picture:
    """(a) occupied soft classes of each variant; (b) the same against AUROC on near OOD."""
    of = partial(occupied, reading=occupancy_reading(group))
    heights = {
        label: (title_of(label), height) for label, (height, _) in variant_points(group, in_dist, of, of).items()
    }
    count = classes(group, in_dist)
    names, near_auroc = near_average(group, in_dist)
    title = info(in_dist).title
    bars = Bars(f"Occupied soft classes, {title} test", f"occupied soft classes{f' of {count:,}' if count else ''}",
                heights, count)  # fmt: skip
    near = _scatter(group, in_dist, (near_auroc, of), f"AUROC (%), {names}", "occupied soft classes", f"{names} (near)")
    return _picture("Figure 2", group, in_dist, ((bars, near),), (9, 4.8), list(heights))


def figure3(group: Group, in_dist: str) -> Picture:
    """k-NN accuracy (top) and sensitivity (bottom) against AUROC on near OOD (left) and far OOD (right)."""
    chosen = near_and_far(group, in_dist)

    def panel(kind: str, measure: str, of: Of) -> Scatter | None:
        if kind not in chosen:
            return None
        name = info(chosen[kind]).title
        of_both = partial(auroc, ood=chosen[kind]), of
        return _scatter(group, in_dist, of_both, f"AUROC (%), {name}", f"{measure}, %", f"{name} ({kind})")

    rows = tuple((panel("near", *one), panel("far", *one)) for one in measures(group, in_dist).items())
    return _picture("Figure 3", group, in_dist, rows, (9, 7.8), group.labels(in_dist))


def _scatter(group: Group, in_dist: str, of: tuple[Of, Of], x_label: str, y_label: str, where: str) -> Scatter:
    """One point a variant, and the references."""
    found = [(label, pair, side) for side in (False, True)
             for label, pair in variant_points(group, in_dist, *of, references=side).items()]  # fmt: skip
    points = tuple(Point(label, title_of(label), x, y, reference) for label, (x, y), reference in found)
    return Scatter(f"{info(in_dist).title} → {where}", x_label, y_label, points)


def _picture(name: str, group: Group, in_dist: str, rows: tuple[tuple[Bars | Scatter | None, ...], ...],
             size: tuple[float, float], labels: Sequence[str]) -> Picture:  # fmt: skip
    """With a title that says how many runs."""
    counts = sorted({len(done) for label in group.labels(in_dist) if label not in REFERENCES
                     and (done := group.records(in_dist, label))})  # fmt: skip
    kind = "far" if "near" in near_and_far(group, in_dist) else "near"
    heading = heading_of(name, group, in_dist, counts, "error bars")
    return Picture(heading, rows, keys_of(group, in_dist, labels), size, f"no {kind} OOD set in this sweep")


def keys_of(group: Group, in_dist: str, labels: Sequence[str]) -> tuple[Key, ...]:
    """A legend of the columns that have a record."""
    return tuple(Key(label, title_of(label), *style_of(label), "reference" if label in REFERENCES else "interval")
                 for label in labels if group.records(in_dist, label))  # fmt: skip


def heading_of(name: str, group: Group, in_dist: str, counts: list[int], bars: str) -> str:
    """What a figure is of. counts: runs a variant, ascending; bars: what shows the intervals."""
    runs = "-".join(str(n) for n in sorted({counts[0], counts[-1]})) if counts else "0"
    plural = "" if runs == "1" else "s"
    intervals = f"; {bars}: 95% Student-t" if counts and counts[-1] > 1 else ""
    pale = "; pale: n = 1" if bars == "error bars" and counts and counts[0] == 1 else ""
    heading = f"\n{group.heading}" if group.heading else ""
    return f"{name}: trained on {info(in_dist).title}, {runs} run{plural} a variant{intervals}{pale}{heading}"
