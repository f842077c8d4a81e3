"""THE MAIN PATH: one RunConfig -> images -> training -> features -> scores -> record."""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from benchmark import methods
from benchmark.batches import Batches, DeviceImages, derive_seed, limited
from benchmark.config import RunConfig
from benchmark.data.catalog import info
from benchmark.data.images import ImageSet, load
from benchmark.detection.knn import knn_accuracy
from benchmark.detection.metrics import ood_metrics, sensitivity
from benchmark.detection.scores import full_float32
from benchmark.distributed import ALONE, Ranks
from benchmark.errors import BenchError, first_line
from benchmark.files import atomic_write
from benchmark.methods.base import Method
from benchmark.provenance import source_commit
from benchmark.store import (
    Lease,
    OODMetrics,
    Record,
    RunFolder,
    RunIsHeld,
    SetInRecord,
    Status,
    node_name,
    run_folder,
)
from benchmark.training import Progress, Stopped, train

EMBED_BATCH = 256  # images a forward pass in evaluation
SAY_EVERY_SECONDS = 15.0


@dataclass(frozen=True)
class Runtime:
    """How a run is run; nothing here changes what it computes (beyond floating-point order on another device)."""

    device: str = "auto"
    threads: int | None = None
    checkpoint_seconds: float = 300.0
    ranks: Ranks = ALONE  # the processes that train this run together


@dataclass(frozen=True)
class Context:
    """What all steps of one run need."""

    config: RunConfig
    run_id: str
    folder: RunFolder
    sets: dict[str, ImageSet]
    device: torch.device
    runtime: Runtime
    reporter: Reporter
    stop: StopFlag
    lease: Lease | None  # rank 0's

    @property
    def ranks(self) -> Ranks:
        return self.runtime.ranks

    def should_stop(self) -> bool:
        return self.stop.requested or (self.lease is not None and self.lease.lost)

    def check_lease(self) -> None:
        if self.lease is not None:
            self.lease.check()


def run(config: RunConfig, results: Path, data_root: Path, runtime: Runtime = Runtime()) -> Record | None:
    """Do all of the run that is not done yet, and return its record; None on ranks other than 0, which only train.

    Raises BenchError for what the user can mend, RunIsHeld when another process is on the run, and KeyboardInterrupt
    after saving a checkpoint when asked to stop. Whatever happens is left in the run's status.json.
    """
    ranks, device = runtime.ranks, find_device(runtime)
    sets = load_sets(config, data_root)
    fingerprints = {key: images.fingerprint for key, images in sets.items()}
    training_prints = {f"{name}/{split}": fingerprints[f"{name}/{split}"] for name, split in config.training_sets()}
    run_id, folder = config.run_id(training_prints), run_folder(results, config, training_prints)
    with ranks.together(device), ExitStack() as held:
        lease: Lease | None = None  # rank 0's

        def take() -> str:
            nonlocal lease
            try:
                lease = held.enter_context(folder.hold())
            except RunIsHeld as error:
                return str(error)
            return ""

        elsewhere = ranks.from_main(take)
        if elsewhere:
            raise RunIsHeld(elsewhere)
        if ranks.from_main(lambda: _is_done(folder, config, fingerprints)):
            return folder.read_record() if ranks.is_main else None
        if ranks.is_main:
            folder.write_config(config)
            _note_attempt(folder)
        with Reporter(folder, config, silent=not ranks.is_main) as reporter, _stop_signals() as stop:
            return _run(Context(config, run_id, folder, sets, device, runtime, reporter, stop, lease))


def _is_done(folder: RunFolder, config: RunConfig, fingerprints: dict[str, str]) -> bool:
    done = folder.read_record()
    return (
        done is not None
        and set(config.ood_sets()) <= set(done.ood)
        and all(fingerprints.get(key) == seen.fingerprint for key, seen in done.data.items() if key in fingerprints)
    )


def _note_attempt(folder: RunFolder) -> None:
    before, commit, status = folder.read_attempts(), source_commit(), folder.read_status()
    node = node_name()
    print(f"{time.strftime('%H:%M:%S')} start {len(before) + 1} on {node}, code {commit[:12]}", flush=True)
    if before and before[-1].get("commit") != commit:
        print(f"note: this run was begun with other code: {before[-1].get('commit')}, now {commit}", flush=True)
    folder.note_attempt(
        {
            "node": node,
            "pid": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID", ""),
            "restart": int(os.environ.get("SLURM_RESTART_COUNT", "0")),
            "commit": commit,
            "step": status.step if status else 0,  # how far the attempt before said it was
        }
    )


