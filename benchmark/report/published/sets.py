"""The paper's AUROCs in % (table1.csv, table2.csv), and the rivals that it quotes (rivals.csv)."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from benchmark.data.catalog import info, is_near, split_size
from benchmark.negatives import VARIANTS
from benchmark.report.published import read

_RIVALS = read("rivals")[0]
RIVALS = tuple(row["rival"] for row in _RIVALS)
# What trains them here: a run's label and the score that detects.
TRAINED_AS: dict[str, tuple[str, str]] = {row["rival"]: (row["label"], row["score"]) for row in _RIVALS if row["label"]}
LABEL_FREE_RIVALS = tuple(row["rival"] for row in _RIVALS if row["learns_from"] == "scratch")
SUPERVISED_RIVALS = tuple(row["rival"] for row in _RIVALS if row["learns_from"] == "labels")

_KEYS = {variant.label: name for name, variant in VARIANTS.items()}
_PRINTED = {  # the two tables agree where they overlap (Rot. ImgN on CIFAR10)
    (row["in_dist"].lower(), row["ood"].lower(), _KEYS.get(column, column)): float(value)
    for name in ("table2", "table1")
    for row in read(name)[0]
    for column, value in row.items()
    if column not in ("in_dist", "ood") and value
}

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
