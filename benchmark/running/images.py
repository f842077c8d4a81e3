"""The image sets of one run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.data.catalog import info, split_class
from benchmark.data.identical import digests, shared
from benchmark.data.images import ImageSet, class_names, load
from benchmark.data.subsets import limited
from benchmark.errors import BenchError
from benchmark.plan.config import RunConfig
from benchmark.store.records import SetInRecord


@dataclass(frozen=True)
class RunImages:
    """Every set that a run reads, by "set/split", and which of their images it uses."""

    config: RunConfig
    sets: dict[str, ImageSet]
    root: Path  # where they are kept

    @property
    def fingerprints(self) -> dict[str, str]:
        """sha256 of each set's images and labels."""
        return {key: images.fingerprint for key, images in self.sets.items()}

    def positions(self, key: str) -> np.ndarray:
        """Which images of a set are used: all, or a random part that is the same for every seed."""
        return limited(self.sets[key], self._limit(key))

    def array(self, key: str) -> np.ndarray:
        """The images used (N, H, W, 3) uint8: as they lie on disk where all are, a copy where a part is."""
        images = self.sets[key].images
        return images[self.positions(key)] if self._limit(key) else images

    def labels(self, key: str) -> Tensor:
        """The classes of the images used (N,), -1 where unknown."""
        return torch.from_numpy(self.sets[key].labels[self.positions(key)])

    def in_record(self) -> dict[str, SetInRecord]:
        """What the record says of the sets."""
        shared = self._shared()
        return {
            key: _set_in_record(images, len(self.positions(key)), shared.get(key, {}))
            for key, images in self.sets.items()
        }

    def _shared(self) -> dict[str, dict[str, int]]:
        """How many of a set's images used are used of a set before it too: train, test, auxiliary, OOD in this order.
        Two OOD sets may share images. Nothing where some are known by their features alone: which of those are the
        same, nobody can tell."""
        if not all(images.images.size for images in self.sets.values()):
            return {}
        prints = {key: digests(self.array(key)) for key in self.sets}
        trained = [f"{name}/{split}" for name, split in self.config.training_sets()]
        found: dict[str, dict[str, int]] = {}
        for key, mine in prints.items():
            for other in trained[: trained.index(key)] if key in trained else trained:
                if both := shared(mine, prints[other]):
                    found.setdefault(key, {})[other] = both
        return found

    def _limit(self, key: str) -> int | None:
        data = self.config.data
        if key == self.config.train_key:
            return data.train_limit
        return data.aux_limit if key.endswith("/aux") else data.test_limit


def load_images(config: RunConfig, data_root: Path) -> RunImages:
    """Every set the run reads. Raises BenchError when one is missing or of another size."""
    wanted = [*config.training_sets(), *(tuple(config.ood_key(name).split("/")) for name in config.ood_sets())]
    sets = load_sets(config, wanted, data_root)
    _check_classes(sets[config.train_key], sets[config.test_key])
    parent, of = split_class(config.in_dist)
    if of is not None:
        config.check_apart(class_names(data_root, parent, "test"))
    found = RunImages(config, sets, data_root)
    config.check_count(len(found.positions(config.train_key)))
    if config.method.labels:
        _check_labels(config, found.labels(config.train_key))
    return found


def load_sets(config: RunConfig, wanted: Iterable[tuple[str, ...]], data_root: Path) -> dict[str, ImageSet]:
    """The sets `wanted`, each (set, split), by "set/split". Raises BenchError for one missing or of another size."""
    sets = {}
    for name, split in wanted:
        images = load(data_root, name, split)
        config.check_size(f"{name}/{split}", images.images.shape[1])
        sets[f"{name}/{split}"] = images
    return sets


def _check_classes(train: ImageSet, test: ImageSet) -> None:
    """Raises BenchError where one label means two classes, and an accuracy would mean nothing."""
    pairs = zip(train.manifest.get("classes") or (), test.manifest.get("classes") or (), strict=False)
    for label, (one, other) in enumerate(pairs):
        if one != other:
            raise BenchError(
                f"{train.name}: label {label} is {one!r} in its training images and {other!r} in its test images; "
                "import both from one folder, with --replace"
            )


def _check_labels(config: RunConfig, labels: Tensor) -> None:
    if int(labels.min()) < 0:
        raise BenchError(
            f"method.name: {config.method.name} needs labels, and {config.train_key} has images without one"
        )
    classes, found, largest = getattr(config.method, "classes", None), len(labels.unique()), int(labels.max())
    if found < 2:
        raise BenchError(f"method.name: {config.method.name} needs classes, and {config.train_key} has one alone")
    if classes is not None and classes != largest + 1:
        beyond = f", and the largest label is {largest}: labels go from 0" if largest + 1 != found else ""
        raise BenchError(
            f"method.classes: {classes} given, and the images of {config.train_key} have {found} classes{beyond}"
        )


def _set_in_record(images: ImageSet, used: int, shared: dict[str, int]) -> SetInRecord:
    known = info(images.name)
    return SetInRecord(
        count=used,
        fingerprint=images.fingerprint,
        official=known.builtin or bool(images.manifest.get("official", False)),
        official_count=known.counts.get(images.split),
        shared=shared,
    )
