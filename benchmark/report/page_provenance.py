"""The claims of the page, and where each run's numbers come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmark.data.catalog import info
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import REFERENCES
from benchmark.report import charts
from benchmark.report.claims_text import Claim
from benchmark.report.groups import Group, Run, differences, flat, title_of
from benchmark.report.markup import Child, Html, join, tag

DETAILED_RUNS = 150  # with their provenance in full


# --- claims -------------------------------------------------------------------------------------------------------

SYMBOLS = {"holds": "✓", "fails": "✗", "not measured": "–"}


def claims_section(checked: Sequence[Claim], rules: Sequence[str]) -> Html:
    names = ("Claim", "Published", "Ours", "n", "Verdict")
    rows = []
    for claim in checked:
        kind = claim.verdict.split()[0]
        verdict = tag("span", tag("span", SYMBOLS[claim.verdict], aria_hidden="true"), claim.verdict,
                      class_=f"verdict {kind}")  # fmt: skip
        text = tag("th", claim.text, tag("small", claim.note) if claim.note else None, scope="row")
        numbers = dict(zip(names[1:4], (claim.published, claim.ours_text, str(claim.n)), strict=True))
        values = [tag("td", value, data_name=name, class_="number") for name, value in numbers.items()]
        rows.append(tag("tr", text, values, tag("td", verdict)))
    head = tag("thead", tag("tr", [tag("th", name, scope="col", class_=None if name in ("Claim", "Verdict") else
                                       "number") for name in names]))  # fmt: skip
    judged = tag("details", tag("summary", "How they are judged"),
                 tag("ul", [tag("li", rule) for rule in rules]))  # fmt: skip
    return join([tag("table", head, tag("tbody", rows), class_="claims"), judged])


# --- provenance ---------------------------------------------------------------------------------------------------


def provenance_section(group: Group) -> Html:
    """What all runs share, the images they read, and each run's own."""
    settings = [run.config.model_dump(mode="json") for run in group.runs]
    trained = [config.model_dump(mode="json") for config in group.trained] or settings
    own = differences(trained)
    shared = {key: value for key, value in flat(trained[0]).items() if key not in own}
    images = [
        tag("tr", tag("th", f"{info(key.rpartition('/')[0]).title} {key.rpartition('/')[2]}", scope="row"),
            tag("td", f"{seen.count:,}", class_="number"),
            tag("td", f"{seen.official_count:,}" if seen.official_count else "unknown", class_="number"),
            tag("td", "official" if seen.official else "imported"),
            tag("td", tag("code", seen.fingerprint[:16], title=seen.fingerprint)))
        for key, seen in group.data().items()
    ]  # fmt: skip
    head = [tag("th", name, scope="col", class_="number" if name in ("Images", "Officially") else None)
            for name in ("Set", "Images", "Officially", "Origin", "sha256 of the content")]  # fmt: skip
    done = [run for run in group.runs if run.record]
    todo = [f"{run.config.in_dist}-{run.config.label}-s{run.config.seed}" for run in group.runs if not run.record]
    more = len(done) - DETAILED_RUNS
    return join([
        _fold("Settings that all trained runs share", _list(shared)),
        _fold("Images", tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", images)), class_="scroll",
                            tabindex="0", role="region", aria_label="Images"), open_=True),
        tag("h3", f"Runs ({len(done)} of {len(group.runs)} done)"),
        tag("p", f"No record yet: {', '.join(todo[:30])}{f' and {len(todo) - 30} more' if len(todo) > 30 else ''}.",
            class_="note") if todo else None,
        [_run(run, own) for run in done[:DETAILED_RUNS]],
        tag("p", f"and {more} more: see their record.json.", class_="note") if more > 0 else None,
    ])  # fmt: skip


def _run(run: Run, own: Iterable[str]) -> Html:
    record, config = run.record, run.config
    assert record is not None
    environment = record.environment
    facts = [f"seed {config.seed}"]
    if commit := environment.get("commit"):
        facts.append(f"commit {str(commit)[:10]}")
    if record.timings:
        facts.append(f"{sum(record.timings.values()):,.0f} s")
    if alarms := record.training.get("alarms"):
        facts.append(f"{len(alarms)} alarms")
    title = [charts.key(config.label), f"{info(config.in_dist).title}, {title_of(config.label)} ",
             tag("small", " · ".join(facts))]  # fmt: skip
    values = flat(config.model_dump(mode="json"))
    images = {key: f"{seen.count:,} images, sha256 {seen.fingerprint[:16]}" for key, seen in record.data.items()}
    sections: dict[str, dict[str, Any]] = {
        "Identity": {"name": record.name, "run id": record.run_id, "recipe id": record.recipe_id},
        "Settings of its own": {key: values[key] for key in own if key in values} if _is_trained(config) else
                               {"method": config.method.name},
        "Machine": flat({key: value for key, value in environment.items() if key != "packages"}),
        "Packages": flat(environment.get("packages") or {}),
        "Seconds": {key: f"{value:,.1f}" for key, value in record.timings.items()},
        "Training": flat(record.training),
        "Images": images,
    }  # fmt: skip
    parts = [tag("div", tag("h4", name), _list(pairs)) for name, pairs in sections.items() if pairs]
    return _fold(title, tag("div", parts, class_="facts"), data_v=config.label)


def _is_trained(config: RunConfig) -> bool:
    return config.method.name not in REFERENCES


def _fold(title: Child, content: Html, open_: bool = False, **attributes: Any) -> Html:
    return tag("details", tag("summary", title), content, open=open_, **attributes)


def _list(pairs: dict[str, Any]) -> Html:
    return tag("dl", [[tag("dt", key), tag("dd", _value(value))] for key, value in pairs.items()], class_="pairs")


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    return "not set" if value is None else str(value)
