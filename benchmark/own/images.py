"""Someone's own folders of images -> stored sets: in-distribution train and test, auxiliary, OOD.

FOLDER/in holds the in-distribution (ID) images, FOLDER/aux the auxiliary ones, each sub-folder of FOLDER/ood one OOD
set; folders inside these are searched to the bottom. No labels are needed: all are stored as -1.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.data import catalog, images
from benchmark.data.pictures import SUFFIXES, UNREADABLE, image_files, read_picture, to_square
from benchmark.errors import BenchError, first_line
from benchmark.own import duplicates

ID_FOLDERS = ("in", "id", "in-dist", "in_dist", "train")
AUX_FOLDERS = ("aux", "auxiliary")
OOD_FOLDERS = ("ood", "out")
SIZES = (32, 48, 64, 96, 128, 160, 192, 224, 256)  # sides that patches of whole pixels divide, also at half the side
NEIGHBOURS = 20  # a run asks for so many in its bank of training images
FEWEST = 25  # ID images: that many to train on, and some to test on

Tick = Callable[[str, int, int], object]  # what is being done, how many of how many


@dataclass(frozen=True)
class Source:
    """Files that become one set. title: the folder as the user knows it. role: "id", "aux" or "ood"."""

    title: str
    role: str
    folder: Path
    files: list[str]
    name: str = ""


@dataclass(frozen=True)
class Layout:
    """What a folder holds. unused: sub-folders and files with images that belong to none of the sets."""

    in_dist: Source
    auxiliary: Source | None
    ood: tuple[Source, ...]
    unused: tuple[str, ...]

    @property
    def sources(self) -> list[Source]:
        return [self.in_dist, *([self.auxiliary] if self.auxiliary else []), *self.ood]


@dataclass
class Loaded:
    """The images of a source at their stored size, copies left out.

    stored: (M, S, S, 3) uint8 on disk, of which `rows` (N,) are kept. original: (N, 2) width and height of the files.
    formats: how many files of each format. broken: "path (reason)" of each unreadable file.
    copies: files left out, as their stored pixels are another's.
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

    @property
    def repeated(self) -> NDArray[np.int64]:
        """Positions of the images that have a near-duplicate in the same set."""
        _, which, sizes = np.unique(self.cluster, return_inverse=True, return_counts=True)
        return np.flatnonzero(sizes[which] > 1)

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
    numbers of ID images on each side."""

    name: str
    size: int
    root: Path
    layout: Layout
    loaded: list[Loaded]
    overlaps: list[Overlap]
    dropped: bool = False
    train: int = 0
    test: int = 0

    def of(self, role: str) -> list[Loaded]:
        return [one for one in self.loaded if one.source.role == role]


# --- which folder is what --------------------------------------------------------------------------------------------


def layout(
    folder: Path,
    name: str,
    in_dist: str | None = None,
    auxiliary: str | None = None,
    ood: Iterable[str] = (),
) -> Layout:
    """Say what the folder holds. name: prefix of the stored sets. in_dist, auxiliary, ood: sub-folders, instead of
    those found by their names; "." is `folder` itself, less the other sets.

    Raises BenchError when there are no ID images, or a folder given has none.
    """
    if not folder.is_dir():
        raise BenchError(f"{folder}: no such folder")
    aux = _given(folder, auxiliary, "--auxiliary") if auxiliary else _found(folder, AUX_FOLDERS)
    outside = [(_given(folder, sub, "--ood"), sub) for sub in ood] or _ood_folders(folder)
    inside = _given(folder, in_dist, "--in-dist") if in_dist else _found(folder, ID_FOLDERS)
    if inside is None and _loose(folder):
        inside_files, inside = _loose(folder), folder
    elif inside is not None:
        others = [path.resolve() for path in [aux, *(path for path, _ in outside)] if path and path != inside]
        inside_files = [file for file in image_files(inside) if not _within(file, others)]
    else:
        there = ", ".join(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())) or "no folders"
        raise BenchError(
            f"{folder}: no in-distribution images; put them in {folder / ID_FOLDERS[0]}, or name their folder with "
            f"--in-dist (. for all of it); there is {there}"
        )
    sources = [Source(_title(folder, inside), "id", inside, inside_files, name)]
    if aux is not None:
        sources.append(Source(_title(folder, aux), "aux", aux, image_files(aux), f"{name}-aux"))
    for path, title in outside:
        files = _loose(path) if path.name.lower() in OOD_FOLDERS and not list(ood) else image_files(path)
        sources.append(Source(title, "ood", path, files, f"{name}-{slug(path.name)}"))
    for source in sources:
        if not source.files:
            raise BenchError(f"{source.folder}: no image files inside (looked for {', '.join(SUFFIXES)})")
    names = Counter(source.name for source in sources if source.role == "ood")
    if doubled := [stored for stored, count in names.items() if count > 1]:
        titles = " and ".join(source.title for source in sources if source.name == doubled[0])
        raise BenchError(f"{folder}: the OOD sets {titles} would both be stored as {doubled[0]!r}; rename one")
    used = [source.folder.resolve() for source in sources if source.folder != folder or in_dist]
    whole = in_dist == "."
    unused = [] if whole else [f"{e.name}/" for e in sorted(folder.iterdir()) if _is_unused(e, used)]
    if inside != folder and (loose := _loose(folder)) and not whole:
        unused.append(f"{len(loose)} images beside the folders")
    auxiliaries = [source for source in sources if source.role == "aux"]
    found = tuple(source for source in sources if source.role == "ood")
    return Layout(sources[0], auxiliaries[0] if auxiliaries else None, found, tuple(unused))


def slug(text: str) -> str:
    """`text` as a name for a stored set: a-z, 0-9, '.', '_' and '-'; "images" where nothing is left."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or "images"


