"""Signals that end a run: a checkpoint after the step, and an orderly end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class Stopped(Exception):
    """Training was asked to stop and has saved a checkpoint."""


@dataclass
class StopFlag:
    """Set by SIGINT or SIGTERM. While `deferred`, the training loop reads it after each step."""

    requested: bool = False
    deferred: bool = False

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Within the block a signal only sets `requested`; what is in the block looks at it."""
        self.deferred = True
        yield
        self.deferred = False  # an exception ends the run anyway


@contextmanager
def stop_signals() -> Iterator[StopFlag]:
    """Turn SIGINT and SIGTERM into a checkpoint and an orderly end; Stopped leaves as KeyboardInterrupt."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        # SLURM sends SIGTERM after its warning; only a second Ctrl-C means "at once".
        if not flag.deferred or (flag.requested and number == signal.SIGINT):
            raise KeyboardInterrupt
        flag.requested = True

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    except Stopped as stopped:
        raise KeyboardInterrupt(str(stopped)) from stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
