"""How far the runs of a sweep are, in words: shared by `bench sweep`, `bench status` and both executors."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from benchmark import plugins
from benchmark.errors import BenchError, some_of
from benchmark.store.folders import RunFolder, Status
from benchmark.store.records import different_codes
from benchmark.store.states import PlannedRun, observed_state

# The order in which a summary counts states.
STATES = (
    "done",
    "running",
    "suspended",
    "pending",
    "to score",
    "to do",
    "interrupted",
    "lost",
    "unknown",
    "failed",
    "broken",
    "no data",
    "no weights",
)


@dataclass(frozen=True)
class QueuedJob:
    """A job as a scheduler's queue has it. reason: why it waits, in the scheduler's word."""

    job: str
    state: str
    node: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """A run as a line of a table."""

    name: str
    state: str
    detail: str = ""  # progress, the error's last line, what is missing
    age: str = ""  # since its last sign of life
    log: Path | None = None
    codes: tuple[str, ...] = ()  # fingerprints of the code that made its record's numbers
    plugins: Mapping[str, str] = field(default_factory=dict)  # and what it took from other packages


def rows_of_plan(
    planned: Sequence[PlannedRun], queued: Mapping[str, QueuedJob] | None, ended: Mapping[str, str] = {}
) -> list[Row]:
    """One row a run of a plan.

    queued: run name -> its job, as from `slurm.queued_jobs`; None if the queue could not be read.
    ended: run name -> how its last job ended, as from `slurm.last_words`.
    """
    return [
        replace(_row(item.folder, item.state, item.detail, queued, ended), codes=item.codes, plugins=item.plugins)
        if item.folder is not None and item.begun
        else Row(item.folder.name if item.folder is not None else item.run.short_name, item.state, item.detail)
        for item in planned
    ]


def rows_of_folders(
    folders: Iterable[RunFolder], queued: Mapping[str, QueuedJob] | None, ended: Mapping[str, str] = {}
) -> list[Row]:
    """One row a run folder, whatever sweep it came from."""
    rows = []
    for folder in folders:
        try:
            config = folder.read_config()
        except BenchError as error:
            rows.append(Row(folder.name, "broken", f"{error}; `bench sweep` writes it anew"))
            continue
        state, detail, record = observed_state(config, folder)
        row = _row(folder, state, detail, queued, ended)
        rows.append(replace(row, codes=record.codes, plugins=record.plugins) if record else row)
    return rows


def about_code(rows: Iterable[Row], now: str) -> list[str]:
    """What to say where the records of these runs were made by other code than `now`, or by different code, or with
    packages of the user's own that have changed since; nothing of records that do not know."""
    rows = list(rows)
    made = {row.name: row.codes for row in rows if row.codes}
    anew = "to train runs anew: bench sweep SWEEP.yaml --again GLOB"
    said = []
    if others := [name for name, codes in made.items() if codes != (now,)]:
        said.append(f"made by other code than is here now ({now}): {some_of(others)}; {anew}")
    edited: dict[str, list[str]] = {}
    for row in rows:
        for key in plugins.changed(row.plugins):
            edited.setdefault(f"{key.partition(': ')[2]} of {row.plugins[key].split()[0]}", []).append(row.name)
    said += [f"{key} has changed since these were made: {some_of(names)}; {anew}" for key, names in edited.items()]
    if counted := different_codes(made.values()):
        said.append(f"made by different code, so that their numbers may differ for that alone: {counted}")
    return said


