"""The paper's multi-crop views T and the transforms of its negatives, for a whole batch on the device that trains.

Views follow DINO (Caron et al. 2021) with the numbers of Rafiee et al. 2022. Operations mean what they mean in
torchvision and Pillow, without Pillow's rounding to 8 bits after each step: whole views are within 1.2e-4 of the range
of exact references, and on CIFAR10 1.2 levels of 255 from Pillow's on average, 99.9% within 7 (tests/test_views.py).

Drawing and applying are apart: every random number is drawn on the CPU, so that CPU and GPU runs see the same views,
and applying them on a GPU never waits for it (which images an operation touches is known on the CPU beforehand).

Shapes: B images or views, H x W the source, S the side of a view. Images are [B, 3, H, W], values 0..255 as uint8 or
0..1 as float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import BenchError, unknown
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
        views = _crop_and_resize(images, params, size)
        if after_crop is not None:
            views = after_crop(views)
        # On a CPU, a few views at a time, so that the many passes over them stay in the cache.
        step = max(1, _CACHED_VALUES // views[0].numel()) if images.device.type == "cpu" else len(views)
        for start in range(0, len(views), step):
            _change_colours_and_blur(views[start : start + step], params[start : start + step])
        return views if after_normalise is None else after_normalise(views)


_CACHED_VALUES = 2**19  # float32 values: 2 MiB, the quickest of 2**14 to 2**20 at 256 pixels, no slower at 16


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


def _crop_and_resize(images: Tensor, params: ViewParams, size: int) -> Tensor:
    box = torch.stack([params.top, params.left, params.height, params.width]).float()
    top, left, height, width = box.to(images.device, non_blocking=True)
    rows = resize_matrix(top, height, images.shape[2], size)
    columns = resize_matrix(left, width, images.shape[3], size)
    return _resize(images, rows, columns)


def resize_matrix(start: Tensor, length: Tensor, source: int, out: int) -> Tensor:
    """Matrices [B, out, source] that resample `length` pixels from `start` on (each [B]) to `out` pixels.

    Pillow's bicubic filter: a = -0.5, its support widened when shrinking (antialias), nothing read beyond the box.
    """
    scale = (length / out)[:, None, None]
    start, length = start[:, None, None], length[:, None, None]
    centre = (torch.arange(out, device=start.device)[:, None] + 0.5) * scale
    pixel = torch.arange(source, device=start.device) - start
    x = ((pixel + 0.5 - centre) / scale.clamp(min=1)).abs().clamp(max=2)
    weights = torch.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2)
    weights = weights * ((pixel >= 0) & (pixel < length))
    return weights / weights.sum(dim=2, keepdim=True)


def _resize(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows @ image @ columns^T for each image and channel: uint8 [B, 3, H, W] -> float32 [B, 3, S, S] in 0..1.

    Bicubic overshoots at edges; Pillow, too, resizes rows first and clips after each of the two passes.
    """
    wide = torch.matmul(images.float() / 255, columns.transpose(1, 2)[:, None]).clamp_(0, 1)
    return torch.matmul(rows[:, None], wide).clamp_(0, 1)


def _change_colours_and_blur(views: Tensor, params: ViewParams) -> None:
    """All that follows the crop, in place: float32 [B, 3, S, S] in 0..1, normalised at the end."""
    _update(views, params.flip, lambda some: some.flip(3))
    for position in range(4):
        for number, operation in enumerate((adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)):
            chosen = params.jitter & (params.order[:, position] == number)
            _update(views, chosen, operation, params.factors[:, number])
    _update(views, params.grayscale, lambda some: _grey(some).expand_as(some))
    _update(views, params.blur, gaussian_blur, params.sigma)
    _update(views, params.solarize, lambda some: torch.minimum(some, 1 - some))
    _normalise_(views)


def _update(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *numbers: Tensor) -> None:
    """Replace the chosen images (bool [B] on the CPU) by operation(those images, their numbers)."""
    index = chosen.nonzero().squeeze(1)
    if len(index) == 0:
        return
    numbers = tuple(number[index] for number in numbers)
    index = index.to(images.device, non_blocking=True)
    images.index_copy_(0, index, operation(images.index_select(0, index), *numbers))


