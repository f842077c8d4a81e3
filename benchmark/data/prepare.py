"""Bring image sets into the data folder: from their official files (`prepare`) or the user's own (`import_dir`)."""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmark import files
from benchmark.data import catalog, images
from benchmark.data.images import ImageSet
from benchmark.errors import BenchError, first_line, unknown

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_NPZ_BROKEN = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)
_FILE_NAME = re.compile(r"(.+)-(train|test|aux)")
_WNID = re.compile(r"n\d{8}")

Report = Callable[[str], Any]


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


# --- 32x32 -----------------------------------------------------------------------------------------------------------


def to_square(image: Image.Image, size: int, first: int | None = None) -> np.ndarray:
    """RGB, central square, PIL bicubic with antialias: (size, size, 3) uint8 (METHOD of the field: a = -0.5).

    first: bring the shorter side to this many pixels and crop the central square of that side before (CSI uses 256).
    """
    if image.mode.startswith("I"):  # 16 bits ("I" in older releases): PIL would clip them at 255 instead of scaling
        values = np.asarray(image)
        if values.max() > 65535:
            raise ValueError("pixels of more than 16 bits; save it with 8 or 16")
        image = Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
    elif image.mode == "F":  # PIL would clip, and nothing says which value is white
        raise ValueError("floating-point pixels; save it with 8 or 16 bits")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns of the direct way, which gives the same
    image = image.convert("RGB")
    if first is not None:
        short = min(image.size)
        scaled = [first if side == short else int(first * side / short) for side in image.size]
        image = image.resize((scaled[0], scaled[1]), Image.Resampling.BICUBIC)
    side = min(image.size)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    image = image.crop((left, top, left + side, top + side))
    if side != size:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def balanced(labels: np.ndarray, limit: int) -> np.ndarray:
    """Positions of `limit` images, as equal in number over the classes as can be, drawn with seed 0, in file order."""
    order = np.random.default_rng(0).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)  # the how-manieth of its class each image is, in that random order
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        turn[mine] = np.arange(len(mine))
    return np.sort(order[np.argsort(turn[order], kind="stable")][:limit])


def _store(
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
) -> ImageSet:
    """Resize and store a split image by image, several at a time (PIL frees the interpreter while it decodes).

    folder: keep each image's file name, relative to this folder.
    """
    what = f"{name}/{pictures.split}"
    chosen = np.arange(len(pictures.label_of)) if limit is None else balanced(pictures.label_of, limit)
    if limit is not None and limit < len(pictures.label_of):
        recipe += f"; {limit} of {len(pictures.label_of)}, balanced over the classes, seed 0"
    expected = catalog.info(name).counts.get(pictures.split)
    skipped: list[str] = []
    names: list[str] = []

    def square(index: int) -> np.ndarray | None:
        try:
            return to_square(pictures.open(index), size, first)
        except UNREADABLE as error:
            reason = first_line(error)
            skipped.append(f"{pictures.name(index)} ({reason})")
            return None

    as_it_is = pictures.array is not None and pictures.array.shape[1:] == (size, size, 3)
    told = time.monotonic()
    with images.SetWriter(root, name, pictures.split, size) as writer, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(chosen), 512):
            part = chosen[start : start + 512]
            if as_it_is and pictures.array is not None:
                writer.add(pictures.array[part], pictures.label_of[part])
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
        whole = not skipped and expected in (None, len(chosen))
        done = writer.finish(recipe, pictures.classes, replace, official and whole, names)
    known = "" if expected in (None, done.count) else f" (official: {expected})"
    report(f"{what}: {done.count} images{known}, sha256 {done.fingerprint[:12]}")
    return done


# --- from the official files -----------------------------------------------------------------------------------------


