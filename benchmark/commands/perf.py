"""`bench perf`: how fast this machine trains, makes views, extracts features, scores, and finds foregrounds."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.commands.options import Against, Compile, Data, Device, SetOption, check_device
from benchmark.commands.terminal import print_table, say
from benchmark.errors import BenchError

if TYPE_CHECKING:
    import torch

    from benchmark.plan.config import RunConfig

SweepFile = Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="A sweep file: its first run with negatives.")]
Only = Annotated[str | None, typer.Option("--only", metavar="GLOB", help="Of the runs whose names match, likewise.")]
Rounds = Annotated[int, typer.Option("--rounds", metavar="N", min=1, help="How often all is measured.")]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write it there too.")]


class Perf(typer.core.TyperGroup):
    """`bench perf`, which names the new spelling where it is given that of version 0.1: one command, four flags."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            new = next((name for name in self.commands if f"--{name}" in args), "step")
            words = shlex.join(["bench", "perf", new, *(word for word in args if word != f"--{new}")])
            raise BenchError(f"bench perf {args[0]}: must begin with one of {', '.join(self.commands)}, as in: {words}")
        return super().parse_args(ctx, args)


def perf_step(
    file: SweepFile,
    only: Only = None,
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
    memory: Annotated[bool, typer.Option("--memory", help="Count the memory of a step too (a minute).")] = False,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Steps timed per round.")] = 10,
    rounds: Rounds = 5,
    warmup: Annotated[int, typer.Option("--warmup", metavar="N", min=0, help="Steps before each round.")] = 6,
    device: Device = "auto",
    threads: Threads = None,
    json_: Json = None,
    data_root: Data = None,
) -> None:
    """Pairs per second of a training step, the share of each part, and MFU against this machine's own matrix products.

    A pair is an image with its negatives. The images are random numbers: no data set is needed, --data only where SET:*
    stands for classes of your own set. The median of the rounds is shown, with the lowest and the highest.

    \b
    Examples:
      bench perf step sweeps/small.yaml
      bench perf step sweeps/table2.yaml --against reference --set train.precision=bf16 --memory
    """
    from benchmark.cores import usable_cores
    from benchmark.perf import measuring, step

    check_device(device)
    config = _config(file, only, set_, data_root)
    with measuring(device, threads, "--set train.batch=N", file) as where:
        result: dict[str, Any] = {"counted_memory": step.step_memory(config)} if memory else {}
        result |= step.perf_step(
            config,
            where,
            steps=steps,
            rounds=rounds,
            warmup=warmup,
            against=against,
            compile=compile,
            workers=usable_cores(),
            tell=_tell,
        )
        title = f"A step of {config.in_dist}-{config.label}, batch {config.train.batch}"
        _show(title, step.rows(result), {**result, "config": config.model_dump(mode="json")}, where, json_)


def perf_views(
    file: SweepFile,
    only: Only = None,
    set_: SetOption = None,
    rounds: Rounds = 5,
    json_: Json = None,
    data_root: Data = None,
) -> None:
    """Images per second of the views alone, on one CPU thread, against torchvision and Pillow.

    \b
    Example:
      bench perf views sweeps/table2.yaml
    """
    from benchmark.perf import measuring, views

    config = _config(file, only, set_, data_root)
    with measuring("cpu", 1, "--set train.batch=N", file) as where:
        result = views.perf_views(config, rounds=rounds, tell=_tell)
        details = {**result, "config": config.model_dump(mode="json")}
        _show("Views, one CPU thread", views.rows(result), details, where, json_)


def perf_scoring(
    size: Annotated[str, typer.Option("--size", metavar="NxMxD", help="Queries, bank, features.")] = "10000x50000x384",
    rounds: Rounds = 5,
    device: Device = "auto",
    threads: Threads = None,
    json_: Json = None,
) -> None:
    """Seconds of Eq. 6, k-NN, Mahalanobis and NT-Xent, against the same computations written plainly.

    \b
    Example:
      bench perf scoring --size 10000x50000x512
    """
    from benchmark.perf import measuring, scoring

    check_device(device)
    sizes = _sizes(size)
    with measuring(device, threads, "--size") as where:
        result = scoring.perf_scoring(*sizes, where, rounds=rounds, tell=_tell)
        _show("Scoring", scoring.rows(result), result, where, json_)


def perf_extraction(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="A sweep file: its first run with a network.")],
    only: Only = None,
    set_: SetOption = None,
    rounds: Rounds = 5,
    device: Device = "auto",
    threads: Threads = None,
    json_: Json = None,
    data_root: Data = None,
) -> None:
    """Images per second from stored pixels to kept features, against the bare network on tensors that are ready.

    \b
    Example:
      bench perf extraction sweeps/frozen.yaml
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.perf import extraction, measuring
    from benchmark.plan import sweep as sweeps

    check_device(device)
    config = extraction.to_extract(sweeps.load(file, set_, only, data=resolve_data(data_root)), only)
    with measuring(device, threads, "--set views.global_size=N", file) as where:
        result = extraction.perf_extraction(config, where, rounds=rounds, tell=_tell)
        details = {**result, "config": config.model_dump(mode="json")}
        _show("Extraction", extraction.rows(result), details, where, json_)


def perf_masks(rounds: Rounds = 5, device: Device = "auto", threads: Threads = None, json_: Json = None) -> None:
    """How well and how fast foregrounds are found, on the built-in images, whose objects' places are known.

    \b
    Example:
      bench perf masks --rounds 3
    """
    from benchmark.perf import masks, measuring

    check_device(device)
    with measuring(device, threads, "--device cpu") as where:
        result = masks.perf_masks(where, rounds=rounds, tell=_tell)
        _show("Foregrounds", masks.rows(result), result, where, json_)


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _config(file: Path, only: str | None, sets: list[str] | None, data: Path | None) -> RunConfig:
    from benchmark.data.images import data_root
    from benchmark.perf import to_time
    from benchmark.plan import sweep as sweeps

    return to_time(sweeps.load(file, sets, only, data=data_root(data)), only)


def _show(
    title: str, rows: list[tuple[str, str]], result: dict[str, Any], where: torch.device, json_: Path | None
) -> None:
    """Print the table, with the machine in its title, and write the result as JSON if asked to."""
    from benchmark.files import write_json
    from benchmark.running.environment import environment

    seen = environment(where)
    machine = f"{seen['hardware']}, {seen['threads']} threads, torch {seen['packages']['torch']}"
    print_table(("what", "found"), rows, f"{title} ({machine})")
    if json_ is not None:
        write_json(json_, {"command": shlex.join(["bench", *sys.argv[1:]]), **result, "environment": seen})
        say(f"written: {json_}")


def _sizes(text: str) -> tuple[int, int, int]:
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise BenchError(f"--size {text}: must be three whole numbers above 0, as in 10000x50000x384")
    queries, bank, width = (int(part) for part in parts)
    if bank < 20:
        raise BenchError(f"--size {text}: the bank must have the 20 neighbours that k-NN asks for, or more")
    return queries, bank, width
