"""Where the kit's things are, and making what was brought along usable."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import BenchError
from benchmark.kit import luggage, sheets
from benchmark.kit.parts import Deadline, Parts, bench

if TYPE_CHECKING:
    from benchmark.plan.config import RunConfig

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Places:
    """Where things are: what is brought along, what is trained, what goes home."""

    out: Path
    results: Path
    data: Path
    images: tuple[Path, ...]
    wheels: Path
    back: Path


def image_keys(config: RunConfig) -> list[str]:
    """ "set/split" of all that a run reads."""
    trained = [f"{name}/{split}" for name, split in config.training_sets()]
    return [*trained, *(config.ood_key(name) for name in config.ood_sets())]


def prepare(places: Places) -> dict[str, str]:
    """Make what was brought importable, here and in the environment returned. Raises BenchError for what lacks."""
    site = luggage.unpack_wheels(places.wheels, places.results / ".packages")
    if site is not None:
        sys.path.insert(0, str(site.resolve()))
    missing = luggage.lacking(REPOSITORY / "pyproject.toml")
    if missing:
        again = " ".join(f"--lacking {name}" for name in missing)
        raise BenchError(
            f"this Python lacks {', '.join(missing)}; where there is a network: "
            f"python -m benchmark.kit bring IMAGES {again}, then bring its folder here ({places.wheels} has it not)"
        )
    ours = [str(REPOSITORY), *([str(site.resolve())] if site else []), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, ours)), "PYTHONUNBUFFERED": "1"}


def take_in(places: Places, sweep: Path, parts: Parts, deadline: Deadline, seconds: float) -> None:
    """Import the images that were brought, where the sweep lacks any. Raises BenchError for a damaged file."""
    if not places.images or not images_lacking(places, sweep):
        return
    unpacked = places.results / ".brought"
    shutil.rmtree(unpacked, ignore_errors=True)  # a stopped command leaves half a file
    unpacked.mkdir(parents=True)
    for folder in places.images:
        for file in sorted(folder.iterdir()):
            if file.suffix == sheets.SUFFIX:
                sheets.unpack(file, unpacked)
            else:
                shutil.copyfile(file, unpacked / file.name)
    command = bench(sys.executable, "data", "import", unpacked, "--data", places.data)
    parts.run("images", command, seconds, left=deadline.for_work)
    shutil.rmtree(unpacked)


def images_lacking(places: Places, sweep: Path) -> list[str]:
    """The "set/split" that the sweep reads and that are not here."""
    from benchmark.data.images import fingerprint
    from benchmark.plan import sweep as sweeps

    keys = {key for run in sweeps.load(sweep).runs for key in image_keys(run.config)}
    return sorted(key for key in keys if fingerprint(places.data, *key.rsplit("/", 1)) is None)
