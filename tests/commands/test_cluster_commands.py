"""The commands where SLURM is about, or ought to be; its clients are small scripts here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bad_sweeps import SWEEP
from command import Said, run_bench

from benchmark.data.images import write_set

DOWN = 'echo "Slurmctld(primary) at c is DOWN"; exit 1'


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command in `tmp_path`, with its results and data there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "mine.yaml").write_text(SWEEP)
    random = np.random.default_rng(0)
    for name, split in (("mine", "train"), ("mine", "test"), ("other", "test"), ("broad", "aux")):
        images = random.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
        write_set(tmp_path / "data", name, split, images, np.arange(30) % 3, "random")
    return lambda *words: run_bench(monkeypatch, capsys, *words)


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """clients(squeue=SCRIPT, ...): SLURM's clients on PATH are these shell scripts, and do nothing where none is given.

    A client says in NAME.calls with which arguments it was called.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(**scripts: str) -> None:
        for name in ("sbatch", "srun", "scontrol", "squeue", "scancel", "sacct"):
            (folder / name).write_text(f'#!/bin/sh\necho "$@" >> "$0.calls"\n{scripts.get(name, "exit 0")}\n')
            (folder / name).chmod(0o755)

    put()
    return put


def test_a_controller_that_is_silent_leaves_a_sweep_to_neither_machine(bench, clients, tmp_path: Path) -> None:
    clients(scontrol=DOWN)
    for arguments in ([], ["--dry-run"]):
        said = bench("sweep", "mine.yaml", *arguments)
        assert said.code == 2 and len(said.err.splitlines()) == 1 and said.out == ""
        assert "controller does not answer (scontrol failed: Slurmctld(primary) at c is DOWN)" in said.err
        assert "--executor local" in said.err and "--executor slurm" in said.err
    assert not (tmp_path / "results").exists() and not (tmp_path / "bin/sbatch.calls").exists()
    assert bench("sweep", "mine.yaml", "--dry-run", "--executor", "local").code == 0
