"""Bring the catalogue's image sets into the data folder from their official files."""

from __future__ import annotations

from pathlib import Path

from benchmark import files
from benchmark.data import catalog, images
from benchmark.data.archives import READERS
from benchmark.data.downloads import DOWNLOADS, LOADERS, from_torchvision
from benchmark.data.images import ImageSet
from benchmark.data.storing import Report, store
from benchmark.errors import BenchError, unknown


def prepare(
    name: str,
    root: Path,
    source: Path | None = None,
    size: int = 32,
    report: Report = print,
    replace: bool = False,
) -> list[ImageSet]:
    """Store all splits of a catalogue set from its official files.

    name: NAME, or NAME@SIZE for another size than 32. source: the files, already unpacked where their site offers an
    archive; without it the set is downloaded, where its licence and torchvision allow. Raises BenchError that says how
    to get the files.
    """
    base, (stored_as, size) = catalog.split_size(name)[0], catalog.at_size(name, size)
    if base not in catalog.CATALOG:
        raise BenchError(unknown("image set", base, catalog.CATALOG) + "; bring your own with `bench data import DIR`")
    info = catalog.info(stored_as)
    if info.builtin:
        return [images.load(root, name, split) for split in info.counts]
    if source is None:
        if base not in DOWNLOADS:
            raise BenchError(f"image set {stored_as}: {info.how_to_get}")
        pictures = from_torchvision(base, Path(root) / ".downloads" / base, True, info)
    else:
        source = files.expanded(source)
        if not source.exists():
            raise BenchError(f"{source}: no such file or folder; image set {stored_as}: {info.how_to_get}")
        if base in LOADERS:
            pictures = from_torchvision(base, source, False, info)
        elif base in READERS:
            pictures = iter(READERS[base](source))
        else:
            raise BenchError(f"image set {stored_as}: {info.how_to_get}")
    first = 256 if base in ("imagenet30", "lsun") else None
    return [
        store(split, root, stored_as, size, info.recipe, report, replace, official=True, first=first)
        for split in pictures
    ]
