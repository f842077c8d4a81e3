"""The image sets that a sweep lacks, how to get each, and fetching those that can be fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from benchmark.data import catalog, prepare
from benchmark.data.downloads import DOWNLOADS
from benchmark.data.images import fingerprint
from benchmark.errors import BenchError
from benchmark.store.states import PlannedRun


def missing_sets(planned: Iterable[PlannedRun]) -> dict[str, str]:
    """ "set/split" -> how to get it, of every set that runs of a plan lack."""
    keys = dict.fromkeys(key for item in planned for key in item.missing)
    return {key: catalog.info(key.rpartition("/")[0]).how_to_get for key in keys}


def fetch(missing: dict[str, str], root: Path, tell: Callable[[str], None]) -> dict[str, str]:
    """Fetch of the missing sets what may be downloaded, and return those that are missing still.

    tell: is given a line for each set that could not be had; the others are gone on with.
    """
    for name in dict.fromkeys(key.rpartition("/")[0] for key in missing):
        base, size = catalog.split_size(name)
        if base in DOWNLOADS:
            try:
                prepare.prepare(base, root, None, size)
            except BenchError as error:
                tell(str(error))
    return {key: how for key, how in missing.items() if fingerprint(root, *key.rsplit("/", 1)) is None}
