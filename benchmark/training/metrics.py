"""The losses of a training: gathered on the device, brought to the host now and then, checked, summed and written."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.errors import BenchError
from benchmark.files import atomic_write, read_json_lines


class NonFiniteLoss(BenchError):
    """The loss became NaN or infinite; training stopped before a checkpoint could keep the damage."""


@dataclass
class Summary:
    """How training went, for the record."""

    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0  # spent in steps, over all resumes
    pairs_per_second: float = 0.0  # ID images (each with its negatives) a second
    resumed: int = 0
    losses: dict[str, float] = field(default_factory=dict)  # means over the last epoch
    alarms: list[str] = field(default_factory=list)
    trajectory: list[dict[str, Any]] = field(default_factory=list)  # of `store.records.IntermediateMeasures`, by epoch


class Losses:
    """The losses of the last steps, on the device, and their sums over the epoch."""

    def __init__(self, epoch_sums: dict[str, float]) -> None:
        self.window: list[dict[str, Tensor]] = []
        self.epoch_sums = epoch_sums

    def bring(self, step: int, steps: int) -> dict[str, float]:
        """Means over the window, which ends with step `step` and is empty then. The only wait for a GPU.

        Raises NonFiniteLoss that names the first step with a loss that is none.
        """
        values = {name: torch.stack([each[name] for each in self.window]).double().cpu() for name in self.window[0]}
        first = step - len(self.window)
        for name, series in values.items():
            bad = (~torch.isfinite(series)).nonzero()
            if len(bad):
                at = first + int(bad[0, 0])
                raise NonFiniteLoss(
                    f"{name} loss is {series[at - first].item()} at step {at} of {steps}; "
                    "the checkpoint from before it is kept; lower train.lr or set train.precision: fp32"
                )
            self.epoch_sums[name] = self.epoch_sums.get(name, 0.0) + float(series.sum())
        self.window.clear()
        return {name: float(series.mean()) for name, series in values.items()}

    def end_epoch(self, steps: int) -> dict[str, float]:
        """Means over the epoch of so many steps that ends here."""
        means = {name: total / steps for name, total in self.epoch_sums.items()}
        self.epoch_sums.clear()
        return means


class Speed:
    """How quickly steps are done, by the wall clock, since this process began and since the last measurement."""

    def __init__(self, images_a_step: int, seconds_before: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.images, self.before, self.clock = images_a_step, seconds_before, clock
        self.begun = self.last = clock()
        self.steps = 0

    def measure(self, steps: int) -> float:
        """Images a second of the `steps` steps since the last measurement."""
        now = self.clock()
        speed = self.images * steps / max(1e-9, now - self.last)
        self.steps += steps
        self.last = now
        return speed

    def leave_out(self, seconds: float) -> None:
        """Of the time since the last measurement, so much was spent on something else than steps."""
        self.begun += seconds
        self.last += seconds

    @property
    def seconds(self) -> float:
        """Spent in steps up to the last measurement, with what earlier processes spent."""
        return self.before + self.last - self.begun

    @property
    def images_a_second(self) -> float:
        """Since this process began, up to the last measurement."""
        return self.images * self.steps / max(1e-9, self.last - self.begun)

    def seconds_for(self, steps: int) -> float:
        """What so many further steps will take."""
        return steps * (self.last - self.begun) / max(1, self.steps)


def append(metrics: Path, line: dict[str, float]) -> None:
    """One more line of metrics.jsonl."""
    with open(metrics, "a") as stream:
        stream.write(json.dumps(line) + "\n")


def truncate(metrics: Path, step: int) -> None:
    """Drop the lines after `step`: a resumed run writes them again. A line cut short by a kill goes too."""
    if not metrics.exists():
        return
    kept = [row for row in read_json_lines(metrics) if row.get("step", math.inf) <= step]
    with atomic_write(metrics, "w") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in kept))
