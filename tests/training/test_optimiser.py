"""The optimisers, their schedules and clipping, against plain loops in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import timm.optim
import torch
from torch import Tensor, nn

from benchmark.methods.base import Batch, Method, Moment
from benchmark.plan.config import RunConfig
from benchmark.plan.sections import TrainConfig
from benchmark.running.processes import ALONE
from benchmark.training.optimiser import Lars, make_optimiser, schedule
from benchmark.training.step import optimise

STEPS_PER_EPOCH, EPOCHS = 5, 4
GRADIENTS = (3.0, -0.5, 0.25, 2.0)  # of the step they come in, the same for every number of a parameter


class Pulled(Method):
    """A matrix and a vector whose gradients are given, step by step."""

    def __init__(self) -> None:
        super().__init__(RunConfig(in_dist="mini", method={"name": "untrained"}), torch.device("cpu"))  # type: ignore[arg-type]
        self.matrix, self.vector = nn.Parameter(torch.full((2, 2), 1.5)), nn.Parameter(torch.full((2,), -0.75))

    def trainable(self) -> list[nn.Parameter]:
        return [self.matrix, self.vector]

    def losses(self, batch: Batch, moment: Moment, backward: Any = None) -> dict[str, Tensor]:
        loss = GRADIENTS[moment.step % len(GRADIENTS)] * (self.matrix.sum() + self.vector.sum())
        backward(loss)
        return {"loss": loss}


def train(config: TrainConfig, steps: int) -> tuple[list[float], list[float]]:
    """A number of the matrix and one of the vector after each step."""
    method = Pulled()
    optimiser = make_optimiser(method, config)
    batch = Batch({}, (), torch.empty(0))
    seen: tuple[list[float], list[float]] = ([], [])
    for step in range(steps):
        moment = Moment(step // STEPS_PER_EPOCH, EPOCHS, step, EPOCHS * STEPS_PER_EPOCH)
        schedule(optimiser, config, 64, STEPS_PER_EPOCH, moment)
        optimise(method, optimiser, batch, config, ALONE, moment)
        seen[0].append(method.matrix[0, 0].item())
        seen[1].append(method.vector[0].item())
    return seen


def settings(**changes: Any) -> TrainConfig:
    plain = {"epochs": EPOCHS, "batch": 64, "lr": 0.1, "min_lr": 0.001, "warmup_epochs": 0.6, "clip": None}
    return TrainConfig.model_validate(plain | {"weight_decay": [0.2, 0.2]} | changes)


def rate(step: int, peak: float, fall: str) -> float:
    """Three steps of warm-up from 0 to the peak, then down to 0.001, which step 20 would reach."""
    if step < 3:
        return peak * step / 2
    share = (step - 3) / 17
    return peak + (0.001 - peak) * (share if fall == "linear" else (1 - math.cos(math.pi * share)) / 2)


@pytest.mark.parametrize("fall", ["cosine", "linear"])
@pytest.mark.parametrize("scaling", ["batch", "none"])
@pytest.mark.parametrize(("nesterov", "momentum"), [(True, 0.9), (False, 0.9), (True, 0.0)])
def test_sgd_by_hand(fall: str, scaling: str, nesterov: bool, momentum: float) -> None:
    """Sutskever et al. 2013 as torch has it: v = m v + g; the step is g + m v with Nesterov's, v without."""
    config = settings(
        optimiser="sgd", schedule=fall, lr_scaling=scaling, nesterov=nesterov, momentum=momentum, decay_on="all"
    )
    found = train(config, 8)
    peak = 0.1 * 64 / 256 if scaling == "batch" else 0.1
    for start, numbers in ((1.5, found[0]), (-0.75, found[1])):
        value, speed = start, 0.0
        for step, number in enumerate(numbers):
            gradient = GRADIENTS[step % 4] + 0.2 * value
            speed = momentum * speed + gradient
            value -= rate(step, peak, fall) * (gradient + momentum * speed if nesterov else speed)
            assert number == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("decay_on", ["matrices", "all"])
