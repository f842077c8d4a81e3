"""`bench sweep`: run all of a sweep that is not done yet."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.commands import next_steps
from benchmark.commands.options import CheckpointEvery, Data, ExecutorName, Results, SetOption, SiteOption, seconds_of
from benchmark.commands.terminal import print_checklist, print_rows, say, warn
from benchmark.errors import BenchError
from benchmark.exits import FAILED, INTERRUPTED

if TYPE_CHECKING:
    from benchmark.launch.board import Board
    from benchmark.launch.local import Stop
    from benchmark.launch.slots import Slot
    from benchmark.launch.slurm import Array
    from benchmark.launch.status import Row
    from benchmark.plan.sweep import Sweep

FOLLOW_SECONDS = 3.0
SHOWN = 3  # failed runs whose log is named at the end
PREPARE = ("bench", "data", "prepare", "--for")


@dataclass(frozen=True)
class _Asked:
    """What the command line says of which runs, where, and how to run them."""

    file: Path
    sets: list[str]
    use_slurm: bool
    jobs: int | None
    results: Path
    data_root: Path
    data_option: Path | None
    checkpoint_every: float
    stop: Stop

    def about_them(self, *words: str, results: bool = True) -> str:
        """The command `words` about the same runs, as it can be copied into a shell. results: whether it asks where."""
        sets = [word for text in self.sets for word in ("--set", text)]
        data = next_steps.places(self.data_option)
        return shlex.join([*words, str(self.file), *sets, *data, *(self.where if results else [])])

    @property
    def where(self) -> list[str]:
        """The option that names the results, where they are not in their usual place."""
        return next_steps.places(None, self.results)


def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="The sweep file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and start nothing.")] = False,
    executor: Annotated[ExecutorName, typer.Option("--executor", help="Where to run.")] = ExecutorName.auto,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="GLOB", help="Only these runs: a name, its beginning, a variant, or a glob. Repeatable."
        ),
    ] = None,
    set_: SetOption = None,
    again: Annotated[
        list[str] | None,
        typer.Option(
            "--again",
            metavar="GLOB",
            help="Train these again, finished or not; RUN/before keeps the old results until then. Repeatable.",
        ),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed runs again.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", min=1, help="Runs at a time here. [default: one per GPU or CPU core]"),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="On a cluster: stay, and tell how the runs get on, until all have ended.")
    ] = False,
    site: SiteOption = None,
    results: Results = Path("results"),
    data_root: Data = None,
    checkpoint_every: CheckpointEvery = 300.0,
    stop_after: Annotated[
        str | None,
        typer.Option(
            "--stop-after",
            metavar="TIME",
            help="Here: stop all runs with a checkpoint after this time, as in 30s, 9m or 1h. Not on a cluster.",
        ),
    ] = None,
) -> None:
    """Run all of a sweep that is not done yet. Run again, it continues; nothing finished is trained twice.

    \b
    Examples:
      bench sweep sweeps/smoke.yaml
      bench sweep sweeps/small.yaml --dry-run
      bench sweep sweeps/small.yaml --only '*-rot-*' --set train.epochs=2
      bench sweep sweeps/half-hour.yaml --stop-after 9m
      bench sweep sweeps/table2.yaml --executor slurm --wait
      bench sweep sweeps/smoke.yaml --again '*-rot-*'
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.files import locked
    from benchmark.launch import slurm, status
    from benchmark.launch.board import board, rows_of_sweep
    from benchmark.launch.local import Stop
    from benchmark.plan import sweep as sweeps
    from benchmark.plan.methods import REFERENCES
    from benchmark.plan.resources import load_site

    stop = Stop()
    if stop_after is not None:
        stop.deadline = time.monotonic() + seconds_of("--stop-after", stop_after)
    root = resolve_data(data_root)
    plan = sweeps.load(file, set_, only, load_site(site), root)
    warn(sweeps.other_images(file, root))
    use_slurm = executor is ExecutorName.slurm or (executor is ExecutorName.auto and slurm.is_available())
    if use_slurm and stop_after is not None:
        raise BenchError(
            f"--stop-after {stop_after}: is for runs here, not for SLURM jobs, which have `resources: {{hours: ...}}` "
            "and go on after a time limit; inside an allocation add --executor local"
        )
    if use_slurm and jobs is not None:
        raise BenchError(
            f"--jobs {jobs}: is of runs here, not of SLURM jobs; how many of these run at a time is "
            "`resources: {array_parallelism: N}`"
        )
    asked = _Asked(file, set_ or [], use_slurm, jobs, results, root, data_root, checkpoint_every, stop)
    # One at a time reads the queue and submits, so that two sweeps cannot both find a run free.
    with locked(results / ".sweep.lock") if use_slurm and not dry_run else nullcontext():
        found = board(plan, results, root, use_slurm, retry_failed, not dry_run, again or ())
        arrays = slurm.make_arrays(found.chosen, slurm.max_array_size(), found.open_runs) if use_slurm else []
        _show(plan, found, arrays)
        if dry_run:
            _show_more(plan, found, arrays, asked)
            return
        _refuse_without_images(found, asked)
        failed = _start(plan, found, arrays, asked) + found.left_alone
    unfinished = bool(failed + found.without_weights + found.broken)
    if stop.timed_out:
        left = status.counts(row.state for row in rows_of_sweep(plan, results, root, say))
        say(f"stopped after {stop_after} (--stop-after): {left}. To go on: {shlex.join(['bench', *sys.argv[1:]])}")
    if use_slurm and wait:
        rows = _follow(plan, results, root)
        unfinished |= any(row.state != "done" for row in rows)
        failed = [row.name for row in rows if row.state == "failed"]
    elif arrays:
        say(f"Watch them: {asked.about_them('bench', 'status')}")
    if any(run.config.ood_sets() for run in plan.runs):
        say(f"See the results: {asked.about_them('bench', 'report', '--all', '--sweep')}")
    if any(run.config.kinds() for run in plan.runs):
        say(f"Which negatives? {asked.about_them('bench', 'recommend')}")
    else:  # by the whole name, since runs of other settings may be called the same
        able = (item.folder for item in found.planned if item.run.config.method.name not in REFERENCES)
        if folder := next(able, None):
            where = next_steps.places(asked.data_option, asked.results)
            say(f"A detector: {shlex.join(['bench', 'export', folder.name, '--to', 'DIR', *where])}")
    if failed:
        _say_what_to_do(failed, asked)
    if unfinished:
        raise typer.Exit(FAILED)


