"""A finished run and its detectors, and what tests hold against them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score
from tiny_runs import TINY

from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.running.device import Runtime
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record

RUNTIME = Runtime(device="cpu", threads=1)


@dataclass
class Made:
    """A finished run, its detector with the whole bank, and one with a thinned bank."""

    results: Path
    data: Path
    record: Record
    whole: Path
    thinned: Path

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.results / self.record.name)


def reference(name: str, in_dist: str = "mini") -> RunConfig:
    raw = {**TINY, "in_dist": in_dist, "variant": "none", "method": {"name": name}}
    config: RunConfig = validate(RunConfig, raw, "t")
    return config


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    return 100 * float(roc_auc_score([0] * len(inside) + [1] * len(outside), np.concatenate([inside, outside])))


def unit_features(made: Made) -> dict[str, np.ndarray]:
    kept = {key: rows.astype(np.float64) for key, rows in np.load(made.folder.features).items()}
    return {key: rows / np.linalg.norm(rows, axis=1, keepdims=True) for key, rows in kept.items()}