def test_adamw_by_hand_and_whom_weight_decay_spares(decay_on: str) -> None:
    """Loshchilov and Hutter 2019: the decay is of the weights, apart from the two moments."""
    found = train(settings(decay_on=decay_on, lr_scaling="none"), 6)
    for start, numbers, decay in ((1.5, found[0], 0.2), (-0.75, found[1], 0.2 if decay_on == "all" else 0.0)):
        value, first, second = start, 0.0, 0.0
        for step, number in enumerate(numbers):
            lr, gradient = rate(step, 0.1, "cosine"), GRADIENTS[step % 4]
            value *= 1 - lr * decay
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            step_size = first / (1 - 0.9 ** (step + 1))
            value -= lr * step_size / (math.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
            assert number == pytest.approx(value, rel=1e-5)


def test_clipping_is_by_parameter_and_can_be_left_out() -> None:
    """The matrix's gradient of 3 in four places has norm 6; the vector's in two places has 4.24."""
    sgd = {"optimiser": "sgd", "momentum": 0.0, "weight_decay": [0.0, 0.0], "lr_scaling": "none", "warmup_epochs": 0}
    free, held = train(settings(**sgd), 1), train(settings(**sgd, clip=5.0), 1)
    assert free[0][0] == pytest.approx(1.5 - 0.1 * 3) and free[1][0] == pytest.approx(-0.75 - 0.1 * 3)
    assert held[0][0] == pytest.approx(1.5 - 0.1 * 3 * 5 / 6) and held[1][0] == pytest.approx(free[1][0])


def test_weight_decay_moves_along_a_cosine() -> None:
    config = settings(weight_decay=[0.04, 0.4])
    optimiser = make_optimiser(Pulled(), config)
    for step in (0, 7, 19):
        schedule(optimiser, config, 64, STEPS_PER_EPOCH, Moment(0, EPOCHS, step, 20))
        expected = 0.4 + (0.04 - 0.4) * (1 + math.cos(math.pi * step / 20)) / 2
        assert optimiser.param_groups[0]["weight_decay"] == pytest.approx(expected)
        assert optimiser.param_groups[1]["weight_decay"] == 0


def test_lars_is_the_loop_with_a_trust_ratio_for_matrices_alone() -> None:
    config = settings(optimiser="lars", momentum=0.9, schedule="cosine")
    matrix, vector = train(config, 12)
    w, b, moving = 1.5, -0.75, [0.0, 0.0]
    for step in range(12):
        lr, slope = rate(step, 0.1 * 64 / 256, "cosine"), GRADIENTS[step % 4]
        # A matrix of four equal numbers: norms are twice the number's size.
        trust = 0.001 * (2 * abs(w)) / (2 * abs(slope) + 0.2 * 2 * abs(w))
        moving[0] = 0.9 * moving[0] + lr * trust * (slope + 0.2 * w)
        moving[1] = 0.9 * moving[1] + lr * slope  # neither adapted nor decayed
        w, b = w - moving[0], b - moving[1]
        assert matrix[step] == pytest.approx(w, rel=1e-5) and vector[step] == pytest.approx(b, rel=1e-5)


def test_timms_lars_is_ours_while_the_rate_is_constant_and_not_where_it_falls() -> None:
    """Why there is one of our own: the schedule changes the rate in every step."""
    start, gradients = torch.randn(4, 3), torch.randn(6, 4, 3)

    def weights(kind: Callable[..., torch.optim.Optimizer], rates: list[float]) -> torch.Tensor:
        weight = torch.nn.Parameter(start.clone())
        optimiser = kind([{"params": [weight]}], momentum=0.9)
        for lr, gradient in zip(rates, gradients, strict=True):
            optimiser.param_groups[0] |= {"lr": lr, "weight_decay": 0.2}
            weight.grad = gradient.clone()
            optimiser.step()
        return weight.detach()

    steady, falling = [0.5] * 6, [0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    torch.testing.assert_close(weights(Lars, steady), weights(timm.optim.Lars, steady))
    assert (weights(Lars, falling) - weights(timm.optim.Lars, falling)).abs().max() > 1e-4


def test_lars_moves_weights_of_zero() -> None:
    config = settings(optimiser="lars", warmup_epochs=0.0)
    method = Pulled()
    method.matrix.data.zero_()
    optimiser = make_optimiser(method, config)
    moment = Moment(0, EPOCHS, 0, EPOCHS * STEPS_PER_EPOCH)
    schedule(optimiser, config, 64, STEPS_PER_EPOCH, moment)
    optimise(method, optimiser, Batch({}, (), torch.empty(0)), config, ALONE, moment)
    assert method.matrix[0, 0].item() == pytest.approx(-optimiser.param_groups[0]["lr"] * GRADIENTS[0])
    assert method.matrix.isfinite().all()
