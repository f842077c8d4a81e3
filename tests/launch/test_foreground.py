"""One run from its config file, as `bench run` and the local queue start it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.launch import foreground, starting
from benchmark.launch.jobs import Job
from benchmark.launch.slots import Slot
from benchmark.plan.config import RunConfig
from benchmark.store.folders import RunFolder


def test_a_run_of_before_a_setting_goes_on_as_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config.yaml without `model.batch_statistics` is of positives' statistics, whoever starts it."""
    old = RunConfig.model_validate(
        {
            "in_dist": "mini",
            "variant": "rot-in-dist",
            "model": {"backbone": "resnet10t", "batch_statistics": "positives"},
        }
    )
    folder = RunFolder(tmp_path / "results" / old.run_name(old.run_id({})))
    folder.write_config(old)
    without = folder.config.read_text().replace("  batch_statistics: positives\n", "")
    assert without != folder.config.read_text()
    folder.config.write_text(without)
    asked: list[RunConfig] = []
    monkeypatch.setattr("benchmark.run.run", lambda config, *rest: asked.append(config))
    monkeypatch.setattr(foreground, "answer_stop_signals", lambda handler: None)
    foreground.run_file(folder.config, tmp_path / "results", tmp_path, device="cpu")
    folder.keep_config(old)
    assert "batch_statistics: positives" in folder.config.read_text()
    foreground.run_file(folder.config, tmp_path / "results", tmp_path, device="cpu")
    assert asked == [old, old]


def test_a_forked_run_is_on_the_device_that_its_sweep_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def process(target: Any, args: tuple[Any, ...]) -> SimpleNamespace:
        asked.append(args[2][3])
        return SimpleNamespace(start=lambda: None)

    monkeypatch.setattr(starting, "warm_up", lambda slot: SimpleNamespace(Process=process))
    config = RunConfig.model_validate({"in_dist": "mini", "variant": "rot-in-dist"})
    for device in ("auto", "cpu"):
        starting.bench_run(tmp_path, 60)(Job(config, RunFolder(tmp_path / "run"), device), Slot(None, 1))  # type: ignore[arg-type]
    assert asked == ["auto", "cpu"]
