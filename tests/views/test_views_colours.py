"""Colour changes and blur against torchvision, colorsys, SciPy and Pillow."""

from __future__ import annotations

import colorsys
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from view_references import (
    assert_levels,
    denormalised,
    drawn_images,
    from_pil,
    neutral,
    pil,
)

from benchmark.plan.sections import ViewsConfig
from benchmark.views import colours, recipes, render

GLOBAL_ONE, GLOBAL_TWO, LOCAL = recipes.view_recipes(ViewsConfig(global_size=256, local_size=128))


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
