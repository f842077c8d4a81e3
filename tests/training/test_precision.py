"""bf16 on a CPU: refused where torch gets gradients wrong, right where it is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import tiny
from torch import nn

from benchmark.errors import BenchError
from benchmark.models.backbones import build_backbone
from benchmark.plan.sections import ModelConfig
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.training.step import refuse_lost_gradients

CPU = torch.device("cpu")
SMALL = ModelConfig(backbone="resnet10t", args={"channels": [32, 64, 128, 256]}, drop_path=0.0)


def guarded(precision: str, size: int) -> nn.Module:
    torch.manual_seed(0)
    network, _ = build_backbone(SMALL, size, size, 0.0)
    refuse_lost_gradients(network, CPU, precision)
    return network


def test_a_strided_convolution_of_one_pixel_is_refused_in_bf16() -> None:
    network = guarded("bf16", 16)
    with pytest.raises(
        BenchError, match=r"train\.precision: bf16 .*layer4\.0\.conv1.* 1x1 pixels; allowed: fp32"
    ) as said:
        network(torch.randn(2, 3, 16, 16))
    assert "\n" not in str(said.value)
    network(torch.randn(2, 3, 32, 32))  # two pixels are enough
    network.eval()(torch.randn(2, 3, 16, 16))  # no gradients are asked for
    guarded("fp32", 16)(torch.randn(2, 3, 16, 16))


def test_what_is_allowed_has_the_gradients_of_float32() -> None:
    """Among memory full of NaN, which is what a gradient that nobody wrote would be made of."""
    network = guarded("bf16", 32)
    images = torch.randn(64, 3, 32, 32)
    found = []
    for enabled in (True, False):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            answer = network(images).float().square().mean()
        litter = [torch.full((1 << bits,), float("nan")) for bits in (12, 14, 16, 18, 20) for _ in range(4)]
        del litter
        answer.backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))  # type: ignore[union-attr]
    assert torch.isfinite(found[0]).all()
    assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.98


def test_training_refuses_it_in_one_line(mini_data: Path, tmp_path: Path) -> None:
    model = {"backbone": SMALL.backbone, "args": SMALL.args, "drop_path": 0.0}
    config = tiny(model=model, train={"precision": "bf16"})
    with pytest.raises(BenchError, match=r"layer4\.0\.conv1"):
        run(config, tmp_path, mini_data, Runtime("cpu", threads=1))
