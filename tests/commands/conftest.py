"""Fixtures of several files on the commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bad_sweeps import SWEEP
from command import Said, run_bench

from benchmark.data.images import write_set
from benchmark.launch import starting
from benchmark.launch.jobs import Job
from benchmark.launch.slots import Slot
from benchmark.store.records import SCHEMA

MEASURES = {"auroc": 1.0, "aupr_ood": 1.0, "aupr_id": 1.0, "fpr95_id": 1.0, "fpr95_ood": 1.0, "n_id": 1, "n_ood": 1}


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
        images = random.integers(0, 256, (130, 32, 32, 3), dtype=np.uint8)
        write_set(tmp_path / "data", name, split, images, np.arange(130) % 3, "random")

    def call(*arguments: str) -> Said:
        return run_bench(monkeypatch, capsys, *arguments)

    return call


@pytest.fixture
def bench(bench_with_slurm: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Run the command as `bench_with_slurm` does, with no SLURM about."""
    monkeypatch.setattr("benchmark.launch.slurm.is_available", lambda: False)
    return bench_with_slurm


@pytest.fixture
def fake_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Instead of `bench run`: finishes at once, or fails where the run's name holds "dino". Returns names run."""
    ran: list[str] = []

    def make(root: Path, seconds: float) -> starting.Launch:
        def command(job: Job, slot: Slot) -> list[str]:
            ran.append(job.folder.name)
            if "dino" in job.folder.name:
                return [sys.executable, "-S", "-c", "raise RuntimeError('no good')"]
            text = json.dumps(
                {
                    "schema_version": SCHEMA,
                    "run_id": "0",
                    "recipe_id": "0",
                    "name": job.folder.name,
                    "data": {},
                    "config": job.config.model_dump(mode="json"),
                    "knn_accuracy": {},
                    "own": "eq6",
                    "scores": {"eq6": {"sensitivity": 50.0, "ood": {"other": MEASURES}, "passes": 1}},
                }
            )
            write = f"open({str(job.folder.record)!r}, 'w').write({text!r})"
            if job.config.method.trains:
                write += f"; open({str(job.folder.weights)!r}, 'w')"
            return [sys.executable, "-S", "-c", write]

        return starting.by_command(command)

    monkeypatch.setattr(starting, "bench_run", make)
    return ran
