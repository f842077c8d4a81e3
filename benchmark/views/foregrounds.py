"""Images taken apart into foreground and background, and put together anew; masks are found once an image.

Shapes: B images uint8 [B, 3, H, W] and their masks bool [B, H, W], True where the foreground is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.running.device import to_device
from benchmark.views.saliency import blur, foreground

BACKGROUND_BYTES = 1 << 30
GREY = 128  # of a background that is taken away (BG_RM), or of which nothing is known


class Foregrounds:
    """The masks of a set's N images of H x W pixels, and their backgrounds alone; each is found when it is first asked
    for and kept. Masks take one bit per pixel; backgrounds are kept where all of them fit into BACKGROUND_BYTES.

    packed: masks that are known already, uint8 [N, ceil(H * W / 8)] as `pack` makes them.
    """

    def __init__(self, count: int, packed: Tensor | None = None) -> None:
        self._masks = packed
        self._known = torch.full((count,), packed is not None)
        self._whole = torch.zeros(count, dtype=torch.bool)
        self._backgrounds: Tensor | None = None
        self._filled = torch.zeros(count, dtype=torch.bool)

    def masks(self, index: Tensor, images: Tensor) -> Tensor:
        """bool [B, H, W] of `images`, which are those at `index` (B,), a CPU tensor."""
        if self._masks is None:
            self._masks = torch.zeros(len(self._known), -(-images[0, 0].numel() // 8), dtype=torch.uint8)
        self._masks = self._masks.to(images.device)
        new = ~self._known[index]
        if bool(new.any()):
            found = foreground(images[to_device(new, images.device)])
            self._masks[to_device(index[new], images.device)] = pack(found)
            self._known[index[new]] = True
            self._whole[index[new]] = found.flatten(1).all(1).cpu()
        return unpack(self._masks[to_device(index, images.device)], images.shape[2], images.shape[3])

    def backgrounds(self, index: Tensor, images: Tensor) -> Tensor:
        """`fill_in` of `images`, which are those at `index` (B,): uint8 [B, 3, H, W]."""
        if len(self._known) * images[0].numel() > BACKGROUND_BYTES:
            return fill_in(images, self.masks(index, images))
        if self._backgrounds is None:
            self._backgrounds = images.new_empty(len(self._known), *images.shape[1:])
        new = ~self._filled[index]
        if bool(new.any()):
            some = images[to_device(new, images.device)]
            self._backgrounds[to_device(index[new], images.device)] = fill_in(some, self.masks(index[new], some))
            self._filled[index[new]] = True
        return self._backgrounds[to_device(index, images.device)]

    def packed(self) -> Tensor:
        """All masks found or given, as `pack` makes them, on the CPU; 0 bits of images that nobody has asked for."""
        assert self._masks is not None, "no mask has been asked for"
        return self._masks.cpu()

    @property
    def seen(self) -> int:
        """Of how many images the mask has been found here."""
        return int(self._known.sum())

    @property
    def whole(self) -> int:
        """In how many of those no foreground was told from a background: the whole image counts as foreground."""
        return int(self._whole.sum())


def pack(masks: Tensor) -> Tensor:
    """Masks bool [B, H, W] as bits, the first pixel the lowest bit of the first byte: uint8 [B, ceil(H * W / 8)]."""
    flat = masks.flatten(1)
    bits = torch.nn.functional.pad(flat, (0, -flat.shape[1] % 8)).view(len(flat), -1, 8)
    return (bits.to(torch.uint8) << _eight(masks)).sum(2, dtype=torch.uint8)


def unpack(packed: Tensor, height: int, width: int) -> Tensor:
    """What `pack` was given: bool [B, H, W]."""
    bits = (packed[:, :, None] >> _eight(packed)) & 1
    return bits.flatten(1)[:, : height * width].view(-1, height, width).bool()


def _eight(like: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=like.device)


def fill_in(images: Tensor, masks: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The backgrounds alone, uint8: where the foreground was (and a pixel around it) the colours of its surroundings,
    blurred the further the deeper inside; grey where an image has no background. Computed in `dtype`: images that are
    stored and known by their hash want float64, which rounds alike on every machine."""
    hidden = torch.nn.functional.max_pool2d(masks[:, None].to(dtype), 3, stride=1, padding=1)
    known = 1 - hidden
    seen = torch.cat([images * known, known], 1)  # colours and how much of them is known, blurred together
    filled, sure = seen[:, :3], known
    sigma = 1.0
    while sigma < images.shape[-1]:
        around = blur(seen, sigma)
        fresh = (1 - sure) * (around[:, 3:] > 0.02)
        filled, sure = filled + fresh * around[:, :3] / around[:, 3:].clamp_min(1e-6), sure + fresh
        sigma *= 2
    return _stored(filled + (1 - sure) * GREY)


def compose(images: Tensor, masks: Tensor, backgrounds: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The foregrounds before other backgrounds, uint8 [B, 3, H, W] or one value; the seam is a pixel wide. `dtype` as
    in `fill_in`."""
    share = blur(masks[:, None].to(dtype), 0.6 * images.shape[-1] / 32)
    return _stored(share * images + (1 - share) * backgrounds)


def _stored(values: Tensor) -> Tensor:
    # Exact halves, as between two equal neighbours, all go up: by last bits they would go up on some machines alone.
    return (values + 1e-4).round().clamp(0, 255).to(torch.uint8)
