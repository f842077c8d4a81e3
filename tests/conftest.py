"""What several test files need: tiny images on disk, and the user's real images where there are some."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmark.data.images import write_set


@pytest.fixture(scope="session")
def mini_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a few dozen random images a set."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name, split, count in (
        ("mini", "train", 40),
        ("mini", "test", 24),
        ("mini-aux", "aux", 32),
        ("mini-ood", "test", 20),
        ("mini-ood2", "test", 20),
    ):
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        write_set(root, name, split, images, np.arange(count) % 4, recipe="random numbers")
    return root


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of real images that BENCH_TEST_IMAGES names; the test is skipped, in so many words, without it."""
    folder = os.environ.get("BENCH_TEST_IMAGES")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real images: set BENCH_TEST_IMAGES to a folder of NAME-SPLIT.npz files to run this test")
    return Path(folder)
