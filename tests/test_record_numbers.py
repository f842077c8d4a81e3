"""The numbers of a record that hang on a run's settings, recounted from the kept files with NumPy alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import logsumexp, softmax
from sklearn.neighbors import KNeighborsClassifier
from tiny_runs import TINY, tiny

from benchmark import methods
from benchmark.data.images import load
from benchmark.methods.dino import Dino
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record

RUNTIME = Runtime(device="cpu", threads=1)


# Occupied soft classes -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, mini_data: Path) -> tuple[RunFolder, Record]:
    """A run whose temperatures are all different, long enough for the centre to have moved."""
    results = tmp_path_factory.mktemp("results")
    method = {"teacher_temperature_end": 0.02, "student_temperature": 0.15}
    record = run(tiny(method=method, train={"epochs": 4, "lr": 0.05}), results, mini_data, RUNTIME)
    assert record is not None
    return RunFolder(results / record.name), record


def logits(folder: RunFolder, data: Path, split: str) -> np.ndarray:
    """What the kept teacher answers to the images (N, K), as they lie on the disk: 32 pixels are the views' size."""
    method = methods.build(folder.read_config(), torch.device("cpu"))
    assert isinstance(method, Dino)
    method.load_final_state(load_file(folder.weights))
    method.teacher.eval()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = (np.asarray(load(data, "mini", split).images) / 255 - mean) / std
    with torch.no_grad():
        views = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float()
        answers: np.ndarray = method.teacher["head"](method.teacher["backbone"](views)).double().numpy()
    return answers


def recounted(answers: np.ndarray, centre: np.ndarray, temperature: float) -> dict[str, float]:
    mean = softmax((answers - centre) / temperature, axis=1).mean(0)
    return {
        "paper": int((mean > 1 / len(mean)).sum()),
        "max_mean_probability": float(mean.max()),
        "effective": float(np.exp(-(mean * np.log(mean)).sum())),
    }


def test_the_occupancy_is_of_the_test_images_by_the_trained_teacher(
    trained: tuple[RunFolder, Record], mini_data: Path
) -> None:
    """softmax((g - centre) / the teacher's last temperature); and with the data set's own mean at 0.01, as in the
    authors' code."""
    folder, record = trained
    assert record.occupancy is not None
    answers, centre = logits(folder, mini_data, "test"), load_file(folder.weights)["centre"].double().numpy()
    expected = recounted(answers, centre, 0.02)
    assert {name: record.occupancy[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    assert record.occupancy["authors"] == recounted(answers, answers.mean(0), 0.01)["paper"]
    assert record.occupancy["classes"] == len(centre) == 16
    # What it must not be is something else here: of other images, about no centre, at another temperature.
    others = (logits(folder, mini_data, "train"), centre, 0.02), (answers, 0 * centre, 0.02), (answers, centre, 0.15)
    for other in others:
        assert recounted(*other)["effective"] != pytest.approx(expected["effective"], rel=0.01)


# Temperatures of the scores and of the vote --------------------------------------------------------------------------

TEMPERATURES = {"temperature": 0.5, "knn_temperature": 0.003}
SCORES = ["eq6", "eq6-rotations", "eq6@0.1"]


@pytest.fixture(scope="module", params=["untrained", "dino"])
def tempered(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, mini_data: Path
) -> tuple[RunFolder, Record]:
    """A run with other temperatures than the default ones."""
    measured: dict[str, Any] = {"ood": ["mini-ood"], "knn": [5, 20], "scores": SCORES, **TEMPERATURES}
    if request.param == "dino":
        config = tiny(eval=measured, variant="dino", train={"epochs": 1})
    else:
        raw = {**TINY, "variant": "none", "method": {"name": "untrained"}, "eval": measured}
        config = validate(RunConfig, raw, "test")
    results = tmp_path_factory.mktemp("results")
    record = run(config, results, mini_data, RUNTIME)
    assert record is not None
    return RunFolder(results / record.name), record


def eq6(rows: np.ndarray, bank: np.ndarray, temperature: float, itself: bool) -> np.ndarray:
    """-log((1/M) sum exp(cos / T)) of each row, over all of the bank or all but the row itself; any lengths."""
    rows, bank = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (rows, bank))
    exponents = rows @ bank.T / temperature
    if itself:
        np.fill_diagonal(exponents, -np.inf)
    found: np.ndarray = np.log(len(bank) - itself) - logsumexp(exponents, axis=1)
    return found


def test_scores_have_the_temperature_of_the_settings(tempered: tuple[RunFolder, Record]) -> None:
    """The run's own score and those asked for beside it; one that names a temperature has that one."""
    folder, _ = tempered
    scores = np.load(folder.scores)
    features = {key: rows.astype(np.float64) for key, rows in np.load(folder.features).items()}
    for key in ("mini/train", "mini/test", "mini-ood/test"):
        itself = key == "mini/train"

        def over_copies(temperature: float, key: str = key, itself: bool = itself) -> np.ndarray:
            upright = eq6(features[key], features["mini/train"], temperature, itself)
            copies = zip(*(features[f"{name}:rotated"].swapaxes(0, 1) for name in (key, "mini/train")), strict=True)
            return upright + sum(eq6(rows, bank, temperature, itself) for rows, bank in copies)

        own = eq6(features[key], features["mini/train"], 0.5, itself)
        np.testing.assert_allclose(scores[f"{key}:eq6"], own, atol=2e-3)
        np.testing.assert_allclose(scores[f"{key}:eq6-rotations"], over_copies(0.5), atol=8e-3)
        named = eq6(features[key], features["mini/train"], 0.1, itself)
        np.testing.assert_allclose(scores[f"{key}:eq6@0.1"], named, atol=1e-2)
        # At the default temperature the scores would be others altogether.
        assert np.abs(eq6(features[key], features["mini/train"], 0.04, itself) - own).min() > 1


def test_votes_have_the_temperature_of_the_settings(tempered: tuple[RunFolder, Record], mini_data: Path) -> None:
    """Against scikit-learn, each neighbour weighted by exp(cos / T)."""
    folder, record = tempered
    features = {key: rows.astype(np.float64) for key, rows in np.load(folder.features).items()}
    unit = {key: rows / np.linalg.norm(rows, axis=-1, keepdims=True) for key, rows in features.items()}
    labels = {split: np.asarray(load(mini_data, "mini", split).labels) for split in ("train", "test")}

    def accuracy(k: int, temperature: float) -> float:
        # Of unit length, cos = 1 - distance^2 / 2; less 1, so that nothing overflows.
        votes = KNeighborsClassifier(k, weights=lambda distances: np.exp(-(distances**2) / 2 / temperature))
        votes.fit(unit["mini/train"], labels["train"])
        return 100 * float((votes.predict(unit["mini/test"]) == labels["test"]).mean())

    expected = {str(k): accuracy(k, 0.003) for k in (5, 20)}
    assert record.knn_accuracy == pytest.approx(expected)
    assert expected != {str(k): accuracy(k, 0.07) for k in (5, 20)}, "the default one would vote otherwise"
