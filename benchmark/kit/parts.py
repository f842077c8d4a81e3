"""The parts of a command: each a process with a time limit, whose end, however it comes, leaves the others going."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from benchmark.files import write_json

POLL_SECONDS = 0.1
LEAST_SECONDS = 1.0  # for less than that no part is begun
LAST_WORDS = 30  # lines of a part's output that go home
GRACE_SECONDS = 5.0  # between asking a part to end and ending it
SWEEP_GRACE_SECONDS = 40.0  # a sweep asks its runs to stop, and after 30 s ends them


class Deadline:
    """When a command must be over: `reserve` seconds before the limit work stops, and what is there is packed.

    SIGINT and SIGTERM within `signals` bring the end forward: work stops at once, and the reserve is left. A second
    one leaves nothing.
    """

    def __init__(self, limit: float, reserve: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.reserve, self.asked = clock, reserve, False
        self.end = clock() + limit

    def request(self, *_: object) -> None:
        self.end = self.clock() if self.asked else min(self.end, self.clock() + self.reserve)
        self.asked = True

    def for_work(self) -> float:
        """Seconds left to work."""
        return 0.0 if self.asked else max(0.0, self.end - self.reserve - self.clock())

    def for_packing(self) -> float:
        """Seconds left in all."""
        return max(0.0, self.end - self.clock())

    @contextmanager
    def signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.request) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass
class Part:
    """How a part ended. stopped: its time was up; skipped: there was none left for it."""

    name: str
    state: Literal["done", "failed", "stopped", "skipped"]
    seconds: float = 0.0
    code: int | None = None
    command: Sequence[str] = ()
    last_words: Sequence[str] = ()


class Parts:
    """The parts of one command so far. kit.json in `out` says after each how all of them ended."""

    def __init__(self, out: Path, logs: Path, environment: Mapping[str, str], about: Mapping[str, object]) -> None:
        self.out, self.logs, self.environment, self.about = out, logs, dict(environment), dict(about)
        self.ended: list[Part] = []
        for folder in (out, logs):
            folder.mkdir(parents=True, exist_ok=True)

    def run(
        self,
        name: str,
        command: Sequence[str],
        seconds: float,
        *,
        left: Callable[[], float],
        fine: Sequence[int] = (0,),
        cwd: Path | None = None,
        in_order: bool = False,
    ) -> Part:
        """Run a part for at most `seconds` and while there is time `left`; `fine` are its good exit codes.

        in_order: it ends its own processes when asked to (SIGTERM), as a sweep does, and is given time for that.
        """
        if min(seconds, left()) < LEAST_SECONDS:
            return self.add(Part(name, "skipped", command=list(command)))
        print(f"-- {name}: at most {min(seconds, left()):.0f} s", flush=True)
        log, begun = self.logs / f"{name}.log", time.monotonic()

        def goes_on() -> bool:
            return time.monotonic() < begun + seconds and left() > 0

        with open(log, "ab") as stream:
            start = stream.tell()
            try:
                code, stopped = _run(command, stream.fileno(), goes_on, self.environment, cwd, in_order)
            except OSError as error:
                code, stopped = None, False
                stream.write(f"{error}\n".encode())
        state: Literal["done", "failed", "stopped"] = "done" if code in fine else "failed"
        with open(log, "rb") as read:
            read.seek(start)
            words = read.read().decode(errors="replace").splitlines()[-LAST_WORDS:]
        return self.add(
            Part(name, "stopped" if stopped else state, time.monotonic() - begun, code, list(command), words)
        )

    def add(self, part: Part) -> Part:
        self.ended.append(part)
        how = f"{part.state} after {part.seconds:.1f} s" if part.seconds else part.state
        print(f"-- {part.name}: {how}", flush=True)
        if part.state == "failed":
            print("\n".join(f"   {line}" for line in part.last_words[-5:]), flush=True)
        self.write()
        return part

    def write(self) -> None:
        write_json(self.out / "kit.json", {**self.about, "parts": [asdict(part) for part in self.ended]})


def bench(python: str, *words: object) -> list[str]:
    """The command line of `bench` with this Python, which need not have it installed."""
    return [python, "-m", "benchmark", *map(str, words)]


def _run(
    command: Sequence[str],
    output: int,
    goes_on: Callable[[], bool],
    env: Mapping[str, str],
    cwd: Path | None,
    in_order: bool,
) -> tuple[int, bool]:
    """Exit code, and whether it had to be stopped. Its group is gone afterwards."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,  # a Ctrl-C reaches us alone
    )
    try:
        while process.poll() is None and goes_on():
            time.sleep(POLL_SECONDS)
        stopped = process.poll() is None
        if stopped:
            stop(process, in_order)
        return process.wait(), stopped
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def stop(process: subprocess.Popen[bytes], in_order: bool) -> None:
    """Ask a process to end, its group too unless it does that itself, and end it where it does not."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        if in_order:
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(SWEEP_GRACE_SECONDS if in_order else GRACE_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
