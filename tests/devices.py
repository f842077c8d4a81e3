"""The device that a test computes on: the CPU everywhere, and a GPU where there is one."""

from __future__ import annotations

import pytest
import torch

NO_GPU = "needs a CUDA GPU: torch.cuda.is_available() is False here"
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_GPU)
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, needs_cuda])]
on_devices = pytest.mark.parametrize("device", DEVICES)
only_cuda = [pytest.mark.cuda, needs_cuda]
