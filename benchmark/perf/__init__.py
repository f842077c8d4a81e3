"""How fast a step, its views and the scoring are, against the plain recipe and the hardware's ceiling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import BenchError, about, first_line
from benchmark.plan.config import RunConfig
from benchmark.plan.sweep import Sweep

if TYPE_CHECKING:
    import torch


def to_time(sweep: Sweep, only: str | None) -> RunConfig:
    """The run of a sweep whose speed is measured: the first that trains with negatives, else the first that trains.

    Raises BenchError where none trains; only: the glob that chose the runs, for that line.
    """
    trained = [run.config for run in sweep.runs if run.config.method.trains]
    chosen = next((config for config in trained if config.kinds()), None) or next(iter(trained), None)
    if chosen is None:
        raise BenchError(f"{sweep.path}: no run that trains" + (f" matches {only!r}" if only else ""))
    return chosen


@contextmanager
def measuring(device: str, threads: int | None, smaller: str, origin: Path | None = None) -> Iterator[torch.device]:
    """The device for a measurement. threads: of the CPU, all if None.

    Raises BenchError for a device that is not there, with `origin`, the file that the config is from, before an error
    in it, and for lack of memory; smaller: the option that asks for less.
    """
    import torch

    from benchmark.running.device import Runtime, find_device

    where = find_device(Runtime(device=device, threads=threads))
    try:
        with about(origin) if origin else nullcontext():
            yield where
    except RuntimeError as error:
        # torch.OutOfMemoryError is one; on a CPU it is a plain one, told by its text.
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        line = f"{where.type}: not enough memory for this ({first_line(error)}); smaller: {smaller}"
        raise BenchError(line) from error
