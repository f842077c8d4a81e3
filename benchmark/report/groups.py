"""A group of runs that may stand side by side, and what a report asks of it: a query on `store.measurements`.

Its cases are what a number is of: one in-distribution set against one OOD set, or one class of a set against its other
classes. Its columns are what the runs of a case differ in: a label, and where a label has several of them a recipe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmark.data.catalog import class_titles, info, is_control, is_near, split_class, split_size
from benchmark.negatives import VARIANTS
from benchmark.plan.config import RunConfig
from benchmark.plan.identity import digest
from benchmark.plan.methods import REFERENCES
from benchmark.plan.scores import OWN
from benchmark.plan.titles import title_of
from benchmark.report.settings import differences, of_run, recipe_of, shared_by_a_column
from benchmark.store.measurements import numbers_of, spread
from benchmark.store.records import Record, SetInRecord

if TYPE_CHECKING:
    import pandas as pd

_ORDER = {name: rank for rank, name in enumerate(["rotation", "rotation-translation", *VARIANTS])}


@dataclass(frozen=True)
class Run:
    """A planned run of a sweep and its record, None while there is none."""

    config: RunConfig
    recipe: str
    record: Record | None = None

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of its settings and its record; each figure asks for it."""
        return digest([self.config.label, self.config.seed, self.recipe,
                       self.record.model_dump_json() if self.record else None])  # fmt: skip


class Case(NamedTuple):
    """What an AUROC is of: an in-distribution set against an OOD set. title: that of the OOD set, or the class."""

    in_dist: str
    ood: str
    title: str

    @property
    def near(self) -> bool:
        return is_near(self.in_dist, self.ood)


@dataclass(frozen=True)
class Column:
    """The runs of a label that share a recipe, all that changes their numbers but the in-distribution set and the seed.

    key: the label, and where a label has several recipes also what is special about this one, `own`, as in
    "dino (train.epochs = 20)". title: for people; then with a letter, as in "DINO (b)". run: the settings of one of its
    runs, None where published values alone are shown, which are called `paper`. score: what detects. runs: the key of
    the group's column whose runs fill it, where it is called something else. learns_from: what its training reads,
    where the table says so.
    """

    key: str
    title: str
    label: str
    run: RunConfig | None = None
    own: str = ""
    score: str = OWN
    paper: str = ""
    runs: str = ""
    learns_from: str = ""

    @property
    def config(self) -> RunConfig:
        """The settings of one of its runs."""
        assert self.run is not None, f"{self.key} is quoted, nothing of it is run here"
        return self.run

    @property
    def source(self) -> str:
        return self.runs or self.key

    @property
    def is_reference(self) -> bool:
        return self.label in REFERENCES

    @property
    def is_quoted(self) -> bool:
        """Whether others' published values are all that it has."""
        return self.run is None

    @property
    def heading(self) -> str:
        return f"{self.title} (publ.)" if self.is_quoted else self.title


@dataclass(frozen=True)
class Mean:
    """Means over cases, seeds down, columns across. by_seed: over those cases that all seeds of a column have, which
    are in `cases`, by column; whole: over all cases, NaN for a seed that lacks one."""

    by_seed: pd.DataFrame
    whole: pd.DataFrame
    cases: dict[str, list[Case]]

    def seeds(self, key: str) -> dict[int, float]:
        """Seed -> mean of a column."""
        return seeds_of(self.by_seed, key)


