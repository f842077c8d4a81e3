"""Up and down: a set that has both, one that has none, and the rule that turns the accuracy into a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.own.orientation import Upright, upright


def skies(count: int) -> np.ndarray:
    """Bright above, dark below, with noise."""
    slope = np.linspace(200, 50, 32)[None, :, None, None]
    noise = np.random.default_rng(0).normal(0, 30, (count, 32, 32, 3))
    return np.clip(slope + noise, 0, 255).astype(np.uint8)


def test_skies_have_an_up_and_turned_ones_have_none() -> None:
    up = skies(120)
    turned = np.stack([np.rot90(image, np.random.default_rng(i).integers(4)) for i, image in enumerate(up)])
    assert upright(up).accuracy > 95 and upright(up).verdict == "yes"
    none = upright(turned)
    assert abs(none.accuracy - 25) < 10 and none.n == 120 and none.verdict != "yes"


def test_interval_is_over_images_and_no_more_than_1000_are_looked_at() -> None:
    many = upright(np.random.default_rng(0).integers(0, 256, (1100, 8, 8, 3), dtype=np.uint8))
    assert many.n == 1000
    assert abs(many.accuracy - 25) < 2 * many.half and 1 < many.half < 3.2
    assert many.verdict == "no"


@pytest.mark.parametrize(
    ("accuracy", "half", "word"),
    [
        (60, 5, "yes"),
        (41, 3, "doubtful"),
        (37, 3, "doubtful"),
        (30, 3, "no"),
        (33, 3, "doubtful"),
        (25, 20, "doubtful"),
    ],
)
def test_verdict_needs_the_whole_interval(accuracy: float, half: float, word: str) -> None:
    assert Upright(accuracy, half, 100).verdict == word


def test_larger_images_give_the_same_answer() -> None:
    large = np.repeat(np.repeat(skies(60), 3, axis=1), 3, axis=2)  # 96 pixels: three a block
    assert upright(large) == upright(skies(60))


def test_cifar10_has_an_up(real_images: Path) -> None:
    images = np.load(real_images / "cifar10-train.npz")["images"][:600]
    assert upright(images).verdict == "yes"


def test_the_interval_is_of_the_images_and_not_of_their_neighbours() -> None:
    """Every other image is noise. The four rotations of an image are right or wrong together, as every rotation is
    trained alike: as many independent trials as images. Four in a row, half of them noise, would differ far less."""
    mixed = skies(120)
    mixed[1::2] = np.random.default_rng(1).integers(0, 256, (60, 32, 32, 3))
    found = upright(mixed)
    share = found.accuracy / 100
    assert 0.5 < share < 0.75  # all skies, and what is guessed of the noise
    assert found.half == pytest.approx(196 * (share * (1 - share) / 120) ** 0.5, rel=0.05)
