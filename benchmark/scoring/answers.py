"""What scores read beside features, asked of a network: the same for a run's evaluation and for a detector.

Shapes: B images, D features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.plan.scores import Need
from benchmark.scoring.base import Outputs, summary


def output_names(wanted: frozenset[Need]) -> list[str]:
    """The names of the outputs that `further_outputs` makes."""
    names = {"norm": "norm" in wanted, "class_logits": "logits" in wanted, "rotated": "rotations" in wanted}
    names["rotated_class_logits"] = {"logits", "rotations"} <= wanted
    return [name for name, is_made in names.items() if is_made]


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
    if "rotations" in wanted:
        turned = [embed(torch.rot90(images, quarter, (2, 3))) for quarter in (1, 2, 3)]
        found["rotated"] = torch.stack([unit(answer) for answer in turned], 1)
        of_turned = [class_logits(answer) if logits is not None else None for answer in turned]
        if logits is not None:
            found["rotated_class_logits"] = torch.stack([summary(one) for one in of_turned if one is not None], 1)
    return found