def _say_what_to_do(failed: Sequence[str], asked: _Asked) -> None:
    """The last lines after a sweep with failed runs: how to see why, and how to run them again."""
    for name in failed[:SHOWN]:
        say(f"Why it failed: {shlex.join(['bench', 'logs', name, *asked.where])}")
    if len(failed) > SHOWN:
        say(f"and {len(failed) - SHOWN} more: {asked.about_them('bench', 'status')}")
    say(f"Run them again: {asked.about_them('bench', 'sweep')} --retry-failed")


def _show(plan: Sweep, found: Board, arrays: Sequence[Array]) -> None:
    from benchmark.launch import slurm, status
    from benchmark.provenance import code_fingerprint

    print_rows(found.rows, f"{plan.title}  ({plan.path})")
    say(f"{len(found.rows)} runs: {status.counts(row.state for row in found.rows)}")
    for line in status.about_code(found.rows, code_fingerprint()):
        say(line)
    if found.again:
        say(f"to be trained anew: {', '.join(folder.name for folder in found.again)}")
    if found.left_alone:
        say(f"left alone, failed before: {', '.join(found.left_alone)} (again with --retry-failed)")
    if found.without_weights:
        names = ", ".join(found.without_weights)
        say(f"left alone, weights gone: {names} (a run without its record.json is trained again)")
    if arrays:
        say(slurm.describe(arrays))


