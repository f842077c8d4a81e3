"""The device that a run computes on, and its memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import BenchError, StillToDo, first_line
from benchmark.running.processes import ALONE, Ranks


@dataclass(frozen=True)
class Runtime:
    """How a run is run; nothing here changes what it computes (beyond floating-point order on another device)."""

    device: str = "auto"
    threads: int | None = None
    checkpoint_seconds: float = 300.0
    ranks: Ranks = ALONE  # the processes that train this run together
    compile: bool = False  # the networks, with torch.compile, while they train


class GpuFull(StillToDo):
    """The GPU has no room for this run, now: others may be on it."""


@contextmanager
def room_on(device: torch.device) -> Iterator[None]:
    """Turns an allocation that finds no room on the GPU into GpuFull, one line."""
    try:
        yield
    except RuntimeError as error:
        if not _is_full(error):
            raise
        raise GpuFull(
            f"{device}: the GPU is full ({first_line(error)}); the run goes on from its checkpoint when there is room: "
            "fewer --jobs, a smaller train.batch, or train.precision: bf16"
        ) from error


def _is_full(error: RuntimeError) -> bool:
    """Whether it says that a GPU has no room: for a tensor, or (a plain RuntimeError) for the process itself."""
    return isinstance(error, torch.OutOfMemoryError) or "CUDA error: out of memory" in str(error)


def find_device(runtime: Runtime, full: bool = False) -> torch.device:
    """The device asked for, its CPU threads set.

    full: a GPU that others have filled will do, since whoever asks waits for room (`room_on`). Raises BenchError where
    the device is not to be had.
    """
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    name = runtime.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if runtime.ranks.world > 1 and name.startswith("cuda"):
        name = _own_gpu(name, runtime.ranks)
    try:
        device = torch.device(name)
        if runtime.ranks.world > 1 and device.type == "cuda":
            torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        if not (full and isinstance(error, RuntimeError) and _is_full(error)):
            raise BenchError(f"--device {runtime.device}: not to be had here ({first_line(error)})") from error
    return device


def _own_gpu(name: str, ranks: Ranks) -> str:
    """The GPU of one of several processes: the one of its number, or the only one where its launcher shows no other."""
    if name != "cuda":
        raise BenchError(f"--device {name}: is one GPU, and the run has {ranks.world} processes; use --device cuda")
    visible = torch.cuda.device_count()
    if ranks.local_rank >= visible > 1:
        raise BenchError(f"process {ranks.local_rank} of this host has no GPU: {visible} are visible; start fewer")
    return f"cuda:{ranks.local_rank if visible > 1 else 0}"


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU's allocator, or the process's largest resident size on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def image_tensor(images: np.ndarray) -> Tensor:
    """Stored images, uint8 [B, H, W, 3], as views and networks take them: [B, 3, H, W] on the CPU, contiguous."""
    writable = np.require(images, requirements=["C", "W"])  # a copy of a memory map, which torch does not take
    return torch.from_numpy(writable).permute(0, 3, 1, 2).contiguous()


def to_device(numbers: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on `device`, without a wait: a GPU takes more than 64 kB at its leisure from pinned memory alone."""
    pinned = numbers.pin_memory() if device.type == "cuda" and numbers.device.type == "cpu" else numbers
    return pinned.to(device, non_blocking=True)
