"""What a submission leaves of the runs on disk, accepted or refused; SLURM's clients are small scripts here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import BenchError
from benchmark.launch import slurm
from benchmark.launch.jobs import Job
from benchmark.launch.status import Row, rows_of_folders
from benchmark.plan.config import RunConfig
from benchmark.plan.resources import Resources
from benchmark.store.folders import RunFolder, Status

CONFIG = RunConfig.model_validate({"in_dist": "mine", "eval": {"ood": []}, "method": {"name": "image-statistics"}})
REFUSES = 'echo "sbatch: error: Invalid account" >&2; exit 1'


def submit(tmp_path: Path, *folders: RunFolder) -> list[tuple[str, str]]:
    """(run name, job id) of these runs, submitted as one array."""
    array = slurm.Array(Resources(), tuple(Job(CONFIG, folder) for folder in folders))
    return list(slurm.submit([array], "sweep", tmp_path / "results", tmp_path / "data", 60.0))


def rows(*folders: RunFolder) -> list[Row]:
    return rows_of_folders(folders, slurm.queued_jobs(folders))


@pytest.fixture
def failed(tmp_path: Path) -> RunFolder:
    """A run that has failed in an earlier job."""
    folder = RunFolder(tmp_path / "results/failed")
    folder.write_config(CONFIG)
    folder.write_status(
        Status(state="failed", phase="train", step=3, epoch=1, epochs=9, error="Traceback\nValueError: broken")
    )
    folder.write_job({"name": "earlier-1", "index": 0, "job": "3_0"})
    return folder


def test_a_refusal_leaves_failed_runs_failed_with_their_reason_and_their_last_job(
    tmp_path: Path, failed: RunFolder, client
) -> None:
    client("srun", "exit 0")
    client("sbatch", REFUSES)
    client("squeue", "exit 0")
    new = RunFolder(tmp_path / "results/new")
    before = failed.status.read_bytes(), failed.job.read_bytes()
    with pytest.raises(BenchError, match="Invalid account"):
        submit(tmp_path, failed, new)
    assert (failed.status.read_bytes(), failed.job.read_bytes()) == before
    assert [(row.state, row.detail) for row in rows(failed, new)] == [("failed", "ValueError: broken"), ("to do", "")]


def test_a_failed_run_that_is_tried_again_waits_in_the_queue(tmp_path: Path, failed: RunFolder, client) -> None:
    client("srun", "exit 0")
    client("sbatch", 'echo "Submitted batch job 7"')
    assert submit(tmp_path, failed) == [("failed", "7")]
    client("squeue", f"echo '7|PENDING||{failed.read_job()['name']}|Priority'")
    assert [(row.state, row.detail) for row in rows(failed)] == [("pending", "job 7: Priority, train 1/9")]
