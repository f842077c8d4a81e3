"""Tells the world how a run stands: status.json for other processes, plain lines for the log."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from benchmark.errors import BenchError, StillToDo
from benchmark.plan.config import RunConfig
from benchmark.store.folders import RunFolder, Status
from benchmark.store.leases import RunIsHeld, node_name

SAY_EVERY_SECONDS = 15.0


@dataclass
class Progress:
    """What the training loop tells now and then. `step` counts over all epochs."""

    step: int
    steps: int
    epochs: int
    losses: dict[str, float]
    pairs_per_second: float  # ID images (each with its negatives) a second
    seconds_left: float


class Reporter:
    """Tells the world how the run stands: status.json for other processes, plain lines for the log.

    silent: says and writes nothing, on the ranks that leave this to rank 0.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, silent: bool = False) -> None:
        self.folder = folder
        self.silent = silent
        now = time.time()
        self.status = Status(
            state="running",
            phase="data",
            epochs=config.train.epochs,
            started=now,
            updated=now,
            host=f"{node_name()}:{os.getpid()}",
        )
        self._said = self._written = 0.0
        self._phase_began = time.monotonic()

    def __enter__(self) -> Reporter:
        self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RunIsHeld):  # what is in the folder is another process's now
            self.say(str(error))
            return
        if error is None:
            self.status.state = "done"
        elif isinstance(error, KeyboardInterrupt):
            self.status.state = "interrupted"
        elif isinstance(error, StillToDo):
            self.status.state, self.status.error = "interrupted", str(error)
        else:
            self.status.state = "failed"
            self.status.error = (
                str(error) if isinstance(error, BenchError) else "".join(traceback.format_exception(error)).strip()
            )
        self.say(f"{self.status.state}" + (f": {self.status.error}" if self.status.error else ""))
        self._write()

    def say(self, line: str) -> None:
        if not self.silent:
            with suppress(OSError):  # a full disk, a closed terminal: what counts is written elsewhere
                print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    def phase(self, name: str) -> None:
        self.status.phase = name
        self._phase_began = time.monotonic()
        self._write()

    def alive(self) -> None:
        if time.monotonic() - self._written > 2:
            self._write()

    def extracted(self, done: int, images: int) -> None:
        """So many images of all that the network is asked about in this phase have their features."""
        status, seconds = self.status, time.monotonic() - self._phase_began
        status.extracted, status.images = done, images
        status.seconds_left = seconds / done * (images - done)
        self.alive()
        if self._is_time_to_say():
            self.say(
                f"features of {done:,} of {images:,} images; {done / seconds:.1f} images/s, "
                f"{status.seconds_left / 60:.1f} min left"
            )

    def _is_time_to_say(self) -> bool:
        if time.monotonic() - self._said <= SAY_EVERY_SECONDS:
            return False
        self._said = time.monotonic()
        return True

    def progress(self, at: Progress) -> None:
        status = self.status
        status.step, status.steps, status.epochs = at.step, at.steps, at.epochs
        status.epoch = at.step * at.epochs / at.steps
        status.loss, status.seconds_left = at.losses["loss"], at.seconds_left
        if time.monotonic() - self._written > 1:
            self._write()
        if self._is_time_to_say():
            losses = ", ".join(f"{name} {value:.4f}" for name, value in at.losses.items())
            self.say(
                f"epoch {status.epoch:.2f} of {at.epochs}, step {at.step} of {at.steps}: {losses}; "
                f"{at.pairs_per_second:.1f} images/s, {at.seconds_left / 60:.1f} min left"
            )

    def _write(self) -> None:
        if self.silent:
            return
        self.status.updated = time.time()
        self._written = time.monotonic()
        with suppress(OSError):
            self.folder.write_status(self.status)


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    @contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """What the block takes is added to this name, and left out of the lap that it lies in."""
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.laps[name] = round(self.laps.get(name, 0.0) + seconds, 3)
        self._last += seconds

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self._last = round(now - self._last, 3), now
