"""What the training loop, the feature extraction and the scoring ask of a method, and nothing else of it.

Shapes: B images, V views, D features, M bank images, N scored images, K soft classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.detection.scores import kept_features, ood_scores
from benchmark.methods import schedules
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import DinoConfig
from benchmark.running.processes import ALONE
from benchmark.views.recipes import BatchRecipe, input_of, multi_crop

PASS = 256  # views that go through a network together in evaluation

# Normalised views of B images by the name of their block, each [V*B, 3, S, S] with the rows of `views.recipes.Block`.
Views = dict[str, Tensor]

# What a network answers to images, by name; rows are images. "features" (B, D) is always there: k-NN accuracy is
# measured on it. Anything else is the method's own: logits, norms, (B, 4, ...) where there is an answer a rotation.
Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """One step's input: views of in-distribution images and of the negatives, one entry a kind, and the ID labels."""

    positives: Views
    negatives: tuple[Views, ...]
    labels: Tensor  # (B,) int64, -1 where unknown


@dataclass(frozen=True)
class Moment:
    """Where training stands. `step` counts over all epochs."""

    epoch: int
    epochs: int
    step: int
    steps: int


@dataclass(frozen=True)
class ScoringHead:
    """A network on the features; its outputs over a temperature are the class logits. settings: what it is built by."""

    network: nn.Module
    settings: DinoConfig
    temperature: float


def ignore(_: object) -> None: ...


class Method:
    """A way to learn features from batches and to score images by them. Larger score = more OOD.

    Those that train implement `modules`, `trainable`, `losses`, `final_state` and `load_final_state`; all implement
    `embed`. What they leave alone is the paper's: DINO's views, and Eq. 6 on features of unit length.
    """

    # Whether the mean of the losses of a batch's equal parts is the loss of the batch, so that ranks can share it.
    loss_is_a_mean_over_images = False

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.bank_: Tensor | None = None
        self.ranks = ALONE  # whom it trains with
        self.lap: Callable[[str], None] = ignore  # told the name of each part of a step when it ends (`bench perf`)

    # Training -------------------------------------------------------------------------------------------------------

    def batch_recipe(self) -> BatchRecipe:
        """The views that `losses` wants to see."""
        return multi_crop(self.config.views, input_of(self.config.model)[0])

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

    def negative_weight(self, moment: Moment) -> float:
        """lambda, the weight of the negatives' loss, at this step."""
        settings = self.config.negatives
        steps = settings.weight_warmup_epochs * moment.steps / moment.epochs
        return schedules.rise(moment.step, steps, settings.weight)

    def before_update(self, moment: Moment) -> None:
        """Called between the backward pass and the optimiser's step."""

    def after_update(self, moment: Moment) -> None:
        """Called after the optimiser's step."""

    def alarms(self, means: dict[str, float], moment: Moment) -> list[str]:
        """Warnings about an epoch with these mean losses; empty when all is well."""
        return []

    def recalibrated_after_training(self) -> nn.Module | None:
        """The network, views (N, 3, S, S) -> features, whose batch normalisation is given the statistics of plain
        training images and as many negatives of each kind before it is scored (`training.statistics`); None where it
        keeps its running statistics."""
        return None

    def final_state(self) -> dict[str, Tensor]:
        """What scoring needs of the trained method, by name."""
        return {}

    def load_final_state(self, state: dict[str, Tensor]) -> None:
        """Undo `final_state`; raises ValueError when the tensors do not fit."""

    # Evaluation -----------------------------------------------------------------------------------------------------

    def scoring_backbone(self) -> nn.Module | None:
        """The network whose features of `evaluation_view` Eq. 6 scores; None where the method has another way."""
        return None

    def embed(self, images: Tensor) -> Outputs:
        """What scoring needs of images (B, 3, H, W) uint8 on the method's device, in float32.

        It may look at as many transformed copies of an image as it likes (`views.transforms.four_rotations`,
        `views.render.fixed_views`); its outputs have one row per image.
        """
        raise NotImplementedError

    def soft_logits(self, outputs: Outputs) -> Tensor | None:
        """Logits (B, K) over soft classes from what `embed` gave; None without a head."""
        return None

    def class_logits(self, outputs: Outputs) -> Tensor | None:
        """Logits (B, K) of the class probabilities that training shaped, soft classes or real ones, for the scores that
        read them (`plan.scores`); None without a head. Whoever has some says so in its settings' `provides`."""
        return None

    def scoring_head(self) -> ScoringHead | None:
        """What maps "features" to `class_logits`, for a detector to take along; None without one."""
        return None

    def occupancy(self, logits: Tensor) -> dict[str, float] | None:
        """Occupied soft classes from the ID test set's logits (N, K); None without a head."""
        return None

    def stored(self, outputs: Outputs) -> Outputs:
        """Outputs in the form that is kept on disk and scored: `kept_features`, others as they are."""
        return {name: rows.cpu() for name, rows in {**outputs, "features": kept_features(outputs["features"])}.items()}

    def fit(self, train: Outputs) -> None:
        """Learn what scoring needs from the ID training set's stored outputs, features (M, D)."""
        self.bank_ = train["features"].to(self.device).float()

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        """Scores (N,) of stored outputs; `self_index` is each row's own place among those fitted, to be left out."""
        assert self.bank_ is not None, "fit first"
        features = outputs["features"].to(self.device).float()
        return ood_scores(features, self.bank_, self.config.eval.temperature, self_index).cpu()

    def extra_measures(self, test: Outputs, labels: Tensor, ood: dict[str, Outputs]) -> dict[str, Any]:
        """What this method alone measures, for the record.

        test, labels: stored outputs of the ID test images and their classes (N,), -1 where unknown; ood: by set.
        """
        return {}


class OneNetwork(Method):
    """A method whose state is one network, all of which is trained and all of which scoring needs."""

    network: nn.ModuleDict  # with a "backbone"

    def answer(self, views: Tensor) -> Tensor:
        """Features (N, D) of N views, PASS at a time: ten crops of each image under four rotations are forty times as
        many views as images, which would leave a CPU's caches and could fill a GPU. For evaluation alone: where
        statistics are of a batch, parts of it are not the whole."""
        return torch.cat([self.network["backbone"](part) for part in views.split(PASS)])

    def modules(self) -> nn.ModuleDict:
        return self.network

    def trainable(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    def final_state(self) -> dict[str, Tensor]:
        return self.network.state_dict()

    def load_final_state(self, state: dict[str, Tensor]) -> None:
        self.network.load_state_dict(state)
