"""Rotation prediction: a network that tells how an image was turned, and is unsure of OOD images.

Hendrycks, Mazeika, Kadavath and Song 2019 (NeurIPS), the rotation head alone or with heads for the shift in x and y.
Shapes: B images, D features, T transforms of an image: its 4 rotations, each under the 9 shifts where there are any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.methods.base import Batch, Moment, OneNetwork, Outputs, ignore
from benchmark.models.backbones import build_backbone
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import RotationConfig
from benchmark.views.recipes import PLUS_MINUS_ONE, BatchRecipe, Block, ViewSpec, input_of, padded_crop
from benchmark.views.render import evaluation_view
from benchmark.views.transforms import four_rotations, shift_reflected


class Rotation(OneNetwork):
    """A backbone and linear heads: turned by 0, 90, 180 or 270 degrees; moved in x, in y by nothing, forth or back.

    The heads are one layer of 4 or 4 + 3 + 3 outputs. Shifts follow the rotation, so that x and y are the picture's as
    the network sees it.
    """

    loss_is_a_mean_over_images = True

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        super().__init__(config, device)
        assert isinstance(config.method, RotationConfig)
        self.size, self.shift = config.data.image_size, config.method.shift
        self.by = input_of(config.model, PLUS_MINUS_ONE)[0]
        self.heads = [4, 3, 3] if self.shift else [4]
        backbone, width = build_backbone(config.model, self.size, self.size, config.model.drop_path)
        self.network = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(width, sum(self.heads))}).to(device)

    def batch_recipe(self) -> BatchRecipe:
        """Crops of the padded image; each goes in under all four rotations."""
        crop = padded_crop(self.size, self.by)
        return BatchRecipe({"images": Block((ViewSpec((crop,)),), four_rotations=True)})

    def losses(self, batch: Batch, moment: Moment, backward: Callable[[Tensor], None] = ignore) -> dict[str, Tensor]:
        """ "loss": mean cross-entropy over the heads and the rotated images, in nats; ln 4 for a rotation head that
        cannot tell. Each rotated image is moved by a shift drawn for it."""
        images = batch.positives["images"]
        truth = [torch.arange(4, device=images.device).repeat_interleave(len(images) // 4)]
        if self.shift:
            truth += torch.randint(3, (2, len(images)), device=images.device).unbind()
            images = self._shifted(images, *truth[1:])
        logits = self.network["head"](self.network["backbone"](images)).float()
        losses = [F.cross_entropy(head, true) for head, true in zip(logits.split(self.heads, 1), truth, strict=True)]
        loss = torch.stack(losses).mean()
        self.lap("forward")
        backward(loss)
        return {"loss": loss}

    def _shifted(self, images: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Images moved by the classes x and y (each [B]) of their shifts: 0 stays, 1 is forth and 2 is back."""
        right, down = (self.shift * ((classes + 1) % 3 - 1) for classes in (x, y))
        return shift_reflected(images, right, down)

    def transforms(self) -> Tensor:
        """The classes (T, 3) of rotation, x and y of each transform of a test image; the first is none."""
        shifts = range(3 if self.shift else 1)
        return torch.cartesian_prod(torch.arange(4), torch.tensor(shifts), torch.tensor(shifts))

    def embed(self, images: Tensor) -> Outputs:
        """ "features" (B, D) of the upright image; "logits" (B, T, 4 or 10): of each transform, as of `transforms`."""
        self.network.eval()
        turned = four_rotations(evaluation_view(images, self.size, self.by))
        answers: list[tuple[Tensor, Tensor]] = []
        for x, y in self.transforms().unflatten(0, (4, -1))[0, :, 1:].to(images.device):  # the first is no shift
            moved = self._shifted(turned, x.expand(len(turned)), y.expand(len(turned)))
            features = self.answer(moved)
            answers.append((features, self.network["head"](features).float()))
        logits = torch.stack([logits.unflatten(0, (4, -1)) for _, logits in answers], 1)  # rotation, shift, image
        return {"features": answers[0][0][: len(images)].float(), "logits": logits.flatten(0, 1).transpose(0, 1)}

    def fit(self, train: Outputs) -> None:
        """Nothing: the score is the network's own."""

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        """Minus the log-probabilities of the true rotation, x and y, summed over all transforms; larger = more OOD."""
        logits, total = outputs["logits"].double(), torch.zeros(len(outputs["logits"]), dtype=torch.float64)
        for head, true in zip(logits.split(self.heads, 2), self.transforms().unbind(1), strict=False):
            log_p = torch.log_softmax(head, dim=2)
            total -= log_p.gather(2, true.expand(len(log_p), -1)[:, :, None]).sum((1, 2))
        return total

    def extra_measures(self, test: Outputs, labels: Tensor, ood: dict[str, Outputs]) -> dict[str, Any]:
        """ "rotation_accuracy": in per cent of the transformed ID test images."""
        right = test["logits"][:, :, :4].argmax(2) == self.transforms()[:, 0]
        return {"rotation_accuracy": 100 * float(right.double().mean())}
