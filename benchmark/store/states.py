"""A sweep's runs held against what is on disk: what is done, running, failed and to do. Nothing is written here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from benchmark.data.catalog import CATALOG, OTHER_BACKGROUNDS, set_behind, split_class
from benchmark.data.images import class_names, fingerprint, read_manifest, stored
from benchmark.errors import BenchError, about, unknown
from benchmark.plan.config import RunConfig
from benchmark.plan.starts import misfit
from benchmark.plan.sweep import Sweep, SweepRun
from benchmark.store.folders import RunFolder, runs_by_recipe, trained_on
from benchmark.store.records import Record

Fingerprint = Callable[[str, str], str | None]  # set, split -> sha256 of its images, None where it is missing
State = Literal[
    "done", "running", "failed", "interrupted", "lost", "to score", "to do", "no data", "no weights", "broken"
]


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep held against what is on disk."""

    run: SweepRun
    state: State
    folder: RunFolder | None  # None while data is missing: the run's id depends on it
    detail: str = ""  # the error's last line, the missing set, ...
    begun: bool = False  # the folder is on disk
    missing: tuple[str, ...] = ()  # the image sets that are not here, as "set/split"
    codes: tuple[str, ...] = ()  # fingerprints of the code that made its record's numbers
    plugins: Mapping[str, str] = field(default_factory=dict)  # and what it took from other packages


def plan(sweep: Sweep, results: Path, data_root: Path, need_data: bool = True, store: bool = False) -> list[PlannedRun]:
    """What is done, running, failed and to do.

    need_data False (status, report): a run whose images are not on this machine is found by its recipe instead.
    store: built-in images that are not there are drawn and stored; otherwise nothing is written.
    """
    there = _Disk(results, data_root, store)
    if need_data:
        recipes = {run.recipe for run in sweep.runs}
        with about(sweep.path):
            for run in sweep.runs:
                _check_set_names(run.config, there)
                _check_labels(run.config, there)
                _check_images(run.config, there)
                _check_start(run.config, recipes, there)
    return [_plan_one(run, there, need_data) for run in sweep.runs]


class _Disk:
    """What a plan reads of a disk for all its runs together, each thing once: a sweep may have thousands of runs."""

    def __init__(self, results: Path, data_root: Path, store: bool) -> None:
        self.results, self.root = results, data_root
        self.folders = {path.name for path in results.iterdir()} if results.is_dir() else set()
        self.fingerprint: Fingerprint = functools.cache(functools.partial(fingerprint, data_root, store=store))
        self.manifest = functools.cache(functools.partial(read_manifest, data_root))
        self.class_names = functools.cache(functools.partial(class_names, data_root, store=store))

    @functools.cached_property
    def by_recipe(self) -> dict[str, list[RunFolder]]:
        return runs_by_recipe(self.results)


def _check_set_names(config: RunConfig, there: _Disk) -> None:
    """Raise BenchError for a set that is neither in the catalogue nor in the data folder, a misspelt name; for a class
    that its set does not have or has no images of; and for a class as its own OOD set."""
    sources = {config.data.sources[s]: f"data.sources.{s}" for s in config.auxiliary_sources()}
    wanted = [("in_dist", *key) for key in config.training_sets() if key[0] == config.in_dist]
    wanted += [(sources[name], name, split) for name, split in config.training_sets() if name in sources]
    wanted += [("eval.ood", name, "test") for name in config.ood_sets()]
    for key, name, split in wanted:
        with about(key):
            _check_set_name(name, split, there)
    parent, of = split_class(config.in_dist)
    if of is not None and there.fingerprint(parent, "test") is not None:
        with about("eval.ood"):
            config.check_apart(there.class_names(parent, "test"))


def _check_set_name(name: str, split: str, there: _Disk) -> None:
    parent, of = split_class(name)
    here = there.fingerprint(parent, split) is not None
    if set_behind(name).removesuffix(OTHER_BACKGROUNDS) not in CATALOG and not here:
        known = {*CATALOG, *(name for name, _ in stored(there.root))}
        raise BenchError(
            f"{unknown('image set', parent, known)}; or import it: bench data import DIR "
            f"(looked in {there.root}: --data, $BENCH_DATA)"
        )
    if of is not None and here:
        there.manifest(name, split)


def _check_labels(config: RunConfig, there: _Disk) -> None:
    """Raise BenchError where a method learns from labels and the training images, which are there, have none."""
    name = split_class(config.in_dist)[0]
    if config.method.labels and there.fingerprint(name, "train") is not None:
        with about(f"method.name: {config.method.name} needs labels"):
            there.class_names(name, "train")


