"""Any picture as a small square."""

from __future__ import annotations

import numpy as np
import pytest
from picture_files import noise, reference
from PIL import Image

from benchmark.data.pictures import to_square


@pytest.mark.parametrize("shape", [(64, 64, 3), (75, 50, 3), (41, 90, 3), (33, 32, 3), (20, 20, 3), (300, 257, 3)])
def test_to_square_is_torchvisions_on_pil_images(shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    assert np.array_equal(to_square(Image.fromarray(pixels), 32), reference(pixels))
    assert np.array_equal(to_square(Image.fromarray(pixels), 32, first=256), reference(pixels, first=256))


def test_to_square_antialiases() -> None:
    """A fine chequerboard turns grey; bicubic without antialias would pick single pixels."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    small = to_square(Image.fromarray(board), 32)
    assert small.shape == (32, 32, 3) and np.abs(small.astype(int) - 127).max() < 4


def test_to_square_leaves_native_images_alone_and_takes_any_mode() -> None:
    pixels = noise(32, 32, 3)
    assert np.array_equal(to_square(Image.fromarray(pixels), 32), pixels)
    grey = noise(32, 32)
    assert np.array_equal(to_square(Image.fromarray(grey), 32), np.repeat(grey[..., None], 3, 2))
    deep = grey.astype(np.uint16) * 257
    assert np.array_equal(to_square(Image.fromarray(deep), 32)[..., 1], grey)
    assert to_square(Image.fromarray(noise(40, 32, 4), "RGBA"), 32).shape == (32, 32, 3)
