"""From stored images to a training step's views: which images, which negatives, which crops.

Every choice is a pure function of (seed, epoch, step). A resumed run therefore needs no sampler or generator state, and
a CPU and a GPU run see the same images and the same crops. So do several processes: each draws for the whole batch and
renders its own share.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import BenchError
from benchmark.methods.base import Batch, Views
from benchmark.negatives import IN_DIST, Negative, variant
from benchmark.plan.config import RunConfig, ViewsConfig
from benchmark.running.processes import ALONE, Ranks
from benchmark.seeds import generator
from benchmark.views import ViewRecipe, choose, draw, draw_negative, recipes, render, to_device

RESIDENT_BYTES = 8 << 30  # larger sets stay on disk and are read image by image from the memory map


class DeviceImages:
    """uint8 images (N, 3, H, W) at hand on a device, or read from disk where they are too many to live there."""

    def __init__(self, images: np.ndarray, device: torch.device, resident_bytes: int = RESIDENT_BYTES) -> None:
        self.count = len(images)
        self.device = device
        self._disk = images
        self._resident = None
        if images.nbytes <= resident_bytes:
            # np.array: a copy in memory, because the memory map is read-only.
            self._resident = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous().to(device)

    def take(self, index: Tensor) -> Tensor:
        """Images (B, 3, H, W) at `index` (B,), a CPU tensor."""
        if self._resident is not None:
            return self._resident[to_device(index, self.device)]
        rows = torch.from_numpy(np.ascontiguousarray(self._disk[index.numpy()])).permute(0, 3, 1, 2)
        return to_device(rows.contiguous(), self.device)


def view_recipes(sizes: ViewsConfig) -> tuple[ViewRecipe, ViewRecipe, ViewRecipe]:
    """How a run's views are drawn: first global view, second global view, local view."""
    (local_low, local_high), (global_low, global_high) = sizes.local_scale, sizes.global_scale
    return recipes(sizes.global_size, sizes.local_size, (local_low, local_high), (global_low, global_high))


class Batches:
    """The training batches of one run. `batch_size` counts the images of all ranks, `batch` gives this rank's."""

    def __init__(
        self, config: RunConfig, train: DeviceImages, auxiliary: dict[str, DeviceImages], ranks: Ranks = ALONE
    ) -> None:
        """auxiliary: images by source name ("imagenet", "dti").

        Raises BenchError when there are too few images, or when a batch has no equal share for each rank.
        """
        self.config = config
        self.ranks = ranks
        self.kinds = variant(config.variant).negatives if config.negatives.weight else ()
        self.images = {IN_DIST: train, **auxiliary}
        self.batch_size = config.train.batch
        if self.batch_size % ranks.world:
            raise BenchError(
                f"train.batch: {self.batch_size} images a step cannot be shared equally by {ranks.world} processes"
            )
        self.steps_per_epoch = train.count // self.batch_size
        if self.steps_per_epoch == 0:
            raise BenchError(
                f"train.batch: {self.batch_size} is more than the {train.count} training images of {config.in_dist}"
            )
        self.recipes = view_recipes(config.views)
        self._orders: dict[tuple[object, ...], Tensor] = {}

    def batch(self, epoch: int, step: int) -> Batch:
        """This rank's views of step `step` (counted within the epoch) of epoch `epoch`."""
        rng = generator(self.config.seed, "views", epoch, step)

        def take(role: str, source: str) -> Tensor:
            return self.images[source].take(self._indices(role, source, epoch, step)[self._own(1)])

        positives = self._positive_views(take("positive", IN_DIST), rng)
        negatives = tuple(
            self._negative_views(kind, take(f"negative {number}", kind.source), rng)
            for number, kind in enumerate(self.kinds)
        )
        return Batch(positives, negatives)

    def _own(self, views: int) -> Tensor:
        return self.ranks.own_rows(views, self.batch_size)

    def _indices(self, role: str, source: str, epoch: int, step: int) -> Tensor:
        """Positions (B,) of this step's images on all ranks: each epoch a fresh shuffle, cut into batches.

        Auxiliary images are drawn without repetition within an epoch, as far as there are enough of them. With
        `aux_order: fixed` every epoch repeats the first one's (METHOD: oddity 2).
        """
        fixed = source != IN_DIST and self.config.data.aux_order == "fixed"
        key = (role, source, 0 if fixed else epoch)
        if key not in self._orders:
            self._orders = {k: v for k, v in self._orders.items() if k[0] != role}
            count, needed = self.images[source].count, self.steps_per_epoch * self.batch_size
            rng = generator(self.config.seed, *key)
            rounds = [torch.randperm(count, generator=rng) for _ in range(-(-needed // count))]
            self._orders[key] = torch.cat(rounds)[:needed]
        return self._orders[key][step * self.batch_size : (step + 1) * self.batch_size]

    def _positive_views(self, images: Tensor, rng: torch.Generator) -> Views:
        first, second, local = self.recipes
        count, (height, width) = self.batch_size, images.shape[-2:]
        big = [
            render(images, draw(recipe, count, height, width, rng)[self._own(1)], recipe.size)
            for recipe in (first, second)
        ]
        number = self.config.views.local_views
        params = draw(local, number * count, height, width, rng)[self._own(number)]
        small = render(images.repeat(number, 1, 1, 1), params, local.size)
        return Views(torch.cat(big), small)

    def _negative_views(self, kind: Negative, images: Tensor, rng: torch.Generator) -> Views:
        """One global view in either recipe, and the local ones, of each image."""
        first, second, local = self.recipes
        settings = self.config.negatives
        per_view = settings.draw == "per-view" and kind.transform != "none"
        count, (height, width) = self.batch_size, images.shape[-2:]
        if not per_view:
            images = draw_negative(kind.transform, count, rng, settings.rot360)[self._own(1)](images)
        one = draw(first, count, height, width, rng)
        other = draw(second, count, height, width, rng)
        coin = torch.rand(count, generator=rng) < 0.5
        number = self.config.views.local_views
        result = []
        for repeats, params, size in (
            (1, choose(one, other, coin), first.size),
            (number, draw(local, number * count, height, width, rng), local.size),
        ):
            hooks = {}
            if per_view:
                # The authors' order: rotations between crop and jitter, permutations after normalisation.
                transform = draw_negative(kind.transform, repeats * count, rng, settings.rot360)[self._own(repeats)]
                hooks = {"after_crop" if transform.rotates else "after_normalise": transform}
            result.append(render(images.repeat(repeats, 1, 1, 1), params[self._own(repeats)], size, **hooks))
        return Views(*result)
