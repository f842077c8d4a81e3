"""What a killed process leaves in a run's folder."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from tiny_runs import TINY

from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.store.folders import RunFolder
from benchmark.store.leases import RunIsHeld
from benchmark.training.checkpoint import save_checkpoint

RUNTIME = Runtime(device="cpu", threads=1)


def test_what_a_kill_left_of_a_runs_large_files_goes_when_the_run_is_taken_on(tmp_path: Path, mini_data: Path) -> None:
    raw = {**TINY, "variant": "none", "method": {"name": "image-statistics"}}
    config: RunConfig = validate(RunConfig, raw, "test")
    record = run(config, tmp_path, mini_data, RUNTIME)
    assert record is not None
    folder = RunFolder(tmp_path / record.name)

    def die_writing() -> None:
        os.fsync = lambda stream: os._exit(0)  # no clean-up, as after SIGKILL
        save_checkpoint(folder.checkpoint, {})

    child = multiprocessing.get_context("fork").Process(target=die_writing)
    child.start()
    child.join()
    [checkpoint] = folder.path.glob(".*.tmp")
    large = folder.weights, folder.features, folder.scores, folder.metrics
    torn = [checkpoint.name, *(f".{path.name}.0a1b2c3d.tmp" for path in large)]
    others = [".status.json.0a1b2c3d.tmp", ".job.json.0a1b2c3d.tmp"]  # another process may be writing them
    for name in [*torn, *others]:
        (folder.path / name).touch()
    with folder.hold(), pytest.raises(RunIsHeld):
        run(config, tmp_path, mini_data, RUNTIME)
    assert all((folder.path / name).exists() for name in torn), "they are their holder's"
    run(config, tmp_path, mini_data, RUNTIME)
    assert sorted(path.name for path in folder.path.glob(".*.tmp")) == sorted(others)
