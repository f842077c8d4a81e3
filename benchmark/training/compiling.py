"""torch.compile of the networks that a training calls, for as long as it trains: how a run is run, never what it is.

Neither names nor values of weights change, so checkpoints, weights and the run's name are those of eager mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from benchmark.errors import BenchError, first_line
from benchmark.methods.base import Method

RECOMPILE_LIMIT = 64  # each shape of views is compiled once; by default that ends in silence after eight


def called_networks(method: Method) -> list[nn.Module]:
    """The modules of a method that are called as such: what its (nested) ModuleDicts hold."""

    def within(modules: nn.ModuleDict) -> Iterator[nn.Module]:
        for module in modules.children():
            yield from within(module) if isinstance(module, nn.ModuleDict) else (module,)

    return list(within(method.modules()))


@contextmanager
def compiled(method: Method, wanted: bool = True, backend: str = "inductor") -> Iterator[None]:
    """Within the block the method's networks are compiled, forward and backward, at the first call with each shape.

    Drop-path draws what it draws in eager mode. After the block, as for the features of batches of any size, they are
    eager again. Raises BenchError, one line, where torch.compile does not work.
    """
    if not wanted:
        yield
        return
    # Inductor has random numbers of its own unless it is told otherwise.
    how: dict[str, Any] = {"options": {"fallback_random": True}} if backend == "inductor" else {}
    networks = called_networks(method)
    for network in networks:
        network.compile(backend=backend, dynamic=False, **how)
    try:
        with torch._dynamo.config.patch(recompile_limit=RECOMPILE_LIMIT):
            yield
    except TorchDynamoException as error:
        reason = first_line(getattr(error, "inner_exception", error))
        raise BenchError(f"--compile: torch.compile does not work here ({reason}); leave the option out") from error
    finally:
        for network in networks:
            network._compiled_call_impl = None  # type: ignore[assignment]
