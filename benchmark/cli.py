"""The `bench` command: parse, call, print. Whatever is heavy is imported inside the commands.

Exit codes: 0 all is done; 1 a run failed or a check found problems; 2 something the user can mend, said in one line;
75 another process is on the run (`bench run`); 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import socket
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.errors import BenchError

if TYPE_CHECKING:
    from benchmark.launch.local import Outcome
    from benchmark.launch.status import QueuedJob, Row
    from benchmark.plan.config import RunConfig
    from benchmark.plan.sweep import Sweep
    from benchmark.store.folders import RunFolder
    from benchmark.store.states import PlannedRun

FAILED, USER_ERROR, HELD_ELSEWHERE, INTERRUPTED = 1, 2, 75, 130

app = typer.Typer(
    name="bench",
    add_completion=False,
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
  bench data import my-images/
  bench data verify""",
)
app.add_typer(data, name="data")

Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Folder of the runs.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of the image sets. [default: $BENCH_DATA, or the user's cache]"),
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
CheckpointEvery = Annotated[float, typer.Option("--checkpoint-every", metavar="SECONDS", min=0)]


class ExecutorName(StrEnum):
    """Where runs are run. auto: SLURM where it answers, else here."""

    auto = "auto"
    local = "local"
    slurm = "slurm"


class RowFormat(StrEnum):
    """How `bench score` writes its rows."""

    csv = "csv"
    jsonl = "jsonl"


class TableNumber(StrEnum):
    """The paper's tables."""

    one = "1"
    two = "2"


class Reference(StrEnum):
    """What `bench perf` can measure itself against."""

    reference = "reference"


class FigureNumber(StrEnum):
    """The paper's figures."""

    two = "2"
    three = "3"


@app.callback(invoke_without_command=True)
def _bench(context: typer.Context) -> None:
    """Label-free OOD detection by self-distillation and negative sampling: a sweep file becomes runs, runs become
    records, records become the paper's tables and figures.

    \b
    Examples:
      bench sweep sweeps/smoke.yaml
      bench report --table 2 --sweep sweeps/smoke.yaml
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="The sweep file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and start nothing.")] = False,
    executor: Annotated[ExecutorName, typer.Option("--executor", help="Where to run.")] = ExecutorName.auto,
    only: Annotated[
        str | None, typer.Option("--only", metavar="GLOB", help="Only runs whose name matches, as in '*-rot-*'.")
    ] = None,
    set_: SetOption = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed runs again.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", min=1, help="Runs at a time here. [default: one a GPU, or one a CPU core]"),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="On a cluster: stay, and tell how the runs get on, until all have ended.")
    ] = False,
    site: SiteOption = None,
    results: Results = Path("results"),
    data_root: Data = None,
    checkpoint_every: CheckpointEvery = 300.0,
) -> None:
    """Run all of a sweep that is not done yet. Run again, it continues; nothing finished is trained twice.

    \b
    Examples:
      bench sweep sweeps/smoke.yaml
      bench sweep sweeps/small.yaml --dry-run
      bench sweep sweeps/small.yaml --only '*-rot-*' --set train.epochs=2
      bench sweep sweeps/table2.yaml --executor slurm --wait
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.files import locked
    from benchmark.launch import slurm
    from benchmark.plan import sweep as sweeps
    from benchmark.plan.resources import load_site

    root = resolve_data(data_root)
    plan = sweeps.load(file, set_, only, load_site(site))
    use_slurm = executor is ExecutorName.slurm or (executor is ExecutorName.auto and slurm.answers())
    # One at a time reads the queue and submits, so that two sweeps cannot both find a run free.
    with locked(results / ".sweep.lock") if use_slurm and not dry_run else nullcontext():
        submitted, failed = _start(plan, use_slurm, dry_run, retry_failed, jobs, results, root, checkpoint_every)
    if dry_run:
        return
    again = "".join(f" --set {shlex.quote(text)}" for text in set_ or [])
    if use_slurm and wait:
        failed |= _follow(plan, results, root)
    elif submitted:
        _say(f"Watch them: bench status {plan.path}{again}{_results_option(results)}")
    _say(f"See the results: bench report --all --sweep {file}{again}{_results_option(results)}")
    if failed:
        raise typer.Exit(FAILED)


def _start(
    plan: Sweep,
    use_slurm: bool,
    dry_run: bool,
    retry_failed: bool,
    jobs: int | None,
    results: Path,
    root: Path,
    checkpoint_every: float,
) -> tuple[bool, bool]:
    """Show the plan; run here, or submit, what is to do. Returns: were jobs submitted, did a run fail."""
    from benchmark.launch import local, slurm, status
    from benchmark.launch.local import Job
    from benchmark.store import states

    planned = states.plan(plan, results, root)
    queued: dict[str, QueuedJob] | None = {}
    if use_slurm and (submitted := _submitted(planned)):
        queued = slurm.queued_jobs(submitted)
        planned = states.plan(plan, results, root)  # once more: what has left the queue meanwhile has its record
    rows = status.rows_of_plan(planned, queued)
    _print_rows(rows, f"{plan.title}  ({plan.path})")
    _say(f"{len(rows)} runs: {status.counts(row.state for row in rows)}")

    missing = _how_to_get(planned)
    if missing and not dry_run:
        raise BenchError(missing)
    wanted = {"to do", "interrupted", "lost", "to score", *(["failed"] if retry_failed else [])}
    chosen = [
        (Job(item.run.config, item.folder), item.run.resources)
        for item, row in zip(planned, rows, strict=True)
        if item.folder is not None and row.state in wanted
    ]
    left_alone = [row.name for row in rows if row.state == "failed" and not retry_failed]
    if left_alone:
        _say(f"left alone, failed before: {', '.join(left_alone)} (again with --retry-failed)")
    arrays = slurm.make_arrays(chosen, slurm.max_array_size()) if use_slurm else []
    if arrays:
        _say(slurm.describe(arrays))
    if dry_run:
        if missing:
            _say(f"missing: {missing}")
        _show_submission(arrays, plan, results)
        _say("nothing started (--dry-run)")
        return False, False
    if chosen:
        first = local.make_slots(len(chosen), jobs)[0]
        if not use_slurm and first.gpu is None:
            local.warm_up(first)  # its imports run beside the check
        _check_backbones([job.config for job, _ in chosen], plan.path)
    failed = bool(left_alone)
    if not chosen:
        _say("nothing to do")
    elif use_slurm:
        for name, job_id in slurm.submit(arrays, plan.name, results, root, checkpoint_every):
            _say(f"submitted   {name}  job {job_id}")
    else:
        outcomes = _run_here([job for job, _ in chosen], jobs, root, checkpoint_every)
        failed |= any(outcome.state == "failed" for outcome in outcomes)
        _say(f"{len(outcomes)} runs: {status.counts(outcome.state for outcome in outcomes)}")
        if any(outcome.state == "interrupted" for outcome in outcomes):
            raise typer.Exit(INTERRUPTED)
    return bool(arrays), failed


def _results_option(results: Path) -> str:
    return "" if results == Path("results") else f" --results {results}"


FOLLOW_SECONDS = 3.0
LIVE = {"pending", "running", "suspended", "unknown"}


def _follow(plan: Sweep, results: Path, root: Path) -> bool:
    """Tell how the runs of a sweep get on until none is queued or running; returns whether one did not end well."""
    from benchmark.launch import status

    told: dict[str, tuple[str, float]] = {}
    while True:
        rows = _rows_of_sweep(plan, results, root)
        if sys.stdout.isatty():
            _say("\x1b[2J\x1b[H")
            _print_rows(rows, f"{plan.title}  ({plan.path})")
        for row in [] if sys.stdout.isatty() else rows:
            state, when = told.get(row.name, ("", 0.0))
            if row.state != state or (row.state == "running" and time.monotonic() - when > 30):
                told[row.name] = (row.state, time.monotonic())
                _say(f"{row.state:<11} {row.name}  {row.detail}".rstrip())
        if not {row.state for row in rows} & LIVE:
            _say(f"{len(rows)} runs: {status.counts(row.state for row in rows)}")
            return any(row.state != "done" for row in rows)
        time.sleep(FOLLOW_SECONDS)


def _check_backbones(configs: Iterable[RunConfig], file: Path) -> None:
    """Build each backbone once before anything starts: better one line here than a hundred failed runs."""
    from benchmark.models.backbones import build_backbone
    from benchmark.plan.methods import DinoConfig

    seen = {}
    for config in configs:
        if config.method.name != "image-statistics":
            local_size = config.views.local_size if isinstance(config.method, DinoConfig) else config.views.global_size
            seen[(config.model.model_dump_json(), config.views.global_size, local_size)] = config.model
    for (_, global_size, local_size), model in seen.items():
        try:
            build_backbone(model, global_size, local_size, model.drop_path)
        except BenchError as error:
            raise BenchError(f"{file}: {error}") from error


def _run_here(jobs: Sequence[Any], slots: int | None, root: Path, checkpoint_every: float) -> list[Outcome]:
    from benchmark.launch import local

    places = local.make_slots(len(jobs), slots)
    gpus = len({slot.gpu for slot in places} - {None})
    _say(
        f"running {len(jobs)}, {len(places)} at a time on "
        + (f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else f"the CPU, {places[0].threads} threads each")
    )
    with (local.Bars if sys.stdout.isatty() else local.Lines)(jobs) as display:
        return local.run_queue(jobs, places, local.bench_run(root, checkpoint_every), display)


def _show_submission(arrays: Sequence[Any], plan: Sweep, results: Path) -> None:
    from benchmark.launch import slurm

    for number, array in enumerate(arrays, 1):
        _say(
            f"\n# Submission {number} of {len(arrays)}: {len(array.jobs)} runs: "
            + ", ".join(job.folder.name for job in array.jobs)
        )
        _say(slurm.submission_text(array, plan.name, results))


def _how_to_get(planned: Iterable[PlannedRun]) -> str:
    """One line on all missing images and how to get each, empty if none are missing."""
    from benchmark.data.catalog import info

    lacking = [item for item in planned if item.state == "no data"]
    keys = dict.fromkeys(key for item in lacking for key in item.detail.removeprefix("missing ").split(", "))
    ways = dict.fromkeys(f"{key}: {info(key.rpartition('/')[0]).how_to_get}" for key in keys)
    return f"{len(lacking)} runs lack images; {'; '.join(ways)}" if lacking else ""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds in/ and, if you like, aux/ and ood/SET/.")],
    in_dist: Annotated[
        str | None, typer.Option("--in-dist", metavar="SUB", help="In-distribution images. [default: in, id or train]")
    ] = None,
    auxiliary: Annotated[
        str | None, typer.Option("--auxiliary", metavar="SUB", help="Images to make negatives of. [default: aux]")
    ] = None,
    ood: Annotated[
        list[str] | None, typer.Option("--ood", metavar="SUB", help="An OOD set. Repeatable. [default: ood/*]")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call the sets. [default: as FOLDER]")] = None,
    size: Annotated[int, typer.Option("--size", metavar="N", help="Side in pixels to bring images to.")] = 32,
    test_share: Annotated[float, typer.Option("--test-share", help="Share of the ID images to test on.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the split.")] = 0,
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Leave out auxiliary and OOD images that repeat others.")
    ] = False,
    gpu: Annotated[
        bool | None, typer.Option("--gpu/--cpu", help="What to set the sweep up for. [default: what is here]")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="The sweep file. [default: NAME.yaml]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a sweep file that is there.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace sets that are there with other images.")] = False,
    data_root: Data = None,
) -> None:
    """Bring your own images, without labels: store them, warn of what would spoil a result, write a sweep file.

    \b
    Examples:
      bench init my-images/
      bench init my-images/ --size 64 --to sweeps/mine.yaml
      bench init plants/ --in-dist healthy --auxiliary other --ood mildew --ood rust
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.launch.local import visible_gpus
    from benchmark.own import layout as folders
    from benchmark.own import summary, sweepfile
    from benchmark.own.bring import bring
    from benchmark.own.examine import examine

    called = name or folders.free_name(folder)
    file = to or Path(f"{called}.yaml")
    sweepfile.refuse_to_overwrite(file, force)
    found = folders.layout(folder, called, in_dist, auxiliary, ood or ())
    if found.unused:
        _say(f"not used: {', '.join(found.unused)}; choose with --in-dist, --auxiliary and --ood")
    with _progress() as tick:
        brought = bring(found, resolve_data(data_root), size, test_share, seed, drop_duplicates, replace, tick)
        tick("examining", 0, 1)
        examined = examine(brought)
    for_gpu = bool(visible_gpus()) if gpu is None else gpu
    sweepfile.write_sweep(file, brought, examined, for_gpu, data_root, force)
    _print_table(summary.COLUMNS, summary.rows(brought, examined), f"{folder}, stored in {brought.root}")
    for line in summary.notes(brought, examined):
        _say_wrapped(line)
    where = f" --data {data_root}" if data_root else ""
    _say(f"written: {file}\nNext: bench sweep {file}{where}\nthen: bench recommend {file}")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A callable for (what is being done, how many, of how many): a bar on a terminal, else a line every 5 seconds."""
    if sys.stdout.isatty():
        from rich.progress import Progress

        with Progress(transient=True) as bar:
            task = bar.add_task("")
            yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
        return
    last = time.monotonic()

    def line(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 5:
            last = time.monotonic()
            _say(f"{what}: {done} of {total}")

    yield line


@app.command()
def run(
    config_file: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings of one run.")],
    results: Results = Path("results"),
    data_root: Data = None,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda[:N]")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads.")] = None,
    checkpoint_every: CheckpointEvery = 300.0,
    set_: SetOption = None,
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
    from benchmark.plan import sweep as sweeps
    from benchmark.plan import yamlfile
    from benchmark.plan.config import RunConfig
    from benchmark.plan.validation import validate
    from benchmark.store.leases import RunIsHeld

    raw = yamlfile.read(config_file)
    sweeps.lay(raw, dict(sweeps.parse_set(text) for text in set_ or []))
    config: RunConfig = validate(RunConfig, raw, str(config_file))
    _check_device(device)
    # A shell that starts this in the background has SIGINT ignored, and ignoring is inherited.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    from benchmark.run import run as run_one
    from benchmark.running.device import Runtime
    from benchmark.running.processes import from_environment

    ranks = from_environment()
    runtime = Runtime(device=device, threads=threads, checkpoint_seconds=checkpoint_every, ranks=ranks)
    try:
        record = run_one(config, results, resolve_data(data_root), runtime)
    except RunIsHeld as error:
        _complain(str(error))
        raise typer.Exit(HELD_ELSEWHERE) from error
    except BenchError as error:
        raise BenchError(f"{config_file}: {error}") from error
    if record is not None:
        _say(f"done: {results / record.name / 'record.json'}")


