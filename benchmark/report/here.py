"""Which sweeps records are of, where nobody has named one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from benchmark.errors import BenchError
from benchmark.plan import sweep as sweeps
from benchmark.store.records import Record


def sweeps_here(
    records: Sequence[Record],
    paper: Iterable[Path],
    sets: list[str] | None,
    data: Path | None,
    only: Sequence[str] = (),
) -> list[Path]:
    """The sweeps that account for these records, the one with most of its runs done first.

    Looked for among the built-in ones, ./sweeps and this folder; sets, data: as of `sweeps.load`. None where the
    paper's own sweeps, `paper`, have records here, or where nothing accounts for any. only: patterns of labels; sweeps
    without such a column are left out, unless none has one.
    """
    done = {record.recipe_id for record in records}
    if not done or any(_recipes(path, sets, data).keys() & done for path in paper):
        return []
    files = {path.stem: path for path in [*sorted(Path("sweeps").glob("*.yaml")), *sorted(Path().glob("*.yaml"))]}
    known = {name: found for name in {**sweeps.built_in(), **files}
             if (found := _recipes(files.get(name, Path(name)), sets, data)).keys() & done}  # fmt: skip
    chosen: dict[Path, set[str]] = {}  # and the labels of its columns
    while done and known:
        best = max(known, key=lambda name: (len(known[name].keys() & done), -len(known[name])))
        if not known[best].keys() & done:
            break
        labels = known.pop(best)
        done -= labels.keys()
        chosen[files.get(best, Path(best))] = set(labels.values())
    return [path for path, labels in chosen.items() if named(labels, only)] or list(chosen)


def named(labels: Iterable[str], only: Sequence[str]) -> set[str]:
    """The labels that match any of the patterns."""
    return {label for label in labels if any(fnmatchcase(label, pattern) for pattern in only)}


def _recipes(path: Path, sets: list[str] | None, data: Path | None) -> dict[str, str]:
    """The recipe and label of a sweep's trained runs; none where it cannot be read, since nobody has asked for it."""
    try:
        runs = sweeps.load(path, sets, data=data).runs
    except BenchError:
        return {}
    return {run.recipe: run.config.label for run in runs if run.config.method.trains}
