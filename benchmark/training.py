"""The training loop: optimiser, schedules, alarms, checkpoint and resume. It knows nothing of any one method."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark import schedules
from benchmark.batches import Batches, derive_seed
from benchmark.config import TrainConfig
from benchmark.distributed import ALONE, Ranks
from benchmark.errors import BenchError, first_line
from benchmark.files import atomic_write
from benchmark.methods.base import Batch, Method, Moment
from benchmark.models import normalises_over_images


class NonFiniteLoss(BenchError):
    """The loss became NaN or infinite; training stopped before a checkpoint could keep the damage."""


class Stopped(Exception):
    """Training was asked to stop and has saved a checkpoint."""


@dataclass
class Progress:
    """What the loop tells its caller now and then."""

    moment: Moment
    losses: dict[str, float]
    pairs_per_second: float
    seconds_left: float


@dataclass
class Summary:
    """How training went, for the record."""

    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0  # spent in steps, over all resumes
    pairs_per_second: float = 0.0  # ID images (each with its negatives) a second
    resumed: int = 0
    losses: dict[str, float] = field(default_factory=dict)  # means over the last epoch
    alarms: list[str] = field(default_factory=list)


def train(
    method: Method,
    batches: Batches,
    config: TrainConfig,
    seed: int,
    folder: Path,
    *,
    identity: str,
    ranks: Ranks = ALONE,
    checkpoint_seconds: float = 300.0,
    should_stop: Callable[[], bool] = lambda: False,
    before_write: Callable[[], None] = lambda: None,
    report: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = print,
) -> Summary:
    """Train `method`, continuing from the checkpoint in `folder` where there is one.

    identity: the run's id; a checkpoint of another run is refused. checkpoint_seconds: 0 saves after every step.
    before_write: may raise to forbid a checkpoint or metrics (another process has taken the run over).
    ranks: who computes each step together; rank 0 alone reads and writes the folder and calls `report`.
    Raises NonFiniteLoss naming the step, Stopped after saving when `should_stop` says so on any rank, RankLost when
    another rank is gone, BenchError when no checkpoint in the folder can be read or ranks cannot share the training.
    """
    _check_shareable(method, ranks)
    method.ranks = ranks
    steps_per_epoch = batches.steps_per_epoch
    steps = config.epochs * steps_per_epoch
    modules = method.modules()
    optimiser = make_optimiser(method)
    step, summary = 0, Summary(steps=steps, epochs=config.epochs)
    metrics, checkpoint = folder / "metrics.jsonl", folder / "checkpoint.pt"
    saved = ranks.from_main(lambda: load_checkpoint(checkpoint, identity, say))
    if saved:
        modules.load_state_dict(saved["modules"])
        optimiser.load_state_dict(saved["optimiser"])
        step, summary = saved["step"], Summary(**json.loads(saved["summary"]))
        summary.resumed += 1
        say(f"resumed at step {step} of {steps}")
    ranks.copy_from_main_(modules.state_dict().values())
    if ranks.is_main:
        _truncate(metrics, step)
    modules.train()
    window: list[dict[str, Tensor]] = []
    epoch_sums: dict[str, float] = dict(saved["epoch_sums"]) if saved else {}
    report_every = max(1, min(50, steps // 100))
    begun, last_save, last_flush, timed = time.monotonic(), time.monotonic(), time.monotonic(), 0
    seconds_before = summary.seconds

    def flush() -> None:
        """Bring the losses of the last steps to the host, the only wait for a GPU; check, sum and write them."""
        nonlocal last_flush, timed
        if not window:
            return
        values = {name: torch.stack([losses[name] for losses in window]).double().cpu() for name in window[0]}
        first = step - len(window)
        for name, series in values.items():
            bad = (~torch.isfinite(series)).nonzero()
            if len(bad):
                at = first + int(bad[0, 0])
                raise NonFiniteLoss(
                    f"{name} loss is {series[at - first].item()} at step {at} of {steps}; "
                    "the checkpoint from before it is kept; lower train.lr or set train.precision: fp32"
                )
            epoch_sums[name] = epoch_sums.get(name, 0.0) + float(series.sum())
        now = time.monotonic()
        timed += len(window)
        summary.seconds = seconds_before + now - begun
        speed = batches.batch_size * len(window) / max(1e-9, now - last_flush)
        summary.pairs_per_second = batches.batch_size * timed / max(1e-9, now - begun)
        last_flush = now
        means = {name: float(series.mean()) for name, series in values.items()}
        line = {
            "step": step,
            "epoch": round(step / steps_per_epoch, 4),
            **means,
            "lr": optimiser.param_groups[0]["lr"],
            "weight_decay": optimiser.param_groups[0]["weight_decay"],
            "pairs_per_second": round(speed, 2),
        }
        window.clear()
        if not ranks.is_main:
            return
        before_write()
        with open(metrics, "a") as stream:
            stream.write(json.dumps(line) + "\n")
        report(
            Progress(
                Moment(step // steps_per_epoch, config.epochs, step, steps),
                means,
                speed,
                (steps - step) * (now - begun) / max(1, timed),
            )
        )

    def save() -> None:
        nonlocal last_save
        flush()
        if ranks.is_main:
            before_write()
            content = {
                "identity": identity,
                "step": step,
                "modules": modules.state_dict(),
                "optimiser": optimiser.state_dict(),
                "summary": json.dumps(vars(summary)),
                "epoch_sums": epoch_sums,
            }
            save_checkpoint(checkpoint, content)
        last_save = time.monotonic()

    while step < steps:
        epoch, inside = divmod(step, steps_per_epoch)
        moment = Moment(epoch, config.epochs, step, steps)
        # Drop-path draws from the global generator: seeded by the step, it needs no place in the checkpoint. Ranks
        # draw apart, so that with drop-path (and there alone) other numbers of ranks train with other draws.
        torch.manual_seed(derive_seed(seed, "step", step) + ranks.rank)
        schedule(optimiser, config, batches.batch_size, steps_per_epoch, moment)
        losses = optimise(method, optimiser, batches.batch(epoch, inside), config, ranks, moment)
        window.append(losses)
        step += 1
        epoch_ends = step % steps_per_epoch == 0
        if epoch_ends or len(window) >= report_every:
            flush()
        if epoch_ends:
            summary.losses = {name: total / steps_per_epoch for name, total in epoch_sums.items()}
            epoch_sums.clear()
            _note_alarms(method, summary, moment, say)
        save_is_due = step < steps and time.monotonic() - last_save >= checkpoint_seconds
        stop, save_is_due = ranks.any_of(should_stop(), save_is_due)  # clocks and signals differ between ranks
        if stop:
            save()
            ranks.leave()
            raise Stopped(f"stopped at step {step} of {steps}; checkpoint saved")
        if save_is_due:
            save()
    save()
    return summary


def optimise(
    method: Method, optimiser: torch.optim.AdamW, batch: Batch, config: TrainConfig, ranks: Ranks, moment: Moment
) -> dict[str, Tensor]:
    """One step of training on a batch; returns its losses, on the device. Nothing here waits for a GPU."""
    losses = find_gradients(method, batch, config, moment)
    ranks.average_([*(p.grad for p in method.trainable() if p.grad is not None), *losses.values()])
    clip_each(method.trainable(), config.clip)
    method.before_update(moment)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    method.after_update(moment)
    method.lap("update")
    return losses


def find_gradients(method: Method, batch: Batch, config: TrainConfig, moment: Moment) -> dict[str, Tensor]:
    """The forward and backward passes of a step, in the config's precision; returns its losses, on the device."""
    device_type = method.device.type

    def backward(part: Tensor) -> None:
        with torch.autocast(device_type, enabled=False):
            part.backward()  # type: ignore[no-untyped-call]
        method.lap("backward")

    with torch.autocast(device_type, torch.bfloat16, enabled=config.precision == "bf16"):
        losses = method.losses(batch, moment, backward)
    return {name: loss.detach() for name, loss in losses.items()}


