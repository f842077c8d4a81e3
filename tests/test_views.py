"""Views and negatives against Pillow, torchvision and SciPy, with the parameters of our own drawing.

Two kinds of reference: exact ones in floating point (tolerance 1e-4 of the range or tighter), and the paper's own
tool chain, torchvision on Pillow images, which rounds to 8 bits after each step, approximates the Gaussian by boxes
and turns hue in steps of 1/256. Distances to the latter are in levels of 255; the bounds are what was measured on
drawn and on real images, with a margin.
"""

from __future__ import annotations

import colorsys
import math
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms import ColorJitter, InterpolationMode, RandomResizedCrop

from benchmark.errors import BenchError
from benchmark.views import colours, crops, fused, recipes, render, transforms
from benchmark.views.recipes import ViewParams, ViewRecipe

OPERATIONS = ("brightness", "contrast", "saturation", "hue")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_images(count: int, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    """Smooth colour with hard edges and a little noise: uint8 [B, 3, H, W]."""
    rng = np.random.default_rng(seed)
    smooth = scipy.ndimage.gaussian_filter(rng.normal(size=(count, 3, height, width)), (0, 0, 4, 4), mode="wrap")
    edges = scipy.ndimage.gaussian_filter(rng.normal(size=(count, 1, height, width)), (0, 0, 3, 3), mode="wrap") > 0
    noise = 4 * rng.normal(size=smooth.shape)
    return torch.from_numpy((128 + 500 * smooth + 60 * edges * np.sign(smooth) + noise).clip(0, 255).astype(np.uint8))


def real_images(count: int) -> Tensor:
    folder = os.environ.get("BENCH_TEST_IMAGES")
    path = Path(folder or "") / "cifar10-test.npz"
    if not folder or not path.exists():
        pytest.skip("BENCH_TEST_IMAGES names no folder with cifar10-test.npz")
    with np.load(path, allow_pickle=False) as archive:
        return torch.from_numpy(archive["images"][:count]).permute(0, 3, 1, 2).contiguous()


def pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def from_pil(images: list[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images]) / 255


def denormalised(images: Tensor) -> Tensor:
    mean, std = torch.tensor(recipes.IMAGENET.mean), torch.tensor(recipes.IMAGENET.std)
    return images * std[:, None, None] + mean[:, None, None]


def exact_resize(image: Tensor, size: int) -> Tensor:
    """Pillow's bicubic without its rounding (mode F), clipped after each of its passes: 0..1."""
    for shape in ((size, image.shape[1]), (size, size)):
        channels = [Image.fromarray(channel.float().numpy()) for channel in image]
        channels = [channel.resize(shape, Image.Resampling.BICUBIC) for channel in channels]
        image = torch.from_numpy(np.stack([np.array(channel) for channel in channels])).clamp(0, 255)
    return image / 255


def neutral(count: int, height: int = 32, width: int = 32) -> ViewParams:
    """Parameters that change nothing: the whole image, every operation off."""
    recipe = ViewRecipe(32, (1, 1), ratio=(1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, flip_p=0)
    params = recipes.draw(recipe, count, height, width, generator())
    full = {"height": torch.full((count,), height), "width": torch.full((count,), width)}
    return replace(params, top=torch.zeros(count).long(), left=torch.zeros(count).long(), **full)


def assert_levels(ours: Tensor, theirs: Tensor, mean: float, p999: float, name: str = "") -> None:
    """Differences of 0..1 images in levels of 255: their mean and their 99.9th percentile."""
    difference = 255 * (ours.double() - theirs.double()).abs().flatten().numpy()
    measured = difference.mean(), np.quantile(difference, 0.999), difference.max()
    print(f"{name}: mean {measured[0]:.3f}, 99.9% {measured[1]:.2f}, max {measured[2]:.1f} levels")
    assert measured[0] <= mean and measured[1] <= p999, measured


# ---- What is drawn ----------------------------------------------------------------------------------------------

GLOBAL_ONE, GLOBAL_TWO, LOCAL = recipes.recipes(256, 128)


def test_recipes_are_the_papers() -> None:
    assert [recipe.size for recipe in (GLOBAL_ONE, GLOBAL_TWO, LOCAL)] == [256, 256, 128]
    assert [recipe.scale for recipe in (GLOBAL_ONE, GLOBAL_TWO, LOCAL)] == [(0.4, 1), (0.4, 1), (0.15, 0.4)]
    assert [recipe.blur_p for recipe in (GLOBAL_ONE, GLOBAL_TWO, LOCAL)] == [1.0, 0.1, 0.5]
    assert [recipe.solarize_p for recipe in (GLOBAL_ONE, GLOBAL_TWO, LOCAL)] == [0, 0.2, 0]
    assert {recipe.blur_scale for recipe in (GLOBAL_ONE, GLOBAL_TWO, LOCAL)} == {256 / 224}
    assert recipes.recipes(32, 16)[2].blur_scale == 32 / 224


@pytest.mark.parametrize("recipe", [GLOBAL_ONE, LOCAL], ids=["global", "local"])
@pytest.mark.parametrize("height, width", [(32, 32), (40, 24)])
def test_crops_are_distributed_as_torchvisions(recipe: ViewRecipe, height: int, width: int) -> None:
    count = 4000
    params = recipes.draw(recipe, count, height, width, generator())
    ours = torch.stack([params.top, params.left, params.height, params.width]).double()
    torch.manual_seed(1)
    image = torch.empty(3, height, width)
    boxes = [RandomResizedCrop.get_params(image, list(recipe.scale), list(recipe.ratio)) for _ in range(count)]
    theirs = torch.tensor(boxes).T.double()
    for one, two in zip(
        (*ours, ours[2] * ours[3], ours[3] / ours[2]),
        (*theirs, theirs[2] * theirs[3], theirs[3] / theirs[2]),
        strict=True,
    ):
        assert scipy.stats.ks_2samp(one, two).pvalue > 0.01
    assert (ours[0] + ours[2] <= height).all() and (ours[1] + ours[3] <= width).all()


@pytest.mark.parametrize("height, width", [(10, 100), (100, 10), (32, 32)])
def test_a_crop_that_never_fits_falls_back_as_torchvisions(height: int, width: int) -> None:
    recipe = ViewRecipe(32, (1.2, 1.3), blur_p=0, solarize_p=0)  # more than the image
    params = recipes.draw(recipe, 3, height, width, generator())
    expected = RandomResizedCrop.get_params(torch.empty(3, height, width), [1.2, 1.3], [3 / 4, 4 / 3])
    for row in range(3):
        assert tuple(int(field[row]) for field in (params.top, params.left, params.height, params.width)) == expected


def test_probabilities_factors_and_orders() -> None:
    count = 20000
    params = recipes.draw(GLOBAL_TWO, count, 32, 32, generator())
    for happens, p in (
        (params.flip, 0.5),
        (params.jitter, 0.8),
        (params.grayscale, 0.2),
        (params.blur, 0.1),
        (params.solarize, 0.2),
    ):
        assert scipy.stats.binomtest(int(happens.sum()), count, p).pvalue > 0.01
    jitter = ColorJitter(0.4, 0.4, 0.2, 0.1)  # torchvision's own reading of the four strengths
    ranges = [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue, (0.1 * 256 / 224, 2 * 256 / 224)]
    for drawn, (low, high) in zip((*params.factors.T, params.sigma), ranges, strict=True):
        assert scipy.stats.kstest(drawn.double(), scipy.stats.uniform(low, high - low).cdf).pvalue > 0.01
    _, counts = np.unique(params.order.numpy(), axis=0, return_counts=True)
    assert len(counts) == 24 and scipy.stats.chisquare(counts).pvalue > 0.01
    independent = [params.flip, params.jitter, params.grayscale, params.blur, params.solarize, params.sigma, params.top]
    independent += [*params.factors.T]  # top and left share the size of the crop
    correlation = np.corrcoef(torch.stack([field.double() for field in independent]))
    assert np.abs(correlation - np.eye(len(independent))).max() < 0.03
    assert recipes.draw(GLOBAL_ONE, count, 32, 32, generator()).blur.all()


def test_the_generator_decides_everything() -> None:
    first, again = (recipes.draw(LOCAL, 50, 32, 32, generator(3)) for _ in range(2))
    other = recipes.draw(LOCAL, 50, 32, 32, generator(4))
    images = drawn_images(50)
    assert torch.equal(render.render(images, first, 16), render.render(images, again, 16))
    assert not torch.equal(render.render(images, first, 16), render.render(images, other, 16))


def test_choose_takes_row_by_row() -> None:
    first, second = (
        recipes.draw(GLOBAL_ONE, 40, 32, 32, generator(1)),
        recipes.draw(GLOBAL_TWO, 40, 32, 32, generator(2)),
    )
    pick_second = torch.rand(40, generator=generator()) < 0.5
    images = drawn_images(40)
    chosen = render.render(images, recipes.choose(first, second, pick_second), 32)
    for row in range(40):
        expected = render.render(images[row : row + 1], (second if pick_second[row] else first)[row : row + 1], 32)[0]
        torch.testing.assert_close(chosen[row], expected, atol=1e-5, rtol=0)


# ---- Crop and resize --------------------------------------------------------------------------------------------

SIZES = pytest.mark.parametrize(
    "height, width, size", [(32, 32, 256), (32, 32, 128), (32, 32, 32), (32, 32, 16), (45, 61, 24)]
)


@SIZES
def test_crop_and_resize_is_pillows(height: int, width: int, size: int) -> None:
    """Against Pillow without rounding (mode F) to 1e-5, and on 8-bit images to the rounding of its two passes."""
    images = drawn_images(12, height, width)
    params = recipes.draw(LOCAL, 12, height, width, generator())
    params = replace(params, **{f: torch.zeros(12).bool() for f in ("flip", "jitter", "grayscale", "blur", "solarize")})
    ours = denormalised(render.render(images, params, size))
    exact, rounded = [], []
    for image, row in zip(images, range(12), strict=True):
        top, left = int(params.top[row]), int(params.left[row])
        crop = image[:, top : top + int(params.height[row]), left : left + int(params.width[row])]
        exact.append(exact_resize(crop, size))
        rounded.append(pil(crop).resize((size, size), Image.Resampling.BICUBIC))
    torch.testing.assert_close(ours, torch.stack(exact), atol=1e-5, rtol=0)
    assert_levels(ours, from_pil(rounded), mean=0.35, p999=1.2, name=f"resize {height}x{width} -> {size}")


def test_resize_matrix_against_a_loop() -> None:
    """Keys' cubic with a = -0.5 as published, tap by tap in Python floats."""

    def cubic(x: float) -> float:
        x, a = abs(x), -0.5
        if x < 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    for start, length, out in ((3, 20, 7), (0, 32, 50), (5, 1, 4)):
        scale = length / out
        expected = np.zeros((out, 32))
        for row in range(out):
            for pixel in range(start, start + length):
                expected[row, pixel] = cubic((pixel - start + 0.5 - (row + 0.5) * scale) / max(scale, 1))
            expected[row] /= expected[row].sum()
        ours = crops.resize_matrix(torch.tensor([float(start)]), torch.tensor([float(length)]), 32, out)[0]
        np.testing.assert_allclose(ours.numpy(), expected, atol=5e-6)


@SIZES
def test_evaluation_view_is_pillows(height: int, width: int, size: int) -> None:
    images = drawn_images(4, height, width)
    theirs = from_pil([pil(image).resize((size, size), Image.Resampling.BICUBIC) for image in images])
    ours = render.evaluation_view(images, size)
    assert ours.dtype == torch.float32
    assert_levels(denormalised(ours), theirs, mean=0.35, p999=1.2, name=f"evaluation {height}x{width} -> {size}")
    if height == width == size:
        torch.testing.assert_close(denormalised(ours), images / 255, atol=1e-6, rtol=0)


# ---- Colour and blur --------------------------------------------------------------------------------------------


def hard_images() -> Tensor:
    """Drawn images, and the corners of colour space: pure, grey, black and white pixels and ties of two channels."""
    corners = torch.cartesian_prod(*[torch.tensor([0, 1, 128, 254, 255], dtype=torch.uint8)] * 3)
    corners = corners.repeat(9, 1)[: 32 * 32].T.reshape(1, 3, 32, 32)
    return torch.cat([drawn_images(7), corners])


FACTORS = {
    "brightness": torch.linspace(0.6, 1.4, 8),
    "contrast": torch.linspace(0.6, 1.4, 8),
    "saturation": torch.linspace(0.8, 1.2, 8),
    "hue": torch.linspace(-0.1, 0.1, 8),
}


@pytest.mark.parametrize(
    "operation, mean, p999",
    [("brightness", 0.5, 1.1), ("contrast", 0.5, 1.2), ("saturation", 0.5, 1.2), ("hue", 1.2, 15)],
)
def test_colour_operations_are_torchvisions(operation: str, mean: float, p999: float) -> None:
    """To 1e-4 of torchvision on float64 (it weighs red 0.2989, Pillow and we 0.299), and near it on Pillow images."""
    images, factors = hard_images(), FACTORS[operation]
    adjust = getattr(TF, f"adjust_{operation}")
    ours = getattr(colours, f"adjust_{operation}")(images / 255, factors)
    exact = torch.stack([adjust(image.double() / 255, float(f)) for image, f in zip(images, factors, strict=True)])
    torch.testing.assert_close(ours.double(), exact, atol=1e-4, rtol=0)
    assert (ours - images / 255).abs().max() > 0.01
    rounded = from_pil([adjust(pil(image), float(f)) for image, f in zip(images, factors, strict=True)])
    assert_levels(ours, rounded, mean, p999, name=operation)


@pytest.mark.parametrize("largest", [1 / 6, 0.3, 0.5])
def test_hue_turns_by_up_to_half_a_turn(largest: float) -> None:
    """Against Python's colorsys, pixel by pixel; more than a sixth of a turn is made of several."""
    images, turns = hard_images()[-2:, :, ::2, ::2] / 255, torch.tensor([largest, -largest])
    ours = colours.adjust_hue(images, turns)
    for image, turn, turned in zip(images, turns.tolist(), ours, strict=True):
        for pixel, result in zip(image.flatten(1).T.tolist(), turned.flatten(1).T.tolist(), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            assert result == pytest.approx(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value), abs=1e-6)


@pytest.mark.parametrize("operation", ["flip", "grayscale", "solarize"])
def test_switches_are_pillows(operation: str) -> None:
    images = hard_images()
    chosen = torch.arange(8) % 3 != 0
    params = replace(neutral(8), **{operation: chosen})
    ours = denormalised(render.render(images, params, 32))
    apply = {"flip": TF.hflip, "grayscale": lambda im: TF.rgb_to_grayscale(im, 3), "solarize": ImageOps.solarize}[
        operation
    ]
    theirs = from_pil([apply(pil(image)) if on else pil(image) for image, on in zip(images, chosen, strict=True)])
    assert (ours - theirs).abs().max() * 255 <= (0.51 if operation == "grayscale" else 1e-3)


@pytest.mark.parametrize(
    "size, sigma",
    [(16, (0.01, 0.3)), (32, (0.01, 0.3)), (32, (1.0, 6.0)), (128, (0.11, 2.3)), (256, (0.11, 2.3)), (40, (0.5, 1.0))],
)
def test_blur_is_gaussian(size: int, sigma: tuple[float, float]) -> None:
    """To 1e-4 of SciPy's Gaussian cut at 8 sigma (ours at 4)."""
    images = (
        hard_images()[:, :, :16, :16]
        .repeat_interleave(math.ceil(size / 16), 2)
        .repeat_interleave(math.ceil(size / 16), 3)
    )
    images = images[:, :, :size, :size] / 255
    sigmas = torch.linspace(*sigma, 8)
    ours = colours.gaussian_blur(images, sigmas)
    for image, one, blurred in zip(images, sigmas, ours, strict=True):
        exact = scipy.ndimage.gaussian_filter(
            image.double().numpy(), (0, float(one), float(one)), mode="nearest", truncate=8
        )
        np.testing.assert_allclose(blurred.numpy(), exact, atol=1e-4)


@pytest.mark.parametrize("size, mean, p999", [(32, 0.4, 12), (256, 0.4, 2.5)])
def test_blur_is_near_pillows_boxes(size: int, mean: float, p999: float) -> None:
    images = [pil(image).resize((size, size), Image.Resampling.BICUBIC) for image in drawn_images(8)]
    sigmas = torch.linspace(0.1, 2, 8) * min(1, size / 224)
    theirs = from_pil(
        [image.filter(ImageFilter.GaussianBlur(float(s))) for image, s in zip(images, sigmas, strict=True)]
    )
    assert_levels(colours.gaussian_blur(from_pil(images), sigmas), theirs, mean, p999, name=f"blur at {size}")


# ---- Whole views ------------------------------------------------------------------------------------------------


def pillow_view(image: Tensor, params: ViewParams, row: int, size: int) -> Image.Image:
    """One view by torchvision on a Pillow image."""
    box = [int(field[row]) for field in (params.top, params.left, params.height, params.width)]
    view = TF.resized_crop(pil(image), *box, [size, size], InterpolationMode.BICUBIC)
    if params.flip[row]:
        view = TF.hflip(view)
    for number in params.order[row].tolist() if params.jitter[row] else []:
        view = getattr(TF, f"adjust_{OPERATIONS[number]}")(view, float(params.factors[row, number]))
    if params.grayscale[row]:
        view = TF.rgb_to_grayscale(view, 3)
    if params.blur[row]:
        view = view.filter(ImageFilter.GaussianBlur(float(params.sigma[row])))
    return ImageOps.solarize(view) if params.solarize[row] else view


def exact_view(image: Tensor, params: ViewParams, row: int, size: int) -> Tensor:
    """The same without rounding: Pillow's float resize, torchvision on float64, SciPy's Gaussian."""
    top, left, height, width = (int(field[row]) for field in (params.top, params.left, params.height, params.width))
    view = exact_resize(image[:, top : top + height, left : left + width], size).double()
    if params.flip[row]:
        view = TF.hflip(view)
    for number in params.order[row].tolist() if params.jitter[row] else []:
        view = getattr(TF, f"adjust_{OPERATIONS[number]}")(view, float(params.factors[row, number]))
    if params.grayscale[row]:
        view = TF.rgb_to_grayscale(view, 3)
    if params.blur[row]:
        sigma = float(params.sigma[row])
        view = torch.from_numpy(
            scipy.ndimage.gaussian_filter(view.numpy(), (0, sigma, sigma), mode="nearest", truncate=8)
        )
    return TF.solarize(view, 0.5) if params.solarize[row] else view


@pytest.mark.parametrize("size", [256, 128, 32, 16])
@pytest.mark.parametrize("source, mean, p999", [("drawn", 1.6, 14), ("real", 1.5, 8)])
def test_whole_views_against_the_papers_tool_chain(size: int, source: str, mean: float, p999: float) -> None:
    """Every recipe, 32 pixels to `size`: to 1.5e-4 of the exact reference, and near Pillow's 8-bit images."""
    count = 6 if size == 256 else 24
    images = drawn_images(count) if source == "drawn" else real_images(count)
    ours, theirs = [], []
    for seed, recipe in enumerate(recipes.recipes(size, size)):
        params = recipes.draw(recipe, count, 32, 32, generator(seed))
        rendered = denormalised(render.render(images, params, size))
        exact = torch.stack([exact_view(image, params, row, size) for row, image in enumerate(images)])
        torch.testing.assert_close(rendered.double(), exact, atol=1.5e-4, rtol=0)
        ours.append(rendered)
        theirs.append(from_pil([pillow_view(image, params, row, size) for row, image in enumerate(images)]))
    assert_levels(torch.cat(ours), torch.cat(theirs), mean, p999, name=f"view 32 -> {size}, {source}")


def test_a_view_is_normalised_with_imagenets_numbers() -> None:
    view = render.render(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8), neutral(1), 32)
    expected = TF.normalize(torch.ones(1, 3, 32, 32), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)


def test_many_views_at_once_equal_one_at_a_time() -> None:
    images = drawn_images(9)
    params = recipes.draw(GLOBAL_TWO, 9, 32, 32, generator())
    together = render.render(images, params, 256)
    for row in range(9):
        alone = render.render(images[row : row + 1], params[row : row + 1], 256)[0]
        torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)


