"""How views are drawn: every random number of a batch of views, on the CPU, so that CPU and GPU runs see the same.

Views follow DINO (Caron et al. 2021) with the numbers of Rafiee et al. 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from benchmark.errors import BenchError
from benchmark.plan.sections import ViewsConfig

BLUR_REFERENCE = 224  # pixels: the global view for which blur sigmas are given


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from each channel of a 0..1 image, and what the rest is divided by."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
AS_IT_IS = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # 0..1
PLUS_MINUS_ONE = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # to -1..1


class Seen(Protocol):
    """Whatever holds how a network's images are made: a run's `model` section, a detector's settings."""

    @property
    def mean(self) -> list[float] | None: ...
    @property
    def std(self) -> list[float] | None: ...
    @property
    def interpolation(self) -> str | None: ...


def input_of(seen: Seen, otherwise: Normalisation = IMAGENET) -> tuple[Normalisation, str]:
    """How images are normalised, and the filter that resizes whole ones: as the network's weights are used to, and
    `otherwise`, by the bicubic filter, where it has none from elsewhere."""
    if seen.mean is None or seen.std is None:
        return otherwise, "bicubic"
    (red, green, blue), (by_red, by_green, by_blue) = seen.mean, seen.std
    return Normalisation((red, green, blue), (by_red, by_green, by_blue)), seen.interpolation or "bicubic"


@dataclass(frozen=True)
class ViewRecipe:
    """How one kind of view is drawn; `_p` marks a probability.

    size: side of the view in pixels. scale, ratio: ranges of the crop's share of the area and of width / height.
    padding: in pixels. Given, the crop is one of the size of the view, not resized, anywhere in the image with a black
    margin of so many pixels around it; scale and ratio are then of no use.
    jitter: largest relative change of brightness, contrast and saturation, and largest shift of hue in turns.
    blur_sigma: in pixels of a 224-pixel global view; times blur_scale it is in pixels of the view.
    """

    size: int
    scale: tuple[float, float]
    blur_p: float
    solarize_p: float
    jitter_p: float = 0.8
    grayscale_p: float = 0.2
    flip_p: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_scale: float = 1.0
    padding: int | None = None
    normalisation: Normalisation = IMAGENET


