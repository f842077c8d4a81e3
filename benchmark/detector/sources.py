"""Finding the images to score, and how each is read."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO

import numpy as np
from PIL import Image

from benchmark.data.finding import LeftOut, is_hidden, is_image, walk
from benchmark.data.pictures import read_picture
from benchmark.errors import BenchError, first_line
from benchmark.files import expanded

CHUNK = 1 << 16  # bytes of a list that are read at a time


@dataclass(frozen=True)
class Source:
    """An image to score: what it is called, and how it is read."""

    path: str
    read: Callable[[], Image.Image]


def find_images(
    arguments: Sequence[str], listed: IO[bytes] | None = None, left_out: LeftOut | None = None
) -> Iterator[Source]:
    """The images of files, folders (and theirs, in the order of their names), glob patterns, .npz files with `images`
    (N, H, W, 3) uint8, stored splits (SET/SPLIT of the data folder), and, for "-", of a list of paths: one a line, or
    each with a NUL behind it.

    Each file comes once, by whichever of its names is the first. left_out: counts the files in folders that are not
    called as images are. Raises BenchError at once, before the first image, for an argument that is nothing of these.
    """
    groups = [_resolve(argument) for argument in arguments]
    found = _Found(Counter() if left_out is None else left_out)

    def all_paths() -> Iterator[Source]:
        for group in groups:
            for path in group if group is not None else _lines(listed):
                try:
                    yield from found.images_of(path)
                except (BenchError, OSError, ValueError) as error:  # a broken .npz: a row, not a stop
                    yield _broken(path, why(error))

    return all_paths()


def _broken(path: str, why: str) -> Source:
    def read() -> Image.Image:
        raise BenchError(why)

    return Source(path, read)


def _resolve(argument: str) -> list[str] | None:
    """The existing paths that an argument names; None for the list on the standard input."""
    if argument == "-":
        return None
    if os.path.lexists(argument):  # also a link to nowhere: a row that says so
        return [argument]
    argument = str(expanded(argument))
    if os.path.lexists(argument):
        return [argument]
    if glob.has_magic(argument):
        if found := _matches(argument):
            return found
        raise BenchError(f"{argument}: matches no file")
    raise BenchError(f"{argument}: no such file or folder")


def _matches(pattern: str) -> list[str]:
    """What a pattern matches. Folders with brackets in their names are meant as they are called, where they exist: by
    the rules of patterns `photos [1]/*.png` would be the images of a folder `photos 1`."""
    literal, parts = "", pattern.split(os.sep)
    if parts[-1] == "**":  # all that lies below, which walking the folder finds
        parts = [*parts[:-1], ""] if parts[1:] else [os.curdir]
    while parts[1:] and os.path.isdir(literal + parts[0] + os.sep):
        literal += parts.pop(0) + os.sep
    rest = os.sep.join(parts)
    for tail in (rest, rest.replace("[", "[[]")):
        if found := sorted(glob.glob(glob.escape(literal) + tail, recursive=True)):
            return found
    return []


def _lines(listed: IO[bytes] | None) -> Iterator[str]:
    """The paths of a list as they arrive: of lines, or each ended by a NUL, which `find -print0` writes and no path
    holds. Byte order marks are taken off; what Windows writes in UTF-16 is read as that."""
    if listed is None:
        return
    read = getattr(listed, "read1", listed.read)
    rest = read(CHUNK)
    while rest and b"\n" not in rest and b"\0" not in rest and (more := read(CHUNK)):
        rest += more
    if rest.startswith((b"\xff\xfe", b"\xfe\xff")):
        lines = (rest + listed.read()).decode("utf-16", "replace").split("\n")
        yield from filter(None, (line.rstrip("\r") for line in lines))
        return
    rest = rest.removeprefix(b"\xef\xbb\xbf")
    end = b"\0" if b"\0" in rest else b"\n"
    while True:
        *whole, rest = rest.split(end)
        yield from (os.fsdecode(line) for line in map(partial(_stripped, end=end), whole) if line)
        more = read(CHUNK)
        if not more:
            break
        rest += more
    if line := _stripped(rest, end):
        yield os.fsdecode(line)


def _stripped(line: bytes, end: bytes) -> bytes:
    return line if end == b"\0" else line.rstrip(b"\r\n")


class _Found:
    """What was found so far. left_out: as `find_images` has it."""

    def __init__(self, left_out: LeftOut) -> None:
        self._left_out = left_out
        self._walked: set[str] = set()  # real paths of folders
        self._named: set[str] = set()  # and of what was named, or matched

    def images_of(self, path: str) -> Iterator[Source]:
        if os.path.isdir(path) and not os.path.isfile(os.path.join(path, "images.npy")):
            for found, error in walk(path, self._left_out, self._walked):
                if error is not None:
                    yield _broken(found, why(error))
                elif not self._named or _place(found) not in self._named:
                    yield Source(found, partial(read_picture, found))
            return
        place = _place(path)
        folder, name = os.path.split(place)
        if place in self._named or (folder in self._walked and is_image(name) and not is_hidden(name)):
            return
        self._named.add(place)
        if os.path.isdir(path):
            yield from _array(path, _npy_images(os.path.join(path, "images.npy")))
        elif path.lower().endswith(".npz"):
            yield from _array(path, _npz_images(path))
        else:
            yield Source(path, partial(read_picture, path))


def _place(path: str) -> str:
    """Where a file or link lies: two links to one file are two files, one file by two ways to its folder is one."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


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
