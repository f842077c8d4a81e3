"""How many CPU cores there are for us."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """The CPU cores that this process may use: those it is bound to where the system tells (not on macOS), else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
