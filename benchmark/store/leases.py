"""The right to work on a run: one process at a time, with a heartbeat."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmark.errors import BenchError
from benchmark.files import atomic_write, clock_of, locked

HEARTBEAT_SECONDS = 10.0
LEASE_EXPIRES_SECONDS = 120.0  # without a heartbeat; at once where the holder is a dead process of this host


def holder(file: Path) -> dict[str, Any] | None:
    """Who holds the lease in `file` and gives signs of life: host, node, pid, job. None when nobody does."""
    try:
        with open(file) as stream:  # opening makes a network file system look again
            beat = os.fstat(stream.fileno()).st_mtime
            said = json.load(stream)
    except (OSError, ValueError):
        return None
    if not isinstance(said, dict) or not isinstance(pid := said.get("pid", -1), int):
        return None  # nobody's who runs now: a holder writes it whole
    if said.get("host") == socket.gethostname() and not process_lives(pid):
        return None
    # Two readings of one clock: hosts of a cluster differ by minutes now and then.
    return said if clock_of(file.parent) - beat < LEASE_EXPIRES_SECONDS else None


@contextmanager
def hold(file: Path) -> Iterator[Lease]:
    """Hold the lease in `file` for this process, with a heartbeat; raises RunIsHeld when another process has it.

    An expired lease is taken over; whoever had it learns so from `Lease.check`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lease = Lease(file)
    with locked(file.with_name(".lease.lock")):  # judging and taking are one step
        other = holder(file)
        if other is not None:
            raise RunIsHeld(f"{file.parent}: another process is on this run ({describe(other)})")
        lease.write()
    beat = threading.Thread(target=lease.beat, daemon=True)
    beat.start()
    try:
        yield lease
    finally:
        lease.ended.set()
        beat.join()
        with suppress(OSError):
            if lease.is_ours():
                file.unlink()


class Lease:
    """The right to work on a run. A process that was silent too long (suspended, cut off) may have lost it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.token = secrets.token_hex(8)
        self.ended = threading.Event()
        self.lost = False  # what the heartbeat has seen; `check` looks for itself

    def write(self) -> None:
        said = {
            "host": socket.gethostname(),
            "node": node_name(),
            "pid": os.getpid(),
            "token": self.token,
            "job": os.environ.get("SLURM_JOB_ID", ""),
        }
        with atomic_write(self.file, "w") as stream:
            stream.write(json.dumps(said))

    def is_ours(self) -> bool:
        """False once another process has taken the run over. An unreadable file system says nothing: True."""
        try:
            token: str | None = json.loads(self.file.read_text()).get("token")
            return token == self.token
        except FileNotFoundError:
            return False
        except (OSError, ValueError):
            return True

    def check(self) -> None:
        """To be called before writing what counts. Raises RunIsHeld when another process has taken the run over."""
        if not self.is_ours():
            raise RunIsHeld(
                f"{self.file.parent}: taken over by another process ({describe(holder(self.file) or {})}) "
                f"after {LEASE_EXPIRES_SECONDS:.0f} s without a sign of life from this one, which writes nothing more"
            )

    def beat(self) -> None:
        """Give signs of life until the end, or until the lease is another's."""
        while not self.ended.wait(HEARTBEAT_SECONDS):
            if not self.is_ours():
                self.lost = True
                return
            with suppress(OSError):
                os.utime(self.file)


def node_name() -> str:
    """What people call this machine: SLURM's name of the node in a job, else the host's own."""
    return os.environ.get("SLURMD_NODENAME", socket.gethostname())


def describe(holder: dict[str, Any]) -> str:
    """A lease's holder in words: "node7, process 123, job 71_3"."""
    job = f", job {holder['job']}" if holder.get("job") else ""
    return f"{holder.get('node') or holder.get('host', 'unknown host')}, process {holder.get('pid', '?')}{job}"


class RunIsHeld(BenchError):
    """Another process is working on the run."""


def process_lives(pid: int) -> bool:
    """Whether there is a process of this host with that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError, ValueError):
        return True
    return True
