"""Which image files lie under a folder: one walk, for whatever reads folders of images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmark.errors import BenchError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_MAC = "__MACOSX"  # what macOS puts into an archive beside the files: their further properties under the same names

LeftOut = Counter[str]  # what was not read -> how often


def is_image(name: str) -> bool:
    """Whether a file is called as images are."""
    return name.lower().endswith(SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether what has this name is nobody's image: begins with a dot, or is macOS's own."""
    return name.startswith(".") or name == _MAC


def walk(folder: str, left_out: LeftOut, seen: set[str] | None = None) -> Iterator[tuple[str, OSError | None]]:
    """Every file under `folder` that is called as images are, in the order of names: (path, None). Whether it can be
    read is seen when it is read; a link to nowhere is one too. A folder that cannot be listed: (path, its error).

    Links are followed, but each folder is read once: one that is linked into itself would come again without end.
    left_out: counts what else lies there by the ends of the names. seen: real paths of the folders read so far.
    """
    seen = set() if seen is None else seen
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if not os.path.isdir(path):  # False, not an error, for a link to itself
            if is_image(path):
                yield path, None
            else:
                left_out[os.path.splitext(path)[1].lower() or "without suffix"] += 1
            continue
        if (real := os.path.realpath(path)) in seen:
            continue
        try:
            with os.scandir(path) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            yield path, error
            continue
        seen.add(real)
        left_out["hidden"] += sum(is_hidden(name) and is_image(name) for name in names)
        left_out[f"{_MAC} folder"] += _MAC in names
        waiting += [os.path.join(path, name) for name in reversed(names) if not is_hidden(name)]


def image_files(folder: Path | str, left_out: LeftOut | None = None) -> list[str]:
    """All image files under a folder, in the order of their paths. left_out: counts what else lies there."""
    left_out = Counter() if left_out is None else left_out
    found = []
    for path, error in walk(str(folder), left_out):
        if error is None:
            found.append(path)
        else:
            left_out[f"folder without permission ({path})"] += 1
    return sorted(found)


def wanted_files(folder: Path | str) -> list[str]:
    """`image_files`, of which there must be some. Raises BenchError that says what lies there instead."""
    left_out: LeftOut = Counter()
    found = image_files(folder, left_out)
    if not found:
        raise BenchError(none_inside(folder, left_out))
    return found


def none_inside(folder: Path | str, left_out: LeftOut) -> str:
    """That a folder has no images, and what it has."""
    there = not_read(left_out)
    return f"{folder}: no image files inside (looked for {', '.join(SUFFIXES)})" + (f"; {there}" if there else "")


def not_read(left_out: LeftOut) -> str:
    """What was not read, in words; "" for nothing."""
    found = +left_out
    if not found:
        return ""
    most = ", ".join(f"{count:,} {end}" for end, count in found.most_common(8)) + (", ..." if len(found) > 8 else "")
    return f"not read: {most}; convert what are images to PNG or JPEG"
