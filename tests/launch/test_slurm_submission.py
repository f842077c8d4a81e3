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


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "LOOK_FOR_JOBS_SECONDS", (0.0, 0.0))


@pytest.mark.parametrize("said", ["7", "7;cluster2", "site: 12 of 40 hours left\\n7"])
def test_a_job_number_alone_is_an_answer(tmp_path: Path, client, said: str) -> None:
    client("srun", "exit 0")
    client("sbatch", f"printf '{said}'")
    client("squeue", "exit 1")
    one, other = RunFolder(tmp_path / "results/one"), RunFolder(tmp_path / "results/other")
    assert submit(tmp_path, one) == [("one", "7")]
    assert submit(tmp_path, one, other) == [("one", "7_0"), ("other", "7_1")]
    assert other.read_job()["job"] == "7_1"


UNCLEAR = {
    "nothing": "exit 0",
    "thanks": "echo Thank you.",
    "timeout": "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1",
    "contact": "echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1",
    "killed": "kill -9 $$",
    "wrapper": "echo 'log server down' >&2; exit 3",
}


@pytest.mark.parametrize("answer", UNCLEAR)
def test_what_sbatch_leaves_open_squeue_is_asked_by_the_submissions_name(
    tmp_path: Path, client, impatient: None, answer: str
) -> None:
    client("srun", "exit 0")
    client("sbatch", f'sed -n "s/.*--job-name=//p" "$1" > {tmp_path}/name; {UNCLEAR[answer]}')
    client("squeue", f'for i in 0 1; do echo "9_$i|PENDING||$(cat {tmp_path}/name)|Priority"; done')
    folders = RunFolder(tmp_path / "results/one"), RunFolder(tmp_path / "results/other")
    assert submit(tmp_path, *folders) == [("one", "9_0"), ("other", "9_1")]
    assert [row.state for row in rows(*folders)] == ["pending", "pending"]


@pytest.mark.parametrize("squeue", ["exit 0", "exit 1"])
@pytest.mark.parametrize("answer", UNCLEAR)
def test_nothing_is_undone_where_it_stays_unknown_what_sbatch_has_done(
    tmp_path: Path, failed: RunFolder, client, impatient: None, answer: str, squeue: str
) -> None:
    client("srun", "exit 0")
    client("sbatch", UNCLEAR[answer])
    client("squeue", squeue)
    new = RunFolder(tmp_path / "results/new")
    with pytest.raises(BenchError, match=r"does not say whether it has accepted sweep-.*nothing is undone") as caught:
        submit(tmp_path, failed, new)
    assert "\n" not in str(caught.value) and "manually" not in str(caught.value)
    quoted = {"thanks": "Thank you.", "timeout": "Socket timed out", "contact": "Unable to contact"}
    assert quoted.get(answer, "") in str(caught.value)
    names = {folder.read_job()["name"] for folder in (failed, new)}
    assert len(names) == 1 and Path(new.read_job()["folder"]).exists()
    # It had been accepted: the next look at the queue finds it, and nothing is submitted a second time.
    client("squeue", f'for i in 0 1; do echo "9_$i|RUNNING|n1|{names.pop()}|None"; done')
    assert [row.state for row in rows(failed, new)] == ["running", "running"]


def test_a_failed_run_that_is_tried_again_waits_in_the_queue(tmp_path: Path, failed: RunFolder, client) -> None:
    client("srun", "exit 0")
    client("sbatch", 'echo "Submitted batch job 7"')
    assert submit(tmp_path, failed) == [("failed", "7")]
    client("squeue", f"echo '7|PENDING||{failed.read_job()['name']}|Priority'")
    assert [(row.state, row.detail) for row in rows(failed)] == [("pending", "job 7: Priority, train 1/9")]


def test_an_array_that_squeue_shows_in_part_is_not_known_to_be_accepted(tmp_path: Path, client, impatient) -> None:
    client("srun", "exit 0")
    client("sbatch", f'sed -n "s/.*--job-name=//p" "$1" > {tmp_path}/name')
    client("squeue", f'echo "9_0|PENDING||$(cat {tmp_path}/name)|Priority"')
    with pytest.raises(BenchError, match="does not say whether it has accepted"):
        submit(tmp_path, RunFolder(tmp_path / "results/one"), RunFolder(tmp_path / "results/other"))


def test_a_refusal_gives_back_what_was_set_aside_to_be_trained_anew(tmp_path: Path, client) -> None:
    """The first array is refused, and of the second, which comes after it, nothing has been set aside."""
    client("srun", "exit 0")
    client("sbatch", REFUSES)
    folders = [RunFolder(tmp_path / "results" / name) for name in ("one", "other")]
    for folder in folders:
        folder.write_config(CONFIG)
        for path in (folder.weights, folder.scores, folder.record, folder.metrics):
            path.write_text(f"of {folder.name}")
    kept = {path: path.read_bytes() for folder in folders for path in folder.path.iterdir()}
    arrays = [slurm.Array(Resources(), (Job(CONFIG, folder),)) for folder in folders]
    names = [folder.name for folder in folders]
    with pytest.raises(BenchError, match="Invalid account"):
        list(slurm.submit(arrays, "sweep", tmp_path / "results", tmp_path / "data", 60.0, anew=names))
    assert {path: path.read_bytes() for folder in folders for path in folder.path.iterdir()} == kept
    client("sbatch", "echo 7")
    list(slurm.submit(arrays, "sweep", tmp_path / "results", tmp_path / "data", 60.0, anew=names[:1]))
    one, other = folders
    assert (one.before / "record.json").exists() and not one.record.exists() and other.record.exists()
