"""The recipe people use today, written plainly, to measure against: `bench perf step --against reference`.

Images are augmented one by one by torchvision and Pillow in DataLoader workers; the step is eager float32, with the
teacher on every global view (the negatives' too, whose answer nothing uses), a loop over the pairs of the loss, and
gradients clipped parameter by parameter, each of which waits for the device. The mathematics is the benchmark's own:
from the same views both steps give the same weights (tests/test_perf.py).
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from benchmark.errors import BenchError
from benchmark.methods import schedules
from benchmark.methods.base import Moment
from benchmark.methods.dino import Dino
from benchmark.negatives import patch_grid, perm_count
from benchmark.plan.config import RunConfig
from benchmark.training.optimiser import make_optimiser, schedule
from benchmark.views.recipes import IMAGENET, ViewRecipe, view_recipes

PlainBatch = tuple[list[Tensor], list[list[Tensor]]]  # the positive images' views, and those of each kind of negative


class PillowBlur:
    """Pillow's Gaussian blur with the recipe's range of sigma."""

    def __init__(self, recipe: ViewRecipe) -> None:
        self.sigmas = [sigma * recipe.blur_scale for sigma in recipe.blur_sigma]

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*self.sigmas)))


def pipeline(recipe: ViewRecipe) -> Callable[[Image.Image], Tensor]:
    """The torchvision pipeline of one kind of view."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(
                recipe.size, recipe.scale, recipe.ratio, interpolation=transforms.InterpolationMode.BICUBIC
            ),
            transforms.RandomHorizontalFlip(recipe.flip_p),
            transforms.RandomApply([transforms.ColorJitter(*recipe.jitter)], recipe.jitter_p),
            transforms.RandomGrayscale(recipe.grayscale_p),
            transforms.RandomApply([PillowBlur(recipe)], recipe.blur_p),
            transforms.RandomApply([ImageOps.solarize], recipe.solarize_p),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET.mean, IMAGENET.std),
        ]
    )


def negative_image(image: np.ndarray, transform: str) -> np.ndarray:
    """A transform of benchmark.negatives on one image (H, W, 3); rot360 in the paper's reading."""
    if transform in ("rot", "rot360"):
        return np.rot90(image, random.randint(1 if transform == "rot" else 0, 3)).copy()
    if transform == "pixels":
        pixels = image.reshape(-1, 3)
        return pixels[np.random.permutation(len(pixels))].reshape(image.shape)
    count = perm_count(transform)
    if transform == "none":
        return image
    if count is None:
        raise BenchError(f"--against reference: the plain recipe has no {transform}; time a sweep with another variant")
    rows, columns = patch_grid(count, image.shape[0])
    patches = [patch for row in np.split(image, rows) for patch in np.split(row, columns, axis=1)]
    random.shuffle(patches)
    return np.concatenate([np.concatenate(patches[r * columns : (r + 1) * columns], axis=1) for r in range(rows)])


class PlainViews(Dataset[PlainBatch]):
    """All views of one image and of its negatives, made when asked for."""

    def __init__(self, config: RunConfig, images: np.ndarray) -> None:
        sizes = config.views
        self.images, self.local_views = images, sizes.local_views
        self.kinds = config.kinds()
        self.first, self.second, self.local = (pipeline(recipe) for recipe in view_recipes(sizes))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> PlainBatch:
        image = Image.fromarray(self.images[index])
        positives = [self.first(image), self.second(image), *(self.local(image) for _ in range(self.local_views))]
        negatives = []
        for kind in self.kinds:
            other = self.images[random.randrange(len(self.images))]
            image = Image.fromarray(negative_image(other, kind.transform))
            one = random.choice((self.first, self.second))
            negatives.append([one(image), *(self.local(image) for _ in range(self.local_views))])
        return positives, negatives


