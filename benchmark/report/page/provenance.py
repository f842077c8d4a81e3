"""Where each run's numbers come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmark.data.catalog import info
from benchmark.plan.identity import flat
from benchmark.plan.methods import REFERENCES
from benchmark.plan.titles import title_of
from benchmark.report.groups import Group, Run
from benchmark.report.settings import differences

DETAILED_RUNS = 150  # with their provenance in full
NAMED_RUNS = 30  # of those that are not done


def provenance(group: Group) -> dict[str, Any]:
    """What all runs share, the images they read, and each run's own."""
    settings = [run.config.model_dump(mode="json") for run in group.runs]
    trained = [config.model_dump(mode="json") for config in group.trained] or settings
    own = differences(trained)
    done = [run for run in group.runs if run.record]
    todo = [f"{run.config.in_dist}-{run.config.label}-s{run.config.seed}" for run in group.runs if not run.record]
    more = f" and {len(todo) - NAMED_RUNS} more" if len(todo) > NAMED_RUNS else ""
    return {
        "shared": _written({key: value for key, value in flat(trained[0]).items() if key not in own}),
        "images": [(f"{info(key.rpartition('/')[0]).title} {key.rpartition('/')[2]}", seen)
                   for key, seen in group.data().items()],
        "done": len(done), "planned": len(group.runs), "todo": ", ".join(todo[:NAMED_RUNS]) + more,
        "runs": [run_facts(run, own) for run in done[:DETAILED_RUNS]], "more": len(done) - DETAILED_RUNS,
    }  # fmt: skip


def run_facts(run: Run, own: Iterable[str]) -> dict[str, Any]:
    """A run in one line, and all that is known of it in sections."""
    record, config = run.record, run.config
    assert record is not None
    environment = record.environment
    facts = [f"seed {config.seed}"]
    if commit := environment.get("commit"):
        facts.append(f"commit {str(commit)[:10]}")
    if record.seconds:
        facts.append(f"{sum(record.seconds.values()):,.0f} s")
    if alarms := record.training.get("alarms"):
        facts.append(f"{len(alarms)} alarms")
    values = flat(config.model_dump(mode="json"))
    settings = {key: values[key] for key in own if key in values}
    sections: dict[str, dict[str, Any]] = {
        "Identity": {"name": record.name, "run id": record.run_id, "recipe id": record.recipe_id},
        "Settings of its own": settings if config.method.name not in REFERENCES else {"method": config.method.name},
        "Machine": flat({key: value for key, value in environment.items() if key != "packages"}),
        "Packages": flat(environment.get("packages") or {}),
        "Seconds": {key: f"{value:,.1f}" for key, value in record.seconds.items()},
        "Training": flat(record.training),
        "Images": {key: f"{seen.count:,} images, sha256 {seen.fingerprint[:16]}" for key, seen in record.data.items()},
    }
    title = f"{info(config.in_dist).title}, {title_of(config.label)}"
    written = {name: _written(pairs) for name, pairs in sections.items()}
    return {"label": config.label, "title": title, "facts": " · ".join(facts), "sections": written}


def _written(pairs: dict[str, Any]) -> dict[str, str]:
    return {key: _value(value) for key, value in pairs.items()}


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    return "not set" if value is None else str(value)
