"""A disk that fills while a run is at work: the run is interrupted, keeps what it has saved, and is gone on with."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import tiny

from benchmark import files
from benchmark.errors import StillToDo
from benchmark.exits import explain_os, no_room
from benchmark.launch.foreground import run_file
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.running.images import load_images
from benchmark.store.folders import RunFolder, run_folder
from benchmark.store.states import observed_state

CONFIG = tiny(variant="rot-imgn", train={"epochs": 1, "warmup_epochs": 0.0})
RUNTIME = Runtime(device="cpu", threads=1, checkpoint_seconds=0)


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fills(monkeypatch: pytest.MonkeyPatch, file: str, after: int) -> None:
    """Files of this name can be written `after` times; whatever else comes later has no room either."""
    honest, times = files.os.fsync, 0

    def fsync(handle: int) -> None:
        nonlocal times
        times += f"/.{file}." in os.readlink(f"/proc/self/fd/{handle}")
        if times > after:
            full()
        honest(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the files that are open are read from /proc")
@pytest.mark.parametrize(
    ("file", "after", "steps"),
    [("checkpoint.new.pt", 2, 2), ("weights.safetensors", 0, 5), ("features.npz", 0, None), ("record.json", 0, None)],
)
def test_a_full_disk_interrupts_a_run_which_goes_on_from_what_it_has(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch, capsys, file: str, after: int, steps: int | None
) -> None:
    with monkeypatch.context() as filling:
        fills(filling, file, after)
        with pytest.raises(StillToDo, match=rf"{file}: disk full \(No space left on device\); make room") as caught:
            run(CONFIG, tmp_path, mini_data, RUNTIME)
    assert "\n" not in str(caught.value)
    [folder] = [RunFolder(path) for path in tmp_path.iterdir()]
    assert not list(folder.path.glob(".*.tmp")) and not folder.record.exists() and not folder.lease_is_live()
    assert observed_state(CONFIG, folder)[0] in ("interrupted", "lost"), "its state had no room either"
    capsys.readouterr()
    assert run(CONFIG, tmp_path, mini_data, RUNTIME) is not None
    resumed = f"resumed at step {steps} of 5" if steps else ""
    assert resumed in capsys.readouterr().out


@pytest.mark.parametrize("place", ["append", "save_checkpoint"])
def test_it_is_said_in_one_line_in_the_runs_state(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """metrics.jsonl is written to without a new file, and names none in its error."""
    monkeypatch.setattr(f"benchmark.training.loop.{place}", full)
    with pytest.raises(StillToDo):
        run(CONFIG, tmp_path, mini_data, RUNTIME)
    [folder] = [RunFolder(path) for path in tmp_path.iterdir()]
    state, detail, _ = observed_state(CONFIG, folder)
    assert state == "interrupted" and detail.startswith("a file: disk full (No space left on device); make room")


def test_a_log_and_a_state_that_cannot_be_written_end_no_run(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        write: Callable[..., Any] = full

    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(RunFolder, "write_status", full)
    monkeypatch.setattr("benchmark.running.context._note_attempt", lambda folder: None)
    assert run(CONFIG, tmp_path, mini_data, RUNTIME) is not None


def test_before_a_run_has_begun_too(tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease, and built-in images that it makes, need room as well."""
    prints = load_images(CONFIG, mini_data).fingerprints
    trained = {f"{name}/{split}": prints[f"{name}/{split}"] for name, split in CONFIG.training_sets()}
    folder = run_folder(tmp_path / "results", CONFIG, trained)
    folder.write_config(CONFIG)
    monkeypatch.setattr("benchmark.launch.foreground.answer_stop_signals", lambda handler: None)
    for place in ("benchmark.store.leases.atomic_write", "benchmark.run.load_images"):
        folder.status.unlink(missing_ok=True)
        with monkeypatch.context() as filled:
            filled.setattr(place, full)
            with pytest.raises(StillToDo, match=r"config.yaml: a file: disk full"):
                run_file(folder.config, tmp_path / "results", mini_data, "cpu", 1)
        assert observed_state(CONFIG, folder)[0] == "interrupted"


def test_what_a_full_disk_is(tmp_path: Path) -> None:
    said = OSError("1000 requested and 200 written")  # numpy's, which has no number
    assert no_room(said) and explain_os(said).startswith(
        "a file: disk full (1000 requested and 200 written); make room"
    )
    assert no_room(OSError(errno.EDQUOT, "quota")) and not no_room(OSError(errno.EACCES, "no"))
    assert not no_room(ValueError("1 requested and 0 written"))
    if Path("/dev/full").exists():
        with open("/dev/full", "wb", buffering=0) as stream, pytest.raises(OSError) as caught:
            np.save(stream, np.zeros(100_000))
        assert no_room(caught.value)
