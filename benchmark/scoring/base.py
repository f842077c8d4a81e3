"""What every score is: fitted on the in-distribution training images, larger = more OOD.

Shapes: M training images, N scored images, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Kept outputs by name; rows are images. "features" (N, D): of unit length. Where asked for: "norm" (N,): the features'
# length before; "class_logits" (N, 3): of the method's classes, see `LOGITS`; "rotated" (N, 3, D) and
# "rotated_class_logits" (N, 3, 3): the same of the image turned by 90, 180 and 270 degrees; "permuted" and
# "permuted_class_logits": of the image with its quarters in the three orders of `outputs.ORDERS`. Those that a score is
# fitted to may have "negatives" (L, D) too, features of L of the run's negatives, of their own length, and, of a bank
# that was thinned, "weights" (M,): how many training images each row stands for.
Outputs = dict[str, Tensor]

# The columns of kept logits. With thousands of soft classes the logits themselves would be larger than the images.
LOGITS = ("log of the largest probability", "largest logit", "log of the sum of exponentials")
LOG_LARGEST_PROBABILITY, LARGEST_LOGIT, LOG_SUM_EXP = range(3)


def summary(logits: Tensor) -> Tensor:
    """Logits (N, K) -> (N, 3) float32, the columns of `LOGITS`."""
    logits = logits.float()
    # In float64: of a sure image the two differ by less than float32 resolves at their size, and all such would tie.
    sureness = logits.double().log_softmax(1).amax(1).float()
    return torch.stack([sureness, logits.amax(1), torch.logsumexp(logits, 1)], 1)


class Score:
    """How far an image is from the training images. Subclasses take what their name carries when made."""

    def fit(self, train: Outputs) -> None:
        """Learn from the outputs of the M training images. Raises BenchError for outputs that it cannot be had of."""

    def score(self, outputs: Outputs, self_index: Tensor | None = None) -> Tensor:
        """Scores (N,) in float64, larger = more OOD.

        self_index (N,): each row's own place among the training images, which it must not see (leave-self-out).
        """
        raise NotImplementedError


class AtTemperature(Score):
    """A score after Eq. 6, made with its temperature."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature
