"""Pictures -> a stored split."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.cores import usable_cores
from benchmark.data import catalog, images
from benchmark.data.images import ImageSet
from benchmark.data.pictures import Pictures, Values, to_square
from benchmark.errors import first_line

Report = Callable[[str], Any]


def balanced(labels: np.ndarray, limit: int) -> np.ndarray:
    """Positions of `limit` images, as equal in number over the classes as can be, drawn with seed 0, in file order."""
    order = np.random.default_rng(0).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)  # the how-manieth of its class each image is, in that random order
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        turn[mine] = np.arange(len(mine))
    return np.sort(order[np.argsort(turn[order], kind="stable")][:limit])


def store(
    pictures: Pictures,
    root: Path,
    name: str,
    size: int,
    recipe: str,
    report: Report,
    limit: int | None = None,
    replace: bool = False,
    official: bool = False,
    first: int | None = None,
    folder: Path | None = None,
    warn: Report | None = None,
) -> ImageSet:
    """Resize and store a split image by image, several at a time (PIL frees the interpreter while it decodes).

    folder: keep each image's file name, relative to this folder. warn: is told what may spoil a result, in place of
    `report`.
    """
    what, warn = f"{name}/{pictures.split}", warn or report
    chosen = np.arange(len(pictures.label_of)) if limit is None else balanced(pictures.label_of, limit)
    if limit is not None and limit < len(pictures.label_of):
        recipe += f"; {limit} of {len(pictures.label_of)}, balanced over the classes, seed 0"
    expected = catalog.info(name).counts.get(pictures.split)
    skipped: list[str] = []
    names: list[str] = []
    values = Values()

    def square(index: int) -> np.ndarray | None:
        try:
            return to_square(values.of(pictures.open(index)), size, first)
        except Exception as error:  # PIL's readers raise whatever a broken file leads them to
            reason = first_line(error)
            skipped.append(f"{pictures.name(index)} ({reason})")
            return None

    as_it_is = pictures.array is not None and pictures.array.shape[1:] == (size, size, 3)
    told = time.monotonic()
    with images.SetWriter(root, name, pictures.split, size) as writer, ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(chosen), 512):
            part = chosen[start : start + 512]
            if as_it_is and pictures.array is not None:
                some = pictures.array[part]
                values.add(int(some.min()), int(some.max()))
                writer.add(some, pictures.label_of[part])
                continue
            squares = list(pool.map(square, part.tolist()))
            good = [i for i, pixels in zip(part, squares, strict=True) if pixels is not None]
            if good:
                writer.add(np.stack([pixels for pixels in squares if pixels is not None]), pictures.label_of[good])
                names += [os.path.relpath(pictures.name(i), folder) for i in good] if folder else []
            if time.monotonic() - told > 5:
                told = time.monotonic()
                report(f"{what}: {start + len(part)} of {len(chosen)} images")
        for line in sorted(skipped)[:20]:
            report(f"{what}: skipped {line}")
        if skipped:
            report(f"{what}: {len(skipped)} unreadable files skipped")
        if narrow := values.narrow():
            warn(f"{what}: {narrow}")
        whole = not skipped and expected in (None, len(chosen))
        done = writer.finish(recipe, pictures.classes, replace, official and whole, names)
    known = "" if expected in (None, done.count) else f" (official: {expected})"
    report(f"{what}: {done.count} images{known}, sha256 {done.fingerprint[:12]}")
    return done
