"""`bench cancel`: end runs, and no others."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Data, Results, SetOption
from benchmark.commands.terminal import say


def cancel(
    targets: Annotated[
        list[str], typer.Argument(metavar="RUN|GLOB|SWEEP.yaml...", help="Runs by name or glob, or all of a sweep.")
    ],
    set_: SetOption = None,
    results: Results = Path("results"),
    data_root: Data = None,
) -> None:
    """End these runs and no others: their jobs on the cluster, or their processes here. Checkpoints are kept.

    \b
    Examples:
      bench cancel cifar10-rot-imgn-s0-3f9a1c2b
      bench cancel 'cifar10-perm-*'
      bench cancel sweeps/table2.yaml
      bench cancel sweeps/small.yaml --set train.epochs=2
    """
    from benchmark.launch import slurm
    from benchmark.launch.board import runs_named
    from benchmark.store.leases import describe

    chosen = {folder.name: folder for target in targets for folder in runs_named(target, results, data_root, set_)}
    ended = dict(slurm.cancel(chosen.values()))
    for name, job in ended.items():
        say(f"cancelled   {name}  job {job}")
    here = 0
    for name, folder in chosen.items():
        holder = folder.holder()
        if name in ended or holder is None:
            continue
        # Also in a shell that salloc or srun gave: a job of ours would have been found by its name.
        if holder.get("host") != socket.gethostname():
            say(
                f"not ended   {name}  {describe(holder)} is on it, neither a process of this machine nor a job that "
                "`bench sweep` has in the queue: end it there"
            )
            continue
        try:
            os.kill(holder["pid"], signal.SIGINT)
        except ProcessLookupError:
            say(f"not ended   {name}  process {holder['pid']} has just ended on its own")
        except PermissionError:
            say(f"not ended   {name}  {describe(holder)} is on it, another user's")
        else:
            say(f"cancelled   {name}  process {holder['pid']}, after its checkpoint")
            here += 1
    count = len(ended) + here
    say(f"{count} of {len(chosen)} runs cancelled" + ("" if count else ": none runs here or is queued in SLURM"))
    if here or not count:
        say("What waits its turn in a `bench sweep` on this machine is not cancelled: Ctrl-C there ends it.")
