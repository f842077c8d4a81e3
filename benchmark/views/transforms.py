"""The transforms of negatives: rotations, permutations of patches and of pixels, for a whole batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import BenchError, unknown
from benchmark.negatives import patch_grid, perm_count
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

    Called again it does the same again; indexed, it is the transform of some of the B images. rotates: whether it
    belongs before the colours are changed (`after_crop` of `render`), as rotations do in the authors' code, or after
    them (`after_normalise`), as shuffles do.
    """

    apply: Callable[[Tensor, Tensor], Tensor]  # of the images and their numbers
    numbers: Tensor  # B leading
    rotates: bool

    def __call__(self, images: Tensor) -> Tensor:
        return self.apply(images, self.numbers)

    def __getitem__(self, index: Tensor) -> NegativeTransform:
        return replace(self, numbers=self.numbers[index])


def draw_negative(
    transform: str, count: int, generator: torch.Generator, rot360: str = "right-angles"
) -> NegativeTransform:
    """Draw "none", "rot", "rot360", "perm-N", "pixels" or "patch-rot" for `count` images from a CPU generator.

    rot360: "right-angles" (0, 90, 180 or 270 degrees: the paper) or "any-angle" (0..360: the authors' code).
    Raises BenchError for other names, and when called on images that perm-N does not divide.
    """
    if transform == "none":
        return NegativeTransform(lambda images, _: images, torch.arange(count), rotates=False)
    if transform == "rot":
        return _quarter_turns(torch.randint(1, 4, (count,), generator=generator))
    if transform == "rot360" and rot360 == "right-angles":
        return _quarter_turns(torch.randint(0, 4, (count,), generator=generator))
    if transform == "rot360" and rot360 == "any-angle":
        degrees = 360 * torch.rand(count, generator=generator)
        return NegativeTransform(rotate_degrees, degrees, rotates=True)
    if transform == "rot360":
        raise BenchError(unknown("reading of rot360", rot360, ["right-angles", "any-angle"]))
    if transform == "patch-rot":
        quarters = torch.randint(1, 4, (count, 1), generator=generator)
        places = torch.rand(count, 2, generator=generator, dtype=torch.float64)
        return NegativeTransform(turn_patch, torch.cat([quarters, places], dim=1), rotates=True)
    if transform == "pixels":
        # The size of the images is not known yet, so what is drawn here is the seed of their orders.
        seed = int(torch.randint(2**62, (1,), generator=generator))
        return NegativeTransform(
            lambda images, which: _shuffle_pixels(images, seed, count, which), torch.arange(count), rotates=False
        )
    patches = perm_count(transform)
    if patches is None:
        raise BenchError(
            unknown("transform of negatives", transform, ["none", "rot", "rot360", "perm-N", "pixels", "patch-rot"])
        )
    order = torch.rand(count, patches, generator=generator).argsort(dim=1)
    return NegativeTransform(
        lambda images, some: permute_patches(images, some, patch_grid(patches, images.shape[-1])), order, rotates=False
    )


def _quarter_turns(quarters: Tensor) -> NegativeTransform:
    return NegativeTransform(rotate_quarters, quarters, rotates=True)


def _shuffle_pixels(images: Tensor, seed: int, count: int, which: Tensor) -> Tensor:
    """Shuffle the pixels of those images, `which`, of `count` for which orders are drawn."""
    pixels = images.shape[2] * images.shape[3]
    keys = torch.rand(count, pixels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)[which]
    # Sorted on the device, where it is quick; double precision keeps ties, which devices may break differently, away.
    return permute_pixels(images, to_device(keys, images.device).argsort(dim=1))
