"""What a SLURM job does: one run, from the paths it is given, until it is done, stopped by SLURM, or held elsewhere.

The job's pickle holds no objects: the settings are read from the run's config.yaml. Periodic checkpoints are what a run
resumes from; asking SLURM for another start of the same job only saves the user the next `bench sweep`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import cast

from benchmark.errors import BenchError, StillToDo
from benchmark.exits import explain_os, no_room
from benchmark.launch.status import mark
from benchmark.plan.resources import Resources
from benchmark.running.signals import heeded
from benchmark.store.folders import RunFolder
from benchmark.store.leases import RunIsHeld

FRUITLESS_STARTS = 3  # so many time limits in a row without one training step, and the run counts as failed
ASK_TIMEOUT_SECONDS = 30


class RunTask:
    """What a SLURM job calls: one run, by its paths. submitit pickles it, and loads it again at each requeue."""

    def __init__(
        self,
        config: Path,
        results: Path,
        data_root: Path,
        resources: Resources,
        checkpoint_seconds: float,
        warning: int = signal.SIGUSR2,
    ) -> None:
        self.config, self.results, self.data_root = str(config), str(results), str(data_root)
        self.threads, self.hours = resources.cpus, resources.hours
        self.device = "cuda" if resources.device == "auto" and resources.gpus else resources.device
        self.checkpoint_seconds = checkpoint_seconds
        self.warning = int(warning)  # the signal that SLURM is told to send before the end

    def __call__(self) -> str:
        """Train and score the run; returns how it ended. All output goes to the run's own log."""
        folder = RunFolder(Path(self.config).parent)
        begun = time.monotonic()
        with _stop_on_warning(self.warning):
            try:
                if _is_first_task():  # what others say is in submitit's log of each, and in `bench logs`
                    _send_output_to(folder.log)
                    _note_job(folder)
                return self._run(folder)
            except KeyboardInterrupt:  # its checkpoint is saved
                return self._after_stop(folder, time.monotonic() - begun) if _is_first_task() else "stopped"
            except StillToDo:  # as the run's status has it
                return "interrupted"
            except Exception as error:  # perhaps before the run could say so itself
                status = folder.read_status()
                if no_room(error):
                    mark(folder, "interrupted", explain_os(cast("OSError", error)))
                    return "interrupted"
                if _is_first_task() and (status is None or status.state != "failed"):
                    said = f"error: {error}" if isinstance(error, BenchError) else traceback.format_exc()
                    mark(folder, "failed", said)
                raise

    def _run(self, folder: RunFolder) -> str:
        config, several = folder.read_config(), os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
        from benchmark.run import run
        from benchmark.running.device import Runtime
        from benchmark.running.processes import from_environment

        runtime = Runtime(self.device, self.threads, self.checkpoint_seconds, from_environment())
        if several and runtime.ranks.is_main:
            _lease_ends(folder)  # the others wait for this one; who is refused then is refused with them
        while True:
            try:
                run(config, Path(self.results), Path(self.data_root), runtime)
                return "done"
            except RunIsHeld as error:
                print(f"{error}; waiting for it to end or to fall silent", flush=True)
                if several or not _lease_ends(folder):
                    print("it is alive; nothing to do here", flush=True)
                    return "held"

    def _after_stop(self, folder: RunFolder, seconds: float) -> str:
        """Stopped by SLURM's warning or SIGTERM: ask for the job again, unless it is being ended or requeued anyway."""
        for number in heeded():
            signal.signal(number, signal.SIG_IGN)  # the requeue below ends this very job
        note, job = folder.read_job(), _own_job_id()
        state = "cancelled" if note.get("cancelled") else _state_in_queue(job)
        if state != "RUNNING":
            print(f"not requeued automatically: the job is {state or 'unknown to squeue'}", flush=True)
            return "interrupted"
        attempts, status = folder.read_attempts(), folder.read_status()
        progressed = status is not None and bool(attempts) and status.step > attempts[-1].get("step", 0)
        at_the_limit = seconds > self.hours * 3600 / 2
        fruitless = 0 if progressed else note.get("fruitless", 0) + at_the_limit
        folder.write_job(note | {"fruitless": fruitless})
        if fruitless >= FRUITLESS_STARTS:
            mark(
                folder,
                "failed",
                f"error: no training step in {fruitless} starts of {self.hours * 60:.0f} min each; "
                "give the run more: resources.hours",
            )
            return "failed"
        try:
            subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip()
            print(f"not requeued ({said}); `bench sweep` again continues from the checkpoint", flush=True)
            return "interrupted"
        print(f"requeued job {job}", flush=True)
        return "requeued"


