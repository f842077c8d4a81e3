"""Schedules as pure functions of the step, so that a resumed run needs no schedule state."""

from __future__ import annotations

import math


def cosine(step: int, steps: int, start: float, end: float) -> float:
    """From `start` at step 0 along half a cosine towards `end`, which step `steps` would reach."""
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * min(step, steps) / steps))


def warmup_cosine(step: int, steps: int, warmup_steps: int, peak: float, end: float) -> float:
    """Linear from 0 at step 0 to `peak` at the last warm-up step, then half a cosine from `peak` to `end`."""
    if step < warmup_steps:
        return peak * step / max(1, warmup_steps - 1)
    return cosine(step - warmup_steps, steps - warmup_steps, peak, end)


def warmup_linear(step: int, steps: int, warmup_steps: int, peak: float, end: float) -> float:
    """As `warmup_cosine`, but from `peak` on a straight line towards `end`, which step `steps` would reach."""
    if step < warmup_steps:
        return warmup_cosine(step, steps, warmup_steps, peak, end)
    return peak + (end - peak) * (step - warmup_steps) / (steps - warmup_steps)


def rise(step: int, steps: float, end: float) -> float:
    """From 0 at step 0 on a straight line to `end`, which step `steps` reaches and later ones keep."""
    return end * min(1.0, step / steps) if steps else end


def linear_by_epoch(epoch: int, epochs: int, start: float, end: float) -> float:
    """`start` in epoch 0, `end` in the last epoch, on a straight line between (the teacher's temperature)."""
    return start + (end - start) * (epoch / (epochs - 1) if epochs > 1 else 0.0)