def _run(run: Context) -> Record | None:
    clock = Clock()
    config, folder, sets, reporter = run.config, run.folder, run.sets, run.reporter
    torch.manual_seed(derive_seed(config.seed, "initialise"))
    method = methods.build(config, run.device)
    training = _train_or_load(method, run) if method.trains else {}
    run.ranks.leave()
    if not run.ranks.is_main:
        return None
    clock.lap("train")

    reporter.phase("features")
    features, occupied = extract_features(method, config, folder, sets, reporter)
    clock.lap("features")

    reporter.phase("score")
    train_key, test_key = f"{config.in_dist}/train", f"{config.in_dist}/test"
    bank = features[train_key]
    method.fit(bank)
    # float32 as kept in scores.npz, so that whoever reads that file finds the record's own numbers.
    scores = {key: method.score(rows).float().numpy() for key, rows in features.items() if key != train_key}
    scores[train_key] = method.score(bank, torch.arange(len(bank))).float().numpy()
    labels = {
        key: torch.from_numpy(sets[key].labels[limited(sets[key], _limit(config, key))])
        for key in (train_key, test_key)
    }
    accuracy = knn_accuracy(
        features[test_key].float(),
        labels[test_key],
        bank.float(),
        labels[train_key],
        tuple(config.eval.knn),
        config.eval.knn_temperature,
    )
    ood = {
        name: OODMetrics.model_validate(ood_metrics(scores[test_key], scores[_ood_key(config, name)]))
        for name in config.ood_sets()
    }
    with atomic_write(folder.scores) as stream:
        np.savez_compressed(stream, **scores)  # type: ignore[arg-type]
    clock.lap("score")

    record = Record(
        run_id=run.run_id,
        recipe_id=config.recipe_id(),
        name=folder.name,
        config=config.model_dump(mode="json"),
        data={key: _set_in_record(images, len(limited(images, _limit(config, key)))) for key, images in sets.items()},
        ood=ood,
        knn_accuracy={str(k): accuracy.get(k) for k in config.eval.knn},
        sensitivity=sensitivity(scores[train_key], scores[test_key]),
        occupancy=occupied,
        extra=method.extra_measures(features[test_key], {n: features[_ood_key(config, n)] for n in config.ood_sets()}),
        training=training,
        timings=clock.laps,
        environment={**environment(run.device), "processes": run.ranks.world, **_commits(folder)},
    )
    run.check_lease()
    folder.write_record(record)
    for leftover in folder.path.glob("checkpoint*.pt"):
        leftover.unlink()
    return record


def load_sets(config: RunConfig, data_root: Path) -> dict[str, ImageSet]:
    """Every set the run reads, by "set/split". Raises BenchError when one is missing or of another size."""
    wanted = [*config.training_sets(), *(tuple(_ood_key(config, name).split("/")) for name in config.ood_sets())]
    sets = {}
    for name, split in wanted:
        images = load(data_root, name, split)
        if images.images.shape[1:3] != (config.data.image_size,) * 2 and "@" not in name:
            raise BenchError(
                f"{name}/{split}: its images are {images.images.shape[1]}x{images.images.shape[2]}, "
                f"data.image_size is {config.data.image_size}"
            )
        sets[f"{name}/{split}"] = images
    bank = len(limited(sets[f"{config.in_dist}/train"], config.data.train_limit))
    if max(config.eval.knn) > bank:
        raise BenchError(f"eval.knn: {max(config.eval.knn)} neighbours of {bank} training images of {config.in_dist}")
    return sets


def _ood_key(config: RunConfig, name: str) -> str:
    return f"{config.stored_name(name)}/test"


def _limit(config: RunConfig, key: str) -> int | None:
    if key == f"{config.in_dist}/train":
        return config.data.train_limit
    return config.data.aux_limit if key.endswith("/aux") else config.data.test_limit


