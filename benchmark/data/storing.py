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


def store(
    pictures: Pictures,
    root: Path,
    name: str,
    size: int,
    recipe: str,
    report: Report,
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
    count = len(pictures.label_of)
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
        for start in range(0, count, 512):
            part = range(start, min(start + 512, count))
            if as_it_is and pictures.array is not None:
                some = pictures.array[part.start : part.stop]
                values.add(int(some.min()), int(some.max()))
                writer.add(some, pictures.label_of[part.start : part.stop])
                continue
            squares = list(pool.map(square, part))
            good = [i for i, pixels in zip(part, squares, strict=True) if pixels is not None]
            if good:
                writer.add(np.stack([pixels for pixels in squares if pixels is not None]), pictures.label_of[good])
                names += [os.path.relpath(pictures.name(i), folder) for i in good] if folder else []
            if time.monotonic() - told > 5:
                told = time.monotonic()
                report(f"{what}: {start + len(part)} of {count} images")
        for line in sorted(skipped)[:20]:
            report(f"{what}: skipped {line}")
        if skipped:
            report(f"{what}: {len(skipped)} unreadable files skipped")
        if narrow := values.narrow():
            warn(f"{what}: {narrow}")
        whole = not skipped and expected in (None, count)
        done = writer.finish(recipe, pictures.classes, replace, official and whole, names)
    known = "" if expected in (None, done.count) else f" (official: {expected})"
    report(f"{what}: {done.count} images{known}, sha256 {done.fingerprint[:12]}")
    return done
