"""Crop and resize against Pillow's, and the whole-image view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from view_references import (
    assert_levels,
    denormalised,
    drawn_images,
    exact_resize,
    from_pil,
    generator,
    pil,
)

from benchmark.plan.sections import ViewsConfig
from benchmark.views import crops, recipes, render

GLOBAL_ONE, GLOBAL_TWO, LOCAL = recipes.view_recipes(ViewsConfig(global_size=256, local_size=128))


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
