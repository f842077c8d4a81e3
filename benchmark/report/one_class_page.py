"""The one-class protocol on the page: what comes first, its table, and its figure as SVG."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.catalog import info
from benchmark.report import charts, one_class_claims
from benchmark.report.cells import Table
from benchmark.report.claims_text import Claim
from benchmark.report.groups import Group, title_of
from benchmark.report.intervals import Estimate, estimate
from benchmark.report.markup import Html, join, summary_cards, tag
from benchmark.report.one_class import OneClass
from benchmark.report.one_class_figure import Slot, slots
from benchmark.report.one_class_table import MEAN, one_class
from benchmark.report.page_figures import training_section
from benchmark.report.page_provenance import SYMBOLS, claims_section, provenance_section
from benchmark.report.page_scores import Thumbnails, scores_section
from benchmark.report.page_tables import tables_section
from benchmark.report.published import one_class as published

_WIDTH, _BOTTOM, _LEFT = 900, 320, 46
_SIDE = 124  # of the means, and as much again for the names beside them


def one_class_parts(group: OneClass, results: Path, thumbnails: Thumbnails) -> tuple[Html, dict[str, Html]]:
    """The summary of a group, and its sections by key."""
    made = one_class(group)
    checked = one_class_claims.check(group)
    plain = group.as_groups()
    together = Group(group.heading, group.runs)
    return summary(group, made[0], checked), {
        "table-one-class": tables_section(made, {}),
        "figure-one-class": figure(group),
        "training": training_section(together, results),
        "claims": claims_section(checked, one_class_claims.RULES),
        "scores": join(
            scores_section(part, in_dist, results, thumbnails) for part in plain for in_dist in part.in_dists
        ),
        "provenance": provenance_section(together),
    }


def summary(group: OneClass, table: Table, checked: list[Claim]) -> Html:
    """How much is done, what is best, what the references reach, how the claims stand."""
    done = sum(run.record is not None for run in group.runs)
    items = [("Protocol", "one class", f"of {info(group.parent).title} against its others"),
             ("Runs done", f"{done} of {len(group.runs)}", "")]  # fmt: skip
    row = next(row for row in table.rows if row.key == MEAN)
    count = row.title.removeprefix("mean ")[1:-1]
    best = [column for column, cell in row.cells.items() if cell.best]
    if best and (ours := row.cells[best[0]].ours):
        names = ", ".join(table.columns[column] for column in best)
        items.append((f"Best mean AUROC ({count} classes)", f"{ours.mean:.{row.decimals}f}", names))
    references = [(column.title, ours) for column in group.columns
                  if column.is_reference and (ours := row.cells[column.key].ours)]  # fmt: skip
    if references:
        text = " · ".join(f"{ours.mean:.{row.decimals}f}" for _, ours in references)
        items.append(("Reference means", text, " · ".join(title for title, _ in references)))
    counts = {verdict: sum(claim.verdict == verdict for claim in checked) for verdict in SYMBOLS}
    items.append(("Claims", f"{counts['holds']} of {len(checked)} hold",
                  f"{counts['fails']} fail, {counts['not measured']} not measured"))  # fmt: skip
    return summary_cards(items)


def figure(group: OneClass) -> Html:
    """Every class by method, seeds behind the means, published values open, and the means over classes at the side."""
    places = slots(group)
    if not any(slot.column for slot in places):
        return tag("p", "Not measured yet.", class_="note")
    whole = len(group.classes) == group.total
    known = published.is_known(group.parent)
    points: list[tuple[Slot, int, str, Estimate | None, dict[int, float], float | None]] = []
    for slot in places:
        for place, name in enumerate(group.classes):
            values = group.values(slot.column, name) if slot.column else {}
            ours = estimate(list(values.values())) if values else None
            points.append((slot, place, name, ours, values, slot.published(group, name)))
        mean = group.mean(slot.column) if slot.column else None
        ours, values = (mean.ours, mean.by_seed) if mean else (None, {})
        points.append((slot, len(group.classes), "mean", ours, values, slot.published_mean(group)))
    rivals = published.MEANS_ALONE if known and whole else {}
    reach = [end for *_, ours, values, _ in points if ours for end in (*values.values(), ours.mean - (ours.half or 0.0),
             ours.mean + (ours.half or 0.0))]  # fmt: skip
    reach += [paper for *_, paper in points if paper is not None] + list(rivals.values())
    y = charts.Scale(*charts.span([max(0.0, min(reach)), min(100.0, max(reach))], 0.04), _BOTTOM, 8)
    step = (_WIDTH - _LEFT - 2 * _SIDE) / len(group.classes)

    def x(place: int, offset: float) -> float:
        if place == len(group.classes):
            return _WIDTH - 1.5 * _SIDE + offset * _SIDE
        return _LEFT + (place + 0.5 + offset) * step

    marks = [_mark(slot, x(place, slot.offset), y, name, ours, values, paper, of_mean=place == len(group.classes))
             for slot, place, name, ours, values, paper in points if ours or paper is not None]  # fmt: skip
    end = _WIDTH - _SIDE
    parts: list[Html] = []
    for value in y.ticks():
        parts.append(tag("path", d=f"M{_LEFT},{y(value):.1f}H{end}", class_="grid"))
        parts.append(charts.text_at(_LEFT - 6, y(value) + 4, charts.number(value), "end", "tick"))
    if y.low < 50 < y.high:
        parts.append(tag("path", d=f"M{_LEFT},{y(50):.1f}H{end}", class_="rule dotted"))
    for place, name in enumerate([*group.classes, "mean"]):
        last = place == len(group.classes)
        edge = end - _SIDE if last else _LEFT + place * step
        parts.append(tag("path", d=f"M{edge:.1f},8V{_BOTTOM}", class_="axis" if last or not place else "grid"))
        parts.append(charts.text_at(x(place, 0), _BOTTOM + 16, name, "middle", "tick"))
    for name, value in rivals.items():
        parts.append(tag("path", d=f"M{end - _SIDE},{y(value):.1f}H{end}", class_="rule dashed"))
        parts.append(
            charts.text_at(end + 4, y(value) + 4, f"{name.replace(' in ', ', ')} {value:.1f}", "start", "tick")
        )
    parts.append(tag("path", d=f"M{_LEFT},{_BOTTOM}H{end}", class_="axis"))
    title = f"AUROC (%) of each class of {info(group.parent).title} against the others"
    picture = tag("svg", parts, marks, viewBox=f"0 0 {_WIDTH} {_BOTTOM + 26}", role="group", aria_label=title,
                  data_roving="")  # fmt: skip
    keys = []
    for slot in places:
        name = slot.legend(group) if slot.column else f"{title_of(slot.label)}, published"
        hollow = slot.column is None or slot.column.is_reference
        shape = charts.shape_key(slot.label, slot.marker, hollow)
        keys.append(tag("span", shape, name, class_="named", data_v=slot.label))
    said = "Bars: the range of the seeds, and of a mean its 95% Student-t interval over seeds. Hollow grey: references."
    if known:
        said += " Open and larger: published values of the method with that shape; dashed: published means."
    head = tag("figcaption", tag("b", title))
    return join([tag("div", tag("figure", head, picture), class_="wide"), tag("p", keys, class_="note"),
                 tag("p", said, class_="note")])  # fmt: skip


def _mark(slot: Slot, x: float, y: charts.Scale, name: str, ours: Estimate | None, values: dict[int, float],
          paper: float | None, of_mean: bool) -> Html:  # fmt: skip
    """The point of a method in a class, or of its mean."""
    parts: list[Html] = []
    tip = [f"{slot.title}, {name}"]
    if paper is not None:
        parts.append(tag("path", d=charts.marker(slot.marker, x, y(paper), 6.5), class_="shape hollow"))
        tip.append(f"published {paper:.1f}")
    if ours:
        low, high = min(values.values()), max(values.values())
        if of_mean and ours.half is not None:
            low, high = ours.mean - ours.half, ours.mean + ours.half
        if len(values) > 1:
            ends = f"M{x:.1f},{y(low):.1f}V{y(high):.1f}"
            parts.append(tag("path", d=ends, class_="bar"))
        hollow = " hollow" if slot.column and slot.column.is_reference else ""
        parts.append(tag("path", d=charts.marker(slot.marker, x, y(ours.mean), 4), class_=f"shape{hollow}"))
        tip.append(charts.interval(ours))
        if len(values) > 1:
            tip.append(", ".join(f"seed {seed}: {value:.2f}" for seed, value in sorted(values.items())))
    return charts.mark(slot.label, tip, parts)
