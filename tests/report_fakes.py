"""Invented runs for the tests of `benchmark.report`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.negatives import VARIANTS
from benchmark.plan import sweep as sweeps
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import REFERENCES
from benchmark.report import build
from benchmark.report.published import sets as published
from benchmark.store.folders import RunFolder
from benchmark.store.records import OODMetrics, Record, ScoreInRecord, SetInRecord

VARIANTS10 = [name for name in VARIANTS if name != "combined"]


def config(**fields: Any) -> RunConfig:
    return RunConfig.model_validate({"in_dist": "cifar10", **fields})


def paper_auroc(config: RunConfig, ood: str) -> float:
    """The published value; 60 for the references and where none is published."""
    return published.value(config.in_dist, ood, config.variant) or 60.0


def record_of(
    config: RunConfig,
    auroc: Callable[[RunConfig, str], float | None] = paper_auroc,
    prints: dict[str, str] | None = None,
    official: bool = True,
    **fields: Any,
) -> Record:
    """A record with these AUROCs (None: this set is not scored); other numbers follow from the first of them."""
    values = {ood: value for ood in config.ood_sets() if (value := auroc(config, ood)) is not None}
    ood = {
        name: OODMetrics(auroc=value, aupr_ood=1, aupr_id=1, fpr95_id=1, fpr95_ood=1, n_id=9, n_ood=9)
        for name, value in values.items()
    }
    keys = [f"{name}/{split}" for name, split in config.training_sets()] + [f"{name}/test" for name in values]
    fingerprints = {key: f"of {key}" for key in keys} | (prints or {})
    data = {
        key: SetInRecord(count=50, fingerprint=fingerprints[key], official=official, official_count=100) for key in keys
    }
    first = next(iter(values.values()), 50.0)
    reference = config.method.name in REFERENCES
    given: dict[str, Any] = {
        "run_id": config.run_id({key: seen.fingerprint for key, seen in data.items()}),
        "recipe_id": config.recipe_id(),
        "name": f"{config.in_dist}-{config.label}-s{config.seed}",
        "config": config.model_dump(mode="json"),
        "data": data,
        "own": config.method.own_score,
        "knn_accuracy": {"20": first - 1, "10": first - 2},
        "occupancy": None if reference else {"paper": 3000 - 10 * first, "authors": 7, "classes": 4096},
        "environment": {"hardware": "one GPU", "packages": {"torch": "2.11"}, "commit": "0123456789abcdef"},
    }
    own = {
        "ood": fields.pop("ood", ood),
        "sensitivity": fields.pop("sensitivity", 100 - first / 2),
        "passes": config.method.own_passes,
    }
    scores = {config.method.own_score: own, **fields.pop("scores", {})}
    return Record(**(given | {"scores": scores} | fields))


def with_own(record: Record, **changes: Any) -> Record:
    """The record with other numbers of its method's own score."""
    changed = record.own_score.model_copy(update=changes)
    return record.model_copy(update={"scores": record.scores | {record.own: changed}})


def with_scores(record: Record, further: dict[str, ScoreInRecord]) -> Record:
    """The record with these scores beside its method's own."""
    return record.model_copy(update={"scores": {record.own: record.own_score, **further}})


def write_sweep(folder: Path, *, variant: list[str], seed: list[int] | None = None, in_dist: list[str] | None = None,
                extra: str = "", name: str = "table2.yaml", **axes: list[str]) -> Path:  # fmt: skip
    grid = {"in_dist": in_dist or ["cifar10"], "variant": variant, "seed": seed or [0], **axes}
    path = folder / "sweeps" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"  {axis}: [{', '.join(map(str, values))}]" for axis, values in grid.items()]
    path.write_text("\n".join(["grid:", *lines, extra, ""]))
    return path


def write_runs(results: Path, sweep: Path, make: Callable[[RunConfig], Record | None] = record_of) -> list[Record]:
    """Write the records of the sweep's runs (None: not done yet) as run folders."""
    written = []
    for run in sweeps.load(sweep).runs:
        record = make(run.config)
        if record is not None:
            folder = RunFolder(results / record.name)
            folder.write_config(run.config)
            folder.write_record(record)
            written.append(record)
    return written


def make(place: Path, **asked) -> tuple[list[str], str]:
    """The names of the files written and what was printed."""
    console = Console(file=io.StringIO(), width=80)
    wanted = {"tables": [], "figures": [], "claims": False, "sweep": None} | asked
    paths = build.report(Path("results"), Path("reports"), show=console, **wanted)
    assert all((place / path).stat().st_size > 0 for path in paths)
    return [str(path.relative_to("reports")) for path in paths], console.file.getvalue()  # type: ignore[attr-defined]
