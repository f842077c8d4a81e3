"""Which runs may stand side by side: same settings, same images. All that a report compares is of one such group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmark.data.catalog import is_control
from benchmark.negatives import VARIANTS
from benchmark.plan.config import RunConfig
from benchmark.plan.identity import digest, flat
from benchmark.plan.methods import REFERENCES
from benchmark.store.records import Record, SetInRecord


@dataclass(frozen=True)
class Run:
    """A planned run of a sweep and its record, None while there is none."""

    config: RunConfig
    recipe: str
    record: Record | None = None


@dataclass(frozen=True)
class Group:
    """Runs that share settings and images, so that their numbers may be compared.

    heading: what tells this group from the others of the same sweep, "" where it is the only one.
    """

    heading: str
    runs: tuple[Run, ...]

    @property
    def trained(self) -> list[RunConfig]:
        return [run.config for run in self.runs if run.config.method.name not in REFERENCES]

    @property
    def in_dists(self) -> list[str]:
        return list(dict.fromkeys(run.config.in_dist for run in self.runs))

    def runs_of(self, in_dist: str) -> list[Run]:
        """The runs that the figures of this in-distribution set are made of."""
        return [run for run in self.runs if run.config.in_dist == in_dist]

    def labels(self, in_dist: str) -> list[str]:
        """The columns: variants in the paper's order, other runs in the sweep's, the reference rows last."""
        order = {name: rank for rank, name in enumerate(VARIANTS)}
        found = dict.fromkeys(run.config.label for run in self.runs if run.config.in_dist == in_dist)
        return sorted(found, key=lambda label: (label in REFERENCES, order.get(label, len(order))))

    def ood_sets(self, in_dist: str) -> list[str]:
        """The OOD sets that the sweep asks for, in its order."""
        return [ood for ood in self._asked(in_dist) if not is_control(in_dist, ood)]

    def controls(self, in_dist: str) -> list[str]:
        """The sets that it asks for of which no detector should think that they are OOD."""
        return [ood for ood in self._asked(in_dist) if is_control(in_dist, ood)]

    def _asked(self, in_dist: str) -> list[str]:
        runs = [run for run in self.runs if run.config.in_dist == in_dist]
        return list(dict.fromkeys(ood for run in runs for ood in run.config.ood_sets()))

    def records(self, in_dist: str, label: str) -> dict[int, Record]:
        """Seed -> record of what is done."""
        return dict(self._records.get((in_dist, label), {}))

    @cached_property
    def _records(self) -> dict[tuple[str, str], dict[int, Record]]:
        """(in-distribution set, label) -> seed -> record: asked for hundreds of times, of thousands of runs."""
        found: dict[tuple[str, str], dict[int, Record]] = {}
        for run in self.runs:
            if run.record:
                found.setdefault((run.config.in_dist, run.config.label), {})[run.config.seed] = run.record
        return found

    def data(self) -> dict[str, SetInRecord]:
        """ "set/split" -> what the runs read, the same for all of them."""
        return {key: seen for run in self.runs if run.record for key, seen in run.record.data.items()}


def of_other_sweeps(records: Sequence[Record]) -> str:
    """What to add to "nothing of this sweep is done yet" where records are there; "" where none are."""
    return f" (its {len(records)} records are of other sweeps, or of a --set to give here too)" if records else ""


def group_runs(configs: Iterable[RunConfig], records: Sequence[Record], beside: bool = False) -> list[Group]:
    """The runs of one or more sweeps with their records, split until no two runs of a group contradict each other.

    Runs of different settings (`RunConfig.setting`) part first; records that read different images under one
    "set/split" part next, the largest group first. A record that agrees with several groups is in each of them.
    beside: different methods do not part, each has settings of its own; two settings of one method still do.
    """
    runs = {run.recipe: run for run in (Run(config, config.recipe_id()) for config in configs)}
    by_recipe = records_by_recipe(records)
    settings = _by_setting(list(runs.values()))
    if beside:
        settings = _side_by_side(settings)
    differing = _telling(differences([setting for setting, _ in settings]), [setting for setting, _ in settings])
    groups = []
    for setting, members in settings:
        told = ", ".join(f"{key} = {at(setting, key)}" for key in differing)
        for images, with_records in by_images(members, by_recipe):
            groups.append(Group("; ".join(part for part in (told, images) if part), with_records))
    return groups


def records_by_recipe(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Recipe -> its records: one, or several that read different images."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.recipe_id, []).append(record)
    return found


def by_images(runs: Sequence[Run], records: Mapping[str, Sequence[Record]]) -> list[tuple[str, tuple[Run, ...]]]:
    """The runs with their records (by recipe), once for each set of records that read the same images, the largest
    first; and what tells such a set from the others, "" where there is one. A record that agrees with several sets is
    in each of them."""
    parts = _consistent([record for run in runs for record in records.get(run.recipe, [])]) or [{}]
    conflicts = _conflicting_sets(parts)
    found = []
    for number, part in enumerate(sorted(parts, key=len, reverse=True), 1):
        told = f"images {number} of {len(parts)} (differ in {', '.join(conflicts)})" if conflicts else ""
        found.append((told, tuple(Run(run.config, run.recipe, part.get(run.recipe)) for run in runs)))
    return found


def _by_setting(runs: list[Run]) -> list[tuple[dict[str, Any], list[Run]]]:
    """Trained runs by setting; each with the reference rows that the sweep has for these settings."""
    references = {run.recipe: run for run in runs if run.config.method.name in REFERENCES}
    trained = [run for run in runs if run.recipe not in references] or runs
    groups: dict[str, tuple[dict[str, Any], list[Run]]] = {}
    for run in trained:
        setting = run.config.setting()
        groups.setdefault(digest(setting), (setting, []))[1].append(run)
    for _, members in groups.values():
        present = {run.recipe for run in members}
        for config in {run.config.in_dist: run.config for run in members}.values():
            for name in REFERENCES:
                recipe = config.reference(name).recipe_id()
                if recipe in references and recipe not in present:
                    present.add(recipe)
                    members.append(references[recipe])
    return list(groups.values())


def _side_by_side(groups: list[tuple[dict[str, Any], list[Run]]]) -> list[tuple[dict[str, Any], list[Run]]]:
    """Groups of one setting joined so that each holds all methods.

    The method with the most settings leads, the first of several. Each other joins every group with its only setting,
    or with the one that differs least from the group's; what joins none keeps a group of its own.
    """
    methods: dict[str, list[tuple[dict[str, Any], list[Run]]]] = {}
    for setting, members in groups:
        methods.setdefault(members[0].config.method.label, []).append((setting, members))
    if not methods:
        return []
    lead = max(methods, key=lambda name: len(methods[name]))
    joined = [(setting, list(members)) for setting, members in methods[lead]]
    left = []
    for others in (of for name, of in methods.items() if name != lead):
        taken = set()
        for setting, members in joined:
            nearest = min(range(len(others)), key=lambda i: len(differences([setting, others[i][0]])))
            taken.add(nearest)
            present, rows = {run.recipe for run in members}, {run.config.label for run in members} & set(REFERENCES)
            # A reference row of another network would stand under the same name: the leading method's stays.
            members += [r for r in others[nearest][1] if r.recipe not in present and r.config.label not in rows]
        left += [one for i, one in enumerate(others) if i not in taken]
    return joined + left


def _consistent(records: list[Record]) -> list[dict[str, Record]]:
    """Greedy groups, recipe -> record, in each of which every "set/split" that is compared has one fingerprint."""
    groups: list[tuple[dict[str, str], dict[str, Record]]] = []

    def join(record: Record, prints: dict[str, str], members: dict[str, Record]) -> bool:
        seen = _compared(record)
        if any(prints.get(key, value) != value for key, value in seen.items()):
            return False
        prints.update(seen)
        members.setdefault(record.recipe_id, record)
        return True

    for index, record in enumerate(records):
        if not any([join(record, *group) for group in groups]):  # a list: it may join several
            groups.append(({}, {}))
            for earlier in [record, *records[:index]]:
                join(earlier, *groups[-1])
    return [members for _, members in groups]


def _compared(record: Record) -> dict[str, str]:
    """ "set/split" -> the hash of the images that a record read, of all but controls, which are in no comparison."""
    in_dist = record.config["in_dist"]
    named = ((key, key.rsplit("/", 1)[0], seen.fingerprint) for key, seen in record.data.items())
    return {key: fingerprint for key, name, fingerprint in named if not is_control(in_dist, name)}


def _conflicting_sets(parts: list[dict[str, Record]]) -> list[str]:
    prints: dict[str, set[str]] = {}
    for part in parts:
        for record in part.values():
            for key, fingerprint in _compared(record).items():
                prints.setdefault(key, set()).add(fingerprint)
    return sorted(key for key, values in prints.items() if len(values) > 1)


def differences(settings: list[dict[str, Any]]) -> list[str]:
    """The dotted keys of `settings` that do not have one value throughout."""
    flattened = [flat(setting) for setting in settings]
    keys = dict.fromkeys(key for setting in flattened for key in setting)
    return [key for key in keys if len({repr(setting.get(key)) for setting in flattened}) > 1]


def _telling(keys: list[str], settings: list[dict[str, Any]]) -> list[str]:
    """Of the keys that differ those that say more than the method's name does: not what only one method has."""
    if "method.name" not in keys:
        return keys
    flattened = [flat(setting) for setting in settings]
    named: dict[str, list[dict[str, Any]]] = {}
    for setting in flattened:
        named.setdefault(setting["method.name"], []).append(setting)
    own = {key for key in keys if key.startswith("method.") and any(key not in setting for setting in flattened)}
    same = {key for key in own if all(len({repr(s.get(key)) for s in members}) == 1 for members in named.values())}
    return [key for key in keys if key not in same]


def at(setting: dict[str, Any], key: str) -> Any:
    """The value at a dotted key, for a reader."""
    value = flat(setting).get(key)
    return "not set" if value is None else value
