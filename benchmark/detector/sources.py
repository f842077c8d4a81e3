"""Finding the images to score, and how each is read."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from benchmark.data.pictures import SUFFIXES, read_picture
from benchmark.errors import BenchError, first_line


@dataclass(frozen=True)
class Source:
    """An image to score: what it is called, and how it is read."""

    path: str
    read: Callable[[], Image.Image]


def find_images(arguments: Sequence[str], listed: Iterable[bytes] = ()) -> Iterator[Source]:
    """The images of files, folders (and theirs, in the order of their names), glob patterns, .npz files with `images`
    (N, H, W, 3) uint8, stored splits (SET/SPLIT of the data folder), and of a list of paths, one a line, for "-".

    Raises BenchError at once, before the first image, for an argument that is nothing of the kind.
    """
    groups = [_resolve(argument) for argument in arguments]

    def walk() -> Iterator[Source]:
        for group in groups:
            for path in group if group is not None else _lines(listed):
                try:
                    yield from _images_of(path)
                except (BenchError, OSError) as error:  # a broken .npz or a locked folder: a row, not a stop
                    yield _broken(path, why(error))

    return walk()


def _broken(path: str, why: str) -> Source:
    def read() -> Image.Image:
        raise BenchError(why)

    return Source(path, read)


def _resolve(argument: str) -> list[str] | None:
    """The existing paths that an argument names; None for the list on the standard input."""
    if argument == "-":
        return None
    if os.path.exists(argument):
        return [argument]
    if glob.has_magic(argument):
        found = sorted(glob.glob(argument, recursive=True))
        if found:
            return found
        raise BenchError(f"{argument}: matches no file")
    raise BenchError(f"{argument}: no such file or folder")


def _lines(listed: Iterable[bytes]) -> Iterator[str]:
    for line in listed:
        path = os.fsdecode(line.rstrip(b"\r\n"))
        if path:
            yield path


def _images_of(path: str) -> Iterator[Source]:
    if os.path.isdir(path):
        if os.path.isfile(os.path.join(path, "images.npy")):
            yield from _array(path, _npy_images(os.path.join(path, "images.npy")))
        else:
            yield from _walk(path, set())
    elif path.lower().endswith(".npz"):
        yield from _array(path, _npz_images(path))
    else:
        yield Source(path, lambda: _read_file(path))


def _walk(folder: str, seen: set[str]) -> Iterator[Source]:
    """Image files under a folder, by name, a folder at a time; one that is locked is a row, and what follows is read.
    Links are followed, but a folder is read once (seen): one that is linked into itself would come without end."""
    if (real := os.path.realpath(folder)) in seen:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield _broken(folder, why(error))
        return
    for entry in inside:
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry.path):  # False, not an error, for a link to itself
            yield from _walk(entry.path, seen)
        elif entry.name.lower().endswith(SUFFIXES) and os.path.isfile(entry.path):
            yield Source(entry.path, partial(read_picture, entry.path))


def _read_file(path: str) -> Image.Image:
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device would be waited for for ever
        raise OSError("not a file")
    return read_picture(path)


def _array(path: str, images: np.ndarray) -> Iterator[Source]:
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise BenchError(f"images are {images.dtype} {images.shape}, not uint8 (N, H, W, 3)")
    for i in range(len(images)):
        yield Source(f"{path}[{i}]", lambda i=i: Image.fromarray(np.array(images[i])))  # type: ignore[misc]


def _npy_images(path: str) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BenchError(f"images.npy is not a readable array ({why(error)})") from error


def _npz_images(path: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            images: np.ndarray = archive["images"]
            return images
    except Exception as error:  # numpy and zipfile raise whatever a broken file leads them to
        reason = first_line(error)
        raise BenchError(f"not a readable npz with `images` ({reason})") from error


def why(error: Exception) -> str:
    """An error in one line, for a row: the system's words without the path, which the row names already."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
