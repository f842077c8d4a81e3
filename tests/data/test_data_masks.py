"""Masks kept beside a set: whose they are, and what is said of those that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import masks
from benchmark.data.images import ImageSet, load, write_set
from benchmark.errors import BenchError


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
    return write_set(tmp_path, "some", "train", pixels, np.arange(5), "test")


PACKED = np.random.default_rng(1).integers(0, 256, (5, 5), dtype=np.uint8)


def test_what_is_written_is_read(tmp_path: Path, images: ImageSet) -> None:
    assert masks.read(tmp_path, images, "border-contrast", 1) is None
    path = masks.write(tmp_path, images, "border-contrast", 1, PACKED, 2)
    assert path == tmp_path / "some" / "train" / "masks-border-contrast.npy"
    found = masks.read(tmp_path, load(tmp_path, "some", "train"), "border-contrast", 1)
    assert found is not None and np.array_equal(found, PACKED)
    said = json.loads(path.with_suffix(".json").read_text())
    assert said["sha256"] == images.fingerprint and (said["count"], said["whole"]) == (5, 2)
    assert masks.read(tmp_path, images, "minimum-barrier", 1) is None  # of another method
    assert masks.read(tmp_path, images, "border-contrast", 2) is None  # found in an older way
    path.with_suffix(".json").unlink()
    assert masks.read(tmp_path, images, "border-contrast", 1) is None  # half-written


def test_masks_that_do_not_fit_are_said_in_one_line(tmp_path: Path, images: ImageSet) -> None:
    path = masks.write(tmp_path, images, "m", 1, PACKED, 0)
    manifest = path.with_suffix(".json")
    good, content = path.read_bytes(), json.loads(manifest.read_text())

    def said() -> str:
        with pytest.raises(BenchError) as raised:
            masks.read(tmp_path, images, "m", 1)
        return str(raised.value)

    manifest.write_text(json.dumps({**content, "sha256": "0" * 64}))
    assert said().startswith(f"{manifest}: its masks are of other images (sha256 00000000) than those of some/train")
    manifest.write_text("[]")
    assert said() == f"{manifest}: not a manifest of masks; delete it, and the masks are found anew"
    manifest.write_text(json.dumps(content))
    path.write_bytes(good[:-7])
    assert said().startswith(f"{path}: not readable masks (")
    np.save(path, PACKED[:4])
    assert said().startswith(f"{path}: holds uint8 (4, 5), which is not one bit per pixel of 5 images of 6x6; delete")
    np.save(path, PACKED)
    assert masks.read(tmp_path, images, "m", 1) is not None