def test_where_the_operations_on_negatives_come() -> None:
    """after_crop sees 0..1 before flip and colours, after_normalise the finished view."""
    images = drawn_images(5)
    params = replace(neutral(5), flip=torch.ones(5).bool(), solarize=torch.ones(5).bool())
    seen: dict[str, Tensor] = {}

    def black(name: str) -> render.ImageOperation:
        def operation(batch: Tensor) -> Tensor:
            seen[name] = batch.clone()
            return torch.zeros_like(batch)

        return operation

    view = render.render(images, params, 32, after_crop=black("crop"))
    torch.testing.assert_close(seen["crop"], images / 255, atol=1e-6, rtol=0)
    torch.testing.assert_close(denormalised(view), torch.zeros_like(view), atol=1e-6, rtol=0)
    finished = render.render(images, params, 32)
    assert render.render(images, params, 32, after_normalise=black("normalise")).abs().max() == 0
    assert torch.equal(seen["normalise"], finished)


def test_rendering_never_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meta tensors hold no values: whatever had to read one back would raise."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows nothing of meta tensors
    images = torch.empty(6, 3, 32, 32, dtype=torch.uint8, device="meta")
    for recipe in recipes.recipes(64, 32):
        params = recipes.draw(recipe, 6, 32, 32, generator())
        for name in ("none", "rot", "rot360", "perm-16", "pixels"):
            operation = transforms.draw_negative(name, 6, generator())
            view = render.render(images, params, recipe.size, after_crop=operation, after_normalise=operation)
            assert view.shape == (6, 3, recipe.size, recipe.size) and view.device.type == "meta"
        crops = torch.empty(6, 3, recipe.size, recipe.size, device="meta")
        assert fused.fused_colours_and_blur(crops, fused.tabulate(params).to("meta"), 4).device.type == "meta"
    transforms.rotate_degrees(images, torch.rand(6))
    assert render.evaluation_view(images, 64).shape == (6, 3, 64, 64)


