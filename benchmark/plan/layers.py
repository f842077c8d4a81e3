"""Settings laid over each other, layer by layer: what a layer adds to those below it, and what of them it drops.

Sections merge key by key; everything else is replaced. `model.args` belong to the backbone that they stand beside:
where a layer names another `model.backbone` than the layers below it, their args are dropped, and its own, if any, are
all there are. The args stay where the backbone is named anew but is the same, and where the layers below name none.
`model.drop_path` is no backbone's own: it stays. So it is with the settings of `method` and its name: a layer that
names another method begins them anew.
"""

from __future__ import annotations

import copy
from typing import Any

from benchmark.errors import BenchError
from benchmark.plan import yamlfile


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`: mappings merge key by key, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both_mappings = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = merge(below[key], value) if both_mappings else value
    return merged


def over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The nested settings `above` laid over `below`, which stay as they are."""
    kept = copy.deepcopy(below)
    _drop_what_is_anothers(kept, above)
    return merge(kept, copy.deepcopy(above))


def lay(raw: dict[str, Any], layer: dict[str, Any]) -> None:
    """Set the fields of one layer in the nested settings `raw`. A dotted field is replaced, a section merges."""
    _drop_what_is_anothers(raw, layer)
    for key, value in layer.items():
        below = raw.get(key)
        both_mappings = isinstance(value, dict) and isinstance(below, dict)
        put(raw, key, copy.deepcopy(merge(below, value) if both_mappings else value))  # type: ignore[arg-type]


def _drop_what_is_anothers(below: dict[str, Any], layer: dict[str, Any]) -> None:
    backbone, named = _of_layer(layer, "model", "backbone"), get(below, "model.backbone")
    if backbone is not None and named not in ("", None, backbone):
        below["model"] = {key: value for key, value in below["model"].items() if key != "args"}
    method, settings = _of_layer(layer, "method", "name"), below.get("method")
    if method is not None and isinstance(settings, dict) and method != get(below, "method.name"):
        below["method"] = {}


def _of_layer(layer: dict[str, Any], section: str, field: str) -> Any:
    """What a layer says of a field, by its dotted name or in its section; None where it says nothing."""
    inside = layer.get(section)
    return layer.get(f"{section}.{field}", inside.get(field) if isinstance(inside, dict) else None)


def put(raw: dict[str, Any], dotted: str, value: Any) -> None:
    """Set the field at the dotted path in nested mappings, making sections on the way."""
    *parents, last = dotted.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise BenchError(f"{dotted}: {parent!r} is a value, not a section")
    raw[last] = value


def get(raw: dict[str, Any], dotted: str) -> Any:
    """The field at the dotted path in nested settings, "" where there is none; a method without a name is DINO."""
    value: Any = raw
    for part in dotted.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return value or "dino" if dotted == "method.name" else value


def parse_set(text: str) -> tuple[str, Any]:
    """Field and value of one `--set FIELD=VALUE`; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BenchError(f"--set {text}: must read FIELD=VALUE, as in --set train.epochs=2")
    return key, yamlfile.parse(value, f"--set {text}")