def prepare(
    name: str,
    root: Path,
    source: Path | None = None,
    size: int = 32,
    download: bool = True,
    report: Report = print,
    limit: int | None = None,
    replace: bool = False,
) -> list[ImageSet]:
    """Store all splits of a catalogue set from its official files.

    name: NAME, or NAME@SIZE for another size than 32. source: the files, already unpacked where their site offers an
    archive; without it the set is downloaded, where its licence and torchvision allow. limit: at most so many images a
    split, balanced over the classes. Raises BenchError that says how to get the files.
    """
    base, asked = catalog.split_size(name)
    size = asked if asked != 32 else size
    stored_as = base if size == 32 else f"{base}@{size}"
    if base not in catalog.CATALOG:
        raise BenchError(unknown("image set", base, catalog.CATALOG) + "; bring your own with `bench data import DIR`")
    info = catalog.info(stored_as)
    if info.builtin:
        return [images.load(root, name, split) for split in info.counts]
    if limit is not None and limit < 1:
        raise BenchError(f"limit {limit}: at least 1 image a split is needed")
    if source is None:
        if base not in DOWNLOADS or not download:
            raise BenchError(f"image set {stored_as}: {info.how_to_get}")
        pictures = _from_torchvision(base, Path(root) / ".downloads" / base, True, info)
    else:
        source = Path(source).expanduser()
        if not source.exists():
            raise BenchError(f"{source}: no such file or folder; image set {stored_as}: {info.how_to_get}")
        if base in _LOADERS:
            pictures = _from_torchvision(base, source, False, info)
        elif base in _READERS:
            pictures = iter(_READERS[base](source))
        else:
            raise BenchError(f"image set {stored_as}: {info.how_to_get}")
    first = 256 if base in ("imagenet30", "lsun") else None
    return [
        _store(split, root, stored_as, size, info.recipe, report, limit, replace, official=True, first=first)
        for split in pictures
    ]


def _from_torchvision(base: str, folder: Path, download: bool, info: catalog.SetInfo) -> Iterator[Pictures]:
    """The splits of a set through torchvision's loader, its complaints turned into one line."""
    try:
        if download:
            folder.mkdir(parents=True, exist_ok=True)
        for split in info.counts:
            yield _LOADERS[base](folder, split, download)
    except BenchError:
        raise
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, ImportError) as error:
        reason = first_line(error).split(". ")[0]
        trouble = "download failed" if download else f"not the official, unpacked files of {info.title}"
        raise BenchError(f"{folder}: {trouble} ({reason}); {info.how_to_get}") from error


def _array_pictures(split: str, array: np.ndarray, labels: Any, what: str, classes: list[str] | None) -> Pictures:
    """Pictures from an array (N, H, W, 3) uint8."""
    return Pictures(
        split,
        np.asarray(labels, dtype=np.int64),
        lambda i: Image.fromarray(np.ascontiguousarray(array[i])),
        lambda i: f"image {i} of {what}",
        classes,
        array,
    )


def _cifar(kind: str) -> Callable[[Path, str, bool], Pictures]:
    def read(folder: Path, split: str, download: bool) -> Pictures:
        from torchvision import datasets

        data = getattr(datasets, kind)(str(folder), train=split == "train", download=download)
        return _array_pictures(split, data.data, data.targets, kind, list(data.classes))

    return read


def _svhn(folder: Path, split: str, download: bool) -> Pictures:
    from torchvision import datasets

    data = datasets.SVHN(str(folder), split="test", download=download)
    return _array_pictures(split, data.data.transpose(0, 2, 3, 1), data.labels, "SVHN", [str(d) for d in range(10)])


def _stl10(folder: Path, split: str, download: bool) -> Pictures:
    from torchvision import datasets

    data = datasets.STL10(str(folder), split="test", download=download)
    classes = list(data.classes) if hasattr(data, "classes") else None  # read from class_names.txt where it is there
    return _array_pictures(split, data.data.transpose(0, 2, 3, 1), data.labels, "STL10", classes)


def _dtd(folder: Path, split: str, download: bool) -> Pictures:
    """The first official split. torchvision unpacks to dtd/dtd/, by hand it is dtd/: both are found."""
    if download:
        from torchvision import datasets

        datasets.DTD(str(folder), split="test", partition=1, download=True)
    for base in (folder / "dtd" / "dtd", folder / "dtd", folder):
        if (base / "labels" / "test1.txt").is_file():
            rows = (base / "labels" / "test1.txt").read_text().split()
            classes = sorted({row.split("/")[0] for row in rows})
            labels = [classes.index(row.split("/")[0]) for row in rows]
            return _file_pictures(split, [str(base / "images" / row) for row in rows], labels, classes)
    raise BenchError(f"{folder}: no dtd/labels/test1.txt inside, as DTD unpacks; {catalog.info('texture').how_to_get}")


