"""How far a whole sweep is, as its bar has it: the runs that have ended, and the shares of those that are going."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_runs import tiny

from benchmark.launch import display
from benchmark.launch.jobs import Job, Outcome
from benchmark.store.folders import RunFolder, Status


def test_the_bar_of_a_sweep_adds_up_what_its_runs_have_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("benchmark.launch.display.time.monotonic", lambda: now)
    jobs = [Job(tiny(seed=seed), RunFolder(tmp_path / name)) for seed, name in enumerate("abcd")]

    def reach(job: Job, step: int) -> None:
        job.folder.write_status(Status(state="running", phase="train", step=step, steps=20, epochs=2))

    with display.Bars(jobs) as bars:
        [whole] = bars._progress.tasks
        for job in jobs[:3]:
            bars.started(job)
        reach(jobs[0], 5)
        reach(jobs[1], 10)  # the third has not said anything yet
        bars.running(jobs[:3])
        assert (whole.completed, whole.total, whole.fields["detail"]) == (pytest.approx(0.75), 4, "0/4")
        bars.ended(Outcome("b", "done", seconds=3))
        assert (whole.completed, whole.fields["detail"]) == (1, "1/4")
        now += 1.0
        reach(jobs[0], 15)
        bars.running([jobs[0], jobs[2]])
        assert (whole.completed, whole.fields["detail"]) == (pytest.approx(1.75), "1/4")
