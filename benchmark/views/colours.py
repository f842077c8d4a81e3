"""Colour changes and blur of a batch, as torchvision and Pillow mean them, without rounding to 8 bits between.

Images are float32 [B, 3, H, W] in 0..1; what is drawn is [B] on the CPU.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.running.device import to_device
from benchmark.views.recipes import Normalisation


def per_image(numbers: Tensor, images: Tensor) -> Tensor:
    return to_device(numbers.to(images.dtype), images.device).view(-1, 1, 1, 1)


def grey(images: Tensor) -> Tensor:
    """Luma (ITU-R 601-2, as Pillow's mode L): [B, 3, H, W] -> [B, 1, H, W]."""
    red, green, blue = images.split(1, dim=1)
    return (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def adjust_brightness(images: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    """Blend with black; factor is [B], 1 leaves the image as it is."""
    return torch.mul(images, per_image(factor, images), out=out).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    """Blend with the mean of the grey image (Pillow rounds that mean to 8 bits); factor is [B]."""
    factor = per_image(factor, images)
    mean = grey(images.mean(dim=(2, 3), keepdim=True))
    return torch.mul(images, factor, out=out).add_((1 - factor) * mean).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    """Blend with the grey image; factor is [B]."""
    factor = per_image(factor, images)
    return torch.addcmul(grey(images).mul_(1 - factor), images, factor, out=out).clamp_(0, 1)


def adjust_hue(images: Tensor, turns: Tensor, out: Tensor | None = None) -> Tensor:
    """Turn the hue of HSV, value and saturation kept; turns is [B] on the CPU, in -0.5..0.5."""
    steps = max(1, math.ceil(6 * float(turns.abs().max())))
    for _ in range(steps):
        images = turn_hue(images, turns / steps, out)
    return images


def turn_hue(images: Tensor, turns: Tensor, out: Tensor | None = None) -> Tensor:
    """A turn by at most a sixth: in such a turn each channel moves at a constant rate, by the chroma in a sixth.

    In sixths of a turn from its own hue, h, red falls short of the value by clamp(2 - |h - 3|, 0, 1) of the chroma, so
    it moves by the sign of h - 3, which is that of blue - green; before clamping, (2 - |h - 3|) * chroma is
    green + blue - red - least, whichever channel is the largest. Likewise for the others, cyclically.
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    least = torch.minimum(torch.minimum(red, green), blue)
    rate = (value - least).mul_(6 * per_image(turns, images)[:, 0])
    rest = (value + least).sub_(red).sub_(green).sub_(blue)
    direction = torch.stack([blue - green, red - blue, green - red], dim=1).sign_()
    moved = torch.add(rest[:, None], images, alpha=2, out=out).addcmul_(direction, rate[:, None])
    return torch.clamp(moved, least[:, None], value[:, None], out=out)


JITTER = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)  # as the factors of ViewParams


def gaussian_blur(images: Tensor, sigma: Tensor, out: Tensor | None = None) -> Tensor:
    """Gaussian blur with edges replicated; sigma is [B] on the CPU, in pixels, and the kernel cut at 4 sigma."""
    return blur_within(images, sigma, math.ceil(4 * float(sigma.max())), out)


def blur_within(images: Tensor, sigma: Tensor, radius: int, out: Tensor | None = None) -> Tensor:
    """As gaussian_blur, with no sigma above radius / 4; a sum of shifted images, as each image has its own kernel."""
    sigma = per_image(sigma, images)
    offset = torch.arange(-radius, radius + 1, device=images.device)
    taps = torch.exp(-0.5 * (offset / sigma) ** 2) * (offset.abs() <= torch.ceil(4 * sigma))
    taps = (taps / taps.sum(dim=3, keepdim=True)).split(1, dim=3)
    for dim, margins in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded = F.pad(images, margins, mode="replicate")
        shifted = padded.unfold(dim, images.shape[dim], 1).movedim(-1, dim + 1).unbind(dim)
        images = torch.mul(shifted[0], taps[0], out=out)
        for shift, tap in zip(shifted[1:], taps[1:], strict=True):
            images = images.addcmul_(shift, tap)
    return images


def normalise(images: Tensor, by: Normalisation, out: Tensor | None = None) -> Tensor:
    """(images - mean) / std, channel by channel; in place unless `out` is given."""
    out = images if out is None else out
    for channel, mean, std, result in zip(images.unbind(1), by.mean, by.std, out.unbind(1), strict=True):
        torch.sub(channel, mean, out=result).div_(std)
    return out
