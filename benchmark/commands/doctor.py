"""`bench doctor`: what this machine can do, what is missing, and what to do about it."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Data, Results, SiteOption
from benchmark.commands.terminal import say
from benchmark.exits import FAILED


def doctor(
    no_speed: Annotated[bool, typer.Option("--no-speed", help="Leave out measuring the speed: 90 s at most.")] = False,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all of it as JSON too.")] = None,
    site: SiteOption = None,
    results: Results = Path("results"),
    data_root: Data = None,
) -> None:
    """What this machine can do for the benchmark, what is missing, and what to do about it.

    Packages, GPUs, cores, memory, disks, image sets, SLURM, the site file, and how fast it trains. Exit code 1 where
    something is broken, 0 also where something is missing.

    \b
    Examples:
      bench doctor
      bench doctor --no-speed --json machine.json
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.doctor import findings, machine, places, speed
    from benchmark.files import write_json

    root = resolve_data(data_root)
    checks: list[tuple[str, findings.Check]] = [
        ("packages", machine.packages),
        ("GPU", machine.gpus),
        ("cores", machine.cores_and_memory),
        ("results", partial(machine.disk, "results", results)),
        ("data", partial(machine.disk, "data", root)),
        ("images", partial(places.image_sets, root)),
        ("SLURM", places.cluster),
        ("site file", partial(places.site_file, site)),
        *([] if no_speed else [("speed", speed.timed)]),
    ]
    found = []
    width = shutil.get_terminal_size((80, 24)).columns
    for check in checks:  # each is shown, and written, as soon as it is known
        if check[0] == "speed":
            say(f"measuring how fast it trains, for {speed.LIMIT_SECONDS} s at most; --no-speed leaves that out")
        new = findings.examine([check])
        for line in findings.lines(new, width):
            say(line)
        found += new
        if json_ is not None:
            write_json(json_, findings.as_json(found))
    if json_ is not None:
        say(f"written: {json_}")
    broken = [finding for finding in found if finding.state == "broken"]
    if broken:
        raise typer.Exit(FAILED)
