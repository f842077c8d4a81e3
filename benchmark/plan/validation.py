"""Strict settings, and one clear line for what is wrong with them: origin, key, what was given, what is allowed."""

from __future__ import annotations

import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark import plugins
from benchmark.errors import BenchError, unknown


class Strict(BaseModel):
    """No unknown keys, no silent conversion ("3" is not 3), no change after construction, no infinities."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def validate(model: type[Strict], raw: Any, origin: str, prefix: str = "") -> Any:
    """`raw` as a `model`; raises BenchError, one line: origin, key, what was given, what is allowed."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise BenchError(f"{origin}: {explained(model, error, prefix)}") from error


def explained(model: type[BaseModel], error: ValidationError, prefix: str = "") -> str:
    """The first mistake in one line, below the key `prefix`, and how many more there are."""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return _explain(model, error.errors(include_url=False)[0], prefix) + more


def key_of(model: type[BaseModel], error: ValidationError) -> str:
    """The dotted key of the first mistake; what a check of the whole model found begins with its key."""
    first = error.errors(include_url=False)[0]
    location, _ = _walk(model, first["loc"])
    return ".".join(location) or str(first["ctx"]["error"]).partition(": ")[0]


def _explain(model: type[BaseModel], error: Any, prefix: str) -> str:
    location, owner = _walk(model, error["loc"])
    key = ".".join([prefix, *location] if prefix else location)
    given = error.get("input")
    if error["type"] == "extra_forbidden":
        parent = key.rpartition(".")[0]
        return (f"{parent}: " if parent else "") + unknown("key", location[-1], owner.model_fields if owner else [])
    if error["type"] == "value_error":
        return (f"{key}: " if key else "") + str(error["ctx"]["error"])
    if error["type"] == "union_tag_invalid":
        return f"{key}: " + unknown(
            "method",
            given.get("name") if isinstance(given, dict) else given,
            [*error["ctx"]["expected_tags"].replace("'", "").split(", "), *plugins.names("methods")],
        )
    message = error["msg"][0].lower() + error["msg"][1:]
    if error["type"] == "missing":
        return f"{key}: is required and missing"
    axis = ""
    if isinstance(given, list) and error["type"] in ("int_type", "float_type", "string_type", "bool_type"):
        axis = f"; several values are an axis: grid: {{{key}: {given}}}"
    return f"{key}: {message}, given {given!r}{axis}"


def _walk(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[list[str], type[BaseModel] | None]:
    """The keys along pydantic's error location, union tags dropped, and the model that holds the last key."""
    names: list[str] = []
    owner: type[BaseModel] | None = model
    inner: type[BaseModel] | None = model
    tagged: dict[str, type[BaseModel]] = {}
    for part in location:
        if part in tagged:
            inner, tagged = tagged[part], {}
            continue
        names.append(str(part))
        if isinstance(part, int):  # a place in a list, whose elements are the model
            continue
        owner = inner
        field = owner.model_fields.get(str(part)) if owner else None
        models = _models_in(field.annotation) if field else []
        inner = models[0] if len(models) == 1 else None
        if len(models) > 1:
            tagged = {tag: m for m in models for tag in get_args(m.model_fields["name"].annotation)}
    return names, owner


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated, list):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []
