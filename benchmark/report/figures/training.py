"""The figure of training: what runs that were scored on the way (`eval.every`) were worth, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from benchmark.data.catalog import info, is_near
from benchmark.plan.methods import REFERENCES
from benchmark.plan.titles import title_of
from benchmark.report.figures.files import Picture
from benchmark.report.figures.of_sets import heading_of, keys_of
from benchmark.report.figures.panels import Line, Lines
from benchmark.report.groups import Group
from benchmark.report.intervals import Estimate, estimate
from benchmark.report.numbers import occupancy_reading
from benchmark.store.records import Look, Record

Measure = Callable[[Look], float | None]
Curve = list[tuple[int, Estimate]]  # epoch and mean over seeds


def looks(record: Record) -> list[Look]:
    """What a run measured on the way, in order, and what its record says of the end; [] where it was not scored on the
    way. A reference row has the end alone."""
    if not record.trajectory and record.run_config.method.name not in REFERENCES:
        return []
    end = Look(
        epoch=record.run_config.train.epochs,
        knn_accuracy=record.knn_accuracy,
        ood={name: measured.auroc for name, measured in record.own_score.ood.items()},
        sensitivity=record.own_score.sensitivity,
        occupancy=record.occupancy,
    )
    return [*sorted(record.trajectory, key=lambda look: look.epoch), end]


def curves(group: Group, in_dist: str, measure: Measure, references: bool = False) -> dict[str, Curve]:
    """Column -> its means over the seeds at the epochs that all of its seeds have, those scored on the way alone. The
    trained columns, or the reference rows."""
    made = {}
    for label in group.labels(in_dist):
        seeds = [found for record in group.records(in_dist, label).values() if (found := looks(record))]
        by_epoch = [{look.epoch: v for look in found if (v := measure(look)) is not None} for found in seeds]
        shared = sorted(set.intersection(*map(set, by_epoch))) if by_epoch else []
        if shared and (label in REFERENCES) == references:
            made[label] = [(epoch, estimate([values[epoch] for values in by_epoch])) for epoch in shared]
    return made


def scored_sets(group: Group, in_dist: str) -> list[str]:
    """The OOD sets that every run had from its first look to its end: an average over others would leap."""
    found = [look for label in group.labels(in_dist) if label not in REFERENCES
             for record in group.records(in_dist, label).values() for look in looks(record)]  # fmt: skip
    return [ood for ood in group.ood_sets(in_dist) if all(ood in look.ood for look in found)]


def average(look: Look, sets: list[str]) -> float | None:
    """Average AUROC over these sets, None without any or where one is missing."""
    if not sets or any(ood not in look.ood for ood in sets):
        return None
    return math.fsum(look.ood[ood] for ood in sets) / len(sets)


def panels(group: Group, in_dist: str) -> dict[str, Measure]:
    """What is shown: the title of each panel, which is its axis too, and the measure."""
    sets = scored_sets(group, in_dist)
    near = [ood for ood in sets if is_near(in_dist, ood)][:1]
    k = next(run.config.eval.knn[0] for run in group.runs_of(in_dist))
    reading = occupancy_reading(group)
    return {
        f"average AUROC over {len(sets)} OOD sets, %" if sets else "AUROC: no OOD set": partial(average, sets=sets),
        f"AUROC on {info(near[0]).title}, %" if near else "AUROC: no near OOD set": partial(average, sets=near),
        f"k-NN accuracy (k = {k}), %": lambda look: look.knn_accuracy.get(str(k)),
        "occupied soft classes": lambda look: (look.occupancy or {}).get(reading),
    }


def training(group: Group, in_dist: str) -> Picture | None:
    """Average and near-OOD AUROC, k-NN accuracy and occupied classes over the epochs, a line a variant, the reference
    rows dotted; None where no run was scored on the way."""
    found = {}
    for title, measure in panels(group, in_dist).items():
        lines = [Line(label, title_of(label), [epoch for epoch, _ in curve], [value for _, value in curve])
                 for label, curve in curves(group, in_dist, measure).items()]  # fmt: skip
        levels = [(label, title_of(label), curve[-1][1].mean)
                  for label, curve in curves(group, in_dist, measure, references=True).items()]  # fmt: skip
        found[title] = Lines(title, "epoch", lines, levels)
    shown = [
        label for label in group.labels(in_dist) if any(line.label == label for p in found.values() for line in p.lines)
    ]
    if not shown:
        return None
    counts = sorted({value.n for panel in found.values() for line in panel.lines for value in line.y})
    references = [label for label in group.labels(in_dist) if label in REFERENCES]
    first, second, third, fourth = found.values()
    return Picture(heading_of("Training", group, in_dist, counts, "bands"), ((first, second), (third, fourth)),
                   keys_of(group, in_dist, [*shown, *references]), (9, 7.4))  # fmt: skip
