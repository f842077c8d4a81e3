"""The two reference rows: what an untrained backbone gives, and what image statistics alone give.

An OOD set that these already separate proves nothing about a trained model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.detection.statistics import StatisticsDetector, image_statistics, single_statistic_auroc
from benchmark.methods.base import Method, Outputs
from benchmark.methods.frozen import Frozen
from benchmark.plan.config import RunConfig


class Untrained(Frozen):
    """The backbone as initialised, scored with Eq. 6 like a trained one."""

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.backbone  # noqa: B018  drawn now, as the run's seed is


class ImageStatistics(Method):
    """Sharpness, brightness, contrast and colourfulness, scored by their distance from the ID training set's."""

    def embed(self, images: Tensor) -> Outputs:
        return {"features": torch.from_numpy(image_statistics(images.permute(0, 2, 3, 1).cpu().numpy()))}

    def stored(self, outputs: Outputs) -> Outputs:
        return {"features": outputs["features"].cpu()}  # four float64 numbers an image: their scale is their meaning

    def fit(self, train: Outputs) -> None:
        self.detector_ = StatisticsDetector().fit(train["features"].numpy())

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        # One image in thousands moves a mean of four numbers by nothing that shows: no leave-self-out.
        return torch.from_numpy(np.asarray(self.detector_.score(outputs["features"].numpy())))

    def extra_measures(self, test: Outputs, labels: Tensor, ood: dict[str, Outputs]) -> dict[str, Any]:
        inside = test["features"].numpy()
        return {
            "single_statistic_auroc": {
                name: single_statistic_auroc(inside, outputs["features"].numpy()) for name, outputs in ood.items()
            }
        }
