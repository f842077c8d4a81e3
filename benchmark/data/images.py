"""Image sets on disk: written once and whole, read memory-mapped.

ROOT/NAME/SPLIT/ holds images.npy (N, H, W, 3) uint8, labels.npy (N,) int64 (-1: unknown) and manifest.json (count,
size, sha256, recipe, classes, versions), and names.json (the file each image came from) where it was imported from
files. A folder without its manifest counts as missing. NAME@SIZE is the same set at another size. NAME:CLASS is a part
of a stored set, see `classes`, and takes no room on disk.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL

from benchmark import files
from benchmark.data import catalog, classes, synthetic
from benchmark.data.catalog import split_class
from benchmark.errors import BenchError, StillToDo, first_line
from benchmark.exits import no_room

SCHEMA = 1
SPLITS = ("train", "test", "aux")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(@[1-9]\d*)?")
_BUILTIN_RECIPE = f"drawn by benchmark.data.synthetic, version {synthetic.VERSION}"


@dataclass(frozen=True)
class ImageSet:
    """images: (N, H, W, 3) uint8, memory-mapped, read-only. labels: (N,) int64, -1 unknown. fingerprint: sha256 (hex)
    of the bytes of images, then labels; of a class, what follows from that of its set.

    rows: of a class, the positions of its images in the stored split; images and labels are then copies in memory."""

    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray
    fingerprint: str
    manifest: dict[str, Any]
    rows: np.ndarray | None = None

    @property
    def count(self) -> int:
        return len(self.labels)


def data_root(option: Path | None = None) -> Path:
    """The data folder: `option`, else $BENCH_DATA, else ood-bench/data in the user's cache. It need not exist yet."""
    if option is not None:
        return files.expanded(option)
    if os.environ.get("BENCH_DATA"):
        return files.expanded(os.environ["BENCH_DATA"])
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return files.expanded(cache) / "ood-bench" / "data"


def folder(root: Path, name: str, split: str) -> Path:
    """Where a split of a set is kept. Raises BenchError for a name that cannot be a folder or an unknown split."""
    if not _NAME.fullmatch(name):
        raise BenchError(f"image set name {name!r}: only a-z, 0-9, '.', '_' and '-' (and @SIZE at the end) are allowed")
    if split not in SPLITS:
        raise BenchError(f"image set {name}: split {split!r} is not one of {', '.join(SPLITS)}")
    return Path(root) / name / split


def read_manifest(root: Path, name: str, split: str) -> dict[str, Any] | None:
    """The manifest of a stored split, None if the set is missing. Raises BenchError when it is damaged or too new.

    Of a class: the set's with the class's own count and sha256; raises BenchError for a class that is not there.
    """
    parent, of = split_class(name)
    if of is not None:
        whole = read_manifest(root, parent, split)
        if whole is None:
            return None
        part = classes.find(name, _names(root, parent, split, whole))
        return classes.part_manifest(whole, name, split, part, _labels(root, parent, split))
    path = folder(root, name, split) / "manifest.json"
    if not path.is_file():
        return None
    manifest = files.read_json(path)
    if not isinstance(manifest, dict) or not {"schema", "count", "size", "sha256", "recipe"} <= manifest.keys():
        raise BenchError(f"{path}: not a manifest of an image set; delete its folder and get {name} again")
    files.schema_version(path, manifest, 1, SCHEMA, "schema")
    return manifest


def fingerprint(root: Path, name: str, split: str, *, store: bool = True) -> str | None:
    """sha256 of a stored split by its manifest alone, None if the set is missing. A built-in set is drawn first, and
    stored unless `store` is False.

    Raises BenchError for a class that its set does not have; one without images in this split is found when it is read.
    """
    parent, of = split_class(name)
    manifest = _draw_builtin(root, parent, split, store) or read_manifest(root, parent, split)
    if manifest is None or of is None:
        return manifest["sha256"] if manifest else None
    return classes.find(name, _names(root, parent, split, manifest)).fingerprint(manifest["sha256"])


