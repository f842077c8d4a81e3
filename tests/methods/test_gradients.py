"""Gradients against differences of the loss: whatever a loss reads, the network is told of, and by as much as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark import methods
from benchmark.methods.base import Batch, Moment, OneNetwork
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate

CASES: dict[str, dict[str, Any]] = {
    "simclr": {"method": {"name": "simclr"}},
    "simclr, swapped backgrounds": {
        "method": {"name": "simclr"},
        "views": {"background": "swaps"},
    },
    "csi": {"method": {"name": "csi"}},
    "rotation": {"method": {"name": "rotation"}},
    "rotation and shifts": {"method": {"name": "rotation", "shift": 8}},
    "classifier with rotations": {"method": {"name": "classifier", "classes": 4, "rotation_weight": 0.7}},
    "outliers": {
        "method": {"name": "outlier-exposure", "classes": 4, "rotation_weight": 0.7},
        "variant": "imgn",
        "negatives": {"weight": 0.5},
    },
}


def build(changes: dict[str, Any]) -> OneNetwork:
    """In float64, so that a difference of two losses is known to many digits."""
    raw = {
        "in_dist": "mini",
        "model": {"backbone": "small_convnet", "args": {"width": 4}, "drop_path": 0.0},
        "train": {"epochs": 2, "batch": 6, "warmup_epochs": 0.5},
        "eval": {"ood": ["mini-ood"], "knn": [5]},
    }
    config: RunConfig = validate(RunConfig, {**raw, **changes}, "test")
    torch.manual_seed(0)
    made = methods.build(config, torch.device("cpu"))
    assert isinstance(made, OneNetwork)
    made.network.double().train()
    return made


def batch_of(method: OneNetwork) -> Batch:
    """Coarse images of as many views as the method asks for, 6 of each, and their turned copies."""
    rng, recipe = torch.Generator().manual_seed(1), method.batch_recipe()

    def views(count: int, turned: bool) -> Tensor:
        coarse = torch.rand(6 * count, 3, 8, 8, generator=rng, dtype=torch.float64)
        plain = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
        return torch.cat([plain.rot90(turn, (2, 3)) for turn in range(4 if turned else 1)])

    def blocks(some: Any) -> dict[str, Tensor]:
        return {
            name: views(sum(spec.count for spec in block.specs), block.four_rotations) for name, block in some.items()
        }

    negatives = tuple(blocks(recipe.negatives) for _ in method.config.kinds())
    return Batch(blocks(recipe.positives), negatives, torch.arange(6) % 4)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_what_each_term_changes_by(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each part of the network, along ways drawn at random: (loss(w + e v) - loss(w - e v)) / 2 e is the gradient
    times v, with a step so small that few of the rectified and pooled numbers turn over. Terms are looked at one by
    one: what one of them is not told of need not show in their sum."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # losses are computed in float32, which would blur differences
    method, step, rng = build(CASES[name]), 1e-7, torch.Generator().manual_seed(3)
    batch = batch_of(method)

    def losses() -> dict[str, Tensor]:
        torch.manual_seed(2)  # of the shifts
        return method.losses(batch, Moment(1, 2, 6, 10))

    for term in losses():
        for part, module in method.network.named_children():
            weights = list(module.parameters())
            slopes = torch.autograd.grad(losses()[term], weights, materialize_grads=True)
            size = float(torch.cat([slope.flatten() for slope in slopes]).norm())
            for _ in range(2):
                way = [torch.randn(weight.shape, generator=rng, dtype=weight.dtype) for weight in weights]
                found = []
                with torch.no_grad():
                    for by in (step, -2 * step):
                        torch._foreach_add_(weights, way, alpha=by)
                        found.append(float(losses()[term]))
                    torch._foreach_add_(weights, way, alpha=step)
                expected = sum(float((slope * each).sum()) for slope, each in zip(slopes, way, strict=True))
                # Of a way of unit numbers the product is as large as the gradient, more or less.
                assert (found[0] - found[1]) / (2 * step) == pytest.approx(expected, abs=1e-3 * size + 1e-6), (
                    term,
                    part,
                )
