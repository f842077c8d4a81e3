"""Published values of the one-class protocol: AUROC in %, one class of CIFAR10 against the test images of the others.

Hendrycks, Mazeika, Kadavath, Song, "Using Self-Supervised Learning Can Improve Model Robustness and Uncertainty",
NeurIPS 2019 (arXiv 1906.12340): rotation prediction, and with translation, class by class.
Tack, Mo, Jeong, Shin, "CSI: Novelty Detection via Contrastive Learning on Distributionally Shifted Instances",
NeurIPS 2020 (arXiv 2007.08176): SimCLR, CSI, and rotation + translation once more, of which the means alone.
"""

from __future__ import annotations

import csv
import io

from benchmark.data.catalog import split_size
from benchmark.report import published

_TABLE = """\
class,rotation,rotation-translation
airplane,78.3,80.4
automobile,94.3,96.4
bird,86.2,85.9
cat,80.8,81.1
deer,89.4,91.3
dog,89.0,89.6
frog,88.9,89.9
horse,95.1,95.9
ship,92.3,95.0
truck,89.7,92.6
"""

_ROWS = list(csv.DictReader(io.StringIO(_TABLE)))
CLASSES = tuple(row["class"] for row in _ROWS)  # CIFAR10's, in its own order
# (label of the column, class) -> AUROC in %
VALUES = {(label, row["class"]): float(row[label]) for row in _ROWS for label in row if label != "class"}
MEANS = {"rotation": 88.4, "rotation-translation": 89.8}  # over the ten classes, as printed

# Columns of others' systems, shown where this project has no run of them: title -> label of the class-by-class values.
BY_CLASS = {"Rotation": "rotation", "Rot+Trans": "rotation-translation"}
# And those of which only the mean over the ten classes is published.
MEANS_ALONE = {"Rot+Trans in CSI": 90.0, "SimCLR": 87.9, "CSI": 94.3}
OF_LABEL = {"simclr": "SimCLR", "csi": "CSI"}  # beside whose column they stand where this project has runs of it

TRAINING_IMAGES = 5_000  # of a class, all of them
NOTES = (
    "Published: rotation and rotation + translation by Hendrycks et al. 2019 (arXiv 1906.12340), WideResNet 40-2, 200 "
    "epochs; the summary table there has 90.1 for the second, its ten classes give 89.8.",
    "SimCLR, CSI and Rot+Trans in CSI: Tack et al. 2020 (arXiv 2007.08176), ResNet-18, the means alone.",
)


def is_known(parent: str) -> bool:
    """Whether there are published values for the classes of this set."""
    return published.original(parent) == "cifar10"


def value(parent: str, name: str, label: str) -> float | None:
    """The published AUROC in % of the class `name` of `parent` in the column `label`, None where there is none."""
    return VALUES.get((label, split_size(name)[0])) if is_known(parent) else None


def mean(parent: str, label: str) -> float | None:
    """The published mean over the ten classes of this column, None where there is none."""
    return MEANS.get(label, MEANS_ALONE.get(OF_LABEL.get(label, ""))) if is_known(parent) else None
