"""The runs of a sweep, or of a folder, as they stand: the plan, the disk and SLURM's queue together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from benchmark.data.images import data_root as resolve_data
from benchmark.errors import BenchError, some_of
from benchmark.files import expanded
from benchmark.launch import slurm
from benchmark.launch.jobs import Job
from benchmark.launch.status import QueuedJob, Row, rows_of_folders, rows_of_plan
from benchmark.plan import sweep as sweeps
from benchmark.plan.resources import Resources
from benchmark.plan.run_names import meant, meant_or_labelled
from benchmark.plan.sweep import Sweep
from benchmark.store import states
from benchmark.store.folders import RunFolder, all_runs
from benchmark.store.states import PlannedRun

LIVE = {"pending", "running", "suspended", "unknown"}  # of a run that somebody is on, or may be
WANTED = {"to do", "interrupted", "lost", "to score"}  # of a run that `bench sweep` starts

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Board:
    """A sweep held against the disk and the queue, and what is to be started of it."""

    planned: list[PlannedRun]
    rows: list[Row]
    chosen: list[tuple[Job, Resources]]
    left_alone: list[str]  # failed before, and not to be tried again
    again: list[RunFolder] = field(default_factory=list)  # of those that are chosen, what is to be trained anew
    queued: Mapping[str, QueuedJob] = field(default_factory=dict)  # run name -> its job, where the queue was asked

    @property
    def without_weights(self) -> list[str]:
        """Runs that cannot be scored, or begun, before the weights that they need are trained again."""
        return self._left("no weights")

    @property
    def broken(self) -> list[str]:
        """Runs whose record cannot be read."""
        return self._left("broken")

    def _left(self, state: str) -> list[str]:
        anew = {folder.name for folder in self.again}
        return [row.name for row in self.rows if row.state == state and row.name not in anew]

    @property
    def open_runs(self) -> dict[str, RunFolder]:
        """Recipe -> folder of the runs that are queued, running or to be started."""
        states = {row.name: row.state for row in self.rows}
        chosen = {job.folder.name for job, _ in self.chosen}
        return {
            item.run.recipe: item.folder
            for item in self.planned
            if item.folder is not None and (item.folder.name in chosen or states.get(item.folder.name) in LIVE)
        }


def board(
    plan: Sweep,
    results: Path,
    root: Path,
    ask_queue: bool,
    retry_failed: bool,
    store: bool = True,
    again: Sequence[str] = (),
) -> Board:
    """What `bench sweep` has to go by. store: as for `states.plan`. again: globs of runs to be trained anew.

    Raises BenchError when SLURM's queue is to be asked and does not answer, and for a glob that matches no run.
    """
    planned_now = partial(states.plan, plan, results, root, store=store)
    planned = planned_now()
    queued: Mapping[str, QueuedJob] = {}
    if ask_queue and (waiting := _submitted(planned)):
        queued = slurm.queued_jobs(waiting)
        planned = planned_now()  # once more: what has left the queue meanwhile has its record
    rows = rows_of_plan(planned, queued)
    wanted = WANTED | ({"failed"} if retry_failed else set())
    labels = {row.name: item.run.config.label for item, row in zip(planned, rows, strict=True)}
    anew = _matched(again, labels, plan.path)
    chosen, restarted, left_alone = [], [], []
    for item, row in zip(planned, rows, strict=True):
        if item.folder is None or row.state in LIVE:
            continue
        if row.state in wanted or row.name in anew:
            chosen.append((Job(item.run.config, item.folder, item.run.resources.device), item.run.resources))
        elif row.state == "failed":
            left_alone.append(row.name)
        if row.name in anew:
            restarted.append(item.folder)
    return Board(planned, rows, chosen, left_alone, restarted, queued)


def _matched(globs: Sequence[str], labels: Mapping[str, str], path: Path) -> set[str]:
    """The runs that any of the globs means (`meant_or_labelled`); each must mean something."""
    matched = set[str]()
    for glob in globs:
        if not (found := meant_or_labelled(glob, labels)):
            raise BenchError(f"--again {glob}: matches no run of {path}: {some_of(labels)}")
        matched.update(found)
    return matched


def rows_of_sweep(plan: Sweep, results: Path, root: Path, tell: Tell) -> list[Row]:
    """The runs of a sweep as they stand. SLURM's queue is asked first: what leaves it has a record.

    tell: is given a line when the queue does not answer.
    """
    planned = states.plan(plan, results, root, need_data=False)
    queued: Mapping[str, QueuedJob] | None = {}
    if waiting := _submitted(planned):
        queued = queue_of(waiting, tell)
        planned = states.plan(plan, results, root, need_data=False)
    rows = rows_of_plan(planned, queued)
    lost = [item for item, row in zip(planned, rows, strict=True) if row.state == "lost"]
    ended = slurm.last_words(item.folder for item in lost if item.folder is not None)
    return _replaced(rows, rows_of_plan(lost, queued, ended))


def rows_of_results(results: Path, only: str | None, tell: Tell) -> list[Row]:
    """All runs in a folder, or those that `only` means by name or label. Raises BenchError where there are none."""
    folders = all_runs(results)
    if only is not None:
        folders = _meant(only, folders) or [folder for folder in folders if _is_labelled(folder, only)]
    if not folders:
        raise BenchError(
            f"{results}: holds no runs{f' that match {only}' if only else ''}; start some: bench sweep SWEEP.yaml"
        )
    queued = queue_of(folders, tell)
    rows = rows_of_folders(folders, queued)
    lost = [folder for folder, row in zip(folders, rows, strict=True) if row.state == "lost"]
    return _replaced(rows, rows_of_folders(lost, queued, slurm.last_words(lost)))


def queue_of(folders: Iterable[RunFolder], tell: Tell) -> dict[str, QueuedJob] | None:
    """Run name -> its job in SLURM's queue; None, and a line to `tell`, when the queue does not answer."""
    try:
        return slurm.queued_jobs(folders)
    except BenchError as error:
        tell(f"note: {error}")
        return None


