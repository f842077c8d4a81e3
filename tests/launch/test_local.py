"""The local queue, driven with small stand-in processes instead of trainings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmark.launch import local, starting
from benchmark.launch.jobs import Job, Outcome
from benchmark.launch.local import Stop, run_queue
from benchmark.launch.slots import Slot
from benchmark.launch.starting import by_command
from benchmark.plan.config import RunConfig
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record
from benchmark.store.states import observed_state

# A stand-in for `bench run`: STUB FOLDER BEHAVIOUR. It notes when it started and ended.
STUB = """
import json, os, signal, subprocess, sys, time
folder, behaviour = sys.argv[1:]
def note(event):
    with open(os.path.join(os.path.dirname(folder), "events.txt"), "a") as stream:
        stream.write(f"{event} {os.path.basename(folder)} {time.time()}\\n")
def stop(*_):
    open(os.path.join(folder, "checkpoint.pt"), "w").close()
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
note("start")
if behaviour == "crash":
    print("before the crash", flush=True)
    raise RuntimeError("the reason")
if behaviour == "killed":
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
if behaviour == "says failed":
    json.dump({"state": "failed", "error": "Traceback\\nown words"}, open(os.path.join(folder, "status.json"), "w"))
    sys.exit(1)
if behaviour == "no room":
    json.dump({"state": "interrupted", "error": "the GPU is full"}, open(os.path.join(folder, "status.json"), "w"))
    sys.exit(2)
if behaviour == "no room for its state":
    json.dump({"state": "running"}, open(os.path.join(folder, "status.json"), "w"))
    sys.exit(2)
if behaviour == "held":
    sys.exit(75)
if behaviour == "no record":
    sys.exit(0)
if behaviour == "long":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open(os.path.join(folder, "pids.txt"), "w").write(f"{os.getpid()} {child.pid}")
    time.sleep(60)
if behaviour == "stubborn":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(os.path.join(folder, "pids.txt"), "w").write(str(os.getpid()))
    time.sleep(60)
time.sleep(0.3)
open(os.path.join(folder, "record.json"), "w").write("{}")
note("end")
"""

CONFIG = RunConfig.model_validate({"in_dist": "mine", "eval": {"ood": []}, "method": {"name": "image-statistics"}})


class Seen:
    """A display that remembers."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.most = 0

    def started(self, job: Job) -> None:
        self.names.append(job.folder.name)

    def running(self, jobs: Sequence[Job]) -> None:
        self.most = max(self.most, len(jobs))

    def ended(self, outcome: Outcome) -> None: ...


@pytest.fixture
def queue(tmp_path: Path) -> Callable[..., tuple[dict[str, Outcome], Seen]]:
    stub = tmp_path / "stub.py"
    stub.write_text(STUB)

    def go(behaviours: dict[str, str], slots: int = 2, stop: Stop | None = None) -> tuple[dict[str, Outcome], Seen]:
        jobs = [Job(CONFIG, RunFolder(tmp_path / name)) for name in behaviours]
        seen = Seen()
        outcomes = run_queue(
            jobs,
            [Slot(None, 1)] * slots,
            by_command(
                lambda job, slot: [sys.executable, "-S", str(stub), str(job.folder.path), behaviours[job.folder.name]]
            ),
            seen,
            stop,
        )
        return {outcome.name: outcome for outcome in outcomes}, seen

    return go


def record(name: str) -> Record:
    return Record(
        run_id="0",
        recipe_id="0",
        name=name,
        config=CONFIG.model_dump(mode="json"),
        data={},
        own="",
        scores={},
        knn_accuracy={},
    )


def ended(pid: int, within: float = 5.0) -> bool:
    """Whether a process is gone (or waits to be reaped); a signal sent takes a moment to act."""
    give_up = time.monotonic() + within
    while time.monotonic() < give_up:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("ending", ["ok", "crash"])
