"""What a SLURM job does, in a process of its own; SLURM's clients are small scripts here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.launch.task import _stop_on_warning
from benchmark.plan.config import RunConfig
from benchmark.running.signals import stop_signals
from benchmark.store.folders import RunFolder
from benchmark.store.states import observed_state

CONFIG = RunConfig.model_validate({"in_dist": "mine", "eval": {"ood": []}, "method": {"name": "image-statistics"}})


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_warning_stops_the_run_once(number: int) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    saved = False
    try:
        with pytest.raises(KeyboardInterrupt), _stop_on_warning(signal.SIGUSR2):
            try:
                signal.raise_signal(number)
            finally:
                signal.raise_signal(signal.SIGTERM)  # the kill that follows must not cut the saving short
                saved = True
        assert saved
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


@pytest.fixture
def task_signals() -> Iterator[None]:
    """The handlers of a job around its run, and those from before put back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    with _stop_on_warning(signal.SIGUSR2):
        yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("numbers", "cut"),
    [
        ((signal.SIGTERM, signal.SIGUSR2), False),
        ((signal.SIGUSR2, signal.SIGTERM), False),
        ((signal.SIGUSR2, signal.SIGUSR2), False),
        ((signal.SIGTERM, signal.SIGTERM), False),
        ((signal.SIGINT, signal.SIGTERM), False),
        ((signal.SIGINT, signal.SIGINT), False),  # one, sent to the process and to its group
        ((signal.SIGINT, None, signal.SIGINT), True),
        ((signal.SIGTERM, signal.SIGINT), True),
    ],
)
def test_however_often_the_system_asks_a_step_ends_and_a_second_ctrl_c_cuts_it(
    task_signals: None, numbers: tuple[int | None, ...], cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: a second passes."""
    ended = False
    try:
        with stop_signals() as flag, flag.put_off():
            for number in numbers:
                if number is None:
                    monkeypatch.setattr("benchmark.running.signals.AGAIN_SECONDS", 0.0)
                    continue
                signal.raise_signal(number)
                assert flag.requested
            ended = True
    except KeyboardInterrupt:
        assert not ended
    assert ended is not cut


def _call_task(tmp_path: Path, body: str, **environment: str) -> tuple[int, RunFolder]:
    """Call a RunTask in a process of its own, with `body` as the run() of a stand-in for benchmark.run."""
    folder = RunFolder(tmp_path / "run")
    folder.write_config(CONFIG)
    script = textwrap.dedent("""
        import os, sys, types
        import benchmark.launch.task as task
        from benchmark.plan.resources import Resources
        from benchmark.errors import BenchError
        from benchmark.store.folders import RunFolder
        from benchmark.store.leases import RunIsHeld
        from pathlib import Path
        folder = RunFolder(Path(sys.argv[1]))
        calls = []
        def run(config, results, data_root, runtime):
            calls.append(runtime)
        BODY
        sys.modules["benchmark.run"] = types.SimpleNamespace(run=run)
        resources = Resources(gpus=0, cpus=2, hours=float(os.environ.get("BENCH_TEST_HOURS", "1")))
        print(task.RunTask(folder.config, folder.path.parent, Path("/data"), resources, 60.0)())
    """).replace("BODY", textwrap.indent(textwrap.dedent(body), "    "))
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder.path)],
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    return done.returncode, folder


def test_task_writes_to_the_runs_log_and_marks_a_failure(tmp_path: Path) -> None:
    code, folder = _call_task(tmp_path, "print('hello from the job'); raise BenchError('mend me')")
    assert code != 0 and "hello from the job" in folder.log.read_text()
    status = folder.read_status()
    assert status is not None and (status.state, status.error) == ("failed", "error: mend me")


def test_a_full_disk_before_the_run_has_begun_leaves_it_to_do(tmp_path: Path) -> None:
    code, folder = _call_task(tmp_path, "raise OSError(28, 'No space left on device', 'images.npy')")
    status = folder.read_status()
    assert code == 0 and status is not None and status.state == "interrupted"
    assert status.error.startswith("images.npy: disk full")


def test_a_run_that_cannot_go_on_now_is_left_to_do_and_its_job_has_not_failed(tmp_path: Path) -> None:
    left = """
        from benchmark.errors import StillToDo
        from benchmark.store.folders import Status
        folder.write_status(Status(state="interrupted", error="the GPU is full"))
        raise StillToDo("the GPU is full")
    """
    code, folder = _call_task(tmp_path, left)
    assert code == 0 and observed_state(CONFIG, folder)[:2] == ("interrupted", "the GPU is full")
    assert folder.log.read_text().splitlines()[-1] == "interrupted"


HELD = """
    import threading, time
    print("try", len(calls), runtime)
    if len(calls) == 1:
        # another process of this host holds the run: its heart beats once, and then it ends
        folder.lease.write_text('{"host": "elsewhere", "job": "42"}')
        def beat():
            time.sleep(1)
            os.utime(folder.lease, (time.time() + 5, time.time() + 5))
            time.sleep(3)
            folder.lease.unlink()
        threading.Thread(target=beat).start()
        raise RunIsHeld("held")
"""


@pytest.mark.parametrize(("own", "tries"), [("42", 2), ("43", 1)])
def test_task_waits_for_an_earlier_start_of_its_own_job_and_for_no_other(tmp_path: Path, own: str, tries: int) -> None:
    code, folder = _call_task(tmp_path, HELD, SLURM_JOB_ID=own)
    log = folder.log.read_text()
    assert code == 0 and log.count("try") == tries and "threads=2" in log
    assert ("nothing to do here" in log) == (tries == 1)
    assert folder.read_status() is None


STOPPED = """
    folder.note_attempt({"step": AT_START})
    folder.write_status(Status(state="interrupted", step=7))
    raise KeyboardInterrupt
"""


def stopped_task(
    tmp_path: Path, client, state: str, at_start: int = 3, scontrol: str = 'echo "$@" >> "$0.calls"'
) -> str:
    """How a task ends that was stopped at step 7, begun at step `at_start`, its job in `state` for squeue."""
    client("squeue", f"echo {state}")
    client("scontrol", scontrol)
    body = "from benchmark.store.folders import Status\n" + textwrap.dedent(STOPPED.replace("AT_START", str(at_start)))
    code, folder = _call_task(tmp_path, body, SLURM_JOB_ID="9", SLURM_ARRAY_JOB_ID="3", SLURM_ARRAY_TASK_ID="1")
    assert code == 0, folder.log.read_text()
    return folder.log.read_text().splitlines()[-1]


def test_a_stopped_job_asks_for_another_start(tmp_path: Path, client) -> None:
    assert stopped_task(tmp_path, client, "RUNNING") == "requeued"
    assert (tmp_path / "bin/scontrol.calls").read_text() == "requeue 3_1\n"


def test_a_job_that_is_being_ended_asks_for_none(tmp_path: Path, client) -> None:
    assert stopped_task(tmp_path, client, "COMPLETING") == "interrupted"
    RunFolder(tmp_path / "run").write_job({"cancelled": 1.0})
    assert stopped_task(tmp_path, client, "RUNNING") == "interrupted"
    assert not (tmp_path / "bin/scontrol.calls").exists()


def test_without_scontrol_the_checkpoint_is_what_remains(tmp_path: Path, client) -> None:
    assert stopped_task(tmp_path, client, "RUNNING", scontrol="echo refused >&2; exit 1") == "interrupted"
    assert "not requeued (refused)" in RunFolder(tmp_path / "run").log.read_text()


def test_starts_that_never_train_a_step_end_as_a_failure(tmp_path: Path, client, monkeypatch) -> None:
    monkeypatch.setenv("BENCH_TEST_HOURS", "1e-9")  # so that any start counts as one that met its time limit
    ends = [stopped_task(tmp_path, client, "RUNNING", at_start=7) for _ in range(3)]
    assert ends == ["requeued", "requeued", "failed"]
    status = RunFolder(tmp_path / "run").read_status()
    assert status is not None and "resources.hours" in status.error
    assert stopped_task(tmp_path, client, "RUNNING", at_start=6) == "requeued"  # a step forward, and all is forgiven


def test_starts_that_others_preempt_early_are_no_failure_of_the_run(tmp_path: Path, client) -> None:
    assert [stopped_task(tmp_path, client, "RUNNING", at_start=7) for _ in range(3)] == ["requeued"] * 3
