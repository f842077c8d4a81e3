"""Which views DINO asks for: those of the paper (methods/PAPER.md, "Views"), and what a run's settings make of them."""

from __future__ import annotations

import pytest
from view_references import generator

from benchmark.plan.sections import ViewsConfig
from benchmark.views.recipes import Block, ViewParams, ViewRecipe, draw, multi_crop

# Table of methods/PAPER.md, "Views": how often a view is blurred and solarised; first global, second global, local.
BLURRED_AND_SOLARISED = [(1.0, 0.0), (0.1, 0.2), (0.5, 0.0)]


def shown(block: Block) -> list[tuple[int, ViewRecipe]]:
    """How many views a positive has by each recipe of the block."""
    assert all(len(spec.recipes) == 1 for spec in block.specs)
    return [(spec.count, spec.recipes[0]) for spec in block.specs]


def test_an_image_has_the_views_of_the_paper() -> None:
    made = multi_crop(ViewsConfig())
    assert set(made.positives) == {"globals", "locals"}
    views = [*shown(made.positives["globals"]), *shown(made.positives["locals"])]
    assert [(count, recipe.size) for count, recipe in views] == [(1, 256), (1, 256), (8, 128)]
    recipes = [recipe for _, recipe in views]
    assert [recipe.scale for recipe in recipes] == [(0.4, 1.0), (0.4, 1.0), (0.15, 0.4)]
    assert [(recipe.blur_p, recipe.solarize_p) for recipe in recipes] == BLURRED_AND_SOLARISED
    for recipe in recipes:
        assert recipe.blur_sigma == (0.1, 2.0) and recipe.blur_scale == pytest.approx(256 / 224)
        assert recipe.jitter == (0.4, 0.4, 0.2, 0.1)
        assert (recipe.jitter_p, recipe.grayscale_p, recipe.flip_p) == (0.8, 0.2, 0.5)
        assert recipe.normalisation.mean == (0.485, 0.456, 0.406)
        assert recipe.normalisation.std == (0.229, 0.224, 0.225)


def test_a_negative_has_one_global_view_of_either_kind_and_the_local_ones() -> None:
    made = multi_crop(ViewsConfig())
    first, second = (recipe for _, recipe in shown(made.positives["globals"]))
    [(_, local)] = shown(made.positives["locals"])
    [one], [others] = (made.negatives[name].specs for name in ("globals", "locals"))
    assert one.recipes == (first, second) and one.count == 1
    assert others.recipes == (local,) and others.count == 8


def test_views_that_are_drawn_are_cropped_blurred_and_solarised_so() -> None:
    """4,000 of each kind from an image of 256 pixels, where a crop's area is hardly rounded."""
    made, count = multi_crop(ViewsConfig()), 4000
    views = [*shown(made.positives["globals"]), *shown(made.positives["locals"])]
    drawn = [draw(recipe, count, 256, 256, generator(seed)) for seed, (_, recipe) in enumerate(views)]
    for params, (blurred, solarised) in zip(drawn, BLURRED_AND_SOLARISED, strict=True):
        for flags, share in ((params.blur, blurred), (params.solarize, solarised)):
            # Exact where the share is 0 or 1: what never happens happens not once.
            assert float(flags.double().mean()) == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)
    for params, (low, high) in zip(drawn, ((0.4, 1.0), (0.4, 1.0), (0.15, 0.4)), strict=True):
        smallest, largest = areas(params)
        assert low - 0.005 < smallest < low + 0.01 and high - 0.02 < largest < high + 0.005


def areas(params: ViewParams) -> tuple[float, float]:
    """The smallest and the largest share of an image of 256 x 256 pixels that a crop has."""
    found = (params.height * params.width).double() / 256**2
    return float(found.min()), float(found.max())


def test_sizes_scales_and_counts_are_the_settings() -> None:
    sizes = ViewsConfig(global_size=64, local_size=48, local_views=3, global_scale=[0.3, 0.7], local_scale=[0.05, 0.25])
    made = multi_crop(sizes)
    for blocks, globals_ in ((made.positives, 2), (made.negatives, 1)):
        assert [sum(spec.count for spec in blocks[name].specs) for name in ("globals", "locals")] == [globals_, 3]
        for name, size, scale in (("globals", 64, (0.3, 0.7)), ("locals", 48, (0.05, 0.25))):
            found = [recipe for spec in blocks[name].specs for recipe in spec.recipes]
            assert {(recipe.size, recipe.scale) for recipe in found} == {(size, scale)}
            # Blur is in pixels of the global view of 224, and local views show the scene as large as it does.
            assert {recipe.blur_scale for recipe in found} == {64 / 224}
