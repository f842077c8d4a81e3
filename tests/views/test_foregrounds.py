"""Saliency, masks and what is made of them: against loops in float64, against the built-in images' true masks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from benchmark.data import synthetic
from benchmark.errors import BenchError
from benchmark.views import foregrounds as kept_foregrounds
from benchmark.views import saliency
from benchmark.views.foregrounds import GREY, Foregrounds, compose, fill_in, pack, unpack


def images(count: int, side: int = 12, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def square(side: int = 16) -> tuple[Tensor, Tensor]:
    """A red square, not in the middle, on grey; and where it is."""
    made, mask = torch.full((1, 3, side, side), 120, dtype=torch.uint8), torch.zeros(1, side, side, dtype=torch.bool)
    mask[:, 4:10, 5:12] = True
    made[0, 0][mask[0]], made[0, 1][mask[0]] = 220, 40
    return made, mask


# --- saliency -----------------------------------------------------------------------------------------------------


def test_lab_by_its_formula() -> None:
    some = images(1, 4)
    found = saliency.lab(some)
    for y, x in itertools.product(range(4), range(4)):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (some[0, :, y, x] / 255).tolist()
        ]
        rows = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
        xyz = [sum(a * b for a, b in zip(row, linear, strict=True)) for row in rows]
        ratio = [value / white for value, white in zip(xyz, (0.95047, 1.0, 1.08883), strict=True)]
        f = [t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in ratio]
        expected = [116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])]
        assert found[0, :, y, x].tolist() == pytest.approx(expected, abs=2e-3)
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    assert saliency.lab(white)[0, :, 0, 0].tolist() == pytest.approx([100, 0, 0], abs=0.02)


def test_the_barrier_is_never_below_the_exact_one_and_mostly_equal() -> None:
    """Exact: the narrowest band of values through which the border is reached, by flooding within each band."""
    values = torch.randint(0, 9, (6, 1, 7, 7), generator=torch.Generator().manual_seed(3)).float()
    found = saliency.barrier(values)
    equal = total = 0
    for number in range(6):
        grid = values[number, 0].numpy()
        exact = np.full(grid.shape, np.inf)
        levels = np.unique(grid)
        for low, high in itertools.combinations_with_replacement(levels, 2):
            allowed = (grid >= low) & (grid <= high)
            reached = np.zeros_like(allowed)
            reached[[0, -1]], reached[:, [0, -1]] = True, True
            reached &= allowed
            while True:
                grown = reached.copy()
                grown[1:] |= reached[:-1]
                grown[:-1] |= reached[1:]
                grown[:, 1:] |= reached[:, :-1]
                grown[:, :-1] |= reached[:, 1:]
                grown &= allowed
                if (grown == reached).all():
                    break
                reached = grown
            exact[reached] = np.minimum(exact[reached], high - low)
        mine = found[number, 0].numpy()
        assert (mine >= exact - 1e-6).all()
        assert (mine[[0, -1]] == 0).all() and (mine[:, [0, -1]] == 0).all()
        equal, total = equal + int((np.abs(mine - exact) < 1e-6).sum()), total + grid.size
    assert equal / total > 0.9


def test_blur_is_a_gaussian_and_keeps_what_is_flat() -> None:
    spot = torch.zeros(1, 1, 21, 21)
    spot[0, 0, 10, 10] = 1
    blurred = saliency.blur(spot, 1.5)[0, 0]
    ratio = float(blurred[10, 12] / blurred[10, 10])
    assert ratio == pytest.approx(math.exp(-4 / (2 * 1.5**2)), rel=1e-4) and float(blurred.sum()) == pytest.approx(1)
    flat = torch.full((1, 2, 5, 5), 3.0)
    torch.testing.assert_close(saliency.blur(flat, 2.0), flat)


@pytest.mark.parametrize(("sigma", "reach"), [(0.4, 2), (1.5, 5), (2.0, 6)])
def test_blur_is_scipys_with_its_borders_repeated(sigma: float, reach: int) -> None:
    """Cut at three deviations, and of images that are wider than high too."""
    maps = torch.rand(2, 3, 13, 17, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = scipy.ndimage.gaussian_filter(maps.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=reach)
    np.testing.assert_allclose(saliency.blur(maps, sigma).numpy(), expected, rtol=1e-12)


def test_otsu_parts_by_the_largest_variance_between() -> None:
    maps = (
        torch.rand(4, 9, 9, generator=torch.Generator().manual_seed(1)) ** 3
        * torch.tensor([1, 5, 0.2, 30])[:, None, None]
    )
    found = saliency.otsu(maps)
    for one, threshold in zip(maps.double().numpy(), found.tolist(), strict=True):
        low, span = one.min(), one.max() - one.min()

        def between(cut: float, one: np.ndarray = one, low: float = low, span: float = span) -> float:
            bins = np.clip(((one - low) / span * saliency.BINS).astype(int), 0, saliency.BINS - 1)
            under = bins < round((cut - low) / span * saliency.BINS)
            if under.all() or not under.any():
                return 0.0
            return float(under.mean() * (1 - under.mean()) * (bins[under].mean() - bins[~under].mean()) ** 2)

        best = max(between(low + span * k / saliency.BINS) for k in range(1, saliency.BINS))
        assert between(threshold) == pytest.approx(best, rel=1e-5)
    assert saliency.otsu(torch.full((1, 3, 3), 2.0)).item() == 2.0


# --- masks --------------------------------------------------------------------------------------------------------


def test_masks_of_the_built_in_images_are_where_the_object_is_drawn() -> None:
    pictures, _ = synthetic.generate("synthetic", "test")
    masks = synthetic.masks("synthetic", "test")
    assert masks.shape == pictures.shape[:3] and masks.dtype == bool
    share = masks.mean((1, 2))
    assert share.min() > 0.05 and share.max() < 0.7 and 0.15 < share.mean() < 0.35
    assert masks[:, 12:20, 12:20].mean() > 3 * masks[:, :3].mean()  # objects stand in the middle
    with pytest.raises(BenchError, match="synthetic-textures: its images are not all of an object"):
        synthetic.masks("synthetic-textures", "test")
    with pytest.raises(BenchError, match="split of synthetic"):
        synthetic.masks("synthetic", "aux")


def test_what_stands_in_front_of_an_object_is_not_of_it() -> None:
    random = np.random.Generator(np.random.PCG64(0))
    canvas, cover = np.full((300, 32, 32, 3), 0.5, np.float32), np.ones((300, 32, 32), np.float32)
    synthetic._occlude(canvas, random, cover)
    painted = np.abs(canvas - 0.5).max(3) > 1e-3
    assert 0.1 < painted.any((1, 2)).mean() < 0.35  # two of ten images
    assert (cover[painted] < 1).all() and (cover[~painted & (np.abs(canvas - 0.5).max(3) == 0)] == 1).all()


def test_the_middle_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saliency, "minimum_barrier", lambda images: torch.ones(len(images), *images.shape[2:]))
    mask = saliency.foreground(images(1, 32))[0]
    assert mask[14:18, 14:18].all() and not mask[:3, :3].any() and not mask[-3:, -3:].any()


def test_the_preference_for_the_middle_falls_to_a_half_in_the_corners(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Gaussian of 0.6 sides: what Otsu's threshold is given for a flat map."""
    seen: list[Tensor] = []
    honest = saliency.otsu
    monkeypatch.setattr(saliency, "minimum_barrier", lambda images: torch.ones(len(images), *images.shape[2:]))
    monkeypatch.setattr(saliency, "otsu", lambda found: honest(seen.append(found) or found))
    saliency.foreground(images(1, 20))
    for y, x in itertools.product((0, 3, 9, 19), repeat=2):
        away = ((y + 0.5) / 20 - 0.5) ** 2 + ((x + 0.5) / 20 - 0.5) ** 2
        assert float(seen[0][0, y, x]) == pytest.approx(math.exp(-away / (2 * 0.36)), rel=1e-6)
    assert float(seen[0][0, 0, 0]) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(("pixels", "found"), [(7, True), (8, False), (392, False), (393, True)])