def test_an_idle_operation_after_the_crop_changes_nothing() -> None:
    """With such an operation flips are made by themselves, without one they are part of the crop."""
    images, params = drawn_images(40), recipes.draw(LOCAL, 40, 32, 32, generator())
    idle = render.render(images, params, 16, after_crop=lambda batch: batch)
    torch.testing.assert_close(render.render(images, params, 16), idle, atol=1e-5, rtol=0)


def in_fused_form(images: Tensor, params: ViewParams, size: int, radius: int) -> Tensor:
    cropped = crops.crop_and_resize(images, params, size)
    before = cropped.clone()
    result = fused.fused_colours_and_blur(cropped, fused.tabulate(params), radius)
    assert torch.equal(cropped, before)
    return result


@pytest.mark.parametrize("size, radius", [(64, 4), (32, 4), (16, 8)])
def test_the_fused_form_for_gpus_agrees(size: int, radius: int) -> None:
    images = drawn_images(300)
    for seed, recipe in enumerate(recipes.recipes(size, size)):
        params = recipes.draw(recipe, 300, 32, 32, generator(seed))
        assert len(params.order[params.jitter].unique(dim=0)) == 24
        expected = render.render(images, params, size)
        torch.testing.assert_close(in_fused_form(images, params, size, radius), expected, atol=1e-5, rtol=0)


