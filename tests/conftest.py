"""What several test files need: tiny images on disk, and the user's real images where there are some."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tiny_runs import write_mini_sets


@pytest.fixture(scope="session")
def mini_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a few dozen random images a set."""
    root = tmp_path_factory.mktemp("data")
    write_mini_sets(root)
    return root


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of real images that BENCH_TEST_IMAGES names; the test is skipped, in so many words, without it."""
    folder = os.environ.get("BENCH_TEST_IMAGES")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real images: set BENCH_TEST_IMAGES to a folder of NAME-SPLIT.npz files to run this test")
    return Path(folder)
