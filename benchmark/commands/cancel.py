"""`bench cancel`: end runs, and no others."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Data, Results
from benchmark.commands.terminal import say


def cancel(
    targets: Annotated[
        list[str], typer.Argument(metavar="RUN|GLOB|SWEEP.yaml...", help="Runs by name or glob, or all of a sweep.")
    ],
    results: Results = Path("results"),
    data_root: Data = None,
) -> None:
    """End these runs and no others: their jobs on the cluster, or their processes here. Checkpoints are kept.

    \b
    Examples:
      bench cancel cifar10-rot-imgn-s0-3f9a1c2b
      bench cancel 'cifar10-perm-*'
      bench cancel sweeps/table2.yaml
    """
    from benchmark.launch import slurm
    from benchmark.launch.board import runs_named
    from benchmark.store.leases import describe

    chosen = {folder.name: folder for target in targets for folder in runs_named(target, results, data_root)}
    ended = dict(slurm.cancel(chosen.values()))
    for name, job in ended.items():
        say(f"cancelled   {name}  job {job}")
    count = len(ended)
    for name, folder in chosen.items():
        holder = folder.holder()
        if name in ended or holder is None:
            continue
        if holder.get("host") == socket.gethostname() and not holder.get("job"):
            os.kill(holder["pid"], signal.SIGINT)
            say(f"cancelled   {name}  process {holder['pid']}, after its checkpoint")
            count += 1
        else:
            say(f"not ended   {name}  {describe(holder)} is on it, and SLURM here knows no such job: end it there")
    say(f"{count} of {len(chosen)} runs cancelled" + ("" if count else ": no other is queued or running"))
