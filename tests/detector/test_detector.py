"""A detector is the run it came from: same scores, same AUROC."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from detector_runs import RUNTIME, Made, auroc, reference, unit_features
from PIL import Image

from benchmark import Detector
from benchmark.data.images import load
from benchmark.data.importing import import_dir
from benchmark.detector import artifact
from benchmark.detector.export import export
from benchmark.errors import BenchError
from benchmark.run import run
from benchmark.store.folders import RunFolder


def test_scores_and_auroc_are_the_runs(made: Made) -> None:
    detector = Detector.load(made.whole, "cpu")
    kept = {key.removesuffix(":eq6"): rows for key, rows in np.load(made.folder.scores).items()}
    again = {key: detector.score(load(made.data, *key.split("/")).images) for key in kept}
    assert again.keys() == {"mini/train", "mini/test", "mini-ood/test", "mini-ood2/test"}
    for key, scores in again.items():
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, kept[key], rtol=1e-5)
    for name, measures in made.record.own_score.ood.items():
        assert auroc(again["mini/test"], again[f"{name}/test"]) == pytest.approx(measures.auroc, abs=1e-9)
        assert detector.settings.figures.ood[name].auroc == measures.auroc
    assert np.array_equal(detector.id_scores, kept["mini/test"])
    assert detector.settings.checked.startswith("features of 24 ID test images as the run's, to within ")


def test_untrained_is_drawn_again_and_image_statistics_is_refused(mini_data: Path, tmp_path: Path) -> None:
    record = run(reference("untrained"), tmp_path, mini_data, RUNTIME)
    export(RunFolder(tmp_path / record.name), tmp_path / "d", mini_data)
    kept = np.load(tmp_path / record.name / "scores.npz")["mini/test:eq6"]
    np.testing.assert_allclose(Detector.load(tmp_path / "d").score(load(mini_data, "mini", "test").images), kept, 1e-5)
    record = run(reference("image-statistics"), tmp_path, mini_data, RUNTIME)
    with pytest.raises(
        BenchError, match=r"method 'image-statistics' has no backbone to export; dino, frozen and untrained do"
    ):
        export(RunFolder(tmp_path / record.name), tmp_path / "e", mini_data)
    assert not (tmp_path / "e").exists()


def test_timm_loads_the_teachers_backbone(made: Made) -> None:
    """timm alone, on pixels normalised here, gives the features that the run kept."""
    settings = artifact.read_settings(made.whole)
    weights = str(made.whole / artifact.BACKBONE)
    model = timm.create_model(settings.backbone.backbone, checkpoint_path=weights, **settings.timm_args).eval()
    pixels = load(made.data, "mini", "test").images.astype(np.float32) / 255
    pixels = (pixels - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    with torch.no_grad():
        features = model(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())).double().numpy()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(features, unit_features(made)["mini/test"], atol=1e-3)
    run_weights = safetensors.torch.load_file(made.folder.weights)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, run_weights[f"backbone.{name}"])  # the teacher's, not the student's


def test_without_the_images_a_detector_is_made_and_says_that_it_was_not_checked(made: Made, tmp_path: Path) -> None:
    settings = export(made.folder, tmp_path / "d", tmp_path / "nothing")
    assert settings.checked == "not checked: the ID test images were not at hand" and settings.classes is None
    images = load(made.data, "mini", "test").images
    assert np.array_equal(Detector.load(tmp_path / "d").score(images), Detector.load(made.whole).score(images))


def test_images_replaced_since_the_run_are_not_taken_for_its_own(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.data / "mini-ood" / "test", tmp_path / "mini" / "test")
    settings = export(made.folder, tmp_path / "d", tmp_path)
    assert settings.checked == "not checked: the ID test images stored here are not the run's"


def test_a_backbone_that_gives_other_features_is_not_exported(made: Made, tmp_path: Path) -> None:
    other = shutil.copytree(made.folder.path, tmp_path / made.record.name)
    weights = safetensors.torch.load_file(other / "weights.safetensors")
    weights["backbone.cls_token"] = torch.randn(weights["backbone.cls_token"].shape)
    safetensors.torch.save_file(weights, other / "weights.safetensors")
    with pytest.raises(BenchError, match="the backbone gives other features than the run kept"):
        export(RunFolder(other), tmp_path / "d", made.data)
    assert not (tmp_path / "d").exists() and not list(tmp_path.glob(".*tmp"))


def test_a_png_of_a_stored_image_scores_as_the_stored_image(made: Made, tmp_path: Path) -> None:
    detector = Detector.load(made.whole)
    images = load(made.data, "mini-ood", "test").images
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for path, pixels in zip(paths, images, strict=True):
        Image.fromarray(pixels).save(path)
    scores = detector.score(images)
    assert len(set(scores.tolist())) > 10
    assert np.array_equal(detector.score(paths), scores)
    assert np.array_equal(detector.score([str(path) for path in paths]), scores)
    assert np.array_equal(detector.score([Image.fromarray(pixels) for pixels in images]), scores)
    assert np.array_equal(detector.score(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())), scores)
    np.testing.assert_allclose(detector.score(paths, batch=7), scores, rtol=1e-5)
    assert detector.score(paths[0]).shape == (1,) and detector.score([]).shape == (0,)


def test_other_sizes_go_the_way_of_an_import(made: Made, tmp_path: Path) -> None:
    """A grey, a wide and a turned image: as `bench data import` stores them, they score the same."""
    random = np.random.default_rng(3)
    folder = tmp_path / "in" / "own-test"
    folder.mkdir(parents=True)
    wide = Image.fromarray(random.integers(0, 256, (50, 90, 3), dtype=np.uint8))
    wide.save(folder / "a.png")
    wide.convert("L").resize((47, 61)).save(folder / "b.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    wide.save(folder / "c.jpg", exif=exif, quality=95)
    stored = import_dir(tmp_path / "in", tmp_path / "data", report=lambda line: None)[0]
    detector = Detector.load(made.whole)
    scores = detector.score(sorted(folder.iterdir()))
    assert np.array_equal(scores, detector.score(stored.images)) and len(set(scores.tolist())) == 3
    assert np.array_equal(scores, detector.score([Image.open(path) for path in sorted(folder.iterdir())]))
    # A batch of one is multiplied in another order than one of three.
    assert detector.score(np.asarray(wide)[None]) == pytest.approx(scores[0], rel=1e-6)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (np.zeros((2, 32, 32, 3)), "an array float64"),
        (np.zeros((32, 32, 3), np.uint8), r"an array uint8 \(32, 32, 3\)"),
        (torch.zeros(2, 32, 32, 3, dtype=torch.uint8), "a tensor torch.uint8"),
        ([3], "a int among them"),
        (["nowhere.png"], r"nowhere.png: not a readable image \(No such file or directory\)"),
    ],
)
def test_what_is_no_image_is_said_in_one_line(made: Made, given: Any, complaint: str) -> None:
    with pytest.raises(BenchError, match=complaint) as error:
        Detector.load(made.whole).score(given)
    assert "\n" not in str(error.value)


def test_threshold_p_values_and_neighbours_by_plain_counting(made: Made) -> None:
    detector = Detector.load(made.whole)
    inside = np.sort(np.load(made.folder.scores)["mini/test:eq6"])
    images = load(made.data, "mini-ood", "test").images
    scores = detector.score(images)
    assert detector.threshold == inside[22]  # of 24 at 10%: two of 25 may be above
    assert detector.is_ood(scores).tolist() == [score > inside[22] for score in scores]
    counted = [(1 + sum(one >= score for one in inside)) / 25 for score in scores]
    assert detector.p_values(scores).tolist() == pytest.approx(counted)
    assert detector.settings.threshold.rate == pytest.approx(2 / 25)
    features = unit_features(made)
    cosines = features["mini-ood/test"] @ features["mini/train"].T
    rows, found = detector.nearest(images, 4)
    np.testing.assert_allclose(found, -np.sort(-cosines, axis=1)[:, :4], atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(cosines, rows, 1), found, atol=1e-4)
    assert np.array_equal(detector.index, np.arange(40)) and np.array_equal(detector.label, np.arange(40) % 4)
    with pytest.raises(BenchError, match="nearest images: 41 asked for, allowed with a bank of 40: 1 to 40"):
        detector.nearest(images, 41)


def test_an_image_of_the_bank_is_not_its_own_neighbour_nor_scored_by_itself(made: Made, tmp_path: Path) -> None:
    train = load(made.data, "mini", "train").images
    cosines = (rows := unit_features(made)["mini/train"]) @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    detector = Detector.load(made.whole)
    rows, found = detector.nearest(train[5:9], 4)
    np.testing.assert_allclose(found, -np.sort(-cosines[5:9], axis=1)[:, :4], atol=1e-4)
    assert not any(place in near for place, near in enumerate(rows.tolist(), 5))
    assert detector.nearest(train[5:9], 40)[0][:, -1].tolist() == [5, 6, 7, 8]  # there are no 40 others
    changed = train[5:9].copy()
    changed[:, 0, 0] ^= 1  # a pixel's last bits: other images
    mixed = np.concatenate([train[5:6], changed, load(made.data, "mini", "test").images[:2]])
    seen = -np.log(np.exp(cosines[5] / 0.04).sum() / 39)
    scores = detector.score(mixed)
    assert scores[0] == pytest.approx(seen, abs=5e-3) and scores[1] < scores[0] - 0.01
    np.testing.assert_allclose(scores[-2:], np.load(made.folder.scores)["mini/test:eq6"][:2], rtol=1e-5)
    away = Detector.load(export(made.folder, tmp_path / "d", tmp_path) and tmp_path / "d")  # without the images
    assert not away.settings.bank.hashed and away.score(train[5:6])[0] < scores[0] - 0.01


def test_a_thinned_bank_by_a_plain_weighted_sum(made: Made) -> None:
    detector = Detector.load(made.thinned)
    bank = safetensors.torch.load_file(made.thinned / artifact.BANK)
    features = unit_features(made)
    weights = bank["weights"].double().numpy()
    assert detector.settings.bank.count <= 10 and weights.sum() == 40 and detector.settings.bank.of == 40
    kept = features["mini/train"][bank["index"].numpy()]
    owner = (features["mini/train"] @ kept.T).argmax(1)
    assert np.bincount(owner, minlength=len(kept)).tolist() == weights.tolist()
    plain = {k: -np.log((np.exp(rows @ kept.T / 0.04) * weights).sum(1) / 40) for k, rows in features.items()}
    np.testing.assert_allclose(detector.score(load(made.data, "mini", "test").images), plain["mini/test"], atol=5e-3)
    for name, figures in detector.settings.figures.ood.items():
        assert figures.auroc == pytest.approx(auroc(plain["mini/test"], plain[f"{name}/test"]), abs=0.3)
        assert figures.auroc_full_bank == made.record.own_score.ood[name].auroc
        found = 100 * np.mean(detector.score(load(made.data, name, "test").images) > detector.threshold)
        assert figures.found == pytest.approx(found)
    np.testing.assert_allclose(detector.id_scores, plain["mini/test"], atol=5e-3)
    assert not detector.settings.bank.hashed  # a row stands for others too
    np.testing.assert_allclose(detector.score(load(made.data, "mini", "train").images), plain["mini/train"], atol=5e-3)


def test_import_benchmark_is_light() -> None:
    code = (
        "import sys, benchmark; assert 'torch' not in sys.modules and 'numpy' not in sys.modules;"
        "\ntry: benchmark.Nothing\nexcept AttributeError: print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "fine"
