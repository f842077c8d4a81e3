"""Which images each method's scored network is normalised over, in training and when it is scored, where it has batch
normalisation: the table of benchmark/methods/README.md, held against what goes through the networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark import methods
from benchmark.methods.base import Batch, Method, Moment, Views
from benchmark.methods.dino import Dino
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import METHODS
from benchmark.plan.validation import validate
from benchmark.training.batches import Batches, DeviceImages
from benchmark.training.statistics import plain_views
from benchmark.views.recipes import Block

README = Path(__file__).parents[2] / "benchmark/methods/README.md"
CPU = torch.device("cpu")
IMAGES = 12

# Settings; the share of negatives among what the scored network is normalised over in training (of DINO among the
# global views), and among the images whose statistics it is scored with; and how the table says these two.
NONE = "no negatives"
DINO = {"name": "dino", "classes": 8}
POPULATIONS: dict[str, tuple[dict[str, Any], float, float, str, str]] = {
    "DINO": ({"method": DINO, "variant": "dino"}, 0, 0, NONE, NONE),
    "DINO with one kind of negative": ({"method": DINO, "variant": "imgn"}, 1 / 3, 1 / 2, "2 : 1", "1 : 1"),
    "DINO with two kinds": ({"method": DINO, "variant": "combined"}, 1 / 2, 2 / 3, "2 : 1 : 1", "1 : 1 : 1"),
    "Rotation prediction": ({"method": {"name": "rotation"}}, 0, 0, NONE, NONE),
    "SimCLR": ({"method": {"name": "simclr"}}, 0, 0, NONE, NONE),
    "CSI": ({"method": {"name": "csi"}}, 0, 0, NONE, NONE),
    "Classifier": ({"method": {"name": "classifier", "rotation_weight": 1.0}}, 0, 0, NONE, NONE),
    "Outlier Exposure, from scratch and tuned": (
        {"method": {"name": "outlier-exposure", "outliers": 2}, "variant": "imgn"}, 2 / 3, 2 / 3, "1 : 2", "1 : 2"),
}  # fmt: skip


def build(settings: dict[str, Any]) -> Method:
    raw = {
        "in_dist": "mini",
        "data": {"sources": {"imagenet": "mini-aux"}},
        "model": {"backbone": "small_convnet", "args": {"width": 4}, "drop_path": 0.0},
        "train": {"epochs": 1, "batch": IMAGES, "warmup_epochs": 0.0},
        "views": {"global_size": 32, "local_size": 16, "local_views": 2},
        "eval": {"ood": ["mini-ood"], "knn": [5]},
    }
    if settings["method"]["name"] not in ("dino", "outlier-exposure"):
        del raw["data"]
    torch.manual_seed(0)
    return methods.build(validate(RunConfig, raw | settings, "test"), CPU)


def scored(method: Method) -> nn.Module:
    network = method.teacher["backbone"] if isinstance(method, Dino) else method.network["backbone"]  # type: ignore[attr-defined]
    assert isinstance(network, nn.Module)
    return network


def constant(blocks: dict[str, Block], value: float) -> Views:
    return {
        name: torch.full((block.views * IMAGES, 3, block.size, block.size), value) for name, block in blocks.items()
    }


def share_of_ones(passes: list[Tensor]) -> float:
    return float(torch.cat([views.flatten(1).mean(1) for views in passes]).mean())


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_populations_of_the_table(name: str) -> None:
    settings, trained, tested, *_ = POPULATIONS[name]
    method = build(settings)
    recipe, kinds = method.batch_recipe(), method.config.kinds()
    negatives = tuple(constant(recipe.negatives, 1.0) for _ in kinds)
    batch = Batch(constant(recipe.positives, 0.0), negatives, torch.arange(IMAGES) % 10)
    network, passes = scored(method), list[Tensor]()
    hook = network.register_forward_pre_hook(lambda _, given: passes.append(given[0]))
    with torch.no_grad():
        method.losses(batch, Moment(0, 1, 0, 1))
    hook.remove()
    assert len(passes) == 1 and network.training and share_of_ones(passes) == pytest.approx(trained)
    if method.recalibrated_after_training() is None:
        assert trained == tested  # its running statistics: of what it is trained over
        assert not isinstance(method, Dino)
        return
    black, white = (np.full((30, 32, 32, 3), value, np.uint8) for value in (0, 255))
    made = Batches(method.config, DeviceImages(black, CPU), {"imagenet": DeviceImages(white, CPU)})
    ones = torch.cat([views.flatten(1).mean(1) > 0 for views in plain_views(made)]).double().mean()
    expected = 1 / 3 if name == "DINO with two kinds" else tested  # Rot. In-Dist. is of black images too
    assert float(ones) == pytest.approx(expected)


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_readme_says_so(name: str) -> None:
    rows = [line for line in README.read_text().splitlines() if line.startswith(f"| {name} |")]
    assert len(rows) == 1
    _, _, trained, tested, _ = rows[0].split("|", 4)
    *_, said_of_training, said_of_scoring = POPULATIONS[name]
    assert said_of_training in trained and said_of_scoring in tested


def test_every_method_that_trains_is_in_the_table() -> None:
    named = {settings["method"]["name"] for settings, *_ in POPULATIONS.values()}
    known = {kind.model_fields["name"].annotation for kind in METHODS if kind.trains}
    assert named == {literal.__args__[0] for literal in known}  # type: ignore[union-attr]
