"""What a finished table is made of: cells, rows, columns, notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from benchmark.report.groups import Column
from benchmark.report.images import OfImages
from benchmark.report.intervals import Estimate, estimate

MISSING = "—"


@dataclass(frozen=True)
class Cell:
    """What stands at a row and a column.

    seeds: the value of each run that fills it. planned: a run of the sweep should, so that empty means missing. over:
    the number of cases that an average is over where some are missing, 0 where it is complete; then `complete` are the
    seeds that have all. best: bold. compared_by: how it was held against the row's best, "" where it could not be, None
    where it was not. images: the value by its test images, None where they are not known.
    """

    seeds: dict[int, float] = field(default_factory=dict)
    published: float | None = None
    planned: bool = False
    best: bool = False
    over: int = 0
    complete: tuple[int, ...] = ()
    compared_by: str | None = None
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
    over: of an average or mean, how many sets or classes: "8", "2 of 10". stands_in: a published value beside it is of
    the set that this one stands in for.
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
    stands_in: bool = False

    @property
    def heading(self) -> str:
        return f"{self.title}†" if self.stands_in else self.title

    @property
    def subject(self) -> str:
        return self.block or self.in_dist

    @property
    def place(self) -> tuple[str, str]:
        return self.section, self.subject


@dataclass(frozen=True)
class Table:
    """A finished table. columns: by key, in order. corner: above the rows' titles."""

    name: str  # as in `bench report --table NAME`
    title: str
    heading: str
    corner: str
    columns: dict[str, Column]
    rows: list[Row]
    notes: list[str]
    several_in_dists: bool = False

    @property
    def caption(self) -> str:
        """The title, with the number that the paper has given it."""
        return f"Table {self.name}. {self.title}" if self.name.isdigit() else self.title

    @property
    def states_training_data(self) -> bool:
        return any(column.learns_from for column in self.columns.values())


def by_key(columns: Iterable[Column]) -> dict[str, Column]:
    return {column.key: column for column in columns}


def trained(columns: Iterable[Column]) -> list[str]:
    """The keys of the columns that compete for the best: not the references, nor others' systems."""
    return [column.key for column in columns if not (column.is_reference or column.is_quoted)]
