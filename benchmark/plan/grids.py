"""The axes of a grid, with `SET:*` in `in_dist` as every class of that set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from benchmark.data.catalog import info, split_class
from benchmark.data.classes import EVERY, official_names
from benchmark.errors import BenchError, about
from benchmark.plan.layers import get

# Values by field: "variant", "in_dist", "seed", any dotted field, or a section ("method", "train") as a whole.
Axes = dict[str, Annotated[list[Any], Field(min_length=1)]]


def checked_axes(axes: Axes, origin: str, data: Path | None) -> Axes:
    """The axes of a grid, their values checked. origin: its file and key, for messages. data: the folder of the image
    sets, or the default.

    Raises BenchError for a value listed twice, and for `SET:*` where the classes of SET are not to be known.
    """
    found = {}
    for axis, values in axes.items():
        doubled = [value for i, value in enumerate(values) if value in values[:i]]
        if doubled:
            raise BenchError(f"{origin}.{axis}: {doubled[0]!r} is listed twice")
        found[axis] = _in_dists(values, f"{origin}.{axis}", data) if axis == "in_dist" else values
    return found


def check_apart(axes: Axes, origin: str) -> None:
    """Raise BenchError where a section's values hold a field that is an axis too: only one of them would be seen."""
    for axis in axes:
        section, _, field = axis.partition(".")
        if any(isinstance(value, dict) and field and get(value, field) != "" for value in axes.get(section, [])):
            raise BenchError(f"{origin}.{axis}: the values of the axis {section!r} have {field} too; leave out one")


def _in_dists(values: list[Any], origin: str, data: Path | None) -> list[Any]:
    """The sets with `SET:*` replaced by every class of SET, in the order of its labels, each once."""
    found: list[Any] = []
    for value in values:
        if not isinstance(value, str) or not value.endswith(f":{EVERY}"):
            found.append(value)
            continue
        with about(f"{origin}: {value!r}"):
            name, _ = split_class(value)
            found += [f"{name}:{of}" for of in _class_names(name, data)]
    return [value for i, value in enumerate(found) if value not in found[:i]]


def _class_names(name: str, data: Path | None) -> dict[str, int]:
    known = official_names(name)
    if known is not None:
        return known
    from benchmark.data.images import class_names, data_root

    stored = class_names(data_root(data), name, "train")
    if stored is None:
        where = data_root(data)
        raise BenchError(f"{name}/train is not in {where}, so its classes are not known; {info(name).how_to_get}")
    return stored
