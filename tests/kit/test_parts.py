"""The parts of a command: their limits, how they are stopped, and that none takes another along."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from benchmark.kit.parts import Deadline, Parts


def forever() -> float:
    return 1e9


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path / "out", tmp_path / "logs", dict(os.environ), {"command": ["me"]})


def script(text: str) -> list[str]:
    return [sys.executable, "-S", "-c", text]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_how_each_part_ended_is_in_one_file_and_none_stops_the_others(parts: Parts) -> None:
    parts.run("good", script("print('fine')"), 30, left=forever)
    parts.run("bad", script("import sys; print('the reason', file=sys.stderr); sys.exit(3)"), 30, left=forever)
    parts.run("allowed", script("raise SystemExit(3)"), 30, left=forever, fine=(0, 3))
    parts.run("gone", ["/no/such/program"], 30, left=forever)
    parts.run("late", script("pass"), 30, left=lambda: 0.5)
    begun = time.monotonic()
    parts.run("slow", script("import time; print('begun', flush=True); time.sleep(60)"), 1.5, left=forever)
    assert 1.4 < time.monotonic() - begun < 10
    parts.run("last", script("print('still here')"), 30, left=forever)
    found = json.loads((parts.out / "kit.json").read_text())
    assert found["command"] == ["me"]
    assert [(part["name"], part["state"], part["code"]) for part in found["parts"]] == [
        ("good", "done", 0),
        ("bad", "failed", 3),
        ("allowed", "done", 3),
        ("gone", "failed", None),
        ("late", "skipped", None),
        ("slow", "stopped", -signal.SIGTERM),
        ("last", "done", 0),
    ]
    words = {part["name"]: part["last_words"] for part in found["parts"]}
    assert words["good"] == ["fine"] and words["bad"] == ["the reason"] and words["slow"] == ["begun"]
    assert "/no/such/program" in words["gone"][0] and words["last"] == ["still here"]


def test_a_part_is_stopped_when_no_time_is_left_at_all(parts: Parts) -> None:
    end = time.monotonic() + 1.5
    part = parts.run("slow", script("import time; time.sleep(60)"), 60, left=lambda: end - time.monotonic())
    assert part.state == "stopped" and part.seconds < 10


@pytest.mark.parametrize("in_order", [False, True])
def test_what_a_part_left_running_is_ended_with_it(parts: Parts, tmp_path: Path, in_order: bool) -> None:
    pid = tmp_path / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    text = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-S', '-c', {child!r}]); time.sleep(60)"
    parts.run("slow", script(text), 2.0, left=forever, in_order=in_order)
    time.sleep(0.2)
    assert not lives(int(pid.read_text()))


def test_a_part_that_stops_in_order_is_given_time_for_it(parts: Parts, tmp_path: Path) -> None:
    """Longer than the others have, and its own processes hear nothing until it tells them."""
    heard = tmp_path / "heard"
    child = f"import signal, time; signal.signal(15, lambda *_: open({str(heard)!r}, 'w')); time.sleep(60)"
    text = (
        "import signal, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {child!r}])\n"
        "def stop(*_):\n    time.sleep(6)\n    print('saved', flush=True)\n    sys.exit(130)\n"
        "signal.signal(15, stop)\ntime.sleep(60)\n"
    )
    part = parts.run("sweep", script(text), 1.5, left=forever, in_order=True)
    assert (part.state, part.code, part.last_words) == ("stopped", 130, ["saved"])
    assert not heard.exists()


def test_a_stubborn_part_is_ended(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.kit.parts.GRACE_SECONDS", 0.5)
    part = parts.run("stubborn", script("import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"), 1.5,
                     left=forever)  # fmt: skip
    assert part.state == "stopped" and part.code in (-signal.SIGKILL, -signal.SIGTERM) and part.seconds < 20


def test_work_ends_before_the_limit_by_the_reserve() -> None:
    now = [100.0]
    deadline = Deadline(60, 10, lambda: now[0])
    assert (deadline.for_work(), deadline.for_packing()) == (50, 60)
    now[0] = 155
    assert (deadline.for_work(), deadline.for_packing()) == (0, 5)
    now[0] = 200
    assert (deadline.for_work(), deadline.for_packing()) == (0, 0)


def test_a_signal_brings_the_end_forward_and_leaves_the_reserve() -> None:
    now = [0.0]
    deadline = Deadline(600, 10, lambda: now[0])
    now[0] = 100
    before = signal.getsignal(signal.SIGTERM)
    with deadline.signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert (deadline.for_work(), deadline.for_packing()) == (0, 10)
        os.kill(os.getpid(), signal.SIGINT)
        assert (deadline.for_work(), deadline.for_packing()) == (0, 0)
    assert signal.getsignal(signal.SIGTERM) == before
    late = Deadline(600, 10, lambda: now[0])
    now[0] += 595
    late.request()
    assert late.for_packing() == 5, "never later than the limit"
