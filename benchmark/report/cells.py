"""What a finished table is made of: cells, rows, columns, notes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmark.report.intervals import Estimate

if TYPE_CHECKING:
    pass

MISSING = "—"


@dataclass(frozen=True)
class Cell:
    """What stands at a row and a column.

    planned: a run of the sweep should fill it, so that empty means missing. over: the number of sets that an average
    is over where some are missing, 0 where it is complete. seeds: the value of each run that `ours` is the mean of.
    """

    ours: Estimate | None = None
    published: float | None = None
    planned: bool = False
    best: bool = False
    over: int = 0
    seeds: dict[int, float] = field(default_factory=dict)

    @property
    def difference(self) -> float | None:
        """Ours less published, in points of AUROC."""
        return self.ours.mean - self.published if self.ours and self.published is not None else None


@dataclass(frozen=True)
class Row:
    """One row. section: "ood", "average", "measure" or "n". cells: by column key; `texts` instead for the row of n."""

    in_dist: str
    key: str
    title: str
    section: str
    cells: dict[str, Cell] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    decimals: int = 2


@dataclass(frozen=True)
class Table:
    """A finished table. columns: key -> title, in order."""

    name: str  # as in `bench report --table NAME`
    title: str
    heading: str
    corner: str
    columns: dict[str, str]
    rows: list[Row]
    notes: list[str]
    several_in_dists: bool = False
