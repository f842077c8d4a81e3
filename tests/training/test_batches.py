"""Which images a step takes, and that negatives are made as the variants' table says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_runs import tiny

from benchmark.data.images import load
from benchmark.data.subsets import limited
from benchmark.errors import BenchError
from benchmark.negatives import OURS, VARIANTS, patch_grid, variant
from benchmark.plan.config import RunConfig
from benchmark.plan.training_data import training_data
from benchmark.training.batches import Batches, DeviceImages
from benchmark.views.recipes import IMAGENET, BatchRecipe, Block, ViewRecipe, ViewSpec, multi_crop

CPU = torch.device("cpu")


def numbered(count: int, offset: int = 0) -> DeviceImages:
    """Image i is the constant i + offset, so that a batch tells which images it took."""
    numbers = np.arange(count, dtype=np.uint8)[:, None, None, None] + np.uint8(offset)
    return DeviceImages(np.tile(numbers, (1, 32, 32, 3)), CPU)


def batches(config: RunConfig, train: int = 40, auxiliary: int = 32) -> Batches:
    return Batches(config, numbered(train), {"imagenet": numbered(auxiliary, 100), "dti": numbered(auxiliary, 200)})


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order() -> None:
    made = batches(tiny())
    assert made.steps_per_epoch == 5
    epochs = [torch.cat([made._indices("positive", "in-dist", epoch, step) for step in range(5)]) for epoch in (0, 1)]
    assert all(sorted(epoch.tolist()) == list(range(40)) for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()


def test_auxiliary_images_are_fresh_each_epoch_or_the_same_as_in_the_authors_code() -> None:
    for order, same in (("each-epoch", False), ("fixed", True)):
        made = batches(tiny(data={"aux_order": order}), auxiliary=100)
        first, second = (
            torch.cat([made._indices("negative 0", "imagenet", epoch, step) for step in range(5)]) for epoch in (0, 1)
        )
        assert (first.tolist() == second.tolist()) == same
        assert len(set(first.tolist())) == 40  # 40 different ones of the 100


def test_too_few_auxiliary_images_come_round_again_evenly() -> None:
    made = batches(tiny(), auxiliary=15)
    taken = torch.cat([made._indices("negative 0", "imagenet", 0, step) for step in range(5)])
    counts = np.bincount(taken.numpy(), minlength=15)
    assert counts.sum() == 40 and counts.min() == 2 and counts.max() == 3


def test_a_batch_is_a_function_of_seed_epoch_and_step_alone() -> None:
    one, two = batches(tiny()), batches(tiny())
    one.batch(0, 0)
    one.batch(1, 3)
    for views, again in zip(flat(one.batch(1, 2)), flat(two.batch(1, 2)), strict=True):
        assert torch.equal(views, again)
    assert not torch.equal(flat(one.batch(1, 2))[0], flat(batches(tiny(seed=1)).batch(1, 2))[0])


def flat(batch: object) -> list[torch.Tensor]:
    from benchmark.methods.base import Batch

    assert isinstance(batch, Batch)
    return [tensor for views in (batch.positives, *batch.negatives) for tensor in views.values()]


def test_view_counts_are_the_papers() -> None:
    config = tiny(views={"local_views": 8})
    batch = batches(config).batch(0, 0)
    assert {name: tuple(views.shape) for name, views in batch.positives.items()} == {
        "globals": (2 * 8, 3, 32, 32),
        "locals": (8 * 8, 3, 16, 16),
    }
    assert len(batch.negatives) == 2  # Combined: both kinds
    assert all(
        views["globals"].shape == (8, 3, 32, 32) and views["locals"].shape == (64, 3, 16, 16)
        for views in batch.negatives
    )


def test_lambda_zero_makes_no_negatives() -> None:
    assert batches(tiny(negatives={"weight": 0.0})).batch(0, 0).negatives == ()
    assert batches(tiny(variant="dino")).batch(0, 0).negatives == ()


def test_each_variant_draws_from_its_source() -> None:
    """Constant images stay constant under every transform, up to colour: look at what `take` was asked for."""
    for name, chosen in (VARIANTS | OURS).items():
        made = batches(tiny(variant=name))
        asked: list[str] = []
        for source, images in made.images.items():
            images.take = spy(source, images.take, asked)  # type: ignore[method-assign]
        made.batch(0, 0)
        assert asked == ["in-dist", *(source for negative in chosen.negatives for source in negative.sources)], name


def spy(source: str, take: Callable[[torch.Tensor], torch.Tensor], asked: list[str]) -> Callable:
    def noted(index: torch.Tensor) -> torch.Tensor:
        asked.append(source)
        return take(index)

    return noted


def test_a_joined_negative_is_made_of_a_training_image_and_one_of_the_partners() -> None:
    """Constant images i and 100 + j, blended, are constant: without crops and colours the view shows their mean."""
    config = tiny(variant="blend-imgn")
    crop = ViewRecipe(32, (1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, padding=0)
    spec = Block((ViewSpec((crop,)),))
    made = Batches(config, numbered(40), {"imagenet": numbered(32, 100)}, recipe=BatchRecipe({"a": spec}, {"a": spec}))
    asked: dict[str, torch.Tensor] = {}
    for source, images in made.images.items():
        images.take = keep(source, images.take, asked)  # type: ignore[method-assign]
    values = [denormalised(made.batch(0, step).negatives[0]["a"]) for step in range(5)]
    assert not torch.equal(asked["in-dist"], asked["imagenet"])  # orders of their own
    shares = (values[-1] - (100 + asked["imagenet"])) / (asked["in-dist"] - (100.0 + asked["imagenet"]))
    assert ((shares > 0.28) & (shares < 0.72)).all() and shares.std() > 0.05
    assert len(torch.cat(values).unique()) > 20


@pytest.mark.parametrize(("name", "with_partner"), [("background-in-dist", False), ("foreground-imgn", True)])
def test_negatives_of_backgrounds_and_foregrounds(name: str, with_partner: bool) -> None:
    """Training images with a bright square on dark, partners of one grey: the views show what is left."""
    pictures = np.full((40, 32, 32, 3), 40, np.uint8)
    pictures[:, 10:20, 8:22] = 220
    greys = DeviceImages(np.full((32, 32, 32, 3), 128, np.uint8), CPU)
    crop = ViewRecipe(32, (1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, flip_p=0, padding=0)
    recipe = BatchRecipe({"a": Block((ViewSpec((crop,)),))}, {"a": Block((ViewSpec((crop,)),))})
    made = Batches(tiny(variant=name), DeviceImages(pictures, CPU), {"imagenet": greys}, recipe=recipe)
    view = made.batch(0, 0).negatives[0]["a"][:, 0] * IMAGENET.std[0] + IMAGENET.mean[0]
    inside, outside = 255 * view[:, 13:17, 12:18], 255 * view[:, :7]
    assert outside.mean() == pytest.approx(128 if with_partner else 40, abs=1)
    assert inside.mean() == pytest.approx(220 if with_partner else 40, abs=3)
    assert made.foregrounds.seen == 8 and made.foregrounds.whole == 0
    for draw in ("per-view", "per-image"):  # of whole images, whatever is said of other transforms
        assert tiny(variant=name, negatives={"draw": draw}).recipe_id() == tiny(variant=name).recipe_id()


@pytest.mark.parametrize("background", ["remove", "random"])
def test_views_show_another_background_now_and_then(background: str) -> None:
    """Squares on backgrounds of different greys: the square stays, the background becomes grey or another image's."""
    levels = np.arange(40, dtype=np.uint8) * 3 + 20
    pictures = np.broadcast_to(levels[:, None, None, None], (40, 32, 32, 3)).copy()
    pictures[:, 10:20, 8:22] = 250
    crop = ViewRecipe(32, (1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, flip_p=0, padding=0)
    config = tiny(variant="dino", views={"background": background, "background_p": 0.5})
    asked = multi_crop(config.views)
    specs = [spec for block in asked.positives.values() for spec in block.specs]
    assert len(specs) == 3 and {(spec.background, spec.background_p) for spec in specs} == {(background, 0.5)}
    assert {spec.background for block in asked.negatives.values() for spec in block.specs} == {"keep"}
    recipe = BatchRecipe({"a": Block((replace(specs[0], recipes=(crop,), count=3),))})
    made = Batches(config, DeviceImages(pictures, CPU), {}, recipe=recipe)
    changed = 0
    for step in range(5):
        own = levels[made._indices("positive", "in-dist", 0, step).numpy()].astype(float)
        views = (255 * (made.batch(0, step).positives["a"][:, 0] * IMAGENET.std[0] + IMAGENET.mean[0])).numpy()
        behind = views[:, 2, 2].reshape(3, -1)
        assert np.allclose(views[:, 14, 14], 250, atol=1.5)
        different = np.abs(behind - own) > 1.5
        changed += int(different.sum())
        others = np.full_like(behind, 128) if background == "remove" else None
        for view in range(3):
            for image in np.flatnonzero(different[view]):
                allowed = others[view] if others is not None else np.delete(own, image)
                assert np.abs(allowed - behind[view, image]).min() < 2
    assert 40 < changed < 80  # of 120 views
    assert config.recipe_id() != tiny(variant="dino").recipe_id()


def test_a_view_may_be_another_images_foreground_before_its_own_background() -> None:
    """Squares, each of a level of its own, on backgrounds of another: a view of the recipe's "swap" has the square of
    the image whose background the recipe's "random" shows, before the background of its own."""
    levels = np.arange(40, dtype=np.uint8) * 2 + 20
    pictures = np.broadcast_to(levels[:, None, None, None], (40, 32, 32, 3)).copy()
    pictures[:, 10:20, 8:22] = 250 - levels[:, None, None, None]
    crop = ViewRecipe(32, (1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, flip_p=0, padding=0)
    recipe = BatchRecipe({"own": Block((ViewSpec((crop,)),)), "random": Block((ViewSpec((crop,), 1, "random", 1.0),)),
                          "swap": Block((ViewSpec((crop,), 1, "swap", 1.0),))})  # fmt: skip
    made = Batches(tiny(variant="dino"), DeviceImages(pictures, CPU), {}, recipe=recipe)
    for step in range(5):
        own = levels[made._indices("positive", "in-dist", 0, step).numpy()].astype(float)
        views = made.batch(0, step).positives
        grey = {name: (255 * (view[:, 0] * IMAGENET.std[0] + IMAGENET.mean[0])).numpy() for name, view in views.items()}
        inside, outside = ({name: view[:, y, x] for name, view in grey.items()} for y, x in ((14, 14), (2, 2)))
        others = outside["random"]
        assert np.abs(others - own).min() > 1 and sorted(others.round()) == sorted(own)  # everybody's, nobody's own
        np.testing.assert_allclose(inside["random"], 250 - own, atol=1)
        np.testing.assert_allclose(outside["swap"], own, atol=1)
        np.testing.assert_allclose(inside["swap"], 250 - others, atol=1)
        np.testing.assert_allclose(inside["own"], 250 - own, atol=1)
        np.testing.assert_allclose(outside["own"], own, atol=1)


def test_the_masks_method_is_part_of_the_identity_only_where_it_is_used() -> None:
    for changes, used in (({"variant": "dino"}, False), ({"variant": "blend-imgn"}, False),
                          ({"variant": "background-in-dist"}, True), ({"variant": "foreground-imgn"}, True),
                          ({"variant": "dino", "views": {"background": "remove"}}, True)):  # fmt: skip
        assert ("mask" in tiny(**changes).identity()["data"]) == used, changes


def keep(source: str, take: Callable[[torch.Tensor], torch.Tensor], asked: dict[str, torch.Tensor]) -> Callable:
    def noted(index: torch.Tensor) -> torch.Tensor:
        asked[source] = index  # of the in-distribution images the second call of a step, for the negatives, stays
        return take(index)

    return noted


def denormalised(views: torch.Tensor) -> torch.Tensor:
    """The values 0 to 255 of constant views (B, 3, S, S)."""
    assert (views - views[:, :, :1, :1]).abs().max() < 1e-5
    return (views[:, 0, 0, 0] * IMAGENET.std[0] + IMAGENET.mean[0]) * 255


def test_ours_name_their_images_in_identity_and_training_data() -> None:
    ids = {tiny(variant=name).recipe_id() for name in [*OURS, "rot-in-dist", "imgn"]}
    assert len(ids) == len(OURS) + 2
    blended = tiny(variant="blend-imgn")
    assert blended.identity()["variant"] == [["in-dist", "blend", "imagenet"]] and training_data(blended) == "aux"
    assert blended.identity()["data"]["sources"] == {"imagenet": blended.data.sources["imagenet"]}
    assert training_data(tiny(variant="patch-rot-in-dist")) == "scratch"
    assert tiny(variant="blend-imgn", negatives={"draw": "per-view"}).recipe_id() == blended.recipe_id()
    with pytest.raises(BenchError, match=r"needs data\.sources\.imagenet, which is not set"):
        tiny(variant="blend-imgn", data={"sources": {"dti": "mini-aux"}})


def test_variants_are_the_papers() -> None:
    table = {name: [(n.source, n.transform) for n in v.negatives] for name, v in VARIANTS.items()}
    assert table == {
        "dino": [],
        "imgn": [("imagenet", "none")],
        "rot-imgn": [("imagenet", "rot")],
        "rot360-imgn": [("imagenet", "rot360")],
        "dti": [("dti", "none")],
        "perm-16-imgn": [("imagenet", "perm-16")],
        "perm-4-imgn": [("imagenet", "perm-4")],
        "rot-dti": [("dti", "rot")],
        "pixperm-imgn": [("imagenet", "pixels")],
        "rot-in-dist": [("in-dist", "rot")],
        "combined": [("imagenet", "rot"), ("in-dist", "rot")],
    }


@pytest.mark.parametrize("draw", ["per-image", "per-view"])
def test_rotated_negatives_are_rotated(draw: str) -> None:
    """Top half bright: after a rotation by 90, 180 or 270 degrees the top of a whole-image view is never the bright one
    alone. Without jitter, crop or flip the views show the transform itself."""
    image = np.zeros((40, 32, 32, 3), np.uint8)
    image[:, :16] = 255
    config = tiny(variant="rot-imgn", negatives={"draw": draw})
    plain = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)} | dict.fromkeys(
        ("jitter_p", "grayscale_p", "flip_p", "blur_p", "solarize_p"), 0.0
    )

    def plainly(block: Block) -> Block:
        specs = [replace(spec, recipes=tuple(replace(r, **plain) for r in spec.recipes)) for spec in block.specs]
        return Block(tuple(specs))

    crops = multi_crop(config.views)
    recipe = BatchRecipe(
        {name: plainly(block) for name, block in crops.positives.items()},
        {name: plainly(block) for name, block in crops.negatives.items()},
    )
    made = Batches(config, DeviceImages(image, CPU), {"imagenet": DeviceImages(image, CPU)}, recipe=recipe)
    batch = made.batch(0, 0)
    assert quadrants(batch.positives["globals"]) == {"top"}
    seen: set[str] = set()
    for step in range(5):
        views = made.batch(0, step).negatives[0]
        seen |= quadrants(views["globals"])
        if draw == "per-image":  # one draw an image: its global and local views agree
            locals_ = views["locals"].unflatten(0, (2, -1))
            assert [quadrants(g[None]) for g in views["globals"]] == [quadrants(one) for one in locals_.transpose(0, 1)]
    assert seen == {"left", "right", "bottom"}


