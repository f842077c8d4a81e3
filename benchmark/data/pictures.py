"""Image files and arrays as pictures, and any picture as a small square."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_TURNS = {  # by the EXIF tag that says how the camera was held
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Pictures:
    """One split as its files give it: `open(i)` is image i as PIL reads it, `label_of[i]` its label (-1 unknown),
    `name(i)` what to call it in a message. array: all images (N, H, W, 3) uint8 where the files hold an array."""

    split: str
    label_of: np.ndarray
    open: Callable[[int], Image.Image]
    name: Callable[[int], str]
    classes: list[str] | None = None
    array: np.ndarray | None = None


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB of 8 bits. Raises ValueError where nothing says which value is white."""
    if image.mode.startswith("I"):  # 16 bits ("I" in older releases): PIL would clip them at 255 instead of scaling
        values = np.asarray(image)
        if values.max() > 65535:
            raise ValueError("pixels of more than 16 bits; save it with 8 or 16")
        image = Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
    elif image.mode == "F":  # PIL would clip, and nothing says which value is white
        raise ValueError("floating-point pixels; save it with 8 or 16 bits")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns of the direct way, which gives the same
    return image.convert("RGB")


def turned_by_exif(image: Image.Image) -> Image.Image:
    """Turned as its EXIF tag says, once. PIL's own function writes the other tags anew too, and fails at an odd one."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # tags that cannot be read say nothing
        return image
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info = {key: value for key, value in turned.info.items() if key == "transparency"}  # the tag is done with
    return turned


def to_square(image: Image.Image, size: int, first: int | None = None) -> np.ndarray:
    """RGB, central square, PIL bicubic with antialias: (size, size, 3) uint8 (METHOD of the field: a = -0.5).

    first: bring the shorter side to this many pixels and crop the central square of that side before (CSI uses 256).
    """
    image = to_rgb(image)
    if first is not None:
        short = min(image.size)
        scaled = [first if side == short else int(first * side / short) for side in image.size]
        image = image.resize((scaled[0], scaled[1]), Image.Resampling.BICUBIC)
    side = min(image.size)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    image = image.crop((left, top, left + side, top + side))
    if side != size:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def array_pictures(split: str, array: np.ndarray, labels: Any, what: str, classes: list[str] | None) -> Pictures:
    """Pictures from an array (N, H, W, 3) uint8."""
    return Pictures(
        split,
        np.asarray(labels, dtype=np.int64),
        lambda i: Image.fromarray(np.ascontiguousarray(array[i])),
        lambda i: f"image {i} of {what}",
        classes,
        array,
    )


def _open(path: str) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def read_picture(path: str) -> Image.Image:
    """An image file as `import_dir` reads it: whole, turned as its EXIF tag says. Raises what PIL raises."""
    return turned_by_exif(_open(path))


def file_pictures(split: str, paths: list[str], labels: Any, classes: list[str] | None, own: bool = False) -> Pictures:
    """Pictures from image files. own: turned as their EXIF tags say, which loaders of the field do not."""
    read = read_picture if own else _open
    return Pictures(split, np.asarray(labels, dtype=np.int64), lambda i: read(paths[i]), lambda i: paths[i], classes)


def image_files(folder: Path) -> list[str]:
    """All image files under a folder, in the order of their names."""
    return sorted(
        os.path.join(place, name)
        for place, names in _walk(folder)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    )


def unread_files(folder: Path) -> str:
    """What else lies under a folder, by the ends of its files' names, in words; "" for nothing."""
    found: Counter[str] = Counter()

    def locked(error: OSError) -> None:
        found[f"folder without permission ({error.filename})"] += 1

    for _, names in _walk(folder, locked):
        ends = (os.path.splitext(name)[1].lower() or name for name in names if not name.startswith("."))
        found.update(end for end in ends if end not in SUFFIXES)
    if not found:
        return ""
    most = ", ".join(f"{count:,} {end}" for end, count in found.most_common(5)) + (", ..." if len(found) > 5 else "")
    return f"not read: {most}; convert what are images to PNG or JPEG"


def _walk(folder: Path, locked: Callable[[OSError], None] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Each folder under `folder`, but hidden ones, and its files. Links are followed, but a folder is read once: one
    that is linked into itself would come again at every depth that the system allows."""
    seen = set()
    for place, below, names in os.walk(folder, followlinks=True, onerror=locked):
        if (real := os.path.realpath(place)) in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))  # of two links, the first by name
        yield place, names


def class_folders(folder: Path, names: list[str], split: str, classes: list[str], own: bool = False) -> Pictures:
    """Pictures of the sub-folders `names`, label k for the k-th. own: as `file_pictures` has it."""
    paths, labels = [], []
    for label, name in enumerate(names):
        found = image_files(folder / name)
        paths += found
        labels += [label] * len(found)
    return file_pictures(split, paths, labels, classes, own)
