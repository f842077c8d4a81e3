"""Which runs may stand side by side: same settings, same images. All that a report compares is of one such group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmark.data.catalog import is_control
from benchmark.errors import BenchError
from benchmark.plan import scores
from benchmark.plan.config import RunConfig
from benchmark.plan.identity import digest, flat
from benchmark.plan.methods import REFERENCES
from benchmark.plan.scores import OWN
from benchmark.plan.titles import title_of
from benchmark.report.groups import Group, Run
from benchmark.report.settings import at, class_of, differences
from benchmark.store.records import Record


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

    The method with the most settings leads: of several DINO, else the first. Each other joins every group with its only
    setting, or with the one that differs least from the group's; what joins none keeps a group of its own.
    """
    methods: dict[str, list[tuple[dict[str, Any], list[Run]]]] = {}
    for setting, members in groups:
        methods.setdefault(members[0].config.method.label, []).append((setting, members))
    if not methods:
        return []
    lead = max(methods, key=lambda name: (len(methods[name]), name == "dino"))
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


def class_groups(configs: Iterable[RunConfig], records: Sequence[Record]) -> list[Group]:
    """The runs of the one-class protocol with their records: a group a parent set, parted where records read other
    images. Its columns have settings of their own, so runs stand side by side here that `group_runs` would part."""
    parents: dict[str, dict[str, Run]] = {}
    for config in configs:
        if found := class_of(config):
            recipe = config.recipe_id()
            parents.setdefault(found[0], {}).setdefault(recipe, Run(config, recipe))
    by_recipe = records_by_recipe(records)
    return [
        Group(told, with_records, parent)
        for parent, runs in parents.items()
        for told, with_records in by_images(list(runs.values()), by_recipe)
    ]


def by_score(group: Group, score: str) -> Group:
    """The same runs by this score. By one of `eval.scores` in place of the methods' own the heading says so, and all
    that a report compares is by it; a reference row without it keeps its own, other runs without it have no AUROC."""
    if score == OWN:
        return group
    lacking = {run.config.label for run in group.runs if run.record and score not in run.record.scores}
    own = [title_of(label) for label in REFERENCES if label in lacking]
    heading = f"by {score}" + (f" ({' and '.join(own)} by their own)" if own else "")
    return replace(group, heading="; ".join(part for part in (group.heading, heading) if part), score=score)


def check_score(records: Sequence[Record], score: str) -> None:
    """Raises BenchError, one line, where `score` is no score, or no record that was trained has it."""
    scores.parts(score)
    trained = [record for record in records if record.config["method"]["name"] not in REFERENCES]
    if trained and not any(score in record.scores for record in trained):
        known = sorted({name for record in trained for name in record.scores if name != record.own})
        raise BenchError(
            f"--score {score}: none of the records has it (they have: {', '.join(known) or 'none but their own'}); "
            "add it to eval.scores and give bench sweep again, which trains nothing"
        )
