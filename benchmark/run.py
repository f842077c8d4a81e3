"""THE MAIN PATH: one RunConfig -> images -> training -> features -> scores -> record."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from benchmark import methods
from benchmark.data.subsets import limited
from benchmark.detection.knn import knn_accuracy
from benchmark.detection.metrics import ood_metrics, sensitivity
from benchmark.evaluation.features import extract_features
from benchmark.files import atomic_write
from benchmark.plan.config import RunConfig
from benchmark.provenance import source_commit
from benchmark.running.context import Context
from benchmark.running.device import Runtime, find_device
from benchmark.running.environment import commits, environment
from benchmark.running.images import limit_of, load_sets, ood_key, set_in_record
from benchmark.running.signals import stop_signals
from benchmark.running.status import Clock, Reporter
from benchmark.seeds import derive_seed
from benchmark.store.folders import RunFolder, run_folder
from benchmark.store.leases import Lease, RunIsHeld, node_name
from benchmark.store.records import OODMetrics, Record
from benchmark.training.training import train_or_load


def run(config: RunConfig, results: Path, data_root: Path, runtime: Runtime | None = None) -> Record | None:
    """Do all of the run that is not done yet, and return its record; None on ranks other than 0, which only train.

    Raises BenchError for what the user can mend, RunIsHeld when another process is on the run, and KeyboardInterrupt
    after saving a checkpoint when asked to stop. Whatever happens is left in the run's status.json.
    """
    runtime = runtime or Runtime()
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
        with Reporter(folder, config, silent=not ranks.is_main) as reporter, stop_signals() as stop:
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
    training = train_or_load(method, run) if method.trains else {}
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
        key: torch.from_numpy(sets[key].labels[limited(sets[key], limit_of(config, key))])
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
        name: OODMetrics.model_validate(ood_metrics(scores[test_key], scores[ood_key(config, name)]))
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
        data={key: set_in_record(images, len(limited(images, limit_of(config, key)))) for key, images in sets.items()},
        ood=ood,
        knn_accuracy={str(k): accuracy.get(k) for k in config.eval.knn},
        sensitivity=sensitivity(scores[train_key], scores[test_key]),
        occupancy=occupied,
        extra=method.extra_measures(features[test_key], {n: features[ood_key(config, n)] for n in config.ood_sets()}),
        training=training,
        timings=clock.laps,
        environment={**environment(run.device), "processes": run.ranks.world, **commits(folder)},
    )
    run.check_lease()
    folder.write_record(record)
    for leftover in folder.path.glob("checkpoint*.pt"):
        leftover.unlink()
    return record
