"""The figure of training: what runs that were scored on the way (`eval.every`) were worth, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.report.figures.files import Picture
from benchmark.report.figures.panels import Line, Lines
from benchmark.report.figures.paper import heading_of, keys_of
from benchmark.report.groups import Group
from benchmark.report.intervals import Estimate, estimate

if TYPE_CHECKING:
    import pandas as pd

Curve = list[tuple[int, Estimate]]  # epoch and mean over seeds


def on_the_way(group: Group, in_dist: str) -> pd.DataFrame:
    """The rows of the group's frame, by each method's own score, of runs that were scored on the way, the end as a
    further epoch; of a reference row the end alone."""
    frame = group.frame
    frame = frame[(frame["in_dist"] == in_dist) & frame["own"]]
    end = {column.key: column.config.train.epochs for column in group.columns(in_dist)}
    references = [column.key for column in group.columns(in_dist) if column.is_reference]
    scored = frame["epoch"].notna().groupby([frame["column"], frame["seed"]], observed=True).transform("any")
    frame = frame[scored | frame["column"].isin(references)]
    return frame.assign(epoch=frame["epoch"].fillna(frame["column"].astype(object).map(end)).astype(int))


def curves(values: pd.DataFrame) -> dict[str, Curve]:
    """Column -> its means over the seeds at the epochs that all of its seeds have. values: rows of `on_the_way` that
    are of one measure; of several OOD sets their average is taken, where all are there."""
    made: dict[str, Curve] = {}
    sets = max(1, values["ood"].nunique())
    for key, rows in values.groupby("column", observed=True):
        of = rows.groupby(["epoch", "seed"])["value"]
        shared = of.mean()[of.count() == sets].unstack("seed").dropna()
        curve = [(int(epoch), estimate(list(row))) for epoch, row in zip(shared.index, shared.to_numpy(), strict=True)]
        made |= {str(key): curve} if curve else {}
    return made


def panels(group: Group, in_dist: str) -> dict[str, pd.DataFrame]:
    """What is shown: the title of each panel, which is its axis too, and its rows. AUROC is over the OOD sets that
    every run had from its first epoch to its end: an average over others would leap."""
    frame = on_the_way(group, in_dist)
    times = ["column", "seed", "epoch"]
    trained = {column.key for column in group.columns(in_dist) if not column.is_reference}
    everywhere = len(frame.loc[frame["column"].isin(trained), times].drop_duplicates())
    auroc = frame[frame["metric"] == "auroc"].astype({"ood": object})
    had = auroc[auroc["column"].isin(trained)].groupby("ood")["value"].count()
    cases = [case for case in group.cases(in_dist) if had.get(case.ood, 0) == everywhere]
    near = [case for case in cases if case.near][:1]
    k = group.knn_ks(in_dist)[0]
    return {
        f"average AUROC over {len(cases)} OOD sets, %" if cases else "AUROC: no OOD set":
            auroc[auroc["ood"].isin([case.ood for case in cases])],
        f"AUROC on {near[0].title}, %" if near else "AUROC: no near OOD set":
            auroc[auroc["ood"].isin([case.ood for case in near])],
        f"k-NN accuracy (k = {k}), %": frame[frame["metric"] == f"knn_accuracy_{k}"],
        "occupied soft classes": frame[frame["metric"] == group.occupancy],
    }  # fmt: skip


def training(group: Group, in_dist: str) -> Picture | None:
    """Average and near-OOD AUROC, k-NN accuracy and occupied classes over the epochs, one line per variant, the
    reference rows dotted; None where no run was scored on the way."""
    columns = group.columns(in_dist)
    found = {}
    for title, values in panels(group, in_dist).items():
        made = curves(values)
        shown = [(column, made[column.key]) for column in columns if column.key in made]
        lines = [Line(one.label, one.title, [epoch for epoch, _ in curve], [value for _, value in curve])
                 for one, curve in shown if not one.is_reference]  # fmt: skip
        levels = [(one.label, one.title, curve[-1][1].mean) for one, curve in shown if one.is_reference]
        found[title] = Lines(title, "epoch", lines, levels)
    drawn = {line.label for panel in found.values() for line in panel.lines}
    if not drawn:
        return None
    counts = sorted({value.n for panel in found.values() for line in panel.lines for value in line.y})
    keys = [one for one in columns if one.label in drawn or (one.is_reference and group.records(in_dist, one.key))]
    first, second, third, fourth = found.values()
    return Picture(heading_of("Training", group, in_dist, counts, "bands"), ((first, second), (third, fourth)),
                   keys_of(keys), (9, 7.4))  # fmt: skip
