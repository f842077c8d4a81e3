"""Forward passes and losses on a GPU that is not there.

FakeTensorMode gives tensors a device, a shape and a type, and no values: an operation between devices or types that do
not go together raises as it would on CUDA. Values cannot be asked for, so what reads one back (`item`, random
initialisation by it) is replaced. Views are tried likewise on meta tensors (tests/views), scores in tests/detection,
backward passes only on a GPU.
"""

from __future__ import annotations

import pytest
import torch
from pretended import CUDA, pretended_cuda
from tiny_runs import tiny
from torch import Tensor, nn

from benchmark import methods
from benchmark.methods.base import Batch, Method, Moment
from benchmark.negatives import VARIANTS
from benchmark.plan.config import RunConfig
from benchmark.views.recipes import Block

BATCH = 6


def rotation(shift: int = 0) -> RunConfig:
    raw = tiny().model_dump() | {"method": {"name": "rotation", "shift": shift}, "variant": "none"}
    raw["model"] = {"backbone": "resnet10t", "drop_path": 0.0}
    return RunConfig.model_validate(raw)


CONFIGS = {name: tiny(variant=name) for name in VARIANTS} | {
    "authors": tiny(protocol="authors"),
    "text head": tiny(method={"head": "text"}),
    "rotation": rotation(),
    "rotation and translation": rotation(8),
    "convolutions": tiny(model={"backbone": "small_convnet", "args": {"width": 8}, "drop_path": 0.0}),
}


def batch_of(method: Method) -> Batch:
    def views(blocks: dict[str, Block]) -> dict[str, Tensor]:
        return {name: torch.empty(b.views * BATCH, 3, b.size, b.size, device=CUDA) for name, b in blocks.items()}

    recipe = method.batch_recipe()
    kinds = tuple(views(recipe.negatives) for _ in method.config.kinds())
    return Batch(views(recipe.positives), kinds, torch.zeros(BATCH, dtype=torch.long, device=CUDA))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_losses_stay_on_the_gpu_in_float32(name: str, precision: str) -> None:
    with pretended_cuda():
        method = methods.build(CONFIGS[name], CUDA)
        method.modules().train()
        parts: list[Tensor] = []
        computed: set[torch.dtype] = set()
        for module in method.modules().modules():
            if (
                isinstance(module, nn.Linear) and module.out_features != 16
            ):  # of the backbone, not the float32 last layer
                module.register_forward_hook(lambda _module, _given, made: computed.add(made.dtype))
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            losses = method.losses(batch_of(method), Moment(0, 2, 0, 10), parts.append)
        for loss in [*losses.values(), *parts]:
            assert loss.device == CUDA and loss.dtype == torch.float32 and loss.shape == ()
        assert losses["loss"].requires_grad
        assert computed == {torch.bfloat16 if precision == "bf16" else torch.float32}
        assert {tensor.device for tensor in method.modules().state_dict().values()} == {CUDA}


@pytest.mark.parametrize("name", ["combined", "rotation", "rotation and translation"])
def test_outputs_leave_the_gpu_to_be_kept(name: str) -> None:
    with pretended_cuda():
        method = methods.build(CONFIGS[name], CUDA)
        outputs = method.embed(torch.zeros(BATCH, 3, 32, 32, dtype=torch.uint8, device=CUDA))
        assert {rows.device for rows in outputs.values()} == {CUDA}
        soft = method.soft_logits(outputs)
        assert soft is None or soft.device == CUDA
        kept = method.stored(outputs)
        assert {rows.device.type for rows in kept.values()} == {"cpu"}
        assert kept["features"].dtype == torch.float16


def test_a_tensor_on_the_wrong_device_is_found() -> None:
    with pretended_cuda():
        method = methods.build(CONFIGS["combined"], CUDA)
        method.centre = torch.zeros(16)  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="device"):
            method.losses(batch_of(method), Moment(0, 2, 0, 10))
