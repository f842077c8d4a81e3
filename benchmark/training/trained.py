"""The training of a run: done now, or loaded where it has ended before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open

from benchmark.errors import BenchError, first_line
from benchmark.files import atomic_write
from benchmark.methods.base import Method
from benchmark.running.context import Context
from benchmark.running.device import peak_memory
from benchmark.running.images import RunImages
from benchmark.running.processes import ALONE, Ranks
from benchmark.store.folders import RunFolder
from benchmark.training.batches import RESIDENT_BYTES, Batches, DeviceImages
from benchmark.training.compiling import compiled
from benchmark.training.foregrounds import foregrounds
from benchmark.training.loop import Trainer, TrainingHooks
from benchmark.training.statistics import recalibrate, recalibrated
from benchmark.training.tuning import begin_from
from benchmark.views.foregrounds import Foregrounds


def trained(method: Method, run: Context, evaluate: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """Train `method`, or load its weights from the run's folder; returns the record's section on training.

    evaluate: see `loop.TrainingHooks`; its answers are under "trajectory".
    Raises BenchError for weights that are gone or broken, and what `Trainer` raises.
    """
    if not run.config.method.trains:
        return {}
    if run.ranks.from_main(lambda: _is_trained(run.folder)):
        return _load_weights(method, run) if run.ranks.is_main else {}
    run.reporter.phase("train")
    found = foregrounds(run)
    batches = batches_of(method, run.images, run.device, found, run.ranks)
    hooks = TrainingHooks(
        ranks=run.ranks,
        checkpoint_seconds=run.runtime.checkpoint_seconds,
        should_stop=run.should_stop,
        before_write=run.check_lease,
        report=run.reporter.progress,
        say=run.reporter.say,
        evaluate=recalibrated(method, batches, evaluate),
        evaluate_every=run.config.eval.every,
        begin=lambda: begin_from(method, run),
    )
    config = run.config
    with run.stop.put_off():  # a signal ends the run after its step, with a checkpoint
        trainer = Trainer(method, batches, config.train, config.seed, run.folder.path, run.run_id, hooks)
        with compiled(method, run.runtime.compile):
            summary = trainer.train()
        recalibrate(method, batches)
        if found.whole:
            run.reporter.say(f"no foreground found in {found.whole} of {found.seen} images; the whole is taken")
    training = {**vars(summary), "peak_memory_bytes": peak_memory(run.device)}
    if run.ranks.is_main:
        _keep_weights(method, run, training)
    if any(run.ranks.any_of(run.stop.requested)):  # since the last step: what is left is done by the next start
        raise KeyboardInterrupt
    return training


def batches_of(
    method: Method,
    images: RunImages,
    device: torch.device,
    found: Foregrounds | None = None,
    ranks: Ranks = ALONE,
    resident_bytes: int = RESIDENT_BYTES,
) -> Batches:
    """The training batches of the run that `images` are of; see `DeviceImages` for resident_bytes."""
    config = images.config

    def resident(key: str) -> DeviceImages:
        return DeviceImages(images.array(key), device, resident_bytes)

    auxiliary = {
        source: resident(f"{name}/aux")
        for source, name in config.data.sources.items()
        if (name, "aux") in config.training_sets()
    }
    labels = images.labels(config.train_key).numpy()
    return Batches(
        config, resident(config.train_key), auxiliary, ranks, method.batch_recipe(), labels, foregrounds=found
    )


def _keep_weights(method: Method, run: Context, training: dict[str, Any]) -> None:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in method.final_state().items()}
    run.check_lease()
    with atomic_write(run.folder.weights) as stream:
        stream.write(safetensors.torch.save(state, metadata={"training": json.dumps(training)}))


def _is_trained(folder: RunFolder) -> bool:
    if not folder.weights.exists() and folder.record.exists():
        raise BenchError(folder.weights_are_gone)
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