def stored_fingerprint(root: Path, key: str) -> str | None:
    """`fingerprint` of "set/split" `key`, but nothing is drawn for it. None too for a damaged set, of which
    `bench data verify` speaks."""
    name, _, split = key.rpartition("/")
    try:
        here = read_manifest(root, split_class(name)[0], split)
        return None if here is None else fingerprint(root, name, split, store=False)
    except BenchError:
        return None


def load(root: Path, name: str, split: str) -> ImageSet:
    """A stored split, memory-mapped; a built-in one is drawn when it is missing. Of a class, its images are copied.

    Raises BenchError, which says how to get the set when it is missing, and names the file when it is damaged; and for
    a class that the set does not have, or has no images of in this split.
    """
    parent, of = split_class(name)
    if of is not None:
        whole = load(root, parent, split)
        part = classes.find(name, _names(root, parent, split, whole.manifest))
        mine, rows = classes.part_manifest(whole.manifest, name, split, part, whole.labels), part.rows(whole.labels)
        own = np.asarray(whole.images[rows])
        own.flags.writeable = False
        return ImageSet(name, split, own, whole.labels[rows], mine["sha256"], mine, rows)
    _draw_builtin(root, name, split)
    manifest = read_manifest(root, name, split)
    where = folder(root, name, split)
    if manifest is None:
        raise BenchError(f"image set {name}/{split} is not in {root}; {catalog.info(name).how_to_get}")
    images, labels = _read_array(where / "images.npy"), np.array(_read_array(where / "labels.npy"))
    count, size = manifest["count"], manifest["size"]
    for file, array, shape, kind in (
        ("images.npy", images, (count, size, size, 3), np.uint8),
        ("labels.npy", labels, (count,), np.int64),
    ):
        if array.shape != shape or array.dtype != kind:
            raise BenchError(
                f"{where / file}: holds {array.dtype} {array.shape}, its manifest says {kind.__name__} {shape}; "
                f"delete the folder and prepare or import {name} again"
            )
    return ImageSet(name, split, images, labels, manifest["sha256"], manifest)


def file_names(images: ImageSet, root: Path) -> list[str] | None:
    """The files that a stored split was imported from, image by image; None where that is not known."""
    parent = split_class(images.name)[0]
    path = folder(root, parent, images.split) / "names.json"
    if not path.is_file():
        return None
    whole = images if images.rows is None else load(root, parent, images.split)
    names = files.read_names(path, whole.count, f"delete it or import {parent} again")
    return names if images.rows is None else [names[row] for row in images.rows]


def class_names(root: Path, name: str, split: str, store: bool = True) -> dict[str, int] | None:
    """Name -> label of the classes of a stored set, in label order; None where this split is missing. store: as for
    `fingerprint`.

    Raises BenchError for a set without labels, and for one in the catalogue whose stored classes are others than there.
    """
    manifest = _draw_builtin(root, name, split, store) or read_manifest(root, name, split)
    return None if manifest is None else _names(root, name, split, manifest)


def write_set(
    root: Path,
    name: str,
    split: str,
    images: np.ndarray,
    labels: np.ndarray,
    recipe: str,
    classes: list[str] | None = None,
    replace: bool = False,
    official: bool = False,
) -> ImageSet:
    """Store images (N, S, S, 3) uint8 and labels (N,) as a split of a set, and load it.

    official: these are the set's official files, whole. Raises BenchError where other images are stored, unless
    `replace`.
    """
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3 or images.dtype != np.uint8:
        raise BenchError(f"image set {name}/{split}: images are {images.dtype} {images.shape}, not uint8 (N, S, S, 3)")
    with SetWriter(root, name, split, images.shape[1]) as writer:
        for start in range(0, len(images), 4096):
            writer.add(images[start : start + 4096], labels[start : start + 4096])
        return writer.finish(recipe, classes, replace, official)


