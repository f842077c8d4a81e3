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


def test_a_run_that_is_stopped_before_it_has_begun_is_interrupted_and_not_failed(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    code = f"""
import os, signal
from benchmark.launch import starting
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background without it
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGINT}})
os.kill(os.getpid(), signal.SIGINT)
os.setsid = lambda: None
starting._run_forked(["run", "x.yaml"], {str(log)!r}, ())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert said.returncode == 130 and "Traceback" not in said.stderr + log.read_text()
    assert log.read_text().startswith("stopped; what is done and saved is kept. To go on: bench run x.yaml")
