"""The statistics with which a trained network's batch normalisation is scored.

A network with batch normalisation sees an image beside others: its layers are centred and scaled by the mean and the
deviation of what goes through together. Trained over positives and negatives together, and scored with the statistics
of positives alone, it is another function than the one that was trained: what held positives and negatives apart by
their place about the mixture's mean is gone. So after training the statistics are taken anew, over the images as they
are scored (whole, not augmented) and in the proportion in which training takes them: a negative of each kind to each
training image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from benchmark.detection.scores import full_float32
from benchmark.methods.base import Method
from benchmark.training.batches import Batches
from benchmark.views.recipes import input_of
from benchmark.views.render import evaluation_view

TRAINING_IMAGES = 8192  # at most: of each image a layer sees many pixels
TOGETHER = 512  # images a pass, at least: the variance between the means of passes is lost, less of it in large ones

Answer = TypeVar("Answer")


@torch.no_grad()
def rescale(method: Method, batches: Batches) -> None:
    """Give the network that the method names (`rescaled_after_training`) the statistics of plain images; nothing where
    it names none. A function of the weights and the seed alone, so it may be done again."""
    network = method.rescaled_after_training()
    if network is not None:
        with full_float32():
            update_bn(plain_views(batches), network)


def rescaled(method: Method, batches: Batches, evaluate: Callable[[int], Answer]) -> Callable[[int], Answer]:
    """`evaluate`, which scores a method that trains on, with the statistics that it would be scored with at the end;
    afterwards they are as they were."""

    def at(epoch: int) -> Answer:
        network = method.rescaled_after_training()
        before = {} if network is None else {name: rows.clone() for name, rows in _statistics(network)}
        try:
            rescale(method, batches)
            return evaluate(epoch)
        finally:
            for name, rows in () if network is None else _statistics(network):
                rows.copy_(before[name])

    return at


def plain_views(batches: Batches) -> Iterator[Tensor]:
    """Evaluation views (N, 3, S, S), N about `TOGETHER`: pass after pass, all of one size, each with as many negatives
    of each kind as training images."""
    size, count, seen = batches.config.views.global_size, batches.batch_size, input_of(batches.config.model)
    steps = max(1, min(batches.steps_per_epoch, TRAINING_IMAGES // count))
    together = min(steps, -(-TOGETHER // (count * (1 + len(batches.kinds)))))
    for first in range(0, steps - together + 1, together):
        plain = [batches.plain(step) for step in range(first, first + together)]
        images = [some for positives, kinds in plain for some in (positives, *kinds)]
        yield torch.cat([evaluation_view(some, size, *seen) for some in images])


def _statistics(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, layer in network.named_modules():
        if isinstance(layer, _BatchNorm):
            yield from ((f"{name}.{key}", rows) for key, rows in layer.named_buffers(recurse=False))