def test_a_run_waits_for_the_one_that_it_goes_on_from_and_lets_others_pass(
    tmp_path: Path, queue, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    start = CONFIG.model_copy(update={"seed": 7})
    raw = {"in_dist": "mine", "eval": {"ood": []}, "variant": "imgn"}
    method = {"name": "outlier-exposure", "tune": start.recipe_id()}
    tuned = RunConfig.model_validate({**raw, "method": method})
    configs = {"tuned": tuned, "start": start, "other": CONFIG}
    monkeypatch.setattr(sys.modules[__name__], "Job", lambda _, folder, Job=Job: Job(configs[folder.name], folder))
    outcomes, seen = queue({"tuned": "ok", "start": ending, "other": "ok"}, 3)
    assert seen.names == ["start", "other", "tuned"]
    lines = [line.split() for line in (tmp_path / "events.txt").read_text().splitlines()]
    began = {name: float(at) for event, name, at in lines if event == "start"}
    ended_at = {name: float(at) for event, name, at in lines if event == "end"}
    assert began["tuned"] > (ended_at["start"] if ending == "ok" else began["start"])
    assert outcomes["tuned"].state == "done"


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_order_and_never_more_than_the_slots_at_once(queue, tmp_path: Path, slots: int) -> None:
    names = ["c", "a", "d", "b", "e"]
    outcomes, seen = queue(dict.fromkeys(names, "ok"), slots)
    assert seen.names == names
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    # Counted from what the processes themselves wrote, not from what the queue believes.
    events = sorted(
        (float(at), 1 if event == "start" else -1)
        for event, _, at in (line.split() for line in (tmp_path / "events.txt").read_text().splitlines())
    )
    level = most = 0
    for _, change in events:
        level += change
        most = max(most, level)
    assert most == slots


def test_a_run_without_room_on_its_gpu_stays_to_do(queue, tmp_path: Path) -> None:
    outcomes, _ = queue({"big": "no room", "good": "ok"}, 1)
    assert outcomes["good"].state == "done"
    assert (outcomes["big"].state, outcomes["big"].detail) == ("interrupted", "the GPU is full")
    status = RunFolder(tmp_path / "big").read_status()
    assert status is not None and status.state == "interrupted"


def test_a_run_that_could_not_write_how_it_ended_is_gone_on_with(queue, tmp_path: Path) -> None:
    outcomes, _ = queue({"run": "no room for its state", "good": "ok"}, 1)
    assert (outcomes["run"].state, outcomes["good"].state) == ("interrupted", "done")
    assert "is the disk full?" in outcomes["run"].detail
    assert observed_state(CONFIG, RunFolder(tmp_path / "run"))[0] == "lost"  # which `bench sweep` goes on with


def test_a_failing_run_leaves_the_others_going_and_its_reason_in_its_status(queue, tmp_path: Path) -> None:
    outcomes, _ = queue({"bad": "crash", "dead": "killed", "own": "says failed", "none": "no record", "good": "ok"}, 1)
    assert {name: outcome.state for name, outcome in outcomes.items()} == {
        "bad": "failed",
        "dead": "failed",
        "own": "failed",
        "none": "failed",
        "good": "done",
    }
    assert outcomes["bad"].detail == "RuntimeError: the reason"
    assert "SIGKILL" in outcomes["dead"].detail and outcomes["own"].detail == "own words"
    log = (tmp_path / "bad/log.txt").read_text()
    assert "before the crash" in log and "Traceback" in log
    status = RunFolder(tmp_path / "dead").read_status()
    assert status is not None and status.state == "failed"
    assert status.error.splitlines() == ["last words", "killed by SIGKILL (out of memory?)"]


def test_the_reason_is_of_this_attempt_not_of_an_earlier_one(queue, tmp_path: Path) -> None:
    queue({"run": "says failed"})
    outcomes, _ = queue({"run": "killed"})
    assert "SIGKILL" in outcomes["run"].detail
    log = (tmp_path / "run/log.txt").read_text()
    assert log.count("last words") == 1  # appended, and only this attempt's lines are quoted
    outcomes, _ = queue({"run": "ok"})
    assert outcomes["run"].state == "done"


def test_held_elsewhere_is_not_a_failure(queue) -> None:
    outcomes, _ = queue({"run": "held", "other": "ok"})
    assert (outcomes["run"].state, outcomes["other"].state) == ("elsewhere", "done")


def test_held_runs_are_not_started_and_a_finished_one_is_asked(queue, tmp_path: Path) -> None:
    """Its record may be of other images than are here now, or lack a score: `run` finds out, under the run's lease."""
    finished, held = RunFolder(tmp_path / "finished"), RunFolder(tmp_path / "held")
    finished.write_record(record("finished"))
    with held.hold():
        outcomes, seen = queue({"finished": "ok", "held": "crash", "new": "ok"})
    assert seen.names == ["finished", "new"]
    assert {name: outcome.state for name, outcome in outcomes.items()} == {
        "finished": "done",
        "held": "elsewhere",
        "new": "done",
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stop_signals_end_all_runs_and_their_children(queue, tmp_path: Path, number: int) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:  # these very tests may run under nohup
        signal.signal(number, signal.SIG_DFL)
    handler = signal.getsignal(number)

    def interrupt() -> None:
        while not all((tmp_path / name / "pids.txt").exists() for name in ("a", "b")):
            time.sleep(0.02)
        time.sleep(0.1)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    started = time.monotonic()
    outcomes, seen = queue({"a": "long", "b": "long", "c": "ok"}, 2)
    assert time.monotonic() - started < 15
    assert {outcome.state for outcome in outcomes.values()} == {"interrupted"}
    assert seen.names == ["a", "b"], "a run was started after the stop"
    for name in ("a", "b"):
        assert (tmp_path / name / "checkpoint.pt").exists(), "the run had no chance to save"
        assert all(ended(int(pid)) for pid in (tmp_path / name / "pids.txt").read_text().split())
        assert RunFolder(tmp_path / name).read_status() is None  # an interrupted run is not marked failed
    assert signal.getsignal(number) is handler


def test_the_queue_stops_by_itself_at_its_deadline(queue, tmp_path: Path) -> None:
    stop = Stop()

    def time_is_up() -> None:
        while not all((tmp_path / name / "pids.txt").exists() for name in ("a", "b")):
            time.sleep(0.02)
        assert not stop.asked and not stop.timed_out
        stop.deadline = time.monotonic()

    threading.Thread(target=time_is_up, daemon=True).start()
    outcomes, seen = queue({"a": "long", "b": "long", "c": "ok"}, 2, stop)
    assert stop.timed_out and len(stop.times) == 1, "each further request would skip a stage"
    assert {outcome.state for outcome in outcomes.values()} == {"interrupted"} and seen.names == ["a", "b"]
    assert all((tmp_path / name / "checkpoint.pt").exists() for name in ("a", "b"))


def test_a_queue_that_is_interrupted_before_its_deadline_was_not_timed_out(queue, tmp_path: Path) -> None:
    stop = Stop(deadline=time.monotonic() + 3600)
    stop.request()
    stop.deadline = time.monotonic()
    outcomes, seen = queue({"a": "ok"}, 1, stop)
    assert outcomes["a"].state == "interrupted" and seen.names == [] and not stop.timed_out


def test_a_run_that_ignores_all_requests_is_killed(queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "STOP_STAGES", ((0.0, signal.SIGINT), (0.3, signal.SIGTERM), (0.6, signal.SIGKILL)))

    def interrupt() -> None:
        while not (tmp_path / "a" / "pids.txt").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    outcomes, _ = queue({"a": "stubborn"})
    assert outcomes["a"].state == "interrupted"
    assert ended(int((tmp_path / "a" / "pids.txt").read_text()))


def test_an_error_of_the_queue_itself_leaves_no_process(tmp_path: Path) -> None:
    stub = tmp_path / "stub.py"
    stub.write_text(STUB)
    jobs = [Job(CONFIG, RunFolder(tmp_path / name)) for name in ("a", "b")]

    def command(job: Job, slot: Slot) -> list[str]:
        if job.folder.name == "b":
            while not (tmp_path / "a" / "pids.txt").exists():
                time.sleep(0.02)
            raise OSError(28, "No space left on device", str(job.folder.log))
        return [sys.executable, "-S", str(stub), str(job.folder.path), "long"]

    with pytest.raises(OSError, match="No space"):
        run_queue(jobs, [Slot(None, 1)] * 2, by_command(command), Seen())
    assert (tmp_path / "a" / "checkpoint.pt").exists()
    assert all(ended(int(pid)) for pid in (tmp_path / "a" / "pids.txt").read_text().split())


def test_two_queues_at_once_train_each_run_once(tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from benchmark.store.folders import RunFolder
        from benchmark.store.leases import RunIsHeld
        folder = RunFolder(Path(sys.argv[1]))
        try:
            with folder.hold():
                if not folder.record.exists():
                    with open(folder.path.parent / "trained.txt", "a") as stream:
                        stream.write(folder.name + "\\n")
                    time.sleep(0.3)
                    folder.record.write_text(Path(sys.argv[2]).read_text())
        except RunIsHeld:
            sys.exit(75)
    """)
    )
    example = tmp_path / "example.json"
    example.write_text(json.dumps(record("x").model_dump(mode="json")))
    parent = tmp_path / "parent.py"
    parent.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_local import CONFIG, Seen
        from benchmark.launch.jobs import Job
        from benchmark.launch.local import run_queue
        from benchmark.launch.slots import Slot
        from benchmark.launch.starting import by_command
        from benchmark.store.folders import RunFolder
        jobs = [Job(CONFIG, RunFolder(Path({str(tmp_path)!r}) / name)) for name in "abc"]
        outcomes = run_queue(jobs, [Slot(None, 1)] * 2, by_command(lambda job, slot: [
            sys.executable, {str(child)!r}, str(job.folder.path), {str(example)!r}]), Seen())
        print(*sorted(outcome.state for outcome in outcomes))
    """)
    )
    parents = [subprocess.Popen([sys.executable, str(parent)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    states = [process.communicate(timeout=120)[0].split() for process in parents]
    assert sorted((tmp_path / "trained.txt").read_text().split()) == list("abc")
    assert all(len(own) == 3 and set(own) <= {"done", "elsewhere"} for own in states)


def test_on_a_gpu_the_child_is_this_python_and_the_written_config(tmp_path: Path, monkeypatch) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: started.append((command, options)))
    starting.bench_run(Path("/data"), 60)(Job(CONFIG, folder), Slot("3", 2))
    [(command, options)] = started
    assert options["env"]["CUDA_VISIBLE_DEVICES"] == "3" and options["start_new_session"]
    assert command[:4] == [sys.executable, "-m", "benchmark", "run"] and command[4] == str(folder.config)
    assert command[command.index("--threads") + 1] == "2" and command[command.index("--results") + 1] == str(tmp_path)
    assert command[command.index("--device") + 1] == "auto"
    starting.bench_run(Path("/data"), 60)(Job(CONFIG, folder, "cpu"), Slot("3", 2))
    command = started[-1][0]
    assert command[command.index("--device") + 1] == "cpu"


def test_an_equal_config_is_kept_another_is_replaced(queue, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_config(CONFIG)
    inode = folder.config.stat().st_ino
    queue({"run": "held"})
    assert folder.config.stat().st_ino == inode
    folder.write_config(CONFIG.model_copy(update={"seed": 5}))
    queue({"run": "held"})
    assert folder.read_config() == CONFIG
