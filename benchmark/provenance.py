"""Which code this is."""

from __future__ import annotations

import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parent


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


def _git(*words: str) -> str:
    answer = subprocess.run(["git", "-C", str(PACKAGE), *words], capture_output=True, text=True, check=True, timeout=20)
    return answer.stdout.strip()
