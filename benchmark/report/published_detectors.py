"""Published values of detectors that use class labels or outliers, in %: Outlier Exposure (Hendrycks, Mazeika and
Dietterich, ICLR 2019) from the repository of its authors, and auxiliary rotation from Table 1 ("Geometric").

Theirs: WRN 40-2 on all 50,000 training images; the outliers were 80 Million Tiny Images, since withdrawn.
"""

from __future__ import annotations

from benchmark.report import published

# (in-distribution set, OOD set) -> AUROC of Outlier Exposure from scratch, and of a tuned classifier.
_SCRATCH = {("cifar10", "cifar100"): 94.79, ("cifar100", "cifar10"): 79.39, ("cifar10", "svhn"): 99.47}
_TUNED = {("cifar10", "cifar100"): 93.31, ("cifar100", "cifar10"): 75.70, ("cifar10", "svhn"): 98.43}

NOTES = [
    "Published: Outlier Exposure (2019), WRN 40-2, 50,000 training images; its outliers were 80 Million Tiny Images, "
    "withdrawn since, so its values stand beside the natural outliers (ImgN); MSP + rotation: Geometric of Table 1.",
    "Over OE's own OOD sets, of which these are others: CIFAR10 MSP FPR95 34.94, OE AUROC 97.8, FPR95 9.5.",
]


def value(in_dist: str, ood: str, label: str) -> float | None:
    """The published AUROC in % of a run with this label, None where there is none."""
    pair = (published.original(in_dist), published.original(ood))
    if label == "oe-imgn":
        return _SCRATCH.get(pair)
    if label == "oe-tuned-imgn":
        return _TUNED.get(pair)
    return published.value(in_dist, ood, "Geometric") if label == "classifier-rotation" else None
