"""The figures and training curves of the page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.catalog import info
from benchmark.plan.methods import DinoConfig
from benchmark.report import charts, numbers
from benchmark.report.figures import Points, measures, near_and_far, near_average, variant_points
from benchmark.report.groups import Group, title_of
from benchmark.report.markup import Html, join, tag
from benchmark.report.training_figure import curves, panels
from benchmark.store.folders import RunFolder

CURVE_POINTS = 24_000  # of all runs of a chart together


# --- figures and curves -------------------------------------------------------------------------------------------


def figures_section(group: Group, in_dist: str) -> Html:
    title = info(in_dist).title
    if not any(group.records(in_dist, label) for label in group.labels(in_dist)):
        return tag("p", f"{title}: no run is done yet.", class_="note")
    occupied = partial(numbers.occupied, reading=numbers.occupancy_reading(group))
    count = numbers.classes(group, in_dist)
    of_k = f" of {count:,}" if count else ""

    def points(x: Any, y: Any) -> tuple[Points, Points]:
        return variant_points(group, in_dist, x, y), variant_points(group, in_dist, x, y, references=True)

    heights = {label: height for label, (height, _) in variant_points(group, in_dist, occupied, occupied).items()}
    names, near = near_average(group, in_dist)
    second = [
        charts.bars(heights, count, f"2a. Occupied soft classes, {title} test", f"occupied soft classes{of_k}"),
        charts.scatter(*points(near, occupied), f"AUROC (%), {names}", "occupied soft classes",
                       f"2b. {title} → {names} (near)"),
    ]  # fmt: skip
    third = []
    chosen = near_and_far(group, in_dist)
    for row, (measure, of) in enumerate(measures(group, in_dist).items()):
        for column, kind in enumerate(("near", "far")):
            panel = f"3{'abcd'[2 * row + column]}."
            if kind not in chosen:
                third.append(tag("p", f"{panel} no {kind} OOD set in this sweep", class_="note"))
                continue
            name = info(chosen[kind]).title
            third.append(charts.scatter(*points(partial(numbers.auroc, ood=chosen[kind]), of), f"AUROC (%), {name}",
                                        f"{measure}, %", f"{panel} {title} → {name} ({kind})"))  # fmt: skip
    return join([
        tag("h3", f"Figure 2. What negatives do to the soft classes ({title})"),
        tag("div", second, class_="panels"),
        tag("h3", f"Figure 3. What goes with good detection ({title})"),
        tag("div", third, class_="panels"),
        tag("p", "Hollow: references, outside the correlations. r: Pearson with Fisher's 95% interval; ρ: Spearman; "
            "n: variants. Bars: 95% Student-t intervals over seeds.", class_="note"),
    ])  # fmt: skip


def training_section(group: Group, results: Path) -> Html:
    """The losses by epoch, a line a run, where the runs' metrics.jsonl are there."""
    found = []
    trained = [run for run in group.runs if run.record and isinstance(run.config.method, DinoConfig)]
    for run in trained:
        assert run.record is not None
        rows = _curve(RunFolder(results / run.record.name).metrics)
        if rows:
            found.append((run, rows))
    if not found:
        return tag("p", "No training curves: these runs have no metrics.jsonl beside their records (reference records "
                   "are kept without). Train the sweep with bench sweep, and bench report --page on its results draws "
                   "them.", class_="note")  # fmt: skip
    several = len({run.config.in_dist for run, _ in found}) > 1
    k = {run.config.method.classes for run, _ in found if isinstance(run.config.method, DinoConfig)}
    log_k = math.log(k.pop()) if len(k) == 1 else None
    keep = max(20, min(150, CURVE_POINTS // len(found)))
    kinds: dict[str, list[charts.Series]] = {"loss": [], "positive": [], "negative": []}
    for run, rows in found:
        for kind, series in kinds.items():
            pairs = [(row["epoch"], row[kind]) for row in rows if kind in row]
            if not pairs or (kind == "negative" and log_k is None):
                continue
            xs, ys = (_thinned([pair[i] for pair in pairs], keep) for i in (0, 1))
            if kind == "negative" and log_k is not None:
                ys = [value - log_k for value in ys]
            where = f"{info(run.config.in_dist).title}, " if several else ""
            series.append((run.config.label, f"{where}{title_of(run.config.label)}, seed {run.config.seed}", xs, ys))
    names = {"loss": "Loss", "positive": "Positive term", "negative": "Negative term less ln K: KL from uniform"}
    panels = [
        charts.lines(series, names[kind], "epoch", log_k if kind == "positive" else None, "ln K: collapsed")
        for kind, series in kinds.items()
        if series
    ]
    lacking = len(trained) - len(found)
    note = f" {lacking} of {len(trained)} runs have no metrics.jsonl." if lacking else ""
    text = f"A line a run ({len(found)}), averaged to at most {keep} points.{note}"
    return join([tag("div", panels, class_="panels"), tag("p", text, class_="note")])


def looks_section(group: Group, in_dist: str) -> Html | None:
    """What runs that were scored on the way were worth by epoch, a line a variant; None where none was."""
    found = {title: curves(group, in_dist, measure) for title, measure in panels(group, in_dist).items()}
    shown = [
        charts.lines([(label, title_of(label), [epoch for epoch, _ in curve], [value.mean for _, value in curve])
                      for label, curve in of.items()], title, "epoch")
        for title, of in found.items() if of
    ]  # fmt: skip
    if not shown:
        return None
    text = (
        f"{info(in_dist).title}, scored while it trained (eval.every) and the end: a line a variant, mean over seeds."
    )
    return join([tag("div", shown, class_="panels"), tag("p", text, class_="note")])


def _curve(path: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl; a half-written last line of a running job is left out."""
    rows = []
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and all(
            isinstance(row.get(key, 0.0), (int, float)) and math.isfinite(row.get(key, 0.0))
            for key in ("epoch", "loss", "positive", "negative")
        ) and "epoch" in row:  # fmt: skip
            rows.append(row)
    return rows


def _thinned(values: Sequence[float], keep: int) -> list[float]:
    """`values` as the means of at most `keep` equal stretches."""
    if len(values) <= keep:
        return list(values)
    return [float(np.mean(part)) for part in np.array_split(np.asarray(values, dtype=float), keep)]
