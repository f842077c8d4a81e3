"""The server that CPU runs are forked from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_fork_server_does_not_hear_ctrl_c_and_its_runs_do() -> None:
    """It would answer with a traceback while it imports; a run stops in order."""
    code = """
import multiprocessing.forkserver as server, pathlib, signal
from benchmark.launch.slots import make_slots
from benchmark.launch.starting import warm_up
def blocked(status):
    (line,) = [one for one in pathlib.Path(status).read_text().splitlines() if one.startswith("SigBlk")]
    return bool(int(line.split()[1], 16) >> (signal.SIGINT - 1) & 1)
warm_up(make_slots(1, 1)[0])
print(blocked(f"/proc/{server._forkserver._forkserver_pid}/status"), blocked("/proc/self/status"))
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("signals are read from /proc, which this system does not have")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert said.stdout.split() == ["True", "False"], said.stderr
