"""Which code this is."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parent
# What makes numbers, and not how runs are planned, started, kept and reported.
MAKES_NUMBERS = ("views", "negatives.py", "models", "methods", "training", "detection", "scoring", "seeds.py",
                 "evaluation/features.py", "evaluation/measures.py", "evaluation/intermediate.py")  # fmt: skip


def source_commit() -> str:
    """The source's commit, "+edited" where the tree differs from it, "unknown" outside a checkout.

    A copy of the package, as cluster jobs run it, has its commit in a file COMMIT.
    """
    kept = PACKAGE / "COMMIT"
    if kept.exists():
        return kept.read_text().strip()
    try:
        _git("ls-files", "--error-unmatch", "--", "provenance.py")  # installed below another project's checkout?
        return _git("rev-parse", "HEAD") + ("+edited" if _git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


@functools.cache  # what this process runs does not change under it
def code_fingerprint(package: Path = PACKAGE) -> str:
    """What tells this state of the code that makes numbers from others: twelve digits of a sha256 of its files."""
    return digest_of((package, package / place) for place in MAKES_NUMBERS)


def digest_of(places: Iterable[tuple[Path, Path]]) -> str:
    """Twelve digits of a sha256 of files and of the Python files in folders: (root, place), named as they are below
    the root."""
    digest = hashlib.sha256()
    for root, place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{file.relative_to(root)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _git(*words: str) -> str:
    answer = subprocess.run(["git", "-C", str(PACKAGE), *words], capture_output=True, text=True, check=True, timeout=20)
    return answer.stdout.strip()