def runs_named(
    target: str, results: Path, data_root: Path | None = None, sets: list[str] | None = None
) -> list[RunFolder]:
    """The run folders that a name or its beginning, a folder, a glob or a sweep file means. BenchError for none.

    sets: as from `--set`, of a sweep file.
    """
    if target.endswith((".yaml", ".yml")) or target in sweeps.built_in():
        root = resolve_data(data_root)
        planned = states.plan(sweeps.load(Path(target), sets, data=root), results, root, need_data=False)
        found = [item.folder for item in planned if item.folder is not None and item.folder.config.exists()]
    elif sets:
        raise BenchError(f"--set {sets[0]}: is of a sweep's runs, and {target} is no sweep file")
    elif (expanded(target) / "config.yaml").exists():
        found = [RunFolder(expanded(target))]
    else:
        found = _meant(target, all_runs(results))
    if not found:
        names = [folder.name for folder in all_runs(results)]
        some = f"; there are {some_of(names)}" if names else ""
        raise BenchError(f"{target}: matches no run in {results}{some}")
    return found


def _meant(text: str, folders: Iterable[RunFolder]) -> list[RunFolder]:
    by_name = {folder.name: folder for folder in folders}
    return [by_name[name] for name in meant(text, by_name)]


def _is_labelled(folder: RunFolder, text: str) -> bool:
    try:
        return fnmatch(folder.read_config().label, text)
    except BenchError:  # a broken one is called nothing
        return False


def _submitted(planned: Iterable[PlannedRun]) -> list[RunFolder]:
    """The runs that SLURM may know of."""
    return [item.folder for item in planned if item.begun and item.folder is not None and item.folder.job.exists()]


def _replaced(rows: Iterable[Row], better: Iterable[Row]) -> list[Row]:
    by_name = {row.name: row for row in better}
    return [by_name.get(row.name, row) for row in rows]
