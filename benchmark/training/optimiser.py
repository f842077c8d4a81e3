"""The optimiser, its schedule, and clipping."""

from __future__ import annotations

import torch

from benchmark.methods import schedules
from benchmark.methods.base import Method, Moment
from benchmark.plan.config import TrainConfig


def make_optimiser(method: Method) -> torch.optim.AdamW:
    """AdamW with weight decay on everything but 1-D parameters (biases, norms)."""
    parameters = [parameter for parameter in method.trainable() if parameter.requires_grad]
    groups = [{"params": [p for p in parameters if p.ndim > 1]}, {"params": [p for p in parameters if p.ndim <= 1]}]
    return torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, fused=True)


def schedule(optimiser: torch.optim.AdamW, config: TrainConfig, batch: int, steps_per_epoch: int, at: Moment) -> None:
    warmup = round(config.warmup_epochs * steps_per_epoch)
    lr = schedules.warmup_cosine(at.step, at.steps, warmup, config.lr * batch / 256, config.min_lr)
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