def test_the_fused_form_compiled_agrees() -> None:
    """With inductor for CPUs, as that for GPUs needs one; the recipes share what is compiled."""
    compilers = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    if not any(shutil.which(name) for name in compilers):
        pytest.skip(f"no C++ compiler, so nothing can be compiled: looked for {compilers}")
    images = drawn_images(24)
    for seed, recipe in enumerate(recipes.recipes(32, 32)):
        params = recipes.draw(recipe, 24, 32, 32, generator(seed))
        compiled = fused.render_compiled(images, None, params, 32)
        assert compiled is not None and fused._compiles
        torch.testing.assert_close(compiled, render.render(images, params, 32), atol=1e-5, rtol=0)


def test_where_nothing_compiles_one_note_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compile_views() -> Callable[..., Tensor]:
        def broken(*_: object) -> Tensor:
            raise RuntimeError("no compiler\nat all")

        return broken

    monkeypatch.setattr(fused, "_compiled_colours_and_blur", compile_views)
    monkeypatch.setattr(fused, "_compiles", True)
    images, params = drawn_images(4), recipes.draw(GLOBAL_ONE, 4, 32, 32, generator())
    far = replace(params, factors=torch.full((4, 4), 0.4))  # such turns of hue are not for the fused form
    assert fused.render_compiled(images, None, far, 32) is None and capsys.readouterr().err == ""
    for _ in range(3):
        assert fused.render_compiled(images, None, params, 32) is None
    assert capsys.readouterr().err == "Views are made without torch.compile, more slowly: no compiler\n"


