"""Networks of convolutions for images of 32 pixels, which timm does not have: registered with it, made by their names.

Each ends in one feature vector an image, so there is no classifier to remove: `num_classes` other than 0 is refused.

Batch normalisation here, as everywhere in the benchmark, sees what goes through the network in one pass: for DINO all
views of one size, of positives and of negatives alike. Apart, each kind would be centred and scaled on its own, and
what tells them from each other by mean and contrast would be gone before the second layer. So it is for the student,
for the teacher, and for the statistics that images are scored with (`model.batch_statistics`).

Shapes: B images, S their side, D features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.layers import DropPath
from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F


class SmallConvNet(nn.Module):
    """Six 3x3 convolutions made for CPUs: little work at full size, where wide vectors have nothing to do.

    One at S pixels, two at S/2 of twice its width, three at S/4 of four times; each normalised and rectified, the
    largest of 2x2 pixels between the sizes, and the mean over the pixels of the last. In rotation prediction and on
    equal CPU time it is far ahead of strided and residual networks of its size (results/reference/one-class/tried.md).
    stem: makes the first convolution, of 3 channels to `width`.
    """

    def __init__(
        self, width: int, norm: Callable[[int], nn.Module], stem: Callable[[int, int], nn.Module] | None = None
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        inside = 3
        for number, outside in enumerate((width, 2 * width, 4 * width), 1):
            blocks += [] if number == 1 else [nn.MaxPool2d(2)]
            for _ in range(number):
                convolve = stem if stem and inside == 3 else _conv
                blocks += [convolve(inside, outside), norm(outside), nn.ReLU(inplace=True)]
                inside = outside
        self.blocks = nn.Sequential(*blocks)
        self.num_features = inside

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S), S at least 4 -> features (B, D)."""
        return self.forward_features(images).mean((2, 3))

    def forward_features(self, images: Tensor) -> Tensor:
        """The same before the mean: (B, D, S/4, S/4)."""
        features: Tensor = self.blocks(images)
        return features


