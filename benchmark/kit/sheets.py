"""Image sets in little more than half their room, without loss: many images on one WebP sheet.

A file NAME-SPLIT.sheets is in NumPy's npz form: the labels, the shape of the images, and the sheets' bytes in order.
"""

from __future__ import annotations

import io
from pathlib import Path

from benchmark.errors import BenchError, first_line

SUFFIX = ".sheets"
WIDTH, HEIGHT = 1024, 4096  # pixels of a sheet at most, unless one image is larger; WebP ends at 16,383


def pack(images: Path, to: Path) -> Path:
    """Write NAME-SPLIT.npz (`images` (N, H, W, 3) uint8, and what else it has) as NAME-SPLIT.sheets in the folder `to`.

    Raises BenchError, one line with the file, where it is no such set.
    """
    import numpy as np
    from PIL import Image

    try:
        with np.load(images) as stored:
            arrays = {name: stored[name] for name in stored.files}
        pixels = arrays.pop("images")
        count, height, width, channels = pixels.shape
        if pixels.dtype != np.uint8 or channels != 3:
            raise ValueError(f"images are {pixels.dtype} of shape {pixels.shape}, not uint8 (N, H, W, 3)")
    except Exception as error:  # numpy, zipfile and PIL raise whatever a broken file leads them to
        raise BenchError(f"{images}: not a set of images ({first_line(error)})") from error
    columns, rows = max(1, WIDTH // width), max(1, HEIGHT // height)
    for start in range(0, count, columns * rows):
        some = pixels[start : start + columns * rows]
        sheet = np.zeros((-(-len(some) // columns) * columns, height, width, 3), np.uint8)
        sheet[: len(some)] = some
        tiled = sheet.reshape(-1, columns, height, width, 3).swapaxes(1, 2).reshape(-1, columns * width, 3)
        written = io.BytesIO()
        Image.fromarray(tiled).save(written, "WEBP", lossless=True, quality=60, method=4)
        arrays[f"sheet {start:09d}"] = np.frombuffer(written.getvalue(), np.uint8)
    made = to / f"{images.stem}{SUFFIX}"
    with open(made, "wb") as stream:
        np.savez(stream, shape=np.array(pixels.shape), **arrays)
    return made


def unpack(packed: Path, to: Path) -> Path:
    """Write NAME-SPLIT.sheets as the NAME-SPLIT.npz that it was made of, in the folder `to`.

    Raises BenchError, one line with the file, where it is damaged.
    """
    import numpy as np
    from PIL import Image

    try:
        with np.load(packed) as stored:
            arrays = {name: stored[name] for name in stored.files}
        count, height, width, _ = (int(size) for size in arrays.pop("shape"))
        parts = []
        for name in sorted(name for name in arrays if name.startswith("sheet ")):
            tiled = np.asarray(Image.open(io.BytesIO(arrays.pop(name).tobytes())).convert("RGB"))
            columns = tiled.shape[1] // width
            cut = tiled.reshape(-1, height, columns, width, 3).swapaxes(1, 2)
            parts.append(cut.reshape(-1, height, width, 3))
        images = np.concatenate(parts)[:count]
        if len(images) != count:
            raise ValueError(f"{len(images)} of {count} images")
    except Exception as error:
        raise BenchError(f"{packed}: not a readable set of sheets ({first_line(error)}); bring it again") from error
    made = to / f"{packed.stem}.npz"
    np.savez(made, images=images, **arrays)
    return made
