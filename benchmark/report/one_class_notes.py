"""The notes below the table of the one-class protocol."""

from __future__ import annotations

from collections.abc import Iterable

from benchmark.data.catalog import info
from benchmark.plan.config import RunConfig
from benchmark.plan.training_data import meaning
from benchmark.report.one_class import Column, OneClass
from benchmark.report.published import one_class as published
from benchmark.report.table_notes import by_different_code, machine, shared_notes


def notes(group: OneClass, learns_from: dict[str, str]) -> list[str]:
    """What the table needs said; learns_from: the training data of all its columns."""
    said = [*_missing(group), *_numbers(group)]
    if any(column.is_reference for column in group.columns):
        said.append("untrained, image statistics: references. A class that they already tell from the others proves "
                    "nothing.")  # fmt: skip
    else:
        said.append("This sweep has no reference rows (untrained, image-statistics): easy classes go unseen.")
    said.append(meaning(list(learns_from.values())))
    said.append(f"The class labels of {info(group.parent).title} are used to select the images of the one class, and "
                "for nothing else.")  # fmt: skip
    several = [column for column in group.columns if column.own]
    if several:
        told = "; ".join(f"{column.title}: {column.own}" for column in several)
        said.append(f"Columns of one name are of different settings. {told}.")
    if published.is_known(group.parent):
        said += [*published.NOTES, "Columns marked (publ.) are of others' systems, not run here."]
    return said + about(group)


def _missing(group: OneClass) -> list[str]:
    planned = 0
    parts = []
    for column in group.columns:
        wanted = [name for name in group.classes if group.planned(column, name)]
        gone = [name for name in wanted if not group.values(column, name)]
        planned += len(wanted)
        if gone:
            parts.append((column.title, "all" if len(gone) == len(wanted) else ", ".join(gone), len(gone)))
    made = []
    if parts:
        told = ", ".join(f"{title} ({gone})" for title, gone, _ in parts)
        made.append(f"{sum(count for *_, count in parts)} of {planned} cells missing: {told}.")
    todo = [f"{r.config.in_dist}-{r.config.label}-s{r.config.seed}" for r in group.runs if not r.record]
    if todo:
        more = f" and {len(todo) - 6} more" if len(todo) > 6 else ""
        made.append(f"{len(todo)} of {len(group.runs)} runs have no record yet: {', '.join(todo[:6])}{more}.")
    return made


def _numbers(group: OneClass) -> list[str]:
    """How the intervals are made, where n differs, and what a mean is over where it is not over all classes."""
    counts = [(column, {name: len(values) for name in group.classes if (values := group.values(column, name))})
              for column in group.columns]  # fmt: skip
    made = []
    if any(n > 1 for _, of_class in counts for n in of_class.values()):
        made.append("± is half of the 95% Student-t interval over n seeds; n = 1 has none. That of a mean is over the "
                    "seeds' means over the classes, not over the classes.")  # fmt: skip
    mixed = []
    for column, of_class in counts:
        most = max(of_class.values(), default=0)
        fewer = [f"{name} n = {n}" for name, n in of_class.items() if n < most]
        if fewer:
            mixed.append(f"{column.title}: {', '.join(fewer)}, the rest n = {most}")
    if mixed:
        made.append(f"n differs within a column: {'; '.join(mixed)}.")
    partial = [text for column in group.columns if (text := _over_fewer(group, column))]
    if partial:
        made.append(f"* over the classes that all seeds of the column have: {'; '.join(partial)}.")
    if len(group.classes) < group.total:
        made.append(f"The sweep has {len(group.classes)} of the {group.total} classes of {info(group.parent).title}: "
                    "its means are over these.")  # fmt: skip
    return made


def _over_fewer(group: OneClass, column: Column) -> str:
    mean = group.mean(column)
    if not mean.by_seed and any(group.values(column, name) for name in group.classes):
        return f"{column.title}: no class in common, no mean"
    if not mean.by_seed or len(mean.classes) == len(group.classes):
        return ""
    whole = f", all classes in seed {', '.join(map(str, mean.complete))} alone" if mean.complete else ""
    return f"{column.title}: over {len(mean.classes)} of {len(group.classes)} classes{whole}"


def about(group: OneClass) -> list[str]:
    """Where the numbers come from: settings and images of each column, runs, machines."""
    made = []
    settings: dict[str, list[str]] = {}
    for column in group.columns:
        settings.setdefault(f"{describe(column.config)}{_images(group, column)}", []).append(column.title)
    made += [f"{', '.join(titles)}: {text}." for text, titles in settings.items()]
    if published.is_known(group.parent):
        made.append(f"Published values are of all {published.TRAINING_IMAGES:,} training images of a class.")
    machines = {machine(run.record.environment) for run in group.runs if run.record} - {""}
    done = sum(run.record is not None for run in group.runs)
    made.append(f"Runs: {done} of {len(group.runs)} done{'; ' + ' | '.join(sorted(machines)) if machines else ''}.")
    made += shared_notes(run.record for run in group.runs)
    made += by_different_code(run.record for run in group.runs if run.record)
    imported = sorted({key for key, seen in group.data().items() if not seen.official})
    if imported:
        more = f" and {len(imported) - 4} more" if len(imported) > 4 else ""
        made.append(f"Imported, not the official files: {', '.join(imported[:4])}{more}.")
    return made


def describe(config: RunConfig) -> str:
    """The network and the training of a column, on one line."""
    if config.method.name == "image-statistics":
        return "no network"
    args = "".join(f", {key} {value}" for key, value in config.model.args.items())
    views = config.views
    sizes = (
        f"views {views.global_size}/{views.local_size}" if config.method.multi_crop else f"{config.input_sizes()[0]}"
    )
    parts = [f"{config.model.backbone}{args}", f"{sizes} px"]
    if soft_classes := getattr(config.method, "classes", None):
        parts.append(f"K = {soft_classes}")
    if config.method.trains:
        epochs = "epoch" if config.train.epochs == 1 else "epochs"
        parts += [f"{config.train.epochs} {epochs}", f"batch {config.train.batch}", config.train.precision]
    if config.protocol != "paper" and config.method.negatives:
        parts.append(f"protocol {config.protocol}")
    return ", ".join(parts)


def _images(group: OneClass, column: Column) -> str:
    """What the column's runs read of each class, and were scored on."""
    trained, held, others = set(), set(), set()
    for name, record in group.records(column):
        in_dist, ood = f"{group.parent}:{name}", f"{group.parent}:not-{name}"
        if seen := record.data.get(f"{in_dist}/train"):
            trained.add(seen.count)
        if measured := record.own_score.ood.get(ood):
            held.add(measured.n_id)
            others.add(measured.n_ood)
    if not trained or not held:
        return ""
    return f"; a class: {_range(trained)} training images, {_range(held)} test images against {_range(others)}"


def _range(counts: Iterable[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
