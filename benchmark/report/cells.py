"""What a finished table is made of: cells, rows, columns, notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from benchmark.report.images import OfImages
from benchmark.report.intervals import Estimate, estimate

MISSING = "—"


@dataclass(frozen=True)
class Cell:
    """What stands at a row and a column.

    seeds: the value of each run that fills it. planned: a run of the sweep should, so that empty means missing. over:
    the number of sets that an average is over where some are missing, 0 where it is complete. best: bold. told: how it
    was held against the row's best, "" where it could not be, None where it was not. images: the value by its test
    images, None where they are not known.
    """

    seeds: dict[int, float] = field(default_factory=dict)
    published: float | None = None
    planned: bool = False
    best: bool = False
    over: int = 0
    told: str | None = None
    images: Callable[[], OfImages | None] | None = field(default=None, compare=False, repr=False)

    @cached_property
    def ours(self) -> Estimate | None:
        """The mean over seeds, None where no run has filled it."""
        return estimate(list(self.seeds.values())) if self.seeds else None

    @property
    def difference(self) -> float | None:
        """Ours less published, in points of AUROC."""
        return self.ours.mean - self.published if self.ours and self.published is not None else None


@dataclass(frozen=True)
class Row:
    """One row. section: "ood", "average", "measure", "texts" or "n". cells: by column key; `texts` instead for those
    of the last two. block: rows of one section and block stand together, by default those of one in-distribution set.
    over: of an average or mean, how many sets or classes: "8", "2 of 10".
    """

    in_dist: str
    key: str
    title: str
    section: str
    cells: dict[str, Cell] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    decimals: int = 2
    block: str = ""
    over: str = ""

    @property
    def place(self) -> tuple[str, str]:
        return self.section, self.block or self.in_dist


@dataclass(frozen=True)
class Table:
    """A finished table. columns: key -> title, in order. labels: key -> the run's label where the key is another.
    training_data: key -> what the column may learn from, where the table says so.
    quoted: columns of other systems, of which published values alone are known.
    """

    name: str  # as in `bench report --table NAME`
    title: str
    heading: str
    corner: str
    columns: dict[str, str]
    rows: list[Row]
    notes: list[str]
    several_in_dists: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    training_data: dict[str, str] = field(default_factory=dict)
    quoted: frozenset[str] = frozenset()

    def label(self, column: str) -> str:
        """What gives the column its colour and marker, and says whether it is a reference."""
        return self.labels.get(column, column)
