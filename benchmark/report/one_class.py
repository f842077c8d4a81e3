"""The one-class protocol: one class of a set is in-distribution, all others are OOD; a group of such runs.

Its columns are methods, each with settings of its own. So runs stand side by side here that Tables 1 and 2 would part;
what is never done is to put runs of two recipes into one column.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmark.data.catalog import class_titles, split_size
from benchmark.errors import BenchError
from benchmark.negatives import VARIANTS
from benchmark.plan.config import RunConfig
from benchmark.plan.identity import digest
from benchmark.plan.methods import REFERENCES
from benchmark.plan.titles import title_of
from benchmark.report.groups import Group, Run, at, by_images, differences, records_by_recipe
from benchmark.report.images import OfImages, mean_of, of_records
from benchmark.report.intervals import Estimate, estimate
from benchmark.report.numbers import auroc
from benchmark.report.published import one_class as published
from benchmark.store.records import Record, SetInRecord

# Section -> what in it makes two methods or variants two, and is no difference between their settings.
_TELLING = {"method": ("name", "shift"), "data": ("sources", "aux_limit", "aux_order", "mask")}
_ORDER = {name: rank for rank, name in enumerate(["rotation", "rotation-translation", *VARIANTS])}


@dataclass(frozen=True)
class OneOfAll:
    """What a run of this protocol is about: the class `name` of the set `parent`, against `ood`, the other classes."""

    parent: str
    name: str
    ood: str


def class_of(config: RunConfig) -> OneOfAll | None:
    """The class that the run is trained on; None where it is no run of this protocol.

    It is one where in_dist reads PARENT:CLASS and PARENT:not-CLASS is among its OOD sets.
    """
    parent, colon, name = config.in_dist.partition(":")
    if not (parent and colon and name):
        return None
    ood = f"{parent}:not-{name}"
    try:
        return OneOfAll(parent, name, ood) if ood in config.ood_sets() else None
    except BenchError:  # its OOD sets cannot be known
        return None


@dataclass(frozen=True)
class Column:
    """A column: one label and one recipe, that is all that changes the numbers but the class and the seed.

    key: the label, and where a label has several recipes also what is special about this one, `own`, as in
    "dino (train.epochs = 20)". title: for people; then with a letter, as in "DINO (b)". config: of one of its runs.
    """

    key: str
    title: str
    label: str
    recipe: str
    own: str
    config: RunConfig

    @property
    def is_reference(self) -> bool:
        return self.label in REFERENCES


@dataclass(frozen=True)
class Mean:
    """A column's mean over classes. by_seed: each seed's mean over `classes`, those that every seed of it has.

    complete: the seeds that have all classes of the table.
    """

    by_seed: dict[int, float]
    classes: list[str]
    complete: list[int]

    @cached_property
    def ours(self) -> Estimate | None:
        """The mean over seeds, None where there is none."""
        return estimate(list(self.by_seed.values())) if self.by_seed else None


@dataclass(frozen=True)
class OneClass:
    """The runs of a sweep on single classes of one set, which read the same images.

    heading: what tells this group from others of the same sweep, "" where there is one.
    """

    parent: str
    heading: str
    runs: tuple[Run, ...]

    @property
    def in_dists(self) -> list[str]:
        return [self.parent]

    def runs_of(self, in_dist: str) -> list[Run]:
        """The runs that the figure of this group is made of: all of them."""
        return list(self.runs)

    @cached_property
    def classes(self) -> list[str]:
        """The classes of the sweep, as CIFAR10 has them or else in the sweep's order."""
        found = dict.fromkeys(run_class.name for run_class, _ in self._placed)
        known = {name: rank for rank, name in enumerate(published.CLASSES)} if published.is_known(self.parent) else {}
        return sorted(found, key=lambda name: known.get(split_size(name)[0], len(known)))

    @property
    def total(self) -> int:
        """How many classes the set has; the sweep may have fewer."""
        return max(len(self.classes), len(class_titles(self.parent) or ()))

    @cached_property
    def columns(self) -> list[Column]:
        """Rotation prediction, DINO and the variants in the paper's order, other methods, the references."""
        by_label: dict[str, dict[str, RunConfig]] = {}
        for run in self.runs:
            by_label.setdefault(run.config.label, {}).setdefault(recipe_of(run.config), run.config)
        made = []
        for label in sorted(by_label, key=lambda label: (label in REFERENCES, _ORDER.get(label, len(_ORDER)))):
            recipes = by_label[label]
            settings = {recipe: _shared(config) for recipe, config in recipes.items()}
            keys = differences(list(settings.values()))
            for number, (recipe, config) in enumerate(recipes.items()):
                own = ", ".join(f"{key} = {at(settings[recipe], key)}" for key in keys)
                letter = f" ({_letter(number)})" if len(recipes) > 1 else ""
                key = f"{label} ({own})" if own else label
                made.append(Column(key, title_of(label) + letter, label, recipe, own, config))
        return made

    @cached_property
    def _placed(self) -> list[tuple[OneOfAll, Run]]:
        return [(found, run) for run in self.runs if (found := class_of(run.config))]

    @cached_property
    def _runs(self) -> dict[tuple[str, str], list[Run]]:
        """(recipe, class) -> the planned runs."""
        found: dict[tuple[str, str], list[Run]] = {}
        for run_class, run in self._placed:
            found.setdefault((recipe_of(run.config), run_class.name), []).append(run)
        return found

    def planned(self, column: Column, name: str) -> list[Run]:
        """The runs of the sweep that should fill this column for this class."""
        return self._runs.get((column.recipe, name), [])

    def records(self, column: Column) -> list[tuple[str, Record]]:
        """(class, record) of what is done in this column."""
        return [(name, r.record) for name in self.classes for r in self.planned(column, name) if r.record]

    def values(self, column: Column, name: str, score: str | None = None) -> dict[int, float]:
        """Seed -> AUROC in % of the class `name` against all the others; score: see `numbers.auroc`."""
        ood = f"{self.parent}:not-{name}"
        done = [(run.config.seed, auroc(run.record, ood, score)) for run in self.planned(column, name) if run.record]
        return {seed: value for seed, value in done if value is not None}

    def mean(self, column: Column, score: str | None = None) -> Mean:
        """The mean over classes, seed by seed: the interval is that of the seeds' means, not of the classes."""
        by_class = {name: self.values(column, name, score) for name in self.classes}
        seeds = sorted({seed for values in by_class.values() for seed in values})
        shared = [name for name, values in by_class.items() if seeds and all(seed in values for seed in seeds)]
        complete = [seed for seed in seeds if all(seed in values for values in by_class.values())]
        by_seed = {s: math.fsum(by_class[c][s] for c in shared) / len(shared) for s in seeds} if shared else {}
        return Mean(by_seed, shared, complete)

    def data(self) -> dict[str, SetInRecord]:
        """ "set/split" -> what the runs read."""
        return {key: seen for run in self.runs if run.record for key, seen in run.record.data.items()}

    def as_groups(self) -> list[Group]:
        """The same runs as groups in which a label has one recipe, for what is shown run by run."""
        place: dict[str, int] = {}
        seen: dict[str, int] = {}
        for column in self.columns:
            place[column.recipe] = seen.setdefault(column.label, 0)
            seen[column.label] += 1
        groups = []
        for number in range(max(seen.values(), default=0)):
            runs = tuple(run for run in self.runs if place[recipe_of(run.config)] == number)
            titles = [column.title for column in self.columns if place[column.recipe] == number]
            groups.append(Group(", ".join(titles) if number else self.heading, runs))
        return groups


