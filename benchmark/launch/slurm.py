"""The SLURM executor: runs that ask for the same resources become one job array, through submitit.

A job's pickle holds paths and no objects: code may change between submission and start, and the settings are read from
the run's config.yaml. Periodic checkpoints are what a run resumes from; a requeue only saves asking for the job again.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchError
from benchmark.files import read_json, write_json
from benchmark.launch.local import Job
from benchmark.launch.status import mark_failed
from benchmark.store import LEASE_EXPIRES_SECONDS, RunFolder, RunIsHeld
from benchmark.sweep import Resources, state_of

if TYPE_CHECKING:
    import submitit

SIGNAL_BEFORE_END_SECONDS = 120
# A run may meet its time limit as often as it likes: each time it goes on from its checkpoint.
MAX_TIMEOUTS = 10_000
DEFAULT_MAX_ARRAY_SIZE = 1000
ASK_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Array:
    """Jobs that go to SLURM together: one array, or a plain job when there is one."""

    resources: Resources
    jobs: tuple[Job, ...]


class RunTask:
    """What a SLURM job calls: one run, by its paths. submitit pickles it, and again at each requeue."""

    def __init__(self, config: str, results: str, data_root: str, threads: int, checkpoint_seconds: float) -> None:
        self.config, self.results, self.data_root = config, results, data_root
        self.threads, self.checkpoint_seconds = threads, checkpoint_seconds

    def __call__(self) -> str:
        """Train and score the run; returns its state. All output goes to the run's own log."""
        folder = RunFolder(Path(self.config).parent)
        _send_output_to(folder.log)
        with _checkpoint_before_requeue():
            try:
                return self._run(folder)
            except Exception as error:
                status = folder.read_status()
                if status is None or status.state != "failed":  # it failed before the run could say so itself
                    mark_failed(folder, f"error: {error}" if isinstance(error, BenchError) else traceback.format_exc())
                raise

    def _run(self, folder: RunFolder) -> str:
        config = folder.read_config()
        if state_of(config, folder)[0] == "done":
            return "done"
        from benchmark.run import Runtime, run

        runtime = Runtime(device="auto", threads=self.threads, checkpoint_seconds=self.checkpoint_seconds)
        give_up = time.monotonic() + LEASE_EXPIRES_SECONDS + 30
        while True:
            try:
                run(config, Path(self.results), Path(self.data_root), runtime)
                return "done"
            except RunIsHeld as error:
                # After a requeue the lease may be the one this job held before it was killed: it expires.
                if not _held_by_this_job(folder) or time.monotonic() > give_up:
                    print(f"{error}; nothing to do here", flush=True)
                    return "held"
                time.sleep(5)

    def checkpoint(self) -> Any:
        """At a timeout or a preemption: the same task again, which resumes from the run's last checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


@contextmanager
def _checkpoint_before_requeue() -> Iterator[None]:
    """At SLURM's warning (time limit, preemption): first the checkpoint, then submitit's requeue.

    submitit requeues inside its signal handler, in the middle of a training step. Here the warning becomes the SIGINT
    that a run answers with a checkpoint after its step; when the run has ended, submitit's handler has its turn.
    """
    import submitit

    number = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
    requeue = signal.getsignal(number)
    warned = False

    def warn(_number: int, _frame: FrameType | None) -> None:
        nonlocal warned
        if not warned:
            warned = True
            signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(number, warn)
    try:
        yield
    except KeyboardInterrupt:
        if warned and callable(requeue):
            requeue(number, None)  # ends in SystemExit
        raise
    finally:
        signal.signal(number, requeue)


def _send_output_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with open(log, "ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)


def _held_by_this_job(folder: RunFolder) -> bool:
    try:
        holder = json.loads(folder.lease.read_text())
    except (OSError, ValueError):
        return True  # given back this very moment: try again
    return bool(holder.get("job")) and holder.get("job") == os.environ.get("SLURM_JOB_ID")


def answers() -> bool:
    """Whether there is a SLURM to submit to: sbatch is on PATH and a controller answers."""
    if shutil.which("sbatch") is None or shutil.which("scontrol") is None:
        return False
    try:
        return " is UP" in _ask("scontrol", "ping")
    except BenchError:
        return False


def max_array_size() -> int:
    """How many jobs one array may have: MaxArraySize caps the index, so it is the number of jobs from index 0 on."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.MULTILINE)
    except BenchError:
        return DEFAULT_MAX_ARRAY_SIZE
    return max(1, int(found.group(1))) if found else DEFAULT_MAX_ARRAY_SIZE


def make_arrays(jobs: Sequence[tuple[Job, Resources]], largest: int) -> list[Array]:
    """Group by equal resources, in the order given, and cut groups into arrays of at most `largest` jobs."""
    groups: dict[str, tuple[Resources, list[Job]]] = {}
    for job, resources in jobs:
        groups.setdefault(resources.model_dump_json(), (resources, []))[1].append(job)
    return [
        Array(resources, tuple(group[start : start + largest]))
        for resources, group in groups.values()
        for start in range(0, len(group), largest)
    ]


