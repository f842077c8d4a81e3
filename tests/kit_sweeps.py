"""A tiny sweep and its images, for the half-hour kit."""

from __future__ import annotations

from pathlib import Path

import yaml
from tiny_runs import TINY


def write_tiny_sweep(folder: Path) -> Path:
    """A sweep file of three of the tiny runs and a reference row."""
    base = {key: value for key, value in TINY.items() if key != "variant"}
    content = {"title": "Tiny", "base": base, "grid": {"variant": ["combined", "rot-imgn", "dino"]}}
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump({**content, "references": ["image-statistics"], "resources": {"gpus": 0}}))
    return file
