"""INT, TERM and HUP, as `timeout`, a closed terminal, the end of a job or `docker stop` send them, to real runs."""

from __future__ import annotations

import errno
import multiprocessing.forkserver
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from test_local import CONFIG
from tiny_runs import TINY

from benchmark.files import read_json
from benchmark.launch import local, starting
from benchmark.launch.jobs import Job
from benchmark.launch.slots import Slot
from benchmark.plan import yamlfile
from benchmark.running.signals import Requests, Stopped, stop_signals
from benchmark.store.folders import RunFolder

LONG = {**TINY, "variant": "rot-imgn", "train": {**TINY["train"], "epochs": 4000}}
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def heed_hangups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these very tests may run under nohup


@pytest.fixture
def bench(tmp_path: Path, mini_data: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`bench` as the leader of a process group of its own, as a shell starts it."""
    (tmp_path / "sweep.yaml").write_text(yamlfile.write({"base": LONG, "references": []}))
    (tmp_path / "run.yaml").write_text(yamlfile.write(LONG))
    started = []

    def start(*words: str, gpu: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmark", *words, "--results", "results", "--data", str(mini_data)],
            cwd=tmp_path,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=heed_hangups,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for lease in (tmp_path / "results").glob("*/lease.json"):  # of a test that failed: runs are groups of their own
        with suppress(ProcessLookupError):
            os.kill(read_json(lease)["pid"], signal.SIGKILL)


def training(results: Path) -> RunFolder:
    """The one run there, once it has done a step."""
    give_up = time.monotonic() + 400
    while time.monotonic() < give_up:
        for path in results.glob("*/status.json"):
            folder = RunFolder(path.parent)
            status = folder.read_status()
            if status is not None and status.step:
                return folder
        time.sleep(0.1)
    pytest.fail("no run has begun to train")


def send(process: subprocess.Popen[str], number: int, to: str) -> None:
    """to: the process, or its group, or both as `timeout` does."""
    if to != "group":
        os.kill(process.pid, number)
    if to != "process":
        os.killpg(process.pid, number)


def assert_interrupted(folder: RunFolder) -> None:
    status = folder.read_status()
    assert status is not None and (status.state, status.error) == ("interrupted", ""), status
    assert folder.checkpoint.exists() and not folder.lease_is_live()
    assert "Traceback" not in (folder.log.read_text() if folder.log.exists() else "")


@pytest.mark.parametrize("gpu", ["", "0"], ids=["fork server", "plain process"])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_sweep_whose_group_is_told_to_stop_leaves_its_run_interrupted(
    bench, tmp_path: Path, number: int, gpu: str
) -> None:
    process = bench("sweep", "sweep.yaml", "--executor", "local", gpu=gpu)
    folder = training(tmp_path / "results")
    send(process, number, "both")
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and "1 runs: 1 interrupted" in said, said
    assert_interrupted(folder)


@pytest.mark.parametrize(
    ("number", "to"), [*((number, "both") for number in SIGNALS), (signal.SIGHUP, "process"), (signal.SIGTERM, "group")]
)
def test_a_run_in_the_foreground_saves_a_checkpoint_when_it_is_told_to_stop(
    bench, tmp_path: Path, number: int, to: str
) -> None:
    process = bench("run", "run.yaml", "--device", "cpu", "--threads", "1")
    folder = training(tmp_path / "results")
    send(process, number, to)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and said.endswith("--data " + said.split("--data ")[-1]), said
    assert "interrupted" in said and "Traceback" not in said
    assert_interrupted(folder)


def test_a_terminal_that_closes_is_a_stop_in_order(tmp_path: Path) -> None:
    """What is written to it afterwards is an error of the system, which must not become one of the queue."""
    script = """
import os, signal, sys, time
from benchmark.running.signals import answer_stop_signals
seen = []
answer_stop_signals(seen.append)
print("ready", flush=True)
give_up = time.monotonic() + 60
while not seen and time.monotonic() < give_up:
    time.sleep(0.02)
time.sleep(0.1)
print("this goes nowhere", flush=True)
open(sys.argv[1], "w").write(f"{seen[0]}")
"""
    pid, terminal = pty.fork()
    if pid == 0:
        heed_hangups()
        os.execv(sys.executable, [sys.executable, "-c", script, str(tmp_path / "seen")])
    while b"ready" not in os.read(terminal, 1000):
        pass
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / "seen").read_text() == str(int(signal.SIGHUP))


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as flag, flag.put_off():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not flag.requested


def test_a_signal_and_its_double_are_one_request() -> None:
    now = [5.0]
    requests = Requests(lambda: now[0])
    assert [requests.is_new(number) for number in (2, 2, 15, 15, 2)] == [True, False, True, False, True]
    now[0] += 1.01
    assert requests.is_new(2) and not requests.is_new(2)


def test_in_the_queue_only_further_ctrl_cs_hurry() -> None:
    now = [0.0]
    stop = local.Stop(requests=Requests(lambda: now[0]))
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
        stop.request(number)
        now[0] += 2
    assert stop.stages() == 1
    stop.request(signal.SIGINT)
    assert stop.stages() == 2


def test_an_error_of_helpers_that_heard_the_signal_too_is_the_stop() -> None:
    with pytest.raises(KeyboardInterrupt), stop_signals() as flag, flag.put_off():
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("a worker died of SIGTERM")
    with pytest.raises(RuntimeError), stop_signals() as flag, flag.put_off():
        raise RuntimeError("a mistake")
    with pytest.raises(OSError, match="full"), stop_signals() as flag, flag.put_off():
        signal.raise_signal(signal.SIGTERM)
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(KeyboardInterrupt, match="saved"), stop_signals() as flag, flag.put_off():
        raise Stopped("saved")


def test_a_run_outlives_the_server_that_it_was_forked_from(tmp_path: Path, monkeypatch) -> None:
    """Its exit code is lost with the server: what it says of itself counts, once it has ended."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    monkeypatch.setattr(starting, "_run_forked", _wait_and_say_interrupted)
    forked = starting._Forked([], Job(CONFIG, folder), Slot(None, 1), tmp_path, 60.0)
    while not folder.lease.exists():
        time.sleep(0.02)
    server = multiprocessing.forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGKILL)
    time.sleep(0.3)
    assert forked.poll() is None
    (tmp_path / "go").touch()
    give_up = time.monotonic() + 30
    while forked.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    assert forked.poll() == starting.SERVER_DIED and (folder.path / "ended").exists()


def _wait_and_say_interrupted(arguments: list[str], log: str, asked: tuple[Path, ...]) -> None:
    run = asked[0].parent
    (run / "lease.json").touch()
    while not (run.parent / "go").exists():
        time.sleep(0.02)
    (run / "ended").touch()
