"""The local executor: a small queue of subprocesses, one slot per GPU, or --jobs slots on a CPU with threads divided.

Each run is its own process (`bench run .../config.yaml`) in its own process group, so that a crash takes nothing else
along and Ctrl-C reaches the queue alone, which then stops the runs in order. What a run does is written in its folder;
the queue reads status.json and writes it only for a process that died without a word.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from benchmark.exits import HELD_ELSEWHERE, INTERRUPTED, USER_ERROR
from benchmark.launch.display import Display
from benchmark.launch.jobs import Job, Outcome
from benchmark.launch.slots import Slot
from benchmark.launch.starting import Launch
from benchmark.launch.status import mark
from benchmark.running.signals import Requests, stop_signals_answered

# What a run that is to stop is sent, and how many seconds after the request. A further Ctrl-C skips one stage.
STOP_STAGES = ((0.0, signal.SIGINT), (20.0, signal.SIGTERM), (30.0, signal.SIGKILL))
STOPPED = (INTERRUPTED, -signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP)  # exit codes
UNWRITABLE = 120  # Python's exit code where what is left to write of its output cannot be written
POLL_SECONDS = 0.1
LOG_TAIL_LINES = 15


def run_queue(
    jobs: Sequence[Job], slots: Sequence[Slot], launch: Launch, display: Display, stop: Stop | None = None
) -> list[Outcome]:
    """Run `jobs` in order, at most one per slot, and return how each ended. A run that fails leaves the others going.

    SIGINT, SIGTERM, SIGHUP and the deadline of `stop` stop all runs (each saves a checkpoint); those and the ones not
    started yet come back as "interrupted". A job that is held by the time its turn comes is not started.
    """
    stop = stop or Stop()
    waiting, free, running, outcomes = deque(jobs), list(slots), list[_Child](), list[Outcome]()

    goes_on = any(job.config.method.starts_from for job in jobs)
    recipes = {job.folder.name: job.config.recipe_id() for job in jobs} if goes_on else {}

    def end(outcome: Outcome) -> None:
        outcomes.append(outcome)
        display.ended(outcome)

    with stop_signals_answered(stop.request):
        try:
            while waiting or running:
                stop.check_deadline()
                while free and not stop.asked and (job := _next(waiting, running, recipes)):
                    waiting.remove(job)
                    if job.folder.lease_is_live():  # whether it is done meanwhile, the run itself finds out
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


def _next(waiting: Sequence[Job], running: Sequence[_Child], recipes: dict[str, str]) -> Job | None:
    """The first job whose turn it is: not before the run that it goes on from has left the queue.

    recipes: of the jobs, by their folders' names."""
    if not recipes:  # none goes on from another
        return waiting[0] if waiting else None
    queued = {recipes.get(job.folder.name) for job in [*waiting, *(child.job for child in running)]} - {None}
    return next((job for job in waiting if job.config.method.starts_from not in queued), None)


@dataclass
class Stop:
    """How often and since when a stop has been asked for.

    deadline: the time (time.monotonic(), seconds) at which the queue asks by itself. timed_out: whether it did.
    """

    deadline: float = math.inf
    timed_out: bool = False
    times: list[float] = field(default_factory=list)
    requests: Requests = field(default_factory=Requests)

    def check_deadline(self) -> None:
        if not self.asked and time.monotonic() >= self.deadline:
            self.timed_out = True
            self.request()

    @property
    def asked(self) -> bool:
        return bool(self.times)

    def request(self, number: int = 0) -> None:
        if self.requests.is_new(number) and (not self.times or number == signal.SIGINT):
            self.times.append(time.monotonic())

    def stages(self) -> int:
        """How many of STOP_STAGES are due."""
        age = time.monotonic() - self.times[0]
        return min(len(STOP_STAGES), max(len(self.times), sum(age >= after for after, _ in STOP_STAGES)))


class _Child:
    """The process of one run."""

    def __init__(self, job: Job, slot: Slot, launch: Launch) -> None:
        self.job, self.slot = job, slot
        folder = job.folder
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.keep_config(job.config)
        folder.status.unlink(missing_ok=True)  # so that what is there at the end was written by this process
        self._stages_sent = 0
        self._started = time.monotonic()
        self._log_start = folder.log.stat().st_size if folder.log.exists() else 0
        folder.log.touch()
        self.process = launch(job, slot)

    def stop(self, stop: Stop) -> None:
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
        status = self.job.folder.read_status()
        said = status.state if status is not None else ""  # by this process: it had none when it began
        if (code == 0 or said == "done") and self.job.folder.record.exists():
            return Outcome(name, "done", seconds=seconds)
        if code == HELD_ELSEWHERE:
            return Outcome(name, "elsewhere", "another process is on it", seconds)
        if said == "interrupted":
            return Outcome(name, "interrupted", status.error if status else "", seconds)
        if code in STOPPED or (stopping and said != "failed"):
            return Outcome(name, "interrupted", seconds=seconds)
        if said == "running" and code in (USER_ERROR, UNWRITABLE):  # it ended in order, and could not write that down
            return Outcome(name, "interrupted", "its last state could not be written: is the disk full?", seconds)
        if said != "failed":
            mark(self.job.folder, "failed", self._last_words(code))
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
