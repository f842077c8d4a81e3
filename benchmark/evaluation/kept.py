"""What an earlier scoring of the same run has kept, as far as it still holds: of images that are the same now."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from benchmark.errors import BenchError
from benchmark.files import read_npz
from benchmark.methods.base import Outputs
from benchmark.running.context import Context
from benchmark.store.folders import NEGATIVES, kept_as
from benchmark.store.records import Record


@dataclass(frozen=True)
class Kept:
    """record: of the earlier scoring. features, scores: as in the run's files, of unchanged images alone."""

    record: Record
    features: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]

    def outputs(self, key: str, names: Iterable[str], count: int) -> Outputs | None:
        """All outputs of the images `key`, None where one of these names is lacking or not of so many images."""
        found = {
            "features" if name == key else name.removeprefix(f"{key}:"): torch.from_numpy(rows)
            for name, rows in self.features.items()
            if _is_of(name, key)
        }
        whole = {"features", *names} <= found.keys() and all(len(rows) == count for rows in found.values())
        return found if whole else None

    def scored(self, name: str, keys: Collection[str]) -> dict[str, np.ndarray]:
        """Of the images `keys` the scores by `name` that are there."""
        return {key: self.scores[kept_as(key, name)] for key in keys if kept_as(key, name) in self.scores}


def kept_of(run: Context) -> Kept | None:
    """What the run's folder holds of an earlier scoring; None before the first. A broken file counts as missing.

    Scores of other images than now, or that were fitted on other training images, are left out.
    """
    record = run.folder.read_record()
    if record is None:
        return None
    now = run.images.fingerprints
    same = {key for key, seen in record.data.items() if now.get(key) == seen.fingerprint}
    if run.config.train_key not in same:
        return Kept(record, {}, {})
    if all("/".join(key) in same for key in run.config.training_sets()):
        same.add(NEGATIVES)  # which are made of these images

    def unchanged(file_arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: rows for name, rows in file_arrays.items() if any(_is_of(name, key) for key in same)}

    found = []
    for path in (run.folder.features, run.folder.scores):
        try:
            found.append(unchanged(read_npz(path)) if path.is_file() else {})
        except BenchError:
            found.append({})
    return Kept(record, *found)


def _is_of(name: str, key: str) -> bool:
    """Whether the array called `name` is of the images `key`: called so, or KEY:OUTPUT."""
    return name == key or name.startswith(f"{key}:")
