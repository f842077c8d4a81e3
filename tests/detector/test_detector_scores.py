"""Detectors with another score than Eq. 6: `bench export --score`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Said
from detector_runs import RUNTIME, Made, auroc

from benchmark import Detector
from benchmark.data.images import load
from benchmark.detector.export import export
from benchmark.errors import BenchError
from benchmark.plan.config import RunConfig
from benchmark.plan.scores import needs
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.store.folders import RunFolder

SUM = "eq6-rotations+energy-gap+knn-2"
SHUFFLED = "eq6-permutations+energy-gap-permutations"
KEYS = ("mini/train", "mini/test", "mini-ood/test")
SCORES = [
    "eq6-from-negatives",
    "eq6-confident",
    "knn-3",
    "mahalanobis",
    "energy",
    "negative-norm",
    "eq6@0.5",
    "eq6-rotations",
    SUM,
    SHUFFLED,
]


@pytest.fixture(scope="module")
def scored(made: Made, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A copy of the run, scored by all of these."""
    results = Path(shutil.copytree(made.results, tmp_path_factory.mktemp("scored") / "results"))
    folder = RunFolder(results / made.record.name)
    asked = folder.read_config().model_dump(mode="json")
    asked["eval"]["scores"] = SCORES
    config: RunConfig = validate(RunConfig, asked, "test")
    run(config, results, made.data, RUNTIME)
    return folder


@pytest.mark.parametrize("score", SCORES)
def test_a_detector_scores_as_the_run_did(score: str, scored: RunFolder, made: Made, tmp_path: Path) -> None:
    settings = export(scored, tmp_path / "d", made.data, 0.1, score=score)
    detector = Detector.load(tmp_path / "d", "cpu")
    kept = np.load(scored.scores)
    again = {key: detector.score(load(made.data, *key.split("/")).images) for key in KEYS}
    for key, values in again.items():  # training images too: each is scored by the others
        np.testing.assert_allclose(values, kept[f"{key}:{score}"], rtol=2e-4, atol=2e-4)
    record = scored.read_record()
    assert record is not None
    measured = record.scores[score]
    found = auroc(again["mini/test"], again["mini-ood/test"])
    figures = settings.figures.ood["mini-ood"]
    assert figures.auroc == pytest.approx(measured.ood["mini-ood"].auroc)
    assert figures.auroc_full_bank == measured.ood["mini-ood"].auroc
    assert found == pytest.approx(measured.ood["mini-ood"].auroc, abs=0.5)
    assert settings.figures.sensitivity == measured.sensitivity
    assert set(settings.figures.ood) == {"mini-ood", "mini-ood2"}
    assert (detector.id_scores > detector.threshold).mean() <= 0.1
    np.testing.assert_array_equal(detector.id_scores, kept[f"mini/test:{score}"])
    assert f"`{score}`" in (tmp_path / "d/README.md").read_text()
    assert (tmp_path / "d/head.safetensors").exists() == ("logits" in needs([score]))


def test_what_a_sum_is_standardised_by_comes_from_the_file(scored: RunFolder, made: Made, tmp_path: Path) -> None:
    settings = export(scored, tmp_path / "d", made.data, score=SUM)
    kept = np.load(scored.scores)
    assert len(settings.scales) == 3
    np.testing.assert_allclose(settings.scales[0][0], kept["mini/train:eq6-rotations"].mean(), rtol=1e-4)
    np.testing.assert_allclose(settings.scales[0][1], kept["mini/train:eq6-rotations"].std(ddof=1), rtol=1e-4)
    raw = json.loads((tmp_path / "d/detector.json").read_text())
    raw["scales"][0][0] += raw["scales"][0][1]  # the mean, one deviation up
    (tmp_path / "d/detector.json").write_text(json.dumps(raw))
    images = load(made.data, "mini", "test").images
    np.testing.assert_allclose(Detector.load(tmp_path / "d").score(images), kept[f"mini/test:{SUM}"] - 1, atol=1e-3)


def test_the_commands_take_it(scored: RunFolder, made: Made, bench: Callable[..., Said], pictures: Path) -> None:
    said = bench("export", scored.path, "--to", "d", "--score", SUM, "--data", made.data)
    assert f"score: {SUM}, 4 passes of the network per image" in said.out
    said = bench("score", "d", pictures)
    assert said.out.count("\n") == 7  # a heading and six pictures, one of them broken


@pytest.mark.parametrize(
    ("score", "bank", "says"),
    [
        ("knn-4", None, "has not been scored by it (scores: energy, eq6, eq6-confident, eq6-f"),
        ("nearest", None, "unknown score 'nearest'"),
        ("knn-3", "50%", "--bank 50%: a thinned bank stands for the whole one in Eq. 6 alone, not in 'knn-3'"),
    ],
)
def test_what_cannot_be(score: str, bank: str | None, says: str, scored: RunFolder, made: Made, tmp_path: Path) -> None:
    with pytest.raises(BenchError) as error:
        export(scored, tmp_path / "d", made.data, bank=bank, score=score)
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "d").exists()


def test_a_damaged_head_is_named(scored: RunFolder, made: Made, tmp_path: Path) -> None:
    export(scored, tmp_path / "d", made.data, score="energy")
    (tmp_path / "d/head.safetensors").unlink()
    with pytest.raises(BenchError, match=r"head\.safetensors: is missing"):
        Detector.load(tmp_path / "d")