def _places365(folder: Path, split: str, download: bool) -> Pictures:
    from torchvision import datasets

    data = datasets.Places365(str(folder), split="val", small=True, download=download)
    return _file_pictures(split, [str(file) for file, _ in data.imgs], data.targets, list(data.classes))


_LOADERS: dict[str, Callable[[Path, str, bool], Pictures]] = {
    "cifar10": _cifar("CIFAR10"), "cifar100": _cifar("CIFAR100"), "svhn": _svhn, "stl10": _stl10, "texture": _dtd,
    "places365": _places365,
}  # fmt: skip
DOWNLOADS = ("cifar10", "cifar100", "svhn", "stl10", "texture")  # Places365 asks each user to agree to its terms


def _open(path: str, upright: bool = False) -> Image.Image:
    """Read a whole image file. upright: turn it as its EXIF tag says (loaders of the field do not)."""
    with Image.open(path) as image:
        image.load()
        return ImageOps.exif_transpose(image) if upright else image


def read_picture(path: str) -> Image.Image:
    """An image file as `import_dir` reads it: whole, turned as its EXIF tag says. Raises what PIL raises."""
    return _open(path, upright=True)


def _file_pictures(
    split: str, paths: list[str], labels: Any, classes: list[str] | None, upright: bool = False
) -> Pictures:
    """Pictures from image files."""
    return Pictures(
        split, np.asarray(labels, dtype=np.int64), lambda i: _open(paths[i], upright), lambda i: paths[i], classes
    )


def image_files(folder: Path) -> list[str]:
    """All image files under a folder, in the order of their names."""
    return sorted(
        os.path.join(place, name)
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    )


def _class_folders(folder: Path, names: list[str], split: str, classes: list[str], upright: bool = False) -> Pictures:
    """Pictures of the sub-folders `names`, label k for the k-th."""
    paths, labels = [], []
    for label, name in enumerate(names):
        found = image_files(folder / name)
        paths += found
        labels += [label] * len(found)
    return _file_pictures(split, paths, labels, classes, upright)


def _wnid_folder(source: Path, *parts: str) -> tuple[Path, list[str]]:
    """The folder with one sub-folder a wnid: the first of source/PART (as ILSVRC12 unpacks) and source that has any."""
    for folder in (*(source / part for part in parts), source):
        if folder.is_dir():
            wnids = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and _WNID.fullmatch(entry.name))
            if wnids:
                return folder, wnids
    raise BenchError(f"{source}: no folders named by wnid (n01440764, ...), as an ImageNet tree has them")


def _imagenet(source: Path) -> list[Pictures]:
    folder, wnids = _wnid_folder(source, "train", "ILSVRC/Data/CLS-LOC/train")
    return [_class_folders(folder, wnids, "aux", wnids)]


def _imagenet30(source: Path) -> list[Pictures]:
    folder, there = _wnid_folder(source, "val", "ILSVRC/Data/CLS-LOC/val", "train")
    missing = sorted(set(catalog.IMAGENET30) - set(there))
    if missing:
        raise BenchError(f"{folder}: {len(missing)} of the 30 classes of ImageNet30 are missing: {', '.join(missing)}")
    return [_class_folders(folder, list(catalog.IMAGENET30), "test", list(catalog.IMAGENET30.values()))]


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
        return [_class_folders(source, scenes, "test", scenes)]
    paths = image_files(source)
    return [_file_pictures("test", paths, [-1] * len(paths), None)]


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
    return [_array_pictures("aux", array, np.full(len(array), -1), file.name, None)]


_READERS: dict[str, Callable[[Path], list[Pictures]]] = {
    "imagenet": _imagenet, "imagenet30": _imagenet30, "tinyimagenet": _tinyimagenet, "lsun": _lsun, "dti": _dti,
}  # fmt: skip


