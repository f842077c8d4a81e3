"""Foreground masks of a stored set, kept beside its images: found once, read by every run.

ROOT/NAME/SPLIT/masks-METHOD.npy has one row per image, its pixels as bits (`views.foregrounds.pack`);
masks-METHOD.json is its manifest: of which images (their sha256), how found (method and version), in how many no
foreground was found. The manifest is written last, and masks without one count as missing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark import files
from benchmark.data.images import ImageSet, folder
from benchmark.errors import BenchError, first_line

SCHEMA = 1


def read(root: Path, images: ImageSet, method: str, version: int) -> np.ndarray | None:
    """The masks of a whole stored split, uint8 (N, bytes), memory-mapped; None where there are none, or older ones.

    Raises BenchError for masks of other images, and for files that are damaged.
    """
    array, manifest = _files(root, images, method)
    if not manifest.is_file():
        return None
    said = files.read_json(manifest)
    if not isinstance(said, dict) or not {"schema", "sha256", "version"} <= said.keys():
        raise BenchError(f"{manifest}: not a manifest of masks; delete it, and the masks are found anew")
    if (said["schema"], said["version"]) != (SCHEMA, version):
        return None
    if said["sha256"] != images.fingerprint:
        raise BenchError(
            f"{manifest}: its masks are of other images (sha256 {said['sha256'][:8]}) than those of "
            f"{images.name}/{images.split} (sha256 {images.fingerprint[:8]}); delete it, and the masks are found anew"
        )
    height, width = images.images.shape[1:3]
    try:
        found: np.ndarray = np.load(array, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = first_line(error)
        raise BenchError(f"{array}: not readable masks ({reason}); delete {manifest} to find them anew") from error
    if found.dtype != np.uint8 or found.shape != (images.count, -(-height * width // 8)):
        raise BenchError(
            f"{array}: holds {found.dtype} {found.shape}, which is not one bit per pixel of {images.count} images of "
            f"{height}x{width}; delete {manifest} to find the masks anew"
        )
    return found


def write(root: Path, images: ImageSet, method: str, version: int, masks: np.ndarray, whole: int) -> Path:
    """Keep the masks of a whole stored split, uint8 (N, bytes). whole: in how many no foreground was found.

    Raises OSError where the folder cannot be written to.
    """
    array, manifest = _files(root, images, method)
    manifest.unlink(missing_ok=True)  # of older masks: it is not to be read with these
    with files.atomic_write(array) as stream:
        np.save(stream, masks, allow_pickle=False)
    files.write_json(manifest, {
        "schema": SCHEMA, "method": method, "version": version, "sha256": images.fingerprint, "count": images.count,
        "whole": whole,
    })  # fmt: skip
    return array


def _files(root: Path, images: ImageSet, method: str) -> tuple[Path, Path]:
    assert images.rows is None, "masks are kept of whole sets"
    where = folder(root, images.name, images.split)
    return where / f"masks-{method}.npy", where / f"masks-{method}.json"