def _check_device(device: str) -> None:
    if device not in ("auto", "cpu", "cuda") and not (device.startswith("cuda:") and device[5:].isdecimal()):
        raise BenchError(f"--device {device}: must be auto, cpu, cuda or cuda:N")


@app.command()
def perf(
    file: Annotated[
        Path | None, typer.Argument(metavar="SWEEP.yaml", help="A sweep file: its first run with negatives.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="GLOB", help="Of the runs whose names match, likewise.")
    ] = None,
    set_: SetOption = None,
    against: Annotated[
        Reference | None,
        typer.Option("--against", help="Time the plain recipe too: Pillow, loader workers, eager fp32."),
    ] = None,
    views: Annotated[bool, typer.Option("--views", help="Time the views alone, on one CPU thread.")] = False,
    scoring: Annotated[bool, typer.Option("--scoring", help="Time Eq. 6 and k-NN, without a file.")] = False,
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
) -> None:
    """How fast this machine trains: pairs a second, share of each part, and MFU against its own matrix products.

    A pair is an image with its negatives. The images are random numbers: no data set is needed. The median of the
    rounds is shown, with the lowest and the highest.

    \b
    Examples:
      bench perf sweeps/small.yaml
      bench perf sweeps/table2.yaml --against reference --set train.precision=bf16 --memory
      bench perf sweeps/table2.yaml --views
      bench perf --scoring
    """
    from benchmark.files import write_json
    from benchmark.perf import timings
    from benchmark.plan import sweep as sweeps

    _check_device(device)
    if (file is None) != scoring:
        raise BenchError("bench perf: name a sweep file, or else --scoring")
    if (views or scoring) and (against or memory):
        raise BenchError("bench perf: --against and --memory are for a step, without --views and --scoring")
    if scoring and (views or set_ or only):
        raise BenchError("bench perf: --scoring has its sizes from --size, and goes without --views, --set and --only")
    config = None
    if file is not None:
        runs = [run.config for run in sweeps.load(file, set_, only).runs]
        trained = [config for config in runs if config.method.name == "dino"]
        config = next((config for config in trained if config.variant != "dino"), None) or next(iter(trained), None)
        if config is None:
            raise BenchError(f"{file}: no run that trains" + (f" matches {only!r}" if only else ""))
    title, result, rows = timings(
        config,
        origin=str(file),
        device=device,
        threads=threads,
        reference=against is not None,
        views=views,
        scoring=_sizes(size) if scoring else None,
        memory=memory,
        steps=steps,
        rounds=rounds,
        warmup=warmup,
        tell=lambda line: typer.echo(line, err=True),
    )
    _print_table(("what", "found"), rows, title)
    if json_ is not None:
        write_json(json_, {"command": shlex.join(["bench", *sys.argv[1:]]), **result})
        _say(f"written: {json_}")


def _sizes(text: str) -> tuple[int, int, int]:
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise BenchError(f"--size {text}: must be three whole numbers above 0, as in 10000x50000x384")
    queries, bank, width = (int(part) for part in parts)
    if bank < 20:
        raise BenchError(f"--size {text}: the bank must have the 20 neighbours that k-NN asks for, or more")
    return queries, bank, width


@app.command()
def status(
    file: Annotated[
        Path | None, typer.Argument(metavar="[SWEEP.yaml]", help="Only this sweep's runs. [default: every run]")
    ] = None,
    only: Annotated[str | None, typer.Option("--only", metavar="GLOB", help="Only runs whose name matches.")] = None,
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
        _say("\x1b[2J\x1b[H" if sys.stdout.isatty() else "")


def _show_status(
    file: Path | None, only: str | None, set_: list[str] | None, results: Path, data_root: Path | None
) -> None:
    from fnmatch import fnmatch

    from benchmark.data.images import data_root as resolve_data
    from benchmark.launch import status as standing
    from benchmark.plan import sweep as sweeps
    from benchmark.store import folders as store

    if file is not None:
        rows = _rows_of_sweep(sweeps.load(file, set_, only), results, resolve_data(data_root))
    else:
        if set_:
            raise BenchError("--set: needs a SWEEP.yaml whose runs it overrides")
        folders = [folder for folder in store.all_runs(results) if only is None or fnmatch(folder.name, only)]
        if not folders:
            raise BenchError(
                f"{results}: holds no runs{f' that match {only}' if only else ''}; start some: bench sweep SWEEP.yaml"
            )
        queued = _queued(folders)
        rows = standing.rows_of_folders(folders, queued)
        lost = [folder for folder, row in zip(folders, rows, strict=True) if row.state == "lost"]
        rows = _replaced(rows, standing.rows_of_folders(lost, queued, _last_words(lost)))
    _print_rows(rows, str(file or results), with_logs=True)
    _say(f"{len(rows)} runs: {standing.counts(row.state for row in rows)}")


def _rows_of_sweep(plan: Sweep, results: Path, root: Path) -> list[Row]:
    """The runs of a sweep as they stand. SLURM's queue is asked first: what leaves it has a record."""
    from benchmark.launch import status as standing
    from benchmark.store import states

    planned = states.plan(plan, results, root, need_data=False)
    queued: dict[str, QueuedJob] | None = {}
    if submitted := _submitted(planned):
        queued = _queued(submitted)
        planned = states.plan(plan, results, root, need_data=False)
    rows = standing.rows_of_plan(planned, queued)
    lost = [item for item, row in zip(planned, rows, strict=True) if row.state == "lost"]
    ended = _last_words(item.folder for item in lost if item.folder is not None)
    return _replaced(rows, standing.rows_of_plan(lost, queued, ended))


def _replaced(rows: Iterable[Row], better: Iterable[Row]) -> list[Row]:
    by_name = {row.name: row for row in better}
    return [by_name.get(row.name, row) for row in rows]


def _submitted(planned: Iterable[PlannedRun]) -> list[RunFolder]:
    """The runs that SLURM may know of."""
    return [item.folder for item in planned if item.begun and item.folder is not None and item.folder.job.exists()]


def _queued(folders: Iterable[RunFolder]) -> dict[str, QueuedJob] | None:
    from benchmark.launch.slurm import queued_jobs

    try:
        return queued_jobs(folders)
    except BenchError as error:
        _say(f"note: {error}")
        return None


def _last_words(folders: Iterable[RunFolder]) -> dict[str, str]:
    from benchmark.launch.slurm import last_words

    return last_words(folders)


@app.command()
def logs(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, or a glob that matches one.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run ends, or Ctrl-C.")] = False,
    lines: Annotated[int | None, typer.Option("-n", "--lines", metavar="N", min=1, help="Only the last N.")] = None,
    results: Results = Path("results"),
) -> None:
    """A run's log: all it wrote, over all its starts, and what SLURM itself said of its last job.

    \b
    Examples:
      bench logs cifar10-rot-imgn-s0-3f9a1c2b
      bench logs '*-rot-imgn-s0-*' -f
    """
    from benchmark.launch import slurm
    from benchmark.launch.status import rows_of_folders

    found = _runs_named(name, results, None)
    if len(found) > 1:
        raise BenchError(f"{name}: matches {len(found)} runs: {', '.join(folder.name for folder in found)}; name one")
    [folder] = found
    outside = slurm.job_output(folder)
    if not folder.log.exists() and not outside and not follow:
        raise BenchError(f"{folder.name}: has written no log yet; its state: bench status --only {folder.name}")
    place = 0
    while True:
        alive = follow and rows_of_folders([folder], _queued([folder]))[0].state in LIVE
        if folder.log.exists():
            with open(folder.log, "rb") as stream:
                stream.seek(place)
                text = stream.read()
                place = stream.tell()
            if lines is not None:
                text, lines = b"".join(text.splitlines(keepends=True)[-lines:]), None
            print(text.decode(errors="replace"), end="", flush=True)
        if not alive:
            break
        try:
            time.sleep(1)
        except KeyboardInterrupt:
            return
    for path in slurm.job_output(folder):
        _say(f"--- {path}\n{path.read_text(errors='replace').rstrip()}")


@app.command()
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
    from benchmark.store.leases import describe

    chosen = {folder.name: folder for target in targets for folder in _runs_named(target, results, data_root)}
    ended = dict(slurm.cancel(chosen.values()))
    for name, job in ended.items():
        _say(f"cancelled   {name}  job {job}")
    count = len(ended)
    for name, folder in chosen.items():
        holder = folder.holder()
        if name in ended or holder is None:
            continue
        if holder.get("host") == socket.gethostname() and not holder.get("job"):
            os.kill(holder["pid"], signal.SIGINT)
            _say(f"cancelled   {name}  process {holder['pid']}, after its checkpoint")
            count += 1
        else:
            _say(f"not ended   {name}  {describe(holder)} is on it, and SLURM here knows no such job: end it there")
    _say(f"{count} of {len(chosen)} runs cancelled" + ("" if count else ": no other is queued or running"))


def _runs_named(target: str, results: Path, data_root: Path | None) -> list[RunFolder]:
    """The run folders that a name, a folder, a glob or a sweep file stands for. Raises BenchError for none."""
    from fnmatch import fnmatch

    from benchmark.data.images import data_root as resolve_data
    from benchmark.plan import sweep as sweeps
    from benchmark.store import states
    from benchmark.store.folders import RunFolder, all_runs

    if target.endswith((".yaml", ".yml")):
        planned = states.plan(sweeps.load(Path(target)), results, resolve_data(data_root), need_data=False)
        found = [item.folder for item in planned if item.folder is not None and item.folder.config.exists()]
    elif (Path(target) / "config.yaml").exists():
        found = [RunFolder(Path(target))]
    else:
        found = [folder for folder in all_runs(results) if fnmatch(folder.name, target)]
    if not found:
        names = [folder.name for folder in all_runs(results)]
        some = f"; there are {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""
        raise BenchError(f"{target}: matches no run in {results}{some}")
    return found


@app.command()
def report(
    table: Annotated[
        list[TableNumber] | None, typer.Option("--table", help="A table of the paper. Repeatable.")
    ] = None,
    figure: Annotated[
        list[FigureNumber] | None, typer.Option("--figure", help="A figure of the paper. Repeatable.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every table and figure, and the claims.")] = False,
    claims: Annotated[bool, typer.Option("--claims", help="The paper's claims, checked one by one.")] = False,
    page: Annotated[bool, typer.Option("--page", help="All of it as one HTML page, alone or with the others.")] = False,
    sweep_file: Annotated[
        Path | None, typer.Option("--sweep", metavar="FILE", help="Whose runs. [default: the paper's own sweep files]")
    ] = None,
    set_: SetOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")] = Path("reports"),
    results: Results = Path("results"),
    data_root: Data = None,
) -> None:
    """Tables and figures from the records, on the terminal and as files. Without a choice: all of them but the page.

    \b
    Examples:
      bench report --table 2 --sweep sweeps/small.yaml
      bench report --figure 2 --figure 3
      bench report --all --sweep sweeps/smoke.yaml --out reports/smoke
      bench report --claims
      bench report --page --sweep sweeps/small-cpu.yaml --results results/reference/small-cpu
    """
    from benchmark.report.build import report as build

    everything = all_ or not (table or figure or claims or page)
    written = build(
        results,
        out,
        tables=[int(number) for number in (TableNumber if everything else table or [])],
        figures=[int(number) for number in (FigureNumber if everything else figure or [])],
        claims=claims or everything,
        page=page,
        sweep=sweep_file,
        sets=set_,
        data=data_root,
    )
    _say("written: " + " ".join(str(path) for path in written))


@app.command()
def recommend(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="The sweep whose variants to choose from.")],
    set_: SetOption = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", metavar="DIR", help="Records to try the rule on. [default: results/reference]"),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all of it as JSON.")] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write all of it as Markdown.")
    ] = None,
    results: Results = Path("results"),
) -> None:
    """Rank a sweep's negatives by sensitivity, without any OOD image, and say how far that can be trusted.

    \b
    Examples:
      bench recommend my-images.yaml
      bench recommend sweeps/small-cpu.yaml --results results/reference/small-cpu
      bench recommend my-images.yaml --json choice.json
    """
    from benchmark.files import atomic_write, write_json
    from benchmark.report import recommend as choosing

    advice = choosing.recommend(file, results, reference, set_)
    for section in choosing.sections(advice):
        _print_table(section.columns, section.rows, section.title)
        for note in section.notes:
            _say_wrapped(f"- {note}")
        _say("")
    if json_file:
        write_json(json_file, choosing.as_json(advice))
    if markdown_file:
        with atomic_write(markdown_file, "w") as stream:
            stream.write(choosing.markdown(advice))
    written = [str(path) for path in (json_file, markdown_file) if path]
    if written:
        _say("written: " + " ".join(written))


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run: its name under --results, or its folder.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where the detector goes.")],
    false_alarms: Annotated[
        str, typer.Option("--false-alarms", metavar="SHARE", help="Share of ID images that may be called OOD.")
    ] = "5%",
    bank: Annotated[
        str | None,
        typer.Option("--bank", metavar="10%|N", help="Thin the bank of training features by k-means. [default: all]"),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a detector that is there.")] = False,
    results: Results = Path("results"),
    data_root: Data = None,
) -> None:
    """Make a self-contained detector of a finished run: backbone, feature bank, threshold and model card.

    The threshold is set on the run's ID test images. With the run's images at hand (--data) the detector is checked
    against the run, and its nearest training images have labels and file names.

    \b
    Examples:
      bench export cifar10-rot-imgn-s0-3f9a1c2b --to my-detector
      bench export results/cifar10-rot-imgn-s0-3f9a1c2b --to small --bank 10% --false-alarms 1%
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.detector.bank import parse_rate
    from benchmark.detector.export import export as write_detector
    from benchmark.detector.export import find_run

    rate = parse_rate(false_alarms, "--false-alarms")
    made = write_detector(find_run(run, results), to, resolve_data(data_root), rate, bank, replace)
    full = ["whole bank"] if made.bank.thinned else []
    lines = [
        [name, *([f"{ood.auroc_full_bank:.2f}"] if full else []), f"{ood.auroc:.2f}", f"{ood.found:.1f}", str(ood.n)]
        for name, ood in made.figures.ood.items()
    ]
    _print_table(["OOD set", *full, "AUROC", "found", "n"], lines, f"{made.run} as a detector, in %")
    low, high = (100 * bound for bound in made.threshold.rate_interval)
    _say(
        f"bank: {made.bank.count} of {made.bank.of} training images\n"
        f"check: {made.checked}\n"
        f"threshold: {made.threshold.value:.6g}, set on {made.threshold.n} ID test images; false alarms expected\n"
        f"  {100 * made.threshold.rate:.2f}% (95% interval {low:.2f}% to {high:.2f}%); found: share of OOD above it\n"
        f"Use it: bench score {shlex.quote(str(to))} IMAGES..."
    )


@app.command()
def score(
    detector: Annotated[Path, typer.Argument(metavar="DETECTOR", help="The folder that `bench export` wrote.")],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Files, folders, glob patterns, .npz arrays, stored sets; - reads a list of files, one a line.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the rows go. [default: standard output]")
    ] = None,
    format_: Annotated[RowFormat, typer.Option("--format", help="CSV, or one JSON object a line.")] = RowFormat.csv,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Call OOD above this score. [default: the detector's]")
    ] = None,
    nearest: Annotated[int, typer.Option("--nearest", metavar="K", min=0, help="Nearest training images to name.")] = 3,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE.html", help="A gallery of the most anomalous images.")
    ] = None,
    page_size: Annotated[int, typer.Option("--page-size", metavar="N", min=1, help="Images on that page.")] = 100,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Images a forward pass.")] = 256,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda[:N]")] = "auto",
) -> None:
    """Score images: path, score (larger = more OOD), OOD or not, p-value, nearest training images.

    A file that is not a readable image is a row with its error. Exit code 1 where no image could be read.

    \b
    Examples:
      bench score my-detector photos/ > scores.csv
      bench score my-detector 'photos/**/*.png' --out scores.csv --page worst.html
      find / -name '*.jpg' | bench score my-detector - --format jsonl
    """
    from benchmark.detector.detector import Detector
    from benchmark.detector.output import Progress, csv_lines, json_lines, write_lines
    from benchmark.detector.rows import score_images
    from benchmark.detector.sources import find_images
    from benchmark.detector.worst import Top, write_page
    from benchmark.files import atomic_write

    _check_device(device)
    sources = find_images(images, sys.stdin.buffer)
    total = None if "-" in images else sum(1 for _ in find_images(images))
    if total == 0:
        raise BenchError(f"{' '.join(images)}: no images there")
    loaded = Detector.load(detector, device)
    top, progress = Top(page_size if page is not None else 0), Progress(total)
    rows = progress.watch(top.watch(score_images(loaded, sources, batch, nearest, threshold)))
    as_csv = format_ is RowFormat.csv
    lines = csv_lines(rows, nearest, loaded.names is not None) if as_csv else json_lines(rows)
    if out is None:
        write_lines(lines, sys.stdout.buffer)
        sys.stdout.flush()
    else:
        with atomic_write(out) as file:
            write_lines(lines, file)
    print(progress.text(), file=sys.stderr)
    if page is not None:
        write_page(page, top, progress, loaded, threshold)
    if progress.counts.seen == 0:
        raise BenchError("no images in the list")
    if progress.counts.broken == progress.counts.seen:
        raise typer.Exit(FAILED)


@data.command("list")
def data_list(data_root: Data = None) -> None:
    """Every image set: its role, whether it is here, how many images, how to get it.

    \b
    Examples:
      bench data list
      bench data list --data /scratch/images
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.data.inventory import listing

    root = resolve_data(data_root)
    sets = listing(root)
    columns = ["name", "split", "role", "state", "count", "official_count"]
    lines = [["" if entry[key] is None else str(entry[key]) for key in columns] for entry in sets]
    _print_table([column.replace("_", " ") for column in columns], lines, f"Image sets in {root}")
    for entry in sets:
        if entry["state"] not in ("ready", "built-in"):
            _say(f"{entry['name']}/{entry['split']}: {entry['how_to_get']}")


