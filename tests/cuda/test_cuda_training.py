"""Training on a GPU against training on the CPU. The bodies run on the CPU too, so that they are tried anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from devices import on_devices, only_cuda
from tiny_runs import tiny
from torch import Tensor

from benchmark import methods
from benchmark.data.images import load
from benchmark.methods.base import Method, Moment
from benchmark.negatives import VARIANTS
from benchmark.plan.config import RunConfig
from benchmark.plan.sections import ViewsConfig
from benchmark.run import run
from benchmark.running.device import GpuFull, Runtime
from benchmark.running.processes import ALONE
from benchmark.running.signals import Stopped
from benchmark.training.batches import Batches, DeviceImages
from benchmark.training.loop import Trainer, TrainingHooks
from benchmark.training.optimiser import make_optimiser, schedule
from benchmark.training.step import optimise
from benchmark.views import recipes, render

NO_DROP = {"model": {"drop_path": 0.0}}
AT = Moment(1, 2, 5, 10)  # no frozen layer, no warm-up


def prepared(config: RunConfig, data: Path, device: str) -> tuple[Method, Batches]:
    torch.manual_seed(0)
    where = torch.device(device)
    images = DeviceImages(load(data, "mini", "train").images, where)
    auxiliary = DeviceImages(load(data, "mini-aux", "aux").images, where)
    method = methods.build(config, where)
    method.modules().train()
    both = {"imagenet": auxiliary, "dti": auxiliary}
    return method, Batches(config, images, both, recipe=method.batch_recipe())


def steps(method: Method, batches: Batches, config: RunConfig, count: int) -> list[dict[str, float]]:
    optimiser, seen = make_optimiser(method, config.train), []
    for number in range(count):
        schedule(optimiser, config.train, batches.batch_size, batches.steps_per_epoch, AT)
        losses = optimise(method, optimiser, batches.batch(0, number), config.train, ALONE, AT)
        seen.append({name: value.item() for name, value in losses.items()})
    return seen


def state_of(method: Method) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in method.modules().state_dict().items()}


@on_devices
def test_steps_in_float32_are_the_cpus(device: str, mini_data: Path) -> None:
    config = tiny(**NO_DROP)
    (ours, batches), (reference, plain) = (prepared(config, mini_data, where) for where in (device, "cpu"))
    found, expected = steps(ours, batches, config, 3), steps(reference, plain, config, 3)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    for (name, one), other in zip(state_of(ours).items(), state_of(reference).values(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-2, msg=lambda text, name=name: f"{name}: {text}")


@on_devices
def test_a_step_in_bf16_is_that_in_float32_within_its_rounding(device: str, mini_data: Path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        config = tiny(train={"precision": precision}, **NO_DROP)
        method, batches = prepared(config, mini_data, device)
        losses.append(steps(method, batches, config, 1)[0])
        assert all(tensor.isfinite().all() for tensor in state_of(method).values())
    assert losses[1]["loss"] == pytest.approx(losses[0]["loss"], rel=0.02)


@on_devices
@pytest.mark.parametrize("protocol", ["paper", "authors"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_in_both_protocols(device: str, variant: str, protocol: str, mini_data: Path) -> None:
    config = tiny(variant=variant, protocol=protocol)
    method, batches = prepared(config, mini_data, device)
    [losses] = steps(method, batches, config, 1)
    assert all(value == value and abs(value) < 100 for value in losses.values())
    assert ("negative" in losses) == (variant != "dino")


@on_devices
def test_views_are_the_cpus(device: str) -> None:
    """On a GPU this is the compiled form, or says on stderr why it is not."""
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    for seed, recipe in enumerate(recipes.view_recipes(ViewsConfig(global_size=64, local_size=32))):
        params = recipes.draw(recipe, 40, 32, 32, torch.Generator().manual_seed(seed))
        ours = render.render(images.to(device), params, recipe.size).cpu()
        torch.testing.assert_close(ours, render.render(images, params, recipe.size), atol=1e-4, rtol=0)


@on_devices
def test_a_stopped_training_resumes_and_ends(device: str, mini_data: Path, tmp_path: Path) -> None:
    config, asked = tiny(**NO_DROP), 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 4

    def trainer(**options: Any) -> Trainer:
        method, batches = prepared(config, mini_data, device)
        hooks = TrainingHooks(say=lambda line: None, **options)
        return Trainer(method, batches, config.train, 0, tmp_path, "me", hooks)

    with pytest.raises(Stopped, match="step 4 of 10"):
        trainer(should_stop=should_stop).train()
    resumed = trainer()
    summary = resumed.train()
    assert resumed.step == 10 and summary.resumed == 1 and summary.losses["loss"] > 0


class TestOnCudaAlone:
    pytestmark = only_cuda

    def test_a_step_waits_for_nothing(self, mini_data: Path) -> None:
        config = tiny()
        method, batches = prepared(config, mini_data, "cuda")
        optimiser = make_optimiser(method, config.train)
        schedule(optimiser, config.train, batches.batch_size, batches.steps_per_epoch, AT)
        first, second = batches.batch(0, 0), batches.batch(0, 1)
        optimise(method, optimiser, first, config.train, ALONE, AT)  # allocates, chooses kernels
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            optimise(method, optimiser, second, config.train, ALONE, AT)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def test_a_full_gpu_is_one_line_and_the_run_stays_to_do(self, mini_data: Path, tmp_path: Path) -> None:
        taken = []
        try:
            for size in (2**30, 2**26, 2**22, 2**18):
                with pytest.raises(torch.OutOfMemoryError):
                    while True:
                        taken.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
            with pytest.raises(GpuFull, match="fewer --jobs"):
                run(tiny(), tmp_path, mini_data, Runtime("cuda"))
        finally:
            taken.clear()
            torch.cuda.empty_cache()
        assert run(tiny(), tmp_path, mini_data, Runtime("cuda")) is not None
