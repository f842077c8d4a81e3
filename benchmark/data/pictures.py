"""Image files and arrays as pictures, and any picture as a small square."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, TiffTags

from benchmark.data.finding import image_files

# Of pictures that it reads all the same (odd tags, very many pixels). In threads there is no other place to say so.
warnings.filterwarnings("ignore", module="PIL")
_TURNS = {  # by the EXIF tag that says how the camera was held
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TAG = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}


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
    tags = getattr(image, "tag_v2", {})  # of a TIFF as it was opened
    signed = 2 in tags.get(_TAG["SampleFormat"], ())
    # "I" holds 32 bits or a sign, but from two formats, of which Pillow brings whatever depth to 16 bits.
    if signed or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise ValueError("whole numbers with a sign or of 32 bits; save it with 8 or 16 bits, from black to white")
    if image.mode.startswith("I"):  # 16 bits: PIL would clip them at 255 instead of scaling
        bits = tags.get(_TAG["BitsPerSample"], (16,))[0]
        image = Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8))
    elif image.mode == "F":  # PIL would clip, and nothing says which value is white
        raise ValueError("floating-point pixels; save it with 8 or 16 bits")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns of the direct way, which gives the same
    return image if image.mode == "RGB" else image.convert("RGB")


class Values:
    """Which of the values 0 to 255 the images of a set have, over all of them; any number of threads may tell it."""

    def __init__(self) -> None:
        self.low, self.high = 255, 0
        self._lock = threading.Lock()

    def of(self, image: Image.Image) -> Image.Image:
        """The image as RGB, after a look at its values. Raises what `to_rgb` raises."""
        image = to_rgb(image)
        lows, highs = zip(*image.getextrema(), strict=True)
        self.add(min(lows), max(highs))
        return image

    def add(self, low: int, high: int) -> None:
        """Further images, with the values from `low` to `high`."""
        with self._lock:
            self.low, self.high = min(self.low, low), max(self.high, high)

    def narrow(self) -> str:
        """What is wrong where all images keep to a sixteenth of the range or less; "" where they do not."""
        if not 0 <= self.high - self.low < 16:
            return ""
        return (
            f"all pixels have values from {self.low} to {self.high} of 0 to 255, a sixteenth of the range or less, and "
            "are nearly alike; where these are 12 bits or fewer in files of 16, or 0 to 1 as whole numbers, multiply "
            "them up to the whole range and save the files again"
        )


def turned_by_exif(image: Image.Image) -> Image.Image:
    """Turned as its EXIF tag says, once. PIL's own function writes the other tags anew too, and fails at an odd one."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # tags that cannot be read say nothing
        return image
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.format = image.format  # which says what its values mean
    turned.info = {key: value for key, value in turned.info.items() if key == "transparency"}  # the tag is done with
    return turned


def central_square(width: int, height: int) -> tuple[int, int, int]:
    """(left, top, side) of the largest square in the middle of an image."""
    side = min(width, height)
    return round((width - side) / 2), round((height - side) / 2), side


def to_square(image: Image.Image, size: int, first: int | None = None) -> np.ndarray:
    """RGB, central square, PIL bicubic with antialias, a = -0.5: (size, size, 3) uint8
    (methods/PAPER.md, "Oddity 8: two bicubic filters").

    first: bring the shorter side to this many pixels and crop the central square of that side before (CSI uses 256).
    """
    image = to_rgb(image)
    if first is not None:
        short = min(image.size)
        scaled = [first if side == short else int(first * side / short) for side in image.size]
        image = image.resize((scaled[0], scaled[1]), Image.Resampling.BICUBIC)
    left, top, side = central_square(*image.size)
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


def open_picture(path: str) -> Image.Image:
    """An image file as it is, whole. Raises what PIL raises, and OSError for a pipe or a device."""
    if os.path.exists(path) and not os.path.isfile(path):  # it would be waited for for ever
        raise OSError("not a file")
    with Image.open(path) as image:
        image.load()
        return image


def read_picture(path: str) -> Image.Image:
    """An image file as `import_dir` reads it: whole, turned as its EXIF tag says. Raises what `open_picture` raises."""
    return turned_by_exif(open_picture(path))


def file_pictures(split: str, paths: list[str], labels: Any, classes: list[str] | None, own: bool = False) -> Pictures:
    """Pictures from image files. own: turned as their EXIF tags say, which loaders of the field do not."""
    read = read_picture if own else open_picture
    return Pictures(split, np.asarray(labels, dtype=np.int64), lambda i: read(paths[i]), lambda i: paths[i], classes)


def class_folders(folder: Path, names: list[str], split: str, classes: list[str], own: bool = False) -> Pictures:
    """Pictures of the sub-folders `names`, label k for the k-th. own: as `file_pictures` has it."""
    paths, labels = [], []
    for label, name in enumerate(names):
        found = image_files(folder / name)
        paths += found
        labels += [label] * len(found)
    return file_pictures(split, paths, labels, classes, own)