def test_a_foreground_of_less_than_a_fiftieth_or_of_nearly_all_is_none(
    pixels: int, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 400 pixels: 2 % are 8, 98 % are 392. Then the whole image is taken, for a mask that says nothing."""
    salient = (torch.arange(400).view(1, 20, 20) < pixels).double()
    monkeypatch.setattr(saliency, "minimum_barrier", lambda images: salient)
    monkeypatch.setattr(saliency, "_middle", lambda images: torch.ones(20, 20))
    mask = saliency.foreground(images(1, 20))
    assert bool(mask.all()) == found and (found or int(mask.sum()) == pixels)


def iou(one: Tensor, other: Tensor) -> float:
    return float(((one & other).sum((1, 2)) / (one | other).sum((1, 2)).clamp_min(1)).mean())


def test_objects_are_found_better_than_by_a_disc_in_the_middle() -> None:
    pictures = torch.from_numpy(synthetic.generate("synthetic", "test")[0][:200]).permute(0, 3, 1, 2)
    truth = torch.from_numpy(synthetic.masks("synthetic", "test")[:200])
    found = iou(saliency.foreground(pictures), truth)
    rows, columns = np.mgrid[:32, :32]
    disc = torch.from_numpy((rows - 15.5) ** 2 + (columns - 15.5) ** 2 < 11**2).expand(200, -1, -1)
    assert found > 0.7 and found > iou(disc, truth) + 0.2


def test_a_square_is_found_whatever_else_is_in_the_batch() -> None:
    made, mask = square()
    assert iou(saliency.foreground(made), mask) > 0.9
    among = torch.cat([images(3, 16), made])
    assert torch.equal(saliency.foreground(among)[3:], saliency.foreground(made))


def test_a_large_image_has_the_mask_of_its_small_form() -> None:
    made, mask = square()
    large = made.repeat_interleave(16, 2).repeat_interleave(16, 3)  # 256 pixels
    found = saliency.foreground(large)
    assert found.shape == (1, 256, 256) and iou(found, mask.repeat_interleave(16, 1).repeat_interleave(16, 2)) > 0.9


def test_where_there_is_nothing_to_find_the_whole_image_is_foreground() -> None:
    blank = torch.full((2, 3, 16, 16), 77, dtype=torch.uint8)
    assert saliency.foreground(blank).all()


def test_masks_are_found_once_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    made, mask = square()
    every = torch.cat([made, torch.full_like(made, 9), made.flip(3)])
    asked: list[int] = []
    honest = saliency.foreground

    def counted(some: Tensor) -> Tensor:
        asked.append(len(some))
        return honest(some)

    monkeypatch.setattr("benchmark.views.foregrounds.foreground", counted)
    kept = Foregrounds(3)
    first = kept.masks(torch.tensor([2, 1]), every[[2, 1]])
    assert (kept.seen, kept.whole) == (2, 1) and first[1].all() and not first[0].all()
    again = kept.masks(torch.tensor([0, 1, 2]), every)
    assert asked == [2, 1] and (kept.seen, kept.whole) == (3, 1)
    assert torch.equal(again[2], first[0]) and torch.equal(again[0].flip(1), again[2])
    assert iou(again[:1], mask) > 0.9


@pytest.mark.parametrize(("height", "width"), [(16, 16), (3, 5), (1, 8)])
def test_masks_are_packed_as_numpy_packs_bits(height: int, width: int) -> None:
    masks = torch.rand(7, height, width, generator=torch.Generator().manual_seed(3)) < 0.4
    packed = pack(masks)
    expected = np.packbits(masks.numpy().reshape(7, -1), axis=1, bitorder="little")
    assert packed.dtype == torch.uint8 and np.array_equal(packed.numpy(), expected)
    assert torch.equal(unpack(packed, height, width), masks)


def test_masks_that_are_known_are_not_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.views.foregrounds.foreground", None)
    masks = torch.rand(4, 12, 12, generator=torch.Generator().manual_seed(0)) < 0.5
    kept = Foregrounds(4, pack(masks))
    index = torch.tensor([3, 0, 3])
    assert torch.equal(kept.masks(index, images(4)[index]), masks[index]) and (kept.seen, kept.whole) == (4, 0)


def test_backgrounds_are_filled_in_once_and_only_kept_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    every = torch.cat([square()[0], square()[0].flip(3), images(1, 16)])
    expected = fill_in(every, saliency.foreground(every))
    asked: list[int] = []

    def counted(some: Tensor, masks: Tensor) -> Tensor:
        asked.append(len(some))
        return fill_in(some, masks)

    monkeypatch.setattr("benchmark.views.foregrounds.fill_in", counted)
    for room, calls in ((1 << 20, [2, 1]), (3 * 3 * 16 * 16, [2, 1]), (3 * 3 * 16 * 16 - 1, [2, 3])):
        monkeypatch.setattr(kept_foregrounds, "BACKGROUND_BYTES", room)
        asked.clear()
        kept = Foregrounds(3)
        index = torch.tensor([2, 0])
        assert torch.equal(kept.backgrounds(index, every[index]), expected[index])
        assert torch.equal(kept.backgrounds(torch.arange(3), every), expected) and asked == calls


# --- put together anew --------------------------------------------------------------------------------------------


def test_a_background_is_filled_in_from_around() -> None:
    made, mask = square()
    filled = fill_in(made, mask)
    assert filled.dtype == torch.uint8 and (filled.int() - 120).abs().max() <= 1  # the grey goes on
    halves = made.clone()
    halves[:, :, :, :8] = 30
    halves[:, 0][mask], halves[:, 1][mask] = 220, 40
    filled = fill_in(halves, mask)
    outside = torch.nn.functional.max_pool2d(mask[:, None].float(), 3, 1, 1)[:, 0] == 0
    assert torch.equal(filled[:, :, outside[0]], halves[:, :, outside[0]])
    assert filled[0, 0, 7, 5] < filled[0, 0, 7, 11]  # dark on the left, bright on the right
    everything = torch.ones_like(mask)
    assert (fill_in(made, everything) == GREY).all()


def test_a_pixel_is_filled_in_from_as_near_as_a_fiftieth_of_what_is_around_it_is_known() -> None:
    """Against scipy's Gaussian, pixel by pixel: the first of the widths 1, 2, 4, ... that sees enough."""
    seen, mask = images(1, 32, seed=3), torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[:, 8:21, 9:23] = True
    hidden = scipy.ndimage.maximum_filter(mask[0].numpy(), 3)
    expected = seen[0].double().numpy()
    widths = np.full((32, 32), -1)
    for width in (8, 4, 2, 1):  # a nearer one writes over a farther one
        share, *colours = (
            scipy.ndimage.gaussian_filter(plane * ~hidden, width, mode="nearest", radius=3 * width)
            for plane in (np.ones((32, 32)), *seen[0].double().numpy())
        )
        here = hidden & (share > 0.02)
        expected[:, here], widths[here] = np.stack(colours)[:, here] / share[here], width
    assert set(widths[hidden].tolist()) == {1, 2, 4}
    assert np.abs(fill_in(seen, mask, torch.float64)[0].numpy() - expected).max() <= 0.51


def test_a_composition_has_the_foreground_and_the_other_background() -> None:
    made, mask = square(32)
    behind = images(1, 32, seed=5)
    joined = compose(made, mask, behind)
    inner = -torch.nn.functional.max_pool2d(-mask[:, None].float(), 5, 1, 2)[0, 0] > 0.5
    outer = torch.nn.functional.max_pool2d(mask[:, None].float(), 5, 1, 2)[0, 0] < 0.5
    assert inner.any() and torch.equal(joined[:, :, inner], made[:, :, inner])
    assert torch.equal(joined[:, :, outer], behind[:, :, outer])
    assert not torch.equal(joined, made) and joined.dtype == torch.uint8


def test_what_a_foreground_leaves_beside_its_mask_is_no_background() -> None:
    """A rim, as blurred edges have it, a pixel wide around the mask: it is filled in too."""
    made, mask = square()
    rim = torch.nn.functional.max_pool2d(mask[:, None].float(), 3, 1, 1)[:, 0].bool() & ~mask
    made[0, :, rim[0]] = 250
    assert (fill_in(made, mask).int() - 120).abs().max() <= 1


@pytest.mark.parametrize("side", [32, 64, 128])
def test_the_seam_is_as_wide_in_a_larger_image_as_the_image_is_larger(side: int) -> None:
    """White before black along a straight edge: a Gaussian's integral, of 0.6 pixels in an image of 32."""
    mask = (torch.arange(side) >= side // 2).expand(1, side, side)
    joined = compose(torch.full((1, 3, side, side), 255, dtype=torch.uint8), mask, torch.zeros(1, 3, side, side))
    share = joined[0, 0, side // 2].double() / 255
    width = 0.6 * side / 32
    # The deviation of where the edge is, as the change from pixel to pixel has it.
    change, place = share.diff(), torch.arange(1, side) - side / 2
    assert float((change * place).sum()) == pytest.approx(0, abs=0.02)
    assert float((change * place**2).sum() ** 0.5) == pytest.approx(width, rel=0.06)
