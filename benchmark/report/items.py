"""What `bench report` can make, by name. A table or figure joins as a function and a row here.

Nothing heavy is imported: the command line reads these names.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Protocol = Literal["sets", "one-class"]


@dataclass(frozen=True)
class Item:
    """A table or a figure.

    sweep: the built-in sweep whose runs it is made of, unless `--sweep` says otherwise. made_by: "module:function" in
    benchmark/report. A table's function turns a group of comparable runs (`groups.Group`) into `tables.cells.Table`s, a
    figure's says what one of its subjects shows as a `figures.files.Picture` (None: nothing). protocol: of which runs:
    "sets", whole sets against others, or "one-class", a class of a set against its others; None: of either. lacks: what
    no run has where there is nothing to show. any_score: it can be by any one score in place of the methods' own
    (`bench report --score`).
    """

    sweep: str
    made_by: str
    protocol: Protocol | None = "sets"
    lacks: str = ""
    any_score: bool = True

    @property
    def maker(self) -> Callable[..., Any]:
        module, _, function = self.made_by.partition(":")
        made: Callable[..., Any] = getattr(importlib.import_module(f"benchmark.report.{module}"), function)
        return made


TABLES = {
    "1": Item("table1", "tables.auroc:table1"),
    "2": Item("table2", "tables.auroc:table2"),
    "one-class": Item("one-class", "tables.auroc:one_class", "one-class"),
    "scores": Item(
        "one-class",
        "tables.scores:scores",
        None,
        "has further scores of an OOD set; name some in eval.scores, and sets in eval.ood",
        any_score=False,
    ),
    "oe": Item("oe", "tables.detectors:detectors", lacks="learns from labels; method.name: classifier does"),
}
FIGURES = {
    "variants": Item("table2", "figures.variants:variants", lacks="is DINO's with an OOD set"),
    "2": Item("table2", "figures.paper:figure2"),
    "3": Item("table2", "figures.paper:figure3"),
    "training": Item(
        "table2", "figures.training:training", lacks="was scored while it trained; set eval.every", any_score=False
    ),
    "one-class": Item("one-class", "figures.one_class:one_class", "one-class"),
}