class FrequencyStem(nn.Module):
    """A 3x3 convolution that sees decorrelated pixels: fixed cosine filters, each scaled to unit variance, then mixed.

    Neighbouring pixels and the three colours are so alike that a plain first layer learns from their mean brightness
    long before it learns from edges. The two-dimensional cosine transform (DCT-II) of 3x3 pixels, of brightness, red
    minus blue and green minus both, undoes nearly all of that for photographs (Ahmed, Natarajan and Rao 1974, IEEE
    Transactions on Computers 23), and batch normalisation scales its 27 answers, which span four decades of power,
    alike: patch whitening (Coates, Ng and Lee 2011, section 3.2) that needs no data before the training.
    """

    filters: Tensor

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        if inside != 3:
            raise ValueError(f"the stem is made for 3 channels, not {inside}")
        self.register_buffer("filters", cosine_filters())
        self.scale = nn.BatchNorm2d(len(self.filters), affine=False)
        self.mix = nn.Conv2d(len(self.filters), outside, 1, bias=False)
        nn.init.kaiming_normal_(self.mix.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> (B, outside, S, S)."""
        mixed: Tensor = self.mix(self.scale(F.conv2d(images, self.filters, padding=1)))
        return mixed


def cosine_filters() -> Tensor:
    """(27, 3, 3, 3): filter 3 (3 u + v) + c has frequency u down, v across, and weights the colours by row c; an
    orthonormal basis of all 3x3 patches of three colours."""
    pixel, frequency = torch.arange(3.0, dtype=torch.float64), torch.arange(3.0, dtype=torch.float64)[:, None]
    waves = torch.cos(torch.pi * (2 * pixel + 1) * frequency / 6)
    colours = torch.tensor([[1, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    waves, colours = F.normalize(waves, dim=1), F.normalize(colours, dim=1)
    return torch.einsum("uy,vx,cd->uvcdyx", waves, waves, colours).reshape(27, 3, 3, 3).float()


class WideResNet(nn.Module):
    """WideResNet of the kind for 32-pixel images (Zagoruyko and Komodakis 2016, arXiv 1605.07146, table 1).

    depth = 6 n + 4: three groups of n pre-activated blocks of widths 16 k, 32 k and 64 k. dropout: between the two
    convolutions of a block (their section 2.4), as a probability.
    """

    def __init__(self, depth: int, k: int, dropout: float, drop_path_rate: float) -> None:
        super().__init__()
        if (depth - 4) % 6:
            raise ValueError(f"depth {depth} is not 6 n + 4")
        blocks = (depth - 4) // 6
        widths = [16, 16 * k, 32 * k, 64 * k]
        self.stem = _conv(3, 16)
        body: list[nn.Module] = []
        for group in range(3):
            for number in range(blocks):
                inside = widths[group] if number == 0 else widths[group + 1]
                rate = drop_path_rate * len(body) / (3 * blocks - 1)
                body.append(WideBlock(inside, widths[group + 1], 2 if group and not number else 1, dropout, rate))
        self.blocks = nn.Sequential(*body)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.num_features = widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> features (B, D)."""
        return self.forward_features(images).mean((2, 3))

    def forward_features(self, images: Tensor) -> Tensor:
        """The same before the mean: (B, D, S/4, S/4)."""
        return F.relu(self.norm(self.blocks(self.stem(images))), inplace=True)


class WideBlock(nn.Module):
    """Normalise, ReLU, convolve, twice; the shortcut of a block that changes width starts after the first ReLU."""

    def __init__(self, inside: int, outside: int, stride: int, dropout: float, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inside), _conv(inside, outside, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outside), _conv(outside, outside)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = None if inside == outside else nn.Conv2d(inside, outside, 1, stride, bias=False)
        if self.shortcut is not None:
            nn.init.kaiming_normal_(self.shortcut.weight, mode="fan_out", nonlinearity="relu")
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        active = F.relu(self.norm1(images))
        body = self.conv2(self.dropout(F.relu(self.norm2(self.conv1(active)), inplace=True)))
        return self.drop_path(body) + (images if self.shortcut is None else self.shortcut(active))


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


# ---- By name -------------------------------------------------------------------------------------------------------


def _for_timm(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """What timm passes to every model beside its arguments, checked and taken away."""

    @functools.wraps(make)
    def made(
        pretrained: bool = False,
        num_classes: int = 0,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
        **arguments: Any,
    ) -> nn.Module:
        if pretrained or num_classes:
            raise ValueError(f"{make.__name__} has neither pretrained weights nor a classifier")
        return make(**arguments)

    return register_model(made)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": lambda width: nn.GroupNorm(8, width),  # an image alone, in eight groups of channels
}


STEMS: dict[str, Callable[[int, int], nn.Module] | None] = {"plain": None, "frequency": FrequencyStem}


@_for_timm
def small_convnet(width: int = 16, norm: str = "batch", stem: str = "plain", drop_path_rate: float = 0.0) -> nn.Module:
    """The CPU net. norm: "batch" or "group". stem: "plain", or "frequency", which learns faster (`FrequencyStem`)."""
    for name, given, allowed in (("norm", norm, NORMS), ("stem", stem, STEMS)):
        if given not in allowed:
            raise ValueError(f"{name} {given!r}; allowed: {', '.join(allowed)}")
    if drop_path_rate:
        raise ValueError("small_convnet has no paths to drop: model.drop_path must be 0")
    return SmallConvNet(width, NORMS[norm], STEMS[stem])


@_for_timm
def wide_resnet40_2(dropout: float = 0.3, drop_path_rate: float = 0.0) -> nn.Module:
    """WRN-40-2 with dropout as in Hendrycks et al. 2019; 2.2 M parameters."""
    return WideResNet(40, 2, dropout, drop_path_rate)


@_for_timm
def resnet18_small(drop_path_rate: float = 0.0) -> nn.Module:
    """ResNet-18 for 32 pixels: a 3x3 stem of stride 1 and no pooling after it, 11.2 M parameters.

    The blocks are timm's (He et al. 2016); the stem is He et al.'s own for CIFAR10 (their section 4.2), which SimCLR,
    SSD and CSI use with ResNet-18.
    """
    model: Any = timm.create_model("resnet18", num_classes=0, drop_path_rate=drop_path_rate)
    model.conv1, model.maxpool = _conv(3, model.conv1.out_channels), nn.Identity()
    network: nn.Module = model
    return network
