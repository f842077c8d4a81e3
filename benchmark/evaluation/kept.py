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
from benchmark.store.folders import NEGATIVES, is_of, outputs_of, score_key
from benchmark.store.records import Record


@dataclass(frozen=True)
class Kept:
    """record: of the earlier scoring. features, scores: as in the run's files, of unchanged images alone."""

    record: Record
    features: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]

    def outputs(self, key: str, names: Iterable[str], count: int) -> Outputs | None:
        """All outputs of the images `key`, None where one of these names is lacking or not of so many images."""
        found = {name: torch.from_numpy(rows) for name, rows in outputs_of(self.features, key).items()}
        whole = {"features", *names} <= found.keys() and all(len(rows) == count for rows in found.values())
        return found if whole else None

    def scored(self, name: str, keys: Collection[str]) -> dict[str, np.ndarray]:
        """Of the images `keys` the scores by `name` that are there."""
        return {key: self.scores[score_key(key, name)] for key in keys if score_key(key, name) in self.scores}


def kept_of(run: Context) -> Kept | None:
    """What the run's folder holds of an earlier scoring; None before the first. A broken file counts as missing.

    What was made of other test images than now is left out; the training images, of which the negatives are made, are
    the same, since the run's id holds their fingerprints.
    """
    record = run.folder.read_record()
    if record is None:
        return None
    now = run.images.fingerprints
    same = {NEGATIVES, *(key for key, seen in record.data.items() if now.get(key) == seen.fingerprint)}

    def unchanged(file_arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: rows for name, rows in file_arrays.items() if any(is_of(name, key) for key in same)}

    found = []
    for read in (lambda: read_npz(run.folder.features), lambda: run.folder.read_scores(run.config)):
        try:
            found.append(unchanged(read()))
        except BenchError:
            found.append({})
    return Kept(record, *found)