def of_images(
    group: OneClass, names: Iterable[str], column: Column, score: str | None = None, seeds: Sequence[int] | None = None
) -> OfImages | None:
    """A column's mean over these classes and seeds (None: all that it has), by its test images."""
    found = []
    for name in names:
        runs = [run for run in group.planned(column, name) if seeds is None or run.config.seed in seeds]
        one = of_records([run.record for run in runs if run.record], [f"{group.parent}:not-{name}"], score)
        if one is None:
            return None
        found.append(one)
    return mean_of(found) if found else None


def one_class_groups(configs: Iterable[RunConfig], records: Sequence[Record]) -> list[OneClass]:
    """The runs of this protocol with their records: a group a parent set, parted where records read other images."""
    parents: dict[str, dict[str, Run]] = {}
    for config in configs:
        if found := class_of(config):
            recipe = config.recipe_id()
            parents.setdefault(found.parent, {}).setdefault(recipe, Run(config, recipe))
    by_recipe = records_by_recipe(records)
    return [
        OneClass(parent, told, with_records)
        for parent, runs in parents.items()
        for told, with_records in by_images(list(runs.values()), by_recipe)
    ]


def _shared(config: RunConfig) -> dict[str, Any]:
    """What a column's runs share: all that changes their numbers but the class and the seed."""
    return config.method.setting({k: v for k, v in config.identity().items() if k not in ("in_dist", "seed")})


def settings_of(config: RunConfig) -> dict[str, Any]:
    """What two methods, or DINO with and without negatives, should share to be compared: network, training, images.

    Not what makes them two: the method's name, the negatives, and whether rotation prediction has shifts.
    """
    shared = {key: value for key, value in _shared(config).items() if key not in ("variant", "negatives")}
    for section in _TELLING.keys() & shared.keys():
        shared[section] = {key: value for key, value in shared[section].items() if key not in _TELLING[section]}
    return shared


def recipe_of(config: RunConfig) -> str:
    """What tells the columns apart, as a hash; the label is part of it."""
    return digest([config.label, _shared(config)])


def _letter(number: int) -> str:
    """a, b, ... z, then numbers."""
    return "abcdefghijklmnopqrstuvwxyz"[number] if number < 26 else str(number + 1)