def _per_image(numbers: Tensor, images: Tensor) -> Tensor:
    return numbers.to(images.device, images.dtype, non_blocking=True).view(-1, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    """Luma (ITU-R 601-2, as Pillow's mode L): [B, 3, H, W] -> [B, 1, H, W]."""
    red, green, blue = images.split(1, dim=1)
    return (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black; factor is [B], 1 leaves the image as it is."""
    return (images * _per_image(factor, images)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean of the grey image (Pillow rounds that mean to 8 bits); factor is [B]."""
    factor = _per_image(factor, images)
    mean = _grey(images.mean(dim=(2, 3), keepdim=True))
    return torch.addcmul((1 - factor) * mean, images, factor).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the grey image; factor is [B]."""
    factor = _per_image(factor, images)
    return torch.addcmul((1 - factor) * _grey(images), images, factor).clamp_(0, 1)


def adjust_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of HSV, value and saturation kept; turns is [B], in -0.5..0.5."""
    red, green, blue = images.split(1, dim=1)
    yellow = torch.maximum(red, green)
    value = torch.maximum(yellow, blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # Hue in sixths of a turn; grey pixels have none, and as their chroma is zero any will do. lerp with a weight of
    # 0 or 1 picks, as torch.where does, which is several times slower on a CPU.
    not_red, is_blue = (red < value).float(), (yellow < value).float()
    edge = torch.lerp(torch.lerp(green - blue, blue - red, not_red), red - green, is_blue)
    hue = edge / chroma.clamp(min=torch.finfo(chroma.dtype).tiny) + 2 * (not_red + is_blue)
    hue += 6 * _per_image(turns, images)
    hue -= 6 * torch.floor(hue / 6)
    # Each channel falls short of the value by a share of the chroma.
    short = torch.cat([2 - (hue - 3).abs_(), (hue - 2).abs_() - 1, (hue - 4).abs_() - 1], dim=1).clamp_(0, 1)
    return torch.addcmul(value, short, chroma, value=-1)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with edges replicated; sigma is [B] on the CPU, in pixels, and the kernel cut at 4 sigma.

    Each image has its own kernel, so each pass is a batched product of one banded matrix per image with windows of a
    block of pixels and its surroundings; short blocks keep the band from being mostly zeros.
    """
    count, channels, height, width = images.shape
    radius = math.ceil(4 * float(sigma.max()))
    padded = F.pad(images, (radius, radius, radius, radius), mode="replicate")

    kernel = _blur_matrix(sigma.to(images.device, non_blocking=True), radius, _block(height))
    windows = padded.unfold(2, kernel.shape[1], kernel.shape[2])  # [B, C, blocks, W + 2 radius, window]
    tall = torch.matmul(kernel.transpose(1, 2)[:, None, None], windows.transpose(3, 4))
    tall = tall.reshape(count, channels, height, width + 2 * radius)

    kernel = _blur_matrix(sigma.to(images.device, non_blocking=True), radius, _block(width))
    windows = tall.unfold(3, kernel.shape[1], kernel.shape[2])  # [B, C, H, blocks, window]
    return torch.bmm(windows.reshape(count, -1, kernel.shape[1]), kernel).view(images.shape)


def _block(size: int) -> int:
    return 32 if size % 32 == 0 else size


def _blur_matrix(sigma: Tensor, radius: int, block: int) -> Tensor:
    """Matrices [B, block + 2 radius, block] whose columns are the Gaussian around each pixel of a block."""
    offset = torch.arange(block + 2 * radius, device=sigma.device)[:, None] - radius
    offset = offset - torch.arange(block, device=sigma.device)
    sigma = sigma[:, None, None]
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2) * (offset.abs() <= torch.ceil(4 * sigma))
    return kernel / kernel.sum(dim=1, keepdim=True)


def _normalise_(images: Tensor) -> Tensor:
    for channel, mean, std in zip(images.unbind(1), IMAGENET_MEAN, IMAGENET_STD, strict=True):
        channel.sub_(mean).div_(std)
    return images


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
    grid = F.affine_grid(back.float().to(images.device, non_blocking=True), list(images.shape), align_corners=False)
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
    order = order.to(images.device, non_blocking=True)
    patches = patches.gather(1, order[:, :, None].expand_as(patches))
    patches = patches.view(count, rows, columns, channels, patch_height, patch_width)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def permute_pixels(images: Tensor, order: Tensor) -> Tensor:
    """Shuffle the pixels of [B, C, H, W], all channels alike: result pixel i is pixel order[b, i], row by row.

    order: int64 [B, H * W].
    """
    pixels = images.flatten(2)
    order = order.to(images.device, non_blocking=True)
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
    return permute_pixels(images, keys.to(images.device, non_blocking=True).argsort(dim=1))
