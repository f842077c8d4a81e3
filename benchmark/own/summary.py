"""What `bench init` prints of the sets: a table, and notes below it."""

from __future__ import annotations

from benchmark.own.bring import Loaded, Own, stored_name
from benchmark.own.examine import Findings

COLUMNS = ["set", "role", "stored", "copies", "alike", "pixels", "statistics against ID"]


def rows(own: Own, found: Findings) -> list[list[str]]:
    """A line a set: what it is stored as, how many images, copies left out, near-duplicates, original sides in pixels,
    AUROC by image statistics."""
    made = []
    for one in own.loaded:
        name = stored_name(own, one.source)
        low = found.low_level.get(name)
        split = f"{own.train}+{own.test}" if one.source.role == "id" else str(len(one.names))
        made.append([
            name, one.source.role, split, str(len(one.copies)), str(len(one.repeated)), _sides(one),
            f"{low.auroc:.0f} ({low.strongest} {low.strongest_auroc:.0f})" if low else "",
        ])  # fmt: skip
    return made


def _sides(one: Loaded) -> str:
    low, high = int(one.original.min()), int(one.original.max())
    return str(low) if low == high else f"{low}-{high}"


def notes(own: Own, found: Findings) -> list[str]:
    """What stands below the table."""
    lines = [
        "copies: the same pixels, left out. alike: near-duplicates within the set, kept on one side of the split. "
        "statistics: AUROC in % against ID by sharpness, brightness, contrast and colourfulness together (and by "
        "the strongest alone; above 50 it has more of it, below 50 less); 50 is none."
    ] if len(own.loaded) > 1 else []  # fmt: skip
    lines.append(f"rotations of the ID images told apart: {found.upright}; an up and down: {found.upright.verdict}")
    lines += [f"warning: {line}" for line in found.warnings]
    return lines or ["nothing found that would spoil a result"]
