"""The sweeps of the rivals have the settings of their papers and code, where no default of ours fills in another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark.plan import sweep as sweeps
from benchmark.plan.config import RunConfig


def configs(name: str, in_dist: str = "cifar10") -> dict[str, RunConfig]:
    """The runs of a sweep that are trained on one set, by their labels."""
    runs = [run.config for run in sweeps.load(Path(name)).runs if run.config.method.trains]
    return {config.label: config for config in runs if config.in_dist == in_dist}


def said(config: RunConfig, section: str, wanted: dict[str, Any]) -> dict[str, Any]:
    full = config.model_dump()[section]
    return {key: full[key] for key in wanted}


SGD = {"optimiser": "sgd", "lr_scaling": "none", "momentum": 0.9, "schedule": "cosine", "decay_on": "all", "clip": None}
SIMCLR = SGD | {"lr": 0.5, "epochs": 500, "batch": 512, "weight_decay": [1e-4, 1e-4], "nesterov": False}
# Warmed up from a tenth of it to ten times 0.1, over ten epochs.
CSI = {"optimiser": "lars", "lr": 1.0, "warmup_epochs": 10.0, "epochs": 1000, "batch": 128, "momentum": 0.9,
       "schedule": "cosine", "weight_decay": [1e-6, 1e-6], "clip": None}  # fmt: skip
WIDE = SGD | {"lr": 0.1, "batch": 128, "weight_decay": [5e-4, 5e-4], "nesterov": True, "min_lr": 1e-6}


@pytest.mark.parametrize(
    ("label", "train", "method"),
    [
        ("simclr", SIMCLR, {"temperature": 0.5, "scale": [0.2, 1.0], "projection": 128}),
        (
            "csi",
            CSI,
            {"temperature": 0.5, "scale": [0.08, 1.0], "projection": 128, "test_crops": 10, "test_scale": 0.54},
        ),
    ],
)
@pytest.mark.parametrize("sweep", ["rivals", "table1"])
def test_contrastive_rivals(sweep: str, label: str, train: dict[str, Any], method: dict[str, Any]) -> None:
    """SSD's SimCLR (Sehwag et al. 2021) and CSI (Tack et al. 2020), in a ResNet-18."""
    for in_dist in ("cifar10", "cifar100"):
        config = configs(sweep, in_dist)[label]
        assert said(config, "train", train) == train and said(config, "method", method) == method
        assert (config.model.backbone, config.model.drop_path) == ("resnet18_small", 0.0)
        assert "mahalanobis" in config.scores()


@pytest.mark.parametrize("in_dist", ["cifar10", "cifar100"])
def test_detectors_with_labels(in_dist: str) -> None:
    """MSP, Outlier Exposure from scratch and tuned, and the auxiliary rotation head (Hendrycks et al. 2017, 2019)."""
    found = configs("oe", in_dist)
    for label, epochs, lr in (
        ("classifier", 100, 0.1),
        ("classifier-rotation", 200, 0.1),
        ("oe-dti", 100, 0.1),
        ("oe-tuned-dti", 10, 0.001),
    ):
        train = WIDE | {"epochs": epochs, "lr": lr}
        assert said(found[label], "train", train) == train
        assert found[label].model.backbone == "wide_resnet40_2" and not found[label].model.args
        assert found[label].model_dump()["method"]["classes"] == (10 if in_dist == "cifar10" else 100)
        assert found[label].model_dump()["method"]["turns"] == "all"
    for label, config in found.items():
        if label.startswith("oe"):  # half weight; 256 outliers beside 128 images
            assert config.negatives.weight == 0.5 and len(config.kinds()) == (4 if "combined" in label else 2)
    weights = {label: found[label].model_dump()["method"]["rotation_weight"] for label in found}
    assert weights.pop("classifier-rotation") == 1.0 and set(weights.values()) == {0.0}


def test_rotation_prediction_of_one_class() -> None:
    runs = [run.config for run in sweeps.load(Path("one-class-paper")).runs if run.config.method.trains]
    assert len({config.in_dist for config in runs}) == 10 and {config.seed for config in runs} == {0, 1, 2}
    for config in runs:
        train = WIDE | {"epochs": 200}
        assert said(config, "train", train) == train
        assert (config.model.backbone, config.model.args) == ("wide_resnet40_2", {"dropout": 0.3})
    assert {config.model_dump()["method"]["shift"] for config in runs} == {0, 8}
