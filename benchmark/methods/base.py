"""What the training loop, the feature extraction and the scoring ask of a method, and nothing else of it.

Shapes: B images, V views, D features, M bank images, N scored images, K soft classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.detection.scores import ood_scores
from benchmark.plan.config import RunConfig
from benchmark.running.processes import ALONE


@dataclass(frozen=True)
class Views:
    """Normalised views of B images, view after view: rows v*B .. v*B+B-1 are view v of every image."""

    globals: Tensor  # (V_g*B, 3, S_g, S_g)
    locals: Tensor  # (V_l*B, 3, S_l, S_l)

    def rows(self) -> int:
        """How many views these are in all."""
        return len(self.globals) + len(self.locals)


@dataclass(frozen=True)
class Batch:
    """One step's input: views of in-distribution images, and of the negatives, one entry a kind."""

    positives: Views
    negatives: tuple[Views, ...]


@dataclass(frozen=True)
class Moment:
    """Where training stands. `step` counts over all epochs."""

    epoch: int
    epochs: int
    step: int
    steps: int


def ignore(_: object) -> None: ...


class Method:
    """A way to learn features from batches and to score images by them. Larger score = more OOD.

    Subclasses that train set `trains` and implement `losses`; those that do not implement `embed` alone.
    """

    trains = False
    # Whether the mean of the losses of a batch's equal parts is the loss of the batch, so that ranks can share it.
    loss_is_a_mean_over_images = False

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.bank_: Tensor | None = None
        self.ranks = ALONE  # whom it trains with
        self.lap: Callable[[str], None] = ignore  # told the name of each part of a step when it ends (`bench perf`)

    # Training -------------------------------------------------------------------------------------------------------

    def modules(self) -> nn.ModuleDict:
        """Everything with a state: goes into the checkpoint and, less what `final_state` leaves out, the weights."""
        return nn.ModuleDict()

    def trainable(self) -> list[nn.Parameter]:
        """The parameters that the optimiser moves."""
        return []

    def losses(self, batch: Batch, moment: Moment, backward: Callable[[Tensor], None] = ignore) -> dict[str, Tensor]:
        """Scalar losses of this rank's part of the batch by name; "loss" is what is minimised.

        `backward` is called with each part of the loss as soon as its graph is complete; the parts sum up to "loss". A
        `backward` that goes through the graph frees it, so that the parts' activations are never in memory together.
        """
        raise NotImplementedError

    def before_update(self, moment: Moment) -> None:
        """Called between the backward pass and the optimiser's step."""

    def after_update(self, moment: Moment) -> None:
        """Called after the optimiser's step."""

    def alarms(self, means: dict[str, float], moment: Moment) -> list[str]:
        """Warnings about an epoch with these mean losses; empty when all is well."""
        return []

    def final_state(self) -> dict[str, Tensor]:
        """What scoring needs of the trained method, by name."""
        return {}

    def load_final_state(self, state: dict[str, Tensor]) -> None:
        """Undo `final_state`; raises ValueError when the tensors do not fit."""

    # Evaluation -----------------------------------------------------------------------------------------------------

    def scoring_backbone(self) -> nn.Module | None:
        """The network whose features of `evaluation_view` Eq. 6 scores; None where the method has another way."""
        return None

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, D) in float32 of images (B, 3, H, W) uint8 on the method's device."""
        raise NotImplementedError

    def soft_logits(self, features: Tensor) -> Tensor | None:
        """Logits (B, K) over soft classes of features as `embed` gives them; None without a head."""
        return None

    def occupancy(self, logits: Tensor) -> dict[str, float] | None:
        """Occupied soft classes from the ID test set's logits (N, K); None without a head."""
        return None

    def stored(self, features: Tensor) -> Tensor:
        """Features in the form that is kept on disk and scored: unit length, float16 (float32 would double the disk
        for changes of 1e-4 in a cosine)."""
        return nn.functional.normalize(features.float(), dim=1).half().cpu()

    def fit(self, bank: Tensor) -> None:
        """Learn what scoring needs from the ID training set's stored features (M, D)."""
        self.bank_ = bank.to(self.device).float()

    def score(self, features: Tensor, self_index: Tensor | None = None) -> Tensor:
        """Scores (N,) of stored features (N, D); `self_index` is each row's own place in the bank, to be left out."""
        assert self.bank_ is not None, "fit first"
        return ood_scores(features.to(self.device).float(), self.bank_, self.config.eval.temperature, self_index).cpu()

    def extra_measures(self, id_features: Tensor, ood_features: dict[str, Tensor]) -> dict[str, object]:
        """What this method alone measures, for the record."""
        return {}
