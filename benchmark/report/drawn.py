"""Figures that are drawn once: files carry a fingerprint of what they show, and are left alone while it is the same."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import metadata
from pathlib import Path

from benchmark.data import catalog
from benchmark.plan.identity import digest
from benchmark.report.groups import Group
from benchmark.report.one_class import OneClass

HEAD_BYTES = 4096  # of an SVG, in which its description stands


def fingerprint(name: str, group: Group | OneClass, in_dist: str) -> str:
    """sha256 of all that a figure is made of: its name, the runs' settings and numbers, and the code that draws."""
    runs = [
        [run.config.label, run.config.seed, run.recipe, run.record.model_dump(mode="json") if run.record else None]
        for run in group.runs_of(in_dist)
    ]
    return digest([name, group.heading, in_dist, runs, _code()])


@cache
def _code() -> list[str]:
    here = Path(__file__).parent
    files = [*sorted([*here.rglob("*.py"), *here.rglob("*.csv")]), Path(catalog.__file__)]
    versions = [f"{package} {metadata.version(package)}" for package in ("matplotlib", "numpy")]
    return [*versions, *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)]


def are_there(paths: list[Path], key: str) -> bool:
    """Whether these files, PNG or SVG, are whole and show what has the fingerprint `key`."""
    return all(_key_of(path) == key for path in paths)


def _key_of(path: Path) -> str | None:
    """The fingerprint that a figure's file carries; None where there is none, or the file is cut off or damaged."""
    try:
        if path.suffix == ".png":
            from PIL import Image

            with Image.open(path) as image:
                key = image.info.get("Description")
                image.load()  # a cut or damaged picture raises
                return key
        text = path.read_text()
    except (OSError, SyntaxError, ValueError):
        return None
    found = re.search(r"<dc:description>([0-9a-f]{64})</dc:description>", text[:HEAD_BYTES])
    return found.group(1) if found and text.rstrip().endswith("</svg>") else None
