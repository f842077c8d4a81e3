"""The user's own images, as npz files or folders, into the data folder."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np

from benchmark import files
from benchmark.data import catalog, identical, images
from benchmark.data.finding import LeftOut, image_files, is_hidden, not_read, wanted_files
from benchmark.data.images import ImageSet
from benchmark.data.pictures import Pictures, array_pictures, class_folders, file_pictures
from benchmark.data.storing import Report, store
from benchmark.errors import BenchError, first_line, some_of

CLASSES = "classes.json"
_FILE_NAME = re.compile(r"(.+)-(train|test|aux)")


def import_dir(
    folder: Path,
    root: Path,
    replace: bool = False,
    report: Report = print,
    warn: Report | None = None,
) -> list[ImageSet]:
    """Store every NAME-SPLIT.npz (`images` (N, size, size, 3) uint8, `labels` (N,) integers, -1 unknown) and every
    folder NAME-SPLIT/ of image files in `folder`; SPLIT is train, test or aux.

    Sub-folders of an image folder are its classes. A classes.json beside them ({"NAME-SPLIT": [names]}) names the
    labels; without it, training and test images share them: those of both, by name. NAME@SIZE-SPLIT is of that size.
    warn: is told what may spoil a result, in place of `report`. Raises BenchError that names the file; sets before it
    stay stored.
    """
    folder, warn = files.expanded(folder), warn or report
    if not folder.is_dir():
        raise BenchError(f"{folder}: no such folder")
    found, others = [], []
    for entry in sorted(folder.iterdir()):
        is_array = entry.suffix.lower() == ".npz"
        match = _FILE_NAME.fullmatch(entry.stem if is_array else entry.name)
        if match and (is_array or entry.is_dir()):
            found.append((entry, match[1], match[2]))
        elif is_array:
            raise BenchError(f"{entry}: the name must be NAME-train.npz, NAME-test.npz or NAME-aux.npz")
        elif not is_hidden(entry.name) and entry.name != CLASSES:
            others.append(f"{entry.name}/" if entry.is_dir() else entry.name)
    if not found:
        raise BenchError(f"{folder}: nothing to import; wanted are NAME-SPLIT.npz or folders NAME-SPLIT/ of images, "
                         "SPLIT one of train, test, aux")  # fmt: skip
    if others:
        warn(f"{folder}: not imported: {some_of(others)}; wanted are NAME-SPLIT/, SPLIT one of train, test, aux")
    class_names = _class_names(folder)
    done = []
    for entry, base, split in found:
        info, (stored_as, side) = catalog.info(base), catalog.at_size(base, 32)
        if info.builtin:
            raise BenchError(f"{entry}: {base!r} is a built-in set; give yours another name")
        if info.counts and split not in info.counts:
            raise BenchError(f"{entry}: {base} has no split {split!r}; it has {', '.join(info.counts)}")
        if entry.is_dir():
            sharing = {split} if split == "aux" else {"train", "test"}
            beside = [path for path, of, other in found if of == base and other in sharing and path.is_dir()]
            titles = class_names.get(entry.name) or _titles(beside, root, stored_as, split)
            pictures = _own_folder(entry, split, titles)
            recipe = f"imported from image files: RGB, central square, PIL bicubic with antialias to {side}x{side}"
            left_out: LeftOut = Counter()
            image_files(entry, left_out)
            if unread := not_read(left_out):
                warn(f"{entry}: {unread}")
        else:
            pictures = _own_npz(entry, split, side, class_names.get(entry.stem))
            recipe = "imported as arrays"
        kept_from = entry if entry.is_dir() else None
        done.append(
            store(pictures, root, stored_as, side, recipe, report, replace=replace, folder=kept_from, warn=warn)
        )
    for name in dict.fromkeys(one.name for one in done if one.split != "aux"):
        for line in _one_sided(root, name):
            warn(line)
    for line in identical.described(done, root):
        warn(line)
    return done


def _one_sided(root: Path, name: str) -> list[str]:
    """The classes of a stored set that have training or test images alone, where it has both."""
    sides = {split: images.load(root, name, split) for split in ("train", "test")
             if images.read_manifest(root, name, split)}  # fmt: skip
    known = {split: set(np.unique(side.labels).tolist()) - {-1} for split, side in sides.items()}
    lines = []
    for here, there in (("train", "test"), ("test", "train")):
        if known.get(there) and (alone := sorted(known.get(here, set()) - known[there])):
            titles = sides[here].manifest.get("classes")
            called = some_of(titles[label] if titles else str(label) for label in alone)
            lines.append(f"{name}: classes with {here} images and no {there} images: {called}")
    return lines


def _class_names(folder: Path) -> dict[str, list[str]]:
    path = folder / CLASSES
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
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise BenchError(f"{file}: a single array, not an npz with `images` and `labels`")
        with archive:
            for key in ("images", "labels"):
                if key not in archive.files:
                    raise BenchError(f"{file}: no array {key!r} inside; it has {', '.join(archive.files) or 'none'}")
            pixels, labels = archive["images"], archive["labels"]
    except BenchError:
        raise
    except Exception as error:  # numpy and zipfile raise whatever a broken file leads them to
        reason = first_line(error)
        raise BenchError(f"{file}: not a readable npz ({reason})") from error
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
        raise BenchError(f"{file}: images are {pixels.dtype} {pixels.shape}, not uint8 (N, {size}, {size}, 3)")
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise BenchError(
            f"{file}: labels are {labels.dtype} {labels.shape}, not integers ({len(pixels)},), one an image"
        )
    _check_labels(file, labels, classes)
    return array_pictures(split, pixels, labels, str(file), classes)


def _check_labels(file: Path, labels: np.ndarray, classes: list[str] | None) -> None:
    top = math.inf if classes is None else len(classes) - 1
    if len(labels) and (labels.min() < -1 or labels.max() > top):
        named = "up" if classes is None else f"to {len(classes) - 1} (classes.json)"
        raise BenchError(f"{file}: labels run from {labels.min()} to {labels.max()}; allowed are -1 and 0 {named}")


def _titles(folders: list[Path], root: Path, name: str, split: str) -> list[str] | None:
    """The classes of folders of one set, by name: a class without test images must not shift the labels of others.
    Those that the other split is stored with, where they are among them. None where there are no class folders.

    Raises BenchError for two that are one name to a reader: `Dog` in one split and `dog` in the other."""
    place = {sub: folder for folder in reversed(folders) for sub in _class_folders(folder)}
    stored = images.read_manifest(root, name, "test" if split == "train" else "train") if split != "aux" else None
    titles = (stored or {}).get("classes") or []
    before = titles if len(folders) == 1 else []  # with both splits here, what was stored gives way
    seen: dict[str, str] = {}
    for title in dict.fromkeys([*before, *sorted(place)]):
        other = seen.setdefault(" ".join(unicodedata.normalize("NFKC", title).casefold().split()), title)
        if other != title:
            one = place[title] / title if title in place else f"the class {title!r} that {name} is stored with"
            two = place[other] / other if other in place else f"the class {other!r} that {name} is stored with"
            raise BenchError(f"{one}: is another class than {two}, by its spelling alone; give both one name")
    return titles if place and set(place).issubset(titles) else sorted(place) or None


def _class_folders(folder: Path) -> list[str]:
    entries = [entry for entry in os.scandir(folder) if entry.is_dir() and not is_hidden(entry.name)]
    return sorted(entry.name for entry in entries if image_files(entry.path))


def _own_folder(folder: Path, split: str, classes: list[str] | None) -> Pictures:
    """Class sub-folders, label k for the k-th of `classes`, or, without any, images of unknown class."""
    sub = _class_folders(folder)
    loose = [path for path in wanted_files(folder) if os.path.dirname(path) == str(folder)]
    if sub and loose:
        raise BenchError(f"{loose[0]}: lies beside class folders ({sub[0]}, ...); all images must be in one, or none")
    if not sub:
        return file_pictures(split, loose, [-1] * len(loose), None, own=True)
    if classes is None or not set(sub) <= set(classes):
        raise BenchError(f"{folder}: its folders ({', '.join(sub[:3])}, ...) are not among the names in classes.json")
    return class_folders(folder, classes, split, classes, own=True)
