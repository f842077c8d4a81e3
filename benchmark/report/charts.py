"""Charts as SVG that takes its colours from the page, so that they turn with light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.plan.methods import REFERENCES
from benchmark.report.figures import Points, style_of
from benchmark.report.groups import title_of
from benchmark.report.intervals import Estimate, correlate
from benchmark.report.markup import Html, join, tag

WIDTH = 420  # of every chart, in units that are about pixels

_COLOURS = {"#000000": "ink", "#0072B2": "blue", "#56B4E9": "sky", "#D55E00": "vermilion", "#009E73": "green",
            "#CC79A7": "purple", "#666666": "grey", "#E69F00": "orange"}  # fmt: skip


def colour_class(label: str) -> str:
    """The class that gives a column its colour, the same as in the figures' files."""
    return "c-" + _COLOURS.get(style_of(label)[0], "orange")


@dataclass(frozen=True)
class Scale:
    """A linear axis from values [low, high] to positions [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round numbers within the axis."""
        rough = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def span(values: Sequence[float], margin: float = 0.12) -> tuple[float, float]:
    """The ends of an axis that shows `values` with a margin; never of no length."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * margin or max(abs(low), 1.0) * margin
    return low - room, high + room


def number(value: float) -> str:
    """A tick's label."""
    return f"{value:,.10g}".replace("-", "−")


