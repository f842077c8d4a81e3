"""What a method may ask of views beside DINO's: padded crops, other normalisations, fixed views, four rotations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from tiny_runs import tiny
from view_references import drawn_images, generator

from benchmark.errors import BenchError
from benchmark.negatives import VARIANTS
from benchmark.plan.sections import ViewsConfig
from benchmark.training.batches import Batches, DeviceImages
from benchmark.views import fused, recipes, render, transforms
from benchmark.views.recipes import PLUS_MINUS_ONE, ViewRecipe

CROP = replace(recipes.padded_crop(32, PLUS_MINUS_ONE), flip_p=0)


def test_padded_crops_are_cut_from_a_black_margin_and_lie_anywhere() -> None:
    """Against NumPy's padding, bit for bit but for rounding; the 9 x 9 places are equally likely."""
    images, count = drawn_images(200), 200
    params = recipes.draw(CROP, count, 32, 32, generator())
    views = render.render(images, params, 32, by=PLUS_MINUS_ONE)
    for image, view, top, left in zip(images.numpy(), views.numpy(), params.top, params.left, strict=True):
        padded = np.pad(image.astype(float) / 127.5 - 1, ((0, 0), (4, 4), (4, 4)), constant_values=-1)
        np.testing.assert_allclose(view, padded[:, top + 4 : top + 36, left + 4 : left + 36], atol=1e-5)
    assert not any(flags.any() for flags in (params.jitter, params.grayscale, params.blur, params.solarize))
    assert recipes.padded_crop(32, PLUS_MINUS_ONE).flip_p == 0.5
    many = recipes.draw(CROP, 16_200, 32, 32, generator(1))
    counts = torch.bincount((many.top + 4) * 9 + many.left + 4, minlength=81)
    assert len(counts) == 81 and scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_a_padded_crop_may_be_smaller_than_the_image_and_not_larger_than_its_margin_allows() -> None:
    small = recipes.draw(ViewRecipe(24, (1, 1), blur_p=0, solarize_p=0, padding=0), 500, 32, 32, generator())
    assert (int(small.top.min()), int(small.top.max())) == (0, 8) and set(small.height.tolist()) == {24}
    with pytest.raises(BenchError, match="crop of 48 pixels does not fit an image of 32x32 padded by 4"):
        recipes.draw(ViewRecipe(48, (1, 1), blur_p=0, solarize_p=0, padding=4), 1, 32, 32, generator())


def test_the_normalisation_is_the_recipes_in_every_form() -> None:
    images = drawn_images(6)
    recipe = recipes.view_recipes(ViewsConfig(global_size=32, local_size=16))[1]
    params = recipes.draw(recipe, 6, 32, 32, generator())
    usual, other = render.render(images, params, 32), render.render(images, params, 32, by=PLUS_MINUS_ONE)
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (recipes.IMAGENET.mean, recipes.IMAGENET.std))
    torch.testing.assert_close(other, (usual * std + mean) * 2 - 1, atol=1e-5, rtol=0)
    from benchmark.views.crops import crop_and_resize

    table = fused.tabulate(params)
    in_one = fused.fused_colours_and_blur(crop_and_resize(images, params, 32), table, 8, PLUS_MINUS_ONE)
    torch.testing.assert_close(in_one, other, atol=1e-5, rtol=0)
    whole = render.evaluation_view(images, 32, PLUS_MINUS_ONE)
    torch.testing.assert_close(whole, images / 127.5 - 1, atol=1e-5, rtol=0)
    resized = render.evaluation_view(images, 48, PLUS_MINUS_ONE)
    torch.testing.assert_close(resized, (render.evaluation_view(images, 48) * std + mean) * 2 - 1, atol=1e-5, rtol=0)


def test_fixed_views_are_the_same_for_every_image_and_every_call() -> None:
    images = drawn_images(5)
    recipe = ViewRecipe(
        32, (0.54, 0.54), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, normalisation=PLUS_MINUS_ONE
    )
    views = render.fixed_views(images, recipe, 10, seed=3)
    assert views.shape == (50, 3, 32, 32)
    assert torch.equal(views, render.fixed_views(images, recipe, 10, seed=3))
    assert not torch.equal(views, render.fixed_views(images, recipe, 10, seed=4))
    alone = torch.stack([render.fixed_views(image[None], recipe, 10, seed=3) for image in images], dim=1)
    torch.testing.assert_close(views.unflatten(0, (10, 5)), alone, atol=1e-5, rtol=0)
    same = render.fixed_views(images[:1].repeat(4, 1, 1, 1), recipe, 10, seed=3).unflatten(0, (10, 4))
    torch.testing.assert_close(same, same[:, :1].expand_as(same), atol=1e-5, rtol=0)
    assert len({view.numpy().tobytes() for view in same[:, 0]}) == 10


def test_four_rotations_are_numpys() -> None:
    images = torch.rand(3, 3, 8, 8, generator=generator())
    turned = transforms.four_rotations(images).unflatten(0, (4, 3)).numpy()
    for quarter in range(4):
        assert np.array_equal(turned[quarter], np.rot90(images.numpy(), quarter, (2, 3)))


def test_a_negatives_global_view_takes_either_recipe_by_a_fair_coin() -> None:
    """The first global recipe always blurs and never solarises; without other changes a view tells which it took."""
    config = tiny(variant="imgn", train={"batch": 40}, views={"local_views": 0})
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    resident = DeviceImages(images, torch.device("cpu"))
    made = Batches(config, resident, {"imagenet": resident})
    one, other = made.recipe.negatives["globals"].specs[0].recipes
    assert (one.blur_p, one.solarize_p, other.blur_p, other.solarize_p) == (1.0, 0.0, 0.1, 0.2)
    taken = []
    for epoch in range(50):
        rng = generator(epoch)
        spec = made.recipe.negatives["globals"].specs[0]
        first = recipes.draw(one, 40, 32, 32, generator(epoch))
        params = made._draw(spec, torch.zeros(40, 3, 32, 32), rng)
        taken += (params.top == first.top).logical_and(params.sigma == first.sigma).tolist()
    share = np.mean(taken)
    assert len(taken) == 2000 and abs(share - 0.5) < 4 * 0.5 / 2000**0.5


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "dino"])
def test_no_local_views_at_all_in_the_authors_order(variant: str) -> None:
    config = tiny(variant=variant, protocol="authors", views={"local_views": 0})
    images = DeviceImages(np.zeros((16, 32, 32, 3), np.uint8), torch.device("cpu"))
    batch = Batches(config, images, {"imagenet": images, "dti": images}).batch(0, 0)
    assert all(views["locals"].shape == (0, 3, 16, 16) for views in (batch.positives, *batch.negatives))
