"""The networks for images of 32 pixels: their layers counted by hand, and the form they have in memory."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark.errors import BenchError
from benchmark.models.backbones import build_backbone, convolves, create, keep_statistics, normalises_over_images
from benchmark.plan.sections import ModelConfig

NAMES = ("small_convnet", "wide_resnet40_2", "resnet18_small")


def build(name: str, **args: object) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(ModelConfig(backbone=name, args=args), 32, 16, 0.0)[0]  # type: ignore[arg-type]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_are_those_of_the_papers() -> None:
    """With ten outputs, ResNet-18 with a 3x3 stem has 11,173,962, WRN-40-2 has 2,243,546 (11.2 M and 2.2 M)."""
    assert parameters(build("resnet18_small")) + 512 * 10 + 10 == 11_173_962
    by_hand, inside = 3 * 3 * 3 * 16, 16
    for outside in (32, 64, 128):
        for number in range(6):
            by_hand += 9 * inside * outside + 9 * outside * outside + 2 * inside + 2 * outside
            by_hand += inside * outside if number == 0 else 0
            inside = outside
    by_hand += 2 * 128
    assert parameters(build("wide_resnet40_2")) == by_hand == 2_243_546 - 128 * 10 - 10


def test_the_cpu_net_is_as_its_docstring_says() -> None:
    network = build("small_convnet", width=8)
    shapes = [(3, 8), (8, 16), (16, 16), (16, 32), (32, 32), (32, 32)]
    assert parameters(network) == sum(9 * inside * outside + 2 * outside for inside, outside in shapes)
    sides: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    network.blocks.register_forward_hook(lambda _, __, out: seen.append(out))  # type: ignore[union-attr]
    features = network.eval()(images)
    assert features.shape == (2, 32) and sides == [32, 16, 16, 8, 8, 8]
    torch.testing.assert_close(features, torch.tensor(seen[0].detach().double().numpy().mean((2, 3))).float())
    assert float(seen[0].detach().min()) >= 0  # rectified to the last


def test_the_frequency_stem_answers_as_written_out() -> None:
    """Each of the 27 filters as products of cosines in plain loops, scaled to unit variance over the batch, mixed."""
    images = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    network: Any = build("small_convnet", width=8, stem="frequency")
    stem = network.blocks[0]
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1)).double().numpy()
    colours = [[1 / 3**0.5] * 3, [0.5**0.5, 0, -(0.5**0.5)], [1 / 6**0.5, -2 / 6**0.5, 1 / 6**0.5]]
    answers = np.zeros((4, 27, 6, 6))
    for u, v, c in np.ndindex(3, 3, 3):
        for y, x, d in np.ndindex(3, 3, 3):
            down = np.cos(np.pi * (2 * y + 1) * u / 6) * (1 / 3 if u == 0 else 2 / 3) ** 0.5
            across = np.cos(np.pi * (2 * x + 1) * v / 6) * (1 / 3 if v == 0 else 2 / 3) ** 0.5
            part = padded[:, d, y : y + 6, x : x + 6]
            answers[:, 9 * u + 3 * v + c] += down * across * colours[c][d] * part
    unit = (answers - answers.mean((0, 2, 3), keepdims=True)) / (answers.var((0, 2, 3), keepdims=True) + 1e-5) ** 0.5
    expected = np.einsum("oi,bixy->boxy", stem.mix.weight.detach().double().numpy()[:, :, 0, 0], unit)
    torch.testing.assert_close(stem.train()(images).double(), torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_the_filters_of_the_stem_stay_as_they_are_and_no_two_are_alike() -> None:
    network = build("small_convnet", width=8, stem="frequency")
    filters = network.blocks[0].filters.flatten(1).double()  # type: ignore[index]
    torch.testing.assert_close(filters @ filters.T, torch.eye(27, dtype=torch.float64), atol=1e-6, rtol=0)
    plain = build("small_convnet", width=8)
    assert parameters(network) == parameters(plain) - 27 * 8 + 27 * 8  # the mixing weights; nothing else is learnt
    assert len(network.state_dict()) == len(plain.state_dict()) + 4  # filters, mean, variance and count


def test_the_cpu_net_keeps_the_largest_of_2x2_pixels() -> None:
    blocks = list(build("small_convnet", width=8).blocks)  # type: ignore[arg-type]
    pools = [place for place, module in enumerate(blocks) if isinstance(module, nn.MaxPool2d)]
    assert pools == [3, 10]
    image = torch.tensor([[[[1.0, 5.0], [2.0, 3.0]]]])
    assert [float(blocks[place](image)) for place in pools] == [5.0, 5.0]


@pytest.mark.parametrize("name", NAMES)
def test_a_network_sees_32_pixels_at_full_size(name: str) -> None:
    """The first convolution is 3x3 without a stride, and neither network of the literature pools after it."""
    network = build(name).eval()
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert convolutions[0].stride == (1, 1) and convolutions[0].kernel_size == (3, 3)
    sizes: list[int] = []
    convolutions[0].register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
    convolutions[1].register_forward_hook(lambda _, given, __: sizes.append(given[0].shape[-1]))
    network(torch.zeros(1, 3, 32, 32))
    assert sizes == ([32, 16] if name == "small_convnet" else [32, 32])


@pytest.mark.parametrize("name", NAMES)
def test_networks_of_convolutions_are_channels_last_and_compute_the_same(name: str) -> None:
    network = build(name)
    last = torch.channels_last
    assert all(p.is_contiguous(memory_format=last) for p in network.parameters() if p.ndim == 4)
    out: list[Tensor] = []
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    convolutions[-1].register_forward_hook(lambda _, __, result: out.append(result))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    assert not next(p for p in plain.parameters() if p.ndim == 4 and p.shape[1] > 1).is_contiguous(memory_format=last)
    features, expected = network.eval()(images), plain.eval()(images)
    assert out[0].is_contiguous(memory_format=last)  # from images that are not
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_a_transformer_keeps_its_form() -> None:
    network = build("vit_tiny_patch16_224", patch_size=8, embed_dim=24, depth=1, num_heads=2)
    assert not convolves(network)
    assert not network.patch_embed.proj.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore


def test_the_wide_blocks_add_their_input() -> None:
    """A block whose convolutions are zero gives back its input, or, where the width changes, its shortcut alone."""
    network = build("wide_resnet40_2").eval()
    images = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    first, second = network.blocks[0], network.blocks[1]  # type: ignore[index]
    for block in (first, second):
        nn.init.zeros_(block.conv2.weight)
    after = first(images)
    active = torch.relu(images / (1 + 1e-5) ** 0.5)  # a fresh batch normalisation in evaluation
    torch.testing.assert_close(after, nn.functional.conv2d(active, first.shortcut.weight), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second(after), after)


def test_dropout_is_between_the_convolutions_of_a_wide_block() -> None:
    network = build("wide_resnet40_2", dropout=0.5).train()
    block: Any = network.blocks[1]  # type: ignore[index]
    given: list[Tensor] = []
    block.dropout.register_forward_hook(lambda _, arguments, out: given.extend((arguments[0], out)))
    block.conv2.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    network(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    before, after, convolved = given
    assert after is convolved and float(before.min()) == 0 < float(before.max())
    kept = after != 0
    assert 0.4 < float(kept[before > 0].float().mean()) < 0.6
    assert build("wide_resnet40_2").blocks[0].dropout.p == 0.3  # type: ignore[index,union-attr]


def test_normalisation_by_groups_sees_each_image_alone() -> None:
    assert normalises_over_images(build("small_convnet"))
    network = build("small_convnet", norm="group").train()
    assert not normalises_over_images(network)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images)[:2], network(images[:2]), atol=1e-5, rtol=1e-4)


def test_kept_statistics_see_each_image_alone() -> None:
    network = build("small_convnet").train()
    keep_statistics(network)
    assert not normalises_over_images(network)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images)[:2], network(images[:2]), atol=1e-5, rtol=1e-4)


def test_deeper_blocks_are_dropped_more_often() -> None:
    network, _ = create(ModelConfig(backbone="wide_resnet40_2"), 32, drop_path_rate=0.2)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in network.blocks]  # type: ignore[union-attr]
    assert rates[0] == 0 and rates == sorted(rates) and rates[-1] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("small_convnet", {"norm": "layer"}, r"model\.args: .* do not fit small_convnet: norm 'layer'; allowed: batch"),
        (
            "small_convnet",
            {"stem": "dct"},
            r"model\.args: .* do not fit small_convnet: stem .dct.; allowed: plain, frequency",
        ),
        ("small_convnet", {"drop_path_rate": 0.1}, r"model\.args: drop_path_rate cannot be set here"),
        ("small_convnet", {"wide": 3}, r"model\.args: .* do not fit small_convnet: .*'wide'"),
        ("resnet18_small", {"width": 3}, r"model\.args: .* do not fit resnet18_small: .*'width'"),
    ],
)
def test_what_does_not_fit_is_one_line(name: str, args: dict[str, object], says: str) -> None:
    with pytest.raises(BenchError, match=says):
        build(name, **args)


def test_a_network_without_paths_refuses_to_drop_them() -> None:
    with pytest.raises(BenchError, match=r"small_convnet has no paths to drop: model\.drop_path must be 0"):
        build_backbone(ModelConfig(backbone="small_convnet"), 32, 16, 0.1)
