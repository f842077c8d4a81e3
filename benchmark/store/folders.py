"""results/ on disk: one folder a run.

A run's folder holds config.yaml (resolved), record.json, scores.npz, features.npz, metrics.jsonl, log.txt, status.json,
attempts.jsonl, job.json, checkpoint.pt (until the run is done) and weights.safetensors; before/ while it is trained
anew.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import BenchError
from benchmark.files import (
    NewerRelease,
    atomic_write,
    read_json,
    read_json_lines,
    read_npz,
    remove_torn,
    schema_version,
    write_json,
)
from benchmark.plan import yamlfile
from benchmark.plan.config import RunConfig, as_kept
from benchmark.plan.validation import explained, validate
from benchmark.store import leases
from benchmark.store.leases import Lease
from benchmark.store.records import SCHEMA, UPGRADES, Record

if TYPE_CHECKING:
    import numpy as np


class Status(BaseModel):
    """status.json: how far a run is, rewritten as it goes."""

    model_config = ConfigDict(extra="ignore")

    state: Literal["running", "failed", "interrupted", "done"]
    phase: str = ""  # data, train, features, score
    epoch: float = 0.0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    extracted: int = 0  # images that have their features, of `images`
    images: int = 0
    seconds_left: float | None = None
    started: float = 0.0  # unix time
    updated: float = 0.0
    host: str = ""
    error: str = ""  # traceback or message of a failure


class _File:
    """The path of a file of a run, made when asked for: a plan names thousands of folders and looks into few."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: RunFolder, owner: type[RunFolder]) -> Path:
        return folder.path / self.name