@dataclass(frozen=True)
class Group:
    """Runs that may be compared: of one setting on whole sets, or on single classes of one set, `parent`.

    heading: what tells this group from the others of the same sweep, "" where it is the only one. score: what detects
    where a query names none.
    """

    heading: str
    runs: tuple[Run, ...]
    parent: str = ""
    score: str = OWN
    _values: dict[tuple[str, ...], pd.DataFrame] = field(default_factory=dict, init=False, compare=False, repr=False)
    _means: dict[tuple[Any, ...], Mean] = field(default_factory=dict, init=False, compare=False, repr=False)

    # --- what it is of ---

    @property
    def trained(self) -> list[RunConfig]:
        return [run.config for run in self.runs if run.config.method.name not in REFERENCES]

    @property
    def done(self) -> list[Run]:
        return [run for run in self.runs if run.record]

    @cached_property
    def in_dists(self) -> list[str]:
        return list(dict.fromkeys(run.config.in_dist for run in self.runs))

    @property
    def subjects(self) -> list[str]:
        """What a table or figure is of: an in-distribution set, or the set whose classes are."""
        return [self.parent] if self.parent else self.in_dists

    def runs_of(self, subject: str) -> list[Run]:
        return [run for run in self.runs if subject in (self.parent, run.config.in_dist)]

    def cases(self, subject: str) -> list[Case]:
        """The OOD sets that the sweep asks for, in its order; the classes as CIFAR10 has them, or else in its order."""
        if subject == self.parent:
            return [Case(f"{subject}:{name}", f"{subject}:not-{name}", name) for name in self._classes]
        return [Case(subject, ood, info(ood).title) for ood in self.ood_sets(subject)]

    @cached_property
    def _classes(self) -> list[str]:
        found = dict.fromkeys(one for in_dist in self.in_dists if (one := split_class(in_dist)[1]))
        known = {name: rank for rank, name in enumerate(class_titles(self.parent) or ())}
        return sorted(found, key=lambda name: known.get(split_size(name)[0], len(known)))

    @property
    def total(self) -> int:
        """How many classes the parent set has; the sweep may have fewer."""
        return max(len(self._classes), len(class_titles(self.parent) or ())) if self.parent else 0

    def ood_sets(self, in_dist: str) -> list[str]:
        return [ood for ood in self._asked(in_dist) if not is_control(in_dist, ood)]

    def controls(self, in_dist: str) -> list[str]:
        """The sets asked for of which no detector should think that they are OOD."""
        return [ood for ood in self._asked(in_dist) if is_control(in_dist, ood)]

    def _asked(self, in_dist: str) -> list[str]:
        return list(dict.fromkeys(ood for run in self.runs_of(in_dist) for ood in run.config.ood_sets()))

    def scores(self, *subjects: str) -> list[str]:
        """The further scores that any of the runs are asked for, in the order of the sweep."""
        runs = [run for subject in subjects or self.subjects for run in self.runs_of(subject)]
        return list(dict.fromkeys(name for run in runs for name in run.config.scores()))

    def data(self) -> dict[str, SetInRecord]:
        """ "set/split" -> what the runs read, the same for all of them."""
        return {key: seen for run in self.runs if run.record for key, seen in run.record.data.items()}

    # --- its columns ---

    @cached_property
    def _recipes(self) -> list[tuple[str, str]]:
        """(label, recipe) of each run; where whole sets share their settings, a label is one recipe."""
        return [(run.config.label, recipe_of(run.config) if self.parent else "") for run in self.runs]

    @cached_property
    def _columns(self) -> dict[tuple[str, str], Column]:
        by_label: dict[str, dict[str, RunConfig]] = {}
        for (label, recipe), run in zip(self._recipes, self.runs, strict=True):
            by_label.setdefault(label, {}).setdefault(recipe, run.config)
        made = {}
        for label in sorted(by_label, key=lambda label: (label in REFERENCES, _ORDER.get(label, len(_ORDER)))):
            recipes = by_label[label]
            settings = (
                {recipe: shared_by_a_column(config) for recipe, config in recipes.items()} if len(recipes) > 1 else {}
            )
            keys = differences(list(settings.values()))
            for number, (recipe, config) in enumerate(recipes.items()):
                own = ", ".join(f"{key} = {of_run(config, key)}" for key in keys)
                key, letter = (f"{label} ({own})", f" ({_letter(number)})") if settings else (label, "")
                made[label, recipe] = Column(key, title_of(label) + letter, label, config, own, paper=label)
        return made

    @cached_property
    def _runs(self) -> dict[tuple[str, str], list[Run]]:
        """(in-distribution set, column) -> the planned runs."""
        found: dict[tuple[str, str], list[Run]] = {}
        for place, run in zip(self._recipes, self.runs, strict=True):
            found.setdefault((run.config.in_dist, self._columns[place].key), []).append(run)
        return found

    def columns(self, *subjects: str) -> list[Column]:
        """Of these subjects, by default all: rotation prediction, the variants in the paper's order, other methods in
        the sweep's, the reference rows last."""
        wanted = {key for in_dist, key in self._runs if {in_dist, self.parent} & set(subjects) or not subjects}
        return [column for column in self._columns.values() if column.key in wanted]

    @cached_property
    def keys(self) -> list[str]:
        """Those of all its columns."""
        return [column.key for column in self._columns.values()]

    def labels(self, subject: str) -> list[str]:
        """The keys of its columns."""
        return [column.key for column in self.columns(subject)]

    def is_planned(self, in_dist: str, key: str) -> bool:
        return (in_dist, key) in self._runs

    def is_shown(self, subject: str, key: str) -> bool:
        """Whether a run is planned for any case of it."""
        return any(column.key == key for column in self.columns(subject))

    def records(self, in_dist: str, key: str) -> dict[int, Record]:
        """Seed -> record of what is done in a column."""
        return {run.config.seed: run.record for run in self._runs.get((in_dist, key), ()) if run.record}

    def score_of(self, record: Record, score: str = OWN) -> str:
        """The name of the score that detects: by default the group's, or the method's own."""
        if score != OWN:
            return score
        lacks = record.config["method"]["name"] in REFERENCES and self.score not in record.scores
        return record.own if self.score == OWN or lacks else self.score

    # --- its numbers ---

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The numbers of what is done as `store.measurements` has them, with each run's `in_dist`, `column` and `seed`;
        `own` is true where the group's score detects, and where nothing does.

        A reference row that lacks that score (image statistics have no features) is by its own. By another score than
        the methods' own there is nothing from before the end of training.
        """
        import pandas as pd

        done = [(run, place) for run, place in zip(self.runs, self._recipes, strict=True) if run.record]
        frame = numbers_of([run.record for run, _ in done if run.record])
        places = frame.pop("run").to_numpy(dtype=int)
        about = pd.DataFrame(
            [(run.config.in_dist, self._columns[place].key, run.config.seed) for run, place in done],
            columns=["in_dist", "column", "seed"],
        )
        frame = pd.concat([spread(about, places), frame], axis=1)
        if self.score != OWN:
            by = np.array([self.score_of(run.record) for run, _ in done if run.record], dtype=object)
            frame["own"] = frame["score"].astype(object) == by[places]
        frame["own"] |= frame["score"].isna()
        return frame if self.score == OWN else frame[frame["epoch"].isna()]

    @cached_property
    def _places(self) -> dict[tuple[str, ...], np.ndarray]:
        """(metric, in-distribution set, OOD set, score) -> the rows of the frame that are of the end of training."""
        keys = ["metric", "in_dist", "ood", "score"]
        frame = self.frame.reset_index(drop=True)
        end = frame[frame["epoch"].isna()]
        names = end[keys].astype(object).fillna("")
        by_score = names[names["score"] != ""].groupby(keys, sort=False).groups
        own = names[end["own"]].groupby(keys[:3], sort=False).groups
        found: dict[Any, pd.Index] = {**by_score, **{(*place, OWN): rows for place, rows in own.items()}}  # type: ignore[misc]
        return {where: rows.to_numpy() for where, rows in found.items()}

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each row of the frame its column's place among the keys, its seed and its value."""
        place = {key: number for number, key in enumerate(self.keys)}
        columns = self.frame["column"].map(place).to_numpy(dtype=int)  # said, for a group without records has none
        return columns, self.frame["seed"].to_numpy(), self.frame["value"].to_numpy()

    def values(self, metric: str, in_dist: str, ood: str = "", score: str = OWN) -> pd.DataFrame:
        """A metric of `store.measurements` at the end of training: seeds down, all columns of the group across."""
        import pandas as pd

        where = metric, in_dist, ood, score
        if where not in self._values:
            rows = self._places.get(where, np.empty(0, dtype=int))
            columns, seeds, values = (part[rows] for part in self._arrays)  # a pivot, without what pandas' costs a call
            found, places = np.unique(seeds, return_inverse=True)
            wide = np.full((len(found), len(self.keys)), np.nan)
            wide[places, columns] = values
            self._values[where] = pd.DataFrame(wide, index=found, columns=self.keys)
        return self._values[where]

    def mean(self, cases: Sequence[Case], metric: str = "auroc", score: str = OWN) -> Mean:
        """The mean over cases, seed by seed: its interval is that of the seeds' means, not of the cases."""
        asked = (*cases, metric, score)
        if asked not in self._means:
            parts = [self.values(metric, case.in_dist, case.ood, score) for case in cases]
            self._means[asked] = _mean(cases, parts, self.keys)
        return self._means[asked]

    # --- what its runs share ---

    @property
    def occupancy(self) -> str:
        """The metric of occupied soft classes in the reading of the runs' protocol."""
        return f"occupied_{self.trained[0].protocol if self.trained else 'paper'}"

    def soft_classes(self, subject: str) -> int | None:
        """K, where all records with a head agree on it."""
        found = np.unique(self.values("occupied_classes", subject).to_numpy(dtype=float))
        known = found[~np.isnan(found)]
        return int(known[0]) if len(known) == 1 else None

    def knn_ks(self, subject: str) -> list[int]:
        return list(dict.fromkeys(k for run in self.runs_of(subject) for k in run.config.eval.knn))


