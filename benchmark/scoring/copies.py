"""Scores that use the negatives at test time: the transformations that made them, applied to the test image. Ours.

A network trained with rotated, or shuffled, images as negatives has learnt what they look like. Four passes an image:
of itself and of three copies, turned by 90, 180 and 270 degrees or with its quarters in three fixed orders.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.detection.scores import ood_scores
from benchmark.scoring.base import LOG_SUM_EXP, AtTemperature, Outputs, Score


class Eq6OverRotations(AtTemperature):
    """Eq. 6 summed over the four rotations: each rotation of the image against the equally rotated training images;
    -4/T to 4/T."""

    copies = "rotated"

    def fit(self, train: Outputs) -> None:
        self.banks_ = self.features(train)

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        answers = zip(self.features(outputs), self.banks_, strict=True)
        return torch.stack([ood_scores(one, bank, self.temperature, self_index) for one, bank in answers]).sum(0)

    def features(self, outputs: Outputs) -> list[Tensor]:
        """Features (N, D) of the image and of each of its copies."""
        return [outputs["features"].float(), *outputs[self.copies].float().unbind(1)]


class Eq6OverPermutations(Eq6OverRotations):
    """The same with the image's quarters as they are and in three fixed orders."""

    copies = "permuted"


class EnergyGap(Score):
    """How little the response tells the image from its rotated copies: minus (the mean energy of the copies, turned by
    90, 180 and 270 degrees, less that of the image), with the energy -ln sum exp(logit); of the scale of the logits.

    Training gives an upright in-distribution image a peaked response, of low energy, and its copies, as negatives, a
    uniform one, of high energy: a wide gap. An OOD image has no side that is up, and a narrow one.
    """

    copies = "rotated_class_logits"

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        upright = -outputs["class_logits"][:, LOG_SUM_EXP].double().cpu()
        copies = -outputs[self.copies][:, :, LOG_SUM_EXP].double().cpu()
        return upright - copies.mean(1)


class EnergyGapOfPermutations(EnergyGap):
    """The same with the image's quarters in three fixed orders."""

    copies = "permuted_class_logits"