@contextmanager
def _stop_on_warning(number: int) -> Iterator[None]:
    """SLURM's warning (time limit, preemption) becomes the SIGTERM that a run answers with a checkpoint after its step.

    Not SIGINT: after a SIGTERM that would be a second Ctrl-C, which means at once. submitit's own handler would requeue
    at once, in the middle of a training step.
    """
    warned = False

    def warn(_number: int, _frame: FrameType | None) -> None:
        nonlocal warned
        if warned:
            return
        warned = True
        if signal.getsignal(signal.SIGTERM) is warn:  # no run has set a handler of its own
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGTERM)

    before = {n: signal.getsignal(n) for n in (*heeded(), number)}
    # SIGTERM comes at `scancel`, `scontrol requeue` and on clusters that preempt without the warning.
    for n in before:
        signal.signal(n, signal.default_int_handler if n == signal.SIGINT else warn)
    try:
        yield
    finally:
        for n in before:
            signal.signal(n, signal.SIG_IGN if n == number else before[n])


def _send_output_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with open(log, "ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)


def _is_first_task() -> bool:
    return os.environ.get("SLURM_PROCID", "0") == "0"


def _own_job_id() -> str:
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


def _note_job(folder: RunFolder) -> None:
    """Say in the log which start this is, and in job.json the job's id: the submitter may have died before it could."""
    restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    node = os.environ.get("SLURM_JOB_NODELIST", "")
    again = f", requeued {restart} time{'s' * (restart > 1)}" if restart else ""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} job {_own_job_id()} on {node}{again}", flush=True)
    note = folder.read_job()
    if note.get("job") != _own_job_id() and note.get("name") == os.environ.get("SLURM_JOB_NAME"):
        folder.write_job(note | {"job": _own_job_id()})


def _lease_ends(folder: RunFolder) -> bool:
    """Wait while another process holds the run: True once it does not, False when it is alive and another job's.

    SLURM may take a node for dead whose job goes on, and start this one beside it. An earlier start of this very job is
    waited for as long as it lives, because nobody else would go on with the run; a lease without heartbeat expires.
    """
    first_beat = None
    while (holder := folder.holder()) is not None:
        with suppress(FileNotFoundError):
            beat = folder.lease.stat().st_mtime
            first_beat = first_beat or beat
            if beat != first_beat and holder.get("job") != os.environ.get("SLURM_JOB_ID"):
                return False
        time.sleep(2)
    return True


def _state_in_queue(job: str) -> str:
    try:
        return ask("squeue", "--noheader", f"--jobs={job}", "--format=%T").strip()
    except BenchError:
        return ""


def ask(*command: str) -> str:
    """The output of a SLURM client; raises BenchError with the last line of its complaint, the summary."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ASK_TIMEOUT_SECONDS, check=False)
    except FileNotFoundError as error:
        raise BenchError(f"{command[0]} is not on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{command[0]} did not answer in {ASK_TIMEOUT_SECONDS} s") from error
    if answer.returncode != 0:
        said = (answer.stderr or answer.stdout).strip().splitlines()
        raise BenchError(f"{command[0]} failed: {said[-1] if said else f'exit code {answer.returncode}'}")
    return answer.stdout
