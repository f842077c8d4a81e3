"""What would be submitted to SLURM, and how its clients' answers are read; the clients are small scripts here."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.config import RunConfig
from benchmark.errors import BenchError
from benchmark.launch import slurm
from benchmark.launch.local import Job
from benchmark.store import RunFolder
from benchmark.sweep import Resources

CONFIG = RunConfig.model_validate({"in_dist": "mine", "eval": {"ood": []}, "method": {"name": "image-statistics"}})


def job(tmp_path: Path, name: str) -> Job:
    return Job(CONFIG, RunFolder(tmp_path / "results" / name))


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """client("squeue", SCRIPT) puts a shell script of that name first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return put


def test_equal_resources_are_one_array_cut_at_the_clusters_limit(tmp_path: Path) -> None:
    small, large = Resources(gpus=1), Resources(gpus=4)
    names = ["a", "b", "c", "d", "e", "f"]
    jobs = [(job(tmp_path, name), large if name in "be" else small.model_copy()) for name in names]
    arrays = slurm.make_arrays(jobs, largest=3)
    assert [[j.folder.name for j in array.jobs] for array in arrays] == [["a", "c", "d"], ["f"], ["b", "e"]]
    assert [array.resources.gpus for array in arrays] == [1, 1, 4]


def test_sbatch_text_says_what_the_resources_say(tmp_path: Path) -> None:
    resources = Resources(
        gpus=2,
        cpus=6,
        memory_gb=1.5,
        hours=1.51,
        partition="main",
        account="lab",
        qos="low",
        constraint="a100|h100",
        array_parallelism=2,
        setup=["module load cuda"],
        sbatch={"exclusive": True, "nice": 10, "requeue": True, "contiguous": False},
    )
    array = slurm.Array(resources, tuple(job(tmp_path, name) for name in "abc"))
    text = slurm.submission_text(array, "table2", tmp_path / "submission")
    options = {line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")}
    assert {
        "array=0-2%2",
        "gpus-per-node=2",
        "cpus-per-task=6",
        "mem=1536M",
        "time=91",
        "partition=main",
        "account=lab",
        "qos=low",
        "constraint='a100|h100'",
        "signal=USR2@120",
        "exclusive",
        "nice=10",
        "requeue",
        "nodes=1",
        "ntasks-per-node=1",
        "job-name=table2",
    } <= options
    assert "wckey" not in text and "contiguous" not in text
    lines = text.splitlines()
    assert lines.index("export SRUN_CPUS_PER_TASK=6") < lines.index("module load cuda")
    assert not (tmp_path / "submission").exists(), "showing what would be submitted wrote something"


def test_a_single_run_without_gpu_is_a_plain_job(tmp_path: Path) -> None:
    text = slurm.submission_text(slurm.Array(Resources(gpus=0, hours=0.05), (job(tmp_path, "a"),)), "t", Path("/s"))
    assert "--array" not in text and "gpu" not in text and "gres" not in text
    assert "signal=USR2@45" in text  # a quarter of three minutes: the usual 120 s would come at the start


def test_submit_keeps_ids_and_pickles_paths_alone(tmp_path: Path, client) -> None:
    client("srun", "exit 0")
    client("sbatch", 'echo "$@" >> "$0.calls"; echo "Submitted batch job 7$(wc -l < "$0.calls")"')
    (tmp_path / "results").mkdir()
    arrays = [
        slurm.Array(Resources(), (job(tmp_path, "a"), job(tmp_path, "b"))),
        slurm.Array(Resources(gpus=0), (job(tmp_path, "c"),)),
    ]
    submitted = dict(slurm.submit(arrays, "sweep", tmp_path / "results", tmp_path / "data", 60.0))
    assert submitted == {"a": "71_0", "b": "71_1", "c": "72"}
    noted = json.loads((tmp_path / "results/b/job.json").read_text())
    assert noted["job"] == "71_1" and RunFolder(tmp_path / "results/b").read_config() == CONFIG
    submission = Path(noted["submission"])
    assert submission.parent == tmp_path / "results/.submitit"
    assert json.loads((tmp_path / "results/c/job.json").read_text())["submission"] != str(submission)
    with open(submission / "71_1_submitted.pkl", "rb") as stream:
        delayed = pickle.load(stream)
    assert isinstance(delayed.function, slurm.RunTask) and not delayed.args and not delayed.kwargs
    assert all(isinstance(value, str | int | float) for value in vars(delayed.function).values())
    assert delayed.function.config == str(tmp_path / "results/b/config.yaml")
    assert delayed._timeout_countdown > 1000
    again = delayed.function.checkpoint()
    assert vars(again.function) == vars(delayed.function)


def test_refused_submission_is_one_line_and_earlier_arrays_stay(tmp_path: Path, client) -> None:
    client("srun", "exit 0")
    client(
        "sbatch",
        'if grep -q gpus "$1"; then echo "sbatch: error: Invalid account" >&2; exit 1; fi\n'
        'echo "Submitted batch job 5"',
    )
    (tmp_path / "results").mkdir()
    arrays = [slurm.Array(Resources(gpus=gpus), (job(tmp_path, name),)) for gpus, name in ((0, "a"), (1, "b"))]
    submitted = []
    with pytest.raises(BenchError, match=r"sbatch refused.*Invalid account") as caught:
        for name, _ in slurm.submit(arrays, "s", tmp_path / "results", tmp_path, 60.0):
            submitted.append(name)
    assert submitted == ["a"] and "\n" not in str(caught.value)
    assert not (tmp_path / "results/b/job.json").exists()


def test_limits_and_presence_are_asked_of_the_cluster(client, monkeypatch: pytest.MonkeyPatch) -> None:
    client("sbatch", "exit 0")
    client("scontrol", '[ "$1" = ping ] && echo "Slurmctld(primary) at c is UP" || echo "MaxArraySize = 17"')
    assert slurm.answers() and slurm.max_array_size() == 17
    client("scontrol", 'if [ "$1" = ping ]; then echo "Slurmctld(primary) at c is DOWN"; else exit 1; fi')
    assert not slurm.answers() and slurm.max_array_size() == slurm.DEFAULT_MAX_ARRAY_SIZE
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not slurm.answers()


def test_queued_jobs_are_asked_once(tmp_path: Path, client) -> None:
    folders = []
    for name, job_id in (("a", "3_0"), ("b", "3_1"), ("c", "9"), ("d", None)):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        if job_id:
            (folder.path / "job.json").write_text(json.dumps({"job": job_id}))
        folders.append(folder)
    client("squeue", 'echo "$@" >> "$0.calls"; echo "3_1 PENDING"; echo "9 RUNNING"')
    assert slurm.queued_jobs(folders) == {"b": "3_1 PENDING", "c": "9 RUNNING"}
    calls = (tmp_path / "bin/squeue.calls").read_text().splitlines()
    assert len(calls) == 1 and "--jobs=3,9" in calls[0]
    client("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert slurm.queued_jobs(folders) == {}
    client("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(BenchError, match=r"squeue failed.*Unable to contact.*still queued"):
        slurm.queued_jobs(folders)
    assert slurm.queued_jobs(folders[3:]) == {}, "without jobs squeue need not be asked"


def test_warning_becomes_a_checkpoint_and_then_the_requeue() -> None:
    happened: list[str] = []
    before = signal.signal(signal.SIGUSR2, lambda *_: happened.append("requeue"))
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt), slurm._checkpoint_before_requeue():
            try:
                signal.raise_signal(signal.SIGUSR2)
                happened.append("went on")
            finally:
                happened.append("saved")
        assert happened == ["saved", "requeue"]
        happened.clear()
        with pytest.raises(KeyboardInterrupt), slurm._checkpoint_before_requeue():
            raise KeyboardInterrupt  # a plain interrupt asks for no requeue
        assert happened == []
    finally:
        signal.signal(signal.SIGUSR2, before)
        signal.signal(signal.SIGINT, interrupt)


def _call_task(tmp_path: Path, body: str, **environment: str) -> tuple[int, RunFolder]:
    """Call a RunTask in a process of its own, with `body` as the run() of a stand-in for benchmark.run."""
    folder = RunFolder(tmp_path / "run")
    folder.write_config(CONFIG)
    script = textwrap.dedent("""
        import os, sys, types
        from dataclasses import dataclass
        import benchmark.launch.slurm as slurm
        from benchmark.errors import BenchError
        from benchmark.store import RunFolder, RunIsHeld
        from pathlib import Path
        folder = RunFolder(Path(sys.argv[1]))
        @dataclass
        class Runtime:
            device: str
            threads: int
            checkpoint_seconds: float
        calls = []
        def run(config, results, data_root, runtime):
            calls.append(runtime)
        BODY
        sys.modules["benchmark.run"] = types.SimpleNamespace(Runtime=Runtime, run=run)
        slurm.time.sleep = lambda seconds: None
        slurm.RunTask(str(folder.config), str(folder.path.parent), "/data", 2, 60.0)()
    """).replace("BODY", textwrap.indent(textwrap.dedent(body), "    "))
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder.path)],
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    return done.returncode, folder


def test_task_writes_to_the_runs_log_and_marks_a_failure(tmp_path: Path) -> None:
    code, folder = _call_task(tmp_path, "print('hello from the job'); raise BenchError('mend me')")
    assert code != 0 and "hello from the job" in folder.log.read_text()
    status = folder.read_status()
    assert status is not None and (status.state, status.error) == ("failed", "error: mend me")


@pytest.mark.parametrize(("own", "tries"), [("42", 3), ("43", 1)])
def test_task_waits_for_its_own_old_lease_and_for_no_other(tmp_path: Path, own: str, tries: int) -> None:
    code, folder = _call_task(
        tmp_path,
        """
        folder.lease.write_text('{"job": "42"}')
        print("try", len(calls), runtime)
        if len(calls) < 3: raise RunIsHeld("held")
    """,
        SLURM_JOB_ID=own,
    )
    log = folder.log.read_text()
    assert code == 0 and log.count("try") == tries and "threads=2" in log
    assert ("nothing to do here" in log) == (tries == 1)
    assert folder.read_status() is None
