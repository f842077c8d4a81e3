"""A sweep file becomes runs. Nothing is written or started here.

A sweep is named by the path of its file or, for those that come with the package, by their name: `small-cpu`.
"""

from __future__ import annotations

import copy
import fnmatch
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from benchmark.errors import BenchError, unknown
from benchmark.plan import yamlfile
from benchmark.plan.config import RunConfig
from benchmark.plan.identity import canonical, sha256
from benchmark.plan.resources import Resources, SiteFile, load_site, resolve
from benchmark.plan.validation import Strict, validate


class Override(Strict):
    """`set` and `resources` apply to the runs whose fields match all of `when` (glob patterns)."""

    when: dict[str, str]
    set: dict[str, Any] = {}
    resources: dict[str, Any] = {}


class SweepFile(Strict):
    """The schema of a sweep file.

    A further key, `extends`, names another sweep, whose keys are the defaults: a file, relative to this one, or a
    built-in one. A run's settings are laid over each other: the extended file's `base`, this one's, its point of the
    `grid`, the `set` of each override that matches, `--set`. Mappings merge key by key.

    `model.args` belong to the backbone that they stand beside: where a layer names another `model.backbone` than the
    layers below it, their args are dropped, and its own, if any, are all there are. The args stay where the backbone is
    named anew but is the same, and where the layers below name none. `model.drop_path` is no backbone's own: it stays.
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
    name, file = str(path), folder / path
    if file.exists() and (path.suffix or path.name != name or file.is_file()):
        return file
    known = built_in()
    if path.suffix or path.name != name:
        hint = f"; the built-in sweep is called {path.stem}" if path.stem in known else ""
        raise BenchError(f"{file}: no such file{hint}")
    if name not in known:
        raise BenchError(
            f"{unknown('sweep', name, known)}; a sweep file of your own is meant by its path, as in {name}.yaml"
        )
    return known[name]


def load(path: Path, sets: list[str] | None = None, only: str | None = None, site: SiteFile | None = None) -> Sweep:
    """Read and expand the sweep file `path`, or the built-in sweep of that name.

    sets: "dotted.field=value" overrides of every run, as from `--set`. only: a glob on `SweepRun.short_name`.
    site: what the cluster wants of resources; None reads the user's own site file where there is one.
    Raises BenchError, one line that names the file and the key.
    """
    path = find(path)
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
    below = _read_with_parents(find(Path(parent), path.parent), (*children, path.resolve()))
    base = below.get("base")
    if isinstance(base, dict):
        _drop_args_of_another(base, _backbone_of(raw.get("base")))
    return _merge(below, raw)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`: mappings merge key by key, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both_mappings = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merge(below[key], value) if both_mappings else value
    return merged


def _backbone_of(settings: Any) -> Any:
    """The backbone that nested settings name, None where they name none."""
    model = settings.get("model") if isinstance(settings, dict) else None
    return model.get("backbone") if isinstance(model, dict) else None


def _drop_args_of_another(below: dict[str, Any], backbone: Any) -> None:
    """Take `model.args` out of the settings `below` when they name a backbone and a layer above names another."""
    named = _backbone_of(below)
    if None not in (named, backbone) and named != backbone:
        below["model"] = {key: value for key, value in below["model"].items() if key != "args"}


def lay(raw: dict[str, Any], layer: dict[str, Any]) -> None:
    """Set the dotted fields of one layer in the nested settings `raw`; args of another backbone are dropped."""
    _drop_args_of_another(raw, layer.get("model.backbone"))
    for key, value in layer.items():
        put(raw, key, copy.deepcopy(value))


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
    raw, applied = copy.deepcopy(sweep.base), []  # deep: what one run's override sets must not reach the next run
    lay(raw, point)
    for index, override in enumerate(sweep.overrides):
        for key in override.when:
            if key not in sweep.grid and key not in ("variant", "in_dist", "seed"):
                raise BenchError(f"{path}: overrides.{index}.when: " + unknown("field", key, sweep.grid))
        if all(fnmatch.fnmatch(str(_get(raw, key)), pattern) for key, pattern in override.when.items()):
            lay(raw, override.set)
            applied.append(index)
    lay(raw, given)
    config = validate(RunConfig, raw, str(path), "base")
    return SweepRun(config, resources(tuple(applied)), canonical(config.identity()))


def _reference(run: SweepRun, name: str, path: Path) -> SweepRun:
    raw = run.config.model_dump() | {"method": {"name": name}, "variant": "none", "seed": 0}
    if not run.config.method.multi_crop:  # the reference sees images of the size that the run sees
        raw["views"]["global_size"] = run.config.data.image_size
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


def _get(raw: dict[str, Any], dotted: str) -> Any:
    """The field at the dotted path in nested mappings, "" where there is none."""
    value: Any = raw
    for part in dotted.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return value


def parse_set(text: str) -> tuple[str, Any]:
    """Field and value of one `--set FIELD=VALUE`; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BenchError(f"--set {text}: must read FIELD=VALUE, as in --set train.epochs=2")
    return key, yamlfile.parse(value, f"--set {text}")