def _mean(cases: Sequence[Case], parts: Sequence[pd.DataFrame], keys: list[str]) -> Mean:
    """The mean of what `Group.values` gives of each case. keys: of the columns."""
    import pandas as pd

    seeds = sorted(set().union(*(part.index for part in parts)))
    cube = np.array([part.reindex(seeds).to_numpy() for part in parts]).reshape(len(parts), len(seeds), len(keys))
    there = ~np.isnan(cube)  # (case, seed, column)
    started = there.any(0)
    shared = (there | ~started).all(1) & started.any(0)  # (case, column)
    count = shared.sum(0)  # of cases, by column
    total = _sum(np.where(shared[:, None], np.nan_to_num(cube), 0.0))
    means = np.where(started & (count > 0), total / np.maximum(count, 1), np.nan)
    return Mean(
        pd.DataFrame(means, index=seeds, columns=keys),
        pd.DataFrame(_sum(cube) / max(1, len(parts)) if parts else means, index=seeds, columns=keys),
        {key: [case for case, one in zip(cases, shared[:, i], strict=True) if one] for i, key in enumerate(keys)},
    )


def _sum(cube: np.ndarray) -> np.ndarray:
    """The sum over the first axis, rounded once."""
    columns = cube.reshape(len(cube), cube[:1].size).T
    return np.array([math.fsum(column) for column in columns.tolist()]).reshape(cube.shape[1:])


def by_nearness(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """The near cases and the far ones."""
    return [case for case in cases if case.near], [case for case in cases if not case.near]


def seeds_of(values: pd.DataFrame, key: str) -> dict[int, float]:
    """Seed -> number of a column, of those that have one."""
    return values[key].dropna().to_dict() if key in values else {}  # type: ignore[return-value]


def _letter(number: int) -> str:
    """a, b, ... z, then numbers."""
    return "abcdefghijklmnopqrstuvwxyz"[number] if number < 26 else str(number + 1)
