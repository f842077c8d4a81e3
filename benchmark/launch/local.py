"""The local executor: a small queue of subprocesses, one slot a GPU, or --jobs slots on a CPU with threads divided.

Each run is its own process (`bench run .../config.yaml`) in its own process group, so that a crash takes nothing else
along and Ctrl-C reaches the queue alone, which then stops the runs in order. What a run does is written in its folder;
the queue reads status.json and writes it only for a process that died without a word.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol

import benchmark
from benchmark.launch.status import duration, mark_failed, progress_text, share_done
from benchmark.plan.config import RunConfig
from benchmark.store.folders import RunFolder
from benchmark.store.states import state_of

HELD_ELSEWHERE = 75  # exit code of `bench run` (EX_TEMPFAIL): another process is on the run
INTERRUPTED = 130  # exit code of `bench run` after SIGINT or SIGTERM, its checkpoint saved
# What a run that is to stop is sent, and how many seconds after the request. Each further Ctrl-C skips one stage.
STOP_STAGES = ((0.0, signal.SIGINT), (20.0, signal.SIGTERM), (30.0, signal.SIGKILL))
POLL_SECONDS = 0.1
LOG_TAIL_LINES = 15
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """A run that waits its turn."""

    config: RunConfig
    folder: RunFolder


@dataclass(frozen=True)
class Slot:
    """A place to run: a GPU (by its id in CUDA_VISIBLE_DEVICES; None on a CPU) and a number of threads."""

    gpu: str | None
    threads: int

    def environment(self) -> dict[str, str]:
        """The environment of a process in this slot."""
        threads = {name: str(self.threads) for name in THREAD_VARIABLES}
        gpu = {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu}
        # The runs import this very package, not whatever is called `benchmark` in the folder we were started in.
        package = str(Path(benchmark.__file__).parent.parent)
        paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        alone = {"RANK": "0", "WORLD_SIZE": "1"}  # one process a run, also where this queue is one of several tasks
        python = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
        return {**os.environ, **threads, **gpu, **alone, **python}


@dataclass(frozen=True)
class Outcome:
    """How a run of the queue ended. elsewhere: another process is on it."""

    name: str
    state: Literal["done", "failed", "interrupted", "elsewhere"]
    detail: str = ""
    seconds: float = 0.0


class Process(Protocol):
    """What the queue asks of a run's process."""

    @property
    def pid(self) -> int | None: ...

    def poll(self) -> int | None:
        """Its exit code (minus the signal's number if one killed it), None while it runs."""
        ...


Launch = Callable[[Job, Slot], Process]  # starts a run, its output going to the end of its log


class Display(Protocol):
    """Who is told what happens in the queue."""

    def started(self, job: Job) -> None: ...

    def running(self, jobs: Sequence[Job]) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


def bench_run(data_root: Path, checkpoint_seconds: float) -> Launch:
    """Starts `bench run`: on a GPU as a program of its own, on a CPU forked from a process that has torch imported.

    Importing torch, timm and scikit-learn takes ten seconds and more, as long as many a CPU run; a run on a GPU is long
    enough not to care, and gets a process that no CUDA state can leak into.
    """

    def arguments(job: Job, slot: Slot) -> list[str]:
        return [
            "run",
            str(job.folder.config),
            "--results",
            str(job.folder.path.parent),
            "--data",
            str(data_root),
            "--threads",
            str(slot.threads),
            "--checkpoint-every",
            f"{checkpoint_seconds:g}",
        ]

    as_program = by_command(lambda job, slot: [sys.executable, "-m", "benchmark", *arguments(job, slot)])

    def launch(job: Job, slot: Slot) -> Process:
        return as_program(job, slot) if slot.gpu is not None else _Forked(arguments(job, slot), job.folder.log, slot)

    return launch


def by_command(command: Callable[[Job, Slot], list[str]]) -> Launch:
    """Starts a run as the program that `command` names."""

    def launch(job: Job, slot: Slot) -> Process:
        with open(job.folder.log, "ab") as log:
            return subprocess.Popen(
                command(job, slot),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=slot.environment(),
                start_new_session=True,
            )

    return launch


def warm_up(slot: Slot) -> multiprocessing.context.ForkServerContext:
    """Start the server that CPU runs are forked from, if it is not running: it imports while we go on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmark.run", "timm", "sklearn.metrics"])
    # The server inherits it at its start, when OpenMP and BLAS read it: all CPU slots have equally many threads.
    os.environ.update(slot.environment())
    forkserver.ensure_running()
    return context


class _Forked:
    """`bench run` in a fork of multiprocessing's fork server, which has the heavy imports behind it."""

    def __init__(self, arguments: list[str], log: Path, slot: Slot) -> None:
        context = warm_up(slot)
        self._process = context.Process(target=_run_forked, args=(arguments, str(log)))
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode


