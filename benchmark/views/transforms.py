"""The transforms of negatives: rotations, permutations of patches and of pixels, for a whole batch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import BenchError, unknown
from benchmark.negatives import Transform, patch_grid, transform
from benchmark.running.device import to_device
from benchmark.views.crops import replace_where

# ---- What is done to negatives ----------------------------------------------------------------------------------


def rotate_quarters(images: Tensor, quarters: Tensor) -> Tensor:
    """Turn square images [B, C, S, S] counter-clockwise by quarters (int [B] on the CPU, 0..3) of a turn."""
    turned = images.clone()
    for quarter in (1, 2, 3):
        replace_where(turned, quarters == quarter, lambda some, k=quarter: some.rot90(k, (2, 3)))
    return turned


def four_rotations(images: Tensor) -> Tensor:
    """Each square image [B, C, S, S] turned counter-clockwise by 0, 90, 180 and 270 degrees: [4B, C, S, S].

    Turn after turn: rows k*B .. k*B+B-1 are all images turned by k quarters.
    """
    return torch.cat([images.rot90(quarter, (2, 3)) for quarter in range(4)])


def shift_reflected(images: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Move square images [B, C, S, S] by `right` and `down` pixels (int [B], less than S, negative the other way).

    What is uncovered shows the image reflected at its border, whose own pixels are not repeated.
    """
    last = images.shape[-1] - 1
    place = torch.arange(last + 1, device=images.device)
    columns, rows = (last - (last - (place - shift[:, None]).abs()).abs() for shift in (right, down))
    row = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[row, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def rotate_degrees(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn images [B, C, H, W] counter-clockwise about their centre by degrees [B]: nearest pixel, black corners."""
    height, width = images.shape[2:]
    angle = torch.deg2rad(degrees.double())
    cos, sin = angle.cos(), angle.sin()
    zero = torch.zeros_like(cos)
    # From a pixel of the result back to its origin, in the -1..1 coordinates of grid_sample.
    back = torch.stack([cos, -sin * height / width, zero, sin * width / height, cos, zero], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(to_device(back.float(), images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(images.dtype)


def permute_patches(images: Tensor, order: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cut [B, C, H, W] into grid = (rows, columns) equal patches, counted row by row, and shuffle them.

    order: int64 [B, rows * columns]; patch i of the result is patch order[b, i] of the image.
    """
    count, channels, height, width = images.shape
    rows, columns = grid
    patch_height, patch_width = height // rows, width // columns
    patches = images.view(count, channels, rows, patch_height, columns, patch_width).permute(0, 2, 4, 1, 3, 5)
    patches = patches.reshape(count, rows * columns, -1)
    order = to_device(order, images.device)
    patches = patches.gather(1, order[:, :, None].expand_as(patches))
    patches = patches.view(count, rows, columns, channels, patch_height, patch_width)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def permute_pixels(images: Tensor, order: Tensor) -> Tensor:
    """Shuffle the pixels of [B, C, H, W], all channels alike: result pixel i is pixel order[b, i], row by row.

    order: int64 [B, H * W].
    """
    pixels = images.flatten(2)
    order = to_device(order, images.device)
    return pixels.gather(2, order[:, None].expand_as(pixels)).view(images.shape)


def turn_patch(images: Tensor, numbers: Tensor) -> Tensor:
    """Turn a square of half the side of each image [B, C, S, S] where it stands.

    numbers: float64 [B, 3] on the CPU: quarters of a turn counter-clockwise (1, 2 or 3), and the square's top and left
    as shares, below 1, of the places there are for them.
    """
    side = images.shape[-1] // 2
    places = images.shape[-1] - side + 1
    top, left = (to_device((numbers[:, k] * places).long(), images.device)[:, None] for k in (1, 2))
    span = torch.arange(side, device=images.device)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    rows, columns = (top + span)[:, :, None], (left + span)[:, None]
    result = images.permute(0, 2, 3, 1).clone()  # never the images themselves, however they lie in memory
    patches = result[image, rows, columns].permute(0, 3, 1, 2)
    result[image, rows, columns] = rotate_quarters(patches, numbers[:, 0].long()).permute(0, 2, 3, 1)
    return result.permute(0, 3, 1, 2).contiguous()


def blend(images: Tensor, partners: Tensor, weights: Tensor) -> Tensor:
    """weights [B] of each of the images, uint8 [B, 3, H, W], and the rest of its partner, rounded to uint8."""
    share = to_device(weights.float(), images.device)[:, None, None, None]
    return (share * images + (1 - share) * partners).round().clamp(0, 255).to(torch.uint8)


def join_frequencies(images: Tensor, partners: Tensor, cutoff: Tensor) -> Tensor:
    """What is coarse of the images, uint8 [B, 3, S, S], and what is fine of their partners, rounded to uint8.

    cutoff: [B], waves to an image's side; up to it a wave, in whatever direction, is the image's.
    """
    side = images.shape[-1]
    down = torch.fft.fftfreq(side, 1 / side, device=images.device)
    across = torch.fft.rfftfreq(side, 1 / side, device=images.device)
    waves = (down[:, None] ** 2 + across**2).sqrt()
    coarse = (waves <= to_device(cutoff.float(), images.device)[:, None, None])[:, None]
    with torch.autocast(images.device.type, enabled=False):
        one, other = (torch.fft.rfft2(some.float()) for some in (images, partners))
        joined = torch.fft.irfft2(torch.where(coarse, one, other), s=(side, side))
    return joined.round().clamp(0, 255).to(torch.uint8)


# Of an image and its partner: how they are joined, and from where to where the numbers are drawn.
JOINED: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], float, float]] = {
    "blend": (blend, 0.3, 0.7),
    "frequencies": (join_frequencies, 2.0, 5.0),
}


