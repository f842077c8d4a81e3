"""`bench logs`: what a run wrote."""

from __future__ import annotations

import shlex
import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Results
from benchmark.commands.terminal import say
from benchmark.errors import BenchError

ASK_QUEUE_SECONDS = 15.0  # a controller has more to do than to answer everyone who follows a log


def logs(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, its beginning, or a glob.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run ends, or Ctrl-C.")] = False,
    lines: Annotated[int | None, typer.Option("-n", "--lines", metavar="N", min=1, help="Only the last N.")] = None,
    results: Results = Path("results"),
) -> None:
    """A run's log: all it wrote, over all its starts, and what SLURM itself said of its last job.

    \b
    Examples:
      bench logs cifar10-rot-imgn-s0-3f9a1c2b
      bench logs '*-rot-imgn-s0-*' -f
    """
    from benchmark.launch import slurm
    from benchmark.launch.board import LIVE, queue_of, runs_named
    from benchmark.launch.status import rows_of_folders

    found = runs_named(name, results)
    if len(found) > 1:
        raise BenchError(f"{name}: matches {len(found)} runs: {', '.join(folder.name for folder in found)}; name one")
    [folder] = found
    outside = slurm.job_output(folder)
    if not folder.log.exists() and not outside and not follow:
        state = shlex.join(["bench", "status", "--only", folder.name, "--results", str(folder.path.parent)])
        raise BenchError(f"{folder.name}: has written no log yet; its state: {state}")
    place, queued, ask_at, told = 0, None, 0.0, set[str]()
    # Without squeue nobody here will ever know whether a job waits: that is no run to wait for.
    worth_waiting = LIVE if shutil.which("squeue") else LIVE - {"unknown"}

    def tell_once(note: str) -> None:
        if note not in told:
            told.add(note)
            say(note)

    while True:
        if follow and time.monotonic() >= ask_at:
            queued, ask_at = queue_of([folder], tell_once), time.monotonic() + ASK_QUEUE_SECONDS
        alive = follow and rows_of_folders([folder], queued)[0].state in worth_waiting
        if folder.log.exists():
            with open(folder.log, "rb") as stream:
                stream.seek(place)
                text = stream.read()
                place = stream.tell()
            if lines is not None:
                text, lines = b"".join(text.splitlines(keepends=True)[-lines:]), None
            print(text.decode(errors="replace"), end="", flush=True)
        if not alive:
            break
        try:
            time.sleep(1)
        except KeyboardInterrupt:
            return
    for path in slurm.job_output(folder):
        say(f"--- {path}\n{path.read_text(errors='replace').rstrip()}")
