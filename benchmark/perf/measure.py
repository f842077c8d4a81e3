"""How times are taken: parts of a step on the device's own clock, repeats and their spread, the hardware's ceiling."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from benchmark.detection.scores import full_float32

# Sides of the square matrix products that stand for the hardware's ceiling: large enough to reach it.
CEILING_SIDE = {"cuda": 8192, "cpu": 2048}


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one quantity."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values), len(values))

    def __str__(self) -> str:
        return f"{figures(self.median)} ({figures(self.low)} to {figures(self.high)}, n = {self.n})"

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def figures(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def differ(one: Spread, two: Spread) -> bool:
    """Whether two quantities differ by more than their repeats do: their ranges do not overlap."""
    return one.low > two.high or two.low > one.high


def ratio_text(ours: Spread, theirs: Spread) -> str:
    """`ours` as a multiple of `theirs`, or that there is no difference."""
    times = f"{figures(ours.median / theirs.median)} times"
    return times if differ(ours, theirs) else f"no difference beyond the spread ({times})"


class Laps:
    """Seconds by part of a step: `start`, then call it with each part's name when that part ends.

    On a GPU the clock is the device's (events in its queue), so that measuring makes nobody wait.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._marks: list[tuple[str, Any]] = []

    def start(self) -> None:
        self("")

    def __call__(self, part: str) -> None:
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self._marks.append((part, event))
        else:
            self._marks.append((part, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        """Sums by part since the first start; waits for the device, and forgets them."""
        synchronise(self.device)
        sums: dict[str, float] = defaultdict(float)
        for (_, before), (part, after) in zip(self._marks, self._marks[1:], strict=False):
            if part:
                sums[part] += before.elapsed_time(after) / 1e3 if self.device.type == "cuda" else after - before
        self._marks.clear()
        return dict(sums)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def alternate(
    tasks: Mapping[str, Callable[[], float]], rounds: int, tell: Callable[[str], None] = lambda line: None
) -> dict[str, Spread]:
    """What each task returns (seconds, or images a second), `rounds` times, in turns: whatever else the machine does
    meets all of them alike."""
    values: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds):
        for name, task in tasks.items():
            values[name].append(task())
            tell(f"round {number + 1} of {rounds}: {name} {figures(values[name][-1])}")
    return {name: Spread.of(each) for name, each in values.items()}


def timed(
    tasks: Mapping[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
    value: Callable[[float], float],
    tell: Callable[[str], None],
) -> dict[str, Spread]:
    """`alternate` of the `value` of each task's seconds, after each has run once."""
    for task in tasks.values():
        task()

    def measured(task: Callable[[], object]) -> float:
        return value(seconds(task, device))

    return alternate({name: partial(measured, task) for name, task in tasks.items()}, rounds, tell)


def seconds(task: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of a task, the device's work included."""
    synchronise(device)
    begun = time.perf_counter()
    task()
    synchronise(device)
    return time.perf_counter() - begun


def ceiling(device: torch.device, precision: str, repeats: int = 5) -> float:
    """FLOP/s of the best of some large matrix products in "fp32" (true fp32, no TF32) or "bf16": what the hardware
    gives to whoever asks it for nothing else."""
    side = CEILING_SIDE[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one = torch.randn(side, side, device=device, dtype=dtype)
    two = torch.randn(side, side, device=device, dtype=dtype)
    with full_float32():
        torch.mm(one, two)
        return 2 * side**3 / min(seconds(lambda: torch.mm(one, two), device) for _ in range(repeats))
