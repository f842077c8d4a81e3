"""Figures 2 and 3: occupied soft classes, and what goes with good detection. PNG and SVG, the same bytes every time."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmark.data.catalog import info, is_near
from benchmark.plan.methods import REFERENCES
from benchmark.report.groups import Group, title_of
from benchmark.report.intervals import Estimate, correlate, estimate
from benchmark.report.numbers import auroc, average_over, classes, occupancy_reading, occupied
from benchmark.report.published import sets as published
from benchmark.store.records import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Of = Callable[[Record], float | None]
Points = dict[str, tuple[Estimate, Estimate]]
Draw = Callable[[Any, str], "Figure | None"]  # of a group and an in-distribution set; None: it has nothing to show

# Okabe and Ito's colours, told apart by colour-blind people: the colour says where negatives come from, the shape what
# was done to them. One table for all figures.
_BLACK, _BLUE, _SKY, _VERMILION, _GREEN, _PURPLE = "#000000", "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#CC79A7"
_ORANGE = "#E69F00"  # methods without negatives of their own
STYLES: dict[str, tuple[str, str]] = {
    "dino": (_BLACK, "o"),
    "imgn": (_BLUE, "o"),
    "rot-imgn": (_BLUE, "^"),
    "rot360-imgn": (_BLUE, "v"),
    "dti": (_VERMILION, "o"),
    "perm-16-imgn": (_SKY, "s"),
    "perm-4-imgn": (_SKY, "D"),
    "rot-dti": (_VERMILION, "^"),
    "pixperm-imgn": (_SKY, "X"),
    "rot-in-dist": (_GREEN, "^"),
    "combined": (_PURPLE, "*"),
    "patch-rot-in-dist": (_GREEN, "D"),
    "background-in-dist": (_GREEN, "s"),
    "blend-imgn": (_PURPLE, "D"),
    "foreground-imgn": (_PURPLE, "s"),
    "frequencies-imgn": (_PURPLE, "X"),
    "dino-bg-remove": (_BLACK, "s"),
    "dino-bg-random": (_BLACK, "D"),
    "rotation": (_ORANGE, "o"),
    "rotation-translation": (_ORANGE, "D"),
    "simclr": (_ORANGE, "v"),
    "simclr-bg-remove": (_ORANGE, "s"),
    "simclr-bg-random": (_ORANGE, "X"),
    "simclr-bg-swaps": (_ORANGE, "^"),
    "csi": (_ORANGE, "*"),
    "untrained": ("#666666", "o"),
    "image-statistics": ("#666666", "s"),
}
_OTHER = (_ORANGE, "P")  # perm-N of one's own and other methods


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
        "Sensitivity": lambda r: r.sensitivity,
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


def draw(make: Draw, group: Any, in_dist: str, key: str = "") -> dict[str, bytes]:
    """A figure of this group: "png" (200 dpi) and "svg" -> content, each with `key` as its description; {} where there
    is nothing to show."""
    import matplotlib

    style: dict[Any, Any] = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
                             "axes.axisbelow": True, "grid.alpha": 0.25, "font.size": 9,
                             "svg.hashsalt": "bench"}  # fmt: skip
    with matplotlib.rc_context(style):
        figure = make(group, in_dist)
        if figure is None:
            return {}
        figure.draw_without_rendering()  # lay out once, for both files
        figure.set_layout_engine("none")
        content = {}
        for suffix, metadata in (
            ("png", {"Software": None, "Description": key}),
            ("svg", {"Date": None, "Creator": None, "Description": key}),
        ):
            stream = io.BytesIO()
            figure.savefig(stream, format=suffix, dpi=200, metadata=metadata)
            content[suffix] = stream.getvalue()
    return content


def figure2(group: Group, in_dist: str) -> Figure:
    """(a) occupied soft classes of each variant; (b) the same against AUROC on near OOD."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.8), layout="constrained")
    bars, scatter = figure.subplots(1, 2)
    of = partial(occupied, reading=occupancy_reading(group))
    heights = variant_points(group, in_dist, of, of)
    for place, (label, (height, _)) in enumerate(heights.items()):
        bars.barh(
            place, height.mean, xerr=height.half, color=style_of(label)[0], ecolor="#444444", capsize=2, height=0.7
        )
        end = height.mean + (height.half or 0)
        bars.annotate(f"{height.mean:,.0f}", (end, place), (3, 0), textcoords="offset points", va="center", fontsize=8,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8})  # fmt: skip
    bars.set_yticks(range(len(heights)), [f"{title_of(label)}{_n(of_n)}" for label, (of_n, _) in heights.items()])
    bars.invert_yaxis()
    bars.grid(axis="y", visible=False)
    if "dino" in heights:
        bars.axvline(heights["dino"][0].mean, color=_BLACK, linestyle=":", linewidth=1)
    count = classes(group, in_dist)
    if count and max((height.mean for height, _ in heights.values()), default=0) > count / 4:  # else it dwarfs the bars
        bars.axvline(count, color="#666666", linestyle="--", linewidth=1)
        bars.annotate(f"K = {count:,}", (count, 1), (-3, -2), xycoords=("data", "axes fraction"), fontsize=8,
                      textcoords="offset points", rotation=90, va="top", ha="right", color="#666666")  # fmt: skip
    bars.margins(x=0.12)
    bars.set_xlim(left=0)
    of_k = f" of {count:,}" if count else ""
    bars.set_xlabel(f"occupied soft classes{of_k}{' (dotted: DINO)' if 'dino' in heights else ''}")
    bars.set_title(f"(a) Occupied soft classes, {info(in_dist).title} test", loc="left", fontsize=9)

    names, near_auroc = near_average(group, in_dist)
    title = f"(b) {info(in_dist).title} → {names} (near)"
    _scatter(scatter, group, in_dist, near_auroc, of, f"AUROC (%), {names}", "occupied soft classes", title)
    _finish(figure, group, in_dist, "Figure 2", list(heights))
    return figure