def _check_images(config: RunConfig, there: _Disk) -> None:
    """Raise BenchError where the images, as far as they are there, are of another size than the run takes, or where
    the training images are too few for it."""
    wanted = [*config.training_sets(), *((config.stored_name(ood), "test") for ood in config.ood_sets())]
    for name, split in wanted:
        manifest = there.manifest(name, split)
        if manifest is not None:
            config.check_size(f"{name}/{split}", manifest["size"])
            if (name, split) == (config.in_dist, "train"):
                config.check_count(min(manifest["count"], config.data.train_limit or manifest["count"]))


def _check_start(config: RunConfig, recipes: Collection[str], there: _Disk) -> None:
    """Raise BenchError where the run that this one goes on from is neither to be trained nor there, or does not fit."""
    recipe = config.method.starts_from
    if recipe is None or recipe in recipes:
        return
    found = there.by_recipe.get(recipe, [])
    if not found:
        raise BenchError(
            f"method.tune: the run that {config.short_name} goes on from (recipe {recipe[:8]}) is neither "
            f"among the runs chosen nor in {there.results}; train it first"
        )
    if why := misfit(config, found[-1].read_config()):
        raise BenchError(f"method.tune: {found[-1].path} does not fit: {why}")


def _stored(key: str) -> str:
    """The "set/split" that is kept on disk for "set/split": that of the whole set for a class."""
    name, _, split = key.rpartition("/")
    return f"{split_class(name)[0]}/{split}"


def _plan_one(run: SweepRun, there: _Disk, need_data: bool) -> PlannedRun:
    config = run.config
    prints = {f"{name}/{split}": there.fingerprint(name, split) for name, split in config.training_sets()}
    missing = [_stored(key) for key, value in prints.items() if value is None]
    tests: dict[str, str | None] = {}
    if need_data:
        tests = {f"{name}/test": there.fingerprint(name, "test") for name in map(config.stored_name, config.ood_sets())}
        missing += [_stored(key) for key, value in tests.items() if value is None]
    if missing:
        known = [] if need_data else there.by_recipe.get(run.recipe, [])
        if not known:
            lacking = tuple(dict.fromkeys(missing))
            return PlannedRun(run, "no data", None, f"missing {', '.join(lacking)}", missing=lacking)
        folder = known[-1]
    else:
        run_id = config.run_id({key: value for key, value in prints.items() if value is not None}, run.identity)
        folder = RunFolder(there.results / config.run_name(run_id))
    begun = folder.name in there.folders
    state, detail, record = observed_state(config, folder) if begun else ("to do", "", None)
    if record and state == "done" and (changed := record.changed(tests)):
        state, detail = _to_score(config, folder, f"other images now: {', '.join(changed)}")
    if state == "to do" and (gone := _start_without_weights(config, there, prints)):
        state, detail = "no weights", gone
    found = PlannedRun(run, state, folder, detail, begun)
    return replace(found, codes=record.codes, plugins=record.plugins) if record else found


def _start_without_weights(config: RunConfig, there: _Disk, prints: Mapping[str, str | None]) -> str:
    """What to say where the finished run that this one goes on from has lost its weights; else ""."""
    if config.method.starts_from is None:
        return ""
    key = config.train_key
    fitting = trained_on(there.by_recipe.get(config.method.starts_from, []), key, prints[key])
    if not fitting or any(folder.weights.exists() for folder in fitting):
        return ""
    return f"weights gone: {fitting[-1].name}"


def _to_score(config: RunConfig, folder: RunFolder, why: str) -> tuple[State, str]:
    """The state of a finished run that a score or a set is asked of which it does not have: its weights can tell."""
    if config.method.trains and not folder.weights.exists():
        return "no weights", f"{why}; weights gone: {folder.name}"
    return "to score", why


def observed_state(config: RunConfig, folder: RunFolder) -> tuple[State, str, Record | None]:
    """State, what else to say, and the record of one run, from its folder: the lease decides, then the record, then the
    last state it wrote."""
    record, broken = folder.try_record()
    if folder.lease_is_live():
        return "running", "", record
    if broken:
        return "broken", broken, None
    if record is not None:
        missing = record.lacks(config)
        return (*_to_score(config, folder, f"new: {', '.join(missing)}"), record) if missing else ("done", "", record)
    status = folder.read_status()
    if status is None:
        return "to do", "", None
    if status.state in ("failed", "interrupted"):
        return status.state, status.error.splitlines()[-1] if status.error else "", None
    gone = "it was done and its record is gone; bench sweep makes it again from the weights, if they are there"
    return "lost", gone if status.state == "done" else "its process ended without a word", None
