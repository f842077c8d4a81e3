"""Occupied soft classes (the paper's Fig. 2): how many of the K outputs of the teacher a data set uses.

Shapes: N images, K soft classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from benchmark.errors import BenchError

AUTHORS_TEMPERATURE = 0.01
CHUNK_ROWS = 256  # logits turned to float64 at a time: 8 MiB for K = 4096


def occupied(mean_probability: Tensor) -> int:
    """How many of the K classes have a mean probability (K,) above the average over the classes, 1/K for a
    distribution.

    "Above" leaves out excesses below one part in a million: on a perfectly uniform output rounding alone would
    otherwise count classes at random.
    """
    mean_probability = mean_probability.double()
    return int((mean_probability > mean_probability.mean() * (1 + 1e-6)).sum())


def from_uniform(logits: Tensor) -> Tensor:
    """KL(p || U) = ln K - H(p) of p = softmax(logits), logits (N, K) -> (N,) float64 in nats, 0 to ln K.

    0 where the response is uniform, as the loss wants it of negatives.
    """
    log_p = logits.double().log_softmax(1)
    return math.log(logits.shape[1]) + (log_p.exp() * log_p).sum(1)


@torch.no_grad()
def occupancy(logits: Tensor | Iterable[Tensor], centre: Tensor, teacher_temperature: float) -> dict[str, int | float]:
    """Occupied soft classes of the teacher over a data set, in both readings.

    logits: the teacher's output before centring and temperature, (N, K), or its batches (n, K); batches are held
    together, since the authors' reading needs the mean first. centre: (K,) or (1, K), DINO's centre at the end of
    training. teacher_temperature: its last value.

    "paper": occupied by mean of softmax((g - centre) / teacher_temperature), the teacher's distribution in training.
    "authors": occupied by mean of softmax((g - mean of g over this data set) / 0.01), as in the authors' code.
    "classes": K. "max_mean_probability" and "effective" (the exponential of the entropy, between 1 and K, which has
    no threshold to fall on one side of) describe the mean probability of the paper's reading.
    Raises BenchError if there are no logits or they are not finite.
    """
    batches = [logits] if isinstance(logits, Tensor) else list(logits)
    count = sum(len(batch) for batch in batches)
    if not count:
        raise BenchError("occupancy: no logits given")
    if not teacher_temperature > 0:
        raise BenchError(f"occupancy: teacher temperature {teacher_temperature} given, allowed is a number above 0")

    def mean(of: Callable[[Tensor], Tensor]) -> Tensor:
        chunks = (chunk for batch in batches for chunk in batch.split(CHUNK_ROWS) if len(chunk))
        total = torch.zeros(centre.numel(), dtype=torch.float64, device=batches[0].device)
        for chunk in chunks:
            total += of(chunk.double()).sum(0)
        return total / count

    mean_logit = mean(lambda chunk: chunk)
    if not mean_logit.isfinite().all():
        bad = int((~mean_logit.isfinite()).sum())
        raise BenchError(f"occupancy: {bad} of {centre.numel()} soft classes have logits that are not finite")
    centre = centre.to(mean_logit).reshape(-1)
    paper = mean(lambda chunk: ((chunk - centre) / teacher_temperature).softmax(1))
    authors = mean(lambda chunk: ((chunk - mean_logit) / AUTHORS_TEMPERATURE).softmax(1))
    return {
        "paper": occupied(paper),
        "authors": occupied(authors),
        "classes": centre.numel(),
        "max_mean_probability": float(paper.max()),
        "effective": float(torch.special.entr(paper).sum().exp()),
    }
