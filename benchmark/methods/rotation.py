"""Rotation prediction: a network that tells how an image was turned, and is unsure of OOD images.

Hendrycks, Mazeika, Kadavath and Song 2019 (NeurIPS), the rotation head alone. Shapes: B images, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.methods.base import Batch, Method, Moment, Outputs, ignore
from benchmark.models.backbones import build_backbone
from benchmark.plan.config import RunConfig
from benchmark.views.recipes import PLUS_MINUS_ONE, BatchRecipe, Block, ViewRecipe, ViewSpec
from benchmark.views.render import evaluation_view
from benchmark.views.transforms import four_rotations


class Rotation(Method):
    """A backbone and a linear head of four classes: turned by 0, 90, 180 or 270 degrees."""

    loss_is_a_mean_over_images = True

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.size = config.data.image_size
        backbone, width = build_backbone(config.model, self.size, self.size, config.model.drop_path)
        self.network = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(width, 4)}).to(device)

    def batch_recipe(self) -> BatchRecipe:
        """Crops of the image padded by 4 pixels, flipped half the time; each goes in under all four rotations."""
        whole = ViewRecipe(self.size, (1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0)
        crop = replace(whole, padding=4, normalisation=PLUS_MINUS_ONE)
        return BatchRecipe({"images": Block((ViewSpec((crop,)),), four_rotations=True)})

    def modules(self) -> nn.ModuleDict:
        return self.network

    def trainable(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    def losses(self, batch: Batch, moment: Moment, backward: Callable[[Tensor], None] = ignore) -> dict[str, Tensor]:
        """ "loss": mean cross-entropy over the rotated images, in nats; ln 4 for a network that cannot tell."""
        features = self.network["backbone"](batch.positives["images"])
        logits = self.network["head"](features).float()
        turned = torch.arange(4, device=logits.device).repeat_interleave(len(logits) // 4)
        loss = F.cross_entropy(logits, turned)
        self.lap("forward")
        backward(loss)
        return {"loss": loss}

    def final_state(self) -> dict[str, Tensor]:
        return self.network.state_dict()

    def load_final_state(self, state: dict[str, Tensor]) -> None:
        self.network.load_state_dict(state)

    def embed(self, images: Tensor) -> Outputs:
        """ "features" (B, D) of the upright image; "logits" (B, 4, 4): of each rotation, over the four classes."""
        self.network.eval()
        features = self.network["backbone"](four_rotations(evaluation_view(images, self.size, PLUS_MINUS_ONE)))
        logits = self.network["head"](features).unflatten(0, (4, -1)).transpose(0, 1)
        return {"features": features[: len(images)].float(), "logits": logits.float()}

    def fit(self, train: Outputs) -> None:
        """Nothing: the score is the network's own."""

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        """Minus the log-probability of the true rotation, summed over the four rotations; larger = more OOD."""
        log_p = torch.log_softmax(outputs["logits"].double(), dim=2)
        return -log_p.diagonal(dim1=1, dim2=2).sum(1)

    def extra_measures(self, test: Outputs, labels: Tensor, ood: dict[str, Outputs]) -> dict[str, Any]:
        """ "rotation_accuracy": in per cent of the rotated ID test images."""
        right = test["logits"].argmax(2) == torch.arange(4)
        return {"rotation_accuracy": 100 * float(right.double().mean())}