class SetWriter:
    """Writes a split piece by piece in a folder of its own, which takes its place in one rename when all is there.

    Plain writes and not a memory map: on a full disk these raise, where a store to a map kills the process.
    """

    def __init__(self, root: Path, name: str, split: str, size: int, remedy: str = "allow it with --replace") -> None:
        """remedy: how to go on where other images are stored under the name."""
        self.remedy = remedy
        self.root, self.name, self.split, self.size = root, name, split, size
        self.target = folder(root, name, split)
        self._temporary = self.target.with_name(f".{split}.{secrets.token_hex(4)}.tmp")
        self._labels: list[np.ndarray] = []
        self._sha = hashlib.sha256()
        self._images: IO[bytes] | None = None

    def __enter__(self) -> SetWriter:
        with self._explained():
            self._temporary.mkdir(parents=True)
            self._images = open(self._temporary / "images.npy", "wb")
            self._write_header(0)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._images is not None:
            with contextlib.suppress(OSError):
                self._images.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Append images (n, S, S, 3) uint8 and labels (n,)."""
        assert self._images is not None, "use SetWriter in a with statement"
        assert images.shape[1:] == (self.size, self.size, 3) and images.dtype == np.uint8
        assert labels.shape == images.shape[:1]
        pixels = np.ascontiguousarray(images).data
        self._sha.update(pixels)
        with self._explained():
            self._images.write(pixels)
        self._labels.append(np.asarray(labels, dtype=np.int64))

    def finish(
        self,
        recipe: str,
        classes: list[str] | None,
        replace: bool = False,
        official: bool = False,
        names: list[str] | None = None,
    ) -> ImageSet:
        """Complete the arrays, write the manifest and put the folder in its place. names: each image's own file."""
        assert self._images is not None
        labels = np.concatenate([np.zeros(0, np.int64), *self._labels])
        if not len(labels):
            raise BenchError(f"image set {self.name}/{self.split}: no images, nothing stored")
        if labels.min() < -1 or (classes is not None and labels.max() >= len(classes)):
            raise BenchError(
                f"image set {self.name}/{self.split}: labels run from {labels.min()} to {labels.max()}; allowed are -1 "
                f"(unknown) and 0 to {'any' if classes is None else len(classes) - 1}"
            )
        self._sha.update(labels.data)
        manifest = {
            "schema": SCHEMA, "name": self.name, "split": self.split, "count": len(labels), "size": self.size,
            "sha256": self._sha.hexdigest(), "recipe": recipe, "classes": classes, "official": official,
            "versions": {"numpy": np.__version__, "pillow": PIL.__version__, "python": platform.python_version()},
        }  # fmt: skip
        with self._explained():
            self._write_header(len(labels))
            self._images.flush()
            os.fsync(self._images.fileno())
            self._images.close()
            with files.atomic_write(self._temporary / "labels.npy") as stream:
                np.save(stream, labels, allow_pickle=False)
            files.write_json(self._temporary / "manifest.json", manifest)
            if names:
                files.write_json(self._temporary / "names.json", names)
            self._publish(manifest, replace)
        return load(self.root, self.name, self.split)

    def _write_header(self, count: int) -> None:
        """The .npy header for `count` images. NumPy leaves room for the first axis to grow, so its length is always
        the same and the true count can be written over it at the end."""
        assert self._images is not None
        self._images.seek(0)
        shape = (count, self.size, self.size, 3)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._images, header)

    def _publish(self, manifest: dict[str, Any], replace: bool) -> None:
        """Rename the folder into place; another process may be doing the same, hence the second look."""
        for attempt in range(5):
            there = read_manifest(self.root, self.name, self.split)
            if there is not None and there["sha256"] == manifest["sha256"]:
                # The same pixels: only what is said about them may change, and never from official to not.
                if manifest["official"] or not there.get("official"):
                    files.write_json(self.target / "manifest.json", manifest)
                if (self._temporary / "names.json").exists():
                    os.replace(self._temporary / "names.json", self.target / "names.json")
                return
            if there is not None and not replace:
                raise BenchError(
                    f"{self.target} holds other images ({there['count']}, sha256 {there['sha256'][:8]}) than the "
                    f"{manifest['count']} to be stored (sha256 {manifest['sha256'][:8]}); {self.remedy}"
                )
            aside = self.target.with_name(f".{self.split}.{secrets.token_hex(4)}.old.tmp")
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.target, aside)
            try:
                os.rename(self._temporary, self.target)
                files.sync_folder(self.target.parent)
                return
            except OSError:
                if attempt == 4 or not self.target.exists():
                    raise
            finally:
                with contextlib.suppress(OSError):
                    os.rename(aside, self.target)  # back, where nothing has come in its place
                shutil.rmtree(aside, ignore_errors=True)

    @contextlib.contextmanager
    def _explained(self) -> Any:
        try:
            yield
        except OSError as error:
            kind = StillToDo if no_room(error) else BenchError
            raise kind(f"{self.target}: cannot write ({error.strerror or error})") from error