def _check_shareable(method: Method, ranks: Ranks) -> None:
    """Raises BenchError where several ranks would compute something else than one."""
    if ranks.world == 1:
        return
    if not method.loss_is_a_mean_over_images:
        raise BenchError(
            f"method.name: {method.config.method.name} compares the images of a batch with one another; "
            f"it trains in one process, not in {ranks.world}"
        )
    if normalises_over_images(method.modules()):
        raise BenchError(
            f"model.backbone: {method.config.model.backbone} normalises over the images of a batch; "
            f"it trains in one process, not in {ranks.world}"
        )


def _note_alarms(method: Method, summary: Summary, moment: Moment, say: Callable[[str], None]) -> None:
    """Keep the alarms that still hold; say each when it first rings."""
    alarms = method.alarms(summary.losses, moment)
    known = {alarm.split(":")[0] for alarm in summary.alarms}
    for alarm in alarms:
        if alarm.split(":")[0] not in known:
            say(f"ALARM in epoch {moment.epoch}: {alarm}")
    summary.alarms = alarms


def make_optimiser(method: Method) -> torch.optim.AdamW:
    """AdamW with weight decay on everything but 1-D parameters (biases, norms)."""
    parameters = [parameter for parameter in method.trainable() if parameter.requires_grad]
    groups = [{"params": [p for p in parameters if p.ndim > 1]}, {"params": [p for p in parameters if p.ndim <= 1]}]
    return torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, fused=True)


