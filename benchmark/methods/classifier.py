"""A classifier of the in-distribution classes, with Outlier Exposure and with rotation prediction beside it.

Hendrycks and Gimpel 2017 (MSP); Hendrycks, Mazeika and Dietterich 2019 (ICLR, Outlier Exposure); Hendrycks, Mazeika,
Kadavath and Song 2019 (NeurIPS, section 4: rotation as an auxiliary task, "Geometric" in Table 1).
Shapes: B images, C classes, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.methods.base import Batch, Moment, OneNetwork, Outputs, ignore
from benchmark.methods.dino import negative_loss
from benchmark.models.backbones import build_backbone
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import ClassifierSettings
from benchmark.running.device import to_device
from benchmark.views.recipes import BatchRecipe, Block, Normalisation, ViewSpec, input_of, padded_crop
from benchmark.views.render import evaluation_view
from benchmark.views.transforms import four_rotations

# Mean and deviation of CIFAR10's training images, of values 0 to 255, as Outlier Exposure's code has them.
CIFAR = Normalisation(
    (125.3 / 255, 123.0 / 255, 113.9 / 255),
    (63.0 / 255, 62.1 / 255, 66.7 / 255),
)


class Classifier(OneNetwork):
    """A backbone and a linear layer; with a weight on rotations a second layer, which tells how an image was turned."""

    loss_is_a_mean_over_images = True

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        super().__init__(config, device)
        assert isinstance(config.method, ClassifierSettings)
        self.settings, self.size = config.method, config.data.image_size
        self.by = input_of(config.model, CIFAR)[0]
        backbone, width = build_backbone(config.model, self.size, self.size, config.model.drop_path)
        parts = {"backbone": backbone, "classes": nn.Linear(width, self.settings.classes)}
        if self.settings.rotation_weight:
            parts["rotation"] = nn.Linear(width, 4)
        self.network = nn.ModuleDict(parts).to(device)

    def batch_recipe(self) -> BatchRecipe:
        """Crops of the padded image; under all rotations where they are told."""
        crops, turned = (ViewSpec((padded_crop(self.size, self.by),)),), bool(self.settings.rotation_weight)
        return BatchRecipe({"images": Block(crops, four_rotations=turned)}, {"images": Block(crops)})

    def losses(self, batch: Batch, moment: Moment, backward: Callable[[Tensor], None] = ignore) -> dict[str, Tensor]:
        """ "classes": cross-entropy of the upright images' labels, in nats; "rotation": of all copies' turns
        (`turns`: of two copies, weighted to be the same in the mean);
        "outliers": cross-entropy of the outliers to the uniform response, the mean over images of logsumexp(logits)
        less their mean, at least ln C. "loss": classes + rotation_weight * rotation + lambda * outliers.

        All images go through the network together, as in the code of Outlier Exposure.
        """
        images, outliers = batch.positives["images"], [views["images"] for views in batch.negatives]
        upright, turned = len(batch.labels), torch.arange(len(images)) // len(batch.labels)
        if self.settings.turns == "one":
            shown = self._shown(upright, moment.step)
            images, turned = images[to_device(shown, images.device)], turned[shown]
        count = len(images)
        features = self.network["backbone"](torch.cat([images, *outliers]))
        losses = {"classes": F.cross_entropy(self.network["classes"](features[:upright]).float(), batch.labels)}
        total = losses["classes"]
        if self.settings.rotation_weight:
            answers, truth = self.network["rotation"](features[:count]).float(), to_device(turned, images.device)
            told = F.cross_entropy(answers, truth, reduction="none").unflatten(0, (-1, upright)).mean(1)
            losses["rotation"] = told.mean() if len(told) == 4 else (told[0] + 3 * told[1]) / 4
            total = total + self.settings.rotation_weight * losses["rotation"]
        if outliers:
            losses["outliers"] = negative_loss(self.network["classes"](features[count:]), 1.0)
            total = total + self.negative_weight(moment) * losses["outliers"]
        self.lap("forward")
        backward(total)
        return {**losses, "loss": total}

    def _shown(self, upright: int, step: int) -> Tensor:
        """Rows (2B,) of the four rotations that a step shows of B images where each is turned in one way: itself, and
        one of its turns, the three taking turns along the batch. The batch is a drawn one, so nothing is drawn here."""
        place = self.ranks.own_rows(1, upright * self.ranks.world)
        own = torch.arange(upright)
        return torch.cat([own, (1 + (place + step) % 3) * upright + own])

    def embed(self, images: Tensor) -> Outputs:
        """ "features" (B, D) and "logits" (B, C) of the upright image; with rotations also "turns" (B, 4, 4), the
        logits of the turn for each turn."""
        self.network.eval()
        upright = evaluation_view(images, self.size, self.by)
        turned = bool(self.settings.rotation_weight)
        features = self.answer(four_rotations(upright) if turned else upright)
        found = {"features": features[: len(images)].float()}
        found["logits"] = self.network["classes"](features[: len(images)]).float()
        if turned:
            found["turns"] = self.network["rotation"](features).float().unflatten(0, (4, -1)).transpose(0, 1)
        return found

    def class_logits(self, outputs: Outputs) -> Tensor:
        return outputs["logits"]

    def fit(self, train: Outputs) -> None:
        """Nothing: the score is the network's own."""

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        """Without rotations minus the log of the largest class probability, which orders images as MSP does. With them
        the score of their code, in bits: minus KL(U || p) of the classes, and the mean over the four turns of minus the
        log-probability of the true one."""
        log_p = torch.log_softmax(outputs["logits"].double(), dim=1)
        if "turns" not in outputs:
            return -log_p.amax(1)
        kl_from_uniform = -math.log(log_p.shape[1]) - log_p.mean(1)
        turns = torch.log_softmax(outputs["turns"].double(), dim=2).diagonal(dim1=1, dim2=2)
        return (-kl_from_uniform - turns.mean(1)) / math.log(2)

    def extra_measures(self, test: Outputs, labels: Tensor, ood: dict[str, Outputs]) -> dict[str, Any]:
        """ "accuracy": of the classes, and with rotations "rotation_accuracy", in per cent of the ID test images."""
        right = test["logits"].argmax(1)[labels >= 0] == labels[labels >= 0]
        found = {"accuracy": 100 * float(right.double().mean())}
        if "turns" in test:
            turned = test["turns"].argmax(2) == torch.arange(4)
            found["rotation_accuracy"] = 100 * float(turned.double().mean())
        return found
