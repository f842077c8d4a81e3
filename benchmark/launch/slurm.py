"""The SLURM executor: runs that ask for the same resources become one job array, through submitit.

What runs is a copy of the code as it was submitted; what a job does is in task.py. What SLURM knows of a job is found
by the submission's name, never by job id: ids are used again after a while.
"""

from __future__ import annotations

import io
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchError
from benchmark.launch.jobs import Job
from benchmark.launch.kept_code import code_hash, keep_code
from benchmark.launch.sbatch import parameters
from benchmark.launch.status import QueuedJob
from benchmark.launch.task import RunTask, ask
from benchmark.plan.resources import Resources
from benchmark.store.folders import RunFolder, Status

if TYPE_CHECKING:
    import submitit

LOOK_FOR_JOBS_SECONDS = (0.0, 2.0, 5.0)  # after an answer that does not say whether sbatch has accepted them
# What says that sbatch was not understood, or its answer lost, and nothing of whether the jobs were accepted.
NO_REFUSAL = re.compile("timed out|unable to contact|connection|communication|socket|zero bytes|unexpected message")
DEFAULT_MAX_ARRAY_SIZE = 1000


@dataclass(frozen=True)
class Array:
    """Jobs that go to SLURM together: one array, or a plain job when there is one.

    after: the runs that they go on from, as far as those are not done: SLURM starts no job of the array before.
    """

    resources: Resources
    jobs: tuple[Job, ...]
    after: tuple[RunFolder, ...] = ()


def is_available() -> bool:
    """Whether there is a SLURM to submit to: sbatch is on PATH, and a controller answers.

    Raises BenchError where one belongs here and does not answer: what was meant for a cluster is not to run on its
    login node. Clients without any cluster, as a distribution installs them, are none.
    """
    if shutil.which("sbatch") is None:
        return False
    try:
        said = ask("scontrol", "ping")
    except BenchError as error:
        if "Could not establish a configuration source" in str(error):
            return False
        said = str(error)
    if " is UP" in said:
        return True
    raise BenchError(
        f"SLURM is installed here, but its controller does not answer ({' '.join(said.split())}); try again later, or "
        "choose: --executor local (this machine), --executor slurm (sbatch is asked all the same)"
    )


