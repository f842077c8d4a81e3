"""`bench run`: one run in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import CheckpointEvery, Compile, Data, Device, Results, SetOption, check_device


def run(
    config_file: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings of one run.")],
    results: Results = Path("results"),
    data_root: Data = None,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads.")] = None,
    checkpoint_every: CheckpointEvery = 300.0,
    set_: SetOption = None,
    compile: Compile = False,
) -> None:
    """One run in the foreground: train, score, record. Resumes from its checkpoint.

    Started by torchrun or srun as several processes, these share every batch, one GPU each.

    \b
    Examples:
      bench run my-run.yaml
      bench run results/cifar10-rot-imgn-s0-3f9a1c2b/config.yaml --device cuda:1
      torchrun --nproc-per-node 4 -m benchmark run my-run.yaml
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.launch.foreground import run_file

    check_device(device)
    code = run_file(
        config_file, results, resolve_data(data_root), device, threads, checkpoint_every, set_ or (), compile
    )
    if code:
        raise typer.Exit(code)
