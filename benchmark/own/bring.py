"""The images of a layout -> stored sets: read, copies left out, ID split into train and test, stored.

No labels are needed: all are stored as -1.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.cores import usable_cores
from benchmark.data import images
from benchmark.data.catalog import name_at
from benchmark.data.pictures import Values, open_picture, to_square, turned_by_exif
from benchmark.errors import BenchError, first_line
from benchmark.own import duplicates
from benchmark.own.layout import Layout, Source

SIZES = (32, 48, 64, 96, 128, 160, 192, 224, 256)  # sides that patches of whole pixels divide, also at half the side
NEIGHBOURS = 20  # a run asks for so many in its bank of training images
_REMEDY = (
    "call yours otherwise with --name NAME; or, where they are the same folder's as before, put them in place of those "
    "with --replace"
)
FEWEST = 25  # ID images: that many to train on, and some to test on

Tick = Callable[[str, int, int], object]  # what is being done, how many of how many


@dataclass
class Loaded:
    """The images of a source at their stored size, copies left out.

    stored: (M, S, S, 3) uint8 on disk, of which `rows` (N,) are kept. original: (N, 2) width and height of the files.
    formats: how many files of each format. broken: "path (reason)" of each unreadable file.
    copies: files left out, as their stored pixels are another's. narrow: what is wrong with the range of the pixels, ""
    for nothing.
    """

    source: Source
    stored: NDArray[np.uint8]
    rows: NDArray[np.int64]
    names: list[str]
    original: NDArray[np.int64]
    formats: Counter[str]
    broken: list[str]
    copies: list[str]
    signatures: NDArray[np.float32] = field(repr=False)
    cluster: NDArray[np.int64] = field(repr=False)
    narrow: str = ""

    @property
    def repeated(self) -> NDArray[np.int64]:
        """Positions of the images that have a near-duplicate in the same set."""
        _, which, sizes = np.unique(self.cluster, return_inverse=True, return_counts=True)
        return np.flatnonzero(sizes[which] > 1)

    @property
    def cut_off(self) -> NDArray[np.float64]:
        """(N,) the share of each image outside its central square."""
        return np.asarray(1 - self.original.min(1) / self.original.max(1))

    def images(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(len(index), S, S, 3) uint8 in memory."""
        return np.asarray(self.stored[self.rows[index]])

    def keep(self, index: NDArray[np.int64]) -> None:
        """Leave out all but these."""
        self.rows, self.original = self.rows[index], self.original[index]
        self.signatures, self.cluster = self.signatures[index], self.cluster[index]
        self.names = [self.names[i] for i in index]


@dataclass(frozen=True)
class Overlap:
    """Near-duplicates between two sets. pairs: (name in `one`, name in `other`), one for each image of `one`."""

    one: Source
    other: Source
    pairs: list[tuple[str, str]]
    positions: NDArray[np.int64]


@dataclass
class Own:
    """What `bring` stored. name: of the ID set. dropped: whether the overlapping images were left out. train, test:
    numbers of ID images on each side. stored: "set/split" -> sha256 of what was stored."""

    name: str
    size: int
    root: Path
    layout: Layout
    loaded: list[Loaded]
    overlaps: list[Overlap]
    dropped: bool = False
    train: int = 0
    test: int = 0
    stored: dict[str, str] = field(default_factory=dict)

    def with_role(self, role: str) -> list[Loaded]:
        return [one for one in self.loaded if one.source.role == role]


def bring(
    found: Layout,
    root: Path,
    size: int = 32,
    test_share: float = 0.2,
    seed: int = 0,
    drop_duplicates: bool = False,
    replace: bool = False,
    tick: Tick = lambda what, done, total: None,
) -> Own:
    """Read all sets of a layout, and store them under `root`.

    Copies with the same stored pixels are left out. ID is split into train and test, near-duplicates on one side.
    drop_duplicates: leave out auxiliary images that repeat ID ones, and OOD images that repeat ID or auxiliary ones.
    Raises BenchError for a size or share that is not allowed, too few images, and other images stored under a name.
    """
    if size not in SIZES:
        raise BenchError(f"--size {size}: must be one of {', '.join(map(str, SIZES))}")
    if not 0 < test_share < 1:
        raise BenchError(f"--test-share {test_share:g}: must lie between 0 and 1")
    for source in found.sources:
        images.folder(root, source.name, "test")  # complain of a bad name before an hour's reading
    root.mkdir(parents=True, exist_ok=True)
    loaded = [_load(source, size, root, tick) for source in found.sources]
    inside = loaded[0]
    if len(inside.names) < FEWEST:
        raise BenchError(
            f"{inside.source.folder}: {len(inside.names)} different readable images; at least {FEWEST} are needed to "
            "train and test at all, and some thousands to learn anything from"
        )
    overlaps = [overlap for overlap in _overlaps(loaded, tick) if overlap.pairs]
    if drop_duplicates:
        for one in loaded:
            gone = [overlap.positions for overlap in overlaps if overlap.one is one.source]
            if gone:
                one.keep(np.setdiff1d(np.arange(len(one.names)), np.concatenate(gone)))
                if not one.names:
                    raise BenchError(f"{one.source.folder}: every image repeats one of another set; nothing is left")
    own = Own(name_at(found.in_dist.name, size), size, root, found, loaded, overlaps, drop_duplicates)
    train, test = duplicates.split(inside.cluster, test_share, seed)
    if len(train) < NEIGHBOURS or not len(test):
        raise BenchError(
            f"{inside.source.folder}: {len(train)} images to train on and {len(test)} to test on, near-duplicates kept "
            f"together; at least {NEIGHBOURS} and 1 are needed: more images, or another --test-share"
        )
    own.train, own.test = len(train), len(test)
    share = f"train and test split {1 - test_share:g} : {test_share:g}, near-duplicates on one side, seed {seed}"
    _store(own, inside, "train", train, share, replace)
    _store(own, inside, "test", test, share, replace)
    for one in loaded[1:]:
        _store(own, one, "aux" if one.source.role == "aux" else "test", np.arange(len(one.names)), "", replace)
    return own