def figure3(group: Group, in_dist: str) -> Figure:
    """k-NN accuracy (top) and sensitivity (bottom) against AUROC on near OOD (left) and far OOD (right)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7.8), layout="constrained")
    grid = figure.subplots(2, 2)
    chosen = near_and_far(group, in_dist)
    for row, (measure, of) in enumerate(measures(group, in_dist).items()):
        for column, kind in enumerate(("near", "far")):
            axes: Axes = grid[row][column]
            if kind not in chosen:
                axes.set_axis_off()
                axes.text(0.5, 0.5, f"no {kind} OOD set in this sweep", transform=axes.transAxes, ha="center")
                continue
            name = info(chosen[kind]).title
            title = f"({'abcd'[2 * row + column]}) {info(in_dist).title} → {name} ({kind})"
            _scatter(
                axes, group, in_dist, partial(auroc, ood=chosen[kind]), of, f"AUROC (%), {name}", f"{measure}, %", title
            )
    _finish(figure, group, in_dist, "Figure 3", group.labels(in_dist))
    return figure


def _scatter(axes: Axes, group: Group, in_dist: str, x: Of, y: Of, x_label: str, y_label: str, title: str) -> None:
    """One point a variant with its intervals; references hollow, outside the correlation. Limits fit the variants."""
    trained = variant_points(group, in_dist, x, y)
    for label, (across, up) in trained.items():
        colour, marker = style_of(label)
        axes.errorbar(across.mean, up.mean, xerr=across.half, yerr=up.half, color=colour, elinewidth=0.8, alpha=0.6)
        axes.plot(across.mean, up.mean, linestyle="", marker=marker, markersize=marker_size(marker), color=colour,
                  markeredgecolor="white", markeredgewidth=0.6, zorder=3)  # fmt: skip
    references = variant_points(group, in_dist, x, y, references=True)
    axes.margins(0.12)
    limits = axes.get_xlim(), axes.get_ylim()
    outside = []
    for label, (across, up) in references.items():
        colour, marker = style_of(label)
        if trained and not all(_close(e.mean, ends) for e, ends in zip((across, up), limits, strict=True)):
            outside.append(f"{title_of(label)} ({across.mean:.1f}, {up.mean:.1f})")
            continue
        axes.plot(across.mean, up.mean, linestyle="", marker=marker, markersize=marker_size(marker), color=colour,
                  markerfacecolor="none", markeredgewidth=1.4, zorder=2)  # fmt: skip
    result = correlate([a.mean for a, _ in trained.values()], [b.mean for _, b in trained.values()])
    axes.set_title(f"{title}\n{result}", loc="left", fontsize=9)
    # Points far away would press the variants into a corner: they are named instead.
    axes.set_xlabel(x_label + ("\noff the axes: " + ",\n".join(outside) if outside else ""))
    axes.set_ylabel(y_label)
    if not trained:
        axes.text(0.5, 0.5, "not measured yet", transform=axes.transAxes, ha="center", va="center")


def _close(value: float, ends: tuple[float, float]) -> bool:
    """Whether showing `value` at most doubles the span of the axis."""
    span = ends[1] - ends[0]
    return ends[0] - span / 2 <= value <= ends[1] + span / 2


def _finish(figure: Figure, group: Group, in_dist: str, name: str, labels: list[str]) -> None:
    """The legend, and a title that says how many runs."""
    legend(figure, group, in_dist, labels)
    counts = sorted({len(done) for label in group.labels(in_dist) if label not in REFERENCES
                     and (done := group.records(in_dist, label))})  # fmt: skip
    figure.suptitle(heading_of(name, group, in_dist, counts, "error bars"), fontsize=10)


def legend(figure: Figure, group: Group, in_dist: str, labels: list[str]) -> None:
    """The columns that have a record, below all panels, so that they cover no point."""
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    for label in labels:
        if group.records(in_dist, label):
            colour, marker = style_of(label)
            hollow = label in REFERENCES
            handles.append(Line2D([], [], linestyle="", marker=marker, markersize=marker_size(marker), color=colour,
                                  markerfacecolor="none" if hollow else colour, label=title_of(label)))  # fmt: skip
    per_row = max(1, math.ceil(len(handles) / 2))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(7, per_row), fontsize=8, frameon=False,
                  handletextpad=0.2, columnspacing=1.2)  # fmt: skip


def heading_of(name: str, group: Group, in_dist: str, counts: list[int], bars: str) -> str:
    """What a figure is of. counts: runs a variant, ascending; bars: what shows the intervals."""
    runs = "-".join(str(n) for n in sorted({counts[0], counts[-1]})) if counts else "0"
    plural = "" if runs == "1" else "s"
    intervals = f"; {bars}: 95% Student-t" if counts and counts[-1] > 1 else ""
    heading = f"\n{group.heading}" if group.heading else ""
    return f"{name}: trained on {info(in_dist).title}, {runs} run{plural} a variant{intervals}{heading}"


def style_of(label: str) -> tuple[str, str]:
    """Colour and marker (matplotlib's letter) of a column, the same in every figure."""
    return STYLES.get(label, _OTHER)


def marker_size(marker: str) -> float:
    """Points across, so that all shapes look alike large."""
    return {"*": 12.0, "D": 7.0, "s": 7.5}.get(marker, 8.5)


def _n(of: Estimate) -> str:
    return f" (n={of.n})" if of.n > 1 else ""
