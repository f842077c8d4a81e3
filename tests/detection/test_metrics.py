"""AUROC, AUPR and FPR95 against Mann-Whitney's U, a loop over thresholds and examples worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_curve

from benchmark.detection.metrics import auroc, ood_metrics, sensitivity
from benchmark.errors import BenchError

CASES = {
    "smooth": (np.random.default_rng(0).normal(0, 1, 300), np.random.default_rng(1).normal(1, 2, 170)),
    "ties": (np.random.default_rng(2).integers(0, 6, 301), np.random.default_rng(3).integers(2, 8, 99)),
    "one each": (np.array([1.0]), np.array([2.0])),
    "wide": (np.array([-1e30, 0, 1e-30, 5.0]), np.array([-1e30, 1e-30, 1e30])),
}


def loop_average_precision(positives: np.ndarray, negatives: np.ndarray) -> float:
    """sum over thresholds of (recall gained) x precision there."""
    total, last = 0.0, 0.0
    for threshold in sorted(set(positives) | set(negatives), reverse=True):
        found, false = np.sum(positives >= threshold), np.sum(negatives >= threshold)
        recall = found / len(positives)
        total, last = total + (recall - last) * found / (found + false), recall
    return 100 * total


def loop_fpr95(positives: np.ndarray, negatives: np.ndarray) -> float:
    """The smallest false positive rate among thresholds that find at least 95% of the positives."""
    rates = [
        np.mean(negatives >= threshold)
        for threshold in sorted(set(positives) | set(negatives))
        if 100 * np.sum(positives >= threshold) >= 95 * len(positives)
    ]
    return 100 * min(rates)


def _truth_and_scores(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat([1, 0], [len(positives), len(negatives)]), np.concatenate([positives, negatives])


@pytest.mark.parametrize("inside, outside", CASES.values(), ids=CASES)
def test_equal_independent_computations(inside: np.ndarray, outside: np.ndarray) -> None:
    metrics = ood_metrics(inside, outside)
    u = mannwhitneyu(outside, inside, method="asymptotic").statistic
    assert metrics["auroc"] == pytest.approx(100 * u / (len(inside) * len(outside)))
    assert metrics["aupr_ood"] == pytest.approx(loop_average_precision(outside, inside))
    assert metrics["aupr_id"] == pytest.approx(loop_average_precision(-inside, -outside))
    copies = np.repeat(outside, len(inside)), np.repeat(inside, 5 * len(outside))  # one to five
    assert metrics["aupr_oe"] == pytest.approx(100 * average_precision_score(*_truth_and_scores(*copies)))
    assert metrics["fpr95_ood"] == pytest.approx(loop_fpr95(outside, inside))
    assert metrics["fpr95_id"] == pytest.approx(loop_fpr95(-inside, -outside))
    assert (metrics["n_id"], metrics["n_ood"]) == (len(inside), len(outside))


@pytest.mark.parametrize("inside, outside", CASES.values(), ids=CASES)
def test_fpr95_lies_on_the_roc_curve(inside: np.ndarray, outside: np.ndarray) -> None:
    truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    scores = np.r_[inside, outside].astype(float)
    metrics = ood_metrics(inside, outside)
    for key, is_positive, larger in (("fpr95_ood", truth, scores), ("fpr95_id", 1 - truth, -scores)):
        false, found, _ = roc_curve(is_positive, larger, drop_intermediate=False)
        assert metrics[key] == pytest.approx(100 * false[np.argmax(found >= 0.95)])


def test_by_hand_with_ties() -> None:
    # pairs (ood > id): 2 beats 1, ties 2 twice, loses to none; 3 beats all three
    metrics = ood_metrics([1, 2, 2], [2, 3])
    assert metrics["auroc"] == pytest.approx(100 * (1 + 0.5 + 0.5 + 3) / 6)
    assert metrics["fpr95_ood"] == pytest.approx(100 * 2 / 3)  # to find both OOD, two of three ID are flagged
    assert metrics["fpr95_id"] == pytest.approx(100 * 1 / 2)  # to accept all ID, one of two OOD is accepted
    assert metrics["aupr_ood"] == pytest.approx(100 * (0.5 * 1 + 0.5 * 2 / 4))


def test_the_two_fpr95_differ() -> None:
    """20 ID at 0, of which one at 10; OOD at 1 and one in ten at -1: 95% of ID are below every OOD of 1."""
    inside, outside = [0.0] * 19 + [10.0], [1.0] * 9 + [-1.0]
    metrics = ood_metrics(inside, outside)
    assert metrics["fpr95_id"] == pytest.approx(10)  # accept up to 0: the OOD image at -1 passes
    assert metrics["fpr95_ood"] == pytest.approx(100)  # all OOD must be found, down to -1


def test_perfect_reversed_and_blind_scores() -> None:
    good, bad = np.arange(100), np.arange(100) + 1000
    perfect = dict(auroc=100, aupr_ood=100, aupr_oe=100, aupr_id=100, fpr95_id=0, fpr95_ood=0, n_id=100, n_ood=100)
    assert ood_metrics(good, bad) == pytest.approx(perfect)
    assert ood_metrics(bad, good)["auroc"] == 0
    assert ood_metrics(bad, good)["fpr95_id"] == ood_metrics(bad, good)["fpr95_ood"] == 100
    blind = ood_metrics(np.zeros(30), np.zeros(10))
    assert blind["auroc"] == 50 and blind["fpr95_id"] == blind["fpr95_ood"] == 100
    assert (blind["aupr_ood"], blind["aupr_id"]) == (25, 75)  # the shares of the positives
    assert blind["aupr_oe"] == pytest.approx(100 / 6)


def test_increasing_maps_change_nothing() -> None:
    inside, outside = CASES["smooth"]
    assert ood_metrics(np.exp(inside), np.exp(outside)) == pytest.approx(ood_metrics(inside, outside))


def test_aupr_depends_on_the_ratio_and_auroc_does_not() -> None:
    inside, outside = CASES["ties"]
    once, twice = ood_metrics(inside, outside), ood_metrics(inside, np.tile(outside, 2))
    for key in ("auroc", "aupr_oe", "fpr95_id", "fpr95_ood"):
        assert once[key] == pytest.approx(twice[key])
    assert twice["aupr_ood"] > once["aupr_ood"] + 1


def test_sensitivity_takes_test_as_the_positives() -> None:
    assert sensitivity(train_scores=[0, 1, 2], test_scores=[3, 4]) == 100
    assert sensitivity([0, 1], [0, 1]) == 50


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(BenchError, match="2 of 3 OOD scores are not finite"):
        ood_metrics([1.0, 2.0], [bad, 1.0, bad])
    with pytest.raises(BenchError, match="1 of 2 ID scores are not finite"):
        auroc([bad, 1.0], [1.0])
    with pytest.raises(BenchError, match="no OOD scores"):
        auroc([1.0], [])
