"""One step of training: forward, backward, average over the ranks, clip, update."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmark.errors import BenchError
from benchmark.methods.base import Batch, Method, Moment
from benchmark.plan.sections import TrainConfig
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


def refuse_lost_gradients(modules: nn.Module, device: torch.device, precision: str) -> None:
    """Have strided convolutions raise BenchError, a line with the layer, where a CPU would get their gradients wrong.

    torch 2.15 on CPUs with bf16 arithmetic reads memory that nobody wrote when it finds the weights' gradient of a
    strided 3x3 convolution of a single pixel: not a number on most tries, and a wrong number on others.
    """
    if device.type != "cpu" or precision != "bf16":
        return
    for name, layer in modules.named_modules():
        if isinstance(layer, nn.Conv2d) and max(layer.stride) > 1 and max(layer.kernel_size) > 1:
            layer.register_forward_pre_hook(functools.partial(_refuse_single_pixels, name))


def _refuse_single_pixels(name: str, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
    height, width = given[0].shape[-2:]
    if layer.training and min(height, width) == 1:
        raise BenchError(
            f"train.precision: bf16 on a CPU has wrong gradients where a strided convolution ({name}) sees images "
            f"of {height}x{width} pixels; allowed: fp32, or larger views"
        )
