"""What of a training hangs on the seed, the epoch and the step, and what does not: drawn anew for each, and only so."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import TINY, tiny
from torch import Tensor

from benchmark.files import read_npz
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.store.folders import RunFolder
from benchmark.training.batches import Batches, DeviceImages
from benchmark.views.recipes import IMAGENET, BatchRecipe, Block, ViewRecipe, ViewSpec

CPU = torch.device("cpu")
# The whole image of 32 pixels, and nothing is done to it; the same cut somewhere.
STILL = ViewRecipe(32, (1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, flip_p=0, padding=0)
CUT = ViewRecipe(24, (1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, flip_p=0, padding=0)


def numbered(count: int) -> DeviceImages:
    """Image i is i everywhere, so that a view tells which image it is of."""
    return DeviceImages(np.tile(np.arange(count, dtype=np.uint8)[:, None, None, None], (1, 32, 32, 3)), CPU)


def made(recipe: BatchRecipe, count: int = 40, **changes: Any) -> Batches:
    images = numbered(count)
    return Batches(tiny(**changes), images, {"imagenet": images, "dti": images}, recipe=recipe)


def both(recipe: ViewRecipe) -> BatchRecipe:
    block = {"a": Block((ViewSpec((recipe,)),))}
    return BatchRecipe(block, block)


def shown(views: Tensor) -> list[int]:
    """Which images these views are of."""
    return (255 * (views[:, 0, 0, 0] * IMAGENET.std[0] + IMAGENET.mean[0])).round().int().tolist()


def epochs(batches: Batches, negatives: bool, count: int = 3) -> list[list[list[int]]]:
    """The images of each step, by epoch: of the positives, or of the first kind of negative."""
    found = []
    for epoch in range(count):
        steps = [batches.batch(epoch, step) for step in range(batches.steps_per_epoch)]
        found.append([shown((each.negatives[0] if negatives else each.positives)["a"]) for each in steps])
    return found


def flat(epoch: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(epoch))


@pytest.mark.parametrize("negatives", [False, True])
def test_every_seed_takes_the_images_in_an_order_of_its_own(negatives: bool) -> None:
    orders = [epochs(made(both(STILL), variant="imgn", seed=seed), negatives) for seed in (0, 1, 0)]
    assert orders[0] == orders[2]
    for one, other in zip(*orders[:2], strict=True):
        assert one != other and sorted(flat(one)) == sorted(flat(other)) == list(range(40))


def test_training_images_that_are_negatives_too_come_in_another_order() -> None:
    """Else each image would be pulled and pushed in one and the same step."""
    batches = made(both(STILL), variant="rot-in-dist")
    for positives, negatives in zip(epochs(batches, False), epochs(batches, True), strict=True):
        one, other = flat(positives), flat(negatives)
        assert sorted(one) == sorted(other) == list(range(40))
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 10
        # Of 8 images 1.6 are among another step's 8 by chance; each of the five steps would have all of them.
        assert sum(len({*a} & {*b}) for a, b in zip(positives, negatives, strict=True)) < 25


def test_two_kinds_of_negative_from_one_set_take_other_images() -> None:
    outliers = {"name": "outlier-exposure", "classes": 4, "outliers": 2}
    config: RunConfig = validate(RunConfig, {**TINY, "variant": "imgn", "method": outliers}, "test")
    batches = Batches(config, numbered(40), {"imagenet": numbered(40)}, recipe=both(STILL))
    first, second = (shown(views["a"]) for views in batches.batch(0, 0).negatives)
    assert len({*first} & {*second}) < 7


@pytest.mark.parametrize("order", ["each-epoch", "fixed"])
def test_the_training_images_are_shuffled_anew_each_epoch_whatever_the_auxiliary_ones_do(order: str) -> None:
    changes: dict[str, Any] = {"data": {"aux_order": order}}
    of_positives = epochs(made(both(STILL), variant="imgn", **changes), False)
    own = epochs(made(both(STILL), variant="rot-in-dist", **changes), True)
    for some in (of_positives, own):
        assert all(one != other for one, other in itertools.combinations(some, 2))
    of_negatives = epochs(made(both(STILL), variant="imgn", **changes), True)
    assert (of_negatives[0] == of_negatives[1] == of_negatives[2]) == (order == "fixed")


def places(batches: Batches, epoch: int, step: int) -> Tensor:
    """Where the crops of a step's positives lie, (B, 2): images that count their columns and their rows."""
    views = batches.batch(epoch, step).positives["a"][:, :, 0, 0].double()
    std, mean = (torch.tensor(three, dtype=torch.float64) for three in (IMAGENET.std, IMAGENET.mean))
    return (255 * (views * std + mean))[:, :2].round().int()


def test_crops_are_drawn_anew_in_every_step_of_every_epoch_by_every_seed() -> None:
    rows, columns = np.mgrid[:32, :32].astype(np.uint8)
    one = np.stack([rows, columns, np.zeros_like(rows)], -1)
    same = DeviceImages(np.tile(one, (40, 1, 1, 1)), CPU)

    def batches(seed: int) -> Batches:
        return Batches(tiny(variant="dino", seed=seed), same, {}, recipe=both(CUT))

    drawn = [places(batches(seed), epoch, step) for seed in (0, 1) for epoch in (0, 1) for step in (0, 1)]
    for some in drawn:
        assert some.min() >= 0 and some.max() <= 8 and len(some.unique(dim=0)) > 1
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(drawn, 2))
    assert torch.equal(drawn[-1], places(batches(1), 1, 1))


def test_whose_background_an_image_is_shown_before_changes_from_step_to_step() -> None:
    """By how many places along the batch: a shift of 1 to 7, drawn for each step of each epoch of each seed."""
    levels = np.arange(40, dtype=np.uint8) * 3 + 20
    pictures = np.broadcast_to(levels[:, None, None, None], (40, 32, 32, 3)).copy()
    pictures[:, 10:20, 8:22] = 250
    recipe = BatchRecipe({"own": Block((ViewSpec((STILL,)),)), "other": Block((ViewSpec((STILL,), 1, "random", 1.0),))})

    def shift(seed: int, epoch: int, step: int) -> int:
        batches = Batches(tiny(variant="dino", seed=seed), DeviceImages(pictures, CPU), {}, recipe=recipe)
        own, other = (shown(batches.batch(epoch, step).positives[name]) for name in ("own", "other"))
        [found] = [by for by in range(8) if np.abs(np.roll(own, by) - np.array(other)).max() <= 1]
        return found

    drawn = np.array([[[shift(seed, epoch, step) for step in range(5)] for epoch in range(3)] for seed in range(2)])
    assert set(drawn.flatten().tolist()) <= set(range(1, 8)) and len(np.unique(drawn)) > 3
    for axis in range(3):
        assert (np.diff(drawn, axis=axis) != 0).any(), ("seed", "epoch", "step")[axis]


def test_networks_begin_with_weights_of_their_seed(tmp_path: Path, mini_data: Path) -> None:
    def features(seed: int, folder: str) -> np.ndarray:
        raw = {**TINY, "variant": "none", "method": {"name": "untrained"}, "seed": seed}
        config: RunConfig = validate(RunConfig, raw, "test")
        record = run(config, tmp_path / folder, mini_data, Runtime("cpu", threads=1))
        assert record is not None
        found: np.ndarray = read_npz(RunFolder(tmp_path / folder / record.name).features)["mini/test"]
        return found

    first, again, other = features(0, "a"), features(0, "b"), features(1, "a")
    assert np.array_equal(first, again) and np.abs(first - other).max() > 0.05
