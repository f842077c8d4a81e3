"""Several processes for one run, one per GPU: who they are, and the few things that they do together.

Each process (rank) computes its own share of every batch; gradients and losses are averaged, so that all ranks hold the
same weights at every step, those that one process would have computed up to floating-point order. Rank 0 alone reads
checkpoints and writes files. With one process there is no process group, and everything here does nothing.
"""

from __future__ import annotations

import atexit
import io
import os
import re
import signal
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from benchmark.errors import BenchError, first_line
from benchmark.exits import signals_go_to
from benchmark.running.signals import heeded

# For finding each other and for each exchange. A process that dies is noticed at once, by its closed connections; this
# is for one that hangs or whose host is gone, and longer than rank 0 takes for a checkpoint on a slow disk.
TIMEOUT_SECONDS = 300

Value = TypeVar("Value")


class RankLost(BenchError):
    """Another process of the run died, left or stopped answering."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among the processes of its run; by default the only one."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0  # among those of this host: the number of its GPU
    master: str = ""  # HOST:PORT at which rank 0 is found

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the one that writes."""
        return self.rank == 0

    @contextmanager
    def together(self, device: torch.device) -> Iterator[None]:
        """Meet the other ranks; part from them at the end, or earlier by `leave`.

        Raises BenchError when they do not meet in TIMEOUT_SECONDS.
        """
        if self.world == 1:
            yield
            return
        if self.is_main:
            print(f"rank 0 of {self.world}: waits for the other processes of this run at {self.master}", flush=True)
        try:
            # Both, so that flags and checkpoints travel between hosts' memories and wait for no GPU.
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            # A wait inside torch, during which no Python handler would run, and before there is anything to save.
            with signals_go_to(signal.SIG_DFL, heeded()):
                dist.init_process_group(
                    backend,
                    init_method=f"tcp://{self.master}",
                    rank=self.rank,
                    world_size=self.world,
                    timeout=timedelta(seconds=TIMEOUT_SECONDS),
                )
        except RuntimeError as error:
            raise BenchError(
                f"rank {self.rank} of {self.world}: the processes of this run did not meet at {self.master} "
                f"({_reason(error)}); for a single process unset RANK and SLURM_STEP_NUM_TASKS"
            ) from error
        try:
            yield
        except BaseException as error:
            if device.type == "cuda" and dist.is_initialized() and _in_disorder(error):
                # GPU exchanges that nobody answers any more would hold up the interpreter's exit for good.
                atexit.register(os._exit, 1)
                raise
            self.leave()
            raise
        self.leave()

    def leave(self) -> None:
        """Part from the other ranks, all of which do so at the same point of the run."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def from_main(self, make: Callable[[], Value]) -> Value:
        """What `make` gives on rank 0, on every rank. What it raises there, the others raise as a BenchError.

        For plain values and CPU tensors: they travel in the form of a checkpoint, which cannot carry code.
        """
        if self.world == 1:
            return make()
        answer: dict[str, Any] = {}
        failure: Exception | None = None
        if self.is_main:
            try:
                answer = {"value": make()}
            except Exception as error:
                failure, answer = error, {"error": str(error)}
        answer = self._broadcast(answer)
        if "error" in answer:
            raise failure or BenchError(answer["error"])
        value: Value = answer["value"]
        return value

    def _broadcast(self, content: dict[str, Any]) -> dict[str, Any]:
        buffer = io.BytesIO()
        if self.is_main:
            torch.save(content, buffer)
        size = torch.tensor([buffer.tell()])
        with self._exchange():
            dist.broadcast(size, src=0)
            payload = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8) if self.is_main else None
            payload = torch.empty(int(size), dtype=torch.uint8) if payload is None else payload
            dist.broadcast(payload, src=0)
        if self.is_main:
            return content
        received: dict[str, Any] = torch.load(io.BytesIO(payload.numpy().tobytes()), weights_only=True)
        return received

    def copy_from_main_(self, tensors: Iterable[Tensor]) -> None:
        """Give every rank rank 0's values of these tensors, in place."""
        if self.world > 1:
            with self._exchange():
                for tensor in tensors:
                    dist.broadcast(tensor.detach(), src=0)

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, in place: one exchange for all of them."""
        if self.world == 1:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with self._exchange():
            dist.all_reduce(flat)
        parts = (flat / self.world).split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(
            [tensor.detach() for tensor in tensors],
            [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)],
        )

    def whole_batch(self, rows: Tensor, views: int) -> Tensor:
        """Rows (views * b, K), view after view, of this rank's b images -> (views * B, K) of the whole batch."""
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        with self._exchange():
            dist.all_gather(parts, rows.contiguous())
        return torch.stack([part.unflatten(0, (views, -1)) for part in parts], dim=1).flatten(0, 2)

    def own_rows(self, views: int, count: int) -> Tensor:
        """Positions of this rank's images among `views` views, view after view, of a batch of `count` images."""
        return torch.arange(views * count).view(views, self.world, count // self.world)[:, self.rank].flatten()

    def any_of(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag as soon as one rank raises it, on all ranks alike. No GPU is waited for."""
        if self.world == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.uint8)
        with self._exchange():
            dist.all_reduce(raised, op=dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in raised)

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RankLost(
                f"rank {self.rank} of {self.world}: another process of this run died or stopped answering "
                f"({_reason(error)}); its own output says why. The last checkpoint is kept"
            ) from error


ALONE = Ranks()


def from_environment(variables: Mapping[str, str] = os.environ) -> Ranks:
    """Who this process is, by what torchrun sets, or else srun.

    srun's own variables for a step count, not those that a whole job has: in a shell or a batch script of a job with
    many tasks (`salloc --ntasks 4`) a run is one process. Raises BenchError when they are incomplete or nonsense.
    """

    def text(name: str) -> str:
        if not variables.get(name):
            raise BenchError(f"{name}: is not set, though other variables say that this is one of several processes")
        return variables[name]

    def number(name: str) -> int:
        if not text(name).isdigit():
            raise BenchError(f"{name}: must be a whole number, given {text(name)!r}")
        return int(text(name))

    def place(rank: str, world: str, local_rank: str) -> tuple[int, int, int]:
        if number(rank) >= number(world):
            raise BenchError(f"{rank}: must be below {world} {number(world)}, given {number(rank)}")
        return number(rank), number(world), number(local_rank)

    if "RANK" in variables and "WORLD_SIZE" in variables:
        if number("WORLD_SIZE") == 1:
            return ALONE
        return Ranks(*place("RANK", "WORLD_SIZE", "LOCAL_RANK"), f"{text('MASTER_ADDR')}:{number('MASTER_PORT')}")
    if "SLURM_PROCID" in variables and variables.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        host = variables.get("MASTER_ADDR") or first_host(text("SLURM_STEP_NODELIST"))
        # Jobs, steps of a job and other people's jobs may share a node; below the ports of outgoing connections.
        parts = ("SLURM_JOB_NAME", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
        port = 10_000 + zlib.crc32(" ".join(variables.get(part, "") for part in parts).encode()) % 10_000
        port = number("MASTER_PORT") if variables.get("MASTER_PORT") else port
        return Ranks(*place("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"), f"{host}:{port}")
    return ALONE


def first_host(nodes: str) -> str:
    """The first host of a SLURM node list: "gpu[07-09,12],login" -> "gpu07"."""
    found = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    assert found is not None  # it may be empty, but it matches
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", found.group())


def _in_disorder(error: BaseException) -> bool:
    """Whether this rank may end alone, while others wait for its GPU: a BenchError ends all, or comes before that."""
    return isinstance(error, RankLost) or not isinstance(error, BenchError)


def _reason(error: Exception) -> str:
    """The first line of torch's complaint, without the place in its source."""
    line = first_line(error)
    return re.sub(r"^\[\S+:\d+\]\s*", "", line).rstrip(".")
