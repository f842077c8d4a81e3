"""Signals that end a run or a queue of runs: a checkpoint after the step, and an orderly end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from benchmark.errors import BenchError
from benchmark.exits import STOP_SIGNALS, Handler, no_room, signals_go_to

AGAIN_SECONDS = 1.0


class Requests:
    """Tells a signal that is a request from its double: `timeout` and shells send one to a process and to its group."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.last = clock, (0, 0.0)

    def is_new(self, number: int) -> bool:
        """Whether this signal is not the last one once more, within AGAIN_SECONDS."""
        now = self.clock()
        if number == self.last[0] and now - self.last[1] < AGAIN_SECONDS:
            return False
        self.last = number, now
        return True


class Stopped(Exception):
    """Training was asked to stop and has saved a checkpoint."""


def heeded() -> list[signal.Signals]:
    """STOP_SIGNALS without a SIGHUP that `nohup` has had ignored. A SIGINT that is ignored is what a shell does to all
    that it starts in the background; it is heeded."""
    return [n for n in STOP_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]


def answer_stop_signals(handler: Callable[[int], None]) -> None:
    """Have `handler` called with each signal that is `heeded`, from now on.

    A SIGHUP says that the terminal is gone: what is written there goes nowhere from then on.
    """
    for number in heeded():
        signal.signal(number, _answer(handler))


@contextmanager
def stop_signals_answered(handler: Callable[[int], None]) -> Iterator[None]:
    """The same within the block."""
    with signals_go_to(_answer(handler), heeded()):
        yield


def _answer(handler: Callable[[int], None]) -> Handler:
    terminals = [number for number in (0, 1, 2) if os.isatty(number)]

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_RDWR)
                for terminal in terminals:
                    os.dup2(nowhere, terminal)
                os.close(nowhere)
        handler(number)

    return on_signal


@dataclass
class StopFlag:
    """Set by a stop signal. While `deferred`, the training loop reads it after each step."""

    requested: bool = False
    deferred: bool = False
    requests: Requests = field(default_factory=Requests)

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Within the block a signal only sets `requested`; what is in the block looks at it.

        What then ends the block is the stop, also an error of helpers that heard the same signal; not a full disk.
        """
        self.deferred = True
        try:
            yield
        except Exception as error:
            if not isinstance(error, Stopped) and (
                not self.requested or isinstance(error, BenchError) or no_room(error)
            ):
                raise
            raise KeyboardInterrupt(str(error)) from error
        finally:
            self.deferred = False

    def on_signal(self, number: int) -> None:
        """Take note of a signal; raise KeyboardInterrupt where it is to end things at once."""
        if not self.requests.is_new(number):
            return
        first, self.requested = not self.requested, True
        # SLURM sends SIGTERM after its warning; only a second Ctrl-C means "at once".
        if not self.deferred or (not first and number == signal.SIGINT):
            raise KeyboardInterrupt


@contextmanager
def stop_signals() -> Iterator[StopFlag]:
    """Turn stop signals into a checkpoint and an orderly end, which is a KeyboardInterrupt."""
    flag = StopFlag()
    with stop_signals_answered(flag.on_signal):
        yield flag
