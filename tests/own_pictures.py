"""Someone's own images, made up, and written to a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.errors import BenchError


def pictures(count: int, seed: int = 0, size: int = 32) -> np.ndarray:
    """Smooth random pictures, (count, size, size, 3) uint8: no two alike, and JPEG leaves them recognisable."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in small])


def save(folder: Path, pixels: np.ndarray, start: int = 0, suffix: str = "png", **options: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, one in enumerate(pixels, start):
        Image.fromarray(one).save(folder / f"{i:03d}.{suffix}", **options)


def fails(call: object) -> str:
    """The one line that a call ends with."""
    with pytest.raises(BenchError) as error:
        call()  # type: ignore[operator]
    assert "\n" not in str(error.value)
    return str(error.value)
