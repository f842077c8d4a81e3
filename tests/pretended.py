"""A GPU that is not there, for tests: tensors with a device, a shape and a type, and no values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

CUDA = torch.device("cuda", 0)
MODE = FakeTensorMode()  # one for all: torch and timm keep tensors, and two modes do not mix


def moved(
    module: nn.Module, device: torch.device | None = None, memory_format: torch.memory_format | None = None
) -> nn.Module:
    """`Module.to`, which cannot swap tensors that are not there."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                values = parameter.detach().to(device or parameter.device)
                if memory_format is not None and values.ndim == 4:
                    values = values.contiguous(memory_format=memory_format)
                part._parameters[name] = nn.Parameter(values, parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.to(device or buffer.device)
    return module


@contextmanager
def pretended_cuda() -> Iterator[None]:
    with ExitStack() as stack:
        for target, name, other in (
            (nn.Module, "to", moved),
            (Tensor, "item", lambda self: 0.1),
            # Without these autocast would do nothing.
            (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
            (torch.cuda, "is_bf16_supported", lambda *_, **__: True),
            (Tensor, "pin_memory", lambda self, *_: self),
            (nn.init, "trunc_normal_", lambda tensor, *_, **__: tensor),
        ):
            stack.enter_context(mock.patch.object(target, name, other))
        stack.enter_context(MODE)
        stack.enter_context(FakeCopyMode(MODE))
        yield
