"""Colours and blur in one function that torch.compile fuses: the form for GPUs.

The operations are those of colours.py.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from benchmark.errors import first_line
from benchmark.running.device import to_device
from benchmark.views.colours import (
    JITTER,
    adjust_contrast,
    blur_within,
    grey,
    normalise,
    per_image,
    turn_hue,
)
from benchmark.views.crops import crop_and_resize
from benchmark.views.recipes import IMAGENET, Normalisation, ViewParams

_NEUTRAL = (1.0, 1.0, 1.0, 0.0)  # factors that leave an image as it is


def tabulate(params: ViewParams) -> Tensor:
    """What fused_colours_and_blur is to do: [B, 19] on the CPU, neutral where an operation was not drawn.

    Flip, grayscale and solarise as 0 or 1, sigma, the factor of contrast; then, before contrast and again after it,
    the factors of brightness, saturation, brightness, hue, brightness, saturation, brightness: in these seven places
    brightness, saturation and hue can come in any order.
    """
    columns = [params.flip, params.grayscale, params.solarize, params.sigma.where(params.blur, 1e-3)]
    columns.append(params.factors[:, 1].where(params.jitter, 1.0))
    places = params.order.argsort(dim=1)  # of the four operations
    brightness, contrast, saturation, hue = places.unbind(1)
    leads = brightness < saturation
    for part in (places < contrast[:, None], places > contrast[:, None]):
        for side in (places < hue[:, None], places > hue[:, None]):
            for number, here in ((0, side[:, 0] & leads), (2, side[:, 2]), (0, side[:, 0] & ~leads)):
                chosen = params.jitter & part[:, number] & here
                columns.append(params.factors[:, number].where(chosen, _NEUTRAL[number]))
        columns.insert(-3, params.factors[:, 3].where(params.jitter & part[:, 3], _NEUTRAL[3]))
    return torch.stack([column.float() for column in columns], dim=1)


def fused_colours_and_blur(views: Tensor, table: Tensor, radius: int, by: Normalisation = IMAGENET) -> Tensor:
    """All that follows the crop, of all views alike, for a compiler to fuse into few passes over memory.

    Neither indices nor shapes depend on what was drawn, so nothing waits for the device.
    """
    flip, grayscale, solarize, sigma, contrast, *jitter = table.unbind(1)

    def jittered(views: Tensor, factors: list[Tensor]) -> Tensor:
        for number, factor in zip((0, 2, 0, 3, 0, 2, 0), factors, strict=True):
            views = (turn_hue if number == 3 else JITTER[number])(views, factor)
        return views

    views = torch.where(per_image(flip, views) > 0, views.flip(3), views)
    views = jittered(adjust_contrast(jittered(views, jitter[:7]), contrast), jitter[7:])
    views = torch.where(per_image(grayscale, views) > 0, grey(views), views)
    views = blur_within(views, sigma, radius)
    return normalise(torch.where(per_image(solarize, views) > 0, torch.minimum(views, 1 - views), views), by)


_compiles = True  # until it has failed


@cache
def _compiled_colours_and_blur() -> Callable[[Tensor, Tensor, int, Normalisation], Tensor]:
    return torch.compile(fused_colours_and_blur, dynamic=False)


def render_compiled(
    images: Tensor, cropped: Tensor | None, params: ViewParams, size: int, by: Normalisation = IMAGENET
) -> Tensor | None:
    """None, and once a note on stderr, where compiling fails; then _render_in_chunks does the same in more passes."""
    global _compiles
    # turn_hue is not capable of larger turns.
    if not _compiles or not len(params) or params.factors[:, 3].abs().max() > 1 / 6:
        return None
    radius = 4 * math.ceil(float(params.sigma.max()))  # few different ones, as each is compiled anew
    table = to_device(tabulate(params), images.device)
    views = crop_and_resize(images, params, size) if cropped is None else cropped
    try:
        compiled = _compiled_colours_and_blur()
        # Each shape of views and each radius is compiled once; by default that ends in silence after eight.
        with torch._dynamo.config.patch(recompile_limit=64):
            return compiled(views, table, radius, by)
    except Exception as error:  # no C compiler, no Triton, ...: each has its own class
        if isinstance(error, torch.OutOfMemoryError):
            raise
        _compiles = False
        reason = first_line(getattr(error, "inner_exception", error))
        print(f"Views are made without torch.compile, more slowly: {reason}", file=sys.stderr)
        return None
