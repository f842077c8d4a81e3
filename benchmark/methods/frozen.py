"""A backbone with weights trained elsewhere, scored as it is: nothing is trained."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from benchmark.methods.base import Method, Outputs
from benchmark.models.backbones import at_once, build_backbone
from benchmark.views.recipes import input_of
from benchmark.views.render import evaluation_view


class Frozen(Method):
    """The backbone with `model.weights`, in evaluation mode, scored with Eq. 6 like a trained one."""

    @cached_property
    def backbone(self) -> nn.Module:
        """Built when images are to be seen: scoring kept features needs no weights."""
        size = self.config.views.global_size
        return build_backbone(self.config.model, size, size, 0.0)[0].to(self.device).eval().requires_grad_(False)

    def scoring_backbone(self) -> nn.Module:
        return self.backbone

    def embed(self, images: Tensor) -> Outputs:
        """ "features" (B, D) of the whole image, resized and normalised as the weights are used to."""
        views = evaluation_view(images, self.config.views.global_size, *input_of(self.config.model))
        parts = views.split(at_once(views.shape[-1], views.device))
        return {"features": torch.cat([self.backbone(part) for part in parts]).float()}
