"""What is drawn of a view: crops, factors and switches, against torchvision's distributions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from torchvision.transforms import ColorJitter, RandomResizedCrop
from view_references import (
    drawn_images,
    generator,
)

from benchmark.plan.sections import ViewsConfig
from benchmark.views import recipes, render
from benchmark.views.recipes import ViewRecipe

GLOBAL_ONE, GLOBAL_TWO, LOCAL = recipes.view_recipes(ViewsConfig(global_size=256, local_size=128))


def test_recipes_are_the_papers() -> None:
    assert [recipe.size for recipe in (GLOBAL_ONE, GLOBAL_TWO, LOCAL)] == [256, 256, 128]
    assert [recipe.scale for recipe in (GLOBAL_ONE, GLOBAL_TWO, LOCAL)] == [(0.4, 1), (0.4, 1), (0.15, 0.4)]
    assert [recipe.blur_p for recipe in (GLOBAL_ONE, GLOBAL_TWO, LOCAL)] == [1.0, 0.1, 0.5]
    assert [recipe.solarize_p for recipe in (GLOBAL_ONE, GLOBAL_TWO, LOCAL)] == [0, 0.2, 0]
    assert {recipe.blur_scale for recipe in (GLOBAL_ONE, GLOBAL_TWO, LOCAL)} == {256 / 224}
    assert recipes.view_recipes(ViewsConfig(global_size=32, local_size=16))[2].blur_scale == 32 / 224


@pytest.mark.parametrize("recipe", [GLOBAL_ONE, LOCAL], ids=["global", "local"])
@pytest.mark.parametrize("height, width", [(32, 32), (40, 24)])
def test_crops_are_distributed_as_torchvisions(recipe: ViewRecipe, height: int, width: int) -> None:
    count = 4000
    params = recipes.draw(recipe, count, height, width, generator())
    ours = torch.stack([params.top, params.left, params.height, params.width]).double()
    torch.manual_seed(1)
    image = torch.empty(3, height, width)
    boxes = [RandomResizedCrop.get_params(image, list(recipe.scale), list(recipe.ratio)) for _ in range(count)]
    theirs = torch.tensor(boxes).T.double()
    for one, two in zip(
        (*ours, ours[2] * ours[3], ours[3] / ours[2]),
        (*theirs, theirs[2] * theirs[3], theirs[3] / theirs[2]),
        strict=True,
    ):
        assert scipy.stats.ks_2samp(one, two).pvalue > 0.01
    assert (ours[0] + ours[2] <= height).all() and (ours[1] + ours[3] <= width).all()


@pytest.mark.parametrize("height, width", [(10, 100), (100, 10), (32, 32)])
def test_a_crop_that_never_fits_falls_back_as_torchvisions(height: int, width: int) -> None:
    recipe = ViewRecipe(32, (1.2, 1.3), blur_p=0, solarize_p=0)  # more than the image
    params = recipes.draw(recipe, 3, height, width, generator())
    expected = RandomResizedCrop.get_params(torch.empty(3, height, width), [1.2, 1.3], [3 / 4, 4 / 3])
    for row in range(3):
        assert tuple(int(field[row]) for field in (params.top, params.left, params.height, params.width)) == expected


def test_probabilities_factors_and_orders() -> None:
    count = 20000
    params = recipes.draw(GLOBAL_TWO, count, 32, 32, generator())
    for happens, p in (
        (params.flip, 0.5),
        (params.jitter, 0.8),
        (params.grayscale, 0.2),
        (params.blur, 0.1),
        (params.solarize, 0.2),
    ):
        assert scipy.stats.binomtest(int(happens.sum()), count, p).pvalue > 0.01
    jitter = ColorJitter(0.4, 0.4, 0.2, 0.1)  # torchvision's own reading of the four strengths
    ranges = [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue, (0.1 * 256 / 224, 2 * 256 / 224)]
    for drawn, (low, high) in zip((*params.factors.T, params.sigma), ranges, strict=True):
        assert scipy.stats.kstest(drawn.double(), scipy.stats.uniform(low, high - low).cdf).pvalue > 0.01
    _, counts = np.unique(params.order.numpy(), axis=0, return_counts=True)
    assert len(counts) == 24 and scipy.stats.chisquare(counts).pvalue > 0.01
    independent = [params.flip, params.jitter, params.grayscale, params.blur, params.solarize, params.sigma, params.top]
    independent += [*params.factors.T]  # top and left share the size of the crop
    correlation = np.corrcoef(torch.stack([field.double() for field in independent]))
    assert np.abs(correlation - np.eye(len(independent))).max() < 0.03
    assert recipes.draw(GLOBAL_ONE, count, 32, 32, generator()).blur.all()


def test_the_generator_decides_everything() -> None:
    first, again = (recipes.draw(LOCAL, 50, 32, 32, generator(3)) for _ in range(2))
    other = recipes.draw(LOCAL, 50, 32, 32, generator(4))
    images = drawn_images(50)
    assert torch.equal(render.render(images, first, 16), render.render(images, again, 16))
    assert not torch.equal(render.render(images, first, 16), render.render(images, other, 16))


def test_choose_takes_row_by_row() -> None:
    first, second = (
        recipes.draw(GLOBAL_ONE, 40, 32, 32, generator(1)),
        recipes.draw(GLOBAL_TWO, 40, 32, 32, generator(2)),
    )
    pick_second = torch.rand(40, generator=generator()) < 0.5
    images = drawn_images(40)
    chosen = render.render(images, recipes.choose(first, second, pick_second), 32)
    for row in range(40):
        expected = render.render(images[row : row + 1], (second if pick_second[row] else first)[row : row + 1], 32)[0]
        torch.testing.assert_close(chosen[row], expected, atol=1e-5, rtol=0)
