"""Runs that go on from another run of their sweep: which one is meant, and whether it fits."""

from __future__ import annotations

import re
from collections.abc import Iterable

from benchmark.errors import BenchError, some_of
from benchmark.plan.config import RunConfig

RECIPE = re.compile(r"[0-9a-f]{64}")


def resolved(config: RunConfig, others: Iterable[RunConfig], where: str) -> RunConfig:
    """`config` with the recipe of the run that `method.tune` names among `others`; as it is where it has one already.

    Raises BenchError, one line that begins with `where`, when no run or several are meant, or the one does not fit.
    """
    named = config.method.starts_from
    if named is None or RECIPE.fullmatch(named):
        return config
    alike = [one for one in others if (one.in_dist, one.seed) == (config.in_dist, config.seed)]
    found = [one for one in alike if one.label == named]
    if not found:
        wanted = f"{config.in_dist.replace(':', '.')}-{named}-s{config.seed}"
        labels = some_of(one.short_name for one in alike if not one.method.starts_from and one.method.labels)
        raise BenchError(f"{where}: method.tune: no run {wanted} in this sweep; it has {labels or 'no classifier'}")
    fitting = [one for one in found if not misfit(config, one)]
    if not fitting:
        raise BenchError(f"{where}: method.tune: {found[0].short_name} does not fit: {misfit(config, found[0])}")
    if len({one.recipe_id() for one in fitting}) > 1:
        raise BenchError(f"{where}: method.tune: {len(fitting)} runs are called {found[0].short_name}; name a recipe")
    method = config.method.model_copy(update={"tune": fitting[0].recipe_id()})
    return config.model_copy(update={"method": method})


def misfit(config: RunConfig, start: RunConfig) -> str:
    """Why `config` cannot go on from the run `start`; "" where it can."""
    if start.method.name != "classifier":
        return f"it is no classifier but {start.method.name}"
    if start.in_dist != config.in_dist:
        return f"it was trained on {start.in_dist}, not {config.in_dist}"
    for key in ("image_size", "train_limit"):
        if getattr(start.data, key) != getattr(config.data, key):
            return f"its data.{key} is {getattr(start.data, key)}, not {getattr(config.data, key)}"
    if (start.model.backbone, start.model.args) != (config.model.backbone, config.model.args):
        return f"its network is {_network(start)}, not {_network(config)}"
    if start.model.weights_sha256 != config.model.weights_sha256:
        return "it began with other model.weights"
    for key, alike in (("classes", int), ("rotation_weight", bool)):  # of rotations the head counts, not its weight
        there, here = getattr(start.method, key), getattr(config.method, key)
        if alike(there) != alike(here):
            return f"its method.{key} is {there}, not {here}"
    return ""


def _network(config: RunConfig) -> str:
    return f"{config.model.backbone} {config.model.args or ''}".strip()
