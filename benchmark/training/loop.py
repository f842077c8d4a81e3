"""The training loop: schedules, alarms, checkpoint and resume. It knows nothing of any one method."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from benchmark.errors import BenchError
from benchmark.files import atomic_write
from benchmark.methods.base import Method, Moment
from benchmark.models.backbones import normalises_over_images
from benchmark.plan.config import TrainConfig
from benchmark.running.processes import ALONE, Ranks
from benchmark.running.signals import Stopped
from benchmark.running.status import Progress
from benchmark.seeds import derive_seed
from benchmark.training.batches import Batches
from benchmark.training.checkpoint import load_checkpoint, save_checkpoint
from benchmark.training.optimiser import make_optimiser, schedule
from benchmark.training.step import optimise


class NonFiniteLoss(BenchError):
    """The loss became NaN or infinite; training stopped before a checkpoint could keep the damage."""


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
                step,
                steps,
                config.epochs,
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