def check_md5(file: Path, name: str, official: str) -> None:
    """Raise BenchError unless the file is, by its md5, the official one called `official` in the catalogue."""
    md5 = hashlib.md5(usedforsecurity=False)
    with open(file, "rb") as stream:
        while block := stream.read(1 << 22):
            md5.update(block)
    wanted = catalog.CATALOG[name].checksum[official]
    if md5.hexdigest() != wanted:
        raise BenchError(f"{file}: md5 {md5.hexdigest()} is not that of the official {official} ({wanted})")


# --- the user's own images -------------------------------------------------------------------------------------------


def import_dir(
    folder: Path,
    root: Path,
    replace: bool = False,
    size: int = 32,
    names: list[str] | None = None,
    report: Report = print,
) -> list[ImageSet]:
    """Store every NAME-SPLIT.npz (`images` (N, size, size, 3) uint8, `labels` (N,) integers, -1 unknown) and every
    folder NAME-SPLIT/ of image files in `folder`; SPLIT is train, test or aux.

    Sub-folders of an image folder are its classes. A classes.json beside them ({"NAME-SPLIT": [names]}) names the
    labels. names: only these sets. Raises BenchError that names the file; sets before it stay stored.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise BenchError(f"{folder}: no such folder")
    entries = [entry for entry in sorted(folder.iterdir()) if entry.suffix == ".npz" or entry.is_dir()]
    found = []
    for entry in entries:
        match = _FILE_NAME.fullmatch(entry.stem if entry.suffix == ".npz" else entry.name)
        if match:
            found.append((entry, match[1], match[2]))
        elif entry.suffix == ".npz":
            raise BenchError(f"{entry}: the name must be NAME-train.npz, NAME-test.npz or NAME-aux.npz")
    if not found:
        raise BenchError(f"{folder}: nothing to import; wanted are NAME-SPLIT.npz or folders NAME-SPLIT/ of images, "
                         "SPLIT one of train, test, aux")  # fmt: skip
    for name in names or ():
        if name not in (have := {base for _, base, _ in found}):
            raise BenchError(f"{folder}: " + unknown("image set", name, have))
    class_names = _class_names(folder)
    done = []
    for entry, base, split in found:
        if names and base not in names:
            continue
        info, stored_as = catalog.info(base), base if size == 32 else f"{base}@{size}"
        if info.builtin:
            raise BenchError(f"{entry}: {base!r} is a built-in set; give yours another name")
        if info.counts and split not in info.counts:
            raise BenchError(f"{entry}: {base} has no split {split!r}; it has {', '.join(info.counts)}")
        if entry.is_dir():
            pictures = _own_folder(entry, split, class_names.get(entry.name))
            recipe = f"imported from image files: RGB, central square, PIL bicubic with antialias to {size}x{size}"
        else:
            pictures = _own_npz(entry, split, size, class_names.get(entry.stem))
            recipe = "imported as arrays"
        kept_from = entry if entry.is_dir() else None
        done.append(_store(pictures, root, stored_as, size, recipe, report, replace=replace, folder=kept_from))
    return done


def _class_names(folder: Path) -> dict[str, list[str]]:
    path = folder / "classes.json"
    if not path.is_file():
        return {}
    names = files.read_json(path)
    fine = isinstance(names, dict) and all(
        isinstance(v, list) and all(isinstance(name, str) for name in v) for v in names.values()
    )
    if not fine:
        raise BenchError(f'{path}: wanted is {{"NAME-SPLIT": ["name of label 0", ...], ...}}')
    return names


def _own_npz(file: Path, split: str, size: int, classes: list[str] | None) -> Pictures:
    try:
        with np.load(file, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise BenchError(f"{file}: a single array, not an npz with `images` and `labels`")
            for key in ("images", "labels"):
                if key not in archive.files:
                    raise BenchError(f"{file}: no array {key!r} inside; it has {', '.join(archive.files) or 'none'}")
            pixels, labels = archive["images"], archive["labels"]
    except _NPZ_BROKEN as error:
        reason = first_line(error)
        raise BenchError(f"{file}: not a readable npz ({reason})") from error
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
        raise BenchError(f"{file}: images are {pixels.dtype} {pixels.shape}, not uint8 (N, {size}, {size}, 3)")
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise BenchError(
            f"{file}: labels are {labels.dtype} {labels.shape}, not integers ({len(pixels)},), one an image"
        )
    _check_labels(file, labels, classes)
    return _array_pictures(split, pixels, labels, str(file), classes)


def _check_labels(file: Path, labels: np.ndarray, classes: list[str] | None) -> None:
    top = math.inf if classes is None else len(classes) - 1
    if len(labels) and (labels.min() < -1 or labels.max() > top):
        named = "up" if classes is None else f"to {len(classes) - 1} (classes.json)"
        raise BenchError(f"{file}: labels run from {labels.min()} to {labels.max()}; allowed are -1 and 0 {named}")


def _own_folder(folder: Path, split: str, classes: list[str] | None) -> Pictures:
    """Class sub-folders in the order of their names, or, without any, images of unknown class."""
    sub = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not image_files(folder):
        raise BenchError(f"{folder}: no image files inside (looked for {', '.join(SUFFIXES)})")
    loose = [path for path in image_files(folder) if os.path.dirname(path) == str(folder)]
    if sub and loose:
        raise BenchError(f"{loose[0]}: lies beside class folders ({sub[0]}, ...); all images must be in one, or none")
    if not sub:
        return _file_pictures(split, loose, [-1] * len(loose), None, upright=True)
    if classes is not None and sorted(classes) != sub:
        raise BenchError(f"{folder}: its folders ({', '.join(sub[:3])}, ...) are not the names in classes.json")
    order = classes or sub
    return _class_folders(folder, order, split, order, upright=True)


# --- what is there ---------------------------------------------------------------------------------------------------


def listing(root: Path) -> list[dict[str, Any]]:
    """Every split of the catalogue, then the user's own: name, title, split, role, state ("ready", "missing",
    "built-in", "damaged"), count (None if not stored), official_count (None if not known), official (True if stored
    from the set's official files, whole), how_to_get, path."""
    wanted = [(name, split) for name, info in catalog.CATALOG.items() for split in info.counts]
    rows = []
    for name, split in wanted + [found for found in images.stored(root) if found not in wanted]:
        info = catalog.info(name)
        state, count, official = "built-in" if info.builtin else "missing", None, None
        try:
            manifest = images.read_manifest(root, name, split)
        except BenchError as error:
            manifest, state, note = None, "damaged", str(error)
        else:
            note = info.how_to_get
        if manifest:
            count, official = manifest["count"], bool(manifest.get("official"))
            state = "built-in" if info.builtin else "ready"
        elif info.builtin and state != "damaged":
            count, official = info.counts.get(split), True
        rows.append({
            "name": name, "title": info.title, "split": split, "role": _role(info, split), "state": state,
            "count": count, "official_count": info.counts.get(split), "official": official, "how_to_get": note,
            "path": str(images.folder(root, name, split)),
        })  # fmt: skip
    return rows


def _role(info: catalog.SetInfo, split: str) -> str:
    """What a split is for: an in-distribution set's test split may be another set's OOD test."""
    roles = {"train": ("id",), "aux": ("aux",), "test": ("id", "ood")}[split]
    return "/".join(role for role in roles if role in info.roles)


def verify(root: Path) -> list[str]:
    """Recompute the hash of every stored split. One line a problem; an empty list means that all is well."""
    problems = []
    for name, split in images.stored(root):
        where = images.folder(root, name, split)
        try:
            manifest = images.read_manifest(root, name, split)
            if manifest is None:
                problems.append(f"{where}: no manifest.json, so it counts as missing; delete it or get {name} again")
            elif (sha := images.rehash(root, name, split)) != manifest["sha256"]:
                problems.append(f"{where}: sha256 {sha[:12]} is not the manifest's {manifest['sha256'][:12]}: changed")
        except BenchError as error:
            problems.append(str(error))
    problems += [f"{path}: left by an interrupted write; delete it" for path in sorted(Path(root).glob("*/.*.tmp"))]
    return problems