def stored(root: Path) -> list[tuple[str, str]]:
    """Every (set, split) folder under `root`, complete or not, sorted."""
    found = []
    if Path(root).is_dir():
        for path in sorted(Path(root).iterdir()):
            if path.is_dir() and _NAME.fullmatch(path.name):
                found += [(path.name, split) for split in SPLITS if (path / split).is_dir()]
    return found


def rehash(root: Path, name: str, split: str) -> str:
    """sha256 of the stored arrays, computed anew."""
    kept = load(root, name, split)
    return _sha256(kept.images, kept.labels)


def _sha256(images: np.ndarray, labels: np.ndarray) -> str:
    sha = hashlib.sha256()
    for start in range(0, len(images), 4096):
        sha.update(np.ascontiguousarray(images[start : start + 4096]).data)
    sha.update(np.asarray(labels, dtype=np.int64).data)
    return sha.hexdigest()


def _names(root: Path, name: str, split: str, manifest: dict[str, Any]) -> dict[str, int]:
    def labels() -> list[np.ndarray]:
        there = [s for s in SPLITS if (folder(root, name, s) / "manifest.json").is_file()]
        return [_labels(root, name, s) for s in there]

    return classes.stored_names(name, split, manifest.get("classes"), labels)


def _labels(root: Path, name: str, split: str) -> np.ndarray:
    return _read_array(folder(root, name, split) / "labels.npy")


def _read_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = first_line(error)
        raise BenchError(f"{path}: not a readable array ({reason}); delete its folder and get the set again") from error


def _draw_builtin(root: Path, name: str, split: str, store: bool = True) -> dict[str, Any] | None:
    """Draw a built-in set that is missing or drawn by an older version. Two processes at once are safe: the later
    rename finds the same pixels and keeps them. Not stored, it has what its manifest would say returned."""
    base = catalog.split_size(name)[0]
    info = catalog.info(base)
    if not info.builtin:
        return None
    if name != base:
        raise BenchError(f"image set {name}: built-in sets exist at 32x32 only; use {base!r}")
    if split not in info.counts:
        raise BenchError(f"image set {name} has no split {split!r}; it has {', '.join(info.counts)}")
    manifest = read_manifest(root, name, split)
    if manifest is not None and manifest["recipe"] == _BUILTIN_RECIPE:
        return None
    if not store:
        return _drawn(name, split)
    images, labels = synthetic.generate(name, split)
    write_set(root, name, split, images, labels, _BUILTIN_RECIPE, synthetic.classes(name), replace=True, official=True)
    return None


@functools.cache  # it takes seconds, and a plan asks for each set again and again
def _drawn(name: str, split: str) -> dict[str, Any]:
    """Of a built-in set, what its manifest says."""
    images, labels = synthetic.generate(name, split)
    about = {"count": len(labels), "size": images.shape[1], "classes": synthetic.classes(name)}
    return {"sha256": _sha256(images, labels), "recipe": _BUILTIN_RECIPE, **about}
