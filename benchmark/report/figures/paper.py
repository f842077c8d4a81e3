"""Figures 2 and 3: occupied soft classes, and what goes with good detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.data.catalog import info
from benchmark.report.figures.files import Key, Picture
from benchmark.report.figures.panels import Bars, Point, Scatter
from benchmark.report.figures.style import style_of
from benchmark.report.groups import Case, Column, Group, by_nearness, seeds_of
from benchmark.report.intervals import Estimate, estimate
from benchmark.report.published import sets as published

if TYPE_CHECKING:
    import pandas as pd

Points = dict[str, tuple[Estimate, Estimate]]


def near_and_far(group: Group, in_dist: str) -> dict[str, Case]:
    """ "near" and "far" -> the case of Figure 3: the first near one, and the textures or else the first far one."""
    near, far = by_nearness(group.cases(in_dist))
    far.sort(key=lambda case: "texture" not in published.original(case.ood))  # texture, synthetic-textures, ...
    return {kind: some[0] for kind, some in (("near", near), ("far", far)) if some}


def measures(group: Group, in_dist: str) -> dict[str, pd.DataFrame]:
    """The two measures of Figure 3 that need no OOD images."""
    k = group.knn_ks(in_dist)[0]
    return {f"k-NN accuracy, k={k}": group.values(f"knn_accuracy_{k}", in_dist),
            "Sensitivity": group.values("sensitivity", in_dist)}  # fmt: skip


def points(group: Group, in_dist: str, x: pd.DataFrame, y: pd.DataFrame, references: bool = False) -> Points:
    """Column -> its means (x, y) over the seeds that have both. DINO's columns, or the reference rows alone."""
    made = {}
    for column in group.columns(in_dist):
        if column.is_reference if references else column.config.method.name == "dino":
            across, up = seeds_of(x, column.key), seeds_of(y, column.key)
            seeds = sorted(across.keys() & up.keys())
            if seeds:
                made[column.key] = estimate([across[s] for s in seeds]), estimate([up[s] for s in seeds])
    return made


def figure2(group: Group, in_dist: str) -> Picture:
    """(a) occupied soft classes of each variant; (b) the same against AUROC on near OOD."""
    occupied, count = group.values(group.occupancy, in_dist), group.soft_classes(in_dist)
    titles = {column.key: column.title for column in group.columns(in_dist)}
    heights = {key: (titles[key], height) for key, (height, _) in points(group, in_dist, occupied, occupied).items()}
    near = [case for case in group.cases(in_dist) if case.near]
    names = ", ".join(case.title for case in near) or "no near OOD set"
    title = info(in_dist).title
    bars = Bars(f"Occupied soft classes, {title} test", f"occupied soft classes{f' of {count:,}' if count else ''}",
                heights, count)  # fmt: skip
    beside = _scatter(group, in_dist, group.mean(near).whole, occupied, f"AUROC (%), {names}", "occupied soft classes",
                      f"{names} (near)")  # fmt: skip
    return _picture("Figure 2", group, in_dist, ((bars, beside),), (9, 4.8), list(heights))


def figure3(group: Group, in_dist: str) -> Picture:
    """k-NN accuracy (top) and sensitivity (bottom) against AUROC on near OOD (left) and far OOD (right)."""
    chosen = near_and_far(group, in_dist)

    def panel(kind: str, measure: str, values: pd.DataFrame) -> Scatter | None:
        if kind not in chosen:
            return None
        _, ood, name = chosen[kind]
        return _scatter(group, in_dist, group.values("auroc", in_dist, ood), values, f"AUROC (%), {name}",
                        f"{measure}, %", f"{name} ({kind})")  # fmt: skip

    rows = tuple((panel("near", *one), panel("far", *one)) for one in measures(group, in_dist).items())
    return _picture("Figure 3", group, in_dist, rows, (9, 7.8), group.labels(in_dist))


def _scatter(
    group: Group, in_dist: str, x: pd.DataFrame, y: pd.DataFrame, x_label: str, y_label: str, where: str
) -> Scatter:
    """One point per variant, and the references."""
    columns = {column.key: column for column in group.columns(in_dist)}
    found = [(columns[key], pair) for side in (False, True) for key, pair in points(group, in_dist, x, y, side).items()]
    shown = tuple(Point(column.label, column.title, *pair, column.is_reference) for column, pair in found)
    return Scatter(f"{info(in_dist).title} → {where}", x_label, y_label, shown)


def _picture(name: str, group: Group, in_dist: str, rows: tuple[tuple[Bars | Scatter | None, ...], ...],
             size: tuple[float, float], keys: Sequence[str]) -> Picture:  # fmt: skip
    """With a title that says how many runs."""
    done = [column for column in group.columns(in_dist) if group.records(in_dist, column.key)]
    counts = sorted({len(group.records(in_dist, column.key)) for column in done if not column.is_reference})
    kind = "far" if "near" in near_and_far(group, in_dist) else "near"
    heading = heading_of(name, group, in_dist, counts, "error bars")
    shown = keys_of([column for column in done if column.key in keys])
    return Picture(heading, rows, shown, size, f"no {kind} OOD set in this sweep")


def keys_of(columns: Sequence[Column]) -> tuple[Key, ...]:
    """A legend of columns."""
    return tuple(Key(one.label, one.title, *style_of(one.label), "reference" if one.is_reference else "interval")
                 for one in columns)  # fmt: skip


def heading_of(name: str, group: Group, in_dist: str, counts: list[int], bars: str) -> str:
    """What a figure is of. counts: runs per variant, ascending; bars: what shows the intervals."""
    runs = "-".join(str(n) for n in sorted({counts[0], counts[-1]})) if counts else "0"
    plural = "" if runs == "1" else "s"
    intervals = f"; {bars}: 95% Student-t" if counts and counts[-1] > 1 else ""
    pale = "; pale: n = 1" if bars == "error bars" and counts and counts[0] == 1 else ""
    heading = f"\n{group.heading}" if group.heading else ""
    return f"{name}: trained on {info(in_dist).title}, {runs} run{plural} per variant{intervals}{pale}{heading}"
