"""A detector is the run it came from: same scores, same AUROC; a folder that is not one says so and runs nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from command import Said, run_bench
from PIL import Image
from sklearn.metrics import roc_auc_score
from tiny_runs import TINY, tiny

from benchmark import Detector
from benchmark.data.images import load
from benchmark.data.importing import import_dir
from benchmark.detector import artifact
from benchmark.detector.export import bank_size, export, find_run, parse_rate, thin
from benchmark.detector.output import csv_lines
from benchmark.detector.rows import decoded, score_images
from benchmark.detector.sources import Source, find_images
from benchmark.errors import BenchError
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.run import run
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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, mini_data: Path) -> Made:
    base = tmp_path_factory.mktemp("detectors")
    record = run(tiny(eval={"ood": ["mini-ood", "mini-ood2"]}), base / "results", mini_data, RUNTIME)
    done = Made(base / "results", mini_data, record, base / "whole", base / "thinned")
    export(done.folder, done.whole, mini_data, 0.1)
    export(done.folder, done.thinned, mini_data, 0.1, bank="25%")
    return done


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    """A detector to spoil."""
    return Path(shutil.copytree(made.whole, tmp_path / "copy"))


def reference(name: str, in_dist: str = "mini") -> RunConfig:
    raw = {**TINY, "in_dist": in_dist, "variant": "none", "method": {"name": name}}
    config: RunConfig = validate(RunConfig, raw, "t")
    return config


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    return 100 * float(roc_auc_score([0] * len(inside) + [1] * len(outside), np.concatenate([inside, outside])))


def unit_features(made: Made) -> dict[str, np.ndarray]:
    kept = {key: rows.astype(np.float64) for key, rows in np.load(made.folder.features).items()}
    return {key: rows / np.linalg.norm(rows, axis=1, keepdims=True) for key, rows in kept.items()}


# --- the same numbers as the run -------------------------------------------------------------------------------------


def test_scores_and_auroc_are_the_runs(made: Made) -> None:
    detector = Detector.load(made.whole, "cpu")
    kept = np.load(made.folder.scores)
    again = {key: detector.score(load(made.data, *key.split("/")).images) for key in kept if "train" not in key}
    assert again.keys() == {"mini/test", "mini-ood/test", "mini-ood2/test"}
    for key, scores in again.items():
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, kept[key], rtol=1e-5)
    for name, measures in made.record.ood.items():
        assert auroc(again["mini/test"], again[f"{name}/test"]) == pytest.approx(measures.auroc, abs=1e-9)
        assert detector.settings.figures.ood[name].auroc == measures.auroc
    assert np.array_equal(detector.id_scores, kept["mini/test"])
    assert detector.settings.checked.startswith("features of 24 ID test images as the run's, to within ")


def test_untrained_is_drawn_again_and_image_statistics_is_refused(mini_data: Path, tmp_path: Path) -> None:
    record = run(reference("untrained"), tmp_path, mini_data, RUNTIME)
    export(RunFolder(tmp_path / record.name), tmp_path / "d", mini_data)
    kept = np.load(tmp_path / record.name / "scores.npz")["mini/test"]
    np.testing.assert_allclose(Detector.load(tmp_path / "d").score(load(mini_data, "mini", "test").images), kept, 1e-5)
    record = run(reference("image-statistics"), tmp_path, mini_data, RUNTIME)
    with pytest.raises(BenchError, match=r"method 'image-statistics' has no backbone to export; dino and untrained do"):
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


def test_a_backbone_that_gives_other_features_is_not_exported(made: Made, tmp_path: Path) -> None:
    other = shutil.copytree(made.folder.path, tmp_path / made.record.name)
    weights = safetensors.torch.load_file(other / "weights.safetensors")
    weights["backbone.cls_token"] = torch.randn(weights["backbone.cls_token"].shape)
    safetensors.torch.save_file(weights, other / "weights.safetensors")
    with pytest.raises(BenchError, match="the backbone gives other features than the run kept"):
        export(RunFolder(other), tmp_path / "d", made.data)
    assert not (tmp_path / "d").exists() and not list(tmp_path.glob(".*tmp"))


# --- what is given to it ---------------------------------------------------------------------------------------------


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


# --- decisions and neighbours ----------------------------------------------------------------------------------------


def test_threshold_p_values_and_neighbours_by_plain_counting(made: Made) -> None:
    detector = Detector.load(made.whole)
    inside = np.sort(np.load(made.folder.scores)["mini/test"])
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
        assert figures.auroc_full_bank == made.record.ood[name].auroc
        found = 100 * np.mean(detector.score(load(made.data, name, "test").images) > detector.threshold)
        assert figures.found == pytest.approx(found)
    np.testing.assert_allclose(detector.id_scores, plain["mini/test"], atol=5e-3)


def test_thinning_keeps_the_density_and_depends_on_the_seed_alone() -> None:
    """Three tight clusters of 60, 30 and 10 rows: one row of each, with the right weight."""
    random = torch.Generator().manual_seed(0)
    directions = torch.eye(8)[[0] * 60 + [1] * 30 + [2] * 10]
    bank = directions + 0.01 * torch.randn(100, 8, generator=random)
    rows, weights = thin(bank, 20, 0)
    sums = [float(weights[directions[rows].argmax(1) == cluster].sum()) for cluster in range(3)]
    assert sums == [60, 30, 10] and len(rows) <= 20 and len(rows.unique()) == len(rows)
    again = thin(bank, 20, 0)
    assert torch.equal(rows, again[0]) and torch.equal(weights, again[1])
    assert not torch.equal(rows, thin(bank, 20, 1)[0])
    assert len(thin(torch.ones(10, 4), 5, 0)[0]) == 1  # all alike: one row stands for all


def test_thinning_to_a_tenth_on_real_images_costs_little(real_images: Path, tmp_path: Path) -> None:
    """Random projections of 32x32 pixels stand for a backbone here: the point is the bank, not the features."""
    import_dir(real_images, tmp_path, names=["cifar10", "svhn", "texture"], report=lambda line: None)
    random = np.random.default_rng(0).normal(size=(3072, 32)).astype(np.float32)

    def features(name: str, split: str) -> torch.Tensor:
        pixels = load(tmp_path, name, split).images.reshape(-1, 3072).astype(np.float32) / 255 - 0.5
        return torch.nn.functional.normalize(torch.from_numpy(pixels @ random), dim=1)

    from benchmark.detection.scores import ood_scores

    bank = features("cifar10", "train")
    rows, weights = thin(bank, len(bank) // 10, 0)
    for name in ("svhn", "texture"):
        pair = features("cifar10", "test"), features(name, "test")
        full = auroc(*(ood_scores(one, bank).numpy() for one in pair))
        less = auroc(*(ood_scores(one, bank[rows], weights=weights).numpy() for one in pair))
        assert abs(full - less) < 1.5, (name, full, less)


# --- names -----------------------------------------------------------------------------------------------------------


def test_files_of_the_training_images_follow_from_the_import_to_the_rows(tmp_path: Path, mini_data: Path) -> None:
    random = np.random.default_rng(4)
    for split, count in (("train", 12), ("test", 24)):
        for i in range(count):
            folder = tmp_path / "in" / f"named-{split}" / ("cat" if i % 2 else "dog")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    (tmp_path / "in/named-train/cat/03.png").write_bytes(b"broken")
    data = Path(shutil.copytree(mini_data, tmp_path / "data"))
    import_dir(tmp_path / "in", data, report=lambda line: None)
    config = reference("untrained", "named").model_copy(update={"eval": tiny(eval={"knn": [3]}).eval})
    record = run(config, tmp_path / "results", data, RUNTIME)
    export(RunFolder(tmp_path / "results" / record.name), tmp_path / "d", data)
    detector = Detector.load(tmp_path / "d")
    assert detector.names is not None and len(detector.names) == 11 and "cat/03.png" not in detector.names
    for name, label in zip(detector.names, detector.label, strict=True):
        assert detector.settings.classes is not None and name.split("/")[0] == detector.settings.classes[label]
    path = tmp_path / "in/named-train/dog/04.png"
    source = list(find_images([str(path)]))
    [row] = score_images(detector, source, 8, 2)
    assert row.nearest[0].file == "dog/04.png" and row.nearest[0].label == "dog" and row.nearest[0].cosine > 0.999
    lines = list(csv.DictReader(io.StringIO("".join(csv_lines([row], 2, True)))))
    assert lines[0]["file_1"] == "dog/04.png" and lines[0]["path"] == str(path)


# --- a folder that is no detector ------------------------------------------------------------------------------------


class Exploit:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def resum(folder: Path) -> None:
    """Make detector.json agree with the files again, as someone with bad intent would."""
    settings = json.loads((folder / "detector.json").read_text())
    settings["files"] = {name: artifact.checksum(folder / name).model_dump() for name in settings["files"]}
    (folder / "detector.json").write_text(json.dumps(settings))


def change(folder: Path, **values: Any) -> None:
    settings = json.loads((folder / "detector.json").read_text())
    (folder / "detector.json").write_text(json.dumps({**settings, **values}))


def refused(folder: Path, says: str) -> None:
    with pytest.raises(BenchError, match=says) as error:
        Detector.load(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


@pytest.mark.parametrize("name", [artifact.BACKBONE, artifact.BANK])
def test_damaged_files(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[:-10])
    refused(copy, rf"{name}: has {len(whole) - 10} bytes, detector.json says {len(whole)}")
    (copy / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(copy, rf"{name}: is not the file that was exported \(sha256 ")
    (copy / name).write_bytes(whole[: len(whole) // 2])
    resum(copy)
    refused(copy, rf"{name}: not readable as safetensors")
    (copy / name).unlink()
    refused(copy, rf"{name}: is missing")


@pytest.mark.parametrize("name", [artifact.BACKBONE, artifact.BANK])
@pytest.mark.parametrize("how", ["pickle", "torch", "numpy"])
def test_a_pickle_is_never_loaded(copy: Path, tmp_path: Path, name: str, how: str) -> None:
    mark = tmp_path / "ran"
    if how == "pickle":
        (copy / name).write_bytes(pickle.dumps(Exploit(mark)))
    elif how == "torch":
        torch.save({"features": Exploit(mark)}, copy / name)
    else:
        with open(copy / name, "wb") as file:
            np.save(file, np.array([Exploit(mark)], dtype=object), allow_pickle=True)
    resum(copy)
    refused(copy, rf"{name}: not readable as safetensors")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Exploit(mark)))
    assert mark.exists()  # the exploit is one


def test_settings_that_are_not_to_be_trusted(copy: Path) -> None:
    change(copy, schema_version=artifact.SCHEMA + 1)
    refused(copy, f"schema_version: {artifact.SCHEMA + 1} was written by a newer release; this one reads up to 1")
    change(copy, schema_version="1")
    refused(copy, "schema_version: must be a whole number from 1, given 1")
    change(copy, schema_version=1, surprise=3)
    refused(copy, "unknown key 'surprise'")
    (copy / "detector.json").write_text("[" * 100_000)
    refused(copy, "not readable as JSON")
    (copy / "detector.json").write_text("{")
    refused(copy, "not readable as JSON")
    (copy / "detector.json").unlink()
    refused(copy, r"not a detector \(no detector.json\)")


@pytest.mark.parametrize(
    ("backbone", "says"),
    [
        ({"backbone": "hf-hub:someone/something", "args": {}}, "unknown backbone"),
        (
            {"backbone": "vit_tiny_patch16_224", "args": {"checkpoint_path": "evil.pth"}},
            "checkpoint_path cannot be set",
        ),
        ({"backbone": "vit_tiny_patch16_224", "args": {"pretrained": True}}, "pretrained cannot be set"),
        ({"backbone": "vit_tiny_patch16_224", "args": {}}, "does not fit vit_tiny_patch16_224"),
    ],
)
def test_a_backbone_that_would_be_fetched_or_does_not_fit(copy: Path, backbone: dict[str, Any], says: str) -> None:
    change(copy, backbone={**backbone, "drop_path": 0.0})
    refused(copy, says)


def test_a_bank_that_is_not_what_the_settings_say(copy: Path) -> None:
    bank = safetensors.torch.load_file(copy / artifact.BANK)
    for tensors, says in (
        ({**bank, "features": bank["features"][:, :5].contiguous()}, r"features: is torch.float16 \(40, 5\), wanted"),
        ({**bank, "id_scores": bank["id_scores"] * torch.nan}, "id_scores: holds NaN or infinity"),
        ({"features": bank["features"]}, "holds features; wanted are features, id_scores, index, label"),
    ):
        safetensors.torch.save_file(tensors, copy / artifact.BANK)
        resum(copy)
        refused(copy, says)


# --- export refuses --------------------------------------------------------------------------------------------------


def test_a_target_with_other_files_is_left_alone(made: Made, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    export(made.folder, tmp_path / "d", made.data)
    with pytest.raises(BenchError, match="holds a detector; allow its replacement with --replace"):
        export(made.folder, tmp_path / "d", made.data)
    (tmp_path / "d" / "mine.txt").write_text("kept")
    export(made.folder, tmp_path / "d", made.data, bank="5", replace=True)
    assert Detector.load(tmp_path / "d").settings.bank.count <= 5
    assert (tmp_path / "d" / "mine.txt").read_text() == "kept" and not list(tmp_path.glob(".*tmp"))
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "README.md").write_text("mine")
    with pytest.raises(BenchError, match="holds other files"):
        export(made.folder, tmp_path / "e", made.data, replace=True)


def test_runs_that_cannot_be_exported(made: Made, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"unknown run .* 'mini-combined'.*; allowed: mini-combined-s0-"):
        find_run("mini-combined", made.results)
    assert (
        find_run(made.record.name, made.results).path
        == made.folder.path
        == find_run(str(made.folder.path), tmp_path).path
    )
    for missing, says in (
        ("features.npz", "a detector needs the features and scores"),
        ("weights.safetensors", "a detector needs the run's weights"),
        ("record.json", "the run is not finished"),
    ):
        other = shutil.copytree(made.folder.path, tmp_path / missing / made.record.name)
        (other / missing).unlink()
        with pytest.raises(BenchError, match=says):
            export(RunFolder(other), tmp_path / "d", made.data)


def test_shares_and_sizes() -> None:
    assert parse_rate("5%", "--x") == parse_rate("0.05", "--x") == 0.05
    assert [bank_size(text, 3400) for text in ("10%", "100%", "7", "0.5%")] == [340, 3400, 7, 17]
    for text in ("5", "0", "100%", "x", "-5%", "nan", ""):
        with pytest.raises(BenchError, match=r"must be a share above 0% and below 100%, as in 5% or 0.05"):
            parse_rate(text, "--x")
    for text in ("0", "3401", "1.5", "x", "0.001%"):
        with pytest.raises(BenchError, match="--bank"):
            bank_size(text, 3400)


def test_the_card_says_what_counts(made: Made) -> None:
    text = (made.thinned / "README.md").read_text()
    settings = artifact.read_settings(made.thinned)
    for piece in (
        made.record.run_id,
        made.record.recipe_id,
        made.record.environment["commit"],
        made.record.data["mini/train"].fingerprint[:16],
        f"| mini-ood | {made.record.ood['mini-ood'].auroc:.2f} | {settings.figures.ood['mini-ood'].auroc:.2f} |",
        f"{made.record.sensitivity:.2f}",
        "10% false alarms",
        "24 held-out ID images",
    ):
        assert piece in text, piece
    assert max(map(len, text.splitlines())) < 260 and "{" not in text


def test_import_benchmark_is_light() -> None:
    code = (
        "import sys, benchmark; assert 'torch' not in sys.modules and 'numpy' not in sys.modules;"
        "\ntry: benchmark.Nothing\nexcept AttributeError: print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "fine"


# --- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object, stdin: bytes = b"") -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return run_bench(monkeypatch, capfd, *arguments)

    yield call


@pytest.fixture
def pictures(tmp_path: Path, made: Made) -> Path:
    """photos/: six images in two folders, one of them broken, and a file that is none."""
    images = load(made.data, "mini-ood", "test").images
    for i, name in enumerate(["a.png", "b.png", "sub/c.png", "sub/d.png", "sub/e.png"]):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(tmp_path / "photos" / name)
    (tmp_path / "photos/bad.png").write_bytes((tmp_path / "photos/a.png").read_bytes()[:60])
    (tmp_path / "photos/notes.txt").write_text("no image")
    return tmp_path / "photos"


def test_export_as_a_user_sees_it(bench: Callable[..., Said], made: Made) -> None:
    said = bench(
        "export", made.record.name, "--results", made.results, "--data", made.data, "--to", "d", "--bank", "25%",
        "--false-alarms", "10%",
    )  # fmt: skip
    assert said.code == 0 and max(map(len, said.out.splitlines())) <= 80
    assert "whole bank" in said.out and f"{made.record.ood['mini-ood'].auroc:.2f}" in said.out
    assert "8.00% (95% interval" in said.out and "bench score d IMAGES..." in said.out
    again = bench("export", made.record.name, "--results", made.results, "--data", made.data, "--to", "d")
    assert again.code == 2 and again.err.count("\n") == 1 and "--replace" in again.err
    assert bench("export", "x", "--results", made.results, "--to", "e", "--false-alarms", "5").code == 2


def test_rows_are_the_api_s_and_a_broken_image_is_a_row(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    said = bench("score", made.whole, "photos", "--batch", "4")
    assert said.code == 0 and "6 images" in said.err and "1 not readable" in said.err
    names = ["photos/a.png", "photos/b.png", "photos/bad.png", "photos/sub/c.png", "photos/sub/d.png"]
    assert [row["path"] for row in said.rows] == [*names, "photos/sub/e.png"]
    detector = Detector.load(made.whole)
    for row in said.rows:
        if row["path"] == "photos/bad.png":
            assert row["error"] and not row["score"] + row["ood"] + row["p_value"] + row["nearest_1"]
            continue
        score = detector.score(row["path"])
        assert not row["error"] and float(row["score"]) == pytest.approx(score[0], rel=1e-5)
        assert row["ood"] == ("yes" if detector.is_ood(score)[0] else "no")
        assert float(row["p_value"]) == pytest.approx(detector.p_values(score)[0])
        rows, cosines = detector.nearest(row["path"])
        assert [int(row[f"nearest_{i}"]) for i in (1, 2, 3)] == detector.index[rows[0]].tolist()
        assert [float(row[f"cosine_{i}"]) for i in (1, 2, 3)] == pytest.approx(cosines[0].tolist(), abs=1e-5)


def test_json_lines_a_list_globs_and_arrays_agree(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    by_folder = {row["path"]: row["score"] for row in bench("score", made.whole, "photos").rows}
    listed = bench("score", made.whole, "-", stdin=b"photos/b.png\r\nphotos/sub/d.png\n\nphotos/gone.png\n")
    assert listed.code == 0
    assert {row["path"]: row["score"] for row in listed.rows[:2]} == {
        name: pytest.approx(by_folder[name]) for name in ("photos/b.png", "photos/sub/d.png")
    }
    assert listed.rows[2]["path"] == "photos/gone.png" and "No such file" in listed.rows[2]["error"]
    said = bench("score", made.whole, "photos/**/*.png", "--format", "jsonl", "--nearest", "1")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["path"] for line in lines] == sorted(by_folder)
    assert [line for line in lines if "error" in line] == [{"path": "photos/bad.png", "error": lines[2]["error"]}]
    assert lines[0]["score"] == pytest.approx(float(by_folder["photos/a.png"])) and lines[0]["ood"] in (True, False)
    assert lines[0]["nearest"][0].keys() == {"index", "cosine", "label"}
    images = load(made.data, "mini-ood", "test").images
    np.savez("some.npz", images=images[:2])
    arrays = bench("score", made.whole, "some.npz", made.data / "mini-ood/test").rows
    assert [row["path"] for row in arrays[:2]] == ["some.npz[0]", "some.npz[1]"] and len(arrays) == 22
    kept = np.load(made.folder.scores)["mini-ood/test"]
    assert [float(row["score"]) for row in arrays] == pytest.approx([*kept[:2], *kept], rel=1e-5)


def test_threshold_and_out(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    said = bench("score", made.whole, "photos/a.png", "photos/b.png", "--threshold", "-1e9", "--out", "new/s.csv")
    assert said.code == 0 and said.out == "" and "2 OOD" in said.err
    assert Path("new/s.csv").read_text().count(",yes,") == 2
    assert bench("score", made.whole, "photos/a.png", "--threshold", "1e9", "--nearest", "0").rows[0]["ood"] == "no"


def test_out_may_be_a_pipe_or_a_link_and_stays_one(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    """Renamed over, a device such as /dev/stdout would be gone for every program on the machine."""
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert bench("score", made.whole, "photos/a.png", "--out", "pipe").code == 0
    assert os.read(reader, 10_000).startswith(b"path,score,ood") and Path("pipe").is_fifo()
    os.close(reader)
    Path("real.csv").write_text("old")
    Path("link.csv").symlink_to("real.csv")
    assert bench("score", made.whole, "photos/a.png", "--out", "link.csv").code == 0
    assert Path("link.csv").is_symlink() and Path("real.csv").read_text().startswith("path,score,ood")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["photos/bad.png", "photos/notes.txt"], 1, "2 not readable"),
        (["nowhere"], 2, "nowhere: no such file or folder"),
        (["*.gif"], 2, "*.gif: matches no file"),
        (["empty"], 2, "empty: no images there"),
        (["-"], 2, "no images in the list"),
        ([], 2, "IMAGES"),
        (["photos", "--device", "tpu"], 2, "--device tpu"),
        (["photos", "--batch", "0"], 2, "--batch"),
        (["photos", "--nearest", "99"], 2, "allowed with a bank of 40"),
    ],
)
def test_exit_codes(
    bench: Callable[..., Said], made: Made, pictures: Path, arguments: list[str], code: int, says: str
) -> None:
    Path("empty").mkdir()
    said = bench("score", made.whole, *arguments)
    assert said.code == code and says in said.err and "Traceback" not in said.err


def test_a_spoilt_detector_is_one_line_and_exit_code_2(bench: Callable[..., Said], copy: Path, pictures: Path) -> None:
    (copy / artifact.BANK).write_bytes(b"short")
    said = bench("score", copy, "photos")
    assert said.code == 2 and said.err.count("\n") == 1 and artifact.BANK in said.err and said.out == ""


def test_names_that_are_odd(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    odd = [b'photos/comma, "quote".png', b"photos/\xff.png", "photos/ä.png".encode()]
    for name in odd:
        shutil.copy("photos/a.png", os.fsdecode(name))
    said = bench("score", made.whole, *(os.fsdecode(name) for name in odd))
    assert said.code == 0 and [row["path"] for row in said.rows] == [
        'photos/comma, "quote".png', "photos/\\udcff.png", "photos/ä.png",
    ]  # fmt: skip
    os.mkfifo("photos/pipe.png")
    assert len(bench("score", made.whole, "photos").rows) == 9  # and does not wait for the pipe
    assert bench("score", made.whole, "photos/pipe.png").rows[0]["error"] == "not a file"


def test_images_are_read_a_bounded_number_ahead() -> None:
    read: list[int] = []

    def endless() -> Iterator[Source]:
        number = 0
        while True:
            read.append(number)
            number += 1
            yield Source(str(number), lambda: Image.new("RGB", (8, 8)))

    squares = decoded(endless(), 8, ahead=6)
    for _ in range(10):
        next(squares)
    assert len(read) <= 16
    squares.close()  # type: ignore[attr-defined]


def test_the_page_gets_the_highest_scores(
    bench: Callable[..., Said], made: Made, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Any] = []
    monkeypatch.setattr(
        "benchmark.report.gallery.write_gallery",
        lambda out, items, title, about: called.append((out, list(items), title, about)),
    )
    said = bench("score", made.whole, "photos", "--page", "worst.html", "--page-size", "2")
    [(out, items, _, about)] = called
    best = sorted((float(row["score"]) for row in said.rows if row["score"]), reverse=True)[:2]
    assert out == Path("worst.html") and [item.score for item in items] == best
    assert about["not readable"] == "1" and about["images"].startswith("5 scored")
    for item in items:
        with Image.open(io.BytesIO(item.thumbnail)) as thumbnail, Image.open(item.path) as original:
            assert thumbnail.format == "PNG" and np.array_equal(np.asarray(thumbnail), np.asarray(original))
        assert len(item.neighbours) == 3 and "cosine" in item.neighbours[0]
