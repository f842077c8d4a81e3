"""From stored images to a training step's views: which images, which negatives, which crops.

Every choice is a pure function of (seed, epoch, step). A resumed run therefore needs no sampler or generator state, and
a CPU and a GPU run see the same images and the same crops. So do several processes: each draws for the whole batch and
renders its own share.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import BenchError
from benchmark.methods.base import Batch, Views
from benchmark.negatives import IN_DIST, WHOLE_IMAGE, Negative
from benchmark.plan.config import RunConfig
from benchmark.running.device import image_tensor, to_device
from benchmark.running.processes import ALONE, Ranks
from benchmark.seeds import generator
from benchmark.views.foregrounds import GREY, Foregrounds, compose
from benchmark.views.recipes import BatchRecipe, Block, ViewParams, ViewSpec, choose, draw, multi_crop
from benchmark.views.render import render
from benchmark.views.transforms import JOINED, NegativeTransform, draw_join, draw_negative, four_rotations

RESIDENT_BYTES = 8 << 30  # larger sets stay on disk and are read image by image from the memory map


class DeviceImages:
    """uint8 images (N, 3, H, W) at hand on a device, or read from disk where they are too many to live there."""

    def __init__(self, images: np.ndarray, device: torch.device, resident_bytes: int = RESIDENT_BYTES) -> None:
        self.count = len(images)
        self.device = device
        self._disk = images
        self._resident = None
        if images.nbytes <= resident_bytes:
            self._resident = image_tensor(images).to(device)

    def take(self, index: Tensor) -> Tensor:
        """Images (B, 3, H, W) at `index` (B,), a CPU tensor."""
        if self._resident is not None:
            return self._resident[to_device(index, self.device)]
        return to_device(image_tensor(self._disk[index.numpy()]), self.device)


class Batches:
    """The training batches of one run. `batch_size` counts the images of all ranks, `batch` gives this rank's."""

    def __init__(
        self,
        config: RunConfig,
        train: DeviceImages,
        auxiliary: dict[str, DeviceImages],
        ranks: Ranks = ALONE,
        recipe: BatchRecipe | None = None,
        labels: np.ndarray | None = None,
        foregrounds: Foregrounds | None = None,
    ) -> None:
        """auxiliary: images by source name ("imagenet", "dti"). recipe: the method's; by default DINO's multi-crop.

        labels: of the training images (N,), -1 where unknown; None where nobody asks for them. foregrounds: of these
        images too; by default each mask is found when it is asked for.
        Raises BenchError when there are too few images, or when a batch has no equal share for each rank.
        """
        self.config = config
        self.ranks = ranks
        self.kinds = config.kinds()
        self.images = {IN_DIST: train, **auxiliary}
        self.labels = torch.from_numpy(np.full(train.count, -1) if labels is None else np.asarray(labels)).long()
        self.recipe = recipe or multi_crop(config.views)
        self.batch_size = config.train.batch
        if self.batch_size % ranks.world:
            raise BenchError(
                f"train.batch: {self.batch_size} images per step cannot be shared equally by {ranks.world} processes"
            )
        config.train.check_images(train.count, config.in_dist)
        self.steps_per_epoch = train.count // self.batch_size
        self._orders: dict[tuple[object, ...], Tensor] = {}
        self.foregrounds = foregrounds or Foregrounds(train.count)

    def batch(self, epoch: int, step: int) -> Batch:
        """This rank's views of step `step` (counted within the epoch) of epoch `epoch`."""
        rng = generator(self.config.seed, "views", epoch, step)

        index = self._indices("positive", IN_DIST, epoch, step)[self._own(1)]
        images = self.images[IN_DIST].take(index)
        positives = self._views(self.recipe.positives, images, rng, scenes=self._scenes(images, epoch, step))
        negatives = []
        for number, kind in enumerate(self.kinds):
            images = self._joined(number, epoch, step, rng)
            if kind.transform in WHOLE_IMAGE:
                kind = Negative(kind.source)  # there is nothing more to be done to it
            negatives.append(self._views(self.recipe.negatives, images, rng, kind))
        return Batch(positives, tuple(negatives), to_device(self.labels[index], self.images[IN_DIST].device))

    def plain(self, step: int) -> tuple[Tensor, list[Tensor]]:
        """Whole images, not augmented, uint8: `batch_size` training images (B, 3, H, W), and of each kind as many
        negatives, each with a transform of its own. Drawn as those of step `step` of one more epoch than there are."""
        epoch = self.config.train.epochs
        rng = generator(self.config.seed, "plain", step)
        positives = self.images[IN_DIST].take(self._indices("positive", IN_DIST, epoch, step))
        negatives = []
        for number, kind in enumerate(self.kinds):
            images = self._joined(number, epoch, step, rng)
            whole = kind.transform in WHOLE_IMAGE
            negatives.append(images if whole else self._transform(kind, 1, rng)(images))
        return positives, negatives

    def _joined(self, number: int, epoch: int, step: int, rng: torch.Generator) -> Tensor:
        """This rank's images (B, 3, H, W) of the kind `number` of negatives, before its transform; where it is made of
        two images, or of an image's foreground, that is done."""
        kind = self.kinds[number]
        which = self._indices(f"negative {number}", kind.source, epoch, step)[self._own(1)]
        images = self.images[kind.source].take(which)
        partners = None
        if kind.partner:
            chosen = self._indices(f"partner {number}", kind.partner, epoch, step)[self._own(1)]
            partners = self.images[kind.partner].take(chosen)
        if kind.masked:
            if partners is None:
                return self.foregrounds.backgrounds(which, images)
            return compose(images, self.foregrounds.masks(which, images), partners)
        if partners is not None:
            numbers = draw_join(kind.transform, self.batch_size, rng)[self._own(1)]
            return JOINED[kind.transform][0](images, partners, numbers)
        return images

    def _scenes(self, images: Tensor, epoch: int, step: int) -> dict[str, Tensor]:
        """What views may show in place of this rank's images, by what the recipe calls it (`ViewSpec`)."""
        wanted = {spec.background for block in self.recipe.positives.values() for spec in block.specs} - {"keep"}
        if not wanted:
            return {}
        everyone = self._indices("positive", IN_DIST, epoch, step)
        own = everyone[self._own(1)]
        masks = self.foregrounds.masks(own, images)
        scenes = {}
        if "remove" in wanted:
            scenes["remove"] = compose(images, masks, torch.full_like(images, GREY))
        if wanted & {"random", "swap"}:
            # Somebody else of the whole batch, so that the number of processes changes nothing.
            rng = generator(self.config.seed, "backgrounds", epoch, step)
            shift = int(torch.randint(1, max(2, self.batch_size), (1,), generator=rng))
            other = everyone.roll(shift)[self._own(1)]
            others = self.images[IN_DIST].take(other)
            if "random" in wanted:
                scenes["random"] = compose(images, masks, self.foregrounds.backgrounds(other, others))
            if "swap" in wanted:
                behind = self.foregrounds.backgrounds(own, images)
                scenes["swap"] = compose(others, self.foregrounds.masks(other, others), behind)
        return scenes

    def _own(self, views: int) -> Tensor:
        return self.ranks.own_rows(views, self.batch_size)

    def _indices(self, role: str, source: str, epoch: int, step: int) -> Tensor:
        """Positions (B,) of this step's images on all ranks: each epoch a fresh shuffle, cut into batches.

        Those of one kind of negatives are drawn without repetition within an epoch, as far as there are enough of them;
        two kinds of one source, each shuffled by itself, may have an image in common. With
        `aux_order: fixed` every epoch repeats the first one's
        (methods/PAPER.md, "Oddity 2: the same auxiliary images recur").
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

    def _views(
        self,
        blocks: dict[str, Block],
        images: Tensor,
        rng: torch.Generator,
        kind: Negative | None = None,
        scenes: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> Views:
        """The views of this rank's images, as positives or as a kind of negative. All numbers are drawn for all ranks.

        scenes: what a view shows in place of its image, now and then, by the name that its recipe has for it.

        The order of drawing is part of a run: the image's transform, what the views need, the views' transforms.
        """
        per_view = kind is not None and self.config.negatives.draw == "per-view" and kind.transform != "none"
        if kind is not None and not per_view:
            images = self._transform(kind, 1, rng)(images)
        drawn = {name: [self._draw(spec, images, rng) for spec in block.specs] for name, block in blocks.items()}
        result = {}
        for name, block in blocks.items():
            views = []
            for spec, params in zip(block.specs, drawn[name], strict=True):
                if not spec.count:
                    views.append(torch.empty(0, 3, block.size, block.size, device=images.device))
                    continue
                hooks: dict[str, NegativeTransform] = {}
                if kind is not None and per_view:
                    # The authors' order: rotations between crop and jitter, permutations after normalisation.
                    transform = self._transform(kind, spec.count, rng)
                    hooks = {"after_crop" if transform.before_colours else "after_normalise": transform}
                recipe = spec.recipes[0]
                repeated = images if spec.count == 1 else images.repeat(spec.count, 1, 1, 1)
                if spec.background != "keep":
                    shows = torch.rand(spec.count * self.batch_size, generator=rng) < spec.background_p
                    shows = to_device(shows[self._own(spec.count)], images.device)[:, None, None, None]
                    repeated = torch.where(shows, scenes[spec.background].repeat(spec.count, 1, 1, 1), repeated)
                views.append(render(repeated, params, recipe.size, by=recipe.normalisation, **hooks))
            finished = views[0] if len(views) == 1 else torch.cat(views)
            result[name] = four_rotations(finished) if block.four_rotations else finished
        return result

    def _draw(self, spec: ViewSpec, images: Tensor, rng: torch.Generator) -> ViewParams:
        count, (height, width) = spec.count * self.batch_size, images.shape[-2:]
        first, *second = (draw(recipe, count, height, width, rng) for recipe in spec.recipes)
        if second:
            first = choose(first, second[0], torch.rand(count, generator=rng) < 0.5)
        return first[self._own(spec.count)]

    def _transform(self, kind: Negative, views: int, rng: torch.Generator) -> NegativeTransform:
        drawn = draw_negative(kind.transform, views * self.batch_size, rng, self.config.negatives.rot360)
        return drawn[self._own(views)]
