"""Any picture as a small square, and a limit that is even over the classes."""

from __future__ import annotations

import numpy as np
import pytest
from picture_files import noise, reference
from PIL import Image

from benchmark.data.pictures import to_square
from benchmark.data.storing import balanced


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


def test_balanced_is_even_and_repeatable() -> None:
    labels = np.repeat([0, 1, 2, -1], [50, 5, 30, 40])
    chosen = balanced(labels, 45)
    assert len(set(chosen.tolist())) == 45 and np.array_equal(chosen, np.sort(chosen))
    assert np.bincount(labels[chosen] + 1, minlength=4).tolist() in ([14, 13, 5, 13], [13, 14, 5, 13], [13, 13, 5, 14])
    assert np.array_equal(chosen, balanced(labels, 45))
    assert len(balanced(labels, 1000)) == len(labels)


def test_balanced_takes_any_images_of_a_class() -> None:
    """Files of a class often come in an order that means something: neither the first nor the last, nor every third."""
    labels = np.arange(600) % 2
    chosen = balanced(labels, 100)
    assert np.bincount(labels[chosen]).tolist() == [50, 50]
    for label in (0, 1):
        places = np.flatnonzero(labels == label).searchsorted(chosen[labels[chosen] == label])
        # The mean of 50 of 0 to 299, and their deviation, of which a random draw's are known to 12.
        assert abs(places.mean() - 149.5) < 48 and abs(places.std() - 86.6) < 30
        assert len(set(np.diff(places).tolist())) > 5
