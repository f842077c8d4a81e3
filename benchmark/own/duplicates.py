"""Which images are the same picture: copies pixel by pixel, and near-duplicates (resaved, resized, mirrored, ...).

A near-duplicate is judged on a small colour image of 8x8 block means. It finds copies that JPEG, resizing, brightness,
noise or mirroring has changed and most crops and shifts of 3%; it also takes a few smooth pictures of one layout (a
ship on one horizon) for one, which costs nothing where whole clusters go to one side of a split.
Measured on CIFAR10 (200 images a kind): JPEG quality 50 99%, quality 20 92%, half size 100%, brightness +20% 100%, a
crop of 1 pixel a side 86%, of 2 pixels 17%; 129 pairs among 20,000 images, most of them true ones by eye.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmark.data.identical import digests

GRID = 8
SAME = 0.96  # correlation from which two pictures count as one
FLAT = 3.0  # standard deviation of the block means, of 255, below which a picture has too little to compare

Signatures = NDArray[np.float32]


def signatures(images: NDArray[np.uint8], chunk: int = 1024) -> Signatures:
    """(N, 192) float32 of unit length, from (N, S, S, 3) uint8 with S a multiple of 8; zero where an image is flat.

    The means of 8x8 blocks, less the mean of each colour channel: the product of two rows is their correlation.
    """
    rows = [_signatures(images[start : start + chunk]) for start in range(0, len(images), chunk)]
    return np.concatenate(rows) if rows else np.empty((0, GRID * GRID * 3), np.float32)


def _signatures(images: NDArray[np.uint8]) -> Signatures:
    count, block = len(images), images.shape[1] // GRID
    means = images.reshape(count, GRID, block, GRID, block, 3).mean((2, 4), dtype=np.float32)
    flat = (means - means.mean((1, 2), keepdims=True)).reshape(count, -1)
    spread = flat.std(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.divide(flat, length, out=np.zeros_like(flat), where=spread >= FLAT)


def near_pairs(
    left: Signatures,
    right: Signatures | None = None,
    same: float = SAME,
    tick: Callable[[int, int], object] = lambda done, total: None,
) -> NDArray[np.int64]:
    """(P, 2) positions (i in left, j in right) of near-duplicates, mirror images included, in rising order.

    Without `right` the pairs i < j within `left`. tick(done, total) is told how far it is. Time grows with N x M.
    """
    within = right is None
    other = left if right is None else right
    found = [np.empty((0, 2), np.int64)]
    for start, stop in _blocks(len(left), len(other)):
        tick(start, len(left))
        first = start if within else 0
        rows, there = left[start:stop], other[first:]
        mirrored = rows.reshape(-1, GRID, GRID, 3)[:, :, ::-1].reshape(len(rows), -1)
        pairs = np.argwhere((rows @ there.T >= same) | (mirrored @ there.T >= same)) + np.array([start, first])
        found.append(pairs[pairs[:, 0] < pairs[:, 1]] if within else pairs)
    tick(len(left), len(left))
    return np.concatenate(found)


def _blocks(count: int, other: int) -> Iterator[tuple[int, int]]:
    """Rows in steps whose products with `other` take at most 64 MiB."""
    step = max(1, (1 << 24) // max(other, 1))
    return ((start, min(start + step, count)) for start in range(0, count, step))


def clusters(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """(count,) number of the cluster of each image: whatever a chain of pairs connects."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def first_of_copies(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N,) position of the first image with the very same pixels: i itself where i is the first."""
    _, first, which = np.unique(digests(images), return_index=True, return_inverse=True)
    return first[which].astype(np.int64)


def split(cluster: NDArray[np.int64], test_share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(train, test) positions, rising; whole clusters go to one side, drawn at random until the test side is full.

    A cluster that is larger than what the test side still lacks goes to train. The same seed gives the same split.
    """
    wanted = round(test_share * len(cluster))
    numbers, sizes = np.unique(cluster, return_counts=True)
    chosen = []
    for k in np.random.default_rng(seed).permutation(len(numbers)):
        if sizes[k] <= wanted:
            chosen.append(numbers[k])
            wanted -= sizes[k]
    in_test = np.isin(cluster, chosen)
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)
