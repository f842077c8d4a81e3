"""Published values of detectors that use class labels or outliers, in %: outlier_exposure.csv, and for auxiliary
rotation "Geometric" of Table 1."""

from __future__ import annotations

from benchmark.data.catalog import info
from benchmark.report.published import read, sets

_ROWS, _NOTES = read("outlier_exposure")
_LABELS = {"classifier": "MSP", "oe-tuned-imgn": "OE tuned", "oe-imgn": "OE from scratch"}

# (in-distribution set, OOD set or "" for the mean over OE's own eight, metric, label) -> %
_VALUES = {
    (row["in_dist"].lower(), row["ood"].lower(), row["metric"], label): float(row[label])
    for row in _ROWS
    for label in _LABELS
}


def value(in_dist: str, ood: str, label: str, metric: str = "auroc") -> float | None:
    """The published value in % of a run with this label, None where there is none."""
    if label == "classifier-rotation":
        return sets.value(in_dist, ood, "Geometric") if metric == "auroc" else None
    return _VALUES.get((sets.original(in_dist), sets.original(ood), metric, label))


def accuracy(in_dist: str, label: str) -> float | None:
    """The published test accuracy in %, None where there is none."""
    error = _VALUES.get((sets.original(in_dist), "", "error", label))
    return None if error is None else round(100 - error, 2)


def notes(in_dist: str) -> list[str]:
    """What the published values of an in-distribution set are of, and their means; [] where there are none."""
    base = sets.original(in_dist)
    if (base, "", "auroc", "classifier") not in _VALUES:
        return []
    means = []
    for label, title in _LABELS.items():
        numbers = [f"{_VALUES[base, '', metric, label]:.2f}" for metric in ("auroc", "aupr", "fpr95")]
        means.append(f"{title} {', '.join(numbers)}")
    other = info("cifar100" if base == "cifar10" else "cifar10").title
    return [
        *_NOTES,
        "Published means over OE's own eight sets (three kinds of noise, and Texture, SVHN, Places365, LSUN and "
        f"{other}), AUROC, AUPR, FPR95: {'; '.join(means)}.",
    ]
