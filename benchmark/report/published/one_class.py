"""Published values of the one-class protocol (one_class.csv): AUROC in %, one class of CIFAR10 against the others."""

from __future__ import annotations

from benchmark.data.catalog import split_size
from benchmark.report.published import read, sets

_ROWS, NOTES = read("one_class")
CLASSES = tuple(row["class"] for row in _ROWS if row["class"] != "mean")  # CIFAR10's, in its own order
# (label of the column, class) -> AUROC in %, of what is published class by class
VALUES = {(label, row["class"]): float(value) for row in _ROWS[:-1] for label, value in row.items()
          if label != "class" and value}  # fmt: skip
# Over the ten classes, as printed: of those, and of systems of which the mean alone is published.
_MEANS = {label: float(value) for label, value in _ROWS[-1].items() if label != "class"}
MEANS = {label: value for label, value in _MEANS.items() if (label, CLASSES[0]) in VALUES}
MEANS_ALONE = {title: value for title, value in _MEANS.items() if title not in MEANS}

# Columns of others' systems, shown where this project has no run of them: title -> label of the class-by-class values.
BY_CLASS = {"Rotation": "rotation", "Rot+Trans": "rotation-translation"}
OF_LABEL = {"simclr": "SimCLR", "csi": "CSI"}  # beside whose column they stand where this project has runs of it

TRAINING_IMAGES = 5_000  # of a class, all of them


def is_known(parent: str) -> bool:
    """Whether there are published values for the classes of this set."""
    return sets.original(parent) == "cifar10"


def value(parent: str, name: str, label: str) -> float | None:
    """The published AUROC in % of the class `name` of `parent` in the column `label`, None where there is none."""
    return VALUES.get((label, split_size(name)[0])) if is_known(parent) else None


def mean(parent: str, label: str) -> float | None:
    """The published mean over the ten classes of this column, None where there is none."""
    return MEANS.get(label, MEANS_ALONE.get(OF_LABEL.get(label, label))) if is_known(parent) else None
