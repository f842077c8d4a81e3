"""`bench perf`: that the plain recipe computes the same as ours, and that what is counted is what is there."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import tiny

from benchmark.detection.knn import knn_accuracy
from benchmark.detection.scores import ood_scores
from benchmark.errors import BenchError
from benchmark.methods.base import Batch, Moment
from benchmark.methods.contrastive import nt_xent
from benchmark.perf import measure, reference, scoring, step
from benchmark.plan.config import RunConfig
from benchmark.running.processes import ALONE
from benchmark.training.optimiser import make_optimiser, schedule
from benchmark.training.step import optimise
from benchmark.views.recipes import IMAGENET, view_recipes

CPU = torch.device("cpu")


@pytest.mark.parametrize("variant", ["combined", "dino"])
def test_the_plain_recipe_and_ours_give_the_same_weights_from_the_same_views(variant: str) -> None:
    config = tiny(variant=variant, model={"drop_path": 0.0}, negatives={"weight": 0.7}, train={"lr": 0.1})
    method = step.build(config, CPU)
    images = step.noise_images(config)
    ours, plain = step.OurSteps(method, images), reference.PlainStep(method)
    optimiser = make_optimiser(method, method.config.train)
    # Adam turns rounding into steps where the gradient is zero (the keys' bias); a larger eps does not.
    for group in (*optimiser.param_groups, *plain.optimiser.param_groups):
        group["eps"] = 1e-4
    start = [parameter.detach().clone() for parameter in method.student.parameters()]
    for number in range(3):
        moment, batch = Moment(1, 2, 10 + number, 20), ours.batches.batch(1, number)
        schedule(optimiser, config.train, 8, 10, moment)
        losses = optimise(method, optimiser, batch, config.train, ALONE, moment)
        assert plain(plain_batch(batch), moment, 10) == pytest.approx(losses["loss"].item(), rel=1e-4)
    moved = [float((a - b).detach().abs().max()) for a, b in zip(start, method.student.parameters(), strict=True)]
    assert max(moved) > 1e-3, "the steps must have changed something to compare"
    for name, b in plain_state(plain).items():
        a = method.modules().state_dict()[name]
        torch.testing.assert_close(a, b, rtol=2e-3, atol=3e-5, msg=lambda text, name=name: f"{name}: {text}")


def plain_batch(batch: Batch) -> reference.PlainBatch:
    def each(views: Any, globals_: int) -> list[torch.Tensor]:
        return [*views["globals"].chunk(globals_), *views["locals"].chunk(2)]

    return each(batch.positives, 2), [each(views, 1) for views in batch.negatives]


def plain_state(plain: reference.PlainStep) -> dict[str, torch.Tensor]:
    networks = torch.nn.ModuleDict({"student": plain.student, "teacher": plain.teacher})
    return {**networks.state_dict(), "centre": plain.centre}


def test_the_plain_pipeline_is_pillow_when_nothing_is_left_to_chance() -> None:
    first, _, _ = view_recipes(tiny().views)
    still = replace(first, size=48, scale=(1, 1), ratio=(1, 1), flip_p=1.0, jitter_p=0.0, grayscale_p=0.0, blur_p=0.0)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    picture = (
        Image.fromarray(image).resize((48, 48), Image.Resampling.BICUBIC).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    )
    wanted = (np.asarray(picture) / 255 - IMAGENET.mean) / IMAGENET.std
    got = reference.pipeline(still)(Image.fromarray(image)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_plain_negatives_are_what_their_names_say() -> None:
    random.seed(0)
    np.random.seed(0)
    image = np.arange(32 * 32 * 3).reshape(32, 32, 3)
    turns = [np.rot90(image, quarters) for quarters in range(4)]

    def drawn(transform: str) -> set[int]:
        made = [reference.negative_image(image, transform) for _ in range(60)]
        return {next(k for k, turn in enumerate(turns) if (one == turn).all()) for one in made}

    assert drawn("rot") == {1, 2, 3} and drawn("rot360") == {0, 1, 2, 3} and drawn("none") == {0}
    shuffled = reference.negative_image(image, "pixels")
    assert (shuffled != image).any() and {tuple(p) for p in shuffled.reshape(-1, 3)} == {
        tuple(p) for p in image.reshape(-1, 3)
    }
    patches = {image[r : r + 8, c : c + 8].tobytes() for r in range(0, 32, 8) for c in range(0, 32, 8)}
    cut = reference.negative_image(image, "perm-16")
    assert (cut != image).any()
    assert {cut[r : r + 8, c : c + 8].tobytes() for r in range(0, 32, 8) for c in range(0, 32, 8)} == patches


def test_views_of_the_plain_recipe_have_the_shapes_of_ours() -> None:
    config = tiny()
    positives, negatives = reference.PlainViews(config, step.noise_images(config))[3]
    assert [view.shape[-1] for view in positives] == [32, 32, 16, 16]
    assert [[view.shape[-1] for view in views] for views in negatives] == [[32, 16, 16]] * 2


def test_flops_are_those_of_the_products_written_down_one_by_one() -> None:
    config = tiny(variant="combined")

    def network(size: int) -> tuple[int, int]:
        """FLOPs of one view forward: of the patch embedding, and of everything after it."""
        width, depth, patch = 24, 2, 8
        patches = (size // patch) ** 2
        tokens = patches + 1
        block = 2 * tokens * width * (3 * width + width + 2 * 4 * width) + 2 * 2 * tokens * tokens * width
        head = 2 * (width * 16 + 16 * 16 + 16 * 8 + 8 * 16)
        return 2 * patches * width * 3 * patch**2, depth * block + head

    total = 2 * sum(network(32))  # the teacher sees the two global views
    for size, views in ((32, 2 + 1 + 1), (16, 2 + 2 + 2)):
        embedding, rest = network(size)
        # Backward: gradients of weights and of inputs, but none of the pixels.
        total += views * (2 * embedding + 3 * rest)
    assert step.pair_flops(config) == pytest.approx(total, rel=1e-6)


def test_live_bytes_count_a_known_computation() -> None:
    with step.LiveBytes() as counted:
        one = torch.zeros(1000)  # 4 kB
        two = one + 1  # 8 kB
        view = two[10:]  # no memory of its own
        three = two * 2  # 12 kB: the most
        del one, three
        four = view.sum()
    assert counted.peak == 12_000
    assert counted.live == 4_000 + four.element_size()
    del two, view
    assert counted.live == four.element_size()


def test_a_step_holds_the_activations_of_one_resolution_at_a_time() -> None:
    """What `losses` with a `backward` promises: less memory than the whole graph at once."""
    config = tiny(variant="dino", train={"batch": 64}, model={"drop_path": 0.0}, views={"local_views": 12})
    in_parts = step.step_memory(config)
    mode, method = step._pretended(config)
    backward = method.losses

    def whole(batch: Batch, moment: Moment, _: Callable[[torch.Tensor], None]) -> dict[str, torch.Tensor]:
        losses = backward(batch, moment)
        losses["loss"].backward()
        return losses

    method.losses = whole  # type: ignore[method-assign]
    with mode, step.LiveBytes() as at_once:
        step._pretended_step(config, method, 64, 0)
    assert in_parts["step"] < 0.8 * at_once.peak
    assert in_parts["all"] == in_parts["weights"] + in_parts["optimiser"] + in_parts["step"]
    double = step.step_memory(tiny(variant="dino", train={"batch": 128}, views={"local_views": 12}))
    assert double["step"] == pytest.approx(2 * in_parts["step"], rel=0.1)


def test_plain_scores_and_plain_votes_agree_with_ours() -> None:
    rng = torch.Generator().manual_seed(1)
    features, bank = torch.randn(50, 16, generator=rng), torch.randn(300, 16, generator=rng)
    labels, bank_labels = torch.randint(10, (50,), generator=rng), torch.randint(10, (300,), generator=rng)
    torch.testing.assert_close(
        scoring.plain_scores(features, bank).double(), ood_scores(features, bank, scoring.TAU), rtol=1e-4, atol=1e-4
    )
    assert scoring.plain_knn(features, labels, bank, bank_labels) == pytest.approx(
        knn_accuracy(features, labels, bank, bank_labels, scoring.KS, scoring.KNN_TAU)
    )
    torch.testing.assert_close(scoring.plain_mahalanobis(features, bank), scoring.our_mahalanobis(features, bank))
    torch.testing.assert_close(
        scoring.plain_nt_xent(features[:25], features[25:], 0.3), nt_xent(features[:25], features[25:], 0.3)
    )


def test_laps_sum_the_parts_of_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.0, 13.0, 14.0, 17.0])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    laps = measure.Laps(CPU)
    laps.start()
    for _ in range(2):
        laps("views")
        laps("backward")
    assert laps.seconds() == {"views": 2.0, "backward": 5.0}
    assert laps.seconds() == {}


def test_a_difference_within_the_spread_is_called_none() -> None:
    fast, near, slow = (measure.Spread.of(values) for values in ([10, 12, 11], [9, 10.5, 10], [5, 4, 6]))
    assert (fast.median, fast.low, fast.high, fast.n) == (11, 10, 12, 3)
    assert measure.ratio_text(fast, slow) == "2.2 times"
    assert measure.ratio_text(fast, near).startswith("no difference")
    assert str(slow) == "5 (4 to 6, n = 3)"


def test_tasks_take_turns() -> None:
    order: list[str] = []
    spreads = measure.alternate({name: lambda name=name: order.append(name) or len(order) for name in "ab"}, 3)
    assert order == list("ababab")
    assert spreads["a"].median == 3 and spreads["b"].median == 4


def test_what_trains_nothing_has_no_step() -> None:
    config = RunConfig.model_validate({"in_dist": "mini", "method": {"name": "untrained"}})
    with pytest.raises(BenchError, match="untrained"):
        step.build(config, CPU)
