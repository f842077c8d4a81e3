"""Which of someone's folders is what: in-distribution, auxiliary, OOD.

FOLDER/in holds the in-distribution (ID) images, FOLDER/aux the auxiliary ones, each sub-folder of FOLDER/ood one OOD
set; folders inside these are searched to the bottom.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.data import catalog
from benchmark.data.finding import image_files, is_hidden, wanted_files
from benchmark.errors import BenchError, some_of
from benchmark.files import expanded

ID_FOLDERS = ("in", "id", "in-dist", "in_dist", "train")
AUX_FOLDERS = ("aux", "auxiliary")
OOD_FOLDERS = ("ood", "out")


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
        # Of other sets' folders only those inside this one: links of one's own to their images are meant.
        others = [path for path in others if path.is_relative_to(inside.resolve())]
        inside_files = [file for file in wanted_files(inside) if not _within(file, others)]
    else:
        raise BenchError(
            f"{folder}: no in-distribution images; put them in it or in {folder / ID_FOLDERS[0]}, or name their folder "
            f"with --in-dist (. for all of it); folders in it: {_folders(folder) or 'none'}"
        )
    sources = [Source(_title(folder, inside), "id", inside, inside_files, name)]
    if aux is not None:
        sources.append(Source(_title(folder, aux), "aux", aux, wanted_files(aux), f"{name}-aux"))
    for path, title in outside:
        files = _loose(path) if path.name.lower() in OOD_FOLDERS and not list(ood) else wanted_files(path)
        sources.append(Source(title, "ood", path, files, f"{name}-{slug(path.name)}"))
    if not inside_files:
        raise BenchError(f"{inside}: all its images are those of the auxiliary or OOD folders inside it")
    names = Counter(source.name for source in sources if source.role == "ood")
    if doubled := [stored for stored, count in names.items() if count > 1]:
        titles = " and ".join(source.title for source in sources if source.name == doubled[0])
        raise BenchError(f"{folder}: the OOD sets {titles} would both be stored as {doubled[0]!r}; rename one")
    used = [source.folder.resolve() for source in sources if source.folder != folder or in_dist]
    whole = in_dist == "."
    unused = [] if whole else list(_unused(folder, used))
    if inside != folder and (loose := _loose(folder)) and not whole:
        unused.append(f"{len(loose)} images beside the folders")
    auxiliaries = [source for source in sources if source.role == "aux"]
    found = tuple(source for source in sources if source.role == "ood")
    return Layout(sources[0], auxiliaries[0] if auxiliaries else None, found, tuple(unused))


def slug(text: str) -> str:
    """`text` as a name for a stored set: a-z, 0-9, '.', '_' and '-', accents taken off.

    Where letters are lost, as of other scripts, six digits of a hash of `text` stand for them: names stay apart.
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    name = re.sub(r"[^a-z0-9._-]+", "-", re.sub(r"[\u0300-\u036f]", "", plain)).strip("-._")
    if name and not any(letter.isalnum() and not letter.isascii() for letter in plain):
        return name
    digest = hashlib.sha256(unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{name or 'images'}-{digest[:6]}"


def _given(folder: Path, sub: str, option: str) -> Path:
    path = folder if sub == "." else folder / expanded(sub)
    if not path.is_dir():
        raise BenchError(f"{option} {sub}: no such folder in {folder}; there are: {_folders(folder) or 'none'}")
    return path


def _folders(folder: Path) -> str:
    return some_of(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name)))


def _found(folder: Path, names: Iterable[str]) -> Path | None:
    by_name = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    return next((by_name[name] for name in names if name in by_name), None)


def _ood_folders(folder: Path) -> list[tuple[Path, str]]:
    """Each sub-folder of FOLDER/ood is a set, and so are the images that lie in FOLDER/ood itself."""
    place = _found(folder, OOD_FOLDERS)
    if place is None:
        return []
    subs = [entry for entry in sorted(place.iterdir()) if _images_of(entry)]
    return [(path, _title(folder, path)) for path in [*([place] if _loose(place) else []), *subs]]


def _loose(folder: Path) -> list[str]:
    """The image files in `folder` itself."""
    return [path for path in image_files(folder) if os.path.dirname(path) == str(folder)]


def _within(file: str, folders: Iterable[Path]) -> bool:
    return any(Path(file).parent.resolve().is_relative_to(folder) for folder in folders)


def _images_of(entry: Path) -> list[str]:
    """The image files in a folder and below it; none of what is hidden or no folder."""
    return image_files(entry) if entry.is_dir() and not is_hidden(entry.name) else []


def _unused(folder: Path, used: list[Path]) -> Iterator[str]:
    """The folders in `folder` that hold images and have nothing to do with those in use, with how many."""
    for entry in sorted(folder.iterdir()):
        path = entry.resolve()
        touched = any(one.is_relative_to(path) or path.is_relative_to(one) for one in used)
        if not touched and (files := _images_of(entry)):
            yield f"{entry.name}/ ({len(files)} images)"


def _title(folder: Path, path: Path) -> str:
    return os.path.relpath(path, folder) if path != folder else folder.name


def free_name(folder: Path) -> str:
    """A name for the sets of `folder` that the catalogue does not have."""
    name = slug(folder.resolve().name)
    return f"my-{name}" if name in catalog.CATALOG else name
