"""Images taken apart into foreground and background, and put together anew; masks are found once an image.

Shapes: B images uint8 [B, 3, H, W] and their masks bool [B, H, W], True where the foreground is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.running.device import to_device
from benchmark.views.saliency import blur, foreground

GREY = 128  # of a background that is taken away (BG_RM), or of which nothing is known


class Foregrounds:
    """The masks of a set's images, each found when it is first asked for and kept: a bit a pixel and image."""

    def __init__(self, count: int, method: str) -> None:
        self.method = method
        self._known = torch.zeros(count, dtype=torch.bool)
        self._whole = torch.zeros(count, dtype=torch.bool)
        self._masks: Tensor | None = None

    def take(self, index: Tensor, images: Tensor) -> Tensor:
        """The masks of `images`, which are those at `index` (B,), a CPU tensor."""
        if self._masks is None:
            self._masks = torch.zeros(len(self._known), *images.shape[2:], dtype=torch.bool, device=images.device)
        new = ~self._known[index]
        if bool(new.any()):
            found = foreground(images[to_device(new, images.device)], self.method)
            self._masks[to_device(index[new], images.device)] = found
            self._known[index[new]] = True
            self._whole[index[new]] = found.flatten(1).all(1).cpu()
        return self._masks[to_device(index, images.device)]

    @property
    def seen(self) -> int:
        """Of how many images the mask has been found."""
        return int(self._known.sum())

    @property
    def whole(self) -> int:
        """In how many of those no foreground was told from a background: the whole image counts as foreground."""
        return int(self._whole.sum())


def fill_in(images: Tensor, masks: Tensor) -> Tensor:
    """The backgrounds alone, uint8: where the foreground was (and a pixel around it) the colours of its surroundings,
    blurred the further the deeper inside; grey where an image has no background."""
    hidden = torch.nn.functional.max_pool2d(masks[:, None].float(), 3, stride=1, padding=1)
    known = 1 - hidden
    seen = torch.cat([images * known, known], 1)  # colours and how much of them is known, blurred together
    filled, sure = seen[:, :3], known
    sigma = 1.0
    while sigma < images.shape[-1]:
        around = blur(seen, sigma)
        fresh = (1 - sure) * (around[:, 3:] > 0.02)
        filled, sure = filled + fresh * around[:, :3] / around[:, 3:].clamp_min(1e-6), sure + fresh
        sigma *= 2
    return (filled + (1 - sure) * GREY).round().clamp(0, 255).to(torch.uint8)


def compose(images: Tensor, masks: Tensor, backgrounds: Tensor) -> Tensor:
    """The foregrounds before other backgrounds, uint8 [B, 3, H, W] or one value; the seam is a pixel wide."""
    share = blur(masks[:, None].float(), 0.6 * images.shape[-1] / 32)
    return (share * images + (1 - share) * backgrounds).round().clamp(0, 255).to(torch.uint8)
