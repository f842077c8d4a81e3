"""Low-level statistics against Pillow, scipy and plain formulas, and on real images against known figures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import convolve2d
from scipy.spatial.distance import mahalanobis

from benchmark.detection.metrics import auroc
from benchmark.detection.statistics import STATISTICS, StatisticsDetector, image_statistics, single_statistic_auroc


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """Noise of several strengths and tints, 70 images of 12 x 20."""
    rng = np.random.default_rng(0)
    spread, tint = rng.uniform(2, 60, (70, 1, 1, 1)), rng.uniform(40, 200, (70, 1, 1, 3))
    return np.clip(tint + spread * rng.normal(size=(70, 12, 20, 3)), 0, 255).astype(np.uint8)


def test_equal_independent_computations(images: NDArray[np.uint8]) -> None:
    stats = image_statistics(images, chunk=16)
    assert stats.shape == (70, 4) and stats.dtype == np.float64
    for image, (sharpness, brightness, contrast, colourfulness) in zip(images, stats, strict=True):
        r, g, b = (image[..., c].astype(float).ravel() for c in range(3))
        grey = ((r + g + b) / 3).reshape(12, 20)
        laplacian = convolve2d(grey, [[0, 1, 0], [1, -4, 1], [0, 1, 0]], mode="valid")
        assert sharpness == pytest.approx(np.abs(laplacian).mean())
        assert brightness == pytest.approx(grey.mean())
        assert contrast == pytest.approx(grey.std())
        rg, yb = r - g, 0.5 * (r + g) - b
        expected = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
        assert colourfulness == pytest.approx(expected)


def test_images_with_known_statistics() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    board = np.zeros((8, 8, 3), np.uint8)
    board[(np.indices((8, 8)).sum(0) % 2).astype(bool)] = 255
    stats = image_statistics(np.stack([grey, red, board]))
    np.testing.assert_allclose(stats[0], [0, 100, 0, 0], atol=1e-12)
    # rg = 200 and yb = 100 everywhere
    np.testing.assert_allclose(stats[1], [0, 200 / 3, 0, 0.3 * np.hypot(200, 100)], atol=1e-12)
    # each inner pixel differs by 255 from its four neighbours
    np.testing.assert_allclose(stats[2], [4 * 255, 127.5, 127.5, 0], atol=1e-12)


def test_chunks_and_memory_maps_do_not_matter(images: NDArray[np.uint8], tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(image_statistics(mapped, chunk=7), image_statistics(images))
    assert image_statistics(images[:0]).shape == (0, 4)


def test_detector_is_the_mahalanobis_distance_of_the_logs(images: NDArray[np.uint8]) -> None:
    stats = image_statistics(images)
    train, test = np.log1p(stats[:50]), np.log1p(stats[50:])
    scores = StatisticsDetector().fit(stats[:50]).score(stats[50:])
    inverse = np.linalg.inv(np.cov(train.T, bias=True))
    expected = [mahalanobis(row, train.mean(0), inverse) ** 2 for row in test]
    np.testing.assert_allclose(scores, expected, rtol=1e-2)  # the ridge makes the difference


def test_detector_is_two_sided() -> None:
    rng = np.random.default_rng(0)
    train, inside = (np.exp(rng.normal(3, 0.2, (500, 4))) for _ in range(2))
    detector = StatisticsDetector().fit(train)
    for shift in (-2, 2):
        for column in range(4):
            outside = inside.copy()
            outside[:, column] *= np.exp(shift)
            assert auroc(detector.score(inside), detector.score(outside)) > 99
    assert 45 < auroc(detector.score(train), detector.score(inside)) < 60


def test_a_statistic_that_never_varies_still_tells() -> None:
    rng = np.random.default_rng(0)
    grey = np.exp(rng.normal(3, 0.2, (300, 4)))
    grey[:, 3] = 0  # grey-scale images have no colour
    coloured = grey.copy()
    coloured[:, 3] = 1
    detector = StatisticsDetector().fit(grey)
    assert np.isfinite(detector.score(grey)).all()
    assert auroc(detector.score(grey), detector.score(coloured)) == 100


def test_single_statistics_keep_their_raw_direction() -> None:
    rng = np.random.default_rng(0)
    inside = rng.normal(100, 1, (200, 4))
    outside = inside + np.array([-50, 50, 0, 50])
    expected = {"sharpness": 0, "brightness": 100, "contrast": 50, "colourfulness": 100}
    assert single_statistic_auroc(inside, outside) == pytest.approx(expected)
    assert tuple(single_statistic_auroc(inside, outside)) == STATISTICS


# Sharpness and the AUROC (%) of sharpness alone against CIFAR10's test images, as published with the full sets.
REAL = {"cifar10-test": (31.5, 50), "svhn-test": (10.9, 5), "tinyimagenet-test": (41.5, 71), "texture-test": (43.1, 59)}


@pytest.mark.parametrize("name", REAL)
def test_real_images_have_the_known_sharpness(name: str) -> None:
    folder = Path(os.environ.get("BENCH_TEST_IMAGES", ""))
    if not (folder / f"{name}.npz").is_file():
        pytest.skip(f"BENCH_TEST_IMAGES names no folder with {name}.npz")

    def load(which: str) -> NDArray[np.float64]:
        with np.load(folder / f"{which}.npz", allow_pickle=False) as file:
            return image_statistics(file["images"])

    stats, inside = load(name), load("cifar10-test")
    sharpness, separation = REAL[name]
    error = 3 * stats[:, 0].std() / len(stats) ** 0.5  # the folder may hold a subset
    assert stats[:, 0].mean() == pytest.approx(sharpness, abs=error)
    assert single_statistic_auroc(inside, stats)["sharpness"] == pytest.approx(separation, abs=6)