def marker(shape: str, x: float, y: float, r: float = 5.5) -> str:
    """The outline of a marker, by matplotlib's letter."""
    if shape == "o":
        return f"M{x - r:.1f},{y:.1f}a{r},{r} 0 1 0 {2 * r},0a{r},{r} 0 1 0 {-2 * r},0z"
    corners = {
        "^": [(0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
        "v": [(0, 1.15), (1.1, -0.85), (-1.1, -0.85)],
        "s": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "D": [(0, -1.15), (1.15, 0), (0, 1.15), (-1.15, 0)],
        "*": [(math.sin(k * math.pi / 5) * f, -math.cos(k * math.pi / 5) * f)
              for k in range(10) for f in ((1.5, 0.65)[k % 2],)],
        "X": _turned(_PLUS, math.pi / 4),
    }.get(shape, _PLUS)  # fmt: skip
    return "M" + "L".join(f"{x + dx * r:.1f},{y + dy * r:.1f}" for dx, dy in corners) + "z"


_PLUS = [(-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4), (0.4, 1.2), (-0.4, 1.2),
         (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)]  # fmt: skip


def _turned(points: list[tuple[float, float]], angle: float) -> list[tuple[float, float]]:
    c, s = math.cos(angle), math.sin(angle)
    return [(x * c - y * s, x * s + y * c) for x, y in points]


def key(label: str) -> Html:
    """A column's marker alone, for legends."""
    return shape_key(label, style_of(label)[1], label in REFERENCES)


def shape_key(label: str, shape: str, hollow: bool) -> Html:
    """A marker of this shape in the column's colour."""
    path = tag("path", d=marker(shape, 8, 8, 5), class_="shape hollow" if hollow else "shape")
    return tag("svg", path, viewBox="0 0 16 16", class_=f"key {colour_class(label)}", aria_hidden="true")


def scatter(trained: Points, references: Points, x_label: str, y_label: str, title: str) -> Html:
    """One point a column with its intervals. References are hollow, outside the correlation and, where they would more
    than double an axis, named below instead."""
    xs, ys = ([e.mean for pair in trained.values() for e in [pair[i]]] for i in (0, 1))
    ends = [span([*values, *_reaches(trained, i)]) for i, values in enumerate((xs, ys))]
    shown = {label: pair for label, pair in references.items() if not trained or all(map(_near, pair, ends))}
    every = {**trained, **shown}
    (x_low, x_high), (y_low, y_high) = (span([*_means(every, i), *_reaches(every, i)]) for i in (0, 1))
    x, y = Scale(x_low, x_high, 52, WIDTH - 10), Scale(y_low, y_high, 258, 8)
    marks = [_point(label, pair, x, y, x_label, y_label) for label, pair in every.items()]
    away = [f"{title_of(label)} ({a.mean:.1f}, {b.mean:.1f})" for label, (a, b) in references.items()
            if label not in shown]  # fmt: skip
    outside = f"off the axes: {', '.join(away)}" if away else None
    head = tag("figcaption", tag("b", title), tag("span", str(correlate(xs, ys))))
    empty = None if every else text_at(WIDTH / 2, 130, "not measured yet", "middle")
    picture = _frame(x, y, 310, x_label, y_label, join([empty, *marks]), title)
    return tag("figure", head, picture, tag("p", outside, class_="note") if outside else None)


def _means(points: Points, side: int) -> list[float]:
    return [pair[side].mean for pair in points.values()]


def _reaches(points: Points, side: int) -> list[float]:
    """The ends of the intervals."""
    halves = [(pair[side].mean, pair[side].half or 0.0) for pair in points.values()]
    return [mean + sign * half for mean, half in halves for sign in (-1, 1)]


def _near(value: Estimate, ends: tuple[float, float]) -> bool:
    length = ends[1] - ends[0]
    return ends[0] - length / 2 <= value.mean <= ends[1] + length / 2


def _point(label: str, pair: tuple[Estimate, Estimate], x: Scale, y: Scale, x_label: str, y_label: str) -> Html:
    across, up = pair
    at_x, at_y = x(across.mean), y(up.mean)
    tip = [title_of(label), *(f"{name} {interval(e)}" for name, e in ((x_label, across), (y_label, up)))]
    anchor = "start" if at_x < WIDTH * 0.3 else "end" if at_x > WIDTH * 0.75 else "middle"
    parts: list[Html] = []
    if across.half is not None:
        low, high = x(across.mean - across.half), x(across.mean + across.half)
        parts.append(tag("path", d=f"M{low:.1f},{at_y:.1f}H{high:.1f}", class_="bar"))
    if up.half is not None:
        low, high = y(up.mean - up.half), y(up.mean + up.half)
        parts.append(tag("path", d=f"M{at_x:.1f},{low:.1f}V{high:.1f}", class_="bar"))
    hollow = " hollow" if label in REFERENCES else ""
    parts.append(tag("path", d=marker(style_of(label)[1], at_x, at_y), class_=f"shape{hollow}"))
    above = at_y - 12 if at_y > 30 else at_y + 20
    parts.append(text_at(at_x, above, title_of(label), anchor, "name"))
    return mark(label, tip, parts)


def mark(label: str, tip: Sequence[str], parts: Sequence[Html]) -> Html:
    """What stands for a column in a chart: highlighted with it, with its numbers under the pointer or the focus."""
    return tag("g", parts, class_=f"mark {colour_class(label)}", data_v=label, data_tip="\n".join(tip), role="img",
               aria_label=", ".join(tip))  # fmt: skip


def interval(value: Estimate, decimals: int = 2) -> str:
    """ "52.93 ± 1.20 (n = 3)"."""
    half = f" ± {value.half:.{decimals}f}" if value.half is not None else ""
    return f"{value.mean:.{decimals}f}{half} (n = {value.n})"


def bars(heights: Mapping[str, Estimate], count: int | None, title: str, axis: str) -> Html:
    """A horizontal bar a column, its value at the end; a dotted line at DINO's, a dashed one at `count` where near."""
    step, left = 21, max([108, *(12 + 6.5 * len(title_of(label)) for label in heights)])  # some 6.5 units a letter
    bottom = 8 + step * max(1, len(heights))
    longest = max((e.mean + (e.half or 0) for e in heights.values()), default=1.0) or 1.0
    whole = count if count and max((e.mean for e in heights.values()), default=0) > count / 4 else None
    x = Scale(0, max(longest, whole or 0) * 1.1, left, WIDTH - 10)
    y = Scale(0, 1, bottom, 8)
    marks = []
    for place, (label, value) in enumerate(heights.items()):
        top = 8 + place * step
        middle, end = top + step / 2, x(value.mean)
        parts = [tag("rect", x=left, y=f"{top + 3:.1f}", width=f"{max(0.5, end - left):.1f}", height=step - 6,
                     class_="shape"), text_at(left - 8, middle + 4, title_of(label), "end")]  # fmt: skip
        if value.half is not None:
            low, high = x(max(0.0, value.mean - value.half)), x(value.mean + value.half)
            parts.append(tag("path", d=f"M{low:.1f},{middle:.1f}H{high:.1f}", class_="bar"))
            end = max(end, high)
        parts.append(text_at(end + 5, middle + 4, f"{value.mean:,.0f}", "start", "value"))
        marks.append(mark(label, [title_of(label), f"{axis} {interval(value, 1)}"], parts))
    rules = []
    if "dino" in heights:
        rules.append(tag("path", d=f"M{x(heights['dino'].mean):.1f},8V{bottom}", class_="rule dotted"))
    if whole:
        rules.append(tag("path", d=f"M{x(whole):.1f},8V{bottom}", class_="rule dashed"))
    head = tag("figcaption", tag("b", title), tag("span", "dotted: DINO" if "dino" in heights else ""))
    picture = _frame(x, y, bottom + 44, axis, "", join([*marks, *rules]), title, y_ticks=False)
    return tag("figure", head, picture)


Series = tuple[str, str, Sequence[float], Sequence[float]]  # column, name, x, y


def lines(series: Sequence[Series], title: str, x_label: str, level: float | None = None, name: str = "") -> Html:
    """A line a run over the same axes; `level`: a dashed line with its `name`, left out where no run comes near."""
    xs = [value for one in series for value in one[2]]
    ys = [value for one in series for value in one[3]]
    low, high = span(ys, 0.06)
    if level is not None and low - (high - low) / 2 < level < high + (high - low) / 2:
        low, high = span([*ys, level], 0.06)
    else:
        level = None
    x, y = Scale(min(0.0, *xs), max(xs), 46, WIDTH - 10), Scale(low, high, 228, 8)
    marks = []
    for label, run, across, up in series:
        d = "M" + "L".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(across, up, strict=True))
        tip = [run, f"{title}: {up[0]:.3f} at first, {up[-1]:.3f} at the end"]
        parts = [tag("path", d=d, class_="hit"), tag("path", d=d, class_="line")]
        marks.append(mark(label, tip, parts))
    extra = []
    if level is not None:
        extra = [tag("path", d=f"M46,{y(level):.1f}H{WIDTH - 10}", class_="rule dashed"),
                 text_at(WIDTH - 12, y(level) - 5, name, "end")]  # fmt: skip
    picture = _frame(x, y, 280, x_label, "", join([*extra, *marks]), title)
    return tag("figure", tag("figcaption", tag("b", title)), picture)


def histograms(id_scores: np.ndarray, ood_scores: np.ndarray, ends: tuple[float, float], title: str) -> Html:
    """Share of images by score, in-distribution test set against one OOD set; the end bins hold what is beyond."""
    bins = 36
    edges = np.linspace(*ends, bins + 1)
    shares = [
        np.histogram(np.clip(scores, *ends), edges)[0] / max(1, len(scores)) * 100 for scores in (id_scores, ood_scores)
    ]
    x = Scale(ends[0], ends[1], 8, WIDTH - 8)
    y = Scale(0, max(1e-9, *(float(share.max()) for share in shares)) * 1.06, 118, 6)
    parts = []
    for share, kind in zip(shares, ("id", "ood"), strict=True):
        steps = "".join(f"V{y(s):.1f}H{x(e):.1f}" for s, e in zip(share, edges[1:], strict=True))
        parts.append(tag("path", d=f"M{x(ends[0]):.1f},118{steps}V118", class_=f"steps {kind}"))
    return _frame(x, y, 146, "", "", join(parts), title, y_ticks=False, grid=False)


def _frame(x: Scale, y: Scale, height: float, x_label: str, y_label: str, inside: Html, title: str,
           y_ticks: bool = True, grid: bool = True) -> Html:  # fmt: skip
    """Axes with ticks around `inside`."""
    parts: list[Html] = []
    for value in x.ticks(6):
        at = f"{x(value):.1f}"
        if grid:
            parts.append(tag("path", d=f"M{at},{y.end}V{y.start}", class_="grid"))
        parts.append(text_at(x(value), y.start + 16, number(value), "middle", "tick"))
    for value in y.ticks() if y_ticks else []:
        parts.append(tag("path", d=f"M{x.start},{y(value):.1f}H{x.end}", class_="grid"))
        parts.append(text_at(x.start - 6, y(value) + 4, number(value), "end", "tick"))
    parts.append(tag("path", d=f"M{x.start},{y.start}H{x.end}", class_="axis"))
    if x_label:
        parts.append(text_at((x.start + x.end) / 2, y.start + 36, x_label, "middle"))
    if y_label:
        middle = (y.start + y.end) / 2
        parts.append(tag("text", y_label, x=12, y=f"{middle:.0f}", text_anchor="middle",
                         transform=f"rotate(-90 12 {middle:.0f})"))  # fmt: skip
    return tag("svg", parts, inside, viewBox=f"0 0 {WIDTH} {height:.0f}", role="group", aria_label=title,
               data_roving="" if "data-tip" in inside else None)  # fmt: skip


def text_at(x: float, y: float, text: str, anchor: str, class_: str | None = None) -> Html:
    """Text at a place of a chart; anchor: "start", "middle" or "end"."""
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=class_)
