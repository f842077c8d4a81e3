"""The paper's multi-crop views T and the transforms of its negatives, for a whole batch on the device that trains.

Views follow DINO (Caron et al. 2021) with the numbers of Rafiee et al. 2022. Operations mean what they mean in
torchvision and Pillow, without Pillow's rounding to 8 bits after each step: whole views are within 1.2e-4 of the range
of exact references, and on CIFAR10 1.2 levels of 255 from Pillow's on average, 99.9% within 7 (tests/test_views.py).

Drawing and applying are apart: every random number is drawn on the CPU, so that CPU and GPU runs see the same views,
and applying them on a GPU never waits for it. Colours and blur are applied in one of two forms made of the same
operations: step by step on a CPU, in one function that torch.compile fuses on a GPU.

Shapes: B images or views, H x W the source, S the side of a view. Images are [B, 3, H, W], values 0..255 as uint8 or
0..1 as float32.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import BenchError, first_line, unknown
from benchmark.negatives import patch_grid, perm_count

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BLUR_REFERENCE = 224  # pixels: the global view for which blur sigmas are given

ImageOperation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ViewRecipe:
    """How one kind of view is drawn; `_p` marks a probability.

    size: side of the view in pixels. scale, ratio: ranges of the crop's share of the area and of width / height.
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


