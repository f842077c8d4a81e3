"""The published values as they are printed, digit by digit, without a second copy of the tables: by their sums."""

from __future__ import annotations

import pytest

from benchmark.report.published import detectors as published_detectors
from benchmark.report.published import sets as published

# Sums of the printed numbers in hundredths, down each column and along each row of Tables 1 and 2: one wrong digit, or
# two cells in each other's place, changes one of them.
TABLE1 = {
    "cifar10": (
        {"Geometric": 56432, "SSD": 73231, "CSI": 71435, "MTL": 47490, "rot-imgn": 75431, "combined": 74910},
        {"cifar100": 55169, "svhn": 59691, "imagenet30": 36568, "tinyimagenet": 56104, "lsun": 57231, "stl10": 28616,
         "places365": 56483, "texture": 49067},
    ),
    "cifar100": (
        {"Geometric": 46473, "SSD": 63431, "CSI": 58545, "MTL": 39921, "rot-imgn": 65950, "combined": 61628},
        {"cifar10": 42004, "svhn": 55524, "imagenet30": 30753, "tinyimagenet": 47818, "lsun": 44709, "stl10": 28868,
         "places365": 45198, "texture": 41074},
    ),
}  # fmt: skip
TABLE2 = (
    {"dino": 71574, "imgn": 73325, "rot-imgn": 75431, "rot360-imgn": 72075, "dti": 74670, "perm-16-imgn": 71675,
     "perm-4-imgn": 70030, "rot-dti": 75915, "pixperm-imgn": 71099, "rot-in-dist": 73570},
    {"cifar100": 90894, "svhn": 99597, "imagenet30": 90434, "tinyimagenet": 92791, "lsun": 94677, "stl10": 72304,
     "places365": 93509, "texture": 95158},
)  # fmt: skip


@pytest.mark.parametrize(
    ("in_dist", "columns", "rows"), [(name, *sums) for name, sums in TABLE1.items()] + [("cifar10", *TABLE2)]
)
def test_the_tables_add_up_as_printed(in_dist: str, columns: dict[str, int], rows: dict[str, int]) -> None:
    def hundredths(ood: str, column: str) -> int:
        return round(100 * (published.value(in_dist, ood, column) or 0))

    assert {column: sum(hundredths(ood, column) for ood in rows) for column in columns} == columns
    assert {ood: sum(hundredths(ood, column) for column in columns) for ood in rows} == rows


# Of the logs named in test_report_detectors: the sum over the three kinds of noise, which are no sets of this project,
# for MSP, tuned and from scratch; and the mean over all eight as printed there.
NOISE = {
    ("cifar10", "auroc"): ((269.19, 299.21, 299.20), (89.27, 97.81, 98.56)),
    ("cifar10", "aupr"): ((176.00, 290.59, 288.96), (59.16, 90.48, 93.75)),
    ("cifar10", "fpr95"): ((78.14, 1.75, 1.81), (34.94, 9.50, 6.15)),
    ("cifar100", "auroc"): ((219.33, 285.85, 284.75), (73.11, 87.89, 90.03)),
    ("cifar100", "aupr"): ((79.52, 214.07, 223.52), (30.05, 58.15, 65.50)),
    ("cifar100", "fpr95"): ((151.26, 41.32, 32.00), (62.66, 38.50, 32.59)),
}


@pytest.mark.parametrize(("in_dist", "metric"), NOISE)
def test_outlier_exposures_five_sets_and_its_noise_make_the_printed_means(in_dist: str, metric: str) -> None:
    sets = ["cifar100" if in_dist == "cifar10" else "cifar10", "svhn", "lsun", "places365", "texture"]
    for label, noise, mean in zip(("classifier", "oe-tuned-imgn", "oe-imgn"), *NOISE[in_dist, metric], strict=True):
        cells = [published_detectors.value(in_dist, ood, label, metric) or 0.0 for ood in sets]
        # Nine rounded numbers: half of a last digit each.
        assert (sum(cells) + noise) / 8 == pytest.approx(mean, abs=0.0101), label