def _train_or_load(method: Method, run: Context) -> dict[str, Any]:
    """Train, or load the weights of a training that has ended; returns the record's section on training."""
    if run.ranks.from_main(lambda: _is_trained(run.folder)):
        return _load_weights(method, run) if run.ranks.is_main else {}
    run.reporter.phase("train")
    batches = _batches(run)
    run.stop.deferred = True  # from here a signal ends the run after its step, with a checkpoint
    summary = train(
        method,
        batches,
        run.config.train,
        run.config.seed,
        run.folder.path,
        identity=run.run_id,
        ranks=run.ranks,
        checkpoint_seconds=run.runtime.checkpoint_seconds,
        should_stop=run.should_stop,
        before_write=run.check_lease,
        report=run.reporter.progress,
        say=run.reporter.say,
    )
    run.stop.deferred = False
    training = {**vars(summary), "peak_memory_bytes": _peak_memory(run.device)}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in method.final_state().items()}
    if run.ranks.is_main:
        run.check_lease()
        with atomic_write(run.folder.weights) as stream:
            stream.write(safetensors.torch.save(state, metadata={"training": json.dumps(training)}))
    return training


def _is_trained(folder: RunFolder) -> bool:
    if not folder.weights.exists() and folder.record.exists():
        raise BenchError(
            f"{folder.weights}: is gone, and a finished run is not trained twice; "
            f"delete {folder.record} to train it again"
        )
    return folder.weights.exists()


def _load_weights(method: Method, run: Context) -> dict[str, Any]:
    weights = run.folder.weights
    try:
        with safe_open(weights, "pt") as stream:
            training: dict[str, Any] = json.loads(stream.metadata()["training"])
        method.load_final_state(safetensors.torch.load_file(weights, device=str(run.device)))
    except Exception as error:
        raise BenchError(f"{weights}: broken weights ({first_line(error)}); delete the file to train again") from error
    return training


def _batches(run: Context) -> Batches:
    config, sets = run.config, run.sets

    def resident(key: str) -> DeviceImages:
        return DeviceImages(
            sets[key].images[limited(sets[key], _limit(config, key))] if _limit(config, key) else sets[key].images,
            run.device,
        )

    auxiliary = {
        source: resident(f"{name}/aux")
        for source, name in config.data.sources.items()
        if (name, "aux") in config.training_sets()
    }
    return Batches(config, resident(f"{config.in_dist}/train"), auxiliary, run.ranks)


@torch.no_grad()
def extract_features(
    method: Method, config: RunConfig, folder: RunFolder, sets: dict[str, ImageSet], reporter: Reporter
) -> tuple[dict[str, Tensor], dict[str, float] | None]:
    """Stored features (N, D) of the ID and OOD sets, kept in features.npz, and the occupancy on the ID test set."""
    keys = [f"{config.in_dist}/train", f"{config.in_dist}/test", *(_ood_key(config, n) for n in config.ood_sets())]
    features: dict[str, Tensor] = {}
    logits: list[Tensor] = []
    for key in keys:
        reporter.say(f"features of {key}")
        rows = limited(sets[key], _limit(config, key))
        parts = []
        for start in range(0, len(rows), EMBED_BATCH):
            block = np.ascontiguousarray(sets[key].images[rows[start : start + EMBED_BATCH]])
            with full_float32():
                raw = method.embed(torch.from_numpy(block).permute(0, 3, 1, 2).contiguous().to(method.device))
            parts.append(method.stored(raw))
            if key == f"{config.in_dist}/test":
                soft = method.soft_logits(raw)
                if soft is not None:
                    logits.append(soft.float().cpu())
            reporter.alive()
        features[key] = torch.cat(parts)
        if not torch.isfinite(features[key].float()).all():
            raise BenchError(f"{key}: the features hold NaN or infinity; the training diverged")
    with atomic_write(folder.features) as stream:
        np.savez(stream, **{key: rows.numpy() for key, rows in features.items()})  # type: ignore[arg-type]
    return features, method.occupancy(torch.cat(logits)) if logits else None


def _set_in_record(images: ImageSet, used: int) -> SetInRecord:
    known = info(images.name.split("@")[0])
    return SetInRecord(
        count=used,
        fingerprint=images.fingerprint,
        official=known.builtin or bool(images.manifest.get("official", False)),
        official_count=known.counts.get(images.split),
    )


