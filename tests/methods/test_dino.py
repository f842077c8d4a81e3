"""The paper's losses and updates against loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_runs import tiny

from benchmark import methods
from benchmark.methods import dino, schedules
from benchmark.methods.base import Batch, Moment, Views
from benchmark.methods.dino import Dino, centre_rows, negative_loss, positive_loss
from benchmark.models.heads import DinoHead, TextHead
from benchmark.plan.methods import DinoConfig

TAU = 0.1


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(x - top) for x in row]
    return [x / sum(powers) for x in powers]


def test_positive_loss_is_the_mean_over_pairs_of_different_views() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 3, 7), torch.softmax(3 * torch.randn(2, 3, 7), -1)
    total, pairs = 0.0, 0
    for seen in range(2):
        for view in range(5):
            if view == seen:
                continue
            pairs += 1
            for image in range(3):
                p = softmax((student[view, image].double() / TAU).tolist())
                target = teacher[seen, image].double().tolist()
                total -= sum(t * math.log(q) for t, q in zip(target, p, strict=True)) / 3
    assert pairs == 8
    assert positive_loss(student, teacher, TAU).item() == pytest.approx(total / pairs, rel=1e-5)


def test_paper_has_18_pairs() -> None:
    """2 global and 8 local views: a mean over 18 pairs, so scaling the count of views keeps the size of the loss."""
    student, teacher = torch.zeros(10, 4, 64), torch.softmax(torch.randn(2, 4, 64), -1)
    assert positive_loss(student, teacher, TAU).item() == pytest.approx(math.log(64), rel=1e-6)


def test_negative_loss_is_the_cross_entropy_from_uniform_and_its_floor_is_ln_k() -> None:
    torch.manual_seed(1)
    logits = torch.randn(9, 4, 11)
    total, divergence = 0.0, 0.0
    for row in logits.reshape(-1, 11).double():
        p = softmax((row / TAU).tolist())
        total -= sum(math.log(q) for q in p) / 11
        divergence += sum((1 / 11) * math.log((1 / 11) / q) for q in p)
    assert negative_loss(logits, TAU).item() == pytest.approx(total / 36, rel=1e-5)
    assert negative_loss(logits, TAU).item() - math.log(11) == pytest.approx(divergence / 36, rel=1e-5)
    assert negative_loss(torch.zeros(9, 4, 4096), TAU).item() == pytest.approx(8.3178, abs=1e-4)


def random_batch(kinds: int, images: int = 4, seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)

    def views(globals_: int) -> Views:
        return {
            "globals": torch.randn(globals_ * images, 3, 32, 32, generator=rng),
            "locals": torch.randn(2 * images, 3, 16, 16, generator=rng),
        }

    return Batch(views(2), tuple(views(1) for _ in range(kinds)), torch.full((images,), -1))


def build(**changes: object) -> Dino:
    torch.manual_seed(3)
    method = methods.build(tiny(**({"model": {"drop_path": 0.0}} | changes)), torch.device("cpu"))
    assert isinstance(method, Dino)
    return method


@pytest.mark.parametrize(("together", "passes"), [(dino.PASS_VALUES, 2), (1, 6), (4 * 3 * 32 * 32 * 3, 3)])
def test_losses_of_a_batch_follow_the_definition_view_by_view(
    together: int, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each view goes through the networks alone here, and the terms are put together as the paper does
    (methods/PAPER.md, "Loss")."""
    monkeypatch.setattr(dino, "PASS_VALUES", together)
    method, batch, moment = build(negatives={"weight": 0.7}), random_batch(2), Moment(1, 2, 6, 10)
    method.centre.copy_(torch.randn(16))
    got = method.losses(batch, moment)

    def logits(network: torch.nn.ModuleDict, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([network["head"](network["backbone"](image[None]))[0] for image in images]).double()

    tau_t = 0.01  # epoch 1 of 2 is the last: the end of the schedule
    seen = logits(method.teacher, batch.positives["globals"])
    p_t = torch.softmax((seen - method.centre) / tau_t, -1).reshape(2, 4, 16)
    views = (batch.positives["globals"], batch.positives["locals"])
    student = torch.cat([logits(method.student, images) for images in views])
    log_s = torch.log_softmax(student / TAU, -1).reshape(4, 4, 16)
    positive = sum(-(p_t[i] * log_s[v]).sum(-1).mean() for i in range(2) for v in range(4) if v != i) / 6
    negative = 0.0
    for views in batch.negatives:
        each = torch.cat([logits(method.student, views["globals"]), logits(method.student, views["locals"])])
        negative = negative + 0.5 * (-torch.log_softmax(each / TAU, -1).mean(-1)).mean()
    assert got["positive"].item() == pytest.approx(float(positive.detach()), rel=1e-4)
    assert got["negative"].item() == pytest.approx(float(negative.detach()), rel=1e-4)
    assert got["loss"].item() == pytest.approx(float(positive.detach()) + 0.7 * float(negative.detach()), rel=1e-4)

    # The gradients too, when each pass is sent back before the next one is computed.
    wanted = torch.autograd.grad(positive + 0.7 * negative, method.trainable())
    parts: list[torch.Tensor] = []

    def backward(part: torch.Tensor) -> None:
        part.backward()
        parts.append(part.detach())

    in_parts = method.losses(batch, moment, backward)
    assert len(parts) == passes and float(sum(parts)) == pytest.approx(got["loss"].item(), rel=1e-5)
    assert in_parts["loss"].item() == pytest.approx(got["loss"].item(), rel=1e-6)
    for parameter, gradient in zip(method.trainable(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def test_in_bf16_the_passes_change_nothing_and_the_logits_stay_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several backward passes within one autocast, which keeps its copies of the weights from one to the next."""
    method, batch, moment = build(), random_batch(2), Moment(1, 2, 6, 10)
    gradients = []
    for together in (dino.PASS_VALUES, 1):
        monkeypatch.setattr(method, "_pass_values", together)

        def backward(part: torch.Tensor) -> None:
            with torch.autocast("cpu", enabled=False):
                part.backward()

        with torch.autocast("cpu", torch.bfloat16):
            if together == 1:
                method.losses(batch, moment, backward)
                gradients.append([parameter.grad for parameter in method.trainable()])
            else:
                loss = method.losses(batch, moment)["loss"]
        if together != 1:
            gradients.append(torch.autograd.grad(loss, method.trainable()))
    for one, two in zip(*gradients, strict=True):
        assert one is not None and two is not None
        assert float((one - two).norm()) <= 0.02 * float(one.norm()) + 1e-4

    features, seen = torch.randn(4, 24), []
    for kind in (DinoHead(24, method.settings), TextHead(24, method.settings)):
        last = kind.mlp if isinstance(kind, DinoHead) else kind.first
        handle = last.register_forward_hook(lambda module, given, made: seen.append(made))
        with torch.autocast("cpu", torch.bfloat16):
            logits = kind(features)
        handle.remove()
        hidden = seen[-1].double()
        if isinstance(kind, DinoHead):
            unit = hidden / hidden.norm(dim=1, keepdim=True)
            exact = unit @ (kind.scale * torch.nn.functional.normalize(kind.direction.double(), dim=1)).T
        else:
            exact = torch.nn.functional.gelu(seen[-1]).double() @ kind.last.weight.double().T + kind.last.bias.double()
        assert seen[-1].dtype == torch.bfloat16, "the rest is to be fast"
        torch.testing.assert_close(logits.double(), exact, rtol=1e-5, atol=1e-6)


def test_who_is_normalised_together_is_no_matter_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dino, "PASS_VALUES", 1)
    config = tiny(model={"backbone": "resnet18", "args": {}, "drop_path": 0.0})
    method = methods.build(config, torch.device("cpu"))
    passes: list[torch.Tensor] = []
    method.losses(random_batch(2), Moment(1, 2, 6, 10), passes.append)
    assert len(passes) == 2, "one a resolution"


def test_gradients_reach_the_student_alone() -> None:
    method = build()
    method.losses(random_batch(2), Moment(0, 2, 0, 10))["loss"].backward()
    assert all(parameter.grad is not None for parameter in method.trainable())
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


@pytest.mark.parametrize(
    "model", [{}, {"backbone": "small_convnet", "args": {"width": 8}}], ids=["layer normalisation", "batch"]
)
def test_teacher_sees_negatives_costs_time_and_changes_nothing(model: dict[str, object]) -> None:
    """Nor do the running statistics, with which the teacher is evaluated: the run has the same name."""
    plain, slip = (
        build(method={"teacher_sees_negatives": sees}, **({"model": {"drop_path": 0.0, **model}} if model else {}))
        for sees in (False, True)
    )
    batch, moment = random_batch(2), Moment(0, 2, 0, 10)
    assert plain.losses(batch, moment)["loss"].item() == slip.losses(batch, moment)["loss"].item()
    assert slip.teacher.training == plain.teacher.training
    after = slip.final_state()
    assert all(torch.equal(tensor, after[name]) for name, tensor in plain.final_state().items())


def test_teacher_and_centre_follow_the_student() -> None:
    method, batch, moment = build(), random_batch(2), Moment(1, 2, 6, 10)
    method.losses(batch, moment)
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter.add_(torch.randn_like(parameter))
    before = [p.double().clone() for p in method.teacher.parameters()]
    teacher, shown = method.teacher, batch.positives["globals"]
    rows = torch.cat([teacher["head"](teacher["backbone"](image[None])) for image in shown])
    method.after_update(moment)
    momentum = 1 - (1 - 0.996) * (math.cos(math.pi * 6 / 10) + 1) / 2
    for old, student, new in zip(before, method.student.parameters(), method.teacher.parameters(), strict=True):
        torch.testing.assert_close(
            new.double(), momentum * old + (1 - momentum) * student.detach().double(), rtol=1e-5, atol=1e-6
        )
    torch.testing.assert_close(method.centre, 0.1 * rows.detach().mean(0), rtol=1e-4, atol=1e-6)


def test_centre_of_the_authors_follows_two_rows_of_each_device() -> None:
    rows = torch.arange(32.0)[:, None].expand(32, 3)  # 16 images in two views; 4 devices with 4 images each
    settings = DinoConfig(centre="two-rows", centre_shards=4)
    assert centre_rows(rows, settings)[:, 0].tolist() == [0, 1, 4, 5, 8, 9, 12, 13]
    assert centre_rows(rows, DinoConfig()).shape == (32, 3)


def test_last_layer_is_frozen_in_the_first_epoch_alone() -> None:
    method = build()
    for epoch, frozen in ((0, True), (1, False)):
        moment = Moment(epoch, 2, 5 * epoch, 10)
        method.losses(random_batch(2), moment)["loss"].backward()
        method.before_update(moment)
        assert all((p.grad is None) == frozen for p in method.student["head"].last_layer())
        assert method.student["head"].mlp[0].weight.grad is not None


def test_dino_head_is_scaled_cosines_of_a_unit_bottleneck() -> None:
    torch.manual_seed(0)
    head = DinoHead(6, DinoConfig(classes=5, head_hidden=8, head_bottleneck=4)).double()
    with torch.no_grad():
        head.scale.copy_(torch.rand(5, 1) + 0.5)
    x = torch.randn(3, 6).double()
    hidden = head.mlp(x)
    for b in range(3):
        unit = hidden[b] / math.sqrt(sum(float(v) ** 2 for v in hidden[b]))
        for k in range(5):
            direction = head.direction[k] / head.direction[k].norm()
            expected = float(head.scale[k]) * sum(float(u) * float(d) for u, d in zip(unit, direction, strict=True))
            assert head(x)[b, k].item() == pytest.approx(expected, rel=1e-9)
    # norm_last_layer is off: the scale learns. The MLP has three layers.
    assert head.scale.requires_grad and sum(isinstance(m, torch.nn.Linear) for m in head.mlp) == 3


def test_text_head_is_two_linear_layers() -> None:
    head = TextHead(6, DinoConfig(classes=5, head="text", head_hidden=8))
    assert [tuple(p.shape) for p in head.parameters()] == [(8, 6), (8,), (5, 8), (5,)]


def test_paper_head_sizes() -> None:
    head = DinoHead(384, DinoConfig())
    assert [tuple(p.shape) for p in head.parameters() if p.ndim == 2] == [
        (4096, 256),
        (4096, 1),
        (2048, 384),
        (2048, 2048),
        (256, 2048),
    ]


def test_alarm_rings_when_the_positive_loss_sits_at_ln_k() -> None:
    method = build()
    assert "collapse" in method.alarms({"positive": math.log(16)}, Moment(1, 2, 9, 10))[0]
    assert method.alarms({"positive": 0.8 * math.log(16)}, Moment(1, 2, 9, 10)) == []
    assert method.alarms({"positive": math.log(16)}, Moment(0, 20, 0, 100)) == []  # where every training starts


@pytest.mark.parametrize(
    ("positive", "negative", "epoch", "rings"),
    [
        (0.992, 1.008, 1, True),  # in shares of ln K
        (0.992, 1.008, 0, False),  # where every training starts
        (0.985, 1.008, 1, False),
        (0.992, 1.02, 1, False),
        (0.992, None, 1, False),  # without negatives a slow start is none of theirs
    ],
)
def test_an_early_alarm_where_positives_and_negatives_are_both_answered_uniformly(
    positive: float, negative: float | None, epoch: int, rings: bool
) -> None:
    means = {"positive": positive * math.log(16)} | ({} if negative is None else {"negative": negative * math.log(16)})
    alarms = build().alarms(means, Moment(epoch, 50, 10 * epoch, 500))
    assert [alarm.split(":")[0] for alarm in alarms] == (["uniform"] if rings else [])


def test_final_state_round_trip() -> None:
    one, two = build(), methods.build(tiny(seed=5), torch.device("cpu"))
    with torch.no_grad():
        one.centre.normal_()
    two.load_final_state(one.final_state())
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(one.embed(images), two.embed(images))
        assert isinstance(two, Dino)
        torch.testing.assert_close(one.centre, two.centre)


# Schedules ------------------------------------------------------------------------------------------------------------


def test_schedules_at_the_papers_numbers() -> None:
    steps, warmup = 500 * 390, 30 * 390
    assert schedules.warmup_cosine(0, steps, warmup, 0.002, 1e-6) == 0.0
    assert schedules.warmup_cosine(warmup - 1, steps, warmup, 0.002, 1e-6) == pytest.approx(0.002)
    assert schedules.warmup_cosine(warmup, steps, warmup, 0.002, 1e-6) == pytest.approx(0.002)
    middle = warmup + (steps - warmup) // 2
    assert schedules.warmup_cosine(middle, steps, warmup, 0.002, 1e-6) == pytest.approx((0.002 + 1e-6) / 2)
    assert schedules.warmup_cosine(steps, steps, warmup, 0.002, 1e-6) == pytest.approx(1e-6)
    assert schedules.cosine(0, 10, 0.04, 0.4) == pytest.approx(0.04)
    assert schedules.cosine(10, 10, 0.04, 0.4) == pytest.approx(0.4)
    assert schedules.cosine(5, 10, 0.996, 1.0) == pytest.approx(0.998)


def test_teacher_temperature_is_linear_over_all_epochs() -> None:
    method = build(train={"epochs": 5})
    got = [method.teacher_temperature(Moment(epoch, 5, 0, 10)) for epoch in range(5)]
    assert got == pytest.approx([0.055, 0.04375, 0.0325, 0.02125, 0.01])


@pytest.mark.parametrize("warmup", [0.0, 1.0, 2.5, 4.0])
def test_the_weight_of_negatives_rises_step_by_step(warmup: float) -> None:
    """Added up step by step, beside the formula: 4 epochs of 5 steps."""
    method = build(negatives={"weight": 0.7, "weight_warmup_epochs": warmup}, train={"epochs": 4})
    expected, by_hand = 0.7 if warmup == 0 else 0.0, []
    for _ in range(20):
        by_hand.append(min(expected, 0.7))
        expected += 0.7 / (5 * warmup) if warmup else 0.0
    got = [method.negative_weight(Moment(step // 5, 4, step, 20)) for step in range(20)]
    assert got == pytest.approx(by_hand)
    assert (got[0] == 0) == (warmup > 0) and got[-1] == pytest.approx(0.7 * (19 / 20 if warmup == 4 else 1))


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (1, 0.1), (5, 0.5), (9, 0.9), (10, 1.0), (17, 1.0)])
def test_the_loss_has_the_weight_of_the_moment(step: int, share: float) -> None:
    """Each term, and each gradient, put together from those of DINO without and with negatives of whole weight."""
    settings = {"weight": 0.7, "weight_warmup_epochs": 2.0}
    batch, moment = random_batch(2), Moment(step // 5, 4, step, 20)

    def gradients(**negatives: float) -> tuple[dict[str, float], list[torch.Tensor]]:
        method = build(negatives=negatives, train={"epochs": 4})
        losses = method.losses(batch, moment, lambda part: part.backward())  # type: ignore[no-untyped-call]
        return {name: float(loss.detach()) for name, loss in losses.items()}, [
            torch.zeros_like(p) if p.grad is None else p.grad for p in method.trainable()
        ]

    got, slopes = gradients(**settings)
    whole, with_all = gradients(weight=0.7)
    alone, with_none = gradients(weight=0.0)
    assert got["loss"] == pytest.approx(got["positive"] + share * 0.7 * got["negative"], rel=1e-6)
    # What the log and the alarms read is L_neg itself, also where it has no weight yet.
    assert {k: v for k, v in got.items() if k != "loss"} == {k: v for k, v in whole.items() if k != "loss"}
    assert got["positive"] == pytest.approx(alone["loss"], rel=1e-6)
    for one, all_, none in zip(slopes, with_all, with_none, strict=True):
        torch.testing.assert_close(one, none + share * (all_ - none), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("step", [0, 5, 10])
def test_the_alarm_of_a_uniform_response_does_not_mind_the_weight(step: int) -> None:
    near = {"positive": 1.001 * math.log(16), "negative": 1.001 * math.log(16), "loss": 0.0}
    apart = near | {"positive": 0.8 * math.log(16)}
    method = build(negatives={"weight_warmup_epochs": 2.0}, train={"epochs": 50})
    assert "uniform" in method.alarms(near, Moment(1, 50, step, 500))[0]
    assert method.alarms(apart, Moment(1, 50, step, 500)) == []