def recipes(
    global_size: int,
    local_size: int,
    local_scale: tuple[float, float] = (0.15, 0.4),
    global_scale: tuple[float, float] = (0.4, 1.0),
) -> tuple[ViewRecipe, ViewRecipe, ViewRecipe]:
    """The paper's recipes: first global view, second global view, local view."""
    blur_scale = global_size / BLUR_REFERENCE  # local views too: they show the scene at about the same magnification
    return (
        ViewRecipe(global_size, global_scale, blur_p=1.0, solarize_p=0.0, blur_scale=blur_scale),
        ViewRecipe(global_size, global_scale, blur_p=0.1, solarize_p=0.2, blur_scale=blur_scale),
        ViewRecipe(local_size, local_scale, blur_p=0.5, solarize_p=0.0, blur_scale=blur_scale),
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
        return ViewParams(*(getattr(self, field.name)[index] for field in fields(self)))


def draw(recipe: ViewRecipe, count: int, height: int, width: int, generator: torch.Generator) -> ViewParams:
    """Draw `count` views of height x width images from a CPU generator."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator, dtype=torch.float64)

    def happens(probability: float) -> Tensor:
        return uniform(0, 1) < probability

    top, left, box_height, box_width = _draw_crops(recipe, height, width, uniform)
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


def choose(first: ViewParams, second: ViewParams, pick_second: Tensor) -> ViewParams:
    """Row by row the second where `pick_second` (bool [B]) says so, else the first."""

    def pick(one: Tensor, two: Tensor) -> Tensor:
        return torch.where(pick_second.view(-1, *[1] * (one.dim() - 1)), two, one)

    return ViewParams(*(pick(getattr(first, field.name), getattr(second, field.name)) for field in fields(first)))


@torch.no_grad()
def render(
    images: Tensor,
    params: ViewParams,
    size: int,
    after_crop: ImageOperation | None = None,
    after_normalise: ImageOperation | None = None,
) -> Tensor:
    """Make one view of each image: uint8 [B, 3, H, W] -> float32 [B, 3, size, size] on the images' device.

    Crop and resize, `after_crop`, flip, colour jitter, grayscale, blur, solarise, ImageNet mean and std,
    `after_normalise`. The two operations are given and return the whole batch (see `draw_negative`).
    """
    with torch.autocast(images.device.type, enabled=False):  # half precision is too coarse for resampling
        cropped = None if after_crop is None else after_crop(_crop_and_resize(images, params, size))
        views = _render_compiled(images, cropped, params, size) if images.device.type == "cuda" else None
        if views is None:
            views = _render_in_chunks(images, cropped, params, size)
        return views if after_normalise is None else after_normalise(views)


@torch.no_grad()
def evaluation_view(images: Tensor, size: int) -> Tensor:
    """The whole image resized and normalised: uint8 [B, 3, H, W] -> float32 [B, 3, size, size]."""
    height, width = images.shape[2:]
    if (height, width) == (size, size):
        return _normalise_(images / 255)
    start = torch.zeros(1, device=images.device)
    with torch.autocast(images.device.type, enabled=False):
        rows = resize_matrix(start, start + height, height, size)
        columns = resize_matrix(start, start + width, width, size)
        return _normalise_(_resize(images, rows, columns))


def _crop_and_resize(images: Tensor, params: ViewParams, size: int, flip: bool = False) -> Tensor:
    box = torch.stack([params.top, params.left, params.height, params.width]).float()
    top, left, height, width = to_device(box, images.device)
    rows = resize_matrix(top, height, images.shape[2], size)
    columns = resize_matrix(left, width, images.shape[3], size)
    if flip:
        _update(columns, params.flip, lambda some: some.flip(1))
    return _resize(images, rows, columns)


def resize_matrix(start: Tensor, length: Tensor, source: int, out: int) -> Tensor:
    """Matrices [B, out, source] that resample `length` pixels from `start` on (each [B]) to `out` pixels.

    Pillow's bicubic filter: a = -0.5, its support widened when shrinking (antialias), nothing read beyond the box.
    """
    scale = (length / out)[:, None, None]
    start, length = start[:, None, None], length[:, None, None]
    pixel = torch.arange(source, device=start.device) - start
    widen = scale.clamp(min=1)
    # A pixel outside the box is moved out of every filter's reach.
    position = ((pixel + 0.5) / widen).where((pixel >= 0) & (pixel < length), -4)
    centre = (torch.arange(out, device=start.device)[:, None] + 0.5) * scale / widen
    # Of the distance x, with u = max(2 - x, 0) and v = max(u - 1, 0), twice the filter is u^2 (u - 1) + v^2 (2 - 4 v):
    # no choice between its two pieces, as torch.where takes ten times as long as a product on CPUs.
    u = (centre - position).abs_().neg_().add_(2).relu_()
    weights = u - 1
    v = weights.relu()
    weights.mul_(u).mul_(u).addcmul_(v.square(), v.mul_(-4).add_(2))
    return weights.div_(weights.sum(dim=2, keepdim=True))


def _resize(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows @ image @ columns^T for each image and channel: uint8 [B, 3, H, W] -> float32 [B, 3, S, S] in 0..1.

    Bicubic overshoots at edges; Pillow, too, resizes rows first and clips after each of the two passes.
    """
    # The division is done on the matrix, which is the smaller.
    columns = (columns / 255).expand(len(images), -1, -1)
    wide = torch.bmm(images.flatten(1, 2).float(), columns.transpose(1, 2)).clamp_(0, 1)
    wide = wide.view(*images.shape[:3], -1)
    return torch.matmul(rows[:, None], wide).clamp_(0, 1)


# ---- Colours and blur step by step: the form for CPUs ------------------------------------------------------------

_CACHED_VALUES = 2**20  # float32 values: 4 MiB, at 256 to 16 pixels the quickest, or nearly, of 2**17 to 2**21
_COPIED_VALUES = 2**18  # are copied in about the time that one more run costs


def _render_in_chunks(images: Tensor, cropped: Tensor | None, params: ViewParams, size: int) -> Tensor:
    """A few views at a time on a CPU, so that the many passes over them stay in the cache.

    `cropped` is what after_crop has made of the crops, None where there is no such operation.
    """
    count = len(images)
    step = max(1, _CACHED_VALUES // (3 * size * size)) if images.device.type == "cpu" else count
    views = torch.empty(count, 3, size, size, device=images.device)
    for start in range(0, count, step):
        chunk = slice(start, start + step)
        if cropped is None:
            some = _crop_and_resize(images[chunk], params[chunk], size, flip=True)
        else:
            some = cropped[chunk].clone()
            _update(some, params.flip[chunk], lambda some: some.flip(3))
        _change_colours_and_blur(some, params[chunk], out=views[chunk])
    return views


def _change_colours_and_blur(views: Tensor, params: ViewParams, out: Tensor) -> None:
    """All that follows the flip, from `views`, which are overwritten, to `out`.

    Before a step the views are sorted by what it does to them, so that it works in place on runs of neighbours: views
    are read in any order (index_select) several times as fast as they are written in any order (index_copy_).
    """
    nothing = -1

    def jitter(some: Tensor, rows: Tensor, number: int) -> None:
        JITTER[number](some, params.factors[rows, number], out=some)

    def blur(some: Tensor, rows: Tensor, _: int) -> None:
        gaussian_blur(some, params.sigma[rows], out=some)

    steps: list[tuple[Tensor, Callable[[Tensor, Tensor, int], object]]]
    steps = [(params.order[:, position].where(params.jitter, nothing), jitter) for position in range(4)]
    steps.append((params.grayscale.int() - 1, lambda some, *_: some.copy_(_grey(some))))
    steps.append((torch.ceil(4 * params.sigma).int().where(params.blur, nothing), blur))  # by radius
    steps.append((params.solarize.int() - 1, lambda some, *_: torch.minimum(some, 1 - some, out=some)))
    rows, spare = torch.arange(len(views)), torch.empty_like(views)
    for key, operation in steps:
        key = key[rows]
        runs = 1 + int((key[1:] != key[:-1]).sum())
        if runs - len(key.unique()) > views.numel() // _COPIED_VALUES:
            sorting = key.argsort(stable=True)
            key, rows = key[sorting], rows[sorting]
            torch.index_select(views, 0, to_device(sorting, views.device), out=spare)
            views, spare = spare, views
        stop = 0
        for value, run in groupby(key.tolist()):
            start, stop = stop, stop + len(list(run))
            if value != nothing:
                operation(views[start:stop], rows[start:stop], value)
    if bool((rows[1:] > rows[:-1]).all()):
        _normalise(views, out)
    else:
        _normalise(torch.index_select(views, 0, to_device(rows.argsort(), views.device), out=out), out)


def _update(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor]) -> None:
    """Replace the chosen images (bool [B] on the CPU) by operation(those images)."""
    index = to_device(chosen.nonzero().squeeze(1), images.device)
    if len(index):
        images.index_copy_(0, index, operation(images.index_select(0, index)))


def to_device(numbers: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on `device`, without a wait: a GPU takes more than 64 kB at its leisure from pinned memory alone."""
    pinned = numbers.pin_memory() if device.type == "cuda" and numbers.device.type == "cpu" else numbers
    return pinned.to(device, non_blocking=True)


def _per_image(numbers: Tensor, images: Tensor) -> Tensor:
    return to_device(numbers.to(images.dtype), images.device).view(-1, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    """Luma (ITU-R 601-2, as Pillow's mode L): [B, 3, H, W] -> [B, 1, H, W]."""
    red, green, blue = images.split(1, dim=1)
    return (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def adjust_brightness(images: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    """Blend with black; factor is [B], 1 leaves the image as it is."""
    return torch.mul(images, _per_image(factor, images), out=out).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    """Blend with the mean of the grey image (Pillow rounds that mean to 8 bits); factor is [B]."""
    factor = _per_image(factor, images)
    mean = _grey(images.mean(dim=(2, 3), keepdim=True))
    return torch.mul(images, factor, out=out).add_((1 - factor) * mean).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    """Blend with the grey image; factor is [B]."""
    factor = _per_image(factor, images)
    return torch.addcmul(_grey(images).mul_(1 - factor), images, factor, out=out).clamp_(0, 1)


def adjust_hue(images: Tensor, turns: Tensor, out: Tensor | None = None) -> Tensor:
    """Turn the hue of HSV, value and saturation kept; turns is [B] on the CPU, in -0.5..0.5."""
    steps = max(1, math.ceil(6 * float(turns.abs().max())))
    for _ in range(steps):
        images = _turn_hue(images, turns / steps, out)
    return images


def _turn_hue(images: Tensor, turns: Tensor, out: Tensor | None = None) -> Tensor:
    """A turn by at most a sixth: in such a turn each channel moves at a constant rate, by the chroma in a sixth.

    In sixths of a turn from its own hue, h, red falls short of the value by clamp(2 - |h - 3|, 0, 1) of the chroma, so
    it moves by the sign of h - 3, which is that of blue - green; before clamping, (2 - |h - 3|) * chroma is
    green + blue - red - least, whichever channel is the largest. Likewise for the others, cyclically.
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    least = torch.minimum(torch.minimum(red, green), blue)
    rate = (value - least).mul_(6 * _per_image(turns, images)[:, 0])
    rest = (value + least).sub_(red).sub_(green).sub_(blue)
    direction = torch.stack([blue - green, red - blue, green - red], dim=1).sign_()
    moved = torch.add(rest[:, None], images, alpha=2, out=out).addcmul_(direction, rate[:, None])
    return torch.clamp(moved, least[:, None], value[:, None], out=out)


JITTER = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)  # as the factors of ViewParams


def gaussian_blur(images: Tensor, sigma: Tensor, out: Tensor | None = None) -> Tensor:
    """Gaussian blur with edges replicated; sigma is [B] on the CPU, in pixels, and the kernel cut at 4 sigma."""
    return _blur(images, sigma, math.ceil(4 * float(sigma.max())), out)


def _blur(images: Tensor, sigma: Tensor, radius: int, out: Tensor | None = None) -> Tensor:
    """As gaussian_blur, with no sigma above radius / 4; a sum of shifted images, as each image has its own kernel."""
    sigma = _per_image(sigma, images)
    offset = torch.arange(-radius, radius + 1, device=images.device)
    taps = torch.exp(-0.5 * (offset / sigma) ** 2) * (offset.abs() <= torch.ceil(4 * sigma))
    taps = (taps / taps.sum(dim=3, keepdim=True)).split(1, dim=3)
    for dim, margins in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded = F.pad(images, margins, mode="replicate")
        shifted = padded.unfold(dim, images.shape[dim], 1).movedim(-1, dim + 1).unbind(dim)
        images = torch.mul(shifted[0], taps[0], out=out)
        for shift, tap in zip(shifted[1:], taps[1:], strict=True):
            images = images.addcmul_(shift, tap)
    return images


def _normalise_(images: Tensor) -> Tensor:
    return _normalise(images, images)


def _normalise(images: Tensor, out: Tensor) -> Tensor:
    for channel, mean, std, result in zip(images.unbind(1), IMAGENET_MEAN, IMAGENET_STD, out.unbind(1), strict=True):
        torch.sub(channel, mean, out=result).div_(std)
    return out


# ---- Colours and blur in one function: the form for GPUs ---------------------------------------------------------

_NEUTRAL = (1.0, 1.0, 1.0, 0.0)  # factors that leave an image as it is


def _tabulate(params: ViewParams) -> Tensor:
    """What _fused_colours_and_blur is to do: [B, 19] on the CPU, neutral where an operation was not drawn.

    Flip, grayscale and solarise as 0 or 1, sigma, the factor of contrast; then, before contrast and again after it,
    the factors of brightness, saturation, brightness, hue, brightness, saturation, brightness: in these seven places
    brightness, saturation and hue can come in any order.
    """
    columns = [params.flip, params.grayscale, params.solarize, params.sigma.where(params.blur, 1e-3)]
    columns.append(params.factors[:, 1].where(params.jitter, 1.0))
    places = params.order.argsort(dim=1)  # of the four operations
    brightness, contrast, saturation, hue = places.unbind(1)
    leads = brightness < saturation
    for part in (places < contrast[:, None], places > contrast[:, None]):
        for side in (places < hue[:, None], places > hue[:, None]):
            for number, here in ((0, side[:, 0] & leads), (2, side[:, 2]), (0, side[:, 0] & ~leads)):
                chosen = params.jitter & part[:, number] & here
                columns.append(params.factors[:, number].where(chosen, _NEUTRAL[number]))
        columns.insert(-3, params.factors[:, 3].where(params.jitter & part[:, 3], _NEUTRAL[3]))
    return torch.stack([column.float() for column in columns], dim=1)


def _fused_colours_and_blur(views: Tensor, table: Tensor, radius: int) -> Tensor:
    """All that follows the crop, of all views alike, for a compiler to fuse into few passes over memory.

    Neither indices nor shapes depend on what was drawn, so nothing waits for the device.
    """
    flip, grayscale, solarize, sigma, contrast, *jitter = table.unbind(1)

    def jittered(views: Tensor, factors: list[Tensor]) -> Tensor:
        for number, factor in zip((0, 2, 0, 3, 0, 2, 0), factors, strict=True):
            views = (_turn_hue if number == 3 else JITTER[number])(views, factor)
        return views

    views = torch.where(_per_image(flip, views) > 0, views.flip(3), views)
    views = jittered(adjust_contrast(jittered(views, jitter[:7]), contrast), jitter[7:])
    views = torch.where(_per_image(grayscale, views) > 0, _grey(views), views)
    views = _blur(views, sigma, radius)
    return _normalise_(torch.where(_per_image(solarize, views) > 0, torch.minimum(views, 1 - views), views))


_compiles = True  # until it has failed


@cache
def _compiled_colours_and_blur() -> Callable[[Tensor, Tensor, int], Tensor]:
    return torch.compile(_fused_colours_and_blur, dynamic=False)


def _render_compiled(images: Tensor, cropped: Tensor | None, params: ViewParams, size: int) -> Tensor | None:
    """None, and once a note on stderr, where compiling fails; then _render_in_chunks does the same in more passes."""
    global _compiles
    # _turn_hue is not capable of larger turns.
    if not _compiles or not len(params) or params.factors[:, 3].abs().max() > 1 / 6:
        return None
    radius = 4 * math.ceil(float(params.sigma.max()))  # few different ones, as each is compiled anew
    table = to_device(_tabulate(params), images.device)
    views = _crop_and_resize(images, params, size) if cropped is None else cropped
    try:
        compiled = _compiled_colours_and_blur()
        # Each shape of views and each radius is compiled once; by default that ends in silence after eight.
        with torch._dynamo.config.patch(recompile_limit=64):
            return compiled(views, table, radius)
    except Exception as error:  # no C compiler, no Triton, ...: each has its own class
        if isinstance(error, torch.OutOfMemoryError):
            raise
        _compiles = False
        reason = first_line(getattr(error, "inner_exception", error))
        print(f"Views are made without torch.compile, more slowly: {reason}", file=sys.stderr)
        return None


# ---- What is done to negatives ----------------------------------------------------------------------------------


def rotate_quarters(images: Tensor, quarters: Tensor) -> Tensor:
    """Turn square images [B, C, S, S] counter-clockwise by quarters (int [B] on the CPU, 0..3) of a turn."""
    turned = images.clone()
    for quarter in (1, 2, 3):
        _update(turned, quarters == quarter, lambda some, k=quarter: some.rot90(k, (2, 3)))
    return turned


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
    """Draw "none", "rot", "rot360", "perm-N" or "pixels" for `count` images from a CPU generator.

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
    if transform == "pixels":
        # The size of the images is not known yet, so what is drawn here is the seed of their orders.
        seed = int(torch.randint(2**62, (1,), generator=generator))
        return NegativeTransform(
            lambda images, which: _shuffle_pixels(images, seed, count, which), torch.arange(count), rotates=False
        )
    patches = perm_count(transform)
    if patches is None:
        raise BenchError(unknown("transform of negatives", transform, ["none", "rot", "rot360", "perm-N", "pixels"]))
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
