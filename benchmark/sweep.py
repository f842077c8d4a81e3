"""A sweep file becomes runs; runs and what is on disk become a plan. Nothing is written or started here."""

from __future__ import annotations

import fnmatch
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from benchmark import yamlfile
from benchmark.config import RunConfig, Strict, canonical, sha256, validate
from benchmark.data.catalog import CATALOG
from benchmark.data.images import fingerprint
from benchmark.errors import BenchError, unknown
from benchmark.resources import Resources, SiteFile, load_site, resolve
from benchmark.store import Record, RunFolder, runs_by_recipe


class Override(Strict):
    """`set` and `resources` apply to the runs whose fields match all of `when` (glob patterns)."""

    when: dict[str, str]
    set: dict[str, Any] = {}
    resources: dict[str, Any] = {}


class SweepFile(Strict):
    """The schema of a sweep file.

    A further key, `extends`, names another sweep file, relative to this one, whose keys are the defaults.
    """

    title: str = ""
    base: dict[str, Any] = {}
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}  # "variant", "in_dist", "seed" or any dotted field
    references: list[Literal["untrained", "image-statistics"]] = ["untrained", "image-statistics"]
    overrides: list[Override] = []
    resources: dict[str, Any] = {}
    profiles: dict[str, dict[str, Any]] = {}  # named resources, for `profile: NAME` in any `resources`


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep and what it asks for."""

    config: RunConfig
    resources: Resources
    identity: str  # of `config`, as canonical JSON: both ids are hashes of it

    @property
    def recipe(self) -> str:
        return sha256(self.identity)

    @property
    def short_name(self) -> str:
        """The run's name without its id, which needs the data: what `--only` matches."""
        return f"{self.config.in_dist}-{self.config.label}-s{self.config.seed}"


