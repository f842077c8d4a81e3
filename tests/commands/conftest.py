"""Fixtures of several files on the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bad_sweeps import SWEEP
from command import Said, run_bench

from benchmark.data.images import write_set


@pytest.fixture
def bench_with_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run the command through its entry point, in `tmp_path`, with its results and data there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "mine.yaml").write_text(SWEEP)
    random = np.random.default_rng(0)
    for name, split in (("mine", "train"), ("mine", "test"), ("other", "test"), ("broad", "aux")):
        images = random.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
        write_set(tmp_path / "data", name, split, images, np.arange(30) % 3, "random")

    def call(*arguments: str) -> Said:
        return run_bench(monkeypatch, capsys, *arguments)

    return call


@pytest.fixture
def bench(bench_with_slurm: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Run the command as `bench_with_slurm` does, with no SLURM about."""
    monkeypatch.setattr("benchmark.launch.slurm.answers", lambda: False)
    return bench_with_slurm
