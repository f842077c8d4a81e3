"""The training loop: schedules, alarms, checkpoint and resume. It knows nothing of any one method."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.errors import BenchError
from benchmark.methods.base import Method, Moment
from benchmark.models.backbones import normalises_over_images
from benchmark.plan.sections import TrainConfig
from benchmark.running.processes import ALONE, Ranks
from benchmark.running.signals import Stopped
from benchmark.running.status import Progress
from benchmark.seeds import derive_seed
from benchmark.training.batches import Batches
from benchmark.training.checkpoint import load_checkpoint, save_checkpoint
from benchmark.training.metrics import Losses, Speed, Summary, append, truncate
from benchmark.training.optimiser import make_optimiser, schedule
from benchmark.training.step import optimise, refuse_lost_gradients


@dataclass(frozen=True)
class TrainingHooks:
    """What a training has to do with the world around it.

    checkpoint_seconds: 0 saves after every step. before_write: may raise to forbid a checkpoint or metrics (another
    process has taken the run over). ranks: who computes each step together; rank 0 alone reads and writes the folder
    and calls `report`. evaluate: scores the method as it stands after so many epochs, for the summary's trajectory; it
    raises Stopped where it is to stop before it is through. Called every `evaluate_every` epochs but the last, which
    the record is about. begin: gives the method its first weights, where there is no checkpoint.
    """

    ranks: Ranks = ALONE
    checkpoint_seconds: float = 300.0
    should_stop: Callable[[], bool] = lambda: False
    before_write: Callable[[], None] = lambda: None
    report: Callable[[Progress], None] = lambda progress: None
    say: Callable[[str], None] = print
    evaluate: Callable[[int], dict[str, Any]] = lambda epoch: {}
    evaluate_every: int | None = None
    begin: Callable[[], None] = lambda: None


class Trainer:
    """Trains a method on batches, from the checkpoint in `folder` on where there is one.

    identity: the run's id; a checkpoint of another run is refused. Raises BenchError when no checkpoint in the folder
    can be read, or ranks cannot share the training.
    """

    def __init__(
        self,
        method: Method,
        batches: Batches,
        config: TrainConfig,
        seed: int,
        folder: Path,
        identity: str,
        hooks: TrainingHooks = TrainingHooks(),
    ) -> None:
        _check_shareable(method, hooks)
        refuse_lost_gradients(method.modules(), method.device, config.precision)
        self.method, self.batches, self.config, self.seed, self.identity = method, batches, config, seed, identity
        self.hooks, self.ranks = hooks, hooks.ranks
        method.ranks = hooks.ranks
        self.metrics, self.checkpoint = folder / "metrics.jsonl", folder / "checkpoint.pt"
        self.steps = config.epochs * batches.steps_per_epoch
        self.optimiser = make_optimiser(method, config)
        self.step, self.summary, self.losses = 0, Summary(steps=self.steps, epochs=config.epochs), Losses({})
        self._resume()
        self.speed = Speed(batches.batch_size, self.summary.seconds)
        self.saved_at = time.monotonic()

    def train(self) -> Summary:
        """Do the steps that are left.

        Raises NonFiniteLoss naming the step, Stopped after saving when `should_stop` says so on any rank, RankLost
        when another rank is gone.
        """
        self.method.modules().train()
        steps_per_epoch = self.batches.steps_per_epoch
        report_every = max(1, min(50, self.steps // 100))
        while self.step < self.steps:
            epoch, inside = divmod(self.step, steps_per_epoch)
            if inside == 0:
                self._evaluate(epoch)
            moment = Moment(epoch, self.config.epochs, self.step, self.steps)
            self._one_step(moment, inside)
            epoch_ends = inside + 1 == steps_per_epoch
            if epoch_ends or len(self.losses.window) >= report_every:
                self._flush()
            if epoch_ends:
                self.summary.losses = self.losses.end_epoch(steps_per_epoch)
                self._note_alarms(moment)
            self._save_or_stop()
        self._save()
        return self.summary

    def _evaluate(self, epoch: int) -> None:
        """Score the method where that is due after so many epochs; training sees nothing of it.

        A step seeds its own draws, so that of the method only the networks' mode, which scoring changes, is put back.
        Whatever checkpoint lies between a scoring and the step after it is from before it, so that none is done twice.
        """
        if not self.hooks.evaluate_every or not epoch or epoch % self.hooks.evaluate_every:
            return
        began = time.monotonic()
        try:
            with torch.compiler.set_stance("force_eager"):  # as at the end; compiled, last digits may differ
                self.summary.trajectory.append(self.hooks.evaluate(epoch))
        except Stopped:
            self._save()
            raise
        self.method.modules().train()
        self.speed.leave_out(time.monotonic() - began)

    def _one_step(self, moment: Moment, inside: int) -> None:
        # Drop-path draws from the global generator: seeded by the step, it needs no place in the checkpoint. Ranks
        # draw apart, so that with drop-path, and rotation's shifts, other numbers of ranks train with other draws.
        torch.manual_seed(derive_seed(self.seed, "step", moment.step) + self.ranks.rank)
        schedule(self.optimiser, self.config, self.batches.batch_size, self.batches.steps_per_epoch, moment)
        batch = self.batches.batch(moment.epoch, inside)
        self.losses.window.append(optimise(self.method, self.optimiser, batch, self.config, self.ranks, moment))
        self.step += 1

    def _flush(self) -> None:
        """Bring the losses of the last steps to the host; check, sum, write and report them."""
        count = len(self.losses.window)
        if not count:
            return
        means = self.losses.bring(self.step, self.steps)
        speed = self.speed.measure(count)
        self.summary.seconds, self.summary.pairs_per_second = self.speed.seconds, self.speed.images_a_second
        if not self.ranks.is_main:
            return
        self.hooks.before_write()
        first = self.optimiser.param_groups[0]
        line = {"step": self.step, "epoch": round(self.step / self.batches.steps_per_epoch, 4), **means}
        line |= {"lr": first["lr"], "weight_decay": first["weight_decay"], "pairs_per_second": round(speed, 2)}
        append(self.metrics, line)
        left = self.speed.seconds_for(self.steps - self.step)
        self.hooks.report(Progress(self.step, self.steps, self.config.epochs, means, speed, left))

    def _note_alarms(self, moment: Moment) -> None:
        """Keep the alarms that still hold; say each when it first rings."""
        alarms = self.method.alarms(self.summary.losses, moment)
        known = {alarm.split(":")[0] for alarm in self.summary.alarms}
        for alarm in alarms:
            if alarm.split(":")[0] not in known:
                self.hooks.say(f"ALARM in epoch {moment.epoch}: {alarm}")
        self.summary.alarms = alarms

    def _save_or_stop(self) -> None:
        due = self.step < self.steps and time.monotonic() - self.saved_at >= self.hooks.checkpoint_seconds
        stop, due = self.ranks.any_of(self.hooks.should_stop(), due)  # clocks and signals differ between ranks
        if stop:
            self._save()
            self.ranks.leave()
            raise Stopped(f"stopped at step {self.step} of {self.steps}; checkpoint saved")
        if due:
            self._save()

    def _save(self) -> None:
        self._flush()
        if self.ranks.is_main:
            self.hooks.before_write()
            content = {
                "identity": self.identity,
                "step": self.step,
                "modules": self.method.modules().state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "summary": json.dumps(vars(self.summary)),
                "epoch_sums": self.losses.epoch_sums,
            }
            try:
                save_checkpoint(self.checkpoint, content)
            except FileNotFoundError:
                # Whoever took the run over while this process slept has cleared its temporary file away: say that.
                self.hooks.before_write()
                raise
        self.saved_at = time.monotonic()

    def _resume(self) -> None:
        """Go on from the checkpoint, where there is one; all ranks then hold what rank 0 holds."""
        modules = self.method.modules()
        saved = self.ranks.from_main(lambda: load_checkpoint(self.checkpoint, self.identity, self.hooks.say))
        if saved:
            modules.load_state_dict(saved["modules"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.step, self.summary = saved["step"], Summary(**json.loads(saved["summary"]))
            self.losses = Losses(dict(saved["epoch_sums"]))
            self.summary.resumed += 1
            self.hooks.say(f"resumed at step {self.step} of {self.steps}")
        else:
            self.hooks.begin()
        self.ranks.copy_from_main_(modules.state_dict().values())
        if self.ranks.is_main:
            truncate(self.metrics, self.step)


def _check_shareable(method: Method, hooks: TrainingHooks) -> None:
    """Raises BenchError where several ranks would compute something else than one, or wait for one that scores."""
    ranks = hooks.ranks
    if ranks.world == 1:
        return
    if hooks.evaluate_every:
        raise BenchError(f"eval.every: a run is scored on the way where it trains in one process, not in {ranks.world}")
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
