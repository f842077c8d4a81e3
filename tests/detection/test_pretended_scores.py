"""Eq. 6, k-NN and occupancy on a GPU that is not there: which device each tensor is on, never a value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import pytest
import torch
from pretended import CUDA, pretended_cuda
from torch import Tensor

from benchmark.detection.knn import knn_accuracy
from benchmark.detection.occupancy import occupancy
from benchmark.detection.scores import ood_scores


@contextmanager
def without_values() -> Iterator[None]:
    """What these functions read back is answered for them: all rows are finite, labels are few, sums are positive."""
    with pretended_cuda(), ExitStack() as stack:
        for name, answer in (
            ("nonzero", lambda self: torch.empty(0, self.ndim, dtype=torch.long, device=self.device)),
            ("__bool__", lambda self: True),
            ("__int__", lambda self: 3),
            ("__float__", lambda self: 0.1),
        ):
            stack.enter_context(mock.patch.object(Tensor, name, answer))
        yield


def on_gpu(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device=CUDA)


@pytest.mark.parametrize("temperature", [0.04, 0.005], ids=["plain", "running peak"])
@pytest.mark.parametrize("bank", ["cuda", "cpu"])
def test_scores_come_back_to_the_cpu_in_float64(temperature: float, bank: str) -> None:
    with without_values():
        scores = ood_scores(on_gpu(5, 8), torch.empty(9, 8, device=bank), temperature)
        assert scores.device.type == "cpu" and scores.dtype == torch.float64 and scores.shape == (5,)


@pytest.mark.parametrize("labels", ["cuda", "cpu"])
def test_knn_takes_labels_from_either_device(labels: str) -> None:
    with without_values():
        one, many = (torch.empty(n, dtype=torch.long, device=labels) for n in (5, 9))
        assert set(knn_accuracy(on_gpu(5, 8), one, on_gpu(9, 8), many, (3,))) == {3}


def test_occupancy_takes_a_centre_from_the_cpu() -> None:
    with without_values():
        assert occupancy(on_gpu(5, 16), torch.empty(16), 0.01)["classes"] == 16
