"""The images of the run behind a detector, where they are still at hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.data import images as stored_images
from benchmark.data.identical import digests
from benchmark.data.images import ImageSet
from benchmark.data.subsets import limited
from benchmark.detector.sources import Source
from benchmark.errors import BenchError
from benchmark.plan.config import RunConfig
from benchmark.store.records import Record

Counted = Literal["stored split", "images of the run"]


@dataclass(frozen=True)
class TrainingImages:
    """Of each image of the whole bank: place, label (-1 unknown), hash and file where they are known. And the labels'
    names, and what the place counts in."""

    index: NDArray[np.int64]
    label: NDArray[np.int64]
    hashes: NDArray[np.int64] | None
    names: list[str] | None
    classes: list[str] | None
    counted: Counted


def training_images(record: Record, config: RunConfig, data_root: Path, count: int) -> TrainingImages:
    images = same_images(record, config.train_key, data_root)
    if images is None:
        counted: Counted = "stored split" if config.data.train_limit is None else "images of the run"
        return TrainingImages(np.arange(count), np.full(count, -1), None, None, None, counted)
    rows = limited(images, config.data.train_limit)
    names = stored_images.file_names(images, data_root)
    return TrainingImages(
        rows if images.rows is None else images.rows[rows],  # of a class: the place in its set's split
        images.labels[rows],
        digests(images.images[row] for row in rows).view(np.int64),  # as a detector keeps them
        None if names is None else [names[row] for row in rows],
        images.manifest.get("classes"),
        "stored split",
    )


def to_look_through(record: Record, config: RunConfig, data_root: Path, with_training: bool) -> list[Source]:
    """The ID test images of the run, and its training images if asked, by the names of their files where these are
    known. Raises BenchError where they are not at hand."""
    found: list[Source] = []
    parts = [(config.test_key, config.data.test_limit)]
    parts += [(config.train_key, config.data.train_limit)] if with_training else []
    for key, limit in parts:
        images = same_images(record, key, data_root)
        if images is None:
            raise BenchError(f"--page: needs the images of {key} that the run read, and {data_root} does not have them")
        names = stored_images.file_names(images, data_root)
        for row in limited(images, limit).tolist():
            name = f"{key}[{row}]" if names is None else names[row]
            found.append(Source(name, partial(_picture, images.images, row)))
    return found


def _picture(images: NDArray[np.uint8], row: int) -> Image.Image:
    return Image.fromarray(np.array(images[row]))


def same_images(record: Record, key: str, data_root: Path) -> ImageSet | None:
    """The very images that the run read, None where they are not in `data_root`."""
    name, split = key.split("/")
    if stored_images.read_manifest(data_root, name, split) is None:
        return None
    images = stored_images.load(data_root, name, split)
    return images if images.fingerprint == record.data[key].fingerprint else None
