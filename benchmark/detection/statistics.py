"""Low-level image statistics as an OOD detector: the reference row that a learned score has to beat.

An OOD set which sharpness or brightness already tells from ID says nothing about semantics. Sets that went through a
different resize are of this kind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.detection.metrics import auroc

STATISTICS = ("sharpness", "brightness", "contrast", "colourfulness")

Stats = NDArray[np.float64]


def image_statistics(images: NDArray[np.uint8], chunk: int = 256) -> Stats:
    """(N, 4) float64, columns as in STATISTICS, of uint8 RGB images (N, H, W, 3), H and W at least 3. May be a memmap.

    Grey is the mean of the three channels, values are 0..255.
    sharpness: mean absolute Laplacian (4 at the centre, -1 at the four neighbours) of grey over the inner pixels.
    brightness, contrast: mean and standard deviation of grey.
    colourfulness: Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images", M3 (their eq. 12):
    with rg = R - G and yb = (R + G) / 2 - B, the root of the summed variances + 0.3 x the root of the summed
    squared means.
    """
    rows = [_chunk_statistics(images[start : start + chunk]) for start in range(0, len(images), chunk)]
    return np.concatenate(rows) if rows else np.empty((0, len(STATISTICS)))


def _chunk_statistics(images: NDArray[np.uint8]) -> Stats:
    pixels = images.astype(np.float64)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    grey = pixels.mean(-1)
    middle = grey[:, 1:-1, 1:-1]
    laplacian = 4 * middle - grey[:, :-2, 1:-1] - grey[:, 2:, 1:-1] - grey[:, 1:-1, :-2] - grey[:, 1:-1, 2:]
    opponents = np.stack([red - green, (red + green) / 2 - blue])  # (2, N, H, W)
    spread = np.sqrt(opponents.var((2, 3)).sum(0))
    shift = np.sqrt(np.square(opponents.mean((2, 3))).sum(0))
    return np.stack([np.abs(laplacian).mean((1, 2)), grey.mean((1, 2)), grey.std((1, 2)), spread + 0.3 * shift], axis=1)


class StatisticsDetector:
    """Squared Mahalanobis distance of the logarithms of the four statistics to those of the ID training images.

    Two-sided: too smooth and too sharp are both far. `fit` learns `mean_` (4,) and `precision_` (4, 4) from ID
    training images alone. log(1 + x), since all four are skewed to the right.
    """

    mean_: NDArray[np.floating]
    precision_: NDArray[np.floating]

    def fit(self, train_stats: Stats) -> StatisticsDetector:
        """Learn from the statistics (M, 4) of the ID training images."""
        logs = np.log1p(train_stats)
        self.mean_ = logs.mean(0)
        scatter = (logs - self.mean_).T @ (logs - self.mean_) / len(logs)
        # The ridge is a spread of 0.1%: a statistic that never varies (grey-scale images) stays invertible, and an
        # image that differs in it is far.
        self.precision_ = np.linalg.inv(scatter + 1e-6 * np.eye(len(STATISTICS)))
        return self

    def score(self, stats: Stats) -> Stats:
        """(N,) from (N, 4); larger = more OOD."""
        offset = np.log1p(stats) - self.mean_
        return np.einsum("ni,ij,nj->n", offset, self.precision_, offset)


def single_statistic_auroc(id_stats: Stats, ood_stats: Stats) -> dict[str, float]:
    """AUROC in % of each statistic alone, in its raw direction: above 50 where OOD images have more of it.

    Both ends betray a set: 5 separates as well as 95.
    """
    return {name: auroc(id_stats[:, i], ood_stats[:, i]) for i, name in enumerate(STATISTICS)}
