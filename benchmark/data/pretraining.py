"""Which classes of the image sets are classes of ImageNet-1k too, so that a network pretrained there has seen them.

The table `imagenet_1k.csv` has CIFAR's: `synset` is the class in WordNet 3.0, in the sense that the set means (CIFAR100
by its superclasses), and `in_imagenet_1k` the synsets of ILSVRC 2012's 1,000 classes that are it or a kind of it, by
WordNet's hyponyms. ImageNet30 and TinyImageNet are made of such classes alone: their 30 and 200 wnids are all among the
1,000.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path

IMAGENET_1K = "imagenet-1k"  # in `model.pretraining_data`
_WHOLLY = {"imagenet30": 30, "tinyimagenet": 200}


@functools.cache
def seen_classes(name: str) -> dict[str, tuple[str, ...]]:
    """Class -> its synsets of ImageNet-1k, of a set that the table has; {} for any other."""
    with open(Path(__file__).parent / "imagenet_1k.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {row["class"]: tuple(row["in_imagenet_1k"].split()) for row in rows if row["set"] == name}


def overlap(name: str) -> tuple[int, int] | None:
    """How many of the classes of a set are in ImageNet-1k, and how many there are; None where it is not known."""
    if name in _WHOLLY:
        return _WHOLLY[name], _WHOLLY[name]
    seen = seen_classes(name)
    return (sum(bool(synsets) for synsets in seen.values()), len(seen)) if seen else None
