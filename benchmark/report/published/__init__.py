"""What others have published: CSV files with their source in the first lines, and what stands beside which runs."""

from __future__ import annotations

import csv
from importlib import resources


def read(name: str) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of NAME.csv in this folder, and its notes ("# note: ..."), which go below tables with values of it."""
    lines = (resources.files(__name__) / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return rows, [line.removeprefix("# note: ") for line in lines if line.startswith("# note: ")]
