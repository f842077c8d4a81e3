"""The loop: optimiser, clipping, alarms, checkpoints, and the promise that a killed run loses nothing but time."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import tiny

from benchmark import methods
from benchmark.data.images import load
from benchmark.errors import BenchError
from benchmark.methods.base import Method
from benchmark.plan.config import RunConfig
from benchmark.running.processes import Ranks
from benchmark.running.signals import Stopped
from benchmark.training import optimiser as optimisers
from benchmark.training.batches import Batches, DeviceImages
from benchmark.training.checkpoint import load_checkpoint, save_checkpoint
from benchmark.training.loop import Trainer, TrainingHooks
from benchmark.training.metrics import NonFiniteLoss, Speed, Summary

CPU = torch.device("cpu")


def prepare(config: RunConfig, data: Path) -> tuple[Method, Batches]:
    torch.manual_seed(0)
    images = DeviceImages(load(data, "mini", "train").images, CPU)
    auxiliary = {"imagenet": DeviceImages(load(data, "mini-aux", "aux").images, CPU)}
    return methods.build(config, CPU), Batches(config, images, auxiliary)


def fit(config: RunConfig, data: Path, folder: Path, **options: Any) -> tuple[Method, Summary]:
    folder.mkdir(exist_ok=True)
    method, batches = prepare(config, data)
    outside = TrainingHooks(say=options.pop("say", lambda line: None), **options)
    return method, Trainer(method, batches, config.train, config.seed, folder, "me", outside).train()


def same_weights(one: Method, two: Method) -> bool:
    pairs = zip(one.modules().state_dict().items(), two.modules().state_dict().items(), strict=True)
    return all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


@pytest.mark.parametrize(
    "model",
    [
        {"drop_path": 0.3},
        # batch normalisation's statistics are a state of their own, and weights are channels last
        {"drop_path": 0.0, "backbone": "small_convnet", "args": {"width": 8}},
    ],
)
def test_stopping_and_resuming_after_any_step_gives_the_same_weights(
    tmp_path: Path, mini_data: Path, model: dict[str, Any]
) -> None:
    config = tiny(model=model)
    whole, summary = fit(config, mini_data, tmp_path / "whole")
    assert summary.steps == 10
    for stop_after in (1, 4, 5, 9):
        folder, count = tmp_path / f"stop{stop_after}", 0

        def should_stop(limit: int = stop_after) -> bool:
            nonlocal count
            count += 1
            return count == limit

        with pytest.raises(Stopped, match=f"step {stop_after} of 10"):
            fit(config, mini_data, folder, should_stop=should_stop)
        resumed, again = fit(config, mini_data, folder)
        assert same_weights(whole, resumed) and again.resumed == 1 and again.losses == pytest.approx(summary.losses)
        steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == list(range(1, 11))


def test_other_seed_other_weights(tmp_path: Path, mini_data: Path) -> None:
    one, _ = fit(tiny(), mini_data, tmp_path / "one")
    two, _ = fit(tiny(seed=1), mini_data, tmp_path / "two")
    assert not same_weights(one, two)


@pytest.mark.parametrize(("drop_path", "same"), [(0.5, False), (0.0, True)])
def test_ranks_draw_their_own_dropped_paths_and_nothing_else(
    tmp_path: Path, mini_data: Path, drop_path: float, same: bool
) -> None:
    """Each rank's own number on the same images, without the others: alike, they would drop the same paths for theirs.

    A process that meets nobody: its exchanges are with itself, its images all of the batch.
    """
    config = tiny(model={"drop_path": drop_path}, train={"epochs": 1})
    trained = [fit(config, mini_data, tmp_path / f"rank{rank}", ranks=Ranks(rank))[0] for rank in (0, 1)]
    again, _ = fit(config, mini_data, tmp_path / "again", ranks=Ranks(1))
    assert same_weights(*trained) == same and same_weights(trained[1], again)


def test_every_step_of_every_seed_has_draws_of_its_own(tmp_path: Path, mini_data: Path) -> None:
    """What PyTorch's own generator is seeded with when a step comes to its losses, drop-path's draws among them."""
    seen: list[int] = []
    for seed in (0, 1):
        config = tiny(seed=seed)
        method, batches = prepare(config, mini_data)
        honest = method.losses

        def losses(*rest: Any, honest: Any = honest) -> dict[str, torch.Tensor]:
            seen.append(torch.initial_seed())
            made: dict[str, torch.Tensor] = honest(*rest)
            return made

        method.losses = losses  # type: ignore[method-assign]
        folder = tmp_path / str(seed)
        folder.mkdir()
        Trainer(method, batches, config.train, seed, folder, "me", TrainingHooks(say=lambda line: None)).train()
    assert len(seen) == len(set(seen)) == 20


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from tiny_runs import tiny
from benchmark.run import run
from benchmark.running.device import Runtime
run(tiny(train={{"epochs": 6}}, model={{"drop_path": 0.2}}), Path(sys.argv[1]), Path(sys.argv[2]),
    Runtime(device="cpu", threads=1, checkpoint_seconds=0))
"""


