"""Which images of a set a run uses."""

from __future__ import annotations

import numpy as np
import torch

from benchmark.data.images import ImageSet
from benchmark.seeds import generator


def limited(images: ImageSet, limit: int | None) -> np.ndarray:
    """Positions of the images a run uses: all, or a random subset of `limit`, the same for every seed."""
    if limit is None or limit >= images.count:
        return np.arange(images.count)
    keep = torch.randperm(images.count, generator=generator("limit", images.name, images.split))[:limit]
    return np.sort(keep.numpy())
