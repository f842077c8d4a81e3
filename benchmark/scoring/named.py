"""Scores by the names of `plan.scores`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.errors import BenchError
from benchmark.plan import scores as plan
from benchmark.scoring.base import AtTemperature, Outputs, Score


class Sum(Score):
    """Several scores, each standardised by the mean and deviation of its scores of the training images (leave-one-out),
    added; about 0 for training images."""

    def __init__(self, parts: Sequence[Score], name: str) -> None:
        self.parts, self.name = parts, name

    def fit(self, train: Outputs) -> None:
        itself = torch.arange(len(train["features"]))
        scales = []
        for part, name in zip(self.parts, self.name.split("+"), strict=True):
            part.fit(train)
            scores = part.score(train, itself).double()
            if not float(scores.std()) > 0:
                raise BenchError(f"score {self.name}: {name} does not vary over the training images")
            scales.append([float(scores.mean()), float(scores.std())])
        self.scales_ = scales

    def fit_again(self, train: Outputs, scales: list[list[float]]) -> None:
        """As `fit` did where it found these `scales_`, without scoring the training images."""
        for part in self.parts:
            part.fit(train)
        self.scales_ = scales

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        total = torch.zeros(len(outputs["features"]), dtype=torch.float64)
        for part, (mean, deviation) in zip(self.parts, self.scales_, strict=True):
            total += (part.score(outputs, self_index).double() - mean) / deviation
        return total


def named(name: str, temperature: float) -> Score:
    """The score called `name`, not fitted. temperature: of Eq. 6 where the name has none.

    Raises BenchError for a name of none.
    """
    made = [_make(part, temperature) for part in plan.parts(name)]
    return Sum(made, name) if len(made) > 1 else made[0]


def _make(part: plan.Part, temperature: float) -> Score:
    if isinstance(part.kind.made_by, type):  # another package's
        given = part.number or (temperature if part.kind.number == "temperature" else None)
        return part.kind.made_by() if given is None else part.kind.made_by(given)  # type: ignore[no-any-return]
    module, _, name = part.kind.made_by.partition(":")
    kind = getattr(importlib.import_module(f"benchmark.scoring.{module}"), name)
    if issubclass(kind, AtTemperature):
        return kind(part.number or temperature)  # type: ignore[no-any-return]
    return kind() if part.number is None else kind(int(part.number))  # type: ignore[no-any-return]