def test_autocast_does_not_coarsen_views() -> None:
    images, params = drawn_images(4), recipes.draw(GLOBAL_ONE, 4, 32, 32, generator())
    plain = render.render(images, params, 64), render.evaluation_view(images, 64)
    with torch.autocast("cpu", torch.bfloat16):
        cast = render.render(images, params, 64), render.evaluation_view(images, 64)
    assert torch.equal(plain[0], cast[0]) and torch.equal(plain[1], cast[1])


# ---- Negatives --------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["none", "rot", "rot360", "perm-16", "pixels"])
def test_a_drawn_negative_stays_what_it_is(name: str) -> None:
    images = drawn_images(6)
    operation = transforms.draw_negative(name, 6, generator(5))
    state = torch.get_rng_state()
    first = operation(images)
    assert torch.equal(first, operation(images)) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, transforms.draw_negative(name, 6, generator(5))(images))
    assert name == "none" or not torch.equal(first, transforms.draw_negative(name, 6, generator(6))(images))
    assert operation.rotates == name.startswith("rot")


def test_bad_names_and_patches_say_what_is_allowed() -> None:
    with pytest.raises(BenchError, match=r"unknown transform of negatives 'flip'.*perm-N"):
        transforms.draw_negative("flip", 2, generator())
    with pytest.raises(BenchError, match="rot360 'any'; allowed: any-angle, right-angles"):
        transforms.draw_negative("rot360", 2, generator(), rot360="any")
    with pytest.raises(BenchError, match="perm-9 does not divide an image of 32x32"):
        transforms.draw_negative("perm-9", 2, generator())(drawn_images(2))