def draw_join(transform: str, count: int, generator: torch.Generator) -> Tensor:
    """The numbers [count] of a way to join images that `JOINED` knows, from a CPU generator."""
    _, low, high = JOINED[transform]
    return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class NegativeTransform:
    """A transform of `benchmark.negatives.Negative` with the numbers drawn for B images; call it on [B, C, S, S].

    Called again it does the same again; indexed, it is the transform of some of the B images. before_colours: whether
    it belongs before the colours are changed (`after_crop` of `render`) or after them (`after_normalise`).
    """

    apply: Callable[[Tensor, Tensor], Tensor]  # of the images and their numbers
    numbers: Tensor  # B leading
    before_colours: bool

    def __call__(self, images: Tensor) -> Tensor:
        return self.apply(images, self.numbers)

    def __getitem__(self, index: Tensor) -> NegativeTransform:
        return replace(self, numbers=self.numbers[index])


# By name: what draws the numbers (count leading) of a transform for `count` images from a CPU generator, and gives them
# with what is done to images by them. The third argument is N of NAME-N (1 for others), the fourth `negatives.rot360`.
Drawn = tuple[Callable[[Tensor, Tensor], Tensor], Tensor]
Draw = Callable[[int, torch.Generator, int, str], Drawn]
DRAWS: dict[str, Draw] = {}


def draws(name: str) -> Callable[[Draw], Draw]:
    """Enters a function into `DRAWS`."""

    def enter(function: Draw) -> Draw:
        DRAWS[name] = function
        return function

    return enter


@draws("none")
def _draw_none(count: int, generator: torch.Generator, n: int, rot360: str) -> Drawn:
    return lambda images, _: images, torch.arange(count)


@draws("rot")
def _draw_rotation(count: int, generator: torch.Generator, n: int, rot360: str) -> Drawn:
    return rotate_quarters, torch.randint(1, 4, (count,), generator=generator)


@draws("rot360")
def _draw_rotation_of_any(count: int, generator: torch.Generator, n: int, rot360: str) -> Drawn:
    if rot360 == "right-angles":
        return rotate_quarters, torch.randint(0, 4, (count,), generator=generator)
    if rot360 == "any-angle":
        return rotate_degrees, 360 * torch.rand(count, generator=generator)
    raise BenchError(unknown("reading of rot360", rot360, ["right-angles", "any-angle"]))


@draws("patch-rot")
def _draw_patch_rotation(count: int, generator: torch.Generator, n: int, rot360: str) -> Drawn:
    quarters = torch.randint(1, 4, (count, 1), generator=generator)
    places = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    return turn_patch, torch.cat([quarters, places], dim=1)


@draws("pixels")
def _draw_pixel_orders(count: int, generator: torch.Generator, n: int, rot360: str) -> Drawn:
    # The size of the images is not known yet, so what is drawn here is the seed of their orders.
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return lambda images, which: _shuffle_pixels(images, seed, count, which), torch.arange(count)


@draws("perm")
def _draw_patch_orders(count: int, generator: torch.Generator, n: int, rot360: str) -> Drawn:
    order = torch.rand(count, n, generator=generator).argsort(dim=1)
    return lambda images, some: permute_patches(images, some, patch_grid(n, images.shape[-1])), order


def draw_negative(name: str, count: int, generator: torch.Generator, rot360: str = "right-angles") -> NegativeTransform:
    """Draw a transform of negatives, by its name, for `count` images from a CPU generator.

    rot360: "right-angles" (0, 90, 180 or 270 degrees: the paper) or "any-angle" (0..360: the authors' code).
    Raises BenchError for unknown names and for what joins two images, and when called on images that N does not fit.
    """
    kind, n = transform(name)
    apply: Callable[[Tensor, Tensor], Tensor]
    if kind.apply:
        apply = functools.partial(_apply_of_package, kind, name, n)
        numbers = torch.rand(count, kind.uniforms, generator=generator, dtype=torch.float64)
    elif name in DRAWS or n is not None:
        apply, numbers = DRAWS[name if n is None else name.removesuffix(f"-{n}")](count, generator, n or 1, rot360)
    else:
        raise BenchError(unknown("transform of one image", name, DRAWS))
    return NegativeTransform(apply, numbers, kind.before_colours)


def _apply_of_package(kind: Transform, name: str, n: int | None, images: Tensor, numbers: Tensor) -> Tensor:
    assert kind.apply
    made: Tensor = kind.apply(images, numbers) if n is None else kind.apply(images, numbers, n)
    if made.shape != images.shape or made.dtype != images.dtype:
        raise BenchError(
            f"package {kind.package}: the transform {name!r} makes {made.dtype} {tuple(made.shape)} of "
            f"{images.dtype} {tuple(images.shape)}; both must stay"
        )
    return made


def _shuffle_pixels(images: Tensor, seed: int, count: int, which: Tensor) -> Tensor:
    """Shuffle the pixels of those images, `which`, of `count` for which orders are drawn."""
    pixels = images.shape[2] * images.shape[3]
    keys = torch.rand(count, pixels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)[which]
    # Sorted on the device, where it is quick; double precision keeps ties, which devices may break differently, away.
    return permute_pixels(images, to_device(keys, images.device).argsort(dim=1))
