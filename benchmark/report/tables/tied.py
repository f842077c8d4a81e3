"""Who is tied: which columns of a row cannot be told from its best, and so are bold with it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np

from benchmark.report.images import bootstrap
from benchmark.report.intervals import by_seeds, holm, student
from benchmark.report.tables.cells import Cell, Row

LEVEL = 0.05
SEEDS, WELCH, IMAGES = "paired t over the seeds", "Welch's t over the seeds", "paired bootstrap over the test images"


def mark_best(
    cells: Mapping[str, Cell], among: Collection[str], decimals: int = 2, more: bool = True
) -> dict[str, Cell]:
    """Mark the best of `among` and all that cannot be told from it, or are printed the same; a lone cell has nothing to
    be best of, and an average over fewer sets than the others is left out. more: is better.

    Each is held against the best mean: over seeds where both have two or more, else over the test images where their
    runs have kept the scores of these; the p-values are Holm's over the row. A column that is truly the best is left
    out in at most 5% of rows: of two-sided tests but one side can put it below (after Hsu 1984). Where neither is
    possible the other is not marked.
    """
    rivals = {key: cell for key in among if (cell := cells[key]).ours and not cell.over}
    if len(rivals) < 2:
        return {key: replace(cell, best=False) for key, cell in cells.items()}
    means = {key: cell.ours.mean for key, cell in rivals.items() if cell.ours}
    best = (max if more else min)(means, key=lambda key: means[key])
    found = p_values({key: cell for key, cell in rivals.items() if key != best}, rivals[best])
    adjusted = dict(zip(found, holm([p for p, _ in found.values()]), strict=True))
    printed = round(means[best], decimals)
    tied = {
        key for key in means if key == best or adjusted.get(key, 0) >= LEVEL or round(means[key], decimals) == printed
    }
    how = {key: found[key][1] if key in found else "" for key in means if key != best}
    return {key: replace(cell, best=key in tied, compared_by=how.get(key)) for key, cell in cells.items()}


def p_values(others: Mapping[str, Cell], best: Cell) -> dict[str, tuple[float, str]]:
    """Two-sided p of each column's difference from the best, and by what; without those of which nothing is known."""
    found, single = {}, []
    for key, cell in others.items():
        made = by_seeds(best.seeds, cell.seeds)
        if made:
            found[key] = (made[1], SEEDS if made[2] == "seeds" else WELCH)
        else:
            single.append(key)
    one = best.images() if single and best.images else None
    samples = {key: sample for key in single if one and (get := others[key].images) and (sample := get())}
    if one and samples:
        differences = [sample - one for sample in samples.values()]
        errors = np.std(bootstrap(differences), axis=0, ddof=1)
        for key, difference, error in zip(samples, differences, errors, strict=True):
            found[key] = (student(difference.value, float(error), math.inf)[1], IMAGES)
    return {key: found[key] for key in others if key in found}


def bold_note(rows: Iterable[Row], of: str = "row") -> list[str]:
    """What bold means in these rows and how it was found; [] where nothing is bold."""
    cells = [(row, cell) for row in rows for cell in row.cells.values()]
    if not any(cell.best for _, cell in cells):
        return []
    ways = [way for way in (SEEDS, WELCH, IMAGES) if any(cell.compared_by == way for _, cell in cells)]
    told = f"Bold: the best {'trained column of a row' if of == 'row' else 'score of a column'}"
    alone = list(dict.fromkeys(row.heading for row, cell in cells if cell.compared_by == ""))
    if ways:
        told += f", and all that cannot be told from it at {LEVEL:.0%} ({'; '.join(ways)}; Holm over the {of})"
    if alone and ways:
        told += f"; where neither is possible, as in {alone[0]}, the best alone"
    elif alone:
        told += ", alone: neither seeds nor scores of test images tell which others are as good"
    return [told + "."]