def schedule(optimiser: torch.optim.AdamW, config: TrainConfig, batch: int, steps_per_epoch: int, at: Moment) -> None:
    warmup = round(config.warmup_epochs * steps_per_epoch)
    lr = schedules.warmup_cosine(at.step, at.steps, warmup, config.lr * batch / 256, config.min_lr)
    for group in optimiser.param_groups:
        group["lr"] = lr
    start, end = config.weight_decay
    optimiser.param_groups[0]["weight_decay"] = schedules.cosine(at.step, at.steps, start, end)


def clip_each(parameters: list[torch.nn.Parameter], limit: float) -> None:
    """Scale each parameter's gradient to a norm of at most `limit`, tensor by tensor as in DINO, without a GPU sync."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients))
    factors = (limit / (norms + 1e-6)).clamp_(max=1.0)
    torch._foreach_mul_(gradients, list(factors.unbind()))


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all, its own sha256 at its end; the one before becomes *.previous.pt."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getbuffer()
    with atomic_write(path.with_suffix(".new.pt")) as stream:
        stream.write(payload)
        stream.write(hashlib.sha256(payload).digest())
    # Between these two renames only the previous and the new file exist; loading looks at all three.
    if path.exists():
        path.replace(path.with_suffix(".previous.pt"))
    path.with_suffix(".new.pt").replace(path)


def load_checkpoint(path: Path, identity: str, say: Callable[[str], None] = print) -> dict[str, Any] | None:
    """The newest readable checkpoint, or None where there is none.

    Raises BenchError when there are checkpoints but none can be read, or when one belongs to another run.
    """
    found = [p for p in (path.with_suffix(".new.pt"), path, path.with_suffix(".previous.pt")) if p.exists()]
    for candidate in found:
        try:
            content = _read_checkpoint(candidate)
        except Exception as error:
            say(f"{candidate}: broken checkpoint ({first_line(error)}); trying the one before")
            continue
        if content["identity"] != identity:
            raise BenchError(f"{candidate}: belongs to another run ({content['identity'][:8]}, not {identity[:8]})")
        return content
    if found:
        raise BenchError(
            f"{path}: no readable checkpoint: {', '.join(p.name for p in found)} broken; "
            "delete them to start the run afresh"
        )
    return None


def _read_checkpoint(path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    payload, seal = raw[:-32], raw[-32:]
    if hashlib.sha256(payload).digest() != seal:
        raise ValueError("its checksum does not match")
    content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return content


def _truncate(metrics: Path, step: int) -> None:
    """Drop the lines after `step`: a resumed run writes them again. A line cut short by a kill goes too."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            break
    with atomic_write(metrics, "w") as stream:
        stream.write("".join(kept))
