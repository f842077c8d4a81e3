"""Scores, neighbours and whole runs on a GPU against the CPU's. The same bodies run on the CPU alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from devices import on_devices
from tiny_runs import tiny

from benchmark import Detector
from benchmark.data.images import load
from benchmark.detection.knn import knn_accuracy
from benchmark.detection.occupancy import occupancy
from benchmark.detection.scores import ood_scores
from benchmark.detector.export import export
from benchmark.files import read_npz
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.store.folders import RunFolder


def unit(count: int, seed: int) -> torch.Tensor:
    rows = torch.randn(count, 24, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


@on_devices
def test_equation_6_is_a_loop_in_float64(device: str) -> None:
    features, bank = unit(7, 0), unit(50, 1)
    found = ood_scores(features.to(device), bank.to(device), 0.04)
    for row, score in zip(features.double(), found.tolist(), strict=True):
        mean = torch.stack([torch.exp(row @ other / 0.04) for other in bank.double()]).mean()
        assert score == pytest.approx(-float(mean.log()), rel=1e-5)


@on_devices
def test_neighbours_and_occupancy_are_the_cpus(device: str) -> None:
    features, bank = unit(60, 2), unit(200, 3)
    labels, bank_labels = torch.arange(60) % 4, torch.arange(200) % 4
    here = knn_accuracy(features, labels, bank, bank_labels, (20, 5))
    assert knn_accuracy(features.to(device), labels, bank.to(device), bank_labels, (20, 5)) == here
    logits, centre = 3 * unit(60, 4), torch.zeros(24)
    there = occupancy(logits.to(device), centre.to(device), 0.04)
    assert there == pytest.approx(occupancy(logits, centre, 0.04), rel=1e-6)


@on_devices
def test_a_whole_run_and_its_detector(device: str, mini_data: Path, tmp_path: Path) -> None:
    record = run(tiny(), tmp_path / "results", mini_data, Runtime(device))
    assert record is not None and record.environment["device"] == device
    folder = RunFolder(tmp_path / "results" / record.name)
    kept = read_npz(folder.scores)["mini/test:eq6"]
    export(folder, tmp_path / "detector", mini_data, 0.05)
    scores = Detector.load(tmp_path / "detector", device).score(load(mini_data, "mini", "test").images)
    assert scores == pytest.approx(kept, abs=5e-3)
