"""What of an image is foreground, without weights: classical saliency, for a whole batch, and a mask of it.

Shapes: B images, H x W pixels. Images are uint8 [B, 3, H, W]; saliency is float64 [B, H, W], larger = more salient;
masks are bool [B, H, W]. Every map is a function of its image alone, so that the
mask of a stored image is the same in each run, epoch and process. On each machine too: hence float64, for the last bits
of a matrix product are the machine's own, and in float32 they move a pixel of one mask in 500.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

VERSION = 2  # of how masks are found: kept masks of another one are found anew
LARGEST = 64  # side of the images in which foregrounds are looked for; larger ones are made smaller first
BINS = 64  # of the histogram that Otsu's threshold is found in
FEWEST, MOST = 0.02, 0.98  # shares of an image that a foreground may have; beyond them none has been found


def lab(images: Tensor) -> Tensor:
    """CIELAB (D65) of sRGB images uint8 [B, 3, H, W]: float64 [B, 3, H, W], L from 0 to 100."""
    values = images.double() / 255
    linear = torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    to_xyz = torch.tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    ).to(values)
    white = torch.tensor([0.95047, 1.0, 1.08883]).to(values)[:, None, None]
    xyz = torch.einsum("ij,bjhw->bihw", to_xyz, linear) / white
    small = (6 / 29) ** 3
    f = torch.where(xyz > small, xyz.clamp_min(small) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


@functools.lru_cache(64)
def _gaussian(side: int, sigma: float) -> Tensor:
    """The matrix [side, side] that blurs a line, its ends repeated; 3 sigma on each side."""
    reach = min(max(1, math.ceil(3 * sigma)), side - 1)
    offset = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-((offset / sigma) ** 2) / 2)
    from_ = (torch.arange(side)[:, None] + offset).clamp(0, side - 1).long()
    return torch.zeros(side, side, dtype=torch.float64).scatter_add_(1, from_, (kernel / kernel.sum()).expand(side, -1))


def blur(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [B, C, H, W], borders repeated: a small matrix product a side, in the maps' own precision."""
    down, across = (_gaussian(side, sigma).to(maps) for side in maps.shape[2:])
    return down @ maps @ across.T


def minimum_barrier(images: Tensor) -> Tensor:
    """The barrier to the image's border (Zhang et al. 2015, ICCV), summed over the channels of Lab."""
    return barrier(lab(images)).sum(1)


def barrier(values: Tensor) -> Tensor:
    """The smallest difference between the largest and smallest value along a path to the border: float [B, C, H, W] ->
    the same shape, each channel by itself. Each pixel asks its four neighbours again and again, which is an upper bound
    where a path that is not the best so far leads to the best further on."""
    height, width = values.shape[2:]
    high, low = values.clone(), values.clone()
    found = torch.full_like(values, torch.inf)
    found[:, :, [0, -1]] = 0
    found[:, :, :, [0, -1]] = 0
    for _ in range((height + width) // 4):
        for rows, columns in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            there, upper, lower = (some.roll((rows, columns), (2, 3)) for some in (found, high, low))
            upper, lower = torch.maximum(upper, values), torch.minimum(lower, values)
            cost = torch.where(there.isinf(), there, upper - lower)
            # What rolls in from the other side is border, and so is where it arrives: no cost below its 0.
            better = cost < found
            found = torch.where(better, cost, found)
            high, low = torch.where(better, upper, high), torch.where(better, lower, low)
    return found


def otsu(saliency: Tensor) -> Tensor:
    """Otsu's threshold (1979) of each map [B, H, W] over BINS equal bins between its extremes: [B].

    The upper edge of the last bin below the threshold; the minimum where a map is constant."""
    flat = saliency.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    span = high - low
    place = ((flat - low) / span.clamp_min(1e-12) * BINS).long().clamp(0, BINS - 1)
    # In whole numbers, so that thresholds that are equally good are equal in every order of summation.
    counts = torch.zeros(len(flat), BINS).to(flat).scatter_add_(1, place, torch.ones_like(flat))
    below, moment = counts.cumsum(1), (counts * torch.arange(BINS).to(flat)).cumsum(1)
    apart = moment[:, -1:] * below - flat.shape[1] * moment
    between = apart**2 / (below * (flat.shape[1] - below)).clamp_min(1)
    best = between[:, :-1].argmax(1) + 1
    return (low + span * best[:, None] / BINS)[:, 0]


def foreground(images: Tensor) -> Tensor:
    """Masks bool [B, H, W] of the foreground by `minimum_barrier` and Otsu's threshold, after a weak preference for
    the middle. Where less than 2 % or more than 98 % of an image come out, none has been found: the whole image is
    foreground.
    """
    side = images.shape[-1]
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        if side > LARGEST:
            small = F.interpolate(images.double(), (LARGEST, LARGEST), mode="area").round().to(torch.uint8)
            mask = foreground(small)[:, None].float()
            return F.interpolate(mask, (side, side), mode="nearest-exact")[:, 0] > 0.5
        found = minimum_barrier(images) * _middle(images)
        mask = found > otsu(found)[:, None, None]
        share = mask.float().mean((1, 2))
        return mask | ((share < FEWEST) | (share > MOST))[:, None, None]


def _middle(images: Tensor) -> Tensor:
    """A weight a pixel [H, W], 1 in the middle and about a half in the corners."""
    height, width = images.shape[2:]
    rows, columns = ((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5 for n in (height, width))
    return torch.exp(-(rows[:, None] ** 2 + columns**2) / (2 * 0.6**2)).to(images.device)