class PlainStep:
    """One step of training after another, from the weights that a `Dino` has now."""

    def __init__(self, method: Dino) -> None:
        twin: Dino = copy.deepcopy(method)
        self.method, self.config, self.settings = twin, twin.config, twin.settings
        self.student, self.teacher, self.centre = twin.student, twin.teacher, twin.centre
        groups = [{"params": group["params"]} for group in make_optimiser(twin, twin.config.train).param_groups]
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0)

    def __call__(self, batch: PlainBatch, moment: Moment, steps_per_epoch: int) -> float:
        """Train on a batch of views on the device, and return its loss."""
        positives, negatives = batch
        train = self.config.train
        schedule(self.optimiser, train, train.batch, steps_per_epoch, moment)
        with torch.no_grad():
            seen = [_forward(self.teacher, view) for view in positives[:2]]
            for views in negatives:
                _forward(self.teacher, views[0])
            tau_t = self.method.teacher_temperature(moment)
            targets = [torch.softmax((logits - self.centre) / tau_t, dim=-1) for logits in seen]
        student = _forward_by_size(self.student, positives)
        loss = torch.zeros((), device=student[0].device)
        pairs = 0
        for number, target in enumerate(targets):
            for view, logits in enumerate(student):
                if view != number:
                    log_p = torch.log_softmax(logits / self.settings.student_temperature, dim=-1)
                    loss = loss - (target * log_p).sum(dim=-1).mean()
                    pairs += 1
        loss = loss / pairs
        for views in negatives:
            answers = _forward_by_size(self.student, views)
            each = [-torch.log_softmax(logits / self.settings.student_temperature, dim=-1).mean() for logits in answers]
            loss = loss + self.method.negative_weight(moment) * sum(each) / len(each) / len(negatives)
        value = loss.item()
        if not math.isfinite(value):
            raise RuntimeError(f"the loss is {value}")
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        limit = math.inf if train.clip is None else train.clip
        for parameter in self.student.parameters():
            if parameter.grad is not None:
                factor = limit / (parameter.grad.norm(2) + 1e-6)
                if factor < 1:  # asks the device
                    parameter.grad.mul_(factor)
        self.method.before_update(moment)
        self.optimiser.step()
        with torch.no_grad():
            momentum = schedules.cosine(moment.step, moment.steps, self.settings.teacher_momentum, 1.0)
            for mean, parameter in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                mean.mul_(momentum).add_((1 - momentum) * parameter)
            share = self.settings.centre_momentum
            self.centre = self.centre * share + torch.cat(seen).mean(dim=0) * (1 - share)
        return value


def _forward(network: nn.ModuleDict, images: Tensor) -> Tensor:
    logits: Tensor = network["head"](network["backbone"](images))
    return logits


def _forward_by_size(network: nn.ModuleDict, views: list[Tensor]) -> list[Tensor]:
    """One pass a resolution, as in DINO: views of one size are next to each other."""
    result: list[Tensor] = []
    for size in dict.fromkeys(view.shape[-1] for view in views):
        same = [view for view in views if view.shape[-1] == size]
        result += _forward(network, torch.cat(same)).chunk(len(same))
    return result


class PlainRecipe:
    """Loader and step together: an endless training on some images, from the moment on that ours is timed at."""

    def __init__(self, method: Dino, images: np.ndarray, moment: Moment, workers: int) -> None:
        self.step, self.device = PlainStep(method), method.device
        self.moment, self.batch = moment, method.config.train.batch
        self.steps_per_epoch = len(images) // self.batch
        data = PlainViews(method.config, images)
        self.loader: DataLoader[Any] = DataLoader(
            data,
            batch_size=self.batch,
            # No epoch ends, which would stop the flow.
            sampler=RandomSampler(data, replacement=True, num_samples=2**40),
            num_workers=workers,
            prefetch_factor=1 if workers else None,
            pin_memory=self.device.type == "cuda",
        )
        self._batches: Iterator[PlainBatch] = iter(())

    @contextmanager
    def turn(self) -> Iterator[None]:
        """With workers that are there for this turn alone: they would fill their queues in the turns of others."""
        self._batches = iter(self.loader)
        try:
            yield
        finally:
            self._batches = iter(())

    def run(self, steps: int, lap: Callable[[str], None]) -> None:
        """Do some steps, within a turn; `lap` is told when the wait for data and when the step ends."""
        for _ in range(steps):
            positives, negatives = next(self._batches)
            lap("waiting for data")
            there = [view.to(self.device, non_blocking=True) for view in positives]
            others = [[view.to(self.device, non_blocking=True) for view in views] for views in negatives]
            self.step((there, others), self.moment, self.steps_per_epoch)
            lap("step")
