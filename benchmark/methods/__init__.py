"""The methods. One joins as a file here, and a settings class and a row in plan/methods.py: see README.md."""

from __future__ import annotations

import importlib

import torch

from benchmark.methods.base import Method
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import METHODS


def build(config: RunConfig, device: torch.device) -> Method:
    """The method that `config` names, freshly initialised on `device`."""
    module, _, name = METHODS[type(config.method)].partition(":")
    method: Method = getattr(importlib.import_module(f"benchmark.methods.{module}"), name)(config, device)
    return method
