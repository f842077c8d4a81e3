"""Scores by how a network classifies an image, or by the length of its features: no training images are asked."""

from __future__ import annotations

from torch import Tensor

from benchmark.scoring.base import LARGEST_LOGIT, LOG_LARGEST_PROBABILITY, LOG_SUM_EXP, Outputs, Score


class MaximumProbability(Score):
    """Minus the log of the largest class probability (Hendrycks and Gimpel 2017, MSP); 0 to ln K."""

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        return -outputs["class_logits"][:, LOG_LARGEST_PROBABILITY].double().cpu()


class MaximumLogit(Score):
    """Minus the largest logit (Hendrycks et al. 2022, MaxLogit); of the scale of the logits."""

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        return -outputs["class_logits"][:, LARGEST_LOGIT].double().cpu()


class Energy(Score):
    """The free energy -ln sum exp(logit) at temperature 1 (Liu, Wang, Owens and Li 2020, Eq. 4), theirs with the sign
    of the energy, so that it is large for OOD images; of the scale of the logits."""

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        return -outputs["class_logits"][:, LOG_SUM_EXP].double().cpu()


class NegativeNorm(Score):
    """Minus the features' length before normalisation (the other factor of CSI's score, Tack et al. 2020); below 0."""

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        return -outputs["norm"].double().cpu()
