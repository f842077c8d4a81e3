"""The methods. One joins as a file here, and a settings class and a row in plan/methods.py: see README.md."""

from __future__ import annotations

import importlib

import torch

from benchmark.methods.base import Method
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import METHODS


def build(config: RunConfig, device: torch.device, begins: bool = True) -> Method:
    """The method that `config` names, freshly initialised on `device`.

    begins: whether training begins here, from `model.weights` where there are some. What was trained has weights of its
    own, and needs those no more.
    """
    if config.method.trains and not begins:
        config = config.model_copy(update={"model": config.model.model_copy(update={"weights": None})})
    kind = type(config.method)
    made_by = f"benchmark.methods.{METHODS[kind]}" if kind in METHODS else config.method.made_by
    module, _, name = made_by.partition(":")
    method: Method = getattr(importlib.import_module(module), name)(config, device)
    return method
