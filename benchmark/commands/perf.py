"""`bench perf`: how fast this machine trains."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Against, Compile, Data, SetOption, check_device
from benchmark.commands.terminal import print_table, say
from benchmark.errors import BenchError


def perf(
    file: Annotated[
        Path | None, typer.Argument(metavar="SWEEP.yaml", help="A sweep file: its first run with negatives.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="GLOB", help="Of the runs whose names match, likewise.")
    ] = None,
    set_: SetOption = None,
    against: Annotated[
        Against | None,
        typer.Option(
            "--against",
            help="Time in turns too: the plain recipe (Pillow, loader workers, eager fp32), convolutions channels "
            "first, or rotated copies rendered one by one.",
        ),
    ] = None,
    compile: Compile = False,
    views: Annotated[bool, typer.Option("--views", help="Time the views alone, on one CPU thread.")] = False,
    scoring: Annotated[bool, typer.Option("--scoring", help="Time scores and NT-Xent, without a file.")] = False,
    masks: Annotated[
        bool, typer.Option("--masks", help="Compare ways to find foregrounds, on built-in images, without a file.")
    ] = False,
    size: Annotated[
        str, typer.Option("--size", metavar="NxMxD", help="For --scoring: queries, bank, features.")
    ] = "10000x50000x384",
    memory: Annotated[bool, typer.Option("--memory", help="Count the memory of a step too (a minute).")] = False,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Steps timed a round.")] = 10,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=1)] = 5,
    warmup: Annotated[int, typer.Option("--warmup", metavar="N", min=0, help="Steps before each round.")] = 6,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda[:N]")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write it there too.")] = None,
    data_root: Data = None,
) -> None:
    """How fast this machine trains: pairs a second, share of each part, and MFU against its own matrix products.

    A pair is an image with its negatives. The images are random numbers: no data set is needed, --data only where SET:*
    stands for classes of your own set. The median of the rounds is shown, with the lowest and the highest.

    \b
    Examples:
      bench perf sweeps/small.yaml
      bench perf sweeps/table2.yaml --against reference --set train.precision=bf16 --memory
      bench perf sweeps/table2.yaml --views
      bench perf --scoring
      bench perf --masks
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.files import write_json
    from benchmark.perf import timings, to_time
    from benchmark.plan import sweep as sweeps

    check_device(device)
    if (file is None) != (scoring or masks) or (scoring and masks):
        raise BenchError("bench perf: name a sweep file, or else --scoring or --masks")
    if (views or scoring or masks) and (against or memory or compile):
        raise BenchError("bench perf: --against, --compile and --memory are for a step, alone")
    if (scoring or masks) and (views or set_ or only):
        raise BenchError("bench perf: --scoring and --masks need no sweep, and go without --views, --set and --only")
    config = None if file is None else to_time(sweeps.load(file, set_, only, data=resolve_data(data_root)), only)
    title, result, rows = timings(
        config,
        origin=str(file),
        device=device,
        threads=threads,
        against=against,
        compile=compile,
        views=views,
        scoring=_sizes(size) if scoring else None,
        masks=masks,
        memory=memory,
        steps=steps,
        rounds=rounds,
        warmup=warmup,
        tell=lambda line: typer.echo(line, err=True),
    )
    print_table(("what", "found"), rows, title)
    if json_ is not None:
        write_json(json_, {"command": shlex.join(["bench", *sys.argv[1:]]), **result})
        say(f"written: {json_}")


def _sizes(text: str) -> tuple[int, int, int]:
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise BenchError(f"--size {text}: must be three whole numbers above 0, as in 10000x50000x384")
    queries, bank, width = (int(part) for part in parts)
    if bank < 20:
        raise BenchError(f"--size {text}: the bank must have the 20 neighbours that k-NN asks for, or more")
    return queries, bank, width
