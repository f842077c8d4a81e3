"""What the test cluster needs of this machine: packages, processes, ports. Standard library only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

PACKAGES = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
ACCOUNTING_PACKAGES = {
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server-core",
    "my_print_defaults": "mariadb-client-core",
}
# A pretended GPU needs a device file of its own: SLURM drops one without, and one that shares it. Nothing is confined
# to the file, so any character device will do.
DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"]
MARKER = ".slurm-test-cluster"
MAX_FOLDER = 65  # sockets below it have names of at most 107 bytes
READY = 60.0  # seconds for each thing to become ready


class ClusterError(Exception):
    """The cluster cannot do what was asked; one line says why."""


def which(program: str) -> str | None:
    return shutil.which(program, path=search_path())


def search_path() -> str:
    """PATH with the folders of daemons, which an ordinary user's does not have."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def missing(accounting: bool) -> list[str]:
    wanted = PACKAGES | ACCOUNTING_PACKAGES if accounting else PACKAGES
    return [package for program, package in wanted.items() if which(program) is None]


def unavailable(accounting: bool = True) -> str | None:
    """Why no cluster can be started here, in one line; None if it can, if need be after installing packages."""
    if sys.platform != "linux":
        return f"SLURM runs on Linux only (this is {sys.platform})"
    lacking = missing(accounting)
    if not lacking:
        return None
    if shutil.which("apt-get") is None:
        return f"not installed, and no apt-get to install it with: {' '.join(lacking)} (Debian's names)"
    if os.geteuid() != 0:
        return f"not installed, and only root can: apt-get install {' '.join(lacking)}"
    return None


def install(accounting: bool) -> None:
    lacking = missing(accounting)
    if not lacking:
        return
    install = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends", *lacking]
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # the package lists may be absent or old: a second try with new ones
    for command in (install, ["apt-get", "update"], install):
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if command is install and done.returncode == 0:
            return
    last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
    raise ClusterError(f"apt-get install {' '.join(lacking)} failed: {last}")


# Processes ------------------------------------------------------------------------------------------------------------


def alive(pid: int, name: str) -> bool:
    """Whether `pid` runs and is that program. A dead process that nobody has waited for yet does not run."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return status.startswith(f"Name:\t{name}\n") and "\nState:\tZ" not in status


def processes() -> Iterator[tuple[int, int, set[bytes]]]:
    """(pid, parent's pid, environment at its start) of every process that may be read."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            yield int(folder.name), parent, set(folder.joinpath("environ").read_bytes().split(b"\0"))


def kill(pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_for(what: str, ready: Callable[[], bool], log: Path, seconds: float = READY) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] if log.is_file() else []
            raise ClusterError(f"{what} after {seconds:g} s; {log}: {' '.join(last) or 'empty'}")
        time.sleep(0.05)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False
