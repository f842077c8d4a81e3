"""What OOD scores are worth: AUROC, AUPR and FPR95, all in per cent, larger score = more OOD.

n and m below are the numbers of ID and OOD images. Equal scores are counted as ties, never in one's favour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.errors import BenchError

Scores = NDArray[np.float64]

OE_RATIO = 5  # ID images to an OOD image in Outlier Exposure's AUPR


def auroc(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """Area under the ROC curve in %: how often an OOD image scores above an ID image, a tie counting half.

    Raises BenchError if a side is empty or holds scores that are not finite.
    """
    from sklearn.metrics import roc_auc_score

    return 100 * float(roc_auc_score(*_is_ood(_checked(id_scores, "ID"), _checked(ood_scores, "OOD"))))


def ood_metrics(id_scores: ArrayLike, ood_scores: ArrayLike) -> dict[str, float | int]:
    """Every metric of an ID test set (n,) against one OOD test set (m,), in %, with the counts of images.

    auroc: see `auroc`.
    aupr_ood, aupr_id: average precision with OOD, or ID, as the positives. Both depend on the ratio n : m (a blind
        score gets the share of its positives), hence the counts; compare only between equal ratios.
    aupr_oe: aupr_ood as if there were one OOD image to five ID images, whatever n and m: the ratio of Outlier Exposure
        (Hendrycks et al. 2019), there by drawing images, here by their weights, so that nothing is left to chance.
    fpr95_id: ID as the positives (SSD): the share of OOD images that are accepted when 95% of the ID images are.
    fpr95_ood: OOD as the positives (Outlier Exposure, OpenOOD 1.5, pytorch-ood): the share of ID images that are
        flagged when 95% of the OOD images are found.
    n_id, n_ood: n and m.

    Raises BenchError if a side is empty or holds scores that are not finite.
    """
    from sklearn.metrics import average_precision_score

    inside, outside = _checked(id_scores, "ID"), _checked(ood_scores, "OOD")
    is_ood, scores = _is_ood(inside, outside)
    one_to_five = np.where(is_ood, len(inside) / (OE_RATIO * len(outside)), 1.0)
    return {
        "auroc": auroc(inside, outside),
        "aupr_ood": 100 * float(average_precision_score(is_ood, scores)),
        "aupr_id": 100 * float(average_precision_score(~is_ood, -scores)),
        "aupr_oe": 100 * float(average_precision_score(is_ood, scores, sample_weight=one_to_five)),
        "fpr95_id": _fpr95(positives=-inside, negatives=-outside),
        "fpr95_ood": _fpr95(positives=outside, negatives=inside),
        "n_id": len(inside),
        "n_ood": len(outside),
    }


def sensitivity(train_scores: ArrayLike, test_scores: ArrayLike) -> float:
    """AUROC in % of ID train against ID test, test as positives: how well the score rejects unseen ID images.

    `train_scores` must be leave-self-out (`ood_scores` with `self_index`): an image that finds itself in the bank
    looks familiar for no other reason.
    """
    return auroc(train_scores, test_scores)


def _fpr95(positives: Scores, negatives: Scores) -> float:
    """False positives in % at the strictest threshold that finds at least 95% of the positives (larger = positive)."""
    found = (95 * len(positives) + 99) // 100  # 95% of them, rounded up, in whole numbers
    threshold = np.sort(positives)[len(positives) - found]
    return 100 * float(np.mean(negatives >= threshold))


def _is_ood(inside: Scores, outside: Scores) -> tuple[NDArray[np.bool_], Scores]:
    return np.repeat([False, True], [len(inside), len(outside)]), np.concatenate([inside, outside])


def _checked(scores: ArrayLike, name: str) -> Scores:
    values = np.asarray(scores, dtype=np.float64).ravel()
    if not len(values):
        raise BenchError(f"no {name} scores given")
    bad = int(np.sum(~np.isfinite(values)))
    if bad:
        raise BenchError(f"{bad} of {len(values)} {name} scores are not finite")
    return values
