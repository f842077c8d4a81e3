"""Metrics counted in sorted scores, against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmark.detection.recount import recount


def fpr95(positives: list[float], negatives: list[float]) -> float:
    """By trying every threshold: the largest that 95% of the positives reach."""
    fits = [t for t in positives if 100 * sum(p >= t for p in positives) >= 95 * len(positives)]
    return 100 * sum(n >= max(fits) for n in negatives) / len(negatives)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 40), (100, 20), (61, 61), (19, 21)])
@pytest.mark.parametrize("digits", [0, 1, 8])  # with many ties, some, none
def test_against_scikit_learn_and_loops(n: int, m: int, digits: int) -> None:
    rng = np.random.default_rng([n, m, digits])
    inside, outside = rng.normal(size=n).round(digits), (rng.normal(size=m) + 0.7).round(digits)
    before = inside.copy()
    truth, scores = np.repeat([0, 1], [n, m]), np.concatenate([inside, outside])
    copies = np.where(truth, n, 5 * m)  # one OOD image to five ID images
    assert recount(inside, outside) == pytest.approx({
        "auroc": 100 * roc_auc_score(truth, scores),
        "aupr_ood": 100 * average_precision_score(truth, scores),
        "aupr_id": 100 * average_precision_score(1 - truth, -scores),
        "aupr_oe": 100 * average_precision_score(np.repeat(truth, copies), np.repeat(scores, copies)),
        "fpr95_id": fpr95([-s for s in inside], [-s for s in outside]),
        "fpr95_ood": fpr95(list(outside), list(inside)),
        "n_id": n,
        "n_ood": m,
    }, abs=1e-10)  # fmt: skip
    assert (inside == before).all()
