"""The paper's multi-crop views T, for a whole batch on the device that trains.

Views follow DINO (Caron et al. 2021) with the numbers of Rafiee et al. 2022. Operations mean what they mean in
torchvision and Pillow, without Pillow's rounding to 8 bits after each step: whole views are within 1.2e-4 of the range
of exact references, and on CIFAR10 1.2 levels of 255 from Pillow's on average, 99.9% within 7
(tests/views/test_views_whole.py).

Drawing and applying are apart: every random number is drawn on the CPU, so that CPU and GPU runs see the same views,
and applying them on a GPU never waits for it. Colours and blur are applied in one of two forms made of the same
operations: step by step on a CPU, in one function that torch.compile fuses on a GPU.

Shapes: B images or views, H x W the source, S the side of a view. Images are [B, 3, H, W], values 0..255 as uint8 or
0..1 as float32.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import torch
from torch import Tensor

from benchmark.running.device import to_device
from benchmark.seeds import generator
from benchmark.views.colours import (
    JITTER,
    gaussian_blur,
    grey,
    normalise,
)
from benchmark.views.crops import _resize, crop_and_resize, replace_where, resize_matrix
from benchmark.views.fused import render_compiled
from benchmark.views.recipes import IMAGENET, Normalisation, ViewParams, ViewRecipe, draw

ImageOperation = Callable[[Tensor], Tensor]


@torch.no_grad()
def render(
    images: Tensor,
    params: ViewParams,
    size: int,
    after_crop: ImageOperation | None = None,
    after_normalise: ImageOperation | None = None,
    by: Normalisation = IMAGENET,
) -> Tensor:
    """Make one view of each image: uint8 [B, 3, H, W] -> float32 [B, 3, size, size] on the images' device.

    Crop and resize, `after_crop`, flip, colour jitter, grayscale, blur, solarise, normalisation,
    `after_normalise`. The two operations are given and return the whole batch (see `draw_negative`).
    """
    with torch.autocast(images.device.type, enabled=False):  # half precision is too coarse for resampling
        cropped = None if after_crop is None else after_crop(crop_and_resize(images, params, size))
        views = render_compiled(images, cropped, params, size, by) if images.device.type == "cuda" else None
        if views is None:
            views = _render_in_chunks(images, cropped, params, size, by)
        return views if after_normalise is None else after_normalise(views)


@torch.no_grad()
def evaluation_view(images: Tensor, size: int, by: Normalisation = IMAGENET, interpolation: str = "bicubic") -> Tensor:
    """The whole image resized and normalised: uint8 [B, 3, H, W] -> float32 [B, 3, size, size]."""
    height, width = images.shape[2:]
    if (height, width) == (size, size):
        return normalise(images / 255, by)
    start = torch.zeros(1, device=images.device)
    with torch.autocast(images.device.type, enabled=False):
        rows = resize_matrix(start, start + height, height, size, interpolation)
        columns = resize_matrix(start, start + width, width, size, interpolation)
        return normalise(_resize(images, rows, columns), by)


def fixed_views(images: Tensor, recipe: ViewRecipe, count: int, seed: int) -> Tensor:
    """`count` views of every image, drawn once and the same for all: [B, 3, H, W] -> [count * B, 3, S, S].

    View after view, as in a training batch. For scores that average over fixed crops of a test image.
    """
    params = draw(recipe, count, images.shape[2], images.shape[3], generator("fixed views", seed))
    which = torch.arange(count).repeat_interleave(len(images))
    return render(images.repeat(count, 1, 1, 1), params[which], recipe.size, by=recipe.normalisation)


# ---- Colours and blur step by step: the form for CPUs ------------------------------------------------------------

_CACHED_VALUES = 2**20  # float32 values: 4 MiB, at 256 to 16 pixels the quickest, or nearly, of 2**17 to 2**21
_COPIED_VALUES = 2**18  # are copied in about the time that one more run costs


def _render_in_chunks(
    images: Tensor, cropped: Tensor | None, params: ViewParams, size: int, by: Normalisation
) -> Tensor:
    """A few views at a time on a CPU, so that the many passes over them stay in the cache.

    `cropped` is what after_crop has made of the crops, None where there is no such operation.
    """
    count = len(images)
    step = max(1, _CACHED_VALUES // (3 * size * size)) if images.device.type == "cpu" else count
    views = torch.empty(count, 3, size, size, device=images.device)
    for start in range(0, count, step):
        chunk = slice(start, start + step)
        if cropped is None:
            some = crop_and_resize(images[chunk], params[chunk], size, flip=True)
        else:
            some = cropped[chunk].clone()
            replace_where(some, params.flip[chunk], lambda some: some.flip(3))
        _change_colours_and_blur(some, params[chunk], by, out=views[chunk])
    return views


def _change_colours_and_blur(views: Tensor, params: ViewParams, by: Normalisation, out: Tensor) -> None:
    """All that follows the flip, from `views`, which are overwritten, to `out`.

    Before a step the views are sorted by what it does to them, so that it works in place on runs of neighbours: views
    are read in any order (index_select) several times as fast as they are written in any order (index_copy_).
    """
    nothing = -1

    def jitter(some: Tensor, rows: Tensor, number: int) -> None:
        JITTER[number](some, params.factors[rows, number], out=some)

    def blur(some: Tensor, rows: Tensor, _: int) -> None:
        gaussian_blur(some, params.sigma[rows], out=some)

    steps: list[tuple[Tensor, Callable[[Tensor, Tensor, int], object]]]
    steps = [(params.order[:, position].where(params.jitter, nothing), jitter) for position in range(4)]
    steps.append((params.grayscale.int() - 1, lambda some, *_: some.copy_(grey(some))))
    steps.append((torch.ceil(4 * params.sigma).int().where(params.blur, nothing), blur))  # by radius
    steps.append((params.solarize.int() - 1, lambda some, *_: torch.minimum(some, 1 - some, out=some)))
    rows, spare = torch.arange(len(views)), torch.empty_like(views)
    for key, operation in steps:
        key = key[rows]
        runs = 1 + int((key[1:] != key[:-1]).sum())
        if runs - len(key.unique()) > views.numel() // _COPIED_VALUES:
            sorting = key.argsort(stable=True)
            key, rows = key[sorting], rows[sorting]
            torch.index_select(views, 0, to_device(sorting, views.device), out=spare)
            views, spare = spare, views
        stop = 0
        for value, run in groupby(key.tolist()):
            start, stop = stop, stop + len(list(run))
            if value != nothing:
                operation(views[start:stop], rows[start:stop], value)
    if bool((rows[1:] > rows[:-1]).all()):
        normalise(views, by, out)
    else:
        normalise(torch.index_select(views, 0, to_device(rows.argsort(), views.device), out=out), by)
