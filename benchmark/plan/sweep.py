"""A sweep file becomes runs. Nothing is written or started here.

A sweep is named by the path of its file or, for those that come with the package, by their name: `one-class`.
"""

from __future__ import annotations

import copy
import difflib
import fnmatch
import functools
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from benchmark.data.images import stored_fingerprint
from benchmark.errors import BenchError, about, some_of, unknown
from benchmark.files import expanded
from benchmark.plan import starts, yamlfile
from benchmark.plan.config import RunConfig
from benchmark.plan.grids import Axes, check_apart, checked_axes
from benchmark.plan.identity import canonical, sha256
from benchmark.plan.layers import get, lay, merge, over, parse_set
from benchmark.plan.resources import Resources, SiteFile, load_site, resolve
from benchmark.plan.run_names import meant, meant_or_labelled, without_id
from benchmark.plan.validation import Strict, explained, key_of, validate

DIGITS = 12  # of a sha256, in `SweepFile.images`
ALWAYS = {"variant", "in_dist", "seed", "method.name"}  # fields that an override may ask for, beside the axes


class Override(Strict):
    """`set` and `resources` apply to the runs whose fields match all of `when` (glob patterns)."""

    when: dict[str, str]
    set: dict[str, Any] = {}
    resources: dict[str, Any] = {}


class Entry(Strict):
    """One of several grids: `base` lies over the file's own, and the axes of `grid` are beside the file's, or instead
    of those of the same field."""

    base: dict[str, Any] = {}
    grid: Axes = {}


class SweepFile(Strict):
    """The schema of a sweep file.

    A further key, `extends`, names another sweep, whose keys are the defaults: a file, relative to this one, or a
    built-in one. A run's settings are laid over each other as `layers` says: the extended file's `base`, this one's,
    that of its entry of `grids`, its point of the grid, the `set` of each override that matches, `--set`.
    """

    title: str = ""
    base: dict[str, Any] = {}
    grid: Axes = {}
    grids: list[Entry] = []  # several, each expanded on its own, their runs one after the other
    references: list[Literal["untrained", "image-statistics"]] = ["untrained", "image-statistics"]
    overrides: list[Override] = []
    resources: dict[str, Any] = {}
    images: dict[str, str] = {}  # "set/split" -> how the sha256 of the images it was written for begins
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
        return self.config.short_name


