"""Scores by the training images most like an image: cosines to a bank of their features."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.detection.knn import nearest
from benchmark.detection.scores import ood_scores
from benchmark.errors import BenchError
from benchmark.scoring.base import LOG_LARGEST_PROBABILITY, AtTemperature, Outputs, Score


class Bank(Score):
    """Keeps the training images' features."""

    bank_: Tensor

    def fit(self, train: Outputs) -> None:
        self.bank_ = train["features"].float()


class Eq6(AtTemperature, Bank):
    """Rafiee et al. 2022, Eq. 6, as a log (`detection.scores.ood_scores`), at any temperature; -1/T to 1/T."""

    def fit(self, train: Outputs) -> None:
        super().fit(train)
        self.weights_ = train.get("weights")

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        return ood_scores(outputs["features"].float(), self.bank_, self.temperature, self_index, weights=self.weights_)


class Eq6FromNegatives(AtTemperature):
    """Eq. 6 with features, of their own length, measured from the mean feature of the run's negatives in place of the
    origin: cosines of the angle between two images as seen from there; ours; -1/T to 1/T.

    Training draws the negatives together where the response is uniform, and OOD images arrive between there and the
    in-distribution images. Seen from the origin they may lie in the direction of many training images; seen from the
    negatives' mean they lie nearby, in any direction. The mean of 2,000 negatives is as good as that of 8,000 (the
    scores' rank correlation is 0.9995), that of 20 is not quite (0.97).
    """

    def fit(self, train: Outputs) -> None:
        self.origin_ = train["negatives"].double().mean(0).float()
        self.bank_ = self.from_origin(train)

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        return ood_scores(self.from_origin(outputs), self.bank_, self.temperature, self_index)

    def from_origin(self, outputs: Outputs) -> Tensor:
        return outputs["features"].float() * outputs["norm"].float()[:, None] - self.origin_


class Eq6OfConfident(AtTemperature):
    """Eq. 6 against that half of the training images with the highest maximum class probability (at least the
    median): ours; -1/T to 1/T.

    Negatives teach a uniform response, and some training images get it too. Those lie close together, just where OOD
    images arrive, and Eq. 6, a density, then takes OOD images for the most familiar of all.
    """

    def fit(self, train: Outputs) -> None:
        sureness = train["class_logits"][:, LOG_LARGEST_PROBABILITY]
        kept = (sureness >= sureness.median()).nonzero()[:, 0].cpu()  # torch's median is a value: never none
        self.bank_ = train["features"][kept.to(train["features"].device)].float()
        self.place_ = torch.full((len(sureness),), -1).scatter_(0, kept, torch.arange(len(kept)))

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        features = outputs["features"].float()
        if self_index is None:
            return ood_scores(features, self.bank_, self.temperature)
        place = self.place_[self_index.cpu()]
        scores = torch.empty(len(features), dtype=torch.float64)
        for own in (place >= 0, place < 0):  # an image that is not in the bank does not see itself anyway
            if bool(own.any()):
                some = features[own.to(features.device)]
                inside = place[own] if bool(place[own][0] >= 0) else None
                scores[own] = ood_scores(some, self.bank_, self.temperature, inside)
        return scores


class NearestNeighbour(Bank):
    """Deep nearest neighbours (Sun, Ming, Zhu and Li 2022, ICML): the Euclidean distance of unit features to the k-th
    nearest training image; 0 to 2."""

    def __init__(self, k: int) -> None:
        self.k = k

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        others = len(self.bank_) - (self_index is not None)
        if self.k > others:
            raise BenchError(f"score knn-{self.k}: {self.k} given, allowed with {others} other training images: 1 to "
                             f"{others}")  # fmt: skip
        return (2 - 2 * kth_cosine(outputs["features"].float(), self.bank_, self.k, self_index)).clamp(min=0).sqrt()


class LargestCosine(Bank):
    """Minus the largest cosine to a training image, the core of CSI's score (Tack et al. 2020, Eq. 6); -1 to 1."""

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        return -kth_cosine(outputs["features"].float(), self.bank_, 1, self_index)


def kth_cosine(features: Tensor, bank: Tensor, k: int, self_index: Tensor | None) -> Tensor:
    """The k-th largest cosine (N,) of each feature (N, D) to the bank (M, D), float64, its own row left out."""
    if self_index is None:
        return nearest(features, bank, k)[0][:, -1].double().cpu()
    cosines, rows = nearest(features, bank, k + 1)
    itself = rows == self_index[:, None].to(rows.device)
    # Where copies of the image crowd its own row out, all k + 1 cosines are as large as its own would be.
    return torch.where(itself, -torch.inf, cosines).sort(1, descending=True)[0][:, k - 1].double().cpu()
