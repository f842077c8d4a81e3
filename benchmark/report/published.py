"""The published values: AUROC in % of Tables 1 and 2.

Rafiee, Gholamipoorfard, Adaloglou, Jaxy, Ramakers, Kollmann, "Self-Supervised Anomaly Detection by Self-Distillation
and Negative Sampling", arXiv 2201.06378 (ICANN 2022, pp. 459-470). Single runs, no intervals were published.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from statistics import fmean

from benchmark.data.catalog import info, is_near, split_size
from benchmark.negatives import VARIANTS

_TABLE1 = """\
in_dist,ood,Geometric,SSD,CSI,MTL,Rot. ImgN,Combined
CIFAR10,CIFAR100,91.91,90.63,89.20,93.24,92.51,94.20
CIFAR10,SVHN,97.96,99.62,99.80,99.92,99.69,99.92
CIFAR10,ImageNet30,,90.20,87.92,,94.16,93.40
CIFAR10,TinyImageNet,92.06,92.25,92.44,92.99,96.28,95.02
CIFAR10,LSUN,93.57,96.51,91.60,95.03,98.08,97.52
CIFAR10,STL10,,70.28,64.25,,77.29,74.34
CIFAR10,Places365,92.57,95.21,90.18,93.72,97.14,96.01
CIFAR10,Texture,96.25,97.61,98.96,,99.16,98.69
CIFAR100,CIFAR10,74.73,69.60,58.87,79.25,69.96,67.63
CIFAR100,SVHN,83.62,94.90,96.44,87.11,96.00,97.17
CIFAR100,ImageNet30,,75.53,71.82,,84.82,75.36
CIFAR100,TinyImageNet,77.56,79.52,79.28,80.66,81.41,79.75
CIFAR100,LSUN,71.86,79.50,61.83,74.32,85.03,74.55
CIFAR100,STL10,,72.76,64.26,,79.96,71.70
CIFAR100,Places365,74.57,79.60,65.48,77.87,81.67,72.79
CIFAR100,Texture,82.39,82.90,87.47,,80.65,77.33
"""

_TABLE2 = """\
in_dist,ood,DINO,ImgN,Rot. ImgN,Rot.360 ImgN,DTI,Perm-16 ImgN,Perm-4 ImgN,Rot. DTI,Pix. Perm.,Rot. In-Dist.
CIFAR10,CIFAR100,90.29,90.46,92.51,88.62,93.77,88.32,89.57,93.77,87.67,93.96
CIFAR10,SVHN,99.38,99.50,99.69,99.42,99.86,99.59,99.13,99.86,99.62,99.92
CIFAR10,ImageNet30,88.81,89.96,94.16,88.95,93.39,89.17,84.71,96.04,87.46,91.69
CIFAR10,TinyImageNet,91.07,94.14,96.28,91.60,94.53,89.72,91.27,95.64,89.39,94.27
CIFAR10,LSUN,92.20,93.41,98.08,93.24,98.56,94.58,89.32,99.12,93.33,94.93
CIFAR10,STL10,66.50,77.65,77.29,72.41,72.01,69.22,68.81,81.49,68.55,69.11
CIFAR10,Places365,91.28,93.12,97.14,92.58,97.03,92.77,87.63,98.12,91.89,93.53
CIFAR10,Texture,96.21,95.01,99.16,93.93,97.55,93.38,89.86,95.11,93.08,98.29
CIFAR10,Average,89.47,91.66,94.29,90.09,93.34,89.59,87.54,94.89,88.87,91.96
"""

# Table 1's columns of other people's systems, quoted there by the paper. The first needs labels in that benchmark, the
# last chose its transformations with labels; SSD and CSI are label-free.
RIVALS = ("Geometric", "SSD", "CSI", "MTL")
# What trains them here: a run's label and the score that detects (None: the method's own). SSD is SimCLR with
# Mahalanobis distances.
TRAINED_AS: dict[str, tuple[str, str | None]] = {
    "Geometric": ("classifier-rotation", None),
    "SSD": ("simclr", "mahalanobis"),
    "CSI": ("csi", None),
}
LABEL_FREE_RIVALS = ("SSD", "CSI")
SUPERVISED_RIVALS = ("Geometric", "MTL")

_KEYS = {variant.label: name for name, variant in VARIANTS.items()}


def _parse(text: str) -> dict[tuple[str, str, str], float]:
    return {
        (row["in_dist"].lower(), row["ood"].lower(), _KEYS.get(column, column)): float(value)
        for row in csv.DictReader(io.StringIO(text))
        for column, value in row.items()
        if column not in ("in_dist", "ood") and value
    }


_PRINTED = _parse(_TABLE2) | _parse(_TABLE1)  # the two agree where they overlap (Rot. ImgN on CIFAR10)

# (in-distribution set, OOD set, column) -> AUROC in %. Sets as the catalogue calls them; a column is a variant's name
# ("rot-imgn") or a rival's.
VALUES = {key: value for key, value in _PRINTED.items() if key[1] != "average"}
# Table 2's last row as printed: column -> average over the eight sets.
PRINTED_AVERAGES = {column: value for (_, ood, column), value in _PRINTED.items() if ood == "average"}
# The variants of Table 2: plain DINO and the negatives of one source (Combined stands in Table 1 alone).
SINGLE_SOURCE = tuple(name for name in VARIANTS if name in PRINTED_AVERAGES)

# DTI and Rot. DTI share these two cells, probably a slip of copying; the paper's text repeats neither.
DOUBTFUL = {("cifar10", ood, column) for ood in ("cifar100", "svhn") for column in ("dti", "rot-dti")}


def original(name: str) -> str:
    """The paper's set behind NAME, NAME@SIZE or a stand-in; the name itself where there is none."""
    base = split_size(name)[0]
    return info(base).stands_for or base


def is_stand_in(name: str) -> bool:
    """Whether the set only stands for one of the paper's."""
    return original(name) != split_size(name)[0]


def paper_sets(in_dist: str) -> list[str]:
    """The OOD sets that the paper has for this in-distribution set (or the one it stands for), in table order."""
    return list(dict.fromkeys(ood for known, ood, _ in VALUES if known == original(in_dist)))


def value(in_dist: str, ood: str, column: str) -> float | None:
    """The published AUROC in %, None where the paper has none."""
    return VALUES.get((original(in_dist), original(ood), column))


def average(in_dist: str, oods: Iterable[str], column: str) -> float | None:
    """The published average over `oods`, recomputed from the cells.

    None unless these are exactly the paper's sets, or exactly its near or its far ones: an average over other sets
    cannot be compared.
    """
    given = sorted(original(ood) for ood in oods)
    whole = paper_sets(in_dist)
    near = [ood for ood in whole if is_near(in_dist, ood)]
    if given not in (sorted(whole), sorted(near), sorted(set(whole) - set(near))):
        return None
    values = [value(in_dist, ood, column) for ood in given]
    known = [number for number in values if number is not None]
    return fmean(known) if known and len(known) == len(values) else None


def best_rival(in_dist: str, ood: str, rivals: Iterable[str]) -> tuple[str, float] | None:
    """The rival with the highest published AUROC and that AUROC, None where none is published."""
    known = [(rival, number) for rival in rivals if (number := value(in_dist, ood, rival)) is not None]
    return max(known, key=lambda pair: pair[1], default=None)
