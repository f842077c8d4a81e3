"""Somebody's folder of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_pictures import pictures, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """in/ (60 in two sub-folders), aux/ (40), ood/ with two sets."""
    base = tmp_path / "mine"
    inside = pictures(60, seed=1)
    save(base / "in" / "a", inside[:30])
    save(base / "in" / "b" / "deep", inside[30:], 30)
    save(base / "aux", pictures(40, seed=2))
    save(base / "ood" / "Far Away", pictures(20, seed=3))
    save(base / "ood" / "near", pictures(20, seed=4))
    return base
