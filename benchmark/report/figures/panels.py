"""The kinds of panels: what each shows, as data, and how matplotlib draws it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.report.figures.style import FRAME, GREY, RULE, Look, marker, style_of
from benchmark.report.intervals import Correlation, Estimate, correlate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALL = 8  # points, of text within a panel


class Marks:
    """What of a drawing stands for which column: gid -> its label, and what there is to say of it ("": a part of a
    mark, such as its interval)."""

    def __init__(self) -> None:
        self.named: dict[str, tuple[str, str]] = {}

    def add(self, artist: Any, label: str, *said: str) -> None:
        gid = f"{label}.{len(self.named)}"
        artist.set_gid(gid)
        self.named[gid] = (label, "\n".join(said))


class Panel:
    """What one pair of axes shows. title: above it; more: below the title; below: what else a reader must know, a line
    each."""

    title: str

    @property
    def more(self) -> str:
        return ""

    @property
    def below(self) -> str:
        return ""

    def draw(self, axes: Axes, marks: Marks) -> None:
        raise NotImplementedError


def written(value: Estimate, decimals: int = 2) -> str:
    """ "52.93 ± 1.20 (n = 3)"."""
    half = f" ± {value.half:.{decimals}f}" if value.half is not None else ""
    return f"{value.mean:.{decimals}f}{half} (n = {value.n})"


def span(values: Sequence[float], margin: float = 0.12) -> tuple[float, float]:
    """The ends of an axis that shows `values` with a margin; never of no length."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * margin or max(abs(low), 1.0) * margin
    return low - room, high + room


def _ends(value: Estimate) -> tuple[float, float]:
    half = value.half or 0.0
    return value.mean - half, value.mean + half


def _say(axes: Axes, text: str) -> None:
    """In place of what there is not."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")


@dataclass(frozen=True)
class Point:
    """A column and its means; reference: not trained, so in no correlation."""

    label: str
    title: str
    x: Estimate
    y: Estimate
    reference: bool = False

    @property
    def look(self) -> Look:
        return "reference" if self.reference else "single" if self.x.half is None else "interval"


def _limits(points: Sequence[Point]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ends of both axes that show these points with their intervals."""
    x, y = ([end for point in points for end in _ends(value(point))] for value in (lambda p: p.x, lambda p: p.y))
    return span(x), span(y)


@dataclass(frozen=True)
class Scatter(Panel):
    """One point a column with its intervals. A reference that would more than double an axis is named below instead,
    and so are points at one place, which are drawn side by side."""

    title: str
    x_label: str
    y_label: str
    points: tuple[Point, ...]

    @cached_property
    def trained(self) -> list[Point]:
        return [point for point in self.points if not point.reference]

    @cached_property
    def correlation(self) -> Correlation:
        return correlate([p.x.mean for p in self.trained], [p.y.mean for p in self.trained])

    @cached_property
    def shown(self) -> list[Point]:
        """The points within the axes: those of trained columns, and the references near them."""

        def near(value: Estimate, low: float, high: float) -> bool:
            return low - (high - low) / 2 <= value.mean <= high + (high - low) / 2

        across, up = _limits(self.trained)
        references = [point for point in self.points if point.reference]
        return self.trained + [p for p in references if not self.trained or (near(p.x, *across) and near(p.y, *up))]

    @cached_property
    def crowded(self) -> list[list[Point]]:
        """Points of which one would hide another: nearer than 1% of both axes."""
        width, height = ((high - low) / 100 for low, high in _limits(self.shown))
        crowds: list[list[Point]] = []
        for one in self.shown:
            beside = [crowd for crowd in crowds if abs(one.x.mean - crowd[0].x.mean) < width
                      and abs(one.y.mean - crowd[0].y.mean) < height]  # fmt: skip
            if beside:
                beside[0].append(one)
            else:
                crowds.append([one])
        return [crowd for crowd in crowds if len(crowd) > 1]

    @property
    def more(self) -> str:
        return str(self.correlation)

    @property
    def below(self) -> str:
        away = [f"{p.title} ({p.x.mean:.1f}, {p.y.mean:.1f})" for p in self.points if p not in self.shown]
        together = [" and ".join(point.title for point in crowd) for crowd in self.crowded]
        said = {"off the axes": ", ".join(away), "at one place, side by side": "; ".join(together)}
        return "\n".join(f"{what}: {which}" for what, which in said.items() if which)

    def draw(self, axes: Axes, marks: Marks) -> None:
        from matplotlib.transforms import offset_copy

        shift = {p.label: 6.0 * (i - (len(crowd) - 1) / 2) for crowd in self.crowded for i, p in enumerate(crowd)}
        for point in self.shown:
            colour, shape = style_of(point.label)
            at = point.x.mean, point.y.mean
            if not point.reference:
                bars = axes.errorbar(*at, point.y.half, point.x.half, "none", color=colour, elinewidth=0.8, alpha=0.6)
                for bar in bars[2]:
                    marks.add(bar, point.label)
            place = offset_copy(axes.transData, axes.get_figure(root=True), shift.get(point.label, 0.0), units="points")
            look = marker(shape, colour, point.look) | {"clip_on": False, "zorder": 2 if point.reference else 3}
            (dot,) = axes.plot(*at, transform=place, **look)
            numbers = (f"{self.x_label} {written(point.x)}", f"{self.y_label} {written(point.y)}")
            marks.add(dot, point.label, point.title, *numbers)
        across, up = _limits(self.shown)
        axes.set(xlim=across, ylim=up, xlabel=self.x_label, ylabel=self.y_label)
        if not self.trained:
            _say(axes, "not measured yet")