def test_sigkill_at_a_random_moment_then_resume_is_bit_for_bit_the_undisturbed_run(
    tmp_path: Path, mini_data: Path
) -> None:
    script = CHILD.format(tests=str(Path(__file__).parents[1]))

    def start(results: Path) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", script, str(results), str(mini_data)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )

    assert start(tmp_path / "whole").wait(120) == 0
    [whole] = (tmp_path / "whole").glob("*/weights.safetensors")
    child = start(tmp_path / "killed")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "killed").glob("*/checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(float(np.random.default_rng().uniform(0, 0.3)))
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not list((tmp_path / "killed").glob("*/weights.safetensors")), "killed too late to prove anything"
    assert start(tmp_path / "killed").wait(120) == 0
    [resumed] = (tmp_path / "killed").glob("*/weights.safetensors")
    one, two = (json.loads((path.parent / "record.json").read_text()) for path in (whole, resumed))
    assert two["training"]["resumed"] == 1
    assert tensors(whole) == tensors(resumed)
    assert one["scores"] == two["scores"]


def tensors(path: Path) -> dict[str, bytes]:
    from safetensors.numpy import load_file

    return {name: array.tobytes() for name, array in load_file(path).items()}


def test_clipping_bounds_each_tensor_on_its_own() -> None:
    parameters = [
        torch.nn.Parameter(torch.zeros(3)),
        torch.nn.Parameter(torch.zeros(2, 2)),
        torch.nn.Parameter(torch.zeros(1)),
    ]
    gradients = [[6.0, 8.0, 0.0], [[0.1, 0.2], [0.3, 0.4]], None]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else torch.tensor(gradient)
    optimisers.clip_each(parameters, 3.0)
    assert parameters[0].grad is not None and parameters[1].grad is not None
    assert parameters[0].grad.tolist() == pytest.approx([6.0 * 3 / 10, 8.0 * 3 / 10, 0.0], rel=1e-5)
    assert parameters[1].grad.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert parameters[2].grad is None


def test_global_views_alone_train_too(tmp_path: Path, mini_data: Path) -> None:
    _, summary = fit(tiny(views={"local_views": 0}, train={"epochs": 1}), mini_data, tmp_path / "run")
    assert math.isfinite(summary.losses["loss"]) and summary.losses["negative"] > 0


def test_optimiser_decays_matrices_only_and_follows_the_schedules(tmp_path: Path, mini_data: Path) -> None:
    config = tiny(train={"lr": 0.032, "epochs": 4, "warmup_epochs": 1.0, "weight_decay": [0.1, 0.5]})
    method, _ = prepare(config, mini_data)
    optimiser = optimisers.make_optimiser(method, method.config.train)
    decayed, plain = (group["params"] for group in optimiser.param_groups)
    assert all(p.ndim > 1 for p in decayed) and all(p.ndim == 1 for p in plain) and plain
    assert len(decayed) + len(plain) == len(method.trainable())
    fit(config, mini_data, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in lines]
    assert rates[0] == 0.0 and max(rates) == pytest.approx(0.032 * 8 / 256) and rates.index(max(rates)) == 4
    assert lines[0]["weight_decay"] == pytest.approx(0.1) and lines[-1]["weight_decay"] < 0.5
    assert all(a["weight_decay"] < b["weight_decay"] for a, b in itertools.pairwise(lines))


def test_non_finite_loss_stops_and_names_the_step(tmp_path: Path, mini_data: Path) -> None:
    config = tiny()
    (tmp_path / "run").mkdir()
    method, batches = prepare(config, mini_data)
    honest, calls = method.losses, 0

    def poisoned(*args: Any) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        losses = honest(*args)
        if calls == 4:
            losses["loss"] = losses["loss"] * float("nan")
        return losses

    method.losses = poisoned  # type: ignore[method-assign]
    with pytest.raises(NonFiniteLoss, match="at step 3 of 10"):
        outside = TrainingHooks(checkpoint_seconds=0, say=lambda line: None)
        Trainer(method, batches, config.train, 0, tmp_path / "run", "me", outside).train()
    saved = load_checkpoint(tmp_path / "run/checkpoint.pt", "me")
    assert saved is not None and saved["step"] == 3  # the last step before the damage
    assert all(torch.isfinite(value).all() for value in saved["modules"].values())


def test_collapse_is_said_once_and_recorded(tmp_path: Path, mini_data: Path) -> None:
    config = tiny(train={"epochs": 4, "lr": 1e-9, "min_lr": 0.0})  # never leaves the uniform start
    method, batches = prepare(config, mini_data)
    with torch.no_grad():  # a uniform response whatever the image
        method.student["head"].scale.zero_()  # type: ignore[attr-defined]
    said: list[str] = []
    summary = Trainer(method, batches, config.train, 0, tmp_path, "me", TrainingHooks(say=said.append)).train()
    assert len([line for line in said if "ALARM" in line]) == 1 and "collapse" in summary.alarms[0]


# Checkpoints ----------------------------------------------------------------------------------------------------------


def content(step: int) -> dict[str, Any]:
    return {"identity": "me", "step": step, "tensor": torch.full((5,), float(step))}


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_broken_checkpoint_gives_way_to_the_previous_one(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, content(1))
    save_checkpoint(path, content(2))
    raw = bytearray(path.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
    path.write_bytes({"cut": raw[: len(raw) // 2], "flip": raw, "empty": b""}[damage])
    said: list[str] = []
    saved = load_checkpoint(path, "me", said.append)
    assert saved is not None and saved["step"] == 1 and "broken checkpoint" in said[0]


def test_all_broken_or_of_another_run_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    assert load_checkpoint(path, "me") is None
    save_checkpoint(path, content(1))
    with pytest.raises(BenchError, match="another run"):
        load_checkpoint(path, "you")
    path.write_bytes(b"junk")
    with pytest.raises(BenchError, match="no readable checkpoint"):
        load_checkpoint(path, "me", lambda line: None)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path}/owned",)

    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"identity": "me", "evil": Evil()})
    with pytest.raises(BenchError):
        load_checkpoint(path, "me", lambda line: None)
    assert not (tmp_path / "owned").exists()


def test_a_failing_save_leaves_the_older_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, content(1))
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, content(2))
    monkeypatch.undo()
    saved = load_checkpoint(path, "me")
    assert saved is not None and saved["step"] == 1 and [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


# Scored on the way ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "epochs", "expected"), [(1, 4, [1, 2, 3]), (2, 4, [2]), (2, 5, [2, 4]), (3, 3, []), (None, 4, [])]
)
def test_a_method_is_looked_at_after_these_epochs(
    tmp_path: Path, mini_data: Path, every: int | None, epochs: int, expected: list[int]
) -> None:
    """Not at the end, which the record is about; each time after whole epochs, and in the mode that it is then left."""
    config, asked = tiny(train={"epochs": epochs}), []
    method, batches = prepare(config, mini_data)
    trainer = Trainer(method, batches, config.train, 0, tmp_path, "me", TrainingHooks(say=lambda line: None))

    def look(epoch: int) -> dict[str, Any]:
        assert trainer.step == 5 * epoch
        asked.append(epoch)
        method.modules().eval()
        return {"epoch": epoch}

    trainer.hooks = TrainingHooks(say=lambda line: None, evaluate=look, evaluate_every=every)
    assert [one["epoch"] for one in trainer.train().trajectory] == asked == expected
    assert all(module.training for module in method.modules().modules())