class Reporter:
    """Tells the world how the run stands: status.json for other processes, plain lines for the log.

    silent: says and writes nothing, on the ranks that leave this to rank 0.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, silent: bool = False) -> None:
        self.folder = folder
        self.silent = silent
        now = time.time()
        self.status = Status(
            state="running",
            phase="data",
            epochs=config.train.epochs,
            started=now,
            updated=now,
            host=f"{node_name()}:{os.getpid()}",
        )
        self._said = self._written = 0.0

    def __enter__(self) -> Reporter:
        self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RunIsHeld):  # what is in the folder is another process's now
            self.say(str(error))
            return
        if error is None:
            self.status.state = "done"
        elif isinstance(error, (Stopped, KeyboardInterrupt)):
            self.status.state = "interrupted"
        else:
            self.status.state = "failed"
            self.status.error = (
                str(error) if isinstance(error, BenchError) else "".join(traceback.format_exception(error)).strip()
            )
        self.say(f"{self.status.state}" + (f": {self.status.error}" if self.status.error else ""))
        self._write()

    def say(self, line: str) -> None:
        if not self.silent:
            print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    def phase(self, name: str) -> None:
        self.status.phase = name
        self._write()

    def alive(self) -> None:
        if time.monotonic() - self._written > 2:
            self._write()

    def progress(self, at: Progress) -> None:
        moment, status = at.moment, self.status
        status.step, status.steps, status.epochs = moment.step, moment.steps, moment.epochs
        status.epoch = moment.step * moment.epochs / moment.steps
        status.loss, status.seconds_left = at.losses["loss"], at.seconds_left
        if time.monotonic() - self._written > 1:
            self._write()
        if time.monotonic() - self._said > SAY_EVERY_SECONDS:
            self._said = time.monotonic()
            losses = ", ".join(f"{name} {value:.4f}" for name, value in at.losses.items())
            self.say(
                f"epoch {status.epoch:.2f} of {moment.epochs}, step {moment.step} of {moment.steps}: {losses}; "
                f"{at.pairs_per_second:.1f} images/s, {at.seconds_left / 60:.1f} min left"
            )

    def _write(self) -> None:
        if self.silent:
            return
        self.status.updated = time.time()
        self._written = time.monotonic()
        self.folder.write_status(self.status)


@dataclass
class StopFlag:
    """Set by SIGINT or SIGTERM. While `deferred`, the training loop reads it after each step."""

    requested: bool = False
    deferred: bool = False


@contextmanager
def _stop_signals() -> Iterator[StopFlag]:
    """Turn SIGINT and SIGTERM into a checkpoint and an orderly end; Stopped leaves as KeyboardInterrupt."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        # SLURM sends SIGTERM after its warning; only a second Ctrl-C means "at once".
        if not flag.deferred or (flag.requested and number == signal.SIGINT):
            raise KeyboardInterrupt
        flag.requested = True

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    except Stopped as stopped:
        raise KeyboardInterrupt(str(stopped)) from stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self._last = round(now - self._last, 3), now


def find_device(runtime: Runtime) -> torch.device:
    """The device asked for, its CPU threads set. Raises BenchError where it is not to be had."""
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    name = runtime.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if runtime.ranks.world > 1 and name.startswith("cuda"):
        name = _own_gpu(name, runtime.ranks)
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
        if runtime.ranks.world > 1 and device.type == "cuda":
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError) as error:
        raise BenchError(f"--device {runtime.device}: not to be had here ({first_line(error)})") from error
    return device


def _own_gpu(name: str, ranks: Ranks) -> str:
    """The GPU of one of several processes: the one of its number, or the only one where its launcher shows no other."""
    if name != "cuda":
        raise BenchError(f"--device {name}: is one GPU, and the run has {ranks.world} processes; use --device cuda")
    visible = torch.cuda.device_count()
    if ranks.local_rank >= visible > 1:
        raise BenchError(f"process {ranks.local_rank} of this host has no GPU: {visible} are visible; start fewer")
    return f"cuda:{ranks.local_rank if visible > 1 else 0}"


def _peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU's allocator, or the process's largest resident size on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def environment(device: torch.device) -> dict[str, Any]:
    """Commit, packages and hardware: what someone needs to run the same again."""
    packages = {}
    for name in ("torch", "torchvision", "timm", "numpy", "scikit-learn"):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = "unknown"
    return {
        "commit": source_commit(),
        "packages": packages,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }


def _commits(folder: RunFolder) -> dict[str, Any]:
    """The commits of all attempts, in order, where the run went on with other code than it began with."""
    commits = list(dict.fromkeys(attempt.get("commit") for attempt in folder.read_attempts()))
    return {"commits": commits} if len(commits) > 1 else {}


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
