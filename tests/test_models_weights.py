"""The weights that networks and heads begin with, and the sizes of what flows through them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.models.backbones import build_backbone
from benchmark.models.heads import DinoHead, TextHead
from benchmark.plan.methods import DinoConfig
from benchmark.plan.sections import ModelConfig


def build(name: str, **args: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(ModelConfig(backbone=name, args=args), 32, 16, 0.0)[0]


@pytest.mark.parametrize("name", ["small_convnet", "wide_resnet40_2"])
def test_convolutions_begin_as_he_et_al_have_it_for_the_gradients(name: str) -> None:
    """He et al. 2015, Eq. 14: variance 2 / (taps x channels out), so that gradients keep their size on the way back."""
    layers = [layer for layer in build(name).modules() if isinstance(layer, nn.Conv2d)]
    assert any(layer.in_channels != layer.out_channels for layer in layers)
    for layer in layers:
        weight = layer.weight.detach().double()
        taps = weight.shape[2] * weight.shape[3]
        # The deviation of n numbers is known to a share of 1 / sqrt(2 n): five of those.
        bound = 5 / (2 * weight.numel()) ** 0.5
        assert float(weight.std()) == pytest.approx((2 / (taps * layer.out_channels)) ** 0.5, rel=bound)
        assert abs(float(weight.mean())) < 5 * float(weight.std()) / weight.numel() ** 0.5


def test_what_mixes_the_filters_of_the_stem_begins_by_what_comes_in() -> None:
    """27 answers of unit variance: the variance is 2 / 27, whatever the width."""
    for width in (64, 128):
        mix: Tensor = build("small_convnet", width=width, stem="frequency").blocks[0].mix.weight.detach()  # type: ignore
        assert mix.shape == (width, 27, 1, 1)
        assert float(mix.double().std()) == pytest.approx((2 / 27) ** 0.5, rel=5 / (2 * mix.numel()) ** 0.5)


def test_heads_begin_with_small_weights_and_without_biases() -> None:
    """The authors' head: a deviation of 0.02, and unit rows in the last layer, so that logits are cosines."""
    torch.manual_seed(0)
    sizes = DinoConfig(classes=64, head_hidden=128, head_bottleneck=32)
    dino, text = DinoHead(48, sizes), TextHead(48, sizes)
    layers = [layer for head in (dino, text) for layer in head.modules() if isinstance(layer, nn.Linear)]
    assert len(layers) == 5
    for layer in layers:
        weight = layer.weight.detach().double()
        assert float(weight.std()) == pytest.approx(0.02, rel=5 / (2 * weight.numel()) ** 0.5)
        assert not layer.bias.detach().any()
    assert (dino.scale == 1).all() and float(dino(torch.randn(20, 48)).detach().abs().max()) <= 1 + 1e-6


def test_a_wide_network_halves_its_images_between_its_groups() -> None:
    """Zagoruyko and Komodakis 2016, table 1: 32, 16 and 8 pixels, six blocks each."""
    network = build("wide_resnet40_2").eval()
    sides: list[int] = []
    for block in network.blocks:  # type: ignore[union-attr]
        block.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    network(torch.zeros(1, 3, 32, 32))
    assert sides == [32] * 6 + [16] * 6 + [8] * 6
