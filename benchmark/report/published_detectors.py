"""Published values of detectors that use class labels or outliers, in %: MSP and Outlier Exposure (Hendrycks, Mazeika
and Dietterich, ICLR 2019) as logged in the repository of its authors (CIFAR/snapshots, WRN 40-2), and auxiliary
rotation from Table 1 ("Geometric").

Theirs: WRN 40-2 on all 50,000 training images; the outliers were 80 Million Tiny Images, since withdrawn. AUPR is at
one OOD image to five in-distribution ones, FPR95 takes OOD images as the positives, as everywhere in `table-oe`.
"""

from __future__ import annotations

import csv
import io

from benchmark.data.catalog import info
from benchmark.report import published

_PRINTED = """\
in_dist,ood,metric,classifier,oe-tuned-imgn,oe-imgn
CIFAR10,CIFAR100,auroc,87.88,93.31,94.79
CIFAR10,CIFAR100,aupr,55.81,76.22,83.14
CIFAR10,CIFAR100,fpr95,43.47,27.95,23.68
CIFAR10,SVHN,auroc,91.83,98.43,99.47
CIFAR10,SVHN,aupr,66.93,89.41,97.08
CIFAR10,SVHN,fpr95,28.82,4.76,2.11
CIFAR10,LSUN,auroc,89.08,97.57,98.72
CIFAR10,LSUN,aupr,58.58,89.42,93.84
CIFAR10,LSUN,fpr95,38.74,12.08,5.99
CIFAR10,Places365,auroc,87.80,96.23,97.24
CIFAR10,Places365,aupr,57.49,87.27,91.13
CIFAR10,Places365,fpr95,47.54,17.28,11.88
CIFAR10,Texture,auroc,88.37,97.72,99.07
CIFAR10,Texture,aupr,58.44,90.97,95.83
CIFAR10,Texture,fpr95,42.82,12.16,3.74
CIFAR10,,auroc,89.27,97.81,98.56
CIFAR10,,aupr,59.16,90.48,93.75
CIFAR10,,fpr95,34.94,9.50,6.15
CIFAR10,,error,5.16,5.27,4.26
CIFAR100,CIFAR10,auroc,75.41,75.70,79.39
CIFAR100,CIFAR10,aupr,34.28,32.59,37.96
CIFAR100,CIFAR10,fpr95,64.87,62.10,56.36
CIFAR100,SVHN,auroc,71.40,86.86,94.17
CIFAR100,SVHN,aupr,30.69,52.93,75.96
CIFAR100,SVHN,fpr95,69.28,42.90,23.41
CIFAR100,LSUN,auroc,70.73,83.42,84.54
CIFAR100,LSUN,aupr,28.82,51.40,56.12
CIFAR100,LSUN,fpr95,73.99,57.49,57.53
CIFAR100,Places365,auroc,74.23,86.50,87.76
CIFAR100,Places365,aupr,33.75,57.92,61.62
CIFAR100,Places365,fpr95,70.39,49.76,47.17
CIFAR100,Texture,auroc,73.81,84.79,89.61
CIFAR100,Texture,aupr,33.33,56.31,68.84
CIFAR100,Texture,fpr95,71.46,54.39,44.22
CIFAR100,,auroc,73.11,87.89,90.03
CIFAR100,,aupr,30.05,58.15,65.50
CIFAR100,,fpr95,62.66,38.50,32.59
CIFAR100,,error,24.04,24.25,23.27
"""
_LABELS = {"classifier": "MSP", "oe-tuned-imgn": "OE tuned", "oe-imgn": "OE from scratch"}

# (in-distribution set, OOD set or "" for the mean over OE's own eight, metric, label) -> %
_VALUES = {
    (row["in_dist"].lower(), row["ood"].lower(), row["metric"], label): float(row[label])
    for row in csv.DictReader(io.StringIO(_PRINTED))
    for label in _LABELS
}


def value(in_dist: str, ood: str, label: str, metric: str = "auroc") -> float | None:
    """The published value in % of a run with this label, None where there is none."""
    if label == "classifier-rotation":
        return published.value(in_dist, ood, "Geometric") if metric == "auroc" else None
    return _VALUES.get((published.original(in_dist), published.original(ood), metric, label))


def accuracy(in_dist: str, label: str) -> float | None:
    """The published test accuracy in %, None where there is none."""
    error = _VALUES.get((published.original(in_dist), "", "error", label))
    return None if error is None else round(100 - error, 2)


def notes(in_dist: str) -> list[str]:
    """What the published values of an in-distribution set are of, and their means; [] where there are none."""
    base = published.original(in_dist)
    if (base, "", "auroc", "classifier") not in _VALUES:
        return []
    means = []
    for label, title in _LABELS.items():
        numbers = [f"{_VALUES[base, '', metric, label]:.2f}" for metric in ("auroc", "aupr", "fpr95")]
        means.append(f"{title} {', '.join(numbers)}")
    other = info("cifar100" if base == "cifar10" else "cifar10").title
    return [
        "Published: MSP and Outlier Exposure (2019), WRN 40-2, 50,000 training images; its outliers were 80 Million "
        "Tiny Images, withdrawn since, so its values stand beside the natural outliers (ImgN); its Texture is all of "
        "DTD. MSP + rotation: Geometric of Table 1.",
        "Published means over OE's own eight sets (three kinds of noise, and Texture, SVHN, Places365, LSUN and "
        f"{other}), AUROC, AUPR, FPR95: {'; '.join(means)}.",
    ]
