"""A run's training: done, or loaded where it has ended before."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch
from safetensors import safe_open

from benchmark.data.subsets import limited
from benchmark.errors import BenchError, first_line
from benchmark.files import atomic_write
from benchmark.methods.base import Method
from benchmark.running.context import Context
from benchmark.running.device import peak_memory
from benchmark.running.images import limit_of
from benchmark.store.folders import RunFolder
from benchmark.training.batches import Batches, DeviceImages
from benchmark.training.loop import train


def train_or_load(method: Method, run: Context) -> dict[str, Any]:
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
    training = {**vars(summary), "peak_memory_bytes": peak_memory(run.device)}
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
            sets[key].images[limited(sets[key], limit_of(config, key))] if limit_of(config, key) else sets[key].images,
            run.device,
        )

    auxiliary = {
        source: resident(f"{name}/aux")
        for source, name in config.data.sources.items()
        if (name, "aux") in config.training_sets()
    }
    return Batches(config, resident(f"{config.in_dist}/train"), auxiliary, run.ranks)
