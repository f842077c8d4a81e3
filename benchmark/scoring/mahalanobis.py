"""The Mahalanobis distance to clusters of the training images."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import BenchError
from benchmark.scoring.base import Outputs, Score

ROWS = 4096  # images at a time: 16 MiB for 512 features in float64
SMALLEST = 1e-10  # added to a deviation before dividing by it, as published


class Mahalanobis(Score):
    """SSD's score (Sehwag, Chiang and Mittal 2021, section 3.1 and its code): the squared Mahalanobis distance to the
    nearest of m clusters; from 0 up, about D for training images.

    Unit features are standardised, dimension by dimension, by the training images' mean and deviation, then clustered
    by k-means; each cluster has its own mean and covariance (with 1/n), inverted as a pseudo-inverse. A training image
    is part of its own covariance: scored as if unseen it would lie farther out by a share of about D / M. Of a cluster
    with fewer images than D, distance in directions that its images do not vary in counts as none: with many clusters
    of few images the score is much the worse for it.
    """

    def __init__(self, clusters: int = 1) -> None:
        self.clusters = clusters

    def fit(self, train: Outputs) -> None:
        rows = train["features"].cpu().double().numpy()
        if self.clusters > len(rows):
            raise BenchError(
                f"score mahalanobis-{self.clusters}: {self.clusters} clusters of {len(rows)} training images"
            )
        self.mean_, self.deviation_ = rows.mean(0), rows.std(0)
        if not (self.deviation_ > SMALLEST).any():
            raise BenchError(f"score mahalanobis: the features of {len(rows)} training images do not vary")
        rows = self._standardised(rows)
        self.centres_, self.inverses_ = [], []
        which = self._cluster(rows)
        for number in np.unique(which):  # fewer than asked for where fewer features are distinct
            mine = rows[which == number]
            self.centres_.append(mine.mean(0))
            covariance = np.atleast_2d(np.cov(mine.T, bias=True))
            self.inverses_.append(np.linalg.pinv(covariance, hermitian=True))

    def _standardised(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self.mean_) / (self.deviation_ + SMALLEST)

    def _cluster(self, rows: np.ndarray) -> np.ndarray:
        if self.clusters == 1:
            return np.zeros(len(rows), dtype=int)
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer distinct rows than clusters
            return KMeans(self.clusters, n_init=1, max_iter=100, random_state=0).fit_predict(rows)

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        features = outputs["features"].cpu()
        scores = torch.empty(len(features), dtype=torch.float64)
        for start in range(0, len(features), ROWS):
            rows = self._standardised(features[start : start + ROWS].double().numpy())
            far = [
                np.einsum("nd,nd->n", (rows - centre) @ inverse, rows - centre)
                for centre, inverse in zip(self.centres_, self.inverses_, strict=True)
            ]
            scores[start : start + ROWS] = torch.from_numpy(np.min(far, 0))
        return scores
