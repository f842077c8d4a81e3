"""`bench verify`: which differences are within reach of another processor, and how many numbers are beyond checking."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.evaluation import rescore
from benchmark.evaluation.verify import NO_FEATURES, NO_LOGITS, NO_TRAINING, verify
from benchmark.store.folders import RunFolder

SHIPPED = Path(__file__).parents[2] / "results" / "reference"
CLASSIFIER = SHIPPED / "oe-cpu" / "cifar10-classifier-rotation-s0-854ce8b6"
LOOKED_AT = SHIPPED / "cpu-40-epochs" / "cifar10-combined-s0-c126620b"


@pytest.mark.parametrize(("vote", "accuracy", "differs"), [
    (0.02, 0.0, []),  # two votes in 10,000 that all but tie
    (0.03, 0.0, ["knn_accuracy.10", "knn_accuracy.20"]),
    (0.0, 0.02, ["extra.accuracy", "extra.rotation_accuracy"]),  # nothing there hangs on a tie
])  # fmt: skip
def test_votes_alone_may_fall_otherwise(
    vote: float, accuracy: float, differs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(Path(shutil.copytree(CLASSIFIER, tmp_path / CLASSIFIER.name)))
    np.savez(folder.features)
    record = json.loads(folder.record.read_text())
    measures = {"knn_accuracy": {k: value + vote for k, value in record["knn_accuracy"].items()},
                "extra": {name: value - accuracy for name, value in record["extra"].items()}}  # fmt: skip
    monkeypatch.setattr(rescore, "rescore", lambda *_: rescore.Rescored({}, measures, 0.04, 10_000))
    (verdict,) = verify([folder], tmp_path)
    assert sorted(problem.key for problem in verdict.problems) == differs


def leaves(value: Any) -> int:
    return sum(map(leaves, value.values())) if isinstance(value, dict) else 1


def test_what_only_training_again_would_tell_is_counted(tmp_path: Path) -> None:
    record = json.loads((LOOKED_AT / "record.json").read_text())
    (verdict,) = verify([RunFolder(LOOKED_AT)], tmp_path)
    of_looks = sum(map(leaves, record["trajectory"]))
    assert of_looks > 10 and not verdict.problems
    assert verdict.unchecked == {
        NO_TRAINING: leaves(record["training"]) + len(record["timings"]) + of_looks,
        NO_LOGITS: leaves(record["occupancy"]),
        NO_FEATURES: len(record["knn_accuracy"]) + leaves(record["extra"]),
    }
