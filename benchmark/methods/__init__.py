"""The methods by name. A sibling joins as one file, one settings class in config.py and one row here."""

from __future__ import annotations

import torch

from benchmark.methods.base import Method
from benchmark.methods.dino import Dino
from benchmark.methods.references import ImageStatistics, Untrained
from benchmark.plan.config import RunConfig

METHODS: dict[str, type[Method]] = {"dino": Dino, "untrained": Untrained, "image-statistics": ImageStatistics}


def build(config: RunConfig, device: torch.device) -> Method:
    """The method that `config` names, freshly initialised on `device`."""
    return METHODS[config.method.name](config, device)
