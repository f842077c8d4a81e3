"""The transforms of negatives against NumPy and torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
import torchvision.transforms.functional as TF
from torch import Tensor
from view_references import (
    drawn_images,
    from_pil,
    generator,
    pil,
)

from benchmark.errors import BenchError
from benchmark.plan.sections import ViewsConfig
from benchmark.views import recipes, transforms

GLOBAL_ONE, GLOBAL_TWO, LOCAL = recipes.view_recipes(ViewsConfig(global_size=256, local_size=128))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_quarter_turns_are_rot90(dtype: torch.dtype) -> None:
    images = drawn_images(8).to(dtype)
    quarters = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
    before = images.clone()
    turned = transforms.rotate_quarters(images, quarters)
    for image, quarter, result in zip(images, quarters.tolist(), turned, strict=True):
        assert np.array_equal(result.numpy(), np.rot90(image.numpy(), quarter, axes=(1, 2)))
        assert torch.equal(
            result.byte(), torch.from_numpy(np.array(pil(image.byte()).rotate(90 * quarter))).permute(2, 0, 1)
        )
    assert torch.equal(images, before) and turned.dtype == dtype


@pytest.mark.parametrize("height, width", [(32, 32), (33, 33), (32, 20), (128, 128)])
def test_rotation_by_degrees_is_torchvisions(height: int, width: int) -> None:
    """Equal to torchvision but for pixels that fall between two: on tensors 1 in 1000, on Pillow images 5 in 1000."""
    images = drawn_images(12, height, width)
    degrees = torch.tensor([0, 1.5, 33, 45.2, 89, 120, 179, 200.7, 251, 300, 345.6, 359])
    turned = transforms.rotate_degrees(images, degrees)
    assert turned.dtype == torch.uint8 and torch.equal(turned[0], images[0])
    on_tensors = torch.stack([TF.rotate(image, float(d)) for image, d in zip(images, degrees, strict=True)])
    on_pillow = [TF.rotate(pil(image), float(d)) for image, d in zip(images, degrees, strict=True)]
    assert (turned != on_tensors).float().mean() < 1e-3
    assert (turned != (from_pil(on_pillow) * 255).round().byte()).float().mean() < 5e-3
    assert (turned[3, :, 0, 0] == 0).all()  # a corner


@pytest.mark.parametrize("grid", [(4, 4), (2, 2), (1, 2), (2, 4)])
def test_patches_are_permuted(grid: tuple[int, int]) -> None:
    images = drawn_images(5, 32, 16)
    rows, columns = grid
    order = torch.rand(5, rows * columns, generator=generator()).argsort(1)
    result = transforms.permute_patches(images, order, grid)
    height, width = 32 // rows, 16 // columns

    def patch(image: Tensor, number: int) -> Tensor:
        row, column = divmod(number, columns)
        return image[:, row * height : (row + 1) * height, column * width : (column + 1) * width]

    for b in range(5):
        for i in range(rows * columns):
            assert torch.equal(patch(result[b], i), patch(images[b], int(order[b, i])))


def test_pixels_are_permuted_alike_in_all_channels() -> None:
    images = drawn_images(3, 6, 5)
    order = torch.rand(3, 30, generator=generator()).argsort(1)
    result = transforms.permute_pixels(images, order)
    for b in range(3):
        for i in range(30):
            source = divmod(int(order[b, i]), 5)
            assert torch.equal(result[b, :, i // 5, i % 5], images[b, :, source[0], source[1]])


def numbered(count: int, size: int = 4) -> Tensor:
    return torch.arange(size * size).reshape(1, 1, size, size).repeat(count, 1, 1, 1).float()


@pytest.mark.parametrize("name, outcomes", [("none", 1), ("rot", 3), ("rot360", 4), ("perm-4", 24)])
def test_draws_of_negatives_are_uniform(name: str, outcomes: int) -> None:
    count = 4000
    result = transforms.draw_negative(name, count, generator())(numbered(count)).flatten(1).numpy()
    kinds, counts = np.unique(result, axis=0, return_counts=True)
    assert len(kinds) == outcomes
    assert outcomes == 1 or scipy.stats.chisquare(counts).pvalue > 0.01
    untouched = (kinds == numbered(1).flatten().numpy()).all(1).any()
    assert untouched == (name != "rot")


def test_pixel_orders_are_uniform_and_differ_between_images() -> None:
    count = 8000
    result = transforms.draw_negative("pixels", count, generator())(numbered(count)).flatten(1).long()
    assert torch.equal(result.sort(1).values, torch.arange(16).expand(count, 16))
    table = torch.stack([torch.bincount(result[:, i], minlength=16) for i in range(16)])
    assert scipy.stats.chi2_contingency(table.numpy()).pvalue > 0.01
    assert len(result.unique(dim=0)) == count


def test_any_angle_rotates_by_any_angle() -> None:
    images = drawn_images(300)
    turned = transforms.draw_negative("rot360", 300, generator(), rot360="any-angle")(images)
    quarters = torch.stack([images.rot90(k, (2, 3)) for k in range(4)])
    assert (turned == quarters).flatten(2).all(2).any(0).float().mean() < 0.1
    corner_is_black = (turned[:, :, 0, 0] == 0).all(1).float().mean()
    assert corner_is_black > 0.8


@pytest.mark.parametrize("name", ["none", "rot", "rot360", "perm-16", "pixels", "patch-rot"])
def test_a_drawn_negative_stays_what_it_is(name: str) -> None:
    images = drawn_images(6)
    operation = transforms.draw_negative(name, 6, generator(5))
    state = torch.get_rng_state()
    first = operation(images)
    assert torch.equal(first, operation(images)) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, transforms.draw_negative(name, 6, generator(5))(images))
    assert name == "none" or not torch.equal(first, transforms.draw_negative(name, 6, generator(6))(images))
    assert operation.before_colours == ("rot" in name)  # and so belongs before the colours


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [8, 32, 33])
def test_a_patch_is_turned_where_it_stands(size: int, memory: torch.memory_format) -> None:
    images, side = drawn_images(7, size, size).contiguous(memory_format=memory), size // 2
    places = torch.rand(7, 2, generator=generator(1), dtype=torch.float64)
    numbers = torch.cat([torch.tensor([[1], [2], [3], [1], [2], [3], [2]]), places], dim=1)
    numbers[0, 1:], numbers[1, 1:] = 0.0, 1 - 1e-12  # the first and the last place
    before, result = images.clone(), transforms.turn_patch(images, numbers)
    for b in range(7):
        top, left = (int(share * (size - side + 1)) for share in numbers[b, 1:].tolist())
        expected = images[b].numpy().copy()
        patch = expected[:, top : top + side, left : left + side]
        expected[:, top : top + side, left : left + side] = np.rot90(patch, int(numbers[b, 0]), (1, 2)).copy()
        assert np.array_equal(result[b].numpy(), expected)
    assert torch.equal(images, before)


def test_patches_are_drawn_over_all_places_and_turns() -> None:
    drawn = transforms.draw_negative("patch-rot", 6000, generator()).numbers
    turns, counts = drawn[:, 0].unique(return_counts=True)
    assert turns.tolist() == [1, 2, 3] and scipy.stats.chisquare(counts.numpy()).pvalue > 0.01
    for share in drawn[:, 1:].T.numpy():
        assert scipy.stats.kstest(share, "uniform").pvalue > 0.01


def test_a_blend_is_the_weighted_mean_rounded() -> None:
    one, other, weights = drawn_images(3, 5, 5), drawn_images(3, 5, 5).flip(0), torch.tensor([0.3, 0.5, 0.7])
    result = transforms.blend(one, other, weights)
    assert result.dtype == torch.uint8
    for b, w in enumerate([0.3, 0.5, 0.7]):
        exact = w * one[b].double() + (1 - w) * other[b].double()
        assert (result[b] - exact).abs().max() <= 0.5 + 1e-4


def test_frequencies_are_joined_as_numpy_joins_them() -> None:
    one, other, cutoff = drawn_images(4, 16, 16), drawn_images(4, 16, 16).flip(0), [0.0, 2.0, 3.7, 30.0]
    result = transforms.join_frequencies(one, other, torch.tensor(cutoff))
    for b, limit in enumerate(cutoff):
        for channel in range(3):
            first, second = (np.fft.fft2(some[b, channel].numpy().astype(float)) for some in (one, other))
            for u in range(16):
                for v in range(16):
                    waves = np.hypot(min(u, 16 - u), min(v, 16 - v))
                    second[u, v] = first[u, v] if waves <= limit else second[u, v]
            exact = np.clip(np.fft.ifft2(second).real, 0, 255)
            assert np.abs(result[b, channel].numpy() - exact).max() <= 0.5 + 1e-3
    assert torch.equal(result[3], one[3])  # everything is coarse
    assert (
        result[0].float().mean((1, 2)) - one[0].float().mean((1, 2))
    ).abs().max() < 25  # clipped; the mean is its own


@pytest.mark.parametrize("name", sorted(transforms.JOINED))
def test_the_numbers_of_a_join_are_uniform_in_its_range(name: str) -> None:
    _, low, high = transforms.JOINED[name]
    numbers = transforms.draw_join(name, 3000, generator()).numpy()
    assert scipy.stats.kstest(numbers, "uniform", (low, high - low)).pvalue > 0.01


def test_what_is_joined_keeps_a_part_of_both() -> None:
    """A blend has 30 to 70 % of either; waves of up to 2 to 5 a side are the image's own."""
    ranges = {"blend": (0.3, 0.7), "frequencies": (2.0, 5.0)}
    assert set(transforms.JOINED) == set(ranges)
    for name, (low, high) in ranges.items():
        numbers = transforms.draw_join(name, 2000, generator())
        assert float(numbers.min()) == pytest.approx(low, abs=0.01 * (high - low))
        assert float(numbers.max()) == pytest.approx(high, abs=0.01 * (high - low))


def test_bad_names_and_patches_say_what_is_allowed() -> None:
    with pytest.raises(BenchError, match=r"unknown transform of negatives 'flip'.*perm-N"):
        transforms.draw_negative("flip", 2, generator())
    with pytest.raises(BenchError, match="rot360 'any'; allowed: any-angle, right-angles"):
        transforms.draw_negative("rot360", 2, generator(), rot360="any")
    with pytest.raises(BenchError, match="perm-9 does not divide an image of 32x32"):
        transforms.draw_negative("perm-9", 2, generator())(drawn_images(2))
