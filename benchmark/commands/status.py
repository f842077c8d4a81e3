"""`bench status`: how far the runs are."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Data, Results, SetOption
from benchmark.commands.terminal import print_rows, say, warn
from benchmark.errors import BenchError, some_of


def status(
    file: Annotated[
        Path | None, typer.Argument(metavar="[SWEEP.yaml]", help="Only this sweep's runs. [default: every run]")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="GLOB", help="Only these runs: a name, its beginning, a variant, or a glob."),
    ] = None,
    set_: SetOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show again every 5 s, until Ctrl-C.")] = False,
    results: Results = Path("results"),
    data_root: Data = None,
) -> None:
    """Each run's state, progress, age, and where its log is.

    pending: its job waits, for the reason given; lost: its process or job ended without a word. `bench sweep` goes on
    with what is interrupted or lost.

    \b
    Examples:
      bench status
      bench status sweeps/small.yaml --watch
    """
    while True:
        _show_status(file, only, set_, results, data_root)
        if not watch:
            return
        try:
            time.sleep(5)
        except KeyboardInterrupt:
            return
        say("\x1b[2J\x1b[H" if sys.stdout.isatty() else "")


def _show_status(
    file: Path | None, only: str | None, set_: list[str] | None, results: Path, data_root: Path | None
) -> None:
    from benchmark.data.images import data_root as resolve_data
    from benchmark.launch import board
    from benchmark.launch.status import about_code, counts
    from benchmark.plan import sweep as sweeps
    from benchmark.plan.run_names import without_id
    from benchmark.provenance import code_fingerprint
    from benchmark.store.folders import all_runs

    if file is not None:
        root = resolve_data(data_root)
        warn(sweeps.other_images(file, root))
        rows = board.rows_of_sweep(sweeps.load(file, set_, only, data=root), results, root, say)
    elif set_:
        raise BenchError("--set: needs a SWEEP.yaml whose runs it overrides")
    else:
        rows = board.rows_of_results(results, only, say)
    print_rows(rows, str(file or results), with_logs=True)
    say(f"{len(rows)} runs: {counts(row.state for row in rows)}")
    for line in about_code(rows, code_fingerprint()):
        say(line)
    to_do = {without_id(row.name) for row in rows if row.state == "to do"} if file is not None else set[str]()
    if to_do:
        others = {folder.name for folder in all_runs(results)} - {row.name for row in rows}
        if here := to_do & set(map(without_id, others)):
            say(f"{len(here)} of those to do are here with other settings (another --set?): {some_of(sorted(here), 3)}")
