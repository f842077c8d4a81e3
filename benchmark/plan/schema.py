"""The JSON schema of sweep files, made of the models that read them, for editors that complete and check as one writes.

It is looser than reading: what one key says about another (an optimiser and its momentum) only reading checks.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from benchmark.plan.config import RunConfig
from benchmark.plan.resources import Resources
from benchmark.plan.sweep import Entry, Override, SweepFile
from benchmark.plan.validation import Strict

# Keys that hold some of a run's settings, or of its resources, to be laid over others. The fields of a grid and of
# `set` may be dotted, as in train.lr, and are left to the reading.
PARTS: dict[type[Strict], tuple[str, ...]] = {
    SweepFile: ("base", "resources"),
    Entry: ("base",),
    Override: ("resources",),
}


def sweep_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) as plain values."""
    models: list[type[Strict]] = [SweepFile, Entry, Override, RunConfig, Resources]
    names, made = models_json_schema([(model, "validation") for model in models], ref_template="#/$defs/{model}")
    definitions = _partial(made["$defs"])

    def name(model: type[Strict]) -> str:
        return str(names[model, "validation"]["$ref"]).rpartition("/")[2]

    for model, keys in PARTS.items():
        for key in keys:
            part = Resources if key == "resources" else RunConfig
            definitions[name(model)]["properties"][key] = {"$ref": f"#/$defs/{name(part)}"}
    definitions[name(Resources)]["properties"]["profile"] = {"type": "string", "description": "one of `profiles`"}
    whole = definitions.pop(name(SweepFile))
    whole["properties"] |= {
        "extends": {"type": "string", "description": "another sweep, whose keys are the defaults: a file or a name"},
        "profiles": {"type": "object", "additionalProperties": {"$ref": f"#/$defs/{name(Resources)}"}},
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, "$defs": definitions}


def _partial(schema: Any) -> Any:
    """The schema without required keys, and with `anyOf` for `oneOf`: where a method's name is left out, its other
    settings may fit several methods."""
    if isinstance(schema, list):
        return [_partial(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {"anyOf" if key == "oneOf" else key: _partial(part) for key, part in schema.items()}
    return {key: part for key, part in renamed.items() if key not in ("required", "discriminator")}