def max_array_size() -> int:
    """How many jobs one array may have: MaxArraySize caps the index, so it is the number of jobs from index 0 on."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
    except BenchError:
        return DEFAULT_MAX_ARRAY_SIZE
    return max(1, int(found.group(1))) if found else DEFAULT_MAX_ARRAY_SIZE


def make_arrays(
    jobs: Sequence[tuple[Job, Resources]], largest: int, open_runs: Mapping[str, RunFolder] = MappingProxyType({})
) -> list[Array]:
    """Group by equal resources, in the order given, and cut groups into arrays of at most `largest` jobs. Jobs that go
    on from another run come last, in arrays of their own. open_runs: recipe -> folder of what is queued or will be."""
    groups: dict[tuple[bool, str], tuple[Resources, list[Job]]] = {}
    for job, resources in jobs:
        key = (job.config.method.starts_from is not None, resources.model_dump_json())
        groups.setdefault(key, (resources, []))[1].append(job)

    def array(resources: Resources, part: list[Job]) -> Array:
        starts = dict.fromkeys(recipe for job in part if (recipe := job.config.method.starts_from))
        return Array(resources, tuple(part), tuple(open_runs[recipe] for recipe in starts if recipe in open_runs))

    return [
        array(resources, group[start : start + largest])
        for _, (resources, group) in sorted(groups.items(), key=lambda one: one[0][0])
        for start in range(0, len(group), largest)
    ]


def describe(arrays: Sequence[Array]) -> str:
    """The submission in words: one line per array, and the hours it may take in all."""
    lines = []
    for array in arrays:
        count = len(array.jobs)
        at_a_time = (
            f", {array.resources.array_parallelism} at a time" if count > array.resources.array_parallelism else ""
        )
        lines.append(
            f"{f'array of {count} runs{at_a_time}' if count > 1 else 'one run'}, each: {array.resources.in_words()}"
            + (f"; after the {len(array.after)} they go on from" if array.after else "")
        )
    hours = sum(array.resources.hours * len(array.jobs) for array in arrays)
    runs = sum(len(array.jobs) for array in arrays)
    times = f"{len(arrays)} submission{'s' * (len(arrays) > 1)}"
    return "\n".join([*lines, f"{runs} runs in {times}, at most {hours:.4g} hours of jobs a start"])


def submission_text(
    array: Array, name: str, results: Path, queued: Mapping[str, QueuedJob] = MappingProxyType({})
) -> str:
    """The sbatch file of `array`, word for word as it would be submitted (but for the submission's own token).

    queued: as for `submit`; the ids of what would be submitted before are not known yet.
    """
    submission = Submission.new(name, results)
    executor = _executor(submission, array, {run: job.job for run, job in queued.items()}, dry=True)
    if len(array.jobs) > 1:
        executor.parameters["map_count"] = len(array.jobs)
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


@dataclass(frozen=True)
class Submission:
    """One call of sbatch. Its name is unique: by it, whatever of it SLURM still has is found again."""

    name: str
    folder: Path  # submitit's files: a new one each time, so that old pickles cannot answer for new jobs
    code: Path

    @classmethod
    def new(cls, sweep: str, results: Path) -> Submission:
        token, base = secrets.token_hex(3), results.resolve() / ".submitit"
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", sweep)
        return cls(f"{name}-{token}", base / f"{time.strftime('%Y%m%d-%H%M%S')}-{token}", base / f"code-{code_hash()}")


def submit(
    arrays: Sequence[Array],
    name: str,
    results: Path,
    data_root: Path,
    checkpoint_seconds: float,
    queued: Mapping[str, QueuedJob] = MappingProxyType({}),
    anew: Collection[str] = (),
) -> Iterator[tuple[str, str]]:
    """Submit, and yield (run name, job id) array by array; each run's job.json keeps its submission and id.

    queued: run name -> its job, of what is in the queue already and others may have to wait for. anew: the names of
    runs whose results are set aside first; where an array is refused they are put back.
    Raises BenchError when sbatch refuses an array, or does not say what became of it; those before it stay submitted.
    Whenever this process dies, what was submitted is whole and is found again: the name is on disk before sbatch is
    called, and stays there unless sbatch has clearly refused.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise BenchError("--executor slurm: sbatch and srun are not on PATH; use --executor local")
    done, ids = 0, {run: job.job for run, job in queued.items()}
    for array in arrays:
        submission = Submission.new(name, results)
        keep_code(submission.code)
        submission.folder.mkdir(parents=True)
        before = [(job.folder, job.folder.read_status(), job.folder.read_job()) for job in array.jobs]
        aside = [job.folder for job in array.jobs if job.folder.name in anew]
        for folder in aside:
            folder.set_aside()
        tasks = []
        for index, job in enumerate(array.jobs):
            folder = job.folder
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.keep_config(job.config)
            status = folder.read_status()
            if status is not None and status.state == "failed":  # that was another job
                folder.write_status(status.model_copy(update={"state": "interrupted", "error": ""}))
            paths = folder.config.resolve(), results.resolve(), data_root.resolve()
            tasks.append(RunTask(*paths, array.resources, checkpoint_seconds, _warning_signal()))
            note = {"name": submission.name, "index": index, "folder": str(submission.folder), "submitted": time.time()}
            folder.write_job(note)
        others = f"; asked for: {array.resources.in_words()}" + (f"; the {done} runs before are submitted" * bool(done))
        try:
            given = _submit_array(_executor(submission, array, ids), tasks)
        except _Refused as error:
            for folder in aside:
                folder.put_back()
            for folder, status, note in before:
                _put_back(folder, status, note)
            shutil.rmtree(submission.folder, ignore_errors=True)
            raise BenchError(f"sbatch refused: {error}{others}") from error
        except _Unclear as error:
            found = _found_by_name([job.folder for job in array.jobs])
            if found is None:
                raise BenchError(
                    f"sbatch answered {str(error)!r}, which does not say whether it has accepted {submission.name}, "
                    "and squeue does not show it; nothing is undone: `bench status` tells when it is there, and "
                    f"`bench sweep` looks for it before it submits again{others}"
                ) from error
            given = found
        for job, job_id in zip(array.jobs, given, strict=True):
            job.folder.write_job(job.folder.read_job() | {"job": job_id})
            ids[job.folder.name] = job_id
            yield job.folder.name, job_id
        done += len(array.jobs)


def _put_back(folder: RunFolder, status: Status | None, note: dict[str, Any]) -> None:
    """What was known of a run before a submission that SLURM has refused: why it failed, and its last job."""
    if status is not None and status.state == "failed":
        folder.write_status(status)
    if note:
        folder.write_job(note)
    else:
        folder.job.unlink(missing_ok=True)


def _executor(
    submission: Submission, array: Array, ids: Mapping[str, str], dry: bool = False
) -> submitit.SlurmExecutor:
    """ids: run name -> its job, of the runs that the array may have to wait for."""
    import submitit

    class Anywhere(submitit.SlurmExecutor):
        """Also where there is no srun: to show what would be submitted."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = (Anywhere if dry else submitit.SlurmExecutor)(submission.folder)
    asked = parameters(array.resources, submission.name)
    folder = shlex.quote(str(submission.folder))
    asked["setup"] += [
        # The code as submitted, whatever becomes of the working tree; after `setup`, which may touch PYTHONPATH.
        f'export PYTHONPATH={shlex.quote(str(submission.code))}"${{PYTHONPATH:+:$PYTHONPATH}}" PYTHONSAFEPATH=1',
        # Where submitit, had its process died after sbatch, would not have put its pickle.
        'job="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"',
        f'cp -n {folder}/run-"${{SLURM_ARRAY_TASK_ID:-0}}".pkl {folder}/"$job"_submitted.pkl',
    ]
    if before := [ids[run.name] for run in array.after if run.name in ids]:
        others = asked["additional_parameters"].get("dependency")
        # any: whether the run before has ended well, the job itself finds out, and says so in one line.
        wanted = f"afterany:{':'.join(before)}"
        asked["additional_parameters"]["dependency"] = f"{others},{wanted}" if others else wanted
    executor.update_parameters(**asked)
    return executor


def _warning_signal() -> int:
    """What submitit has SLURM send before a job's end."""
    import submitit

    return int(getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}"))


class _Refused(Exception):
    """sbatch has said that it accepts nothing, and why."""


class _Unclear(Exception):
    """What sbatch said leaves open whether it has accepted the jobs."""


def _submit_array(executor: submitit.SlurmExecutor, tasks: Sequence[RunTask]) -> list[str]:
    from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError

    for index, task in enumerate(tasks):
        delayed = DelayedSubmission(task)
        delayed.set_timeout(executor.parameters["time"], 0)
        delayed.dump(Path(executor.folder) / f"run-{index}.pkl")
    try:
        with redirect_stderr(io.StringIO()):  # submitit repeats there what it then raises
            submitted: list[submitit.Job[str]] = executor.submit_array(tasks)
    except FailedSubmissionError as error:  # it was content, and submitit has not found the job's number
        said = (re.findall(r'sbatch output "(.*)"\n', str(error), re.DOTALL) or [str(error)])[0].strip()
        number = re.search(r"^(\d+)(;\S+)?$", said, re.MULTILINE)  # alone, as with --parsable
        if number is None:
            raise _Unclear(" ".join(said.split())) from error
        return [number[1]] if len(tasks) == 1 else [f"{number[1]}_{index}" for index in range(len(tasks))]
    except (FailedJobError, subprocess.CalledProcessError) as error:
        reasons = re.findall(r"^sbatch: error: (.*)$", str(error), re.MULTILINE)
        said = "; ".join(reasons or str(error).splitlines()[-1:]).strip()
        raise (_Refused if reasons and not NO_REFUSAL.search(said.lower()) else _Unclear)(said) from error
    return [str(job.job_id) for job in submitted]


def _found_by_name(folders: Sequence[RunFolder]) -> list[str] | None:
    """The jobs of these runs, in their order, once squeue shows all of them; None where it does not."""
    for seconds in LOOK_FOR_JOBS_SECONDS:
        time.sleep(seconds)
        with suppress(BenchError):  # squeue is as likely to be out of reach
            jobs = queued_jobs(folders)
            if all(folder.name in jobs for folder in folders):
                return [jobs[folder.name].job for folder in folders]
    return None


# What SLURM knows -----------------------------------------------------------------------------------------------------


def queued_jobs(folders: Iterable[RunFolder]) -> dict[str, QueuedJob]:
    """Run name -> its job, for the runs whose job SLURM still has. Asks squeue once, or not at all without jobs.

    Raises BenchError when squeue does not answer.
    """
    places = _submitted_places(folders)
    if not places:
        return {}
    names = ",".join(sorted({name for name, _ in places}))
    try:
        lines = ask("squeue", "--noheader", "--array", f"--name={names}", "--format=%i|%T|%N|%j|%r").splitlines()
    except BenchError as error:
        raise BenchError(f"{error}; so it is unknown which jobs of earlier submissions are still queued") from error
    jobs = {}
    for line in lines:
        job, state, node, name, reason = (part.strip() for part in line.split("|", 4))
        run = places.get((name, _index(job)))
        if run is not None:
            jobs[run] = QueuedJob(job, state, node, "" if reason == "None" else reason)
    return jobs


def last_words(folders: Iterable[RunFolder]) -> dict[str, str]:
    """Run name -> how SLURM's accounting says that its job ended ("TIMEOUT"); empty where there is no accounting."""
    folders = list(folders)
    places = _submitted_places(folders)
    if not places or shutil.which("sacct") is None:
        return {}
    since = min(folder.read_job().get("submitted", time.time()) for folder in folders)
    names = ",".join(sorted({name for name, _ in places}))
    try:
        lines = ask(
            "sacct",
            "--noheader",
            "--parsable2",
            "--allocations",
            f"--name={names}",
            f"--starttime={time.strftime('%Y-%m-%dT%H:%M:%S', time.localtime(since - 60))}",
            "--format=JobID,JobName,State",
        ).splitlines()
    except BenchError:
        return {}
    ends = {}
    for line in lines:
        job, name, state = line.split("|", 2)
        run = places.get((name, _index(job)))
        if run is not None:
            ends[run] = f"job {job}: {state.split(' by ')[0]}"
    return ends


def cancel(folders: Iterable[RunFolder]) -> list[tuple[str, str]]:
    """End the jobs of these runs, which save their checkpoints, and return (run name, job id) of each.

    Raises BenchError when squeue or scancel does not do as told.
    """
    by_name = {folder.name: folder for folder in folders}
    jobs = queued_jobs(by_name.values())
    for name in jobs:  # first: a job that is told to end looks here whether to ask for another start
        by_name[name].write_job(by_name[name].read_job() | {"cancelled": time.time()})
    if jobs:
        ask("scancel", *(job.job for job in jobs.values()))
    return [(name, job.job) for name, job in jobs.items()]


def job_output(folder: RunFolder) -> list[Path]:
    """What SLURM itself wrote of the run's last job, before and after the run had its log: files that are not empty."""
    note = folder.read_job()
    job, place = note.get("job"), note.get("folder")
    if not job or not place:
        return []
    return [path for path in sorted(Path(place).glob(f"{job}_*_log.*")) if path.stat().st_size]


def _submitted_places(folders: Iterable[RunFolder]) -> dict[tuple[str, int], str]:
    """(submission's name, index in its array) -> run name."""
    places = {}
    for folder in folders:
        note = folder.read_job()
        if note.get("name"):
            places[(note["name"], note.get("index", 0))] = folder.name
    return places


def _index(job: str) -> int:
    index = job.partition("_")[2]
    return int(index) if index.isdigit() else 0