@dataclass(frozen=True)
class Bars(Panel):
    """A horizontal bar a column (label -> its title and mean); a dotted line at DINO's, a dashed one at `whole`, what
    all would be, where bars come near it."""

    title: str
    axis: str
    bars: Mapping[str, tuple[str, Estimate]]
    whole: int | None = None

    def draw(self, axes: Axes, marks: Marks) -> None:
        for place, (label, (title, height)) in enumerate(self.bars.items()):
            colour = style_of(label)[0]
            caps: dict[str, Any] = {"capsize": 2, "color": RULE}
            (bar,) = axes.barh(place, height.mean, xerr=height.half, color=colour, height=0.7, error_kw=caps)
            marks.add(bar, label, title, f"{self.axis} {written(height, 1)}")
            beside: dict[str, Any] = {
                "xytext": (3, 0),
                "textcoords": "offset points",
                "va": "center",
                "fontsize": SMALL,
            }
            number = axes.annotate(f"{height.mean:,.0f}", (_ends(height)[1], place), **beside)
            marks.add(number, label)
        names = [f"{title} (n={of.n})" if of.n > 1 else title for title, of in self.bars.values()]
        axes.set_yticks(range(len(self.bars)), names)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        said = self.axis
        if "dino" in self.bars:
            axes.axvline(self.bars["dino"][1].mean, color=style_of("dino")[0], linestyle=":", linewidth=1)
            said += " (dotted: DINO)"
        if self.whole and max((of.mean for _, of in self.bars.values()), default=0) > self.whole / 4:
            axes.axvline(self.whole, color=GREY, linestyle="--", linewidth=1)
            along: dict[str, Any] = {
                "transform": axes.get_xaxis_transform(),
                "rotation": 90,
                "va": "top",
                "ha": "right",
            }
            axes.text(self.whole, 0.99, f"K = {self.whole:,}", fontsize=SMALL, color=GREY, **along)
        axes.margins(x=0.12)
        axes.set_xlim(left=0)
        axes.set_xlabel(said)


@dataclass(frozen=True)
class Line:
    """A line of a column: y over x, a band where every value has an interval."""

    label: str
    title: str
    x: Sequence[float]
    y: Sequence[Estimate]


@dataclass(frozen=True)
class Lines(Panel):
    """Lines over the same axes, told apart by colour and by the shapes along them. levels: dotted lines with a marker
    (of a column) or a name, left out where no line comes near."""

    title: str
    x_label: str
    lines: Sequence[Line]
    levels: Sequence[tuple[str, str, float]] = ()  # a column's label or "", its title or a name, the value

    def draw(self, axes: Axes, marks: Marks) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.set_xlabel(self.x_label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10], integer=True))
        if not self.lines:
            _say(axes, "not measured")
            return
        for place, line in enumerate(self.lines):
            colour, shape = style_of(line.label)
            means = [value.mean for value in line.y]
            # Few points have a marker each; many have some, at other places on each line.
            every = 1 if len(means) <= 12 else (0.05 + 0.25 * ((place * 0.381966) % 1), 0.3)
            look = marker(shape, colour, "interval", 0.65) | {"linestyle": "-", "linewidth": 1.2}
            (drawn,) = axes.plot(line.x, means, markevery=every, zorder=3, **look)
            ends = f"{means[0]:.3f} at first, {means[-1]:.3f} at the end"
            marks.add(drawn, line.label, line.title, f"{self.title}: {ends}")
            if all(value.half is not None for value in line.y):
                low, high = ([_ends(value)[side] for value in line.y] for side in (0, 1))
                band = axes.fill_between(line.x, low, high, color=colour, alpha=0.12, linewidth=0, zorder=1)
                marks.add(band, line.label)
        axes.set_xlim(left=0)
        bottom, top = axes.get_ylim()
        room = (top - bottom) / 2
        for label, name, value in self.levels:
            if not bottom - room < value < top + room:  # one far away would press the lines together
                continue
            colour, shape = style_of(label) if label else (GREY, "")
            drawn = axes.axhline(value, color=colour, linestyle=":", linewidth=1, zorder=1)
            if label:
                marks.add(drawn, label, name, f"{self.title}: {value:.3f}")
                (dot,) = axes.plot(0, value, zorder=4, clip_on=False, **marker(shape, colour, "reference"))
                marks.add(dot, label)
            else:
                right = axes.get_yaxis_transform()
                axes.text(0.99, value, name, transform=right, ha="right", va="bottom", fontsize=SMALL, color=GREY)