def _run_forked(arguments: list[str], log: str) -> None:
    """In the fork: become the leader of a process group, write to the log, and be `bench run`."""
    os.setsid()
    stream = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for number in (1, 2):
        os.dup2(stream, number)
    sys.argv = ["bench", *arguments]
    from benchmark.cli import main

    main()


def make_slots(runs: int, jobs: int | None) -> list[Slot]:
    """One slot a visible GPU; on a CPU, min(cores, runs). `jobs` sets another number; more than GPUs share them."""
    gpus = visible_gpus()
    cores = len(os.sched_getaffinity(0))
    count = max(1, min(jobs or len(gpus) or cores, runs))
    threads = max(1, cores // count)
    return [Slot(gpus[index % len(gpus)] if gpus else None, threads) for index in range(count)]


def visible_gpus() -> list[str]:
    """Ids of the GPUs this process may use: CUDA_VISIBLE_DEVICES, or else what nvidia-smi lists. No torch needed."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [part.strip() for part in given.split(",") if part.strip() and part.strip() != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return []
    return answer.stdout.split()


def run_queue(jobs: Sequence[Job], slots: Sequence[Slot], launch: Launch, display: Display) -> list[Outcome]:
    """Run `jobs` in order, at most one a slot, and return how each ended. A run that fails leaves the others going.

    SIGINT, SIGTERM and SIGHUP stop all runs (each saves a checkpoint); those and the ones not started yet come back as
    "interrupted". A job that is done or held by the time its turn comes is not started.
    """
    waiting, free, running, outcomes = deque(jobs), list(slots), list[_Child](), list[Outcome]()

    def end(outcome: Outcome) -> None:
        outcomes.append(outcome)
        display.ended(outcome)

    with _stop_requests() as stop:
        try:
            while waiting or running:
                while waiting and free and not stop.asked:
                    job = waiting.popleft()
                    state, _, _ = state_of(job.config, job.folder)
                    if state == "done":
                        end(Outcome(job.folder.name, "done", "finished meanwhile by another sweep"))
                    elif state == "running":
                        end(Outcome(job.folder.name, "elsewhere", "another process is on it"))
                    else:
                        running.append(_Child(job, free.pop(0), launch))
                        display.started(job)
                while waiting and stop.asked:
                    end(Outcome(waiting.popleft().folder.name, "interrupted", "not started"))
                for child in list(running):
                    if stop.asked:
                        child.stop(stop)
                    outcome = child.outcome(stopping=stop.asked)
                    if outcome is not None:
                        running.remove(child)
                        free.append(child.slot)
                        end(outcome)
                display.running([child.job for child in running])
                if running:
                    time.sleep(POLL_SECONDS)
        except BaseException:  # a full disk, a broken record: the runs already started still stop in order
            stop.request()
            while any(child.process.poll() is None for child in running):
                for child in running:
                    child.stop(stop)
                time.sleep(POLL_SECONDS)
            raise
        finally:
            for child in running:
                child.kill_group()
    return outcomes


@dataclass
class _Stop:
    """How often and since when a stop has been asked for."""

    times: list[float] = field(default_factory=list)

    @property
    def asked(self) -> bool:
        return bool(self.times)

    def request(self, *_: Any) -> None:
        self.times.append(time.monotonic())

    def stages(self) -> int:
        """How many of STOP_STAGES are due."""
        age = time.monotonic() - self.times[0]
        return min(len(STOP_STAGES), max(len(self.times), sum(age >= after for after, _ in STOP_STAGES)))


@contextmanager
def _stop_requests() -> Iterator[_Stop]:
    """Turn stop signals into requests. A SIGHUP that `nohup` ignores stays ignored."""
    stop = _Stop()

    def handler(_number: int, _frame: FrameType | None) -> None:
        stop.request()

    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)


class _Child:
    """The process of one run."""

    def __init__(self, job: Job, slot: Slot, launch: Launch) -> None:
        self.job, self.slot = job, slot
        folder = job.folder
        folder.path.mkdir(parents=True, exist_ok=True)
        if not folder.config.exists() or folder.read_config() != job.config:
            folder.write_config(job.config)
        folder.status.unlink(missing_ok=True)  # so that what is there at the end was written by this process
        self._stages_sent = 0
        self._started = time.monotonic()
        self._log_start = folder.log.stat().st_size if folder.log.exists() else 0
        folder.log.touch()
        self.process = launch(job, slot)

    def stop(self, stop: _Stop) -> None:
        """Send the stop signals that are due: SIGINT to the run alone, the harder ones to its whole group."""
        for _, number in STOP_STAGES[self._stages_sent : stop.stages()]:
            with suppress(ProcessLookupError):
                if self.process.poll() is None and self.process.pid:
                    (os.kill if number == signal.SIGINT else os.killpg)(self.process.pid, number)
        self._stages_sent = max(self._stages_sent, stop.stages())

    def kill_group(self) -> None:
        """End what the run's process left behind (loader workers outlive a crash)."""
        with suppress(ProcessLookupError, PermissionError):
            assert self.process.pid
            os.killpg(self.process.pid, signal.SIGKILL)

    def outcome(self, stopping: bool) -> Outcome | None:
        """How the run ended, None while it goes on. A death without a word is written into its status."""
        code = self.process.poll()
        if code is None:
            return None
        self.kill_group()
        name, seconds = self.job.folder.name, time.monotonic() - self._started
        if code == 0 and self.job.folder.record.exists():
            return Outcome(name, "done", seconds=seconds)
        if code == HELD_ELSEWHERE:
            return Outcome(name, "elsewhere", "another process is on it", seconds)
        if code in (INTERRUPTED, -signal.SIGINT, -signal.SIGTERM) or (stopping and code == -signal.SIGKILL):
            return Outcome(name, "interrupted", seconds=seconds)
        status = self.job.folder.read_status()
        if status is None or status.state != "failed":
            mark_failed(self.job.folder, self._last_words(code))
            status = self.job.folder.read_status()
        error = (status.error if status else "").strip().splitlines()
        return Outcome(name, "failed", error[-1] if error else f"exit code {code}", seconds)

    def _last_words(self, code: int) -> str:
        """The end of the log, and as its last line the reason as far as the exit code tells it."""
        with open(self.job.folder.log, "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - 20_000))
            tail = log.read().decode(errors="replace").strip().splitlines()[-LOG_TAIL_LINES:]
        if code < 0:
            hint = " (out of memory?)" if code == -signal.SIGKILL else ""
            tail.append(f"killed by {signal.Signals(-code).name}{hint}")
        elif code == 0:
            tail.append("ended without a record")
        elif not tail:
            tail.append(f"exit code {code} without a word in the log")
        return "\n".join(tail)


def _end_text(outcome: Outcome, folder_of: dict[str, RunFolder]) -> str:
    text = f"{outcome.state:<11} {outcome.name}"
    if outcome.seconds:
        text += f"  {duration(outcome.seconds)}"
    if outcome.detail:
        text += f"  {outcome.detail}"
    return text + (f"  (log: {folder_of[outcome.name].log})" if outcome.state == "failed" else "")


class Lines:
    """Plain lines, for files and pipes: one at the start and the end of each run, and now and then how far they are."""

    def __init__(self, jobs: Sequence[Job], every_seconds: float = 30.0) -> None:
        self._folders = {job.folder.name: job.folder for job in jobs}
        self._every, self._last = every_seconds, time.monotonic()
        self._ended = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def started(self, job: Job) -> None:
        self._print(f"{'start':<11} {job.folder.name}")

    def running(self, jobs: Sequence[Job]) -> None:
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            for job in jobs:
                status = job.folder.read_status()
                self._print(f"{'running':<11} {job.folder.name}  {progress_text(status) if status else 'starting'}")

    def ended(self, outcome: Outcome) -> None:
        self._ended += 1
        self._print(f"{_end_text(outcome, self._folders)}  [{self._ended}/{len(self._folders)}]")

    def _print(self, text: str) -> None:
        print(text, flush=True)


class Bars:
    """A bar for each run that is going and one for the sweep, on a terminal."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._folders = {job.folder.name: job.folder for job in jobs}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=14),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
        )
        self._sweep = self._progress.add_task("sweep", total=len(jobs), detail="")
        self._bars: dict[str, Any] = {}
        self._last = 0.0

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def started(self, job: Job) -> None:
        self._bars[job.folder.name] = self._progress.add_task(job.folder.name, total=1.0, detail="starting")

    def running(self, jobs: Sequence[Job]) -> None:
        if time.monotonic() - self._last < 0.5:
            return
        self._last, shares = time.monotonic(), 0.0
        for job in jobs:
            status = job.folder.read_status()
            shares += share_done(status)
            self._progress.update(
                self._bars[job.folder.name],
                completed=share_done(status),
                detail=progress_text(status) if status else "starting",
            )
        self._show_sweep(shares)

    def ended(self, outcome: Outcome) -> None:
        bar = self._bars.pop(outcome.name, None)
        if bar is not None:
            self._progress.remove_task(bar)
        self._progress.console.print(_end_text(outcome, self._folders), markup=False, highlight=False)
        self._ended += 1
        self._show_sweep(0.0)

    _ended = 0

    def _show_sweep(self, shares: float) -> None:
        self._progress.update(self._sweep, completed=self._ended + shares, detail=f"{self._ended}/{len(self._folders)}")
