"""A run's scores and measures made again from its features.npz, on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark import methods
from benchmark.data.images import load
from benchmark.errors import BenchError, first_line
from benchmark.evaluation.measures import accuracies, own_scores, scores_by
from benchmark.files import read_npz
from benchmark.methods.base import Outputs
from benchmark.plan.config import RunConfig
from benchmark.plan.scores import needs
from benchmark.running.images import RunImages
from benchmark.store.folders import NEGATIVES, RunFolder, outputs_of, score_key
from benchmark.store.records import Record


@dataclass(frozen=True)
class Rescored:
    """Made from features. measures: as in the record; empty where the images' labels are not known."""

    scores: dict[str, np.ndarray]  # as in scores.npz: "set/split:NAME" -> (N,) float32
    measures: dict[str, Any]  # "knn_accuracy" and "extra"
    temperature: float
    tested: int  # ID test images

    def tolerance(self, values: np.ndarray) -> np.ndarray:
        """By how much scores (N,) may differ between processors: 1e-6 or so in a cosine, over tau in Eq. 6."""
        return 4e-6 / self.temperature + 1e-5 * np.abs(values)

    @property
    def vote(self) -> float:
        """By how much a k-NN accuracy may, in %: votes that all but tie fall otherwise, two in 10,000 at most."""
        return 100 * (self.tested // 5000) / self.tested + 1e-8


@torch.no_grad()
def rescore(folder: RunFolder, config: RunConfig, record: Record, data_root: Path | None) -> Rescored:
    """Scores of every set; with a data_root, which holds the run's ID images, also k-NN accuracy and what the method
    alone measures. Raises BenchError, which names the file, for features that cannot be scored."""
    outputs = _outputs(folder, config, record)
    test = outputs[config.test_key]
    try:
        method = methods.build(config, torch.device("cpu"), begins=False)
        scores: dict[str, np.ndarray] = {}
        for name in record.scores:
            if name == record.own:
                again = own_scores(method, config, outputs)
            else:
                again = scores_by(name, config, outputs, method.device)
            scores |= {score_key(key, name): values for key, values in again.items()}
        measures: dict[str, Any] = {}
        if data_root is not None:
            keys = (config.train_key, config.test_key)
            sets = {key: load(data_root, *key.rsplit("/", 1)) for key in keys}
            images = RunImages(config, sets, data_root)
            ood = {name: outputs[config.ood_key(name)] for name in config.ood_sets()}
            extra = method.extra_measures(test, images.labels(config.test_key), ood)
            measures = {"knn_accuracy": accuracies(images, outputs), "extra": extra}
    except (RuntimeError, ValueError, KeyError, IndexError) as error:  # other shapes than the method's
        raise BenchError(f"{folder.features}: cannot be scored ({first_line(error)})") from error
    return Rescored(scores, measures, config.eval.temperature, len(test["features"]))


def _outputs(folder: RunFolder, config: RunConfig, record: Record) -> dict[str, Outputs]:
    """What `evaluation.features.extract` kept: the features of a set by its key, a further output as KEY:NAME."""
    arrays = read_npz(folder.features)
    outputs: dict[str, Outputs] = {}
    for key in config.scored_keys():
        parts = outputs_of(arrays, key)
        count = record.data[key].count if key in record.data else 0
        if "features" not in parts or not all(_sound(rows, count) for rows in parts.values()):
            raise BenchError(f"{folder.features}: {key}: is not finite features of {count} images")
        outputs[key] = {name: torch.from_numpy(rows) for name, rows in parts.items()}
    if "negatives" in needs([name for name in record.scores if name != record.own]):
        rows = arrays.get(NEGATIVES, np.empty(0))
        if not len(rows) or not _sound(rows, len(rows)):
            raise BenchError(f"{folder.features}: {NEGATIVES}: is not finite features")
        outputs[NEGATIVES] = {"features": torch.from_numpy(rows)}
    return outputs


def _sound(rows: np.ndarray, count: int) -> bool:
    return rows.shape[:1] == (count,) and rows.dtype.kind == "f" and bool(np.isfinite(rows).all())
