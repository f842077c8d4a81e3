"""Options that several commands share."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from benchmark.errors import BenchError

Results = Annotated[Path, typer.Option("--results", metavar="DIR", file_okay=False, help="Folder of the runs.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        file_okay=False,
        help="Folder of the image sets. [default: $BENCH_DATA, or the user's cache]",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Override a field of every run, as in train.epochs=2. Repeatable."
    ),
]
SiteOption = Annotated[
    Path | None,
    typer.Option(
        "--site",
        metavar="FILE",
        envvar="BENCH_SITE",
        help="What belongs to a cluster: partition, account, setup, profiles. [default: ~/.config/ood-bench/site.yaml]",
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the networks (torch.compile); the run stays the same run.")
]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda[:N]", help="Where to compute.")]
CheckpointEvery = Annotated[
    float,
    typer.Option(
        "--checkpoint-every", metavar="SECONDS", min=0, help="How often a run saves what it has; 0: after each step."
    ),
]


def _is_png(file: Path) -> Path:
    if file.suffix.lower() != ".png":
        raise BenchError(f"{file}: pictures are written as PNG; end its name in .png")
    return file


Picture = Annotated[Path, typer.Argument(metavar="FILE.png", help="Where the picture goes.", callback=_is_png)]


class ExecutorName(StrEnum):
    """Where runs are run. auto: SLURM where there is one, else here."""

    auto = "auto"
    local = "local"
    slurm = "slurm"


class RowFormat(StrEnum):
    """How `bench score` writes its rows."""

    csv = "csv"
    jsonl = "jsonl"


class Against(StrEnum):
    """What `bench perf` can measure itself against."""

    reference = "reference"
    contiguous = "contiguous"
    rendered = "rendered"


def seconds_of(option: str, text: str) -> float:
    """The seconds of a duration like 30s, 9m or 1h. Raises BenchError that names the option for anything else."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    number = text[:-1]
    if unit is None or not re.fullmatch(r"\d+(\.\d+)?", number, re.ASCII) or float(number) == 0:
        raise BenchError(f"{option} {text}: must be a number above 0 and its unit, as in 30s, 9m or 1h")
    return float(number) * unit


def check_device(device: str) -> None:
    if device not in ("auto", "cpu", "cuda") and not (device.startswith("cuda:") and device[5:].isdecimal()):
        raise BenchError(f"--device {device}: must be auto, cpu, cuda or cuda:N")