@dataclass(frozen=True)
class Sweep:
    """An expanded sweep file. Each recipe appears once, in the order of the grid, the reference rows last."""

    path: Path
    title: str
    runs: tuple[SweepRun, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def built_in() -> dict[str, Path]:
    """The sweep files that come with the package, by name: inside an installed one, beside it in a checkout."""
    package = Path(__file__).parents[1]
    folder = next((f for f in (package / "sweeps", package.parent / "sweeps") if f.is_dir()), package / "sweeps")
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def find(path: Path, folder: Path = Path()) -> Path:
    """The sweep file that `path` means: that file, relative to `folder`, or a built-in sweep by its name.

    A file wins over a built-in sweep of the same name. Raises BenchError for a bare name that is neither, and for a
    file that is not there; whether what is there can be read is seen when it is read.
    """
    path = expanded(path)
    name, file = str(path), folder / path
    if file.exists() and (path.suffix or path.name != name or file.is_file()):
        return file
    known = built_in()
    if path.suffix or path.name != name:
        hint = f"; the built-in sweep is called {path.stem}" if path.stem in known else ""
        beside = [each.name for each in file.parent.glob("*.yaml")] if file.parent.is_dir() else []
        if not hint and (close := difflib.get_close_matches(file.name, beside, n=1)):
            hint = f" (did you mean {close[0]!r}?)"
        raise BenchError(f"{file}: no such file{hint}")
    if name not in known:
        raise BenchError(
            f"{unknown('sweep', name, known)}; a sweep file of your own is meant by its path, as in {name}.yaml"
        )
    return known[name]


def load(
    path: Path,
    sets: list[str] | None = None,
    only: str | Sequence[str] | None = None,
    site: SiteFile | None = None,
    data: Path | None = None,
) -> Sweep:
    """Read and expand the sweep file `path`, or the built-in sweep of that name.

    sets: "dotted.field=value" overrides of every run, as from `--set`. only: globs on `SweepRun.short_name`, a
    class of a set as cifar10.cat or cifar10:cat; what matches any of them is chosen, and each must match something.
    site: what the cluster wants of resources; None, where nothing is submitted, reads the user's own site file where
    there is one. data: the folder of the image sets, by default the usual one: `SET:*` reads there which classes SET
    has, unless the catalogue knows.
    Raises BenchError, one line that names the file and the key.
    """
    path = find(path)
    raw = _read_with_parents(path, ())
    sweep: SweepFile = validate(SweepFile, raw, str(path))
    given = dict(parse_set(text) for text in sets or [])
    cluster = site or load_site(None)

    @functools.cache  # thousands of runs ask for a handful of things
    def resources(overrides: tuple[int, ...]) -> Resources:
        layers = [sweep.resources, *(sweep.overrides[index].resources for index in overrides)]
        return resolve(cluster, sweep.profiles, layers, str(path), submits=site is not None)

    runs: dict[str, SweepRun] = {}
    for base, axes in _grids(sweep, path, data):
        for values in itertools.product(*axes.values()):  # the last axis the fastest
            point = dict(zip(axes, values, strict=True))
            _add(runs, _build(sweep, path, base, point, given, resources))
    runs = _with_starts(runs, path)
    trained: dict[tuple[bool, bool, str], SweepRun] = {}  # one of those that differ only in what references lack
    for run in runs.values():
        settings = run.config.model_dump_json(exclude={"variant", "seed", "method"})
        trained.setdefault((run.config.method.trains, run.config.method.multi_crop, settings), run)
    for run in [_reference(run, name) for run in trained.values() for name in sweep.references]:
        _add(runs, run)
    globs = [only] if isinstance(only, str) else only or []
    chosen = _chosen(list(runs.values()), globs, path) if globs else list(runs.values())
    return Sweep(path, sweep.title or path.stem, tuple(chosen))


def other_images(path: Path, data: Path) -> str:
    """Which of the images that a sweep file was written for others have come to replace, in a line; "" for none.

    data: the folder of the image sets. Raises BenchError where the file cannot be read.
    """
    path = find(path)
    written = validate(SweepFile, _read_with_parents(path, ()), str(path)).images
    now = {key: stored_fingerprint(data, key) for key in written}
    changed = [key for key, sha in now.items() if sha is not None and not sha.startswith(written[key])]
    if not changed:
        return ""
    names = some_of(f"{key} (sha256 {written[key][:8]}, now {str(now[key])[:8]})" for key in changed)
    return (
        f"{path}: was written for other images than {data} has now as {names}; bring each folder under a name of its "
        "own (bench init FOLDER --name NAME), or, where these are meant, write the file anew (--force)"
    )


def _chosen(runs: Sequence[SweepRun], globs: Sequence[str], path: Path) -> list[SweepRun]:
    """The runs whose names any of the globs, names or beginnings of names means, in their order, or else whose labels.
    Ids, which need the images, are not known yet. Raises BenchError for a glob that none matches."""
    matched, labels = set[str](), {run.short_name: run.config.label for run in runs}
    for glob in globs:
        if not (found := meant_or_labelled(glob, labels) or meant(without_id(glob), labels)):
            raise BenchError(f"--only {glob}: matches no run of {path}: {some_of(labels)}")
        matched.update(found)
    return [run for run in runs if run.short_name in matched]


def _with_starts(runs: dict[str, SweepRun], path: Path) -> dict[str, SweepRun]:
    """The runs that begin anew, then those that go on from one of them, which they name by its recipe."""
    configs = [run.config for run in runs.values()]
    made = {identity: run for identity, run in runs.items() if not run.config.method.starts_from}
    for run in runs.values():
        if run.config.method.starts_from:
            config = starts.resolved(run.config, configs, str(path))
            _add(made, replace(run, config=config, identity=canonical(config.identity())))
    return made


def _read_with_parents(path: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in children:
        raise BenchError(f"{path}: extends: the files extend each other in a circle")
    raw = yamlfile.read(path)
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    if not isinstance(parent, str):
        raise BenchError(f"{path}: extends: must be the name of a sweep file, given {parent!r}")
    with about(f"{path}: extends"):
        parent_path = find(Path(parent), path.parent)
    below = _read_with_parents(parent_path, (*children, path.resolve()))
    merged, base, own = merge(below, raw), below.get("base"), raw.get("base")
    if isinstance(base, dict) and isinstance(own, dict):
        merged["base"] = over(base, own)
    return merged


def _grids(sweep: SweepFile, path: Path, data: Path | None) -> list[tuple[dict[str, Any], Axes]]:
    """Of each grid the base of its runs and its axes: the shared ones, less those that it has itself."""
    shared = checked_axes(sweep.grid, f"{path}: grid", data)
    entries = [(entry, f"{path}: grids.{number}.grid") for number, entry in enumerate(sweep.grids)]
    found = []
    for entry, name in entries or [(Entry(), f"{path}: grid")]:
        axes = {**shared, **checked_axes(entry.grid, name, data)}
        check_apart(axes, name)
        found.append((over(sweep.base, entry.base), axes))
    return found


def _add(runs: dict[str, SweepRun], run: SweepRun) -> None:
    """Add a run, or the OOD sets and scores that it has beyond those of the same run that is there."""
    there = runs.setdefault(run.identity, run)
    if there.config.eval != run.config.eval:
        config = there.config.with_more(run.config.ood_sets(), run.config.eval.scores)
        runs[run.identity] = replace(there, config=config)


def _build(
    sweep: SweepFile,
    path: Path,
    base: dict[str, Any],
    point: dict[str, Any],
    given: dict[str, Any],
    resources: Callable[[tuple[int, ...]], Resources],
) -> SweepRun:
    raw, applied = copy.deepcopy(base), []  # deep: what one run's override sets must not reach the next run
    with about(path):
        lay(raw, point)
    for index, override in enumerate(sweep.overrides):
        for key in override.when:
            axes = {*sweep.grid, *(axis for entry in sweep.grids for axis in entry.grid)}
            if key not in axes | ALWAYS:
                raise BenchError(f"{path}: overrides.{index}.when: " + unknown("field", key, axes | ALWAYS))
        if all(fnmatch.fnmatch(_as_written(raw, key), pattern) for key, pattern in override.when.items()):
            with about(f"{path}: overrides.{index}.set"):
                lay(raw, override.set)
            applied.append(index)
    with about("--set"):
        lay(raw, given)
    try:
        config = RunConfig.model_validate(raw)
    except ValidationError as error:
        raise BenchError(_where_given(error, path, point, given)) from error
    return SweepRun(config, resources(tuple(applied)), canonical(config.identity()))


def _where_given(error: ValidationError, path: Path, point: dict[str, Any], given: dict[str, Any]) -> str:
    """What is wrong with a run's settings in one line, which begins with where their key was given."""
    key, wrong = key_of(RunConfig, error), explained(RunConfig, error)

    def holds(fields: dict[str, Any]) -> str | None:
        for field, value in fields.items():
            inside = field.startswith(f"{key}.") and any(
                repr(part) in wrong for part in (value, field.rpartition(".")[2])
            )
            if inside or key == field or key.startswith(f"{field}."):
                return field
        return None

    if field := holds(given):
        return f"--set {field}={given[field]}: {wrong}"
    below = ": " if wrong.startswith("unknown key") else "."
    return f"{path}: {'grid' if holds(point) else 'base'}{below}{wrong}"


def _as_written(raw: dict[str, Any], key: str) -> str:
    """The value at a dotted key as YAML writes it; where none is given the default, but for a method's own settings."""
    value = get(raw, key)
    if value == "" and not key.startswith("method."):
        value = get(_defaults(), key)
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


@functools.cache
def _defaults() -> dict[str, Any]:
    return RunConfig(in_dist="any", variant="dino").model_dump(mode="json") | {"variant": "none"}


def _reference(run: SweepRun, name: str) -> SweepRun:
    config = run.config.reference(name)
    return SweepRun(config, run.resources, canonical(config.identity()))
