"""Where an image is unlike the training images: the distance of each of its patches to the nearest of theirs.

PatchCore's idea (Roth et al. 2022, CVPR) on maps of features of the detector's own backbone. It shows what is new
where and is not a part of the score: a score of the whole image can be high where no patch is new.

Shapes: B images, S stored side in pixels, h x w places, C features of a place, P patches kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.pictures import central_square
from benchmark.detection.scores import full_float32
from benchmark.detector.artifact import PATCHES, PatchInfo, Settings, checksum
from benchmark.detector.folder import save_tensors
from benchmark.models.spatial import MAPS, spatial_features
from benchmark.running.device import image_tensor

if TYPE_CHECKING:
    from benchmark.detector.detector import Detector

IMAGES = 256  # training images that patches are taken of, at most
BATCH = 64  # images through the network at a time
ROWS = 4096  # patches compared at a time
COLD, HOT = np.array([255, 170, 0]), np.array([255, 0, 90])  # of the map: orange, then crimson, on light and dark alike
OPAQUE = 0.7


@dataclass(frozen=True)
class Explanation:
    """Where an image is unlike the training images.

    heat: (h, w) float32, 1 - cosine of each patch to the nearest training patch, top row first; larger = more unlike.
    peak: (x, y), the pixel of the image at the centre of the largest. box: (left, top, side), the square that the
    detector sees, in pixels of the image. usual, unusual: the median of `heat` on held-out ID images, and what 95% of
    their maxima stay below.
    """

    heat: NDArray[np.float32]
    peak: tuple[int, int]
    box: tuple[int, int, int]
    usual: float
    unusual: float

    def overlay(self, side: int) -> Image.Image:
        """The map as a picture to lay over the square that the detector sees, side x side: clear where the image is as
        usual, orange to crimson where it is not; all the colour is what is unusual. RGBA: paste it over the picture."""
        level = (self.heat - self.usual) / max(self.unusual - self.usual, 1e-6)
        small = Image.fromarray(np.clip(level, 0, 1).astype(np.float32))
        level = np.clip(np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)), 0, 1)[..., None]
        colour = COLD + level * (HOT - COLD)
        return Image.fromarray(np.concatenate([colour, 255 * OPAQUE * level], 2).round().astype(np.uint8))


def explanation(detector: Detector, square: NDArray[np.uint8], size: tuple[int, int]) -> Explanation:
    """Of one image as the detector sees it, (S, S, 3), cut from a picture of this width and height."""
    info = detector.settings.patches
    assert info is not None and detector.patches is not None
    heat = distances(detector, square[None], detector.patches)[0].cpu().numpy()
    left, top, side = central_square(*size)
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    x, y = (int((place + 0.5) * side / count) for place, count in zip((column, row), heat.shape[::-1], strict=True))
    return Explanation(heat, (left + x, top + y), (left, top, side), info.usual, info.unusual)


def add(
    detector: Detector, settings: Settings, folder: Path, train: NDArray[np.uint8], test: NDArray[np.uint8], count: int
) -> Settings:
    """Write patches of the training images `train` (B, S, S, 3), at most `count`, into a detector's folder, and return
    its settings with them. test: ID test images, by which the map's colours are set."""
    kept = []
    each = math.ceil(count / len(train))
    generator = torch.Generator().manual_seed(settings.bank.seed)
    for batch in patches_of(detector, train):
        for places in batch.flatten(1, 2):
            kept.append(places[torch.randperm(len(places), generator=generator)[:each]])
    # At random: a coreset by greedy k-centre keeps the odd ones, and was no better.
    rows = torch.cat(kept)
    bank = rows[torch.randperm(len(rows), generator=generator)[:count]].half()
    heat = distances(detector, test, bank.float())
    info = PatchInfo(
        count=len(bank),
        of=len(train) * heat[0].numel(),
        images=len(train),
        dimension=bank.shape[1],
        grid=[heat.shape[1], heat.shape[2]],
        maps=MAPS,
        usual=float(heat.median()),
        unusual=float(heat.flatten(1).amax(1).quantile(0.95)),
    )
    save_tensors(folder / PATCHES, {"patches": bank.cpu()})
    files = {**settings.files, PATCHES: checksum(folder / PATCHES)}
    return settings.model_copy(update={"patches": info, "files": files})


@torch.no_grad()
def patches_of(detector: Detector, squares: NDArray[np.uint8]) -> Iterator[Tensor]:
    """Features (B, h, w, C) of unit length of images (N, S, S, 3), BATCH images at a time."""
    maps = MAPS if detector.settings.patches is None else detector.settings.patches.maps
    for start in range(0, len(squares), BATCH):
        pixels = image_tensor(squares[start : start + BATCH]).to(detector.device)
        with full_float32():
            yield F.normalize(spatial_features(detector.backbone, detector.view(pixels), maps).float(), dim=3)


@torch.no_grad()
def distances(detector: Detector, squares: NDArray[np.uint8], bank: Tensor) -> Tensor:
    """(B, h, w): 1 - the largest cosine of each patch to the bank (P, C) of unit rows; 0 to 2."""
    heat = []
    for patches in patches_of(detector, squares):
        with full_float32():
            nearest = [(rows @ bank.T).amax(1) for rows in patches.flatten(0, 2).split(ROWS)]
        heat.append((1 - torch.cat(nearest)).clamp(min=0).view(patches.shape[:3]))
    return torch.cat(heat)
