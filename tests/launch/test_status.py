"""What `bench status` says of a run, from its folder, the queue and the accounting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_runs import tiny

from benchmark.launch.status import QueuedJob, Row, counts, rows_of_folders
from benchmark.store.folders import RunFolder, Status

JOB = {"name": "s-1", "index": 0, "job": "7_0"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.write_config(tiny())
    return folder


def row(folder: RunFolder, job: QueuedJob | None = None, ended: str = "", asked: bool = True) -> Row:
    queued = ({folder.name: job} if job else {}) if asked else None
    [only] = rows_of_folders([folder], queued, {folder.name: ended} if ended else {})
    return only


@pytest.mark.parametrize(
    ("state", "reason", "word", "detail"),
    [
        ("PENDING", "Resources", "pending", "job 7_0: Resources"),
        ("PENDING", "", "pending", "job 7_0"),
        ("REQUEUE_HOLD", "launch failed requeued held", "pending", "job 7_0 REQUEUE_HOLD: launch failed requeued held"),
        ("SUSPENDED", "", "suspended", "job 7_0 on node3"),
        ("CONFIGURING", "", "running", "job 7_0 starting on node3"),
        ("RUNNING", "", "running", "job 7_0 starting on node3"),  # nobody holds the run yet
        ("COMPLETING", "", "running", "job 7_0 ending on node3"),
    ],
)
def test_a_queued_job_is_told_with_slurms_reason(
    folder: RunFolder, state: str, reason: str, word: str, detail: str
) -> None:
    folder.write_job(JOB)
    said = row(folder, QueuedJob("7_0", state, "node3", reason))
    assert (said.state, said.detail) == (word, detail)


def test_a_running_run_tells_where_it_is_and_how_often_it_was_put_back(folder: RunFolder) -> None:
    folder.write_status(Status(state="running", phase="train", epoch=3, epochs=9, loss=8.25, seconds_left=600))
    for job in ("6", "7", "7", "7"):
        folder.note_attempt({"job": job, "step": 0})
    with folder.hold():
        holder = json.loads(folder.lease.read_text())
        folder.lease.write_text(json.dumps(holder | {"node": "node3"}))
        said = row(folder, QueuedJob("7", "RUNNING", "node3"))
        assert said.state == "running"
        assert said.detail == "train 3/9, loss 8.25, 10m 00s left, on node3, requeued 2x"
        dead = row(folder, QueuedJob("7", "PENDING", "", "BeginTime"))
        assert dead.state == "running" and "while SLURM has job 7 as PENDING" in dead.detail


def test_a_job_without_a_trace_is_lost_and_accounting_says_why(folder: RunFolder) -> None:
    assert row(folder).state == "to do"
    folder.write_job({key: value for key, value in JOB.items() if key != "job"})
    assert row(folder).state == "to do"  # its submitter died before sbatch
    folder.write_job(JOB)
    assert (row(folder).state, row(folder).detail) == ("lost", "its job 7_0 is gone")
    assert row(folder, ended="job 7_0: OUT_OF_MEMORY").detail == "job 7_0: OUT_OF_MEMORY"
    folder.write_status(Status(state="running", phase="train", step=5, steps=9, epoch=1, epochs=2))
    assert row(folder, ended="job 7_0: TIMEOUT").detail == "job 7_0: TIMEOUT, train 1/2"


def test_a_run_whose_record_was_deleted_is_told_so(folder: RunFolder) -> None:
    folder.write_status(Status(state="done", phase="score"))
    assert row(folder).state == "lost" and row(folder).detail.startswith("it was done and its record is gone; bench")


def test_what_could_not_be_asked_is_not_guessed(folder: RunFolder) -> None:
    folder.write_job(JOB)
    assert (row(folder, asked=False).state, row(folder, asked=False).detail) == ("unknown", "job 7_0")


def test_a_cancelled_run_says_so(folder: RunFolder) -> None:
    folder.write_job(JOB | {"cancelled": 1.0})
    assert (row(folder).state, row(folder).detail) == ("to do", "cancelled")
    folder.write_status(Status(state="interrupted", phase="train", step=5, steps=9, epoch=1, epochs=2))
    assert (row(folder).state, row(folder).detail) == ("interrupted", "cancelled, train 1/2")


def test_a_failure_is_told_while_its_job_still_ends(folder: RunFolder) -> None:
    folder.write_job(JOB)
    folder.write_status(Status(state="failed", error="Traceback\nValueError: broken"))
    said = row(folder, QueuedJob("7_0", "COMPLETING", "node3"))
    assert (said.state, said.detail) == ("failed", "ValueError: broken")


def test_counts_name_every_state() -> None:
    assert counts(["lost", "done", "pending", "done", "unknown"]) == "2 done, 1 pending, 1 lost, 1 unknown"
