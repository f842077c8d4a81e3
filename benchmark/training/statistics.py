"""The statistics with which a trained network's batch normalisation is scored.

A network with batch normalisation sees an image beside others: its layers are centred and scaled by the mean and the
deviation of what goes through together. Trained over positives and negatives together, and scored with the statistics
of positives alone, it is another function than the one that was trained: what held positives and negatives apart by
their place about the mixture's mean is gone. So after training the statistics are taken anew, over the images as they
are scored (whole, not augmented), a negative of each kind to each training image. That is the proportion of images in
training; of global views it has two of a training image to one of a negative (the two are compared in
results/reference/cpu/tried.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.detection.scores import full_float32
from benchmark.methods.base import Method
from benchmark.training.batches import Batches
from benchmark.views.recipes import input_of
from benchmark.views.render import evaluation_view

TRAINING_IMAGES = 8192  # at most: of each image a layer sees many pixels
TOGETHER = 512  # images a pass, at least: the variance between the means of passes is lost, less of it in large ones

Answer = TypeVar("Answer")


@torch.no_grad()
def recalibrate(method: Method, batches: Batches) -> None:
    """Give the network that the method names (`recalibrated_after_training`) the statistics of plain images; nothing
    where it names none. A function of the weights and the seed alone, so it may be done again."""
    network = method.recalibrated_after_training()
    if network is None:
        return
    # As `torch.optim.swa_utils.update_bn`, but what else knows training (dropout, drop path) is as when it is scored.
    modes = {layer: layer.training for layer in network.modules()}
    norms = {layer: layer.momentum for layer in modes if isinstance(layer, _BatchNorm)}
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all passes
        norm.train()
    try:
        with full_float32():
            for views in plain_views(batches):
                network(views)
    finally:
        for layer, mode in modes.items():
            layer.training = mode
        for norm, momentum in norms.items():
            norm.momentum = momentum


def recalibrated(method: Method, batches: Batches, evaluate: Callable[[int], Answer]) -> Callable[[int], Answer]:
    """`evaluate`, which scores a method that trains on, with the statistics that it would be scored with at the end;
    afterwards they are as they were."""

    def at(epoch: int) -> Answer:
        network = method.recalibrated_after_training()
        before = {} if network is None else {name: rows.clone() for name, rows in _statistics(network)}
        try:
            recalibrate(method, batches)
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
