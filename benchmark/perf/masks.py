"""How well and how fast views/saliency.py finds foregrounds, on built-in images, whose objects' places are known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.data import synthetic
from benchmark.perf.measure import Spread, alternate, figures, seconds
from benchmark.perf.step import Tell
from benchmark.running.device import image_tensor
from benchmark.views.saliency import foreground

SET, SPLIT, BATCH = "synthetic", "test", 64
WAY = "minimum-barrier"
DISC = "a disc in the middle"  # what anybody can say without looking


def overlap(masks: Tensor, truth: Tensor) -> float:
    """Mean intersection over union of masks bool [N, H, W], in %."""
    both, either = (masks & truth).sum((1, 2)), (masks | truth).sum((1, 2))
    return 100 * float((both / either.clamp_min(1)).mean())


def perf_masks(device: torch.device, *, rounds: int = 5, tell: Tell = print) -> dict[str, Any]:
    """IoU in % with the true masks of the built-in test images, and milliseconds per image of 32 pixels."""
    pictures = image_tensor(synthetic.generate(SET, SPLIT)[0]).to(device)
    truth = torch.from_numpy(synthetic.masks(SET, SPLIT)).to(device)

    def masks() -> Tensor:
        return torch.cat([foreground(part) for part in pictures.split(BATCH)])

    def timed() -> float:
        return 1000 * seconds(masks, device) / len(pictures)

    place = torch.arange(32, device=device) - 15.5
    disc = (place[:, None] ** 2 + place**2 < 11**2).expand(len(truth), -1, -1)
    spreads = alternate({WAY: timed}, rounds, lambda line: tell(f"{line} ms an image"))
    return {
        "images": len(pictures),
        "iou": {WAY: overlap(masks(), truth), DISC: overlap(disc, truth)},
        "milliseconds": {name: spread.as_dict() for name, spread in spreads.items()},
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What `perf_masks` found, as lines of a table."""
    lines = [("images", str(result["images"]))]
    for name, value in sorted(result["iou"].items(), key=lambda pair: -pair[1]):
        lines.append((f"{name}: IoU", f"{figures(value)} %"))
        if name in result["milliseconds"]:
            lines.append((f"{name}: ms an image", str(Spread(**result["milliseconds"][name]))))
    return lines
