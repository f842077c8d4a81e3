"""What the networks of a method are asked at scoring, and in which mode: pixels resized and scaled by other means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_runs import TINY, tiny
from torch import Tensor, nn
from view_references import drawn_images, exact_resize

from benchmark import methods
from benchmark.methods.base import Method
from benchmark.methods.contrastive import Contrastive
from benchmark.methods.dino import Dino
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate

CPU = torch.device("cpu")
# Batch normalisation: what an image is answered can depend on the others beside it.
CONVOLUTIONS: dict[str, Any] = {"backbone": "small_convnet", "args": {"width": 4}, "drop_path": 0.0}
# ImageNet's mean and deviation of the three colours of a 0..1 image.
MEAN, DEVIATION = (torch.tensor(three)[:, None, None] for three in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def untrained(**changes: Any) -> RunConfig:
    config: RunConfig = validate(
        RunConfig, {**TINY, "variant": "none", "method": {"name": "untrained"}, **changes}, "t"
    )
    return config


def build(config: RunConfig) -> tuple[Method, nn.Module]:
    """The method as a finished training leaves it, and the network whose features are scored."""
    torch.manual_seed(0)
    method = methods.build(config, CPU)
    method.modules().train()
    backbone = method.scoring_backbone()
    assert backbone is not None
    return method, backbone


@torch.no_grad()
def features(method: Method, images: Tensor) -> Tensor:
    return method.embed(images)["features"]


@pytest.mark.parametrize("size", [48, 64, 32])
@pytest.mark.parametrize("name", ["dino", "untrained"])
def test_images_are_resized_to_the_global_views_and_scaled_as_imagenet(name: str, size: int) -> None:
    """Stored with 32 pixels, whatever the size of the views that the network learns from."""
    views = {**TINY["views"], "global_size": size}
    config = tiny(views=views) if name == "dino" else untrained(views=views)
    assert config.data.image_size == 32
    method, backbone = build(config)
    images, seen = drawn_images(5), []
    handle = backbone.register_forward_hook(lambda module, given, made: seen.append(given[0]))
    found = features(method, images)
    handle.remove()
    expected = torch.stack([(exact_resize(image, size) - MEAN) / DEVIATION for image in images])
    assert [tuple(each.shape) for each in seen] == [(5, 3, size, size)]
    torch.testing.assert_close(seen[0], expected, atol=1e-3, rtol=0)  # Pillow's pixels are 0..1 to about 1e-4
    backbone.eval()
    with torch.no_grad():
        torch.testing.assert_close(found, torch.cat([backbone(one[None]) for one in expected]), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["simclr", "csi"])
def test_contrastive_features_are_of_the_pixels_that_training_showed(name: str) -> None:
    """0..1, and no other normalisation: image by image."""
    config: RunConfig = validate(
        RunConfig,
        {
            "in_dist": "mini",
            "method": {"name": name, "test_crops": 2},
            "model": CONVOLUTIONS,
            "train": {"epochs": 2, "batch": 8, "warmup_epochs": 0.5},
            "eval": {"ood": ["mini-ood"], "knn": [5]},
        },
        "test",
    )
    torch.manual_seed(0)
    method = methods.build(config, CPU)
    assert isinstance(method, Contrastive)
    method.modules().train()
    images = drawn_images(4)
    found = features(method, images)
    network = method.network["backbone"].eval()
    for image, feature in zip(images, found, strict=True):
        with torch.no_grad():
            alone = network(image[None].float() / 255)[0]
        torch.testing.assert_close(feature, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["dino", "untrained"])
def test_an_answer_does_not_depend_on_who_is_asked_beside(name: str) -> None:
    method, backbone = build(tiny(model=CONVOLUTIONS) if name == "dino" else untrained(model=CONVOLUTIONS))
    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    images = drawn_images(6)
    together, alone = features(method, images), torch.cat([features(method, image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together, features(method, images), atol=0, rtol=0)  # nor on what was asked before


@torch.no_grad()
def test_the_teacher_drops_no_paths_and_the_student_does() -> None:
    method, _ = build(tiny(model={"drop_path": 0.5}))
    assert isinstance(method, Dino) and method.teacher.training  # as in every step
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def answers(network: nn.ModuleDict) -> list[Tensor]:
        """To the same images, with three draws of whatever the network draws."""
        made = []
        for seed in range(3):
            torch.manual_seed(seed)
            made.append(network["head"](network["backbone"](images)))
        return made

    teacher, student = answers(method.teacher), answers(method.student)
    method.modules().eval()
    for one in teacher:
        torch.testing.assert_close(one, answers(method.teacher)[0], atol=1e-6, rtol=1e-5)
    assert all((one - answers(method.student)[0]).abs().max() > 1e-3 for one in student)
