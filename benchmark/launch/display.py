"""Who is told what happens in the local queue: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from benchmark.launch.jobs import Job, Outcome
from benchmark.launch.status import duration, progress_text, share_done
from benchmark.store.folders import RunFolder


class Display(Protocol):
    """Who is told what happens in the queue."""

    def started(self, job: Job) -> None: ...

    def running(self, jobs: Sequence[Job]) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


def _end_text(outcome: Outcome, folder_of: dict[str, RunFolder]) -> str:
    text = f"{outcome.state:<11} {outcome.name}"
    if outcome.seconds:
        text += f"  {duration(outcome.seconds)}"
    if outcome.detail:
        text += f"  {outcome.detail}"
    return text + (f"  (log: {folder_of[outcome.name].log})" if outcome.state == "failed" else "")


class Lines:
    """Plain lines, for files and pipes: one at the start and the end of each run, and now and then how far they are."""

    def __init__(self, jobs: Sequence[Job], every_seconds: float = 30.0) -> None:
        self._folders = {job.folder.name: job.folder for job in jobs}
        self._every, self._last = every_seconds, time.monotonic()
        self._ended = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def started(self, job: Job) -> None:
        self._print(f"{'start':<11} {job.folder.name}")

    def running(self, jobs: Sequence[Job]) -> None:
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            for job in jobs:
                status = job.folder.read_status()
                self._print(f"{'running':<11} {job.folder.name}  {progress_text(status) if status else 'starting'}")

    def ended(self, outcome: Outcome) -> None:
        self._ended += 1
        self._print(f"{_end_text(outcome, self._folders)}  [{self._ended}/{len(self._folders)}]")

    def _print(self, text: str) -> None:
        print(text, flush=True)


class Bars:
    """A bar for each run that is going and one for the sweep, on a terminal."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._folders = {job.folder.name: job.folder for job in jobs}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=14),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
        )
        self._sweep = self._progress.add_task("sweep", total=len(jobs), detail="")
        self._bars: dict[str, Any] = {}
        self._last = 0.0

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def started(self, job: Job) -> None:
        self._bars[job.folder.name] = self._progress.add_task(job.folder.name, total=1.0, detail="starting")

    def running(self, jobs: Sequence[Job]) -> None:
        if time.monotonic() - self._last < 0.5:
            return
        self._last, shares = time.monotonic(), 0.0
        for job in jobs:
            status = job.folder.read_status()
            shares += share_done(status)
            self._progress.update(
                self._bars[job.folder.name],
                completed=share_done(status),
                detail=progress_text(status) if status else "starting",
            )
        self._show_sweep(shares)

    def ended(self, outcome: Outcome) -> None:
        bar = self._bars.pop(outcome.name, None)
        if bar is not None:
            self._progress.remove_task(bar)
        self._progress.console.print(_end_text(outcome, self._folders), markup=False, highlight=False)
        self._ended += 1
        self._show_sweep(0.0)

    _ended = 0

    def _show_sweep(self, shares: float) -> None:
        self._progress.update(self._sweep, completed=self._ended + shares, detail=f"{self._ended}/{len(self._folders)}")