@dataclass(frozen=True)
class Sweep:
    """An expanded sweep file. Each recipe appears once, in the order of the grid, the reference rows last."""

    path: Path
    title: str
    runs: tuple[SweepRun, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def load(path: Path, sets: list[str] | None = None, only: str | None = None, site: SiteFile | None = None) -> Sweep:
    """Read and expand the sweep file `path`.

    sets: "dotted.field=value" overrides of every run, as from `--set`. only: a glob on `SweepRun.short_name`.
    site: what the cluster wants of resources; None reads the user's own site file where there is one.
    Raises BenchError, one line that names the file and the key.
    """
    raw = _read_with_parents(path, ())
    sweep: SweepFile = validate(SweepFile, raw, str(path))
    given = dict(parse_set(text) for text in sets or [])
    site = site or load_site(None)

    @functools.cache  # thousands of runs ask for a handful of things
    def resources(overrides: tuple[int, ...]) -> Resources:
        layers = [sweep.resources, *(sweep.overrides[index].resources for index in overrides)]
        return resolve(site, sweep.profiles, layers, str(path))

    runs: dict[str, SweepRun] = {}
    for point in _grid_points(sweep, path):
        run = _build(sweep, path, point, given, resources)
        runs.setdefault(run.identity, run)
    trained: dict[str, SweepRun] = {}  # one of those that differ only in what a reference does not have
    for run in runs.values():
        trained.setdefault(run.config.model_dump_json(exclude={"variant", "seed", "method"}), run)
    for run in [_reference(run, name, path) for run in trained.values() for name in sweep.references]:
        runs.setdefault(run.identity, run)
    chosen = [run for run in runs.values() if only is None or fnmatch.fnmatch(run.short_name, only)]
    if not chosen:
        raise BenchError(
            f"--only {only}: matches no run of {path}; "
            f"its runs are {', '.join(run.short_name for run in runs.values())}"
        )
    return Sweep(path, sweep.title or path.stem, tuple(chosen))


def _read_with_parents(path: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in children:
        raise BenchError(f"{path}: extends: the files extend each other in a circle")
    raw = yamlfile.read(path)
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    if not isinstance(parent, str):
        raise BenchError(f"{path}: extends: must be the name of a sweep file, given {parent!r}")
    return _merge(_read_with_parents(path.parent / parent, (*children, path.resolve())), raw)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`: mappings merge key by key, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both_mappings = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merge(below[key], value) if both_mappings else value
    return merged


def _grid_points(sweep: SweepFile, path: Path) -> list[dict[str, Any]]:
    for axis, values in sweep.grid.items():
        doubled = [value for i, value in enumerate(values) if value in values[:i]]
        if doubled:
            raise BenchError(f"{path}: grid.{axis}: {doubled[0]!r} is listed twice")
    return [dict(zip(sweep.grid, values, strict=True)) for values in itertools.product(*sweep.grid.values())]


def _build(
    sweep: SweepFile,
    path: Path,
    point: dict[str, Any],
    given: dict[str, Any],
    resources: Callable[[tuple[int, ...]], Resources],
) -> SweepRun:
    raw, applied = _merge({}, sweep.base), []
    for key, value in point.items():
        put(raw, key, value)
    for index, override in enumerate(sweep.overrides):
        for key in override.when:
            if key not in sweep.grid and key not in ("variant", "in_dist", "seed"):
                raise BenchError(f"{path}: overrides.{index}.when: " + unknown("field", key, sweep.grid))
        if all(fnmatch.fnmatch(str(raw.get(key, "")), pattern) for key, pattern in override.when.items()):
            for key, value in override.set.items():
                put(raw, key, value)
            applied.append(index)
    for key, value in given.items():
        put(raw, key, value)
    config = validate(RunConfig, raw, str(path), "base")
    return SweepRun(config, resources(tuple(applied)), canonical(config.identity()))


def _reference(run: SweepRun, name: str, path: Path) -> SweepRun:
    raw = run.config.model_dump() | {"method": {"name": name}, "variant": "none", "seed": 0}
    config: RunConfig = validate(RunConfig, raw, str(path))
    return SweepRun(config, run.resources, canonical(config.identity()))


def put(raw: dict[str, Any], dotted: str, value: Any) -> None:
    """Set the field at the dotted path in nested mappings, making sections on the way."""
    *parents, last = dotted.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise BenchError(f"{dotted}: {parent!r} is a value, not a section")
    raw[last] = value


def parse_set(text: str) -> tuple[str, Any]:
    """Field and value of one `--set FIELD=VALUE`; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BenchError(f"--set {text}: must read FIELD=VALUE, as in --set train.epochs=2")
    return key, yamlfile.parse(value, f"--set {text}")


Fingerprint = Callable[[str, str], str | None]  # set, split -> sha256 of its images, None where it is missing
State = Literal["done", "running", "failed", "interrupted", "lost", "to score", "to do", "no data"]


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep held against what is on disk."""

    run: SweepRun
    state: State
    folder: RunFolder | None  # None while data is missing: the run's id depends on it
    detail: str = ""  # the error's last line, the missing set, ...
    begun: bool = False  # the folder is on disk


def plan(sweep: Sweep, results: Path, data_root: Path, need_data: bool = True) -> list[PlannedRun]:
    """What is done, running, failed and to do.

    need_data False (status, report): a run whose images are not on this machine is found by its recipe instead.
    """
    there = _Disk(results, data_root)
    if need_data:
        for run in sweep.runs:
            _check_set_names(run.config, sweep.path, there.fingerprint)
    return [_plan_one(run, there, need_data) for run in sweep.runs]


class _Disk:
    """What a plan reads of a disk for all its runs together, each thing once: a sweep may have thousands of runs."""

    def __init__(self, results: Path, data_root: Path) -> None:
        self.results = results
        self.folders = {path.name for path in results.iterdir()} if results.is_dir() else set()
        self.fingerprint: Fingerprint = functools.cache(functools.partial(fingerprint, data_root))

    @functools.cached_property
    def by_recipe(self) -> dict[str, list[RunFolder]]:
        return runs_by_recipe(self.results)


def _check_set_names(config: RunConfig, path: Path, fingerprint: Fingerprint) -> None:
    """Raise BenchError for a set that is neither in the catalogue nor in the data folder: a misspelt name."""
    sources = {config.data.sources[s]: f"data.sources.{s}" for s in config.auxiliary_sources()}
    wanted = [("in_dist", *key) for key in config.training_sets() if key[0] == config.in_dist]
    wanted += [(sources[name], name, split) for name, split in config.training_sets() if name in sources]
    wanted += [("eval.ood", name, "test") for name in config.ood_sets()]
    for key, name, split in wanted:
        if name.split("@")[0] not in CATALOG and fingerprint(name, split) is None:
            raise BenchError(
                f"{path}: {key}: {unknown('image set', name, CATALOG)}; or import it: bench data import DIR"
            )


def _plan_one(run: SweepRun, there: _Disk, need_data: bool) -> PlannedRun:
    config = run.config
    prints = {f"{name}/{split}": there.fingerprint(name, split) for name, split in config.training_sets()}
    missing = [key for key, value in prints.items() if value is None]
    tests: dict[str, str | None] = {}
    if need_data:
        tests = {f"{name}/test": there.fingerprint(name, "test") for name in map(config.stored_name, config.ood_sets())}
        missing += [key for key, value in tests.items() if value is None]
    if missing:
        known = [] if need_data else there.by_recipe.get(run.recipe, [])
        if not known:
            return PlannedRun(run, "no data", None, f"missing {', '.join(missing)}")
        folder = known[-1]
    else:
        run_id = config.run_id({key: value for key, value in prints.items() if value is not None}, run.identity)
        folder = RunFolder(there.results / config.run_name(run_id))
    if folder.name not in there.folders:
        return PlannedRun(run, "to do", folder)
    record = folder.read_record()
    state, _, detail = _judge(config, folder, record)
    seen = record.data if record and state == "done" else {}
    changed = [key for key, image_set in seen.items() if tests.get(key, image_set.fingerprint) != image_set.fingerprint]
    if changed:
        state, detail = "to score", f"other images now: {', '.join(changed)}"
    return PlannedRun(run, state, folder, detail, begun=True)


def state_of(config: RunConfig, folder: RunFolder) -> tuple[State, RunFolder, str]:
    """The state of one run from its folder: the record decides, then the lease, then the last state it wrote."""
    return _judge(config, folder, folder.read_record())


def _judge(config: RunConfig, folder: RunFolder, record: Record | None) -> tuple[State, RunFolder, str]:
    if folder.lease_is_live():
        return "running", folder, ""
    if record is not None:
        missing = [name for name in config.ood_sets() if name not in record.ood]
        return ("to score", folder, f"new: {', '.join(missing)}") if missing else ("done", folder, "")
    status = folder.read_status()
    if status is None:
        return "to do", folder, ""
    if status.state == "failed":
        return "failed", folder, status.error.splitlines()[-1] if status.error else ""
    if status.state == "interrupted":
        return "interrupted", folder, ""
    return "lost", folder, "" if status.state == "done" else "its process ended without a word"