@data.command("prepare")
def data_prepare(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Sets by name, as `bench data list` has them.")],
    source: Annotated[
        Path | None,
        typer.Option("--source", "--from", metavar="DIR", help="Files you have already, in the set's official form."),
    ] = None,
    size: Annotated[int, typer.Option("--size", metavar="N", min=8, help="Side in pixels to store.")] = 32,
    data_root: Data = None,
) -> None:
    """Download a set where that is allowed, or read the files given, and store it as uint8 arrays.

    \b
    Examples:
      bench data prepare cifar10 cifar100 svhn
      bench data prepare imagenet30 --source /scratch/ILSVRC2012
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.data.prepare import prepare

    for name in names:
        prepare(name, resolve_data(data_root), source, size)


@data.command("import")
def data_import(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds NAME-SPLIT.npz files or folders of images.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace sets that are there with other images.")] = False,
    data_root: Data = None,
) -> None:
    """Take in your own in-distribution, auxiliary and OOD sets.

    \b
    Examples:
      bench data import my-images/
      bench data import my-images/ --replace
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.data.importing import import_dir

    import_dir(folder, resolve_data(data_root), replace)


@data.command("verify")
def data_verify(data_root: Data = None) -> None:
    """Recompute every stored set's hash and hold it against its manifest. Exit code 1 if one differs.

    \b
    Examples:
      bench data verify
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.data.inventory import verify

    root = resolve_data(data_root)
    problems = verify(root)
    for problem in problems:
        _say(str(problem))
    if problems:
        raise typer.Exit(FAILED)
    _say(f"all sets in {root} are as their manifests say")


def _print_rows(rows: Sequence[Row], title: str, with_logs: bool = False) -> None:
    """The state of runs as a table; the logs of runs that are not done in lines of their own (paths are long)."""
    lines = [[row.name, row.state, *([row.age] if with_logs else []), row.detail] for row in rows]
    _print_table(["run", "state", *(["age"] if with_logs else []), "detail"], lines, title)
    if with_logs:
        done = [row.log for row in rows if row.log is not None and row.state == "done"]
        for row in rows:
            if row.log is not None and row.state != "done":
                _say(f"log of {row.name}: {row.log}")
        if done:
            _say(f"logs of the {len(done)} done: {done[0].parent.parent}/RUN/log.txt")


def _print_table(columns: Sequence[str], lines: Sequence[Sequence[str]], title: str) -> None:
    """A table that fits 80 columns or the terminal: a last cell that is too long goes below its line."""
    widths = [max(len(line[i]) for line in [columns, *lines]) for i in range(len(columns))]
    total = shutil.get_terminal_size((80, 24)).columns
    room = total - sum(widths[:-1]) - 2 * (len(widths) - 1)
    colours = {
        "done": "green",
        "ready": "green",
        "failed": "red",
        "no data": "red",
        "missing": "yellow",
        "running": "cyan",
        "pending": "cyan",
        "suspended": "yellow",
        "lost": "yellow",
        "unknown": "yellow",
    }
    _say(title)
    for line in [columns, *lines]:
        cells = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        last = " ".join(line[-1].split())
        text = "  ".join([*cells, last if len(last) <= room else ""]).rstrip()
        if len(last) > room:
            text += "\n    " + (last if len(last) <= total - 4 else last[: total - 7] + "...")
        typer.secho(text, fg=next((colours[cell] for cell in line[1:] if cell in colours), None), bold=line is columns)


def _say(text: str) -> None:
    print(text, flush=True)


def _say_wrapped(text: str) -> None:
    """Prose in the width of the terminal, further lines indented; paths and names are not broken."""
    width = shutil.get_terminal_size((80, 24)).columns
    _say(textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def _complain(text: str) -> None:
    print("error: " + " ".join(text.split()), file=sys.stderr, flush=True)


# typer carries click inside in some releases and depends on it in others; its own classes lead to the base.
_ClickException: Any = typer.BadParameter.__mro__[2]


def main() -> None:
    """The entry point: whatever the user can mend is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except BenchError as error:
        _complain(str(error))
        sys.exit(USER_ERROR)
    except _ClickException as error:
        _complain(error.format_message())
        sys.exit(USER_ERROR)
    except (KeyboardInterrupt, typer.Abort):
        print(
            f"stopped; what is done and saved is kept. To go on: {shlex.join(['bench', *sys.argv[1:]])}",
            file=sys.stderr,
        )
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away (`bench status | head`): no complaint, nor one at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        _complain(_explain_os(error))
        sys.exit(USER_ERROR)


def _explain_os(error: OSError) -> str:
    file = error.filename2 or error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{file}: disk full ({error.strerror}); make room and give the same command again, nothing done is lost"
    return f"{file}: {error.strerror or error}"
