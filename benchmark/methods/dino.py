"""DINO with negative samples: self-distillation on in-distribution images, and a uniform response to negatives.

Rafiee et al. 2022, section 3. Shapes: B images, V views (2 global + the local ones), K soft classes.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmark.detection.occupancy import occupancy
from benchmark.errors import BenchError
from benchmark.methods import schedules
from benchmark.methods.base import Batch, Method, Moment, Outputs, ScoringHead, Views, ignore
from benchmark.models.backbones import build_backbone, keep_statistics, normalises_over_images
from benchmark.models.heads import HEADS
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import DinoConfig
from benchmark.views.recipes import input_of
from benchmark.views.render import evaluation_view

# How many pixel values go through the student together, beyond those of one kind of image in one size. Small passes in
# one spare a GPU launches; large ones are bound by arithmetic anyway, and their activations fill its memory. This is
# what the paper's 128 images in 8 views of 128 pixels have.
PASS_VALUES = 3 * 2**24


def positive_loss(
    student_logits: Tensor,
    teacher_probabilities: Tensor,
    student_temperature: float,
    first: int = 0,
    views: int | None = None,
) -> Tensor:
    """L_pos: mean over pairs of the cross-entropy of the teacher's global view against every *other* student view.

    student_logits (V, B, K), whose first G views are the global ones that the teacher saw; teacher_probabilities
    (G, B, K). With 2 + 8 views there are 2 x 9 = 18 pairs. Returns a scalar in nats; ln K when the student is uniform.

    Of a part of the views alone, `first` is the number of its first view and `views` that of all: the shares of the
    parts sum up to L_pos.
    """
    log_p = torch.log_softmax(student_logits.float() / student_temperature, dim=-1)
    seen = teacher_probabilities.shape[0]
    # Sum over all pairs, less the pairs of a view with itself: no V x G x B x K tensor is made.
    everyone = (teacher_probabilities.sum(0) * log_p.sum(0)).sum()
    same = teacher_probabilities[first : first + len(log_p)]
    itself = (same * log_p[: len(same)]).sum()
    pairs = seen * ((len(log_p) if views is None else views) - 1)
    return (itself - everyone) / (pairs * log_p.shape[1])


def negative_loss(student_logits: Tensor, student_temperature: float) -> Tensor:
    """L_neg: mean over views and images of -(1/K) sum_k log p_s^k. logits (..., K).

    At least ln K, where p_s is uniform: KL(U || p_s) = L_neg - ln K.
    """
    return -torch.log_softmax(student_logits.float() / student_temperature, dim=-1).mean()


class Dino(Method):
    """The paper's method: student, teacher (the student's moving average, and what is evaluated) and centre."""

    loss_is_a_mean_over_images = True

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        super().__init__(config, device)
        assert isinstance(config.method, DinoConfig)
        self.settings = config.method
        sizes = config.views.global_size, config.views.local_size
        backbone, width = build_backbone(config.model, *sizes, config.model.drop_path)
        head = HEADS[self.settings.head](width, self.settings)
        self.student = nn.ModuleDict({"backbone": backbone, "head": head}).to(device)
        # The teacher starts as the student, but drops no paths.
        plain, _ = build_backbone(config.model.model_copy(update={"weights": None}), *sizes, 0.0)
        self.teacher = nn.ModuleDict({"backbone": plain, "head": copy.deepcopy(head)}).to(device).requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())
        self.centre = torch.zeros(self.settings.classes, device=device)
        self._last_teacher_rows: Tensor | None = None
        # Where images are normalised together, who goes with whom is part of the method and no matter of memory.
        together = normalises_over_images(self.student)
        if together and config.model.batch_statistics == "weights":
            keep_statistics(self.student)
            keep_statistics(self.teacher)
            together = False
        if together and not config.chooses_statistics:
            raise BenchError(
                f"model.backbone: {config.model.backbone} has batch normalisation, which networks of its family have "
                "not; such a network cannot be trained with DINO here"
            )
        self._pass_values = math.inf if together else PASS_VALUES
        self._mixes = together and config.model.batch_statistics == "mixture"

    def modules(self) -> nn.ModuleDict:
        modules = nn.ModuleDict({"student": self.student, "teacher": self.teacher})
        modules.register_buffer("centre", self.centre)
        return modules

    def trainable(self) -> list[nn.Parameter]:
        return list(self.student.parameters())

    def losses(self, batch: Batch, moment: Moment, backward: Callable[[Tensor], None] = ignore) -> dict[str, Tensor]:
        """ "loss" = L_pos + lambda L_neg; "positive"; "negative", L_neg itself whatever its weight, and KL(U || p_s)
        where there are negatives."""
        positives, kinds = batch.positives, batch.negatives if self.config.negatives.weight else ()
        with torch.no_grad():
            beside = [views["globals"] for views in kinds] if self._mixes else []
            teacher_logits = _logits(self.teacher, torch.cat([positives["globals"], *beside]))
            teacher_logits = teacher_logits[: len(positives["globals"])].float()
            if self.settings.teacher_sees_negatives and not beside:
                self.teacher.eval()  # nothing comes of it, and no statistics of a batch normalisation must
                for views in batch.negatives:
                    _logits(self.teacher, views["globals"])
                self.teacher.train()
            teacher = torch.softmax((teacher_logits - self.centre) / self.teacher_temperature(moment), dim=-1)
            teacher = teacher.unflatten(0, (2, -1))  # two global views an image
        self._last_teacher_rows = teacher_logits
        self.lap("teacher")
        count, tau, weight = teacher.shape[1], self.settings.student_temperature, self.negative_weight(moment)
        terms: dict[str, list[Tensor]] = defaultdict(list)
        for size in ("globals", "locals"):
            first = 0 if size == "globals" else len(teacher)
            for group in _passes([views[size] for views in (positives, *kinds)], self._pass_values):
                answers = _logits(self.student, torch.cat(list(group.values()))).split([len(x) for x in group.values()])
                parts = []
                for number, logits in zip(group, answers, strict=True):
                    if number == 0:
                        logits = logits.unflatten(0, (-1, count))
                        share = positive_loss(logits, teacher, tau, first, _rows(positives) // count)
                        parts.append(share)
                    else:
                        # The mean over all views of a kind; Combined: both kinds, half weight each.
                        share = negative_loss(logits, tau) * (len(logits) / _rows(kinds[number - 1]) / len(kinds))
                        parts.append(weight * share)
                    terms["positive" if number == 0 else "negative"].append(share)
                terms["loss"].append(torch.stack(parts).sum())
                self.lap("student forward")
                backward(terms["loss"][-1])
        result = {name: torch.stack(shares).sum() for name, shares in terms.items()}
        if kinds:
            result["kl_from_uniform"] = result["negative"].detach() - math.log(self.settings.classes)
        return result

    def teacher_temperature(self, moment: Moment) -> float:
        """tau_t, linear from epoch to epoch."""
        start, end = self.settings.start_temperature(self.config.in_dist), self.settings.teacher_temperature_end
        return schedules.linear_by_epoch(moment.epoch, moment.epochs, start, end)

    def before_update(self, moment: Moment) -> None:
        if moment.epoch < self.settings.frozen_last_layer_epochs:
            for parameter in self.student["head"].last_layer():  # type: ignore[operator, union-attr]
                parameter.grad = None

    @torch.no_grad()
    def after_update(self, moment: Moment) -> None:
        momentum = schedules.cosine(moment.step, moment.steps, self.settings.teacher_momentum, 1.0)
        teacher: list[Tensor] = list(self.teacher.parameters())
        student: list[Tensor] = [parameter.detach() for parameter in self.student.parameters()]
        torch._foreach_mul_(teacher, momentum)
        torch._foreach_add_(teacher, student, alpha=1 - momentum)
        assert self._last_teacher_rows is not None
        rows = centre_rows(self.ranks.whole_batch(self._last_teacher_rows, views=2), self.settings)
        self.centre.mul_(self.settings.centre_momentum).add_(rows.mean(0), alpha=1 - self.settings.centre_momentum)

    def alarms(self, means: dict[str, float], moment: Moment) -> list[str]:
        uniform = math.log(self.settings.classes)
        # L_pos starts at ln K by construction, so the first tenth of the training says nothing.
        if moment.epoch >= max(1, moment.epochs // 10) and abs(means["positive"] - uniform) < 0.005 * uniform:
            return [f"collapse: L_pos = {means['positive']:.4f} sits at ln K = {uniform:.4f}: the response is uniform"]
        # With negatives both losses at ln K say it sooner: positives are pushed to where the negatives are to be.
        # Seen with group normalisation, and with batch normalisation where tau_t began at 0.04.
        near = {name: abs(means[name] - uniform) < 0.01 * uniform for name in ("positive", "negative") if name in means}
        if moment.epoch >= 1 and len(near) == 2 and all(near.values()):
            return [
                f"uniform: L_pos = {means['positive']:.4f} and L_neg = {means['negative']:.4f} are both near ln K = "
                f"{uniform:.4f}; a lower method.teacher_temperature_start leaves it sooner"
            ]
        return []

    def final_state(self) -> dict[str, Tensor]:
        return {**self.teacher.state_dict(), "centre": self.centre}

    def load_final_state(self, state: dict[str, Tensor]) -> None:
        rest = dict(state)
        self.centre.copy_(rest.pop("centre"))
        self.teacher.load_state_dict(rest)

    def scoring_backbone(self) -> nn.Module:
        backbone: nn.Module = self.teacher["backbone"]
        return backbone

    def recalibrated_after_training(self) -> nn.Module | None:
        return self.scoring_backbone() if self._mixes else None

    def embed(self, images: Tensor) -> Outputs:
        self.teacher.eval()
        views = evaluation_view(images, self.config.views.global_size, *input_of(self.config.model))
        return {"features": self.teacher["backbone"](views).float()}

    def soft_logits(self, outputs: Outputs) -> Tensor:
        logits: Tensor = self.teacher["head"](outputs["features"])
        return logits

    def class_logits(self, outputs: Outputs) -> Tensor:
        """At the temperature at which negatives are pushed to a uniform response: the student's."""
        return self.soft_logits(outputs).float() / self.settings.student_temperature

    def scoring_head(self) -> ScoringHead:
        return ScoringHead(self.teacher["head"], self.settings, self.settings.student_temperature)

    def occupancy(self, logits: Tensor) -> dict[str, float]:
        return occupancy(logits, self.centre.cpu(), self.settings.teacher_temperature_end)


def _logits(network: nn.ModuleDict, images: Tensor) -> Tensor:
    logits: Tensor = network["head"](network["backbone"](images))
    return logits


def _rows(views: Views) -> int:
    """How many views these are in all."""
    return sum(len(block) for block in views.values())


def _passes(images: list[Tensor], most: float) -> Iterator[dict[int, Tensor]]:
    """Images of several kinds, by their number, in groups that go through the student together."""
    group: dict[int, Tensor] = {}
    for number, some in enumerate(images):
        if group and sum(x.numel() for x in (*group.values(), some)) > most:
            yield group
            group = {}
        if len(some):
            group[number] = some
    if group:
        yield group


def centre_rows(teacher_logits: Tensor, settings: DinoConfig) -> Tensor:
    """The teacher's rows (2B, K) that move the centre: all, or the slip of the authors' code
    (methods/PAPER.md, "Oddity 1: the centre follows two samples").

    There, each of `centre_shards` devices took the first two rows of its part of the batch, which are two images in
    their first view, where the two views of every image were meant.
    """
    if settings.centre == "all-rows":
        return teacher_logits
    first_view = teacher_logits[: teacher_logits.shape[0] // 2]
    return torch.cat([shard[:2] for shard in first_view.chunk(settings.centre_shards)])
