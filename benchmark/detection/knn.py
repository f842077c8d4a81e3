"""k-NN accuracy on frozen features, as DINO measures it (Caron et al. 2021; the vote is from Wu et al. 2018).

Shapes: N queries, M bank features, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from benchmark.detection.scores import CHUNK_BYTES, Block, cosine_blocks, full_float32
from benchmark.errors import BenchError


@torch.no_grad()
def knn_accuracy(
    features: Tensor,
    labels: Tensor,
    bank: Tensor,
    bank_labels: Tensor,
    ks: Sequence[int] = (20, 10),
    temperature: float = 0.07,
    chunk_bytes: int = CHUNK_BYTES,
) -> dict[int, float | None]:
    """Top-1 accuracy in % for each k: the k most similar bank images vote with weight exp(cos / temperature).

    features (N, D) and bank (M, D) need not be normalised; labels (N,) and bank_labels (M,) are integers from 0.
    A set with unlabelled images (label -1) has no accuracy, nor a bank of one class: every value is then None.
    Classes with equal votes: the lowest number wins.
    Raises BenchError for a k outside 1..M, no queries, or features that are not finite.
    """
    for k in ks:
        if not 1 <= k <= len(bank):
            raise BenchError(
                f"k-NN accuracy: k = {k} given, allowed with a bank of {len(bank)} images: 1 to {len(bank)}"
            )
    if not len(features):
        raise BenchError("k-NN accuracy: no features to classify")
    if int(labels.min()) < 0 or int(bank_labels.min()) < 0 or int(bank_labels.min()) == int(bank_labels.max()):
        return dict.fromkeys(ks, None)

    labels, bank_labels = labels.long().to(features.device), bank_labels.long().to(features.device)
    # The labels that occur are numbered: they may be ids of any size, and there is a vote for each number.
    found, numbers = torch.cat([bank_labels, labels]).unique(return_inverse=True)
    classes, (bank_labels, labels) = len(found), numbers.split([len(bank_labels), len(labels)])
    correct = dict.fromkeys(ks, 0)
    with full_float32():
        for rows, blocks in cosine_blocks(features, bank, chunk_bytes):
            best, voters = _nearest(rows.stop - rows.start, blocks, bank_labels, max(ks))
            # Weights relative to the nearest neighbour: the same vote, and no temperature overflows.
            weights = ((best - best[:, :1]) / temperature).exp()
            for k in ks:
                votes = torch.zeros(len(best), classes, device=features.device)
                votes.scatter_add_(1, voters[:, :k], weights[:, :k])
                correct[k] += int((votes.argmax(1) == labels[rows]).sum())
    return {k: 100 * count / len(features) for k, count in correct.items()}


@torch.no_grad()
def nearest(features: Tensor, bank: Tensor, k: int, chunk_bytes: int = CHUNK_BYTES) -> tuple[Tensor, Tensor]:
    """The k largest cosines of each feature (N, D) to the bank (M, D), falling, and their rows in it: both (N, k).

    Raises BenchError for a k outside 1..M or features that are not finite.
    """
    if not 1 <= k <= len(bank):
        raise BenchError(f"nearest images: {k} asked for, allowed with a bank of {len(bank)}: 1 to {len(bank)}")
    rows = torch.arange(len(bank), device=features.device)
    cosines = [torch.empty(0, k, device=features.device)]
    found = [rows.new_empty(0, k)]
    with full_float32():
        for part, blocks in cosine_blocks(features, bank, chunk_bytes):
            best, which = _nearest(part.stop - part.start, blocks, rows, k)
            cosines.append(best)
            found.append(which)
    return torch.cat(cosines).clamp(max=1), torch.cat(found)


def _nearest(count: int, blocks: Iterator[Block], bank_labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest cosines of each of `count` rows over all blocks, falling, and their labels: (count, k) each."""
    best = torch.empty(count, 0, device=bank_labels.device)
    voters = torch.empty(count, 0, dtype=torch.long, device=bank_labels.device)
    for columns, cosines in blocks:
        values, index = cosines.topk(min(k, cosines.shape[1]), dim=1)
        best = torch.cat([best, values], 1)
        voters = torch.cat([voters, bank_labels[columns][index]], 1)
        best, index = best.topk(min(k, best.shape[1]), dim=1)
        voters = voters.gather(1, index)
    return best, voters
