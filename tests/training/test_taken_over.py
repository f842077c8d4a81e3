"""A run that another process has taken over writes nothing more, and says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_training import fit
from tiny_runs import tiny

from benchmark.errors import BenchError
from benchmark.store.leases import RunIsHeld


def test_nothing_more_is_written_once_writing_is_forbidden(tmp_path: Path, mini_data: Path) -> None:
    folder, calls = tmp_path / "run", 0

    def before_write() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise RunIsHeld("another process has the run")

    with pytest.raises(RunIsHeld):
        fit(tiny(), mini_data, folder, before_write=before_write, checkpoint_seconds=1e9)
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3] and not list(folder.glob("checkpoint*"))


@pytest.mark.parametrize("taken", [True, False])
def test_a_checkpoint_whose_file_is_cleared_away_under_it_tells_who_took_the_run_over(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    """As of a process that slept in the middle of writing, while another one went on with its run."""
    cleared: list[Path] = []

    def save_checkpoint(path: Path, _content: Any) -> None:
        cleared.append(path)
        raise FileNotFoundError(path)

    def before_write() -> None:
        if cleared and taken:
            raise BenchError("taken over")

    monkeypatch.setattr("benchmark.training.loop.save_checkpoint", save_checkpoint)
    with pytest.raises(BenchError if taken else FileNotFoundError):
        fit(tiny(), mini_data, tmp_path, before_write=before_write, checkpoint_seconds=0)
    assert len(cleared) == 1
