"""One step of training: forward, backward, average over the ranks, clip, update."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from benchmark.methods.base import Batch, Method, Moment
from benchmark.plan.config import TrainConfig
from benchmark.running.processes import Ranks
from benchmark.training.optimiser import clip_each


def optimise(
    method: Method, optimiser: Optimizer, batch: Batch, config: TrainConfig, ranks: Ranks, moment: Moment
) -> dict[str, Tensor]:
    """One step of training on a batch; returns its losses, on the device. Nothing here waits for a GPU."""
    losses = find_gradients(method, batch, config, moment)
    ranks.average_([*(p.grad for p in method.trainable() if p.grad is not None), *losses.values()])
    if config.clip is not None:
        clip_each(method.trainable(), config.clip)
    method.before_update(moment)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    method.after_update(moment)
    method.lap("update")
    return losses


def find_gradients(method: Method, batch: Batch, config: TrainConfig, moment: Moment) -> dict[str, Tensor]:
    """The forward and backward passes of a step, in the config's precision; returns its losses, on the device."""
    device_type = method.device.type

    def backward(part: Tensor) -> None:
        with torch.autocast(device_type, enabled=False):
            part.backward()  # type: ignore[no-untyped-call]
        method.lap("backward")

    with torch.autocast(device_type, torch.bfloat16, enabled=config.precision == "bf16"):
        losses = method.losses(batch, moment, backward)
    return {name: loss.detach() for name, loss in losses.items()}