def _given(folder: Path, sub: str, option: str) -> Path:
    path = folder if sub == "." else folder / sub
    if not path.is_dir():
        there = ", ".join(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())) or "none"
        raise BenchError(f"{option} {sub}: no such folder in {folder}; there are: {there}")
    return path


def _found(folder: Path, names: Iterable[str]) -> Path | None:
    by_name = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    return next((by_name[name] for name in names if name in by_name), None)


def _ood_folders(folder: Path) -> list[tuple[Path, str]]:
    """Each sub-folder of FOLDER/ood is a set, and so are the images that lie in FOLDER/ood itself."""
    place = _found(folder, OOD_FOLDERS)
    if place is None:
        return []
    subs = [entry for entry in sorted(place.iterdir()) if entry.is_dir() and image_files(entry)]
    return [(path, _title(folder, path)) for path in [*([place] if _loose(place) else []), *subs]]


def _loose(folder: Path) -> list[str]:
    """The image files in `folder` itself."""
    return [path for path in image_files(folder) if os.path.dirname(path) == str(folder)]


def _within(file: str, folders: Iterable[Path]) -> bool:
    return any(Path(file).resolve().is_relative_to(folder) for folder in folders)


def _is_unused(entry: Path, used: list[Path]) -> bool:
    path = entry.resolve()
    touched = any(one.is_relative_to(path) or path.is_relative_to(one) for one in used)
    return entry.is_dir() and not entry.name.startswith(".") and not touched and bool(image_files(entry))


def _title(folder: Path, path: Path) -> str:
    return os.path.relpath(path, folder) if path != folder else folder.name


# --- reading, cleaning, splitting, storing ---------------------------------------------------------------------------


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
    own = Own(_stored(found.in_dist.name, size), size, root, found, loaded, overlaps, drop_duplicates)
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
    return _stored(source.name, own.size)


def _stored(name: str, size: int) -> str:
    return name if size == 32 else f"{name}@{size}"


def _load(source: Source, size: int, root: Path, tick: Tick) -> Loaded:
    """Read every file. The pixels wait in a nameless file on the data folder's disk: they may not fit in memory."""
    broken: list[str] = []
    names, original, formats = [], [], Counter[str]()

    def read(path: str) -> tuple[np.ndarray, tuple[int, int], str] | None:
        try:
            with Image.open(path) as header:
                kind = str(header.format)
            picture = read_picture(path)
            return to_square(picture, size), picture.size, kind
        except UNREADABLE as error:
            broken.append(f"{path} ({first_line(error)})")
            return None

    with tempfile.TemporaryFile(dir=root) as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(source.files), 256):
            tick(f"reading {source.title}", start, len(source.files))
            part = source.files[start : start + 256]
            for path, got in zip(part, pool.map(read, part), strict=True):
                if got is not None:
                    scratch.write(got[0].tobytes())
                    names.append(os.path.relpath(path, source.folder))
                    original.append(got[1])
                    formats[got[2]] += 1
        tick(f"reading {source.title}", len(source.files), len(source.files))
        scratch.flush()
        if not names:
            raise BenchError(f"{source.folder}: none of its {len(source.files)} image files can be read: {broken[0]}")
        pixels: Any = np.memmap(scratch, np.uint8, "r", shape=(len(names), size, size, 3))
    first = duplicates.first_of_copies(pixels)
    kept = np.flatnonzero(first == np.arange(len(first)))
    copies = [f"{names[i]} = {names[first[i]]}" for i in range(len(names)) if first[i] != i]
    signatures = duplicates.signatures(pixels)[kept]
    pairs = duplicates.near_pairs(signatures, tick=partial(tick, f"near-duplicates in {source.title}"))
    return Loaded(
        source, pixels, kept, [names[i] for i in kept], np.array(original, np.int64)[kept], formats, sorted(broken),
        copies, signatures, duplicates.clusters(len(kept), pairs),
    )  # fmt: skip


def _overlaps(loaded: list[Loaded], tick: Tick) -> list[Overlap]:
    """Auxiliary against ID, OOD against ID, OOD against auxiliary: for each image of the first its first likeness."""
    order = {"id": 0, "aux": 1, "ood": 2}
    made = []
    for one in loaded:
        for other in loaded:
            if order[other.source.role] >= order[one.source.role]:
                continue
            what = f"near-duplicates of {other.source.title} in {one.source.title}"
            pairs = duplicates.near_pairs(one.signatures, other.signatures, tick=partial(tick, what))
            # Copies were left out on both sides, so a likeness may be the very same picture.
            positions, first = np.unique(pairs[:, 0], return_index=True)
            named = [(one.names[i], other.names[j]) for i, j in pairs[first]]
            made.append(Overlap(one.source, other.source, named, positions))
    return made


def _store(own: Own, one: Loaded, split: str, index: NDArray[np.int64], more: str, replace: bool) -> None:
    recipe = f"imported from image files: RGB, central square, PIL bicubic with antialias to {own.size}x{own.size}"
    name = stored_name(own, one.source)
    with images.SetWriter(own.root, name, split, own.size) as writer:
        for start in range(0, len(index), 1024):
            part = index[start : start + 1024]
            writer.add(one.images(part), np.full(len(part), -1))
        names = [one.names[i] for i in index]
        writer.finish(f"{recipe}; {more}" if more else recipe, None, replace, names=names)


def free_name(folder: Path) -> str:
    """A name for the sets of `folder` that the catalogue does not have."""
    name = slug(folder.resolve().name)
    return f"my-{name}" if name in catalog.CATALOG else name
