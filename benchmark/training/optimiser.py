"""The optimiser, its schedule, and clipping."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from benchmark.methods import schedules
from benchmark.methods.base import Method, Moment
from benchmark.plan.sections import TrainConfig


def make_optimiser(method: Method, config: TrainConfig) -> Optimizer:
    """AdamW, or SGD or LARS with momentum.

    The first group has weight decay: with `decay_on: matrices` no biases and norms.
    """
    parameters = [parameter for parameter in method.trainable() if parameter.requires_grad]
    everything = config.decay_on == "all"
    groups = [
        {"params": [p for p in parameters if p.ndim > 1 or everything]},
        {"params": [p for p in parameters if p.ndim <= 1 and not everything]},
    ]
    if config.optimiser == "sgd":
        nesterov = config.nesterov and config.momentum > 0
        return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, weight_decay=0.0, nesterov=nesterov)
    if config.optimiser == "lars":
        return Lars(groups, config.momentum)
    return torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, fused=True)


class Lars(Optimizer):
    """SGD whose steps are as long as their weights allow (You, Gitman and Ginsburg 2017, arXiv 1708.03888, Eq. 6).

    v <- momentum v + lr lambda (g + decay w); w <- w - v, tensor by tensor, with the trust ratio
    lambda = 0.001 |w| / (|g| + decay |w|); biases and norms, which have one dimension, and weights of zero
    have lambda 1. timm's Lars has the learning rate outside the momentum, v <- momentum v + lambda (g + decay w) and
    w <- w - lr v: the same only while the rate does not change, and here it changes in every step.
    """

    TRUST = 0.001

    def __init__(self, groups: list[dict[str, Any]], momentum: float) -> None:
        super().__init__(groups, {"lr": 0.0, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; nothing here waits for a GPU."""
        for group in self.param_groups:
            decay = group["weight_decay"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = weight.grad.add(weight, alpha=decay)
                if weight.ndim > 1:
                    size, slope = weight.norm(), weight.grad.norm()
                    trust = self.TRUST * size / (slope + decay * size)
                    update.mul_(torch.where((size > 0) & (slope > 0), trust, 1.0))
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].mul_(group["momentum"]).add_(update, alpha=group["lr"])
                weight.sub_(state["momentum"])


def schedule(optimiser: Optimizer, config: TrainConfig, batch: int, steps_per_epoch: int, at: Moment) -> None:
    """Set the learning rate and the weight decay of the step `at`; `batch`: images per step of all ranks."""
    warmup = round(config.warmup_epochs * steps_per_epoch)
    peak = config.lr * batch / 256 if config.lr_scaling == "batch" else config.lr
    fall = schedules.warmup_cosine if config.schedule == "cosine" else schedules.warmup_linear
    lr = fall(at.step, at.steps, warmup, peak, config.min_lr)
    for group in optimiser.param_groups:
        group["lr"] = lr
    start, end = config.weight_decay
    optimiser.param_groups[0]["weight_decay"] = schedules.cosine(at.step, at.steps, start, end)


def clip_each(parameters: list[torch.nn.Parameter], limit: float) -> None:
    """Scale each parameter's gradient to a norm of at most `limit`, tensor by tensor as in DINO, without a GPU sync."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients))
    factors = (limit / (norms + 1e-6)).clamp_(max=1.0)
    torch._foreach_mul_(gradients, list(factors.unbind()))
