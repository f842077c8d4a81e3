"""What installed packages add: methods, scores and negatives of their own, by entry points.

A package names them in the groups `ood_bench.methods`, `ood_bench.scores` and `ood_bench.negatives`
(benchmark/README.md shows one). Nothing of it is imported before a run asks for one of its names.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast, get_args

from benchmark.errors import BenchError, first_line
from benchmark.provenance import digest_of

Group = Literal["methods", "scores", "negatives"]
_loaded: dict[str, str] = {}


@functools.cache  # the packages of a process stay what they are
def _found(group: Group) -> dict[str, list[metadata.EntryPoint]]:
    found: dict[str, list[metadata.EntryPoint]] = {}
    for entry in metadata.entry_points(group=f"ood_bench.{group}"):
        found.setdefault(entry.name, []).append(entry)
    return found


def names(group: Group) -> list[str]:
    """All names that installed packages add to this group."""
    return sorted(_found(group))


def package_of(group: Group, name: str) -> str:
    """The package that adds `name`."""
    return _package(_found(group)[name][0])


def load(group: Group, name: str, built_in: bool = False) -> Any:
    """What an installed package adds under this name; None where none does. built_in: whether the name is also ours.

    Raises BenchError, one line that names the package, where it cannot be imported, where two packages have the name,
    or where it is a name of ours.
    """
    entries = _found(group).get(name, [])
    if not entries:
        return None
    packages = " and ".join(_package(entry) for entry in entries)
    if built_in:
        raise BenchError(f"package {packages}: its {group} name {name!r} is one of ood-bench itself; it needs another")
    if len(entries) > 1:
        raise BenchError(f"packages {packages}: both add {name!r} to ood_bench.{group}; uninstall one of them")
    [entry] = entries
    try:
        made = entry.load()
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise BenchError(f"package {packages}: {name!r} of ood_bench.{group} is {entry.value}: {said}") from error
    version = f" {entry.dist.version}" if entry.dist else ""
    modules = (entry.module, getattr(made, "made_by", "").partition(":")[0])
    _loaded[f"{group}: {name}"] = f"{packages}{version}, code {_fingerprint(*filter(None, modules))}"
    return made


def loaded() -> dict[str, str]:
    """What this process has taken from other packages: "negatives: NAME" -> package, version and a fingerprint of its
    code, which tells an edited package from what it was."""
    return dict(_loaded)


def changed(seen: Mapping[str, str]) -> list[str]:
    """Which of what a record says was `loaded` is another now, by name; of older records, without the fingerprint of
    the code, those of another version."""
    return [key for key, said in seen.items() if not _now(key).startswith(said)]


@functools.cache  # as above
def _now(key: str) -> str:
    group, _, name = key.partition(": ")
    try:
        if group in get_args(Group):
            load(cast(Group, group), name)
    except BenchError:
        return ""
    return _loaded.get(key, "")


@functools.cache  # of what was there when this process imported it
def _fingerprint(*modules: str) -> str:
    """Twelve digits of a sha256 of the Python files of these modules, each with all of the package it is in."""
    places = []
    for name in dict.fromkeys(module.partition(".")[0] for module in modules):
        if (spec := find_spec(name)) is not None:
            places += list(spec.submodule_search_locations or []) or [str(spec.origin)]
    return digest_of((Path(place).parent, Path(place)) for place in places)


def _package(entry: metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
