"""Crops, flips and resizing of a batch: two small matrix products a view, with Pillow's own filter in the matrices.

Shapes: B images or views, H x W the source, S the side of a view.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.running.device import to_device
from benchmark.views.recipes import ViewParams


def crop_and_resize(images: Tensor, params: ViewParams, size: int, flip: bool = False) -> Tensor:
    box = torch.stack([params.top, params.left, params.height, params.width]).float()
    top, left, height, width = to_device(box, images.device)
    rows = resize_matrix(top, height, images.shape[2], size)
    columns = resize_matrix(left, width, images.shape[3], size)
    if flip:
        replace_where(columns, params.flip, lambda some: some.flip(1))
    return _resize(images, rows, columns)


def resize_matrix(start: Tensor, length: Tensor, source: int, out: int, interpolation: str = "bicubic") -> Tensor:
    """Matrices [B, out, source] that resample `length` pixels from `start` on (each [B]) to `out` pixels.

    Pillow's filter, "bicubic" (a = -0.5) or "bilinear", its support widened when shrinking (antialias), nothing read
    beyond the box. A pixel of a box that reaches beyond the image, with nothing to read, is black.
    """
    scale = (length / out)[:, None, None]
    start, length = start[:, None, None], length[:, None, None]
    pixel = torch.arange(source, device=start.device) - start
    widen = scale.clamp(min=1)
    # A pixel outside the box is moved out of every filter's reach.
    position = ((pixel + 0.5) / widen).where((pixel >= 0) & (pixel < length), -4)
    centre = (torch.arange(out, device=start.device)[:, None] + 0.5) * scale / widen
    # Of the distance x, with u = max(2 - x, 0) and v = max(u - 1, 0), twice the filter is u^2 (u - 1) + v^2 (2 - 4 v):
    # no choice between its two pieces, as torch.where takes ten times as long as a product on CPUs.
    u = (centre - position).abs_().neg_().add_(2).relu_()
    weights = u - 1
    if interpolation == "bilinear":
        weights.relu_()
    else:
        v = weights.relu()
        weights.mul_(u).mul_(u).addcmul_(v.square(), v.mul_(-4).add_(2))
    total = weights.sum(dim=2, keepdim=True)
    return weights.div_(total.masked_fill_(total == 0, 1))


def _resize(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows @ image @ columns^T for each image and channel: uint8 [B, 3, H, W] -> float32 [B, 3, S, S] in 0..1.

    Bicubic overshoots at edges; Pillow, too, resizes rows first and clips after each of the two passes.
    """
    # The division is done on the matrix, which is the smaller.
    columns = (columns / 255).expand(len(images), -1, -1)
    wide = torch.bmm(images.flatten(1, 2).float(), columns.transpose(1, 2)).clamp_(0, 1)
    wide = wide.view(*images.shape[:3], columns.shape[1])
    return torch.matmul(rows[:, None], wide).clamp_(0, 1)


def replace_where(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor]) -> None:
    """Replace the chosen images (bool [B] on the CPU) by operation(those images)."""
    index = to_device(chosen.nonzero().squeeze(1), images.device)
    if len(index):
        images.index_copy_(0, index, operation(images.index_select(0, index)))
