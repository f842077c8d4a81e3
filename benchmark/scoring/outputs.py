"""From images to what scores read of them: the same for a run's evaluation and for an exported detector.

Shapes: B images, D features.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from benchmark.negatives import patch_grid
from benchmark.plan.scores import Need
from benchmark.scoring.base import Outputs, summary

# The quarters of an image, counted row by row, one place further at a time: no quarter stays where it was.
ORDERS = ((1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2))
COPIES: dict[Need, str] = {"rotations": "rotated", "permutations": "permuted"}  # what the outputs of each are called


def output_names(wanted: frozenset[Need]) -> list[str]:
    """The names of the outputs that `batch_outputs` keeps beside the network's own."""
    names = {"norm": "norm" in wanted, "class_logits": "logits" in wanted}
    for need, name in COPIES.items():
        names |= {name: need in wanted, f"{name}_class_logits": {"logits", need} <= wanted}
    return [name for name, is_made in names.items() if is_made]


def _copies(images: Tensor, need: Need) -> list[Tensor]:
    if need == "rotations":
        return [torch.rot90(images, quarter, (2, 3)) for quarter in (1, 2, 3)]
    rows, columns = patch_grid(4, images.shape[-1])  # raises BenchError for an odd side
    quarters = [part for row in images.chunk(rows, 2) for part in row.chunk(columns, 3)]
    shuffled = [[quarters[place] for place in order] for order in ORDERS]
    return [torch.cat([torch.cat(some[:2], 3), torch.cat(some[2:], 3)], 2) for some in shuffled]


class Network(Protocol):
    """Whoever turns images into features: a method that was trained (`methods.base`), or an exported detector."""

    def embed(self, images: Tensor) -> Outputs:
        """Outputs of images (B, 3, S, S) uint8, "features" (B, D) among them."""

    def stored(self, outputs: Outputs) -> Outputs:
        """What `embed` gave in the form that is kept and scored, features of unit length."""

    def class_logits(self, outputs: Outputs) -> Tensor | None:
        """Logits (B, K) of what `embed` gave; None without a head."""


def batch_outputs(network: Network, images: Tensor, wanted: frozenset[Need]) -> tuple[Outputs, Outputs]:
    """What the network gives for images (B, 3, S, S) uint8, and of it what is kept and scored: that and all that is
    `wanted` beside it, as in `scoring.base.Outputs`."""
    embedded = network.embed(images)
    kept = network.stored(embedded)
    if "norm" in wanted:
        kept["norm"] = embedded["features"].norm(dim=1).float()
    logits = network.class_logits(embedded) if "logits" in wanted else None
    if logits is not None:
        kept["class_logits"] = summary(logits)
    for need, name in COPIES.items():
        if need not in wanted:
            continue
        copies = [network.embed(some) for some in _copies(images, need)]
        kept[name] = torch.stack([network.stored(one)["features"] for one in copies], 1)
        if logits is not None:
            of_copies = [found for one in copies if (found := network.class_logits(one)) is not None]
            kept[f"{name}_class_logits"] = torch.stack([summary(one) for one in of_copies], 1)
    return embedded, kept
