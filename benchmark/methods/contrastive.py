"""Contrastive learning: two views of an image are to be alike and unlike all others. SimCLR, and CSI, to which the
rotated copies of an image are others.

Chen, Kornblith, Norouzi and Hinton 2020 (ICML); Tack, Mo, Jeong and Shin 2020 (NeurIPS).
Shapes: B images, R rotations that a copy goes in under (1, or 4 with CSI), D features, P numbers of a projection.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.methods.base import Batch, Moment, OneNetwork, Outputs, ignore
from benchmark.models.backbones import build_backbone
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import ContrastiveSettings
from benchmark.scoring.banks import kth_cosine
from benchmark.views.recipes import AS_IT_IS, BatchRecipe, Block, ViewRecipe, ViewSpec, input_of
from benchmark.views.render import evaluation_view, fixed_views
from benchmark.views.transforms import four_rotations


def nt_xent(first: Tensor, second: Tensor, temperature: float, unlike: Tensor | None = None) -> Tensor:
    """NT-Xent (Chen et al. 2020, Eq. 1): the mean over all 2N views of -ln of the share that a view's partner has in
    the sum of exp(cos / temperature) over all views but itself.

    first, second (N, P) of any norm: row i of each is a view of instance i. A scalar in nats; ln(2N - 1) where all
    views are alike. unlike (N, P): row i is one more thing that the first view of instance i, and nobody else, is to be
    unlike (BG_Swaps of Ryali, Schwab and Morcos 2021).
    """
    rows = F.normalize(torch.cat([first, second]).float(), dim=1)
    count = len(first)
    with torch.autocast(rows.device.type, enabled=False):
        cosines = rows @ rows.T / temperature
        itself = torch.eye(2 * count, dtype=torch.bool, device=rows.device)
        cosines = cosines.masked_fill(itself, -torch.inf)
        if unlike is not None:
            more = (rows[:count] * F.normalize(unlike.float(), dim=1)).sum(1) / temperature
            cosines = torch.cat([cosines, F.pad(more, (0, count), value=-torch.inf)[:, None]], 1)
    partner = torch.arange(2 * count, device=rows.device).roll(count)
    return F.cross_entropy(cosines, partner)


class Contrastive(OneNetwork):
    """A backbone and a projection of two layers, of which scoring sees both; with rotations a head that tells them.

    The loss needs the whole batch: several processes cannot share it.
    """

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        super().__init__(config, device)
        assert isinstance(config.method, ContrastiveSettings)
        self.settings, self.size = config.method, config.data.image_size
        self.by = input_of(config.model, AS_IT_IS)[0]
        self.turns = 4 if config.method.rotations else 1
        backbone, width = build_backbone(config.model, self.size, self.size, config.model.drop_path)
        projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.method.projection))
        parts = {"backbone": backbone, "projection": projection}
        if config.method.rotations:
            parts["rotation"] = nn.Linear(width, 4)
        self.network = nn.ModuleDict(parts).to(device)

    def batch_recipe(self) -> BatchRecipe:
        """Two views, each also turned where rotated copies are instances of their own."""
        low, high = self.settings.scale
        view = ViewRecipe(
            self.size, (low, high), blur_p=0, solarize_p=0, jitter=(0.4, 0.4, 0.4, 0.1), normalisation=self.by
        )
        turned, shown = self.settings.rotations, self.config.views
        if shown.background == "swaps":
            specs = (ViewSpec((view,)), ViewSpec((view,), 1, "random", shown.background_p))
            swapped = Block((ViewSpec((view,), 1, "swap", 1.0),), four_rotations=turned)
            return BatchRecipe({"images": Block(specs, four_rotations=turned), "swapped": swapped})
        spec = ViewSpec((view,), 2, shown.background, shown.background_p)
        return BatchRecipe({"images": Block((spec,), four_rotations=turned)})

    def losses(self, batch: Batch, moment: Moment, backward: Callable[[Tensor], None] = ignore) -> dict[str, Tensor]:
        """ "contrastive": NT-Xent over R * B instances; "rotation": cross-entropy of the turns; "loss": their sum."""
        views, swapped = batch.positives["images"], batch.positives.get("swapped")
        features = self.network["backbone"](views if swapped is None else torch.cat([views, swapped]))
        projections = self.network["projection"](features)
        features, projected = features[: len(views)], projections[: len(views)]
        # Rows are turn after turn, in each view after view: the two views of an image turned alike are partners.
        first, second = projected.unflatten(0, (self.turns, 2, -1)).unbind(1)
        unlike = None if swapped is None else projections[len(views) :]
        temperature = self.settings.temperature
        losses = {"contrastive": nt_xent(first.flatten(0, 1), second.flatten(0, 1), temperature, unlike)}
        if self.settings.rotations:
            truth = torch.arange(4, device=features.device).repeat_interleave(len(features) // 4)
            losses["rotation"] = F.cross_entropy(self.network["rotation"](features).float(), truth)
        losses["loss"] = torch.stack(list(losses.values())).sum()
        self.lap("forward")
        backward(losses["loss"])
        return losses

    def embed(self, images: Tensor) -> Outputs:
        """ "features" (B, D) of the whole image; "projections" (B, R, P), and with rotations "turns" (B, R): the logit
        of the true turn, both means over the fixed crops of an image, turned."""
        self.network.eval()
        crops = self.settings.test_crops
        share = self.settings.test_scale
        crop = ViewRecipe(
            self.size, (share, share), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, normalisation=self.by
        )
        views = fixed_views(images, crop, crops, seed=0)
        features = self.answer(four_rotations(views) if self.settings.rotations else views)
        means = self.network["projection"](features).float().unflatten(0, (self.turns, crops, -1)).mean(1)
        found = {"projections": means.transpose(0, 1)}
        if self.settings.rotations:
            logits = self.network["rotation"](features).float().unflatten(0, (4, crops, -1)).mean(1)  # (R, B, 4)
            found["turns"] = torch.stack([logits[turn, :, turn] for turn in range(4)], 1)
        whole = self.answer(evaluation_view(images, self.size, self.by)).float()
        return {"features": whole, **found}

    def fit(self, train: Outputs) -> None:
        """Keep the training images' projections, and the means that a rotation's two terms are divided by."""
        self.banks_ = train["projections"].float().to(self.device)
        self.norms_ = self.banks_.norm(dim=2).double().mean(0).cpu()
        self.turns_ = train["turns"].double().mean(0).cpu() if "turns" in train else None

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        """CSI's score (Tack et al. 2020, Eq. 9, as its code computes it), larger = more OOD: minus the mean over the
        rotations of s / mean of |z| + c / mean of c, means over the training images.

        s is the largest product of the projection z with a training image's of unit length, that is its length times
        the largest cosine, and c the logit of the true rotation. Without rotations s alone.
        """
        projections = outputs["projections"].float().to(self.device)
        total = torch.zeros(len(projections), dtype=torch.float64)
        for turn in range(self.turns):
            z = projections[:, turn]
            nearest = kth_cosine(z, self.banks_[:, turn], 1, self_index)
            total -= nearest * z.norm(dim=1).double().cpu() / self.norms_[turn] / self.turns
            if self.turns_ is not None:
                total -= outputs["turns"][:, turn].double().cpu() / self.turns_[turn] / self.turns
        return total
