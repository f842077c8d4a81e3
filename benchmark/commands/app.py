"""The `bench` command and its parts, in the groups that its help shows.

Exit codes: see benchmark/exits.py.
"""

from __future__ import annotations

import functools
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.commands.cancel import cancel
from benchmark.commands.data import data_backgrounds, data_import, data_list, data_masks, data_prepare, data_verify
from benchmark.commands.doctor import doctor
from benchmark.commands.export import export
from benchmark.commands.import_features import import_features
from benchmark.commands.init import init
from benchmark.commands.logs import logs
from benchmark.commands.perf import Perf, perf_extraction, perf_masks, perf_scoring, perf_step, perf_views
from benchmark.commands.preview import preview
from benchmark.commands.recommend import recommend
from benchmark.commands.report import report
from benchmark.commands.run import run
from benchmark.commands.schema import schema
from benchmark.commands.score import score
from benchmark.commands.status import status
from benchmark.commands.sweep import sweep
from benchmark.commands.verify import verify
from benchmark.exits import INTERRUPTED, exit_code
from benchmark.files import expanded


class Grouped(typer.core.TyperGroup):
    """Lists commands group by group."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for group in GROUPS.values() for name in group]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, says) for name, (_, says) in commands.items()])


app = typer.Typer(
    name="bench",
    cls=Grouped,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data = typer.Typer(
    rich_markup_mode=None,
    help="""Image sets: what there is, how to get it, whether it is whole.

\b
Examples:
  bench data list
  bench data prepare cifar10 svhn
  bench data prepare --for sweeps/table2.yaml
  bench data import my-images/
  bench data verify""",
)


def _with_home(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, with `~` in whatever path it is given as a shell has it: of `--out=~/x` a shell leaves it."""

    @functools.wraps(command)
    def call(**given: Any) -> Any:
        return command(**{key: expanded(value) if isinstance(value, Path) else value for key, value in given.items()})

    return call


data.command("list", short_help="Every image set, whether it is here, how to get it.")(_with_home(data_list))
data.command("prepare", short_help="Fetch sets, or read the official files you have.")(_with_home(data_prepare))
data.command("import", short_help="Take in your own sets.")(_with_home(data_import))
data.command("masks", short_help="Draw what is foreground in a set's images.")(_with_home(data_masks))
data.command("backgrounds", short_help="A set before other backgrounds.")(_with_home(data_backgrounds))
data.command("verify", short_help="Hold every stored set against its manifest.")(_with_home(data_verify))
perf = typer.Typer(
    cls=Perf,
    rich_markup_mode=None,
    help="""How fast this machine trains, makes views, scores, and finds foregrounds.

\b
Examples:
  bench perf step sweeps/small.yaml
  bench perf views sweeps/table2.yaml
  bench perf scoring""",
)
perf.command("step", short_help="Pairs per second of a training step, and what takes how long.")(_with_home(perf_step))
perf.command("views", short_help="Images per second of the views alone.")(_with_home(perf_views))
perf.command("extraction", short_help="Images per second of a network, with all that is around it.")(
    _with_home(perf_extraction)
)
perf.command("scoring", short_help="Seconds of scores, k-NN and NT-Xent.")(_with_home(perf_scoring))
perf.command("masks", short_help="How well and how fast foregrounds are found.")(_with_home(perf_masks))

# The groups of the help: of each command what runs, and what the help says there: a line that fits 80 columns.
GROUPS: dict[str, dict[str, tuple[Callable[..., Any] | typer.Typer, str]]] = {
    "Run": {
        "sweep": (sweep, "Run all of a sweep that is not done yet, here or on a cluster."),
        "run": (run, "One run in the foreground: train, score, record."),
        "status": (status, "How far the runs are, and where their logs lie."),
        "logs": (logs, "What a run wrote, over all its starts."),
        "cancel": (cancel, "End these runs and no others; checkpoints are kept."),
        "schema": (schema, "The JSON schema of sweep files, for an editor."),
    },
    "Look": {
        "preview": (preview, "A picture of a sweep's negatives, before anything is trained."),
        "report": (report, "Tables, figures, claims and a page from the records."),
        "recommend": (recommend, "Rank a sweep's negatives without any OOD image."),
        "import-features": (import_features, "Score features of a network of your own."),
        "verify": (verify, "Recompute what the records say, from what is kept."),
    },
    "Own images": {
        "init": (init, "Bring your own images, without labels."),
        "export": (export, "Make a self-contained detector of a finished run."),
        "score": (score, "Score images with a detector."),
    },
    "Machine": {
        "data": (data, "Image sets: what there is, how to get it, whether it is whole."),
        "doctor": (doctor, "What this machine can do, what is missing, what to do."),
        "perf": (perf, "How fast this machine trains."),
    },
}
for name, (command, _) in (listed for group in GROUPS.values() for listed in group.items()):
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(_with_home(command))


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        from benchmark.provenance import source_commit

        commit = source_commit()
        typer.echo(f"ood-bench {metadata.version('ood-bench')}" + (f" ({commit})" if commit != "unknown" else ""))
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _bench(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Label-free OOD detection by self-distillation and negative sampling: a sweep file becomes runs, runs become
    records, records become the paper's tables and figures.

    \b
    Examples:
      bench sweep sweeps/smoke.yaml
      bench report --table 2 --sweep sweeps/smoke.yaml
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# typer carries click inside in some releases and depends on it in others; its own classes lead to the base.
_ClickException: Any = typer.BadParameter.__mro__[2]


def _click_message(error: Exception) -> str | None:
    if isinstance(error, typer.Abort):
        raise KeyboardInterrupt
    return str(error.format_message()) if isinstance(error, _ClickException) else None


def _make_streams_safe() -> None:
    """Have all three standard streams, also where one was closed (`<&-`), and print any text in any locale: file names
    need not be UTF-8."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in this order each gets its own number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _suit_matplotlib() -> None:
    """Figures go to files: a notebook's own backend, inherited, cannot be had here. And what it keeps needs a folder
    also where the user has no home."""
    os.environ["MPLBACKEND"] = "agg"
    try:
        Path.home()
    except RuntimeError:
        os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / f"ood-bench-{os.getuid()}"))


def main() -> None:
    """The entry point: whatever the user can mend is one line on stderr and exit code 2."""

    def call() -> int:
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0

    _make_streams_safe()
    _suit_matplotlib()
    try:
        code = exit_code(call, _click_message)
    except KeyboardInterrupt:  # Ctrl-C at a prompt
        code = INTERRUPTED
    sys.exit(code)
