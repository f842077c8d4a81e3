"""Rotation prediction, and with it what the interface of methods promises to one that is not DINO."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark import methods
from benchmark.errors import BenchError
from benchmark.files import read_npz
from benchmark.methods.base import Batch, Moment
from benchmark.methods.rotation import Rotation
from benchmark.plan import sweep as sweeps
from benchmark.plan import yamlfile
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.running.images import load_images
from benchmark.store.folders import RunFolder
from benchmark.training.batches import Batches, DeviceImages

CPU = torch.device("cpu")
RAW = {
    "in_dist": "mini",
    "method": {"name": "rotation"},
    "model": {"backbone": "resnet10t", "drop_path": 0.0},
    "train": {
        "epochs": 2,
        "batch": 8,
        "warmup_epochs": 0.5,
        "optimiser": "sgd",
        "lr": 0.1,
        "lr_scaling": "none",
        "schedule": "linear",
        "weight_decay": [5e-4, 5e-4],
        "decay_on": "all",
        "clip": None,
    },
    "eval": {"ood": ["mini-ood"], "knn": [5]},
}


def rotation(**changes: Any) -> RunConfig:
    config: RunConfig = validate(RunConfig, {**RAW, **changes}, "test")
    return config


@pytest.fixture(scope="module")
def method() -> Rotation:
    torch.manual_seed(0)
    made = methods.build(rotation(), CPU)
    assert isinstance(made, Rotation)
    return made


def probabilities(method: Rotation, image: np.ndarray) -> list[list[float]]:
    """p[r][k] for an image (H, W, 3) turned by r quarters, one by one in float64 after the network."""
    rows = []
    for quarter in range(4):
        pixels = np.rot90(image, quarter).astype(np.float64) / 255 * 2 - 1
        tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            logits = method.network["head"](method.network["backbone"](tensor))[0].double().tolist()
        largest = max(logits)
        total = math.fsum(math.exp(x - largest) for x in logits)
        rows.append([math.exp(x - largest) / total for x in logits])
    return rows


def test_the_score_is_the_sum_over_four_rotations_image_by_image(method: Rotation) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        outputs = method.embed(torch.from_numpy(images).permute(0, 3, 1, 2))
    scores = method.score(method.stored(outputs))
    for image, score in zip(images, scores.tolist(), strict=True):
        p = probabilities(method, image)
        assert score == pytest.approx(-math.fsum(math.log(p[r][r]) for r in range(4)), rel=1e-4)
    assert outputs["logits"].shape == (5, 4, 4)
    features = method.stored(outputs)["features"]
    torch.testing.assert_close(features.float().norm(dim=1), torch.ones(5), atol=1e-3, rtol=0)


def test_the_loss_is_the_cross_entropy_of_the_true_turns(method: Rotation) -> None:
    upright = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    views = torch.cat([torch.rot90(upright, quarter, (2, 3)) for quarter in range(4)])
    seen: list[Tensor] = []
    method.network.eval()
    losses = method.losses(Batch({"images": views}, (), torch.zeros(3)), Moment(0, 1, 0, 1), seen.append)
    with torch.no_grad():
        logits = method.network["head"](method.network["backbone"](views)).double()
    total = 0.0
    for row, values in enumerate(logits.tolist()):
        total += math.log(math.fsum(map(math.exp, values))) - values[row // 3]
    assert losses["loss"].item() == pytest.approx(total / 12, rel=1e-5)
    assert len(seen) == 1 and seen[0] is losses["loss"]


@pytest.fixture(scope="module")
def shifting() -> Rotation:
    torch.manual_seed(1)
    made = methods.build(rotation(method={"name": "rotation", "shift": 8}), CPU)
    assert isinstance(made, Rotation)
    return made


def moved(image: np.ndarray, right: int, down: int) -> np.ndarray:
    """An image (H, W, ...) moved pixel by pixel; what is uncovered is the reflection, the border not repeated."""
    side = len(image)

    def inside(place: int) -> int:
        place = abs(place)
        return place if place < side else 2 * (side - 1) - place

    rows = [[image[inside(row - down)][inside(column - right)] for column in range(side)] for row in range(side)]
    return np.array(rows)


def log_p(logits: list[float], true: int) -> float:
    largest = max(logits)
    return logits[true] - largest - math.log(math.fsum(math.exp(x - largest) for x in logits))


def test_the_score_with_shifts_is_the_sum_over_36_transforms_and_three_heads(shifting: Rotation) -> None:
    images = np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        outputs = shifting.embed(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert outputs["logits"].shape == (3, 36, 10) and outputs["features"].shape[0] == 3
    right = 0
    for image, score, feature in zip(images, shifting.score(outputs).tolist(), outputs["features"], strict=True):
        total = 0.0
        for quarter in range(4):
            for x, dx in enumerate((0, 8, -8)):
                for y, dy in enumerate((0, 8, -8)):
                    pixels = moved(np.rot90(image, quarter), dx, dy).astype(np.float64) / 255 * 2 - 1
                    with torch.no_grad():
                        seen = shifting.network["backbone"](torch.from_numpy(pixels).permute(2, 0, 1)[None].float())
                        logits = shifting.network["head"](seen)[0].double().tolist()
                    total -= log_p(logits[:4], quarter) + log_p(logits[4:7], x) + log_p(logits[7:], y)
                    right += np.argmax(logits[:4]) == quarter
                    if (quarter, x, y) == (0, 0, 0):
                        torch.testing.assert_close(seen[0], feature, atol=1e-5, rtol=1e-4)
        assert score == pytest.approx(total, rel=1e-4)
    accuracy = shifting.extra_measures(outputs, torch.zeros(3), {})["rotation_accuracy"]
    assert accuracy == pytest.approx(100 * right / 108)


def test_the_loss_with_shifts_is_the_mean_of_three_cross_entropies(
    shifting: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    upright = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    views = torch.cat([torch.rot90(upright, quarter, (2, 3)) for quarter in range(4)])
    seen: list[Tensor] = []
    shifting.network.eval()
    shifting.network["backbone"].register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    torch.manual_seed(5)
    loss = shifting.losses(Batch({"images": views}, (), torch.zeros(2)), Moment(0, 1, 0, 1))["loss"].item()
    total, drawn = 0.0, set()
    for row in range(8):
        image = views[row].permute(1, 2, 0).numpy()
        found = [
            (x, y)
            for x, dx in enumerate((0, 8, -8))
            for y, dy in enumerate((0, 8, -8))
            if np.array_equal(moved(image, dx, dy), seen[0][row].permute(1, 2, 0).numpy())
        ]
        assert len(found) == 1
        drawn.add(found[0])
        with torch.no_grad():
            logits = shifting.network["head"](shifting.network["backbone"](seen[0]))[row].double().tolist()
        total -= log_p(logits[:4], row // 2) + log_p(logits[4:7], found[0][0]) + log_p(logits[7:], found[0][1])
    assert loss == pytest.approx(total / 8 / 3, rel=1e-5)
    assert len(drawn) > 2


def test_shifts_are_named_and_checked() -> None:
    config = rotation(method={"name": "rotation", "shift": 8})
    assert config.label == "rotation-translation" and config.recipe_id() != rotation().recipe_id()
    assert rotation(method={"name": "rotation", "shift": 0}).recipe_id() == rotation().recipe_id()
    assert "shift" not in rotation().identity()["method"]
    with pytest.raises(BenchError, match=r"method\.shift: 32 pixels is not less than the 32 of an image"):
        rotation(method={"name": "rotation", "shift": 32})


def test_its_batches_are_padded_crops_in_four_rotations(method: Rotation) -> None:
    images = np.random.default_rng(2).integers(1, 256, (16, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(16) + 100
    made = Batches(rotation(), DeviceImages(images, CPU), {}, recipe=method.batch_recipe(), labels=labels)
    batch = made.batch(0, 0)
    views = batch.positives["images"]
    assert views.shape == (4 * 8, 3, 32, 32) and batch.negatives == () and set(batch.positives) == {"images"}
    chosen = made._indices("positive", "in-dist", 0, 0)
    assert batch.labels.tolist() == labels[chosen.numpy()].tolist()
    shifts = set()
    for place, index in enumerate(chosen.tolist()):
        padded = np.zeros((40, 40, 3))
        padded[4:-4, 4:-4] = images[index]
        view = (views[place].permute(1, 2, 0).numpy() + 1) / 2 * 255
        found = [
            (top, left, flip)
            for top in range(9)
            for left in range(9)
            for flip in (False, True)
            if np.abs((padded[top : top + 32, left : left + 32][:, :: -1 if flip else 1]) - view).max() < 0.01
        ]
        assert len(found) == 1
        shifts.add(found[0])
        for quarter in range(4):
            turned = np.rot90(views[place].numpy(), quarter, (1, 2))
            assert np.array_equal(views[quarter * 8 + place].numpy(), turned)
    assert len(shifts) > 4


def test_a_whole_run_keeps_its_outputs_and_resumes(tmp_path: Path, mini_data: Path) -> None:
    config = rotation()
    record = run(config, tmp_path / "results", mini_data, Runtime("cpu", threads=1))
    assert record is not None and record.name.startswith("mini-rotation-s0-")
    assert 0 <= record.extra["rotation_accuracy"] <= 100 and record.occupancy is None
    folder = RunFolder(tmp_path / "results" / record.name)
    kept = read_npz(folder.features)
    assert kept["mini/test"].dtype == np.float16 and kept["mini/test:logits"].shape == (24, 4, 4)
    log_p = torch.log_softmax(torch.from_numpy(kept["mini/test:logits"]).double(), 2).numpy()
    expected = [-sum(log_p[i, r, r] for r in range(4)) for i in range(24)]
    np.testing.assert_allclose(read_npz(folder.scores)["mini/test:rotation-prediction"], expected, rtol=1e-6)
    right = [kept["mini/test:logits"][i, r].argmax() == r for i in range(24) for r in range(4)]
    assert record.extra["rotation_accuracy"] == pytest.approx(100 * np.mean(right))
    folder.record.unlink()
    again = run(config, tmp_path / "results", mini_data, Runtime("cpu", threads=1))
    assert again is not None and again.own_score.ood == record.own_score.ood


def test_settings_that_it_does_not_use_stay_out_of_its_name() -> None:
    config = rotation()
    assert rotation(views={"local_views": 3}, negatives={"weight": 2.0}).recipe_id() == config.recipe_id()
    assert {"views", "negatives", "variant"}.isdisjoint(config.identity())
    for key, value in (("momentum", 0.8), ("nesterov", False), ("schedule", "cosine"), ("clip", 3.0), ("lr", 0.2)):
        assert rotation(train={**RAW["train"], key: value}).recipe_id() != config.recipe_id(), key
    assert config.label == "rotation" and config.input_sizes() == (32,) and config.kinds() == ()


def test_a_variant_is_refused() -> None:
    with pytest.raises(BenchError, match="variant: 'rotation' has no negatives"):
        rotation(variant="imgn")


def test_its_references_see_images_of_its_size(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(yamlfile.write({"base": RAW, "grid": {"seed": [0, 1]}}))
    labels = {run.config.label: run.config for run in sweeps.load(file).runs}
    assert set(labels) == {"rotation", "untrained", "image-statistics"}
    assert labels["untrained"].views.global_size == 32


def test_labels_that_a_method_needs_and_lacks_are_one_line(mini_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.plan.methods import RotationConfig

    monkeypatch.setattr(RotationConfig, "labels", True)
    assert load_images(rotation(), mini_data).labels("mini/train").tolist()[:5] == [0, 1, 2, 3, 0]
    found = load_images(rotation(), mini_data).sets["mini/train"]
    unlabelled = replace(found, labels=np.full(found.count, -1))
    monkeypatch.setattr(
        "benchmark.running.images.load",
        lambda root, name, split: unlabelled if (name, split) == ("mini", "train") else found,
    )
    with pytest.raises(BenchError, match=r"rotation needs labels, and mini/train has images without one"):
        load_images(rotation(), mini_data)


def test_the_walk_through_is_the_file() -> None:
    """Every piece of Python in the README stands in the code, word for word."""
    room = Path(methods.__file__).parent
    code = (room / "rotation.py").read_text() + (room.parent / "plan/methods.py").read_text()
    pieces = re.findall(r"```python\n(.*?)```", (room / "README.md").read_text(), re.DOTALL)
    assert len(pieces) == 6
    for piece in pieces:
        assert piece in code, piece
