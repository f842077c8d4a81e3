"""What the settings of runs say: of what protocol a run is, which make one column, and in what several differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmark.errors import BenchError
from benchmark.plan.config import RunConfig
from benchmark.plan.identity import digest, flat

# Section -> what in it makes two methods or variants two, and is no difference between their settings.
_TELLING = {"method": ("name", "shift"), "data": ("sources", "aux_limit", "aux_order", "mask")}


def class_of(config: RunConfig) -> tuple[str, str] | None:
    """(set, class) that the run is trained on; None where it is no run of the one-class protocol.

    It is one where in_dist reads PARENT:CLASS and PARENT:not-CLASS is among its OOD sets.
    """
    parent, colon, name = config.in_dist.partition(":")
    if not (parent and colon and name):
        return None
    try:
        return (parent, name) if f"{parent}:not-{name}" in config.ood_sets() else None
    except BenchError:  # its OOD sets cannot be known
        return None


def differences(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The dotted keys of `settings` that do not have one value throughout."""
    flattened = [flat(setting) for setting in settings]
    keys = dict.fromkeys(key for setting in flattened for key in setting)
    return [key for key in keys if len({repr(setting.get(key)) for setting in flattened}) > 1]


def at(setting: dict[str, Any], key: str) -> Any:
    """The value at a dotted key, for a reader."""
    value = flat(setting).get(key)
    return "not set" if value is None else value


def of_run(config: RunConfig, key: str) -> Any:
    """The same of a run. Its identity leaves out what is as it was before there was a choice, and this does not."""
    return at(config.model_dump(mode="json"), key)


def shared_by_a_column(config: RunConfig) -> dict[str, Any]:
    """What a column's runs share: all that changes their numbers but the class and the seed."""
    return config.method.setting({k: v for k, v in config.identity().items() if k not in ("in_dist", "seed")})


def settings_of(config: RunConfig) -> dict[str, Any]:
    """What two methods, or DINO with and without negatives, should share to be compared: network, training, images.

    Not what makes them two: the method's name, the negatives, and whether rotation prediction has shifts.
    """
    shared = {key: value for key, value in shared_by_a_column(config).items() if key not in ("variant", "negatives")}
    for section in _TELLING.keys() & shared.keys():
        shared[section] = {key: value for key, value in shared[section].items() if key not in _TELLING[section]}
    return shared


def recipe_of(config: RunConfig) -> str:
    """What tells the columns apart, as a hash; the label is part of it."""
    return digest([config.label, shared_by_a_column(config)])
