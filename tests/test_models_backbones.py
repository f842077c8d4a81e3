"""timm backbones by name and arguments: what they yield, and one line for what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmark.errors import BenchError
from benchmark.models.backbones import build_backbone, create
from benchmark.plan.sections import ModelConfig


def test_lists_and_maps_shape_a_backbone_and_stay_as_they_are() -> None:
    args: dict[str, Any] = {"channels": [8, 16, 32, 64], "block_args": {"attn_layer": None}}
    config = ModelConfig(backbone="resnet10t", args=args)
    backbone, width = build_backbone(config, 32, 16, 0.0)
    assert width == 64 and backbone(torch.zeros(2, 3, 32, 32)).shape == (2, 64)
    assert [stage[0].conv1.out_channels for stage in (backbone.layer1, backbone.layer4)] == [8, 64]
    assert config.args == {"channels": [8, 16, 32, 64], "block_args": {"attn_layer": None}}


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("resnet10t", {}, {"num_classes": 0}),
        (
            "vit_tiny_patch16_224",
            {"depth": 1, "img_size": 64},
            {"num_classes": 0, "depth": 1, "img_size": 64, "dynamic_img_size": True},
        ),
    ],
)
def test_a_transformer_alone_is_told_of_positions(name: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert create(ModelConfig(backbone=name, args=given), 32)[1] == expected


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"patch_size": 8}, r"model\.args: {'patch_size': 8} do not fit resnet10t: .*'patch_size'"),
        ({"channels": [8, None, 16, 32]}, r"model\.args: .* do not fit resnet10t"),
        ({"pretrained_cfg_overlay": {"file": "x.pth"}}, r"model\.args: pretrained_cfg_overlay cannot be set here"),
        ({"features_only": True}, r"model\.backbone: resnet10t yields several tensors, not one feature vector"),
    ],
)
def test_what_does_not_fit_is_one_line(args: dict[str, Any], says: str) -> None:
    with pytest.raises(BenchError, match=says) as caught:
        build_backbone(ModelConfig(backbone="resnet10t", args=args), 32, 16, 0.0)
    assert "\n" not in str(caught.value)
