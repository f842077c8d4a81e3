"""The sets that torchvision reads, and where it may, downloads."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmark.data import catalog
from benchmark.data.pictures import Pictures, array_pictures, file_pictures
from benchmark.errors import BenchError, first_line


def from_torchvision(base: str, folder: Path, download: bool, info: catalog.SetInfo) -> Iterator[Pictures]:
    """The splits of a set through torchvision's loader, its complaints turned into one line."""
    try:
        if download:
            folder.mkdir(parents=True, exist_ok=True)
        for split in info.counts:
            yield LOADERS[base](folder, split, download)
    except BenchError:
        raise
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, ImportError) as error:
        reason = first_line(error).split(". ")[0]
        trouble = "download failed" if download else f"not the official, unpacked files of {info.title}"
        raise BenchError(f"{folder}: {trouble} ({reason}); {info.how_to_get}") from error


def _cifar(kind: str) -> Callable[[Path, str, bool], Pictures]:
    def read(folder: Path, split: str, download: bool) -> Pictures:
        from torchvision import datasets

        data = getattr(datasets, kind)(str(folder), train=split == "train", download=download)
        return array_pictures(split, data.data, data.targets, kind, list(data.classes))

    return read


def _svhn(folder: Path, split: str, download: bool) -> Pictures:
    from torchvision import datasets

    data = datasets.SVHN(str(folder), split="test", download=download)
    return array_pictures(split, data.data.transpose(0, 2, 3, 1), data.labels, "SVHN", [str(d) for d in range(10)])


def _stl10(folder: Path, split: str, download: bool) -> Pictures:
    from torchvision import datasets

    data = datasets.STL10(str(folder), split="test", download=download)
    classes = list(data.classes) if hasattr(data, "classes") else None  # read from class_names.txt where it is there
    return array_pictures(split, data.data.transpose(0, 2, 3, 1), data.labels, "STL10", classes)


def _dtd(folder: Path, split: str, download: bool) -> Pictures:
    """The first official split. torchvision unpacks to dtd/dtd/, by hand it is dtd/: both are found."""
    if download:
        from torchvision import datasets

        whole = folder / "unpacked"  # torchvision takes a folder that a stopped command left for all of it
        if not whole.exists():
            shutil.rmtree(folder / "dtd" / "dtd", ignore_errors=True)
        datasets.DTD(str(folder), split="test", partition=1, download=True)
        whole.touch()
    for base in (folder / "dtd" / "dtd", folder / "dtd", folder):
        if (base / "labels" / "test1.txt").is_file():
            rows = (base / "labels" / "test1.txt").read_text().split()
            classes = sorted({row.split("/")[0] for row in rows})
            labels = [classes.index(row.split("/")[0]) for row in rows]
            return file_pictures(split, [str(base / "images" / row) for row in rows], labels, classes)
    raise BenchError(f"{folder}: no dtd/labels/test1.txt inside, as DTD unpacks; {catalog.info('texture').how_to_get}")


def _places365(folder: Path, split: str, download: bool) -> Pictures:
    from torchvision import datasets

    data = datasets.Places365(str(folder), split="val", small=True, download=download)
    return file_pictures(split, [str(file) for file, _ in data.imgs], data.targets, list(data.classes))


LOADERS: dict[str, Callable[[Path, str, bool], Pictures]] = {
    "cifar10": _cifar("CIFAR10"), "cifar100": _cifar("CIFAR100"), "svhn": _svhn, "stl10": _stl10, "texture": _dtd,
    "places365": _places365,
}  # fmt: skip
DOWNLOADS = ("cifar10", "cifar100", "svhn", "stl10", "texture")  # Places365 asks each user to agree to its terms