def quadrants(views: torch.Tensor) -> set[str]:
    size = views.shape[-1]
    half = size // 2
    found = set()
    for view in views:
        grey = view.mean(0)
        sides = {
            "top": grey[:half].mean(),
            "bottom": grey[half:].mean(),
            "left": grey[:, :half].mean(),
            "right": grey[:, half:].mean(),
        }
        found.add(max(sides, key=lambda side: float(sides[side])))
    return found


@pytest.mark.parametrize(
    ("patches", "size", "grid"),
    [(16, 32, (4, 4)), (4, 32, (2, 2)), (8, 32, (2, 4)), (9, 36, (3, 3)), (2, 32, (1, 2)), (64, 256, (8, 8))],
)
def test_patch_grid(patches: int, size: int, grid: tuple[int, int]) -> None:
    assert patch_grid(patches, size) == grid


def test_patch_grid_that_does_not_divide() -> None:
    with pytest.raises(BenchError, match="perm-9 does not divide an image of 32x32"):
        patch_grid(9, 32)
    with pytest.raises(BenchError, match="unknown variant 'perm-0-imgn'"):
        variant("perm-0-imgn")


def test_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(BenchError, match=r"train\.batch: 8 is more than the 5 training images"):
        batches(tiny(), train=5)


def test_images_on_disk_and_in_memory_are_the_same(mini_data: object) -> None:
    images = load(mini_data, "mini", "train").images  # type: ignore[arg-type]
    index = torch.tensor([3, 0, 17])
    memory, disk = DeviceImages(images, CPU).take(index), DeviceImages(images, CPU, resident_bytes=0).take(index)
    assert torch.equal(memory, disk) and memory.shape == (3, 3, 32, 32) and memory.dtype == torch.uint8
    assert np.array_equal(memory[1].permute(1, 2, 0).numpy(), images[0])


def test_a_limit_keeps_a_random_subset_the_same_for_every_seed(mini_data: object) -> None:
    images = load(mini_data, "mini", "train")  # type: ignore[arg-type]
    kept = limited(images, 10)
    assert len(set(kept.tolist())) == 10 and kept.tolist() == sorted(kept.tolist()) != list(range(10))
    assert limited(images, None).tolist() == limited(images, 1000).tolist() == list(range(40))
