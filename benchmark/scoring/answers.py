"""What scores read beside features, asked of a network: the same for a run's evaluation and for a detector.

Shapes: B images, D features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.negatives import patch_grid
from benchmark.plan.scores import Need
from benchmark.scoring.base import Outputs, summary

# The quarters of an image, counted row by row, one place further at a time: no quarter stays where it was.
ORDERS = ((1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2))
COPIES: dict[Need, str] = {"rotations": "rotated", "permutations": "permuted"}  # what the outputs of each are called


def output_names(wanted: frozenset[Need]) -> list[str]:
    """The names of the outputs that `further_outputs` makes."""
    names = {"norm": "norm" in wanted, "class_logits": "logits" in wanted}
    for need, name in COPIES.items():
        names |= {name: need in wanted, f"{name}_class_logits": {"logits", need} <= wanted}
    return [name for name, is_made in names.items() if is_made]


def _copies(images: Tensor, need: Need) -> list[Tensor]:
    if need == "rotations":
        return [torch.rot90(images, quarter, (2, 3)) for quarter in (1, 2, 3)]
    rows, columns = patch_grid(4, images.shape[-1])  # raises BenchError for an odd side
    quarters = [part for row in images.chunk(rows, 2) for part in row.chunk(columns, 3)]
    shuffled = [[quarters[place] for place in order] for order in ORDERS]
    return [torch.cat([torch.cat(some[:2], 3), torch.cat(some[2:], 3)], 2) for some in shuffled]


def further_outputs(
    images: Tensor,
    outputs: Outputs,
    wanted: frozenset[Need],
    embed: Callable[[Tensor], Outputs],
    unit: Callable[[Outputs], Tensor],
    class_logits: Callable[[Outputs], Tensor | None],
) -> Outputs:
    """What is `wanted` beside `outputs`, which `embed` gave for images (B, 3, S, S), as in `scoring.base.Outputs`.

    unit: features of unit length in the form that is kept, of what `embed` gives; class_logits: logits of it, or None.
    """
    found: Outputs = {}
    if "norm" in wanted:
        found["norm"] = outputs["features"].norm(dim=1).float()
    logits = class_logits(outputs) if "logits" in wanted else None
    if logits is not None:
        found["class_logits"] = summary(logits)
    for need, name in COPIES.items():
        if need not in wanted:
            continue
        answers = [embed(copies) for copies in _copies(images, need)]
        found[name] = torch.stack([unit(answer) for answer in answers], 1)
        if logits is not None:
            of_copies = [one for answer in answers if (one := class_logits(answer)) is not None]
            found[f"{name}_class_logits"] = torch.stack([summary(one) for one in of_copies], 1)
    return found
