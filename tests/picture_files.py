"""Pictures on disk that the tests of the data folder are fed with, and what becomes of them by torchvision's way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.errors import BenchError


def quiet(_: str) -> None:
    pass


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Write a PNG or, under another name, a lossless stand-in for JPEG: PIL goes by content, as it does for users."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        Image.fromarray(pixels).save(stream, "PNG")
    return pixels


def reference(pixels: np.ndarray, size: int = 32, first: int | None = None) -> np.ndarray:
    """torchvision's own transforms on a PIL image, which resize as PIL does."""
    from torchvision.transforms import v2

    bicubic = v2.InterpolationMode.BICUBIC
    image = Image.fromarray(pixels).convert("RGB")
    if first:
        image = v2.CenterCrop(first)(v2.Resize(first, bicubic)(image))
    image = v2.Resize(size, bicubic)(v2.CenterCrop(min(image.size))(image))
    return np.asarray(image)


def one_line(error: pytest.ExceptionInfo[BenchError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def npz(path: Path, n: int = 6, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    content = {"images": noise(n, 32, 32, 3), "labels": np.arange(n) % 3} | arrays
    np.savez(path, **content)  # type: ignore[arg-type]
    return content
