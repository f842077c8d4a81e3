"""What a sweep shows of its runs: plain lines, bars, and how far the whole is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_runs import tiny

from benchmark.launch import display
from benchmark.launch.jobs import Job, Outcome
from benchmark.launch.status import counts, duration, progress_text, share_done
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


def test_plain_lines_name_each_start_and_end_and_the_log_of_a_failure(tmp_path: Path, capsys) -> None:
    jobs = [Job(tiny(), RunFolder(tmp_path / name)) for name in ("a", "b")]
    jobs[0].folder.write_status(Status(state="running", phase="train", epoch=2, epochs=8, loss=1.5, seconds_left=65))
    lines = display.Lines(jobs, every_seconds=0.0)
    lines.started(jobs[0])
    lines.running(jobs[:1])
    lines.ended(Outcome("a", "done", seconds=61))
    lines.ended(Outcome("b", "failed", "boom", 2))
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["start", "a"]
    assert "train 2/8, loss 1.5, 1m 05s left" in said[1]
    assert "1m 01s" in said[2] and "[1/2]" in said[2]
    assert "boom" in said[3] and str(tmp_path / "b/log.txt") in said[3]


def test_bars_show_states_on_a_terminal_without_failing(tmp_path: Path) -> None:
    jobs = [Job(tiny(), RunFolder(tmp_path / name)) for name in ("a[x]", "b")]
    jobs[0].folder.write_status(Status(state="running", phase="train", step=5, steps=10, epochs=2))
    with display.Bars(jobs) as bars:
        bars.started(jobs[0])
        bars.running(jobs[:1])
        half = bars._progress.tasks[bars._bars["a[x]"]].completed
        bars.ended(Outcome("a[x]", "failed", "[/bold] is no markup", 1))
        assert half == 0.5 and bars._progress.tasks[0].completed == 1


def test_words() -> None:
    said = [duration(seconds) for seconds in (0, 59.6, 125, 3 * 3600 + 300, 100 * 3600)]
    assert said == ["0s", "1m 00s", "2m 05s", "3h 05m", "4d 4h"]
    assert counts(["to do", "done", "failed", "done"]) == "2 done, 1 to do, 1 failed"
    assert progress_text(Status(state="running", phase="score", epochs=3)) == "score"
    extracting = Status(state="running", phase="features", extracted=1536, images=20_000, seconds_left=125)
    assert progress_text(extracting) == "features 1,536/20,000, 2m 05s left"
    assert progress_text(extracting, with_time_left=False) == "features 1,536/20,000"
    assert progress_text(Status(state="running", phase="features")) == "features"


def test_the_share_that_is_done_is_of_steps_and_without_any_of_images() -> None:
    assert share_done(Status(state="running", phase="features", extracted=5, images=20)) == 0.25
    assert share_done(Status(state="running", phase="features", extracted=5, images=20, step=8, steps=10)) == 0.8
    assert share_done(Status(state="running", phase="train", extracted=5, images=20, step=0, steps=10)) == 0.0
    assert share_done(None) == share_done(Status(state="running")) == 0.0