class RunFolder:
    """The files of one run."""

    config = _File("config.yaml")
    record = _File("record.json")
    scores = _File("scores.npz")
    features = _File("features.npz")
    metrics = _File("metrics.jsonl")
    log = _File("log.txt")
    status = _File("status.json")
    checkpoint = _File("checkpoint.pt")
    weights = _File("weights.safetensors")
    lease = _File("lease.json")
    attempts = _File("attempts.jsonl")
    job = _File("job.json")
    before = _File("before")  # a folder: what it had made, while it is trained anew

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def weights_are_gone(self) -> str:
        """What to say where a finished run's weights are needed and not there, with what to do."""
        return (
            f"{self.weights}: is gone, and a finished run is not trained twice; delete {self.record} to train it again"
        )

    def read_record(self) -> Record | None:
        """The record, or None while there is none. Raises BenchError when it is broken or of a newer schema."""
        if not self.record.exists():
            return None
        raw = read_json(self.record)
        version = schema_version(self.record, raw, min([SCHEMA, *UPGRADES]), SCHEMA)
        try:
            while version < SCHEMA:
                raw = UPGRADES[version](raw)
                version += 1
            return Record.model_validate(raw).read_from(self.path)
        except ValidationError as error:
            raise BenchError(f"{self.record}: not a record: {explained(Record, error)}") from error
        except (KeyError, TypeError, ValueError) as error:  # an older one without what its upgrade reads
            raise BenchError(f"{self.record}: not a record of schema {version}: {error}") from error

    def try_record(self) -> tuple[Record | None, str]:
        """The record; None and "" while there is none; where it cannot be read, None and why, with what to do."""
        try:
            return self.read_record(), ""
        except NewerRelease as error:
            return None, str(error)
        except BenchError as error:
            then = "scores the run again" if self.weights.exists() else "makes the run again"
            return None, f"{error}; put back a copy of it, or delete it: `bench sweep` then {then}"

    def write_record(self, record: Record) -> None:
        """Write it; of a run that was trained anew, what `set_aside` has kept goes."""
        write_json(self.record, record.model_dump(mode="json"))
        shutil.rmtree(self.before, ignore_errors=True)

    def set_aside(self) -> None:
        """Put what the run has made into `before`, for it to be trained anew; its checkpoints go. The record last: as
        long as it stands the run counts as finished. What is in `before` already is of the last time it was."""
        for path in self.path.glob("checkpoint*.pt"):
            path.unlink()
        for path in (self.weights, self.features, self.scores, self.metrics, self.attempts, self.status, self.record):
            if path.exists() and not (self.before / path.name).exists():
                self.before.mkdir(exist_ok=True)
                path.rename(self.before / path.name)
            path.unlink(missing_ok=True)

    def put_back(self) -> None:
        """Undo `set_aside`, but for checkpoints, where nothing has been trained since."""
        if self.before.exists():
            for path in self.before.iterdir():
                path.rename(self.path / path.name)
            self.before.rmdir()

    def read_scores(self, config: RunConfig, wanted: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """scores.npz: "set/split:NAME" -> the scores (N,) by NAME; of these keys alone where they are `wanted`.

        Files of schema 1 call the scores by the method's own by the set alone; `config`, the run's, says its name.
        Raises BenchError for a file that is missing or broken.
        """
        own = config.method.own_score
        if wanted is not None:
            wanted = {*wanted, *(name.removesuffix(f":{own}") for name in wanted)}
        found = read_npz(self.scores, wanted)
        return {name if ":" in name.rpartition("/")[2] else score_key(name, own): rows for name, rows in found.items()}

    def read_config(self) -> RunConfig:
        config: RunConfig = validate(RunConfig, as_kept(yamlfile.read(self.config)), str(self.config))
        return config

    def keep_config(self, config: RunConfig) -> None:
        """Write config.yaml unless it says the same already, word for word: one that is older than a setting is read
        otherwise where it is taken for a file of the user's."""
        with suppress(BenchError, FileNotFoundError):
            if yamlfile.read(self.config) == config.model_dump(mode="json"):
                return
        self.write_config(config)

    def write_config(self, config: RunConfig) -> None:
        with atomic_write(self.config, "w") as stream:
            stream.write(yamlfile.write(config.model_dump(mode="json")))

    def read_status(self) -> Status | None:
        if not self.status.exists():
            return None
        try:
            return Status.model_validate(read_json(self.status))
        except (BenchError, ValueError):
            return None  # advisory only: a broken status file must not hide the run

    def write_status(self, status: Status) -> None:
        write_json(self.status, status.model_dump(mode="json"))

    def read_job(self) -> dict[str, Any]:
        """What is known of the run's last job on a cluster; empty where there was none. Advisory, as the status is."""
        with suppress(FileNotFoundError, BenchError):
            note = read_json(self.job)
            if isinstance(note, dict) and all(isinstance(note[key], JOB[key]) for key in JOB if key in note):
                return note
        return {}

    def write_job(self, note: dict[str, Any]) -> None:
        write_json(self.job, note)

    def note_attempt(self, about: dict[str, Any]) -> None:
        """Keep that a process has begun, or gone on with, the run: when, where, for which job, with which code."""
        kept = self.attempts.read_bytes() if self.attempts.exists() else b""
        torn = "\n" if kept and not kept.endswith(b"\n") else ""  # by a full disk: this line is not to be lost with it
        with open(self.attempts, "a") as stream:
            stream.write(torn + json.dumps({"time": round(time.time(), 3), **about}) + "\n")

    def read_attempts(self) -> list[dict[str, Any]]:
        """What `note_attempt` kept, oldest first. Advisory: a line that a full disk cut short is left out."""
        return read_json_lines(self.attempts)

    def remove_torn(self) -> None:
        """Remove what killed processes left of the large files. For the run's holder, who alone writes those."""
        for path in (self.checkpoint.with_suffix(".new.pt"), self.weights, self.features, self.scores, self.metrics):
            remove_torn(path)

    def holder(self) -> dict[str, Any] | None:
        """Who holds the run and gives signs of life: host, node, pid, job. None when nobody does."""
        return leases.holder(self.lease)

    def lease_is_live(self) -> bool:
        """True while some process holds the run and gives signs of life."""
        return self.holder() is not None

    def hold(self) -> AbstractContextManager[Lease]:
        """Hold the run for this process, with a heartbeat; raises RunIsHeld when another process has it.

        An expired lease is taken over; whoever had it learns so from `Lease.check`.
        """
        return leases.hold(self.lease)


# What job.json says: the submission's name, folder and time, the run's place in it and job, when it was cancelled, and
# how many of its starts came to nothing.
JOB: dict[str, Any] = {"name": str, "index": int, "folder": str, "submitted": (int, float), "job": str,
                       "cancelled": (int, float), "fruitless": int}  # fmt: skip
NEGATIVES = "negatives"  # in features.npz: features of some of the run's negatives, which are no set


def output_key(key: str, output: str) -> str:
    """What an output of the images "set/split" is called in features.npz: the features go by the set alone."""
    return key if output == "features" else f"{key}:{output}"


def is_of(name: str, key: str) -> bool:
    """Whether what is called `name` in features.npz or scores.npz is of the images "set/split" `key`."""
    return name == key or name.startswith(f"{key}:")


def outputs_of(arrays: Mapping[str, np.ndarray], key: str) -> dict[str, np.ndarray]:
    """Of all that features.npz holds the outputs of the images "set/split" `key`, by their own names."""
    return {name.removeprefix(key).removeprefix(":") or "features": rows for name, rows in arrays.items()
            if is_of(name, key)}  # fmt: skip


def score_key(key: str, name: str) -> str:
    """What the scores by `name` of the images "set/split" are called in scores.npz."""
    return f"{key}:{name}"


def run_folder(results: Path, config: RunConfig, fingerprints: dict[str, str]) -> RunFolder:
    """The folder of the run of `config` on the images with these fingerprints."""
    return RunFolder(results / config.run_name(config.run_id(fingerprints)))


def all_runs(results: Path) -> list[RunFolder]:
    """Every run folder directly under `results`, by name."""
    if not results.is_dir():
        return []
    return [RunFolder(path) for path in sorted(results.iterdir()) if (path / "config.yaml").exists()]


def runs_below(place: Path) -> list[RunFolder]:
    """Every folder of a run at or below `place`, by path; links are followed. Raises BenchError where there is none."""
    found = []
    seen: set[str] = set()  # a link may lead back up
    for path, below, files in os.walk(place, followlinks=True):
        if (real := os.path.realpath(path)) in seen:
            below.clear()
            continue
        seen.add(real)
        if {"config.yaml", "record.json"} & set(files):
            found.append(RunFolder(Path(path)))
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))
    if not found:
        raise BenchError(f"{place}: {'holds no runs' if place.is_dir() else 'no such folder'}; name a folder of runs")
    return found


def trained_on(folders: Iterable[RunFolder], key: str, fingerprint: str | None) -> list[RunFolder]:
    """Those of the runs that are finished and were trained on these very images of "set/split", in their order."""
    found = []
    for folder in folders:
        record = folder.try_record()[0]
        seen = record.data.get(key) if record else None
        if seen and seen.fingerprint == fingerprint:
            found.append(folder)
    return found


def runs_by_recipe(results: Path) -> dict[str, list[RunFolder]]:
    """Recipe id -> the run folders with this recipe, whatever images they were made with; oldest first."""
    found: dict[str, list[RunFolder]] = {}
    for folder in sorted(all_runs(results), key=lambda folder: folder.config.stat().st_mtime):
        try:
            recipe = folder.read_config().recipe_id()
        except BenchError:  # its record knows too; of one without nobody knows what it is of
            record = folder.try_record()[0]
            recipe = record.recipe_id if record else ""
        if recipe:
            found.setdefault(recipe, []).append(folder)
    return found
