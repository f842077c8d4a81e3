"""What masks find in images, and what is made of it, to look at."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmark.data.images import ImageSet
from benchmark.errors import BenchError
from benchmark.files import atomic_write
from benchmark.running.device import image_tensor
from benchmark.seeds import generator
from benchmark.views.foregrounds import GREY, compose, fill_in
from benchmark.views.saliency import foreground

CELL, GAP, HEAD = 96, 4, 34  # pixels
_SHADE = torch.tensor([255, 0, 200])[:, None, None]  # over what is taken for background


def foregrounds_picture(images: ImageSet, count: int) -> Image.Image:
    """One row per image, `count` random ones of the set: the image; its foreground, the rest shaded; and what runs
    see: the image before a grey and before the next row's background, the background alone, and the next row's
    foreground before it.

    Raises BenchError for a set of fewer images than two.
    """
    if images.count < 2:
        raise BenchError(f"{images.name}/{images.split}: has one image alone, and none whose background it could take")
    chosen = torch.randperm(images.count, generator=generator("pictures", images.name))[: max(2, count)]
    pixels = image_tensor(images.images[chosen.numpy()])
    masks = foreground(pixels)
    alone = fill_in(pixels, masks)
    columns = {
        "image": pixels,
        "foreground": torch.where(masks[:, None], pixels, pixels // 3 + (_SHADE * 2 // 3).to(torch.uint8)),
        "BG_RM": compose(pixels, masks, torch.full_like(pixels, GREY)),
        "BG_Random": compose(pixels, masks, alone.roll(-1, 0)),
        "background\nalone": alone,
        "BG_Swaps'\nnegative": compose(pixels.roll(-1, 0), masks.roll(-1, 0), alone),
    }
    return grid(columns)


def write(picture: Image.Image, file: Path) -> None:
    """As PNG, whole or not at all."""
    with atomic_write(file) as stream:
        picture.save(stream, "PNG", optimize=True)


def grid(columns: dict[str, Tensor]) -> Image.Image:
    """Images side by side, uint8 (N, 3, H, W) below each title: small ones enlarged without smoothing."""
    count = len(next(iter(columns.values())))
    step = CELL + GAP
    sheet = Image.new("RGB", (len(columns) * step + GAP, HEAD + count * step), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for column, (title, pictures) in enumerate(columns.items()):
        left = GAP + column * step
        draw.multiline_text((left, 3), title, fill="black", font=font, spacing=2)
        for row, picture in enumerate(pictures.permute(0, 2, 3, 1).numpy()):
            by = Image.Resampling.NEAREST if picture.shape[0] <= CELL else Image.Resampling.BICUBIC
            shown = Image.fromarray(picture).resize((CELL, CELL), by)
            sheet.paste(shown, (left, HEAD + row * step))
    return sheet