def stored_name(own: Own, source: Source) -> str:
    """What the set of this source is called in the data folder."""
    return name_at(source.name, own.size)


def _load(source: Source, size: int, root: Path, tick: Tick) -> Loaded:
    """Read every file. The pixels wait in a nameless file on the data folder's disk: they may not fit in memory."""
    broken: list[str] = []
    names, original, formats = [], [], Counter[str]()
    values = Values()

    def read(path: str) -> tuple[np.ndarray, tuple[int, int], str] | None:
        try:
            picture = open_picture(path)
            turned = turned_by_exif(picture)
            return to_square(values.of(turned), size), turned.size, str(picture.format)
        except Exception as error:  # PIL's readers raise whatever a broken file leads them to
            broken.append(f"{path} ({first_line(error)})")
            return None

    with tempfile.TemporaryFile(dir=root) as scratch, ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(source.files), 256):
            tick(f"image files read of {source.title}", start, len(source.files))
            part = source.files[start : start + 256]
            for path, got in zip(part, pool.map(read, part), strict=True):
                if got is not None:
                    scratch.write(got[0].tobytes())
                    names.append(os.path.relpath(path, source.folder))
                    original.append(got[1])
                    formats[got[2]] += 1
        tick(f"image files read of {source.title}", len(source.files), len(source.files))
        scratch.flush()
        if not names:
            raise BenchError(f"{source.folder}: none of its {len(source.files)} image files can be read: {broken[0]}")
        pixels: Any = np.memmap(scratch, np.uint8, "r", shape=(len(names), size, size, 3))
    first = duplicates.first_of_copies(pixels)
    kept = np.flatnonzero(first == np.arange(len(first)))
    copies = [f"{names[i]} = {names[first[i]]}" for i in range(len(names)) if first[i] != i]
    signatures = duplicates.signatures(pixels)[kept]
    pairs = duplicates.near_pairs(signatures, tick=partial(tick, f"images of {source.title} compared with one another"))
    return Loaded(
        source, pixels, kept, [names[i] for i in kept], np.array(original, np.int64)[kept], formats, sorted(broken),
        copies, signatures, duplicates.clusters(len(kept), pairs), values.narrow(),
    )  # fmt: skip


def _overlaps(loaded: list[Loaded], tick: Tick) -> list[Overlap]:
    """Auxiliary against ID, OOD against ID, OOD against auxiliary: for each image of the first its first likeness."""
    order = {"id": 0, "aux": 1, "ood": 2}
    made = []
    for one in loaded:
        for other in loaded:
            if order[other.source.role] >= order[one.source.role]:
                continue
            what = f"images of {one.source.title} compared with those of {other.source.title}"
            pairs = duplicates.near_pairs(one.signatures, other.signatures, tick=partial(tick, what))
            # Copies were left out on both sides, so a likeness may be the very same picture.
            positions, first = np.unique(pairs[:, 0], return_index=True)
            named = [(one.names[i], other.names[j]) for i, j in pairs[first]]
            made.append(Overlap(one.source, other.source, named, positions))
    return made


def _store(own: Own, one: Loaded, split: str, index: NDArray[np.int64], more: str, replace: bool) -> None:
    recipe = f"imported from image files: RGB, central square, PIL bicubic with antialias to {own.size}x{own.size}"
    name = stored_name(own, one.source)
    with images.SetWriter(own.root, name, split, own.size, _REMEDY) as writer:
        for start in range(0, len(index), 1024):
            part = index[start : start + 1024]
            writer.add(one.images(part), np.full(len(part), -1))
        names = [one.names[i] for i in index]
        done = writer.finish(f"{recipe}; {more}" if more else recipe, None, replace, names=names)
    own.stored[f"{name}/{split}"] = done.fingerprint