def padded_crop(size: int, normalisation: Normalisation) -> ViewRecipe:
    """Crops of an image with a black margin of 4 pixels around it, flipped half the time: what classifiers of CIFAR10
    train on."""
    return ViewRecipe(
        size, (1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, padding=4, normalisation=normalisation
    )


@dataclass(frozen=True)
class ViewSpec:
    """`count` views of an image, each drawn anew. Of two recipes, each image takes either with equal chances.

    With the probability `background_p` a view shows in place of its image what `background` says: its foreground before
    a grey ("remove") or before another image's background ("random"), or that background's foreground before its own
    background ("swap").
    """

    recipes: tuple[ViewRecipe, ...]  # one or two, of one size and normalisation
    count: int = 1
    background: Literal["keep", "remove", "random", "swap"] = "keep"
    background_p: float = 0.0


@dataclass(frozen=True)
class Block:
    """Views that a batch holds as one tensor [V * B, 3, S, S], view after view: rows v*B .. v*B+B-1 are view v.

    four_rotations: each finished view also turned by 90, 180 and 270 degrees: [4 * V * B, 3, S, S], turn after turn.
    """

    specs: tuple[ViewSpec, ...]
    four_rotations: bool = False

    @property
    def size(self) -> int:
        """Side of its views in pixels."""
        return self.specs[0].recipes[0].size

    @property
    def views(self) -> int:
        """Rows an image."""
        return sum(spec.count for spec in self.specs) * (4 if self.four_rotations else 1)


@dataclass(frozen=True)
class BatchRecipe:
    """What a training step sees of an image, in blocks by name: of an ID image, and of each negative image."""

    positives: dict[str, Block]
    negatives: dict[str, Block] = field(default_factory=dict)


def multi_crop(sizes: ViewsConfig, by: Normalisation = IMAGENET) -> BatchRecipe:
    """DINO's views: two global and some local ones of an ID image; one global, in either recipe, of a negative."""
    first, second, local = (replace(recipe, normalisation=by) for recipe in view_recipes(sizes))
    assert sizes.background != "swaps", "is of contrastive methods"

    def shown(recipe: ViewRecipe, count: int = 1) -> ViewSpec:
        return ViewSpec((recipe,), count, sizes.background, sizes.background_p)  # type: ignore[arg-type]

    return BatchRecipe(
        {"globals": Block((shown(first), shown(second))), "locals": Block((shown(local, sizes.local_views),))},
        {
            "globals": Block((ViewSpec((first, second)),)),
            "locals": Block((ViewSpec((local,), sizes.local_views),)),
        },
    )


def view_recipes(sizes: ViewsConfig) -> tuple[ViewRecipe, ViewRecipe, ViewRecipe]:
    """How the paper draws multi-crop views: first global view, second global view, local view."""
    (local_low, local_high), (global_low, global_high) = sizes.local_scale, sizes.global_scale
    whole, part = (global_low, global_high), (local_low, local_high)
    blur = sizes.global_size / BLUR_REFERENCE  # local views too: they show the scene at about the same magnification
    return (
        ViewRecipe(sizes.global_size, whole, blur_p=1.0, solarize_p=0.0, blur_scale=blur),
        ViewRecipe(sizes.global_size, whole, blur_p=0.1, solarize_p=0.2, blur_scale=blur),
        ViewRecipe(sizes.local_size, part, blur_p=0.5, solarize_p=0.0, blur_scale=blur),
    )


@dataclass(frozen=True)
class ViewParams:
    """The numbers drawn for B views; every field is a CPU tensor with B leading."""

    top: Tensor  # int64, of the crop, in source pixels; so are left, height and width
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor  # bool
    jitter: Tensor  # bool
    factors: Tensor  # [B, 4]: brightness, contrast and saturation (1 = as is), hue shift in turns (0 = as is)
    order: Tensor  # int64 [B, 4]: the position-th operation is the order[:, position]-th of the factors
    grayscale: Tensor  # bool
    blur: Tensor  # bool
    sigma: Tensor  # of the blur, in pixels of the view
    solarize: Tensor  # bool

    def __len__(self) -> int:
        return len(self.top)

    def __getitem__(self, index: slice | Tensor) -> ViewParams:
        return ViewParams(*(getattr(self, each.name)[index] for each in fields(self)))


def draw(recipe: ViewRecipe, count: int, height: int, width: int, generator: torch.Generator) -> ViewParams:
    """Draw `count` views of height x width images from a CPU generator.

    Raises BenchError where a crop that is not resized is larger than the padded image.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator, dtype=torch.float64)

    def happens(probability: float) -> Tensor:
        return uniform(0, 1) < probability

    crops = _draw_crops if recipe.padding is None else _draw_padded_crops
    top, left, box_height, box_width = crops(recipe, height, width, uniform)
    brightness, contrast, saturation, hue = recipe.jitter
    factors = [uniform(1 - change, 1 + change) for change in (brightness, contrast, saturation)]
    return ViewParams(
        top=top,
        left=left,
        height=box_height,
        width=box_width,
        flip=happens(recipe.flip_p),
        jitter=happens(recipe.jitter_p),
        factors=torch.stack([*factors, uniform(-hue, hue)], dim=1).float(),
        order=uniform(0, 1, 4).argsort(dim=1),
        grayscale=happens(recipe.grayscale_p),
        blur=happens(recipe.blur_p),
        sigma=(uniform(*recipe.blur_sigma) * recipe.blur_scale).float(),
        solarize=happens(recipe.solarize_p),
    )


def _draw_crops(
    recipe: ViewRecipe, height: int, width: int, uniform: Callable[..., Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height, width of random resized crops as torchvision draws them: the first of ten tries that fits."""
    area = height * width * uniform(*recipe.scale, 10)
    aspect = uniform(math.log(recipe.ratio[0]), math.log(recipe.ratio[1]), 10).exp()
    widths, heights = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.byte().argmax(dim=1, keepdim=True)
    box_height, box_width = heights.gather(1, first).squeeze(1), widths.gather(1, first).squeeze(1)
    # Where none fits: the middle of the image, cut to the allowed aspect ratios.
    some_fits = fits.any(dim=1)
    box_height = box_height.where(some_fits, torch.tensor(min(height, round(width / recipe.ratio[0]))))
    box_width = box_width.where(some_fits, torch.tensor(min(width, round(height * recipe.ratio[1]))))
    spare_rows, spare_columns = height - box_height, width - box_width
    top = (uniform(0, 1) * (spare_rows + 1)).long().where(some_fits, spare_rows // 2)
    left = (uniform(0, 1) * (spare_columns + 1)).long().where(some_fits, spare_columns // 2)
    return top, left, box_height, box_width


def _draw_padded_crops(
    recipe: ViewRecipe, height: int, width: int, uniform: Callable[..., Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height, width of crops of the view's own size in the padded image; a corner may be negative."""
    margin = recipe.padding or 0
    spare_rows, spare_columns = height + 2 * margin - recipe.size, width + 2 * margin - recipe.size
    if spare_rows < 0 or spare_columns < 0:
        raise BenchError(
            f"views: a crop of {recipe.size} pixels does not fit an image of {height}x{width} padded by {margin}"
        )
    top, left = ((uniform(0, 1) * (spare + 1)).long() - margin for spare in (spare_rows, spare_columns))
    side = torch.full_like(top, recipe.size)
    return top, left, side, side


def choose(first: ViewParams, second: ViewParams, pick_second: Tensor) -> ViewParams:
    """Row by row the second where `pick_second` (bool [B]) says so, else the first."""

    def pick(one: Tensor, two: Tensor) -> Tensor:
        return torch.where(pick_second.view(-1, *[1] * (one.dim() - 1)), two, one)

    return ViewParams(*(pick(getattr(first, each.name), getattr(second, each.name)) for each in fields(first)))
