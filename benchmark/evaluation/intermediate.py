"""A run scored on the way: what the method is worth while it trains, every `eval.every` epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmark.detection.metrics import auroc, sensitivity
from benchmark.evaluation.features import network_outputs
from benchmark.evaluation.measures import accuracies, own_scores
from benchmark.methods.base import Method
from benchmark.running.context import Context
from benchmark.running.signals import Stopped
from benchmark.store.records import IntermediateMeasures


def intermediate_evaluation(method: Method, run: Context) -> Callable[[int], dict[str, Any]]:
    """A function that scores the method as it stands after so many epochs: `IntermediateMeasures` as plain values.

    It keeps no features and no scores, and leaves the networks in their mode for evaluation. It raises Stopped, with
    nothing measured, where the run is asked to stop meanwhile.
    """

    def between(done: int, images: int) -> None:
        run.reporter.alive()
        if run.should_stop():
            raise Stopped("stopped while it was scored on the way; checkpoint saved")

    @torch.no_grad()
    def at(epoch: int) -> dict[str, Any]:
        with run.clock.apart("trajectory"):
            config = run.config
            outputs, occupied = network_outputs(method, run, frozenset(), between)
            scores = own_scores(method, config, outputs)
            test = scores[config.test_key]
            seen = IntermediateMeasures(
                epoch=epoch,
                knn_accuracy=accuracies(run.images, outputs),
                ood={ood: auroc(test, scores[config.ood_key(ood)]) for ood in config.ood_sets()},
                sensitivity=sensitivity(scores[config.train_key], test),
                occupancy=occupied,
            )
        k, accuracy = next(iter(seen.knn_accuracy.items()))
        known = [] if accuracy is None else [f"k-NN accuracy (k = {k}) {accuracy:.2f}"]
        known += [f"AUROC {sum(seen.ood.values()) / len(seen.ood):.2f}"] if seen.ood else []
        run.reporter.say(f"after epoch {epoch}: {', '.join([*known, f'sensitivity {seen.sensitivity:.2f}'])}")
        return seen.model_dump(mode="json")

    return at