def test_a_look_is_kept_over_a_stop_and_taken_once(tmp_path: Path, mini_data: Path) -> None:
    """Stopped before and after looks: each epoch has one entry, and the weights are the same."""
    config = tiny(train={"epochs": 3}, model={"drop_path": 0.3})
    whole, _ = fit(config, mini_data, tmp_path / "whole")
    for stop_after in (4, 5, 6, 10, 11):
        folder, calls, taken = tmp_path / f"stop{stop_after}", 0, []

        def should_stop(limit: int = stop_after) -> bool:
            nonlocal calls
            calls += 1
            return calls == limit

        def look(epoch: int, taken: list[int] = taken) -> dict[str, Any]:
            taken.append(epoch)
            return {"epoch": epoch}

        with pytest.raises(Stopped):
            fit(config, mini_data, folder, should_stop=should_stop, evaluate=look, evaluate_every=1)
        resumed, summary = fit(config, mini_data, folder, evaluate=look, evaluate_every=1)
        assert [one["epoch"] for one in summary.trajectory] == taken == [1, 2], stop_after
        assert same_weights(whole, resumed)


def test_a_stop_within_a_look_saves_the_step_and_the_look_is_taken_again(tmp_path: Path, mini_data: Path) -> None:
    config = tiny(train={"epochs": 3})

    def stopped(epoch: int) -> dict[str, Any]:
        raise Stopped("in the middle")

    with pytest.raises(Stopped, match="in the middle"):
        fit(config, mini_data, tmp_path, evaluate=stopped, evaluate_every=1)
    saved = load_checkpoint(tmp_path / "checkpoint.pt", "me")
    assert saved is not None and saved["step"] == 5
    _, summary = fit(config, mini_data, tmp_path, evaluate=lambda epoch: {"epoch": epoch}, evaluate_every=1)
    assert [one["epoch"] for one in summary.trajectory] == [1, 2]


def test_looks_take_no_time_of_the_steps() -> None:
    now = 0.0
    speed = Speed(8, 100.0, lambda: now)
    now = 2.0
    speed.measure(4)
    now = 32.0  # 30 seconds for a look
    speed.leave_out(30.0)
    now = 34.0
    assert speed.measure(4) == 16 and speed.seconds == 104 and speed.images_a_second == 16 and speed.seconds_for(2) == 1


def test_looks_are_for_one_process(tmp_path: Path, mini_data: Path) -> None:
    method, batches = prepare(tiny(), mini_data)
    with pytest.raises(BenchError, match=r"eval\.every: .* one process, not in 2") as caught:
        Trainer(method, batches, tiny().train, 0, tmp_path, "me", TrainingHooks(Ranks(0, 2), evaluate_every=1))
    assert "\n" not in str(caught.value)
