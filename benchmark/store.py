"""results/ on disk: one folder a run, its status and lease, and the versioned record. Records become a tidy table.

A run's folder holds config.yaml (resolved), record.json, scores.npz, features.npz, metrics.jsonl, log.txt, status.json,
attempts.jsonl, job.json, checkpoint.pt (until the run is done) and weights.safetensors.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from benchmark import yamlfile
from benchmark.config import RunConfig, Strict, validate
from benchmark.errors import BenchError
from benchmark.files import atomic_write, clock_of, locked, read_json, schema_version, write_json

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1  # of record.json; `_UPGRADES` brings older ones here
_UPGRADES: dict[int, Any] = {}  # version -> function(raw dict) -> raw dict of version + 1

HEARTBEAT_SECONDS = 10.0
LEASE_EXPIRES_SECONDS = 120.0  # without a heartbeat; at once where the holder is a dead process of this host


class SetInRecord(Strict):
    """A set of images as a run saw it."""

    count: int
    fingerprint: str  # sha256 of images and labels
    official: bool = False  # prepared from the official files, or generated, rather than imported
    official_count: int | None = None


class OODMetrics(Strict):
    """Detection of one OOD set against the ID test set, in percent; larger score = more OOD."""

    auroc: float
    aupr_ood: float  # OOD images are the positives
    aupr_id: float
    fpr95_id: float  # share of OOD accepted where 95% of ID are accepted (SSD's convention)
    fpr95_ood: float  # share of ID flagged where 95% of OOD are found (OE, OpenOOD 1.5, pytorch-ood)
    n_id: int
    n_ood: int


class Record(BaseModel):
    """record.json: what a finished run measured, and all that is needed to know where the numbers come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA
    run_id: str
    recipe_id: str
    name: str
    config: dict[str, Any]  # resolved RunConfig
    data: dict[str, SetInRecord]  # "set/split" -> what was read
    ood: dict[str, OODMetrics]  # OOD set -> its measures
    knn_accuracy: dict[str, float | None]  # "20" -> percent on the ID test set; None without labels
    sensitivity: float  # AUROC in percent of ID train (each unseen by itself) against ID test
    occupancy: dict[str, float] | None = None  # "paper", "authors", "classes", ... ; None where there is no head
    extra: dict[str, Any] = {}  # what one method alone measures (AUROC by each image statistic, ...)
    training: dict[str, Any] = {}  # epochs, steps, final losses, images_per_s, alarms
    timings: dict[str, float] = {}  # seconds by phase
    environment: dict[str, Any] = {}  # commit, packages, hardware

    @property
    def run_config(self) -> RunConfig:
        config: RunConfig = validate(RunConfig, self.config, f"record of {self.name}", "config")
        return config


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

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    def read_record(self) -> Record | None:
        """The record, or None while there is none. Raises BenchError when it is broken or of a newer schema."""
        if not self.record.exists():
            return None
        raw = read_json(self.record)
        version = schema_version(self.record, raw, min([SCHEMA, *_UPGRADES]), SCHEMA)
        while version < SCHEMA:
            raw = _UPGRADES[version](raw)
            version += 1
        try:
            return Record.model_validate(raw)
        except ValueError as error:
            raise BenchError(f"{self.record}: not a record: {str(error).splitlines()[1:3]}") from error

    def write_record(self, record: Record) -> None:
        write_json(self.record, record.model_dump(mode="json"))

    def read_config(self) -> RunConfig:
        config: RunConfig = validate(RunConfig, yamlfile.read(self.config), str(self.config))
        return config

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
            return note if isinstance(note, dict) else {}
        return {}

    def write_job(self, note: dict[str, Any]) -> None:
        write_json(self.job, note)

    def note_attempt(self, about: dict[str, Any]) -> None:
        """Keep that a process has begun, or gone on with, the run: when, where, for which job, with which code."""
        with open(self.attempts, "a") as stream:
            stream.write(json.dumps({"time": round(time.time(), 3), **about}) + "\n")

    def read_attempts(self) -> list[dict[str, Any]]:
        """What `note_attempt` kept, oldest first. Advisory: a line that a full disk cut short is left out."""
        attempts = []
        with suppress(OSError):
            for line in self.attempts.read_text().splitlines():
                with suppress(ValueError):
                    attempts.append(json.loads(line))
        return attempts

    def holder(self) -> dict[str, Any] | None:
        """Who holds the run and gives signs of life: host, node, pid, job. None when nobody does."""
        try:
            with open(self.lease) as stream:  # opening makes a network file system look again
                beat = os.fstat(stream.fileno()).st_mtime
                holder: dict[str, Any] = json.load(stream)
        except (OSError, ValueError):
            return None
        if holder.get("host") == socket.gethostname() and not _process_lives(holder.get("pid", -1)):
            return None
        # Two readings of one clock: hosts of a cluster differ by minutes now and then.
        return holder if clock_of(self.path) - beat < LEASE_EXPIRES_SECONDS else None

    def lease_is_live(self) -> bool:
        """True while some process holds the run and gives signs of life."""
        return self.holder() is not None

    @contextmanager
    def hold(self) -> Iterator[Lease]:
        """Hold the run for this process, with a heartbeat; raises RunIsHeld when another process has it.

        An expired lease is taken over; whoever had it learns so from `Lease.check`.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lease = Lease(self)
        with locked(self.path / ".lease.lock"):  # judging and taking are one step
            holder = self.holder()
            if holder is not None:
                raise RunIsHeld(f"{self.path}: another process is on this run ({describe(holder)})")
            lease.write()
        beat = threading.Thread(target=lease.beat, daemon=True)
        beat.start()
        try:
            yield lease
        finally:
            lease.ended.set()
            beat.join()
            with suppress(OSError):
                if lease.is_ours():
                    self.lease.unlink()


class Lease:
    """The right to work on a run. A process that was silent too long (suspended, cut off) may have lost it."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.token = secrets.token_hex(8)
        self.ended = threading.Event()
        self.lost = False  # what the heartbeat has seen; `check` looks for itself

    def write(self) -> None:
        holder = {
            "host": socket.gethostname(),
            "node": node_name(),
            "pid": os.getpid(),
            "token": self.token,
            "job": os.environ.get("SLURM_JOB_ID", ""),
        }
        with atomic_write(self.folder.lease, "w") as stream:
            stream.write(json.dumps(holder))

    def is_ours(self) -> bool:
        """False once another process has taken the run over. An unreadable file system says nothing: True."""
        try:
            token: str | None = json.loads(self.folder.lease.read_text()).get("token")
            return token == self.token
        except FileNotFoundError:
            return False
        except (OSError, ValueError):
            return True

    def check(self) -> None:
        """To be called before writing what counts. Raises RunIsHeld when another process has taken the run over."""
        if not self.is_ours():
            raise RunIsHeld(
                f"{self.folder.path}: taken over by another process ({describe(self.folder.holder() or {})}) "
                f"after {LEASE_EXPIRES_SECONDS:.0f} s without a sign of life from this one, which writes nothing more"
            )

    def beat(self) -> None:
        """Give signs of life until the end, or until the lease is another's."""
        while not self.ended.wait(HEARTBEAT_SECONDS):
            if not self.is_ours():
                self.lost = True
                return
            with suppress(OSError):
                os.utime(self.folder.lease)


