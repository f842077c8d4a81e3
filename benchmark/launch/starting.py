"""Starts a run as a process of its own: a program, or a fork of one that has the heavy imports behind it."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any, Protocol

from benchmark.exits import STOP_SIGNALS, exit_code
from benchmark.launch.jobs import Job
from benchmark.launch.slots import Slot
from benchmark.running.signals import StopFlag, answer_stop_signals
from benchmark.store.leases import process_lives

SERVER_DIED = 255  # what multiprocessing gives for the exit code of a fork whose server has died


class Process(Protocol):
    """What the queue asks of a run's process."""

    @property
    def pid(self) -> int | None: ...

    def poll(self) -> int | None:
        """Its exit code (minus the signal's number if one killed it), None while it runs."""
        ...


Launch = Callable[[Job, Slot], Process]  # starts a run, its output going to the end of its log


def bench_run(data_root: Path, checkpoint_seconds: float) -> Launch:
    """Starts `bench run`: on a GPU as a program of its own, on a CPU forked from a process that has torch imported.

    Importing torch, timm and scikit-learn takes ten seconds and more, as long as many a CPU run; a run on a GPU is long
    enough not to care, and gets a process that no CUDA state can leak into.
    """

    def arguments(job: Job, slot: Slot) -> list[str]:
        places = ["--results", str(job.folder.path.parent), "--data", str(data_root)]
        how = ["--device", job.device, "--threads", str(slot.threads), "--checkpoint-every", f"{checkpoint_seconds:g}"]
        return ["run", str(job.folder.config), *places, *how]

    as_program = by_command(lambda job, slot: [sys.executable, "-m", "benchmark", *arguments(job, slot)])

    def launch(job: Job, slot: Slot) -> Process:
        if slot.gpu is not None:
            return as_program(job, slot)
        return _Forked(arguments(job, slot), job, slot, data_root, checkpoint_seconds)

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
    # A signal to our process group is for us: of runs whose server has died nobody is told how they end. What is
    # blocked is inherited; the tracker, which heeds SIGHUP alone, would unblock the others here if it came second.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


class _Forked:
    """`bench run` in a fork of multiprocessing's fork server, which has the heavy imports behind it."""

    def __init__(self, arguments: list[str], job: Job, slot: Slot, data_root: Path, checkpoint_seconds: float) -> None:
        context = warm_up(slot)
        file, results = job.folder.config, job.folder.path.parent
        asked = (file, results, data_root, job.device, slot.threads, checkpoint_seconds)
        self._process = context.Process(target=_run_forked, args=(arguments, str(job.folder.log), asked))
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> int | None:
        code = self._process.exitcode
        return None if code == SERVER_DIED and self.pid and _lives(self.pid) else code


def _lives(pid: int) -> bool:
    """Whether a process that is nobody's here runs; not one that has ended and that nobody has asked after."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return process_lives(pid)


def _run_forked(arguments: list[str], log: str, asked: tuple[Any, ...]) -> None:
    """In the fork: become the leader of a process group, write to the log, and do what `bench run` does."""
    os.setsid()
    stream = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for number in (1, 2):
        os.dup2(stream, number)
    sys.argv = ["bench", *arguments]  # what an interrupted run says to go on with
    from benchmark.launch.foreground import run_file

    def begin() -> int | None:
        # The server, whose fork this is, has them blocked; one that came meanwhile is answered here, in order.
        answer_stop_signals(StopFlag().on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        return run_file(*asked)

    sys.exit(exit_code(begin))