def _show_more(plan: Sweep, found: Board, arrays: Sequence[Array], asked: _Asked) -> None:
    """What a dry run shows beside the plan: what is missing, and the very text for sbatch."""
    from benchmark.launch import slurm
    from benchmark.store.missing import missing_sets

    missing = missing_sets(found.planned)
    if missing:
        print_checklist(f"missing: {len(missing)} image sets", missing)
        say(f"Get them: {asked.about_them(*PREPARE, results=False)}")
    for number, array in enumerate(arrays, 1):
        names = ", ".join(job.folder.name for job in array.jobs)
        say(f"\n# Submission {number} of {len(arrays)}: {len(array.jobs)} runs: {names}")
        say(slurm.submission_text(array, plan.name, asked.results, found.queued))
    say("nothing started (--dry-run)")


def _refuse_without_images(found: Board, asked: _Asked) -> None:
    from benchmark.store.missing import missing_sets

    missing = missing_sets(found.planned)
    if missing:
        lacking = sum(item.state == "no data" for item in found.planned)
        prepare = asked.about_them(*PREPARE, results=False)
        raise BenchError(f"{lacking} runs have no images: {', '.join(missing)}; get them: {prepare}")


def _start(plan: Sweep, found: Board, arrays: Sequence[Array], asked: _Asked) -> list[str]:
    """Run here, or submit, what is to do; returns the names of runs that failed."""
    from benchmark.launch import slots, slurm, starting
    from benchmark.launch.backbones import check_backbones

    if not found.chosen:
        say("nothing to do")
        return []
    places = [] if asked.use_slurm else slots.make_slots(len(found.chosen), asked.jobs)
    if places and places[0].gpu is None:
        starting.warm_up(places[0])  # its imports run beside the check
    check_backbones([job.config for job, _ in found.chosen], plan.path)
    if not asked.use_slurm:
        for folder in found.again:
            folder.set_aside()
        return _run_here(found, asked, places)
    where, anew = (asked.results, asked.data_root), [folder.name for folder in found.again]
    for name, job_id in slurm.submit(arrays, plan.name, *where, asked.checkpoint_every, found.queued, anew):
        say(f"submitted   {name}  job {job_id}")
    return []


def _run_here(found: Board, asked: _Asked, places: list[Slot]) -> list[str]:
    from benchmark.launch import display, local, starting, status

    jobs = [job for job, _ in found.chosen]
    gpus = len({slot.gpu for slot in places} - {None})
    threads = places[0].threads
    where = f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else f"the CPU, {threads} thread{'s' * (threads > 1)} each"
    say(f"running {len(jobs)}, {len(places)} at a time on {where}")
    launch = starting.bench_run(asked.data_root, asked.checkpoint_every)
    with (display.Bars if sys.stdout.isatty() else display.Lines)(jobs) as shown:
        outcomes = local.run_queue(jobs, places, launch, shown, asked.stop)
    say(f"{len(outcomes)} runs: {status.counts(outcome.state for outcome in outcomes)}")
    failed = [outcome.name for outcome in outcomes if outcome.state == "failed"]
    interrupted = any(outcome.state == "interrupted" for outcome in outcomes)
    if interrupted and found.again:
        say("without --again the rest goes on; with it all begin anew once more")
    if interrupted and not asked.stop.timed_out:
        if failed:
            _say_what_to_do(failed, asked)
        raise typer.Exit(INTERRUPTED)
    return failed


def _follow(plan: Sweep, results: Path, root: Path) -> list[Row]:
    """Tell how the runs of a sweep get on until none is queued or running; returns how they ended."""
    from benchmark.launch import status
    from benchmark.launch.board import LIVE, rows_of_sweep

    shown: dict[str, tuple[str, float]] = {}
    while True:
        rows = rows_of_sweep(plan, results, root, say)
        if sys.stdout.isatty():
            say("\x1b[2J\x1b[H")
            print_rows(rows, f"{plan.title}  ({plan.path})")
        for row in [] if sys.stdout.isatty() else rows:
            state, when = shown.get(row.name, ("", 0.0))
            if row.state != state or (row.state == "running" and time.monotonic() - when > 30):
                shown[row.name] = (row.state, time.monotonic())
                say(f"{row.state:<11} {row.name}  {row.detail}".rstrip())
        if not {row.state for row in rows} & LIVE:
            say(f"{len(rows)} runs: {status.counts(row.state for row in rows)}")
            return rows
        time.sleep(FOLLOW_SECONDS)