def node_name() -> str:
    """What people call this machine: SLURM's name of the node in a job, else the host's own."""
    return os.environ.get("SLURMD_NODENAME", socket.gethostname())


def describe(holder: dict[str, Any]) -> str:
    """A lease's holder in words: "node7, process 123, job 71_3"."""
    job = f", job {holder['job']}" if holder.get("job") else ""
    return f"{holder.get('node') or holder.get('host', 'unknown host')}, process {holder.get('pid', '?')}{job}"


class RunIsHeld(BenchError):
    """Another process is working on the run."""


def _process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError, ValueError):
        return True
    return True


def run_folder(results: Path, config: RunConfig, fingerprints: dict[str, str]) -> RunFolder:
    """The folder of the run of `config` on the images with these fingerprints."""
    return RunFolder(results / config.run_name(config.run_id(fingerprints)))


def all_runs(results: Path) -> list[RunFolder]:
    """Every run folder directly under `results`, by name."""
    if not results.is_dir():
        return []
    return [RunFolder(path) for path in sorted(results.iterdir()) if (path / "config.yaml").exists()]


def runs_by_recipe(results: Path) -> dict[str, list[RunFolder]]:
    """Recipe id -> the run folders with this recipe, whatever images they were made with; oldest first."""
    found: dict[str, list[RunFolder]] = {}
    for folder in sorted(all_runs(results), key=lambda folder: folder.config.stat().st_mtime):
        found.setdefault(folder.read_config().recipe_id(), []).append(folder)
    return found


def load_records(results: Path) -> list[Record]:
    """All records under `results`, by name. Raises BenchError when one is broken or of a newer schema."""
    records = [folder.read_record() for folder in all_runs(results)]
    return [record for record in records if record is not None]


def to_frame(records: list[Record]) -> pd.DataFrame:
    """Records as a tidy table: one row a number.

    Columns: recipe_id, run_id, name, in_dist, method, variant, label, seed, metric
    ("auroc", ..., "knn_accuracy_20", "sensitivity", "occupied_paper", ...), ood (None for measures without OOD), value.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for record in records:
        config = record.run_config
        about = {
            "recipe_id": record.recipe_id,
            "run_id": record.run_id,
            "name": record.name,
            "in_dist": config.in_dist,
            "method": config.method.name,
            "variant": config.variant,
            "label": config.label,
            "seed": config.seed,
        }
        values: list[tuple[str, str | None, float | None]] = [("sensitivity", None, record.sensitivity)]
        values += [(f"knn_accuracy_{k}", None, value) for k, value in record.knn_accuracy.items()]
        values += [(f"occupied_{k}", None, value) for k, value in (record.occupancy or {}).items()]
        values += [
            (metric, ood, value)
            for ood, measures in record.ood.items()
            for metric, value in measures.model_dump().items()
        ]
        rows += [
            about | {"metric": metric, "ood": ood, "value": value} for metric, ood, value in values if value is not None
        ]
    columns = ["recipe_id", "run_id", "name", "in_dist", "method", "variant", "label", "seed", "metric", "ood", "value"]
    return pd.DataFrame(rows, columns=columns)
