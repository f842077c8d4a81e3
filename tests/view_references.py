"""What the tests of views hold them against: images, exact resampling, Pillow's and torchvision's own results."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from PIL import Image
from torch import Tensor

from benchmark.views import recipes
from benchmark.views.recipes import ViewParams, ViewRecipe

OPERATIONS = ("brightness", "contrast", "saturation", "hue")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_images(count: int, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    """Smooth colour with hard edges and a little noise: uint8 [B, 3, H, W]."""
    rng = np.random.default_rng(seed)
    smooth = scipy.ndimage.gaussian_filter(rng.normal(size=(count, 3, height, width)), (0, 0, 4, 4), mode="wrap")
    edges = scipy.ndimage.gaussian_filter(rng.normal(size=(count, 1, height, width)), (0, 0, 3, 3), mode="wrap") > 0
    noise = 4 * rng.normal(size=smooth.shape)
    return torch.from_numpy((128 + 500 * smooth + 60 * edges * np.sign(smooth) + noise).clip(0, 255).astype(np.uint8))


def real_images(count: int) -> Tensor:
    folder = os.environ.get("BENCH_TEST_IMAGES")
    path = Path(folder or "") / "cifar10-test.npz"
    if not folder or not path.exists():
        pytest.skip("BENCH_TEST_IMAGES names no folder with cifar10-test.npz")
    with np.load(path, allow_pickle=False) as archive:
        return torch.from_numpy(archive["images"][:count]).permute(0, 3, 1, 2).contiguous()


def pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def from_pil(images: list[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images]) / 255


def denormalised(images: Tensor) -> Tensor:
    mean, std = torch.tensor(recipes.IMAGENET.mean), torch.tensor(recipes.IMAGENET.std)
    return images * std[:, None, None] + mean[:, None, None]


def exact_resize(image: Tensor, size: int, by: Image.Resampling = Image.Resampling.BICUBIC) -> Tensor:
    """Pillow's filter without its rounding (mode F), clipped after each of its passes: 0..1."""
    for shape in ((size, image.shape[1]), (size, size)):
        channels = [Image.fromarray(channel.float().numpy()) for channel in image]
        channels = [channel.resize(shape, by) for channel in channels]
        image = torch.from_numpy(np.stack([np.array(channel) for channel in channels])).clamp(0, 255)
    return image / 255


def neutral(count: int, height: int = 32, width: int = 32) -> ViewParams:
    """Parameters that change nothing: the whole image, every operation off."""
    recipe = ViewRecipe(32, (1, 1), ratio=(1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, flip_p=0)
    params = recipes.draw(recipe, count, height, width, generator())
    full = {"height": torch.full((count,), height), "width": torch.full((count,), width)}
    return replace(params, top=torch.zeros(count).long(), left=torch.zeros(count).long(), **full)


def assert_levels(ours: Tensor, theirs: Tensor, mean: float, p999: float, name: str = "") -> None:
    """Differences of 0..1 images in levels of 255: their mean and their 99.9th percentile."""
    difference = 255 * (ours.double() - theirs.double()).abs().flatten().numpy()
    measured = difference.mean(), np.quantile(difference, 0.999), difference.max()
    print(f"{name}: mean {measured[0]:.3f}, 99.9% {measured[1]:.2f}, max {measured[2]:.1f} levels")
    assert measured[0] <= mean and measured[1] <= p999, measured
