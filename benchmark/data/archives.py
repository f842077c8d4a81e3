"""The sets whose official files each user gets by hand."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmark.data import catalog
from benchmark.data.finding import image_files
from benchmark.data.pictures import Pictures, array_pictures, class_folders, file_pictures
from benchmark.errors import BenchError, first_line

_WNID = re.compile(r"n\d{8}")


def _wnid_folder(source: Path, *parts: str) -> tuple[Path, list[str]]:
    """The folder with one sub-folder a wnid: the first of source/PART (as ILSVRC12 unpacks) and source that has any."""
    for folder in (*(source / part for part in parts), source):
        if folder.is_dir():
            wnids = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and _WNID.fullmatch(entry.name))
            if wnids:
                return folder, wnids
    raise BenchError(
        f"{source}: no folders named by wnid (n01440764, ...) in it, {' or '.join(parts)}, as an ImageNet tree has "
        "them; validation images that lie flat must be sorted into such first"
    )


def _imagenet(source: Path) -> list[Pictures]:
    folder, wnids = _wnid_folder(source, "train", "ILSVRC/Data/CLS-LOC/train")
    return [class_folders(folder, wnids, "aux", wnids)]


def _imagenet30(source: Path) -> list[Pictures]:
    folder, there = _wnid_folder(source, "val", "ILSVRC/Data/CLS-LOC/val")  # never train: those are the negatives
    missing = sorted(set(catalog.IMAGENET30) - set(there))
    if missing:
        raise BenchError(f"{folder}: {len(missing)} of the 30 classes of ImageNet30 are missing: {', '.join(missing)}")
    return [class_folders(folder, list(catalog.IMAGENET30), "test", list(catalog.IMAGENET30.values()))]


def _tinyimagenet(source: Path) -> list[Pictures]:
    """tiny-imagenet-200.zip, or the folder it unpacks to: wnids.txt, val/val_annotations.txt, val/images/."""
    base: Any = source
    if source.is_file():
        check_md5(source, "tinyimagenet", "tiny-imagenet-200.zip")
        try:
            base = zipfile.Path(source)
        except zipfile.BadZipFile as error:
            raise BenchError(f"{source}: not a zip file ({error})") from error
    if (base / "tiny-imagenet-200").is_dir():
        base = base / "tiny-imagenet-200"
    for file in ("wnids.txt", "val/val_annotations.txt"):
        if not (base / file).is_file():
            raise BenchError(f"{source}: no {file} inside, as tiny-imagenet-200 has it")
    wnids = sorted((base / "wnids.txt").read_text().split())
    rows = [line.split("\t") for line in (base / "val" / "val_annotations.txt").read_text().splitlines() if line]
    number = {wnid: k for k, wnid in enumerate(wnids)}
    strange = [row[:2] for row in rows if len(row) < 2 or row[1] not in number]
    if strange:
        raise BenchError(f"{source}: val/val_annotations.txt has a row {strange[0]} whose class is not in wnids.txt")

    def read(i: int) -> Image.Image:
        with (base / "val" / "images" / rows[i][0]).open("rb") as stream, Image.open(stream) as image:
            image.load()
            return image

    labels = np.array([number[row[1]] for row in rows], np.int64)
    return [Pictures("test", labels, read, lambda i: f"val/images/{rows[i][0]}", wnids)]


def _lsun(source: Path) -> list[Pictures]:
    """Folders named by scene, or one flat folder of images (LSUN's own test images have no scene)."""
    scenes = [scene for scene in catalog.LSUN_SCENES if (source / scene).is_dir()]
    if scenes:
        if missing := sorted(set(catalog.LSUN_SCENES) - set(scenes)):
            raise BenchError(f"{source}: {len(missing)} of LSUN's ten scenes are missing: {', '.join(missing)}")
        return [class_folders(source, scenes, "test", scenes)]
    paths = image_files(source)
    return [file_pictures("test", paths, [-1] * len(paths), None)]


def _dti(source: Path) -> list[Pictures]:
    file = source / "300K_random_images.npy" if source.is_dir() else source
    if not file.is_file():
        raise BenchError(f"{file}: no such file; dti {catalog.info('dti').how_to_get}")
    check_md5(file, "dti", "300K_random_images.npy")
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BenchError(f"{file}: not a readable array ({first_line(error)})") from error
    if array.ndim != 4 or array.shape[1:] != (32, 32, 3) or array.dtype != np.uint8:
        raise BenchError(f"{file}: holds {array.dtype} {array.shape}, not uint8 (N, 32, 32, 3)")
    return [array_pictures("aux", array, np.full(len(array), -1), file.name, None)]


READERS: dict[str, Callable[[Path], list[Pictures]]] = {
    "imagenet": _imagenet, "imagenet30": _imagenet30, "tinyimagenet": _tinyimagenet, "lsun": _lsun, "dti": _dti,
}  # fmt: skip


def check_md5(file: Path, name: str, official: str) -> None:
    """Raise BenchError unless the file is, by its md5, the official one called `official` in the catalogue."""
    with open(file, "rb") as stream:
        md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    wanted = catalog.CATALOG[name].checksum[official]
    if md5.hexdigest() != wanted:
        raise BenchError(f"{file}: md5 {md5.hexdigest()} is not that of the official {official} ({wanted})")
