"""The figures and training curves of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.data.catalog import info
from benchmark.files import read_json_lines
from benchmark.plan.methods import DinoConfig
from benchmark.plan.titles import title_of
from benchmark.report.figures import embed, one_class, paper, training
from benchmark.report.figures.files import Key, Picture
from benchmark.report.figures.panels import Line, Lines, Panel
from benchmark.report.groups import Group
from benchmark.report.intervals import Estimate
from benchmark.store.folders import RunFolder

CURVE_POINTS = 24_000  # of all runs of a chart together


@dataclass(frozen=True)
class Block:
    """Charts side by side, with a heading and a note. keys: a legend of its own, and the one chart is wide."""

    heading: str = ""
    charts: Sequence[dict[str, str]] = ()
    note: str = ""
    keys: Sequence[Key] = ()


def _chart(panel: Panel, letter: str = "") -> dict[str, str]:
    title = f"({letter}) {panel.title}" if letter else panel.title
    below = panel.below.replace("\n", "; ")
    return {"title": title, "more": panel.more, "svg": embed.panel(panel), "below": below}


def _block(heading: str, picture: Picture) -> Block:
    """The panels of a figure one by one; where one is lacking a line that says so."""
    charts = []
    for letter, panel in zip("abcd", [panel for row in picture.rows for panel in row], strict=False):
        lacking = {"title": "", "svg": "", "below": f"({letter}) {picture.lacking}"}
        charts.append(_chart(panel, letter) if panel else lacking)
    return Block(heading, charts)


def figure_charts(group: Group, in_dist: str) -> list[Block]:
    """Figures 2 and 3 of an in-distribution set."""
    title = info(in_dist).title
    if not any(run.record for run in group.runs_of(in_dist)):
        return [Block(note=f"{title}: no run is done yet.")]
    note = (
        "Hollow: references, outside the correlations. Pale: n = 1, no interval. Bars: 95% Student-t intervals over "
        "seeds. r: Pearson with Fisher's 95% interval; ρ: Spearman; n: variants."
    )
    return [_block(f"Figure 2. What negatives do to the soft classes ({title})", paper.figure2(group, in_dist)),
            _block(f"Figure 3. What goes with good detection ({title})", paper.figure3(group, in_dist)),
            Block(note=note)]  # fmt: skip


def class_charts(group: Group) -> list[Block]:
    """The figure of the one-class protocol."""
    picture = one_class.one_class(group, group.parent)
    if not any(key.look != "published" for key in picture.keys):
        return [Block(note="Not measured yet.")]
    note = "Bars: the range of the seeds, of a mean its 95% Student-t interval. Pale: n = 1. Hollow grey: references."
    if any(key.look == "published" for key in picture.keys):
        note += " Open and larger: published values of the method with that shape; dashed: published means."
    title = f"AUROC (%) of each class of {info(group.parent).title} against the others"
    chart = {"title": title, "more": "", "svg": embed.together(picture, title), "below": ""}
    return [Block(charts=[chart], note=note, keys=picture.keys)]


def training_charts(group: Group, in_dist: str) -> list[Block]:
    """What runs that were scored on the way were worth by epoch, one line per variant; [] where none was."""
    picture = training.training(group, in_dist)
    if picture is None:
        return []
    note = f"{info(in_dist).title}, scored while it trained (eval.every) and at the end: one line per variant."
    return [
        Block(charts=[_chart(panel) for panel in picture.panels if isinstance(panel, Lines) and panel.lines], note=note)
    ]


def loss_charts(group: Group) -> list[Block]:
    """The losses by epoch, one line per run, where the runs' metrics.jsonl are there."""
    trained = [run for run in group.runs if run.record and isinstance(run.config.method, DinoConfig)]
    kept = [(run, run.record.folder) for run in trained if run.record and run.record.folder]
    found = [(run, rows) for run, folder in kept if (rows := _curve(RunFolder(folder).metrics))]
    if not found:
        note = (
            "No training curves: these runs have no metrics.jsonl beside their records (reference records are kept "
            "without). Train the sweep with bench sweep, and bench report --page on its results draws them."
        )
        return [Block(note=note)]
    several = len({run.config.in_dist for run, _ in found}) > 1
    k = {run.config.method.classes for run, _ in found if isinstance(run.config.method, DinoConfig)}
    log_k = math.log(k.pop()) if len(k) == 1 else None
    keep = max(20, min(150, CURVE_POINTS // len(found)))

    def panel(kind: str, title: str, of: Callable[[float], float] = float, level: float | None = None) -> Lines:
        lines = []
        for run, rows in found:
            pairs = [(row["epoch"], of(row[kind])) for row in rows if kind in row]
            if not pairs:
                continue
            epochs, values = (_thinned([pair[side] for pair in pairs], keep) for side in (0, 1))
            where = f"{info(run.config.in_dist).title}, " if several else ""
            name = f"{where}{title_of(run.config.label)}, seed {run.config.seed}"
            lines.append(Line(run.config.label, name, epochs, [Estimate(value, None, 1) for value in values]))
        return Lines(title, "epoch", lines, [("", "ln K: collapsed", level)] if level is not None else [])

    shown = [panel("loss", "Loss"), panel("positive", "Positive term", level=log_k)]
    if log_k is not None:
        shown.append(panel("negative", "Negative term less ln K: KL from uniform", lambda value: value - log_k))
    lacking = len(trained) - len(found)
    note = f"One line per run ({len(found)}), averaged to at most {keep} points."
    note += f" {lacking} of {len(trained)} runs have no metrics.jsonl." if lacking else ""
    return [Block(charts=[_chart(one) for one in shown if one.lines], note=note)]


def _curve(path: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl that can be drawn."""
    return [
        row
        for row in read_json_lines(path)
        if "epoch" in row
        and all(
            isinstance(row.get(key, 0.0), (int, float)) and math.isfinite(row.get(key, 0.0))
            for key in ("epoch", "loss", "positive", "negative")
        )
    ]


def _thinned(values: Sequence[float], keep: int) -> list[float]:
    """`values` as the means of at most `keep` equal stretches."""
    if len(values) <= keep:
        return list(values)
    return [float(np.mean(part)) for part in np.array_split(np.asarray(values, dtype=float), keep)]
