"""Images that two sets share, pixel by pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from benchmark.data import images
from benchmark.data.images import ImageSet
from benchmark.errors import BenchError

# By the splits of the two: what is wrong where they share images. Two train or two aux splits may.
_HARM = {
    ("test", "train"): "what is trained on would be tested, or called OOD",
    ("aux", "train"): "what is to be known would be trained as unknown",
    ("aux", "test"): "they are seen in training as negatives, which raises an AUROC",
    ("test", "test"): "where one is in-distribution, the other is not OOD",
}


def digests(pixels: Iterable[np.ndarray]) -> np.ndarray:
    """(N,) uint64 that stands for each of N images (H, W, 3) uint8: two that are equal are one picture."""
    each = [hashlib.blake2b(np.ascontiguousarray(one).data, digest_size=8).digest() for one in pixels]
    return np.frombuffer(b"".join(each), np.uint64)


def shared(these: np.ndarray, those: np.ndarray) -> int:
    """How many of the images with `digests` (N,) are among those with (M,)."""
    return int(np.isin(these, those).sum())


def described(done: list[ImageSet], root: Path) -> Iterator[str]:
    """A line for each pair of a stored set that is new and any other where they share images and should not."""
    known = {(one.name, one.split): one for one in done}
    rest = [key for key in images.stored(root) if key not in known]
    prints: dict[tuple[str, str], np.ndarray] = {}

    def of(key: tuple[str, str]) -> np.ndarray:
        if key not in prints:
            prints[key] = digests((known.get(key) or images.load(root, *key)).images)
        return prints[key]

    for number, one in enumerate(known):
        for other in [*list(known)[:number], *rest]:
            first, second = sorted((one, other), key=lambda key: (key[1], key[0] != one[0]))
            harm = _HARM.get((first[1], second[1]))
            if harm is None:
                continue
            try:
                both = shared(of(first), of(second))
            except BenchError:  # a damaged set, of which `bench data verify` speaks
                continue
            if both:
                yield f"{'/'.join(first)}: {both} of {len(of(first))} images are also in {'/'.join(second)}: {harm}"
