"""What an export writes and what it refuses."""

from __future__ import annotations

import csv
import io
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
from detector_runs import RUNTIME, Made, reference
from PIL import Image
from tiny_runs import TINY, tiny

from benchmark import Detector
from benchmark.data.images import load
from benchmark.data.importing import import_dir
from benchmark.detector import artifact
from benchmark.detector.card import model_card
from benchmark.detector.export import export, find_run
from benchmark.detector.output import csv_lines
from benchmark.detector.rows import score_images
from benchmark.detector.sources import find_images
from benchmark.errors import BenchError
from benchmark.plan import sweep as sweeps
from benchmark.plan import yamlfile
from benchmark.run import run
from benchmark.store.folders import RunFolder


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
    path = tmp_path / "nearly-04.png"  # but for a pixel: an image of the bank is not its own neighbour
    pixels = np.array(Image.open(tmp_path / "in/named-train/dog/04.png"))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    source = list(find_images([str(path)]))
    [row] = score_images(detector, source, 8, 2)
    assert row.nearest[0].file == "dog/04.png" and row.nearest[0].label == "dog" and row.nearest[0].cosine > 0.999
    lines = list(csv.DictReader(io.StringIO("".join(csv_lines([row], 2, True)))))
    assert lines[0]["file_1"] == "dog/04.png" and lines[0]["path"] == str(path)


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
    with pytest.raises(BenchError, match=r"unknown run .* 'mini-combine-'.*; allowed: mini-combined-s0-"):
        find_run("mini-combine-", made.results)
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


def test_the_card_says_what_counts(made: Made) -> None:
    text = (made.thinned / "README.md").read_text()
    settings = artifact.read_settings(made.thinned)
    for piece in (
        made.record.run_id,
        made.record.recipe_id,
        made.record.environment["commit"],
        made.record.data["mini/train"].fingerprint[:16],
        f"| mini-ood | {made.record.own_score.ood['mini-ood'].auroc:.2f} | "
        f"{settings.figures.ood['mini-ood'].auroc:.2f} |",
        f"{made.record.own_score.sensitivity:.2f}",
        "10% false alarms",
        "24 held-out ID images",
        "Method: dino with the negatives combined.",
        "with auxiliary unlabelled images",
        "brings it to\n32x32. Of each channel, in 0 to 1, the mean (0.485, 0.456, 0.406)",
        "rest divided by the standard deviation (0.229, 0.224, 0.225).",
    ):
        assert piece in text, piece
    assert max(map(len, text.splitlines())) < 260 and "{" not in text
    warned = model_card(settings.model_copy(update={"caveats": ["Cats are known.", "Dogs are soft."]}))
    assert set(warned.splitlines()) - set(model_card(settings).splitlines()) == {
        "- Cats are known.",
        "- Dogs are soft.",
    }


@pytest.mark.parametrize("thinned", [False, True])
def test_the_threshold_and_its_intervals_reach_the_settings_and_the_card(made: Made, thinned: bool) -> None:
    """24 held-out images at 10%: the second from the top is the last that may be above, 2 in 25 new ones are."""
    folder = made.thinned if thinned else made.whole
    settings = artifact.read_settings(folder)
    detector = Detector.load(folder, "cpu")
    inside = np.sort(detector.id_scores)
    k, chosen = 23, settings.threshold
    assert (chosen.value, chosen.asked, chosen.n) == (pytest.approx(inside[k - 1]), 0.1, 24)
    assert chosen.rate == pytest.approx(0.08)
    # The share above the k-th is at most r where fewer than k of the 24 lie below the 1 - r quantile.
    ends = [sum(math.comb(24, i) * (1 - r) ** i * r ** (24 - i) for i in range(k)) for r in chosen.rate_interval]
    assert ends == pytest.approx([0.025, 0.975])
    low, high = chosen.value_interval
    assert low is not None and low < chosen.value and (high is None or high >= chosen.value)
    card = " ".join((folder / "README.md").read_text().split())
    interval = " to ".join(f"{100 * end:.2f}%" for end in chosen.rate_interval)
    assert f"false alarms among new ID images: 8.00%; 95% interval of the true rate {interval} (exact)" in card
    for name, figures in settings.figures.ood.items():
        found = 100 * np.mean(detector.score(load(made.data, name, "test").images) > chosen.value)
        full = f" {made.record.own_score.ood[name].auroc:.2f} |" if thinned else ""
        assert f"| {name} |{full} {figures.auroc:.2f} | {found:.1f} | 20 |" in card


def test_a_backbone_shaped_by_lists_and_maps_from_sweep_file_to_detector(tmp_path: Path, mini_data: Path) -> None:
    """Half of timm's families are: here stages of 8, 16, 32 and 64 channels, and arguments of their blocks."""
    args = {"channels": [8, 16, 32, 64], "block_args": {"attn_layer": None}}
    base = {**TINY, "variant": "dino", "model": {"backbone": "resnet10t", "args": args}}
    base["train"] = {"epochs": 1, "batch": 8, "warmup_epochs": 0.5}
    (tmp_path / "s.yaml").write_text(yamlfile.write({"base": base, "references": []}))
    [planned] = sweeps.load(tmp_path / "s.yaml").runs
    record = run(planned.config, tmp_path / "results", mini_data, RUNTIME)
    settings = export(RunFolder(tmp_path / "results" / record.name), tmp_path / "d", mini_data)
    assert settings.backbone.args == args and settings.timm_args == {"num_classes": 0, **args}
    assert settings.checked.startswith("features of 24 ID test images as the run's")
    detector = Detector.load(tmp_path / "d", "cpu")
    assert detector.settings.bank.dimension == 64
    kept = np.load(tmp_path / "results" / record.name / "scores.npz")["mini-ood/test:eq6"]
    np.testing.assert_allclose(detector.score(load(mini_data, "mini-ood", "test").images), kept, rtol=1e-5)
    weights = str(tmp_path / "d" / artifact.BACKBONE)
    assert timm.create_model("resnet10t", checkpoint_path=weights, **settings.timm_args).num_features == 64
    assert "channels=[8, 16, 32, 64]" in (tmp_path / "d" / "README.md").read_text()


def test_patches_and_check_are_of_images_from_all_over_the_set(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Sets brought from folders hold one folder after another."""
    seen: list[np.ndarray] = []

    def add(
        detector: object, settings: object, folder: Path, train: np.ndarray, test: np.ndarray, count: int
    ) -> object:
        seen.extend((train, test))
        return settings

    monkeypatch.setattr("benchmark.detector.export.add_patches", add)
    monkeypatch.setattr("benchmark.detector.export.has_map", lambda backbone: True)
    monkeypatch.setattr("benchmark.detector.export.IMAGES", 3)
    monkeypatch.setattr("benchmark.detector.export.CHECKED_IMAGES", 2)
    settings = export(made.folder, tmp_path / "to", made.data, 0.1)
    assert settings.checked.startswith("features of 2 ID test images as the run's")
    train, test = (load(made.data, "mini", split).images for split in ("train", "test"))
    assert (seen[0] == train[[0, 19, 39]]).all() and (seen[1] == test[[0, 23]]).all()
