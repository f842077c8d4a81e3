"""`bench report`: tables, figures, claims and the page from the records."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Data, SetOption
from benchmark.commands.terminal import say, warn
from benchmark.plan.scores import OWN
from benchmark.report.items import FIGURES, TABLES

# typer offers and checks the names of an enumeration.
TableName = StrEnum("TableName", {f"table {name}": name for name in TABLES})  # type: ignore[misc]
FigureName = StrEnum("FigureName", {f"figure {name}": name for name in FIGURES})  # type: ignore[misc]


def report(
    table: Annotated[list[TableName] | None, typer.Option("--table", help="A table. Repeatable.")] = None,
    figure: Annotated[list[FigureName] | None, typer.Option("--figure", help="A figure. Repeatable.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Every table and figure that fits the runs, and the claims.")
    ] = False,
    claims: Annotated[bool, typer.Option("--claims", help="Published claims, checked one by one.")] = False,
    page: Annotated[bool, typer.Option("--page", help="All of it as one HTML page, alone or with the others.")] = False,
    sweep_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--sweep",
            metavar="FILE",
            help="Whose runs. Repeatable: side by side. [default: the paper's own, or what is here]",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="GLOB", help="Labels of the columns to show, others are left out. Repeatable."),
    ] = None,
    score: Annotated[
        str,
        typer.Option(
            "--score", metavar="NAME", help="One of eval.scores, in place of each method's own; in a folder by-NAME."
        ),
    ] = OWN,
    set_: SetOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")] = Path("reports"),
    results: Annotated[
        list[Path] | None,
        typer.Option(
            "--results",
            metavar="DIR",
            file_okay=False,
            help="Folder of the runs. Repeatable: the records of all.  [default: results]",
        ),
    ] = None,
    data_root: Data = None,
) -> None:
    """Tables and figures from the records, on the terminal and as files. Without a choice: all of them but the page.

    \b
    Examples:
      bench report --table 2 --sweep sweeps/small.yaml
      bench report --figure 2 --figure 3
      bench report --all --sweep sweeps/smoke.yaml --out reports/smoke
      bench report --table one-class --sweep one-class
      bench report --claims
      bench report --table 2 --claims --sweep half-hour --score eq6-confident
      bench report --page --sweep sweeps/cpu.yaml --results results/reference/cpu
      bench report --table 2 --sweep cpu --sweep small --only 'rot-*' --only dino
      bench report --table 1 --sweep table1-cpu --results results/reference/cpu --results results/reference/frozen
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.plan import sweep as sweeps
    from benchmark.report.build import find_sweep
    from benchmark.report.build import report as build
    from benchmark.report.here import sweeps_here
    from benchmark.store.measurements import load_records

    for sweep_file in sweep_files or ():
        warn(sweeps.other_images(sweep_file, resolve_data(data_root)))
    places = results or [Path("results")]
    everything = all_ or not (table or figure or claims or page)
    records, asked = load_records(places), [sweep_files or []]
    paper = map(find_sweep, ("table1", "table2"))
    if not sweep_files and (here := sweeps_here(records, paper, set_, data_root, only or [])):
        where, found = " and ".join(map(str, places)), ", ".join(map(str, here))
        say(f"no records of the paper's own sweeps in {where}; reported are those of {found}")
        asked = [[path] for path in here]
    written: list[Path] = []
    for files in asked:
        written += build(
            places,
            out,
            tables=[name.value for name in table or []],
            figures=[name.value for name in figure or []],
            claims=claims,
            page=page,
            everything=everything,
            sweep=files,
            only=only or [],
            sets=set_,
            data=data_root,
            score=score,
            records=records,
        )
    say("written: " + " ".join(str(path) for path in written))