def _row(
    folder: RunFolder, state: str, detail: str, queued: Mapping[str, QueuedJob] | None, ended: Mapping[str, str]
) -> Row:
    """The record decides, then who holds the run, then the queue, then what the run last said of itself."""
    job = (queued or {}).get(folder.name)
    note = {} if state == "done" else folder.read_job()  # of a run that is done its record has said all
    if state in ("to do", "lost") and note.get("job") and job is None and not note.get("cancelled"):
        state = "lost" if queued is not None else "unknown"  # submitted, and neither in the queue nor with a word
        detail = f"its job {note['job']} is gone" if queued is not None else f"job {note['job']}"
    status = None if state == "done" else folder.read_status()
    progress = progress_text(status, with_time_left=state == "running") if status is not None else ""
    parts = [detail]
    if state == "running":
        holder = folder.holder() or {}
        parts = [progress, f"on {holder['node']}" if holder.get("node") else "", times_requeued(folder)]
        if job is not None and job.state not in ("RUNNING", "COMPLETING"):  # a node that SLURM takes for dead
            parts.append(f"while SLURM has job {job.job} as {job.state}")
    elif job is not None and state not in ("done", "failed"):  # either of them has been said by the job itself
        state, said = _in_queue(job)
        parts = [f"job {job.job}{said}", times_requeued(folder), progress if status and status.step else ""]
    elif state in ("interrupted", "lost", "unknown"):
        parts = [ended.get(folder.name) or detail, progress]
    if state in ("interrupted", "lost", "to do") and note.get("cancelled"):
        parts.insert(0, "cancelled")
    newest = max((path.stat().st_mtime for path in (folder.record, folder.status) if path.exists()), default=0.0)
    return Row(
        folder.name,
        state,
        ", ".join(filter(None, parts)),
        duration(time.time() - newest) if newest else "",
        folder.log if folder.log.exists() else None,
    )


def _in_queue(job: QueuedJob) -> tuple[str, str]:
    """A run's state, and what else to say, from its job alone."""
    if job.state in ("SUSPENDED", "STOPPED"):
        return "suspended", f" on {job.node}"
    if job.state in ("RUNNING", "CONFIGURING", "COMPLETING"):
        return "running", f" {'starting' if job.state != 'COMPLETING' else 'ending'} on {job.node or 'its node'}"
    held = "" if job.state == "PENDING" else f" {job.state}"
    return "pending", f"{held}: {job.reason}" if job.reason else held


def times_requeued(folder: RunFolder) -> str:
    """ "requeued 2x": further starts of the run's last job; empty where there are none."""
    jobs = [attempt.get("job") for attempt in folder.read_attempts()]
    again = jobs.count(jobs[-1]) - 1 if jobs and jobs[-1] else 0
    return f"requeued {again}x" if again else ""


def counts(states: Iterable[str]) -> str:
    """Counts in words: "3 done, 1 failed, 7 to do"."""
    number = Counter(states)
    ordered = [*(state for state in STATES if state in number), *(state for state in number if state not in STATES)]
    return ", ".join(f"{number[state]} {state}" for state in ordered) or "no runs"


def progress_text(status: Status, with_time_left: bool = True) -> str:
    """One run's progress in a few words: "train 12/500, loss 8.213, 3h 05m left", "features 512/9,000, 2m left"."""
    if status.phase == "train" and status.epochs:
        parts = [f"train {status.epoch:.4g}/{status.epochs}"]
        if status.loss is not None:
            parts.append(f"loss {status.loss:.4g}")
    elif status.phase == "features" and status.images:
        parts = [f"features {status.extracted:,}/{status.images:,}"]
    else:
        return status.phase or "starting"
    if with_time_left and status.seconds_left is not None:
        parts.append(f"{duration(status.seconds_left)} left")
    return ", ".join(parts)


def share_done(status: Status | None) -> float:
    """Share of a run's steps that are done, or of its images where it trains nothing, 0 to 1."""
    if status is None:
        return 0.0
    done, whole = (status.step, status.steps) if status.steps else (status.extracted, status.images)
    return min(1.0, done / whole) if whole else 0.0


def duration(seconds: float) -> str:
    """Seconds as people say them: "45s", "12m 05s", "3h 05m", "2d 4h"."""
    whole = max(0, round(seconds))
    for unit, size, small, small_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size}{unit} {rest:02d}{small}" if unit != "d" else f"{whole // size}{unit} {rest}{small}"
    return f"{whole}s"


def mark(folder: RunFolder, state: Literal["failed", "interrupted"], error: str) -> None:
    """Record in status.json how the run ended, where it could not do so itself. `error` ends in the reason."""
    status = folder.read_status() or Status(state=state)
    folder.write_status(
        status.model_copy(update={"state": state, "error": error, "updated": time.time(), "seconds_left": None})
    )
