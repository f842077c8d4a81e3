"""`bench logs` and `bench cancel` on a machine without SLURM."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest

from benchmark.store.folders import RunFolder


def made_run(tmp_path: Path, number: int = 0) -> RunFolder:
    from benchmark.plan import sweep as sweeps
    from benchmark.store import states

    item = states.plan(sweeps.load(tmp_path / "mine.yaml"), tmp_path / "results", tmp_path / "data")[number]
    assert item.folder is not None
    item.folder.write_config(item.run.config)
    return item.folder


def test_logs_shows_a_runs_log_and_what_slurm_wrote(bench, tmp_path: Path) -> None:
    folder = made_run(tmp_path)
    said = bench("logs", folder.name)
    assert said.code == 2 and "has written no log yet" in said.err
    folder.log.write_text("first\nsecond\n")
    assert bench("logs", folder.name).out == "first\nsecond\n"
    assert bench("logs", f"{folder.name[:-3]}*", "-n", "1").out == "second\n"
    assert bench("logs", f"results/{folder.name}", "--follow").out == "first\nsecond\n"  # nothing runs: it ends
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/7_0_0_log.err").write_text("srun: error: no such node\n")
    (tmp_path / "sub/7_0_0_log.out").touch()
    folder.write_job({"name": "s", "index": 0, "job": "7_0", "folder": str(tmp_path / "sub"), "cancelled": 1.0})
    assert bench("logs", folder.name).out.endswith("7_0_0_log.err\nsrun: error: no such node\n")
    said = bench("logs", "nothing-like-it")
    assert said.code == 2 and f"matches no run in results; there are {folder.name}" in said.err


def test_cancel_finds_the_runs_of_a_sweep_that_was_changed_by_set(bench, tmp_path: Path) -> None:
    changed = ["train.epochs=3", "train.warmup_epochs=1"]
    from benchmark.plan import sweep as sweeps
    from benchmark.store import states

    plan = sweeps.load(tmp_path / "mine.yaml", changed)
    item = states.plan(plan, tmp_path / "results", tmp_path / "data")[0]
    assert item.folder is not None
    item.folder.write_config(item.run.config)
    sets = [word for one in changed for word in ("--set", one)]
    assert bench("cancel", "mine.yaml").code == 2
    said = bench("cancel", "mine.yaml", *sets)
    assert said.code == 0 and "0 of 1 runs cancelled" in said.out
    said = bench("cancel", item.folder.name, *sets)
    assert said.code == 2 and "--set train.epochs=3: is of a sweep's runs" in said.err


@pytest.mark.parametrize("job", ["", "12"], ids=["plain shell", "salloc or srun"])
def test_cancel_ends_a_process_of_this_host_and_no_other(bench, tmp_path: Path, job: str) -> None:
    folder = made_run(tmp_path)
    said = bench("cancel", "mine.yaml")
    assert said.code == 0 and "0 of 1 runs cancelled: none runs here or is queued in SLURM" in said.out
    assert "waits its turn" in said.out
    # Tests that run in the background have SIGINT ignored, and ignoring is inherited.
    asleep = partial(subprocess.Popen, ["sleep", "60"], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    with asleep() as process, asleep() as bystander:
        holder = {"host": socket.gethostname(), "pid": process.pid, "token": "x", "job": job}
        folder.lease.write_text(json.dumps(holder))
        said = bench("cancel", folder.name).out
        assert (
            "1 of 1 runs cancelled" in said
            and "waits its turn in a `bench sweep` on this machine is not cancelled" in said
        )
        assert process.wait(10) == -signal.SIGINT and bystander.poll() is None
        bystander.kill()
    folder.lease.write_text(json.dumps({"host": "elsewhere", "node": "node7", "pid": 1, "job": "12"}))
    said = bench("cancel", folder.name)
    assert "not ended" in said.out and "node7, process 1, job 12" in said.out and "0 of 1 runs" in said.out


@pytest.mark.parametrize(
    ("error", "words"), [(ProcessLookupError, "has just ended on its own"), (PermissionError, "another user's")]
)
def test_cancel_goes_on_after_a_process_that_it_cannot_end(
    bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError], words: str
) -> None:
    folders = [made_run(tmp_path, number) for number in (0, 1)]
    for folder in folders:
        folder.lease.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": "x"}))
    told: list[int] = []

    def kill(pid: int, number: int) -> None:
        if number == signal.SIGINT:
            told.append(pid)
            if len(told) == 1:
                raise error

    monkeypatch.setattr(os, "kill", kill)
    said = bench("cancel", "mine.yaml")
    assert said.code == 0 and len(told) == 2 and words in said.out and "1 of 2 runs cancelled" in said.out