def parameters(resources: Resources, name: str) -> dict[str, Any]:
    """Resources in submitit's words for sbatch options (time in minutes, memory in MB)."""
    minutes = math.ceil(resources.hours * 60)
    asked: dict[str, Any] = {
        "job_name": name,
        "time": minutes,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": resources.cpus,
        "gpus_per_node": resources.gpus or None,
        "mem": f"{math.ceil(resources.memory_gb * 1024)}M",
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "array_parallelism": resources.array_parallelism,
        "signal_delay_s": min(SIGNAL_BEFORE_END_SECONDS, minutes * 60 // 4),  # not before a short job has started
        "wckey": None,  # submitit's own default, --wckey=submitit, is refused by clusters that check it
        # From SLURM 22.05 on srun no longer takes over --cpus-per-task.
        "setup": [f"export SRUN_CPUS_PER_TASK={resources.cpus}", *resources.setup],
        "additional_parameters": {
            "requeue": True,
            **{key: value for key, value in resources.sbatch.items() if value is not False},
        },
    }
    return asked


def submission_text(array: Array, name: str, folder: Path) -> str:
    """The sbatch file of `array`, word for word as it would be submitted."""
    executor = _executor(folder, array, name, dry=True)
    if len(array.jobs) > 1:
        executor.parameters["map_count"] = len(array.jobs)
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


def submit(
    arrays: Sequence[Array], name: str, results: Path, data_root: Path, checkpoint_seconds: float
) -> Iterable[tuple[str, str]]:
    """Submit, and yield (run name, job id) array by array; each run's job.json keeps its id.

    Raises BenchError when sbatch refuses an array; those before it stay submitted.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise BenchError("--executor slurm: sbatch and srun are not on PATH; use --executor local")
    for array in arrays:
        for job in array.jobs:
            job.folder.path.mkdir(parents=True, exist_ok=True)
            if not job.folder.config.exists() or job.folder.read_config() != job.config:
                job.folder.write_config(job.config)
        tasks = [
            RunTask(
                str(job.folder.config.resolve()),
                str(results.resolve()),
                str(data_root.resolve()),
                array.resources.cpus,
                checkpoint_seconds,
            )
            for job in array.jobs
        ]
        folder = submission_folder(results)
        folder.mkdir(parents=True)
        submitted = _submit_array(_executor(folder, array, name), tasks)
        for job, job_id in zip(array.jobs, submitted, strict=True):
            write_json(_job_file(job.folder), {"job": job_id, "submitted": time.time(), "submission": str(folder)})
            yield job.folder.name, job_id


def submission_folder(results: Path) -> Path:
    """A new folder for submitit's files: job ids may start again at 1, and old pickles must not answer for new jobs."""
    return results.resolve() / ".submitit" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def queued_jobs(folders: Iterable[RunFolder]) -> dict[str, str]:
    """Run name -> "JOBID STATE" for the runs whose job SLURM still has. Asks squeue once, or not at all without jobs.

    Raises BenchError when squeue does not answer.
    """
    jobs: dict[str, str] = {}
    for folder in folders:
        if _job_file(folder).exists():
            jobs[folder.name] = str(read_json(_job_file(folder)).get("job", ""))
    if not jobs:
        return {}
    ids = ",".join(sorted({job.split("_")[0] for job in jobs.values() if job}))
    try:
        lines = _ask("squeue", "--noheader", "--array", f"--jobs={ids}", "--format=%i %T").splitlines()
    except BenchError as error:
        if "Invalid job id" not in str(error):  # all of them are long gone
            raise BenchError(f"{error}; so it is unknown which jobs of earlier submissions are still queued") from error
        lines = []
    alive = dict(line.split(maxsplit=1) for line in lines if line.strip())
    return {name: f"{job} {alive[job]}" for name, job in jobs.items() if job in alive}


def _job_file(folder: RunFolder) -> Path:
    return folder.path / "job.json"


def _executor(folder: Path, array: Array, name: str, dry: bool = False) -> submitit.SlurmExecutor:
    import submitit

    class Anywhere(submitit.SlurmExecutor):
        """Also where there is no srun: to show what would be submitted."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = (Anywhere if dry else submitit.SlurmExecutor)(folder, max_num_timeout=MAX_TIMEOUTS)
    executor.update_parameters(**parameters(array.resources, name))
    return executor


def _submit_array(executor: submitit.SlurmExecutor, tasks: Sequence[RunTask]) -> list[str]:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        submitted: list[submitit.Job[str]] = executor.submit_array(tasks)
    except (FailedSubmissionError, FailedJobError, subprocess.CalledProcessError) as error:
        said = [line for line in str(error).splitlines() if "sbatch: error" in line] or str(error).splitlines()[-1:]
        raise BenchError(f"sbatch refused the job: {' '.join(said).strip()}") from error
    return [str(job.job_id) for job in submitted]


def _ask(*command: str) -> str:
    """The output of a SLURM client; raises BenchError with its first line of complaint."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ASK_TIMEOUT_SECONDS, check=False)
    except FileNotFoundError as error:
        raise BenchError(f"{command[0]} is not on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{command[0]} did not answer in {ASK_TIMEOUT_SECONDS} s") from error
    if answer.returncode != 0:
        said = (answer.stderr or answer.stdout).strip().splitlines()
        raise BenchError(f"{command[0]} failed: {said[0] if said else f'exit code {answer.returncode}'}")
    return answer.stdout
