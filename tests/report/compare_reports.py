"""The folders of reports/ made again from the committed records, and two such folders held against each other.

    python tests/report/compare_reports.py [OLD] [NEW]

prints every number and every line of text that differs; NEW is made in a temporary folder where it is not given.
"""

from __future__ import annotations

import csv
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.report import build

REPOSITORY = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").exists())
TOLERANCE = 1e-9  # of a number in a CSV file, relative

# (sweep, folder of records or several, what is asked for): what the committed files were made by.
ALL: dict[str, Any] = {"everything": True}
BEFORE = ["model.batch_statistics=positives"]  # what the records of all other sweeps than these were trained with
MEASURED_AGAIN = ("cpu", "table1-cpu", "one-class", "rivals-cpu", "frozen", "pretrained-negatives", "cifar100-cpu",
                  "no-batch-norm-cpu", "cpu-40-epochs", "background-one-class")  # fmt: skip
MADE: list[tuple[str, str, dict[str, Any]]] = [
    ("half-hour", "half-hour", ALL),
    ("half-hour", "half-hour", {"tables": ["2"], "claims": True, "score": "eq6-confident"}),
    ("half-hour", "half-hour", {"tables": ["2"], "claims": True, "score": "max-logit"}),
    ("cpu", "cpu", ALL),
    ("cpu", "cpu", {"tables": ["2"], "claims": True, "score": "eq6-from-negatives"}),
    ("one-class", "one-class", ALL),
    ("rivals-cpu", "one-class", ALL),
    ("background-one-class", "one-class", ALL),
    ("background-cpu", "background-cpu", {"tables": ["scores"], "claims": True}),
    ("oe-cpu", "oe-cpu", {"tables": ["oe", "scores"]}),
    ("table1-cpu", "cpu+frozen", {"tables": ["1", "scores"]}),
    ("frozen", "frozen", {"tables": ["one-class", "scores"]}),
    ("pretrained-negatives", "pretrained-negatives", {"tables": ["2", "scores"]}),
    ("cifar100-cpu", "cifar100-cpu", {"tables": ["1", "scores"]}),
    ("no-batch-norm-cpu", "no-batch-norm-cpu", {"tables": ["2", "scores"]}),
    ("cpu-40-epochs", "cpu-40-epochs+cpu", {"tables": ["2", "scores"], "figures": ["training"], "claims": True}),
]


def make_again(out: Path) -> None:
    """All that is committed in reports/, as files under `out`."""
    quiet = Console(file=io.StringIO(), width=80)
    for name, records, asked in MADE:
        sets = [] if name in MEASURED_AGAIN else BEFORE
        wanted = {"tables": [], "figures": [], "claims": False, "sets": sets, **asked}
        sweep = REPOSITORY / "sweeps" / f"{name}.yaml"
        places = [REPOSITORY / "results/reference" / one for one in records.split("+")]
        build.report(places, out, sweep=sweep, show=quiet, **wanted)


def differences(old: Path, new: Path, kinds: Sequence[str] = ("*.csv", "*.md", "*.tex")) -> Iterator[str]:
    """What differs between the tables and claims of two folders: a line a number, a text or a file."""
    for kind in kinds:
        names = [
            {path.relative_to(place) for folder, *_ in MADE for path in (place / folder).rglob(kind)}
            for place in (old, new)
        ]  # what somebody has made beside them, as of the smoke sweep, is left alone
        yield from (f"{name}: only in {old}" for name in sorted(names[0] - names[1]))
        yield from (f"{name}: only in {new}" for name in sorted(names[1] - names[0]))
        for name in sorted(names[0] & names[1]):
            before, after = ((place / name).read_text() for place in (old, new))
            yield from (f"{name}:{what}" for what in (_cells if kind == "*.csv" else _lines)(before, after))


KEYS = ("in_dist", "ood", "column", "claim", "group")  # what says which row of a CSV it is


def _cells(before: str, after: str) -> Iterator[str]:
    old, new = ({tuple(row.get(key) for key in KEYS): row for row in csv.DictReader(io.StringIO(text))}
                for text in (before, after))  # fmt: skip
    yield from (f" {_named(key)}: is gone" for key in old if key not in new)
    yield from (f" {_named(key)}: is new" for key in new if key not in old)
    if list(old) != [key for key in new if key in old] and old.keys() <= new.keys():
        yield " the rows are in another order"
    for key in (key for key in old if key in new):
        for field in dict.fromkeys([*old[key], *new[key]]):
            was, now = old[key].get(field), new[key].get(field)
            if not _same(was, now):
                yield f" {_named(key)}: {field}: {was!r}, now {now!r}"


def _named(key: tuple[str | None, ...]) -> str:
    return ", ".join(filter(None, key))


def _same(old: str | None, new: str | None) -> bool:
    if old is None or new is None or old == new:
        return old == new
    try:
        before, after = float(old), float(new)
    except ValueError:
        return False
    return abs(before - after) <= TOLERANCE * max(1.0, abs(before))


def _lines(before: str, after: str) -> Iterator[str]:
    old, new = before.splitlines(), after.splitlines()
    if len(old) != len(new):
        yield f" {len(old)} lines, now {len(new)}"
    for number, (one, other) in enumerate(zip(old, new, strict=False), 1):
        if one != other:
            yield f"{number}: {one}\n    now: {other}"


if __name__ == "__main__":
    places = [Path(argument) for argument in sys.argv[1:]]
    before = places[0] if places else REPOSITORY / "reports"
    with tempfile.TemporaryDirectory() as scratch:
        after = places[1] if len(places) > 1 else Path(scratch)
        if len(places) < 2:
            make_again(after)
        found = list(differences(before, after))
    sys.stdout.write("\n".join(found or ["nothing differs"]) + "\n")
    sys.exit(bool(found))