@dataclass(frozen=True)
class Histogram(Panel):
    """Share of images by score, in-distribution test set against one OOD set; the end bins hold what is beyond."""

    title: str
    in_dist: np.ndarray
    ood: np.ndarray
    ends: tuple[float, float]
    bins = 36

    def shares(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """In % of each set's images, and the edges of the bins."""
        edges = np.linspace(*self.ends, self.bins + 1)
        counts = (np.histogram(np.clip(scores, *self.ends), edges)[0] for scores in (self.in_dist, self.ood))
        of_id, of_ood = counts
        return of_id / max(1, len(self.in_dist)) * 100, of_ood / max(1, len(self.ood)) * 100, edges

    def draw(self, axes: Axes, marks: Marks) -> None:
        of_id, of_ood, edges = self.shares()
        blue, vermilion = style_of("imgn")[0], style_of("dti")[0]
        axes.stairs(of_id, edges, fill=True, color=blue, alpha=0.45)
        outlined: dict[str, Any] = {"facecolor": (vermilion, 0.12), "edgecolor": vermilion, "linewidth": 1.6}
        axes.stairs(of_ood, edges, fill=True, **outlined)
        axes.set_xlim(*self.ends)
        axes.set_ylim(bottom=0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)


@dataclass(frozen=True)
class Dot:
    """A method's mean over seeds at a place, the seeds behind it, and a published value. ends: of its bar."""

    label: str
    title: str
    colour: str
    shape: str
    x: float
    ours: Estimate | None = None
    ends: tuple[float, float] | None = None
    seeds: Mapping[int, float] = field(default_factory=dict)
    published: float | None = None
    reference: bool = False


@dataclass(frozen=True)
class Dots(Panel):
    """Places side by side, each with the dots of all methods. rules: dashed lines with their names at the side.
    slanted: the names of the places, where they are long."""

    title: str
    places: Sequence[str]
    dots: Sequence[Dot]
    y_label: str = ""
    rules: Mapping[str, float] = field(default_factory=dict)
    slanted: bool = False

    def draw(self, axes: Axes, marks: Marks) -> None:
        for dot in self.dots:
            self._draw(axes, dot, marks)
        for name, value in self.rules.items():
            axes.axhline(value, color=RULE, linestyle=(0, (4, 2)), linewidth=0.8, zorder=1)
            side: dict[str, Any] = {
                "transform": axes.get_yaxis_transform(),
                "va": "center",
                "fontsize": 7,
                "color": RULE,
            }
            axes.text(1.02, value, f"{name} {value:.1f}", **side)
        axes.set_xlim(-0.5, max(len(self.places), 1) - 0.5)
        turned = 90 if len(self.places) > 12 else 0
        how: dict[str, Any] = {"rotation": turned}
        if self.slanted:
            how = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(self.places)), self.places, fontsize=SMALL, **how)
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="x", visible=False)
        for edge in range(1, len(self.places)):
            axes.axvline(edge - 0.5, color=FRAME, linewidth=0.5, zorder=0)
        low, high = axes.get_ylim()
        if low < 50 < high:
            axes.axhline(50, color=GREY, linestyle=":", linewidth=1, zorder=0)
        axes.set_ylabel(self.y_label)
        if not self.dots:
            _say(axes, "not measured yet")

    def _draw(self, axes: Axes, dot: Dot, marks: Marks) -> None:
        said = [f"{dot.title}, {self.places[math.floor(dot.x + 0.5)]}"]
        said += [f"published {dot.published:.1f}"] if dot.published is not None else []
        if dot.published is not None:
            (paper,) = axes.plot(dot.x, dot.published, zorder=2.5, **marker(dot.shape, dot.colour, "published", 1.2))
            marks.add(paper, dot.label, *([] if dot.ours else said))
        if dot.ours is None:
            return
        said.append(written(dot.ours))
        if dot.ends:
            seeds = list(dot.seeds.values())
            thick: dict[str, Any] = {"linewidth": 1.4, "alpha": 0.7, "solid_capstyle": "butt"}
            bars = axes.plot([dot.x, dot.x], dot.ends, color=dot.colour, zorder=2, **thick)
            bars += axes.plot([dot.x] * len(seeds), seeds, "_", markersize=6, color=dot.colour, zorder=2)
            for bar in bars:
                marks.add(bar, dot.label)
            said.append(", ".join(f"seed {seed}: {value:.2f}" for seed, value in sorted(dot.seeds.items())))
        look: Look = "reference" if dot.reference else "interval" if dot.ours.half is not None else "single"
        (mean,) = axes.plot(dot.x, dot.ours.mean, zorder=3, **marker(dot.shape, dot.colour, look, 0.75))
        marks.add(mean, dot.label, *said)
