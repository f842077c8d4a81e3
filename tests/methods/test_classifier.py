"""The classifier, Outlier Exposure and the auxiliary rotation task, against loops over images in float64."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor

from benchmark import methods
from benchmark.data.images import load, write_set
from benchmark.errors import BenchError
from benchmark.methods.base import Batch, Moment
from benchmark.methods.classifier import CIFAR, Classifier
from benchmark.plan.config import RunConfig
from benchmark.plan.training_data import training_data
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.running.images import load_images
from benchmark.running.processes import Ranks
from benchmark.training.batches import Batches, DeviceImages

CPU = torch.device("cpu")
RAW: dict[str, Any] = {
    "in_dist": "mini",
    "method": {"name": "classifier", "classes": 4},
    "model": {"backbone": "small_convnet", "args": {"width": 8}, "drop_path": 0.0},
    "data": {"sources": {"imagenet": "mini-aux", "dti": "mini-aux"}},
    "train": {"epochs": 2, "batch": 8, "warmup_epochs": 0.5, "optimiser": "sgd", "lr": 0.1, "lr_scaling": "none"},
    "eval": {"ood": ["mini-ood"], "knn": [5]},
}
OE = {
    "method": {"name": "outlier-exposure", "classes": 4},
    "variant": "imgn",
    "negatives": {"weight": 0.5},
}


def config(**changes: Any) -> RunConfig:
    made: RunConfig = validate(RunConfig, {**RAW, **changes}, "test")
    return made


def prepared(settings: RunConfig, data: Path) -> tuple[Classifier, Batch]:
    torch.manual_seed(0)
    method = methods.build(settings, CPU)
    assert isinstance(method, Classifier)
    images = load_images(settings, data)
    auxiliary = {name: DeviceImages(load(data, "mini-aux", "aux").images, CPU) for name in ("imagenet", "dti")}
    labels = images.labels(settings.train_key).numpy()
    train = DeviceImages(images.array(settings.train_key), CPU)
    return method, Batches(settings, train, auxiliary, recipe=method.batch_recipe(), labels=labels).batch(0, 0)


def answers(method: Classifier, images: Tensor, head: str) -> np.ndarray:
    logits: Tensor = method.network[head](method.network["backbone"](images))
    return logits.detach().double().numpy()


@pytest.mark.parametrize("rotation", [0.0, 0.7])
@pytest.mark.parametrize("outliers", [False, True])
def test_the_losses_are_their_formulas(mini_data: Path, rotation: float, outliers: bool) -> None:
    changes: dict[str, Any] = dict(OE) if outliers else {}
    changes["method"] = {**(OE if outliers else RAW)["method"], "rotation_weight": rotation}
    method, batch = prepared(config(**changes), mini_data)
    assert len(batch.negatives) == (2 if outliers else 0)  # 16 outliers beside 8 images
    losses = method.losses(batch, Moment(0, 2, 3, 10))
    images = batch.positives["images"]
    everything = torch.cat([images, *(views["images"] for views in batch.negatives)])
    assert len(images) == (32 if rotation else 8) and len(everything) == len(images) + (16 if outliers else 0)
    logits = answers(method, everything, "classes")  # normalised over all images that go through together
    classes = [-log_softmax(logits[i])[int(label)] for i, label in enumerate(batch.labels)]
    expected = total = np.mean(classes)
    assert float(losses["classes"]) == pytest.approx(expected, rel=1e-4)
    if rotation:
        turns = answers(method, everything, "rotation")
        told = [-log_softmax(turns[i])[i // 8] for i in range(32)]
        assert float(losses["rotation"]) == pytest.approx(np.mean(told), rel=1e-4)
        total += rotation * np.mean(told)
    if outliers:  # as in oe_scratch.py: -(mean of the logits - logsumexp), half weight
        each = [math.log(sum(math.exp(x) for x in row)) - sum(row) / 4 for row in logits[len(images) :]]
        assert float(losses["outliers"]) == pytest.approx(np.mean(each), rel=1e-4)
        total += 0.5 * np.mean(each)
    assert float(losses["loss"].detach()) == pytest.approx(total, rel=1e-4)
    assert ("rotation" in losses, "outliers" in losses) == (bool(rotation), outliers)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (2, 0.4), (5, 1.0), (9, 1.0)])
def test_the_weight_of_outliers_rises_where_that_is_asked_for(mini_data: Path, step: int, share: float) -> None:
    """Over the first of two epochs of 5 steps: the loss put together from its terms, which know no weight."""
    method, batch = prepared(config(**{**OE, "negatives": {"weight": 0.5, "weight_warmup_epochs": 1.0}}), mini_data)
    losses = {name: float(loss.detach()) for name, loss in method.losses(batch, Moment(step // 5, 2, step, 10)).items()}
    assert losses["outliers"] >= math.log(4) - 1e-6  # the floor of a cross-entropy to the uniform response
    assert losses["loss"] == pytest.approx(losses["classes"] + share * 0.5 * losses["outliers"], rel=1e-5)


@pytest.mark.parametrize("step", [0, 1, 2, 7])
def test_one_turn_a_step_has_the_loss_of_all_turns_in_the_mean(mini_data: Path, step: int) -> None:
    """Image i is shown upright and turned by 1 + (i + step) % 3; its turns weigh as all three would."""
    method, batch = prepared(
        config(method={"name": "classifier", "classes": 4, "rotation_weight": 0.7, "turns": "one"}), mini_data
    )
    losses = method.losses(batch, Moment(0, 2, step, 10))
    upright = batch.positives["images"][:8]
    turns = [1 + (i + step) % 3 for i in range(8)]
    turned = torch.stack([torch.rot90(image, turn, (1, 2)) for image, turn in zip(upright, turns, strict=True)])
    shown = torch.cat([upright, turned])
    logits, told = (log_softmax(answers(method, shown, head), axis=1) for head in ("classes", "rotation"))
    classes = -np.mean([logits[i][int(label)] for i, label in enumerate(batch.labels)])
    rotation = -np.mean([told[i][0] / 4 + 3 / 4 * told[8 + i][turn] for i, turn in enumerate(turns)])
    assert float(losses["classes"].detach()) == pytest.approx(classes, rel=1e-4)
    assert float(losses["rotation"].detach()) == pytest.approx(rotation, rel=1e-4)
    assert float(losses["loss"].detach()) == pytest.approx(classes + 0.7 * rotation, rel=1e-4)


def test_three_steps_of_one_turn_show_every_turn_once_and_ranks_share_them(mini_data: Path) -> None:
    method, _ = prepared(
        config(method={"name": "classifier", "classes": 4, "rotation_weight": 1, "turns": "one"}), mini_data
    )
    rows = torch.cat([method._shown(8, step)[8:] for step in range(3)])
    assert sorted(rows.tolist()) == list(range(8, 32))
    whole = method._shown(8, 5)[8:] // 8
    halves = []
    for rank in (0, 1):
        method.ranks = Ranks(rank, 2)
        halves.append(method._shown(4, 5)[4:] // 4)
    assert torch.equal(torch.cat(halves), whole)


def test_turns_without_a_weight_are_refused_and_the_published_ones_keep_their_names() -> None:
    with pytest.raises(BenchError, match=r"method.turns: one given, but with method.rotation_weight 0"):
        config(method={"name": "classifier", "classes": 4, "turns": "one"})
    rotated = {"name": "classifier", "classes": 4, "rotation_weight": 1.0}
    before, one = config(method=rotated), config(method={**rotated, "turns": "one"})
    assert before.identity()["method"] == {"name": "classifier", "classes": 4, "rotation_weight": 1.0}
    assert config(method={**rotated, "turns": "all"}).identity() == before.identity() != one.identity()


def test_views_are_whole_images_padded_and_scaled_as_published(mini_data: Path) -> None:
    _, batch = prepared(config(method={"name": "classifier", "classes": 4, "rotation_weight": 1}), mini_data)
    images = batch.positives["images"]
    pixels = images * torch.tensor(CIFAR.std)[:, None, None] + torch.tensor(CIFAR.mean)[:, None, None]
    assert CIFAR.mean[0] == pytest.approx(0.4914, abs=1e-4) and CIFAR.std[2] == pytest.approx(0.2616, abs=1e-4)
    assert torch.allclose(pixels * 255, (pixels * 255).round(), atol=1e-3)  # neither resized nor jittered
    black = (pixels[:8].abs() < 1e-3).all(1).all(2)  # rows of the margin
    assert black.any() and black.sum(1).max() <= 4
    for turn in range(1, 4):
        assert torch.equal(images[8 * turn : 8 * turn + 8], torch.rot90(images[:8], turn, (2, 3)))


def test_the_scores_are_their_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 4, generator=generator)
    turns = torch.randn(6, 4, 4, generator=generator)
    plain = methods.build(config(), CPU)
    found = plain.score({"features": torch.zeros(6, 2), "logits": logits})
    geometric = methods.build(config(method={"name": "classifier", "classes": 4, "rotation_weight": 1}), CPU)
    with_turns = geometric.score({"features": torch.zeros(6, 2), "logits": logits, "turns": turns})
    for i in range(6):
        p = np.exp(log_softmax(logits[i].double().numpy()))
        assert float(found[i]) == pytest.approx(-math.log(max(p)))
        kl = sum(0.25 * math.log2(0.25 / each) for each in p)
        told = [-math.log2(math.exp(log_softmax(turns[i, r].double().numpy())[r])) for r in range(4)]
        assert float(with_turns[i]) == pytest.approx(-kl + sum(told) / 4)
    sure, unsure = torch.tensor([[9.0, 0, 0, 0]]), torch.tensor([[1.0, 1, 1, 0]])
    assert plain.score({"logits": sure}) < plain.score({"logits": unsure})  # larger = more OOD
    told, lost = 9 * torch.eye(4)[None], torch.zeros(1, 4, 4)
    assert geometric.score({"logits": sure, "turns": told}) < geometric.score({"logits": sure, "turns": lost})
    assert geometric.score({"logits": sure, "turns": told}) < geometric.score({"logits": unsure, "turns": told})


def test_what_embed_answers_is_of_the_upright_image_and_of_its_turns(mini_data: Path) -> None:
    method, _ = prepared(config(method={"name": "classifier", "classes": 4, "rotation_weight": 1}), mini_data)
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    found = method.embed(images)
    assert {name: tuple(rows.shape) for name, rows in found.items()} == {
        "features": (5, 32), "logits": (5, 4), "turns": (5, 4, 4)
    }  # fmt: skip
    scaled = (images / 255 - torch.tensor(CIFAR.mean)[:, None, None]) / torch.tensor(CIFAR.std)[:, None, None]
    np.testing.assert_allclose(found["logits"].detach().numpy(), answers(method, scaled, "classes"), atol=1e-4)
    for turn in range(4):
        alone = answers(method, torch.rot90(scaled, turn, (2, 3)), "rotation")
        np.testing.assert_allclose(found["turns"][:, turn].detach().numpy(), alone, atol=1e-4)
    logits = torch.tensor([[2.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 3.0], [0, 5.0, 0, 0]])
    told = torch.zeros(4, 4, 4)
    told[:3] = torch.eye(4)
    measured = method.extra_measures({"logits": logits, "turns": told}, torch.tensor([0, 1, 2, -1]), {})
    assert measured["accuracy"] == pytest.approx(100 * 2 / 3)  # the fourth has no label
    assert measured["rotation_accuracy"] == pytest.approx(100 * 13 / 16)  # zeros: the first turn is told by chance


@pytest.mark.parametrize(("changes", "label", "of"), [
    ({}, "classifier", "labels"),
    ({"method": {"name": "classifier", "classes": 4, "rotation_weight": 1.0}}, "classifier-rotation", "labels"),
    (OE, "oe-imgn", "labels, aux"),
    ({**OE, "variant": "rot-in-dist"}, "oe-rot-in-dist", "labels"),
    ({**OE, "variant": "dti"}, "oe-dti", "labels, aux, made with labels"),
])  # fmt: skip
def test_a_run_is_measured_named_and_told_by_its_training_data(
    changes: dict[str, Any], label: str, of: str, mini_data: Path, tmp_path: Path
) -> None:
    settings = config(**{**changes, "eval": {**RAW["eval"], "scores": ["energy", "max-logit", "knn-5"]}})
    assert settings.label == label and training_data(settings) == of
    record = run(settings, tmp_path, mini_data, Runtime("cpu", threads=1))
    assert 0 <= record.extra["accuracy"] <= 100 and {"energy", "max-logit", "knn-5"} <= set(record.scores)
    assert ("outliers" in record.training["losses"]) == (label.startswith("oe"))


def test_settings_that_change_numbers_change_the_identity() -> None:
    known = {config(**changes).recipe_id() for changes in (
        {}, OE, {**OE, "negatives": {"weight": 1.0}}, {**OE, "variant": "rot-imgn"},
        {**OE, "method": {**OE["method"], "outliers": 1}},
        {"method": {**RAW["method"], "rotation_weight": 1}}, {"method": {**RAW["method"], "rotation_weight": 0.5}},
    )}  # fmt: skip
    assert len(known) == 7
    assert config(views={"global_size": 64}).recipe_id() == config().recipe_id()  # sees whole images alone


@pytest.mark.parametrize(("changes", "words"), [
    ({**OE, "variant": "dino"}, ["variant", "no outliers"]),
    ({**OE, "negatives": {"weight": 0}}, ["variant", "no outliers"]),
    ({"variant": "imgn"}, ["variant", "has no negatives"]),
    ({"method": {"name": "classifier", "classes": 1}}, ["method", "classes", "2"]),
    ({"eval": {"ood": [], "knn": [5], "scores": ["energy-gap"]}}, ["eval.scores", "rotations", "energy"]),
])  # fmt: skip
def test_bad_settings_are_one_line(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BenchError) as caught:
        config(**changes)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value), caught.value


def test_images_without_the_classes_that_it_needs_are_one_line(mini_data: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"method\.classes: 5 given, and the images of mini/train have 4 classes"):
        load_images(config(method={"name": "classifier", "classes": 5}), mini_data)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    for name, labels, said in (("bare", np.full(8, -1), "without one"), ("single", np.zeros(8, int), "one alone")):
        for split in ("train", "test"):
            write_set(tmp_path, name, split, images, labels, recipe="random numbers")
        settings = config(in_dist=name, eval={"ood": [], "knn": [5]})
        with pytest.raises(BenchError, match=rf"method\.name: classifier needs .*{name}/train .*{said}"):
            load_images(settings, tmp_path)
    for split in ("train", "test"):
        write_set(tmp_path, "gaps", split, images, np.array([0, 3, 66, 3, 0, 66, 3, 0]), recipe="random numbers")
    settings = config(in_dist="gaps", eval={"ood": [], "knn": [5]}, method={"name": "classifier", "classes": 3})
    with pytest.raises(BenchError, match=r"gaps/train have 3 classes, and the largest label is 66: labels go from 0$"):
        load_images(settings, tmp_path)
