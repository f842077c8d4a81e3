"""The commands that a command names as the next ones, with the places that it was given."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from benchmark.plan.run_names import without_id

USUAL_RATE = 5  # % of false alarms, where nothing else is asked for


def places(data: Path | None, results: Path = Path("results")) -> list[str]:
    """The options that say where results and images are, where they are not where they usually are."""
    return [
        *(["--results", str(results)] if results != Path("results") else []),
        *(["--data", str(data)] if data else []),
    ]


def export(run: str, held_out: int, where: list[str], *options: str) -> str:
    """`bench export` of a run with so many held-out ID images, which may allow no less than a larger share of false
    alarms. where: of `places`."""
    least = math.ceil(100 / (held_out + 1))
    rate = ["--false-alarms", f"{least}%"] if least > USUAL_RATE else []
    return shlex.join(["bench", "export", run, "--to", f"{without_id(run)}-detector", *options, *rate, *where])
