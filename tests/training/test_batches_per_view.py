"""Negatives in the reading of the authors' code: each view draws its own transform, in its place among the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import tiny
from torch import Tensor
from view_references import drawn_images

from benchmark.training.batches import Batches, DeviceImages
from benchmark.views.recipes import IMAGENET, BatchRecipe, Block, ViewRecipe, ViewSpec

CPU = torch.device("cpu")
# The whole image of 32 pixels, and nothing is done to it.
STILL = ViewRecipe(32, (1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, flip_p=0, padding=0)
# The same blurred, always alike.
BLURRED = replace(STILL, blur_p=1.0, blur_sigma=(1.5, 1.5))


def batch(variant: str, image: Tensor, recipe: ViewRecipe, **settings: Any) -> tuple[Tensor, Tensor]:
    """Views (3, 40, 3, 32, 32), 0..1, of one image (3, 32, 32) as a positive, and as a negative."""
    config = tiny(variant=variant, train={"batch": 40}, **settings)
    blocks = {"views": Block((ViewSpec((recipe,), 3),))}
    same = DeviceImages(np.tile(image.permute(1, 2, 0).numpy(), (40, 1, 1, 1)), CPU)
    made = Batches(config, same, {"imagenet": same}, recipe=BatchRecipe(blocks, blocks)).batch(0, 0)
    mean, std = (torch.tensor(three)[:, None, None] for three in (IMAGENET.mean, IMAGENET.std))
    plain, changed = (views["views"] * std + mean for views in (made.positives, made.negatives[0]))
    return plain.unflatten(0, (3, 40)), changed.unflatten(0, (3, 40))


WHITE = torch.full((3, 32, 32), 255, dtype=torch.uint8)
ANY_ANGLE = {"draw": "per-view", "rot360": "any-angle"}


@pytest.mark.parametrize("settings", [{"protocol": "authors"}, {"negatives": ANY_ANGLE}])
def test_an_image_turned_by_any_angle_has_black_corners(settings: dict[str, Any]) -> None:
    """Black before the colours are changed and scaled: after that 0 would be the grey that ImageNet's mean is."""
    plain, turned = batch("rot360-imgn", WHITE, STILL, **settings)
    torch.testing.assert_close(plain, torch.ones_like(plain), atol=1e-5, rtol=0)
    black, white = turned.abs() < 1e-5, (turned - 1).abs() < 1e-5
    assert (black | white).all() and (black.any(2) == black.all(2)).all()
    # A square that is turned by t leaves 1 - its overlap with the upright one uncovered: at most 3 - 2 * 2^0.5 of it,
    # at 45 degrees, and nothing of the circle inside.
    shares = black[:, :, 0].double().mean((2, 3))
    assert float(shares.max()) == pytest.approx(3 - 2 * 2**0.5, abs=0.02) and float(shares.min()) < 0.05
    assert len(shares.flatten().unique()) > 20, "angles of a whole turn, not some"
    assert white[:, :, :, 8:24, 8:24].all()
    assert (shares.max(0).values - shares.min(0).values > 0.01).sum() > 30, "each view of an image has its own"


@pytest.mark.parametrize(("settings", "cornered"), [
    ({"negatives": {"rot360": "any-angle", "draw": "per-image"}}, True),
    ({"negatives": {"rot360": "right-angles", "draw": "per-image"}}, False),
    ({"negatives": {"rot360": "right-angles", "draw": "per-view"}}, False),
    ({"protocol": "authors", "negatives": {"rot360": "right-angles"}}, False),
])  # fmt: skip
def test_only_where_any_angle_is_asked_for(settings: dict[str, Any], cornered: bool) -> None:
    _, turned = batch("rot360-imgn", WHITE, STILL, **settings)
    assert bool((turned < 1e-5).any()) == cornered


def test_rotations_come_before_the_blur() -> None:
    _, sharp = batch("rot360-imgn", WHITE, STILL, negatives=ANY_ANGLE)
    _, soft = batch("rot360-imgn", WHITE, BLURRED, negatives=ANY_ANGLE)
    between = [((turned > 0.1) & (turned < 0.9)).double().mean((2, 3, 4)) for turned in (sharp, soft)]
    assert float(between[0].max()) == 0 and float(between[1].median()) > 0.05


@pytest.mark.parametrize(("variant", "patches"), [("perm-4-imgn", 2), ("perm-16-imgn", 4), ("pixperm-imgn", 32)])
def test_permutations_come_after_the_blur(variant: str, patches: int) -> None:
    """A permuted view is made of the patches of the finished view. Cut first, blur would mix neighbours that the
    image's patches do not have."""
    plain, permuted = batch(variant, drawn_images(1)[0], BLURRED, negatives={"draw": "per-view"})

    def pieces(view: Tensor) -> list[bytes]:
        side = 32 // patches
        cut = view.unflatten(1, (patches, side)).unflatten(3, (patches, side)).permute(1, 3, 0, 2, 4).contiguous()
        return [piece.numpy().tobytes() for piece in cut.flatten(0, 1)]

    whole = plain[0, 0]
    wanted = sorted(pieces(whole))
    moved = [view for views in permuted for view in views if not torch.equal(view, whole)]
    assert len(moved) > 0.9 * 3 * 40 and all(sorted(pieces(view)) == wanted for view in moved)
    orders = [[pieces(view) for view in views] for views in permuted]
    assert sum(one != other for one, other in zip(*orders[:2], strict=True)) > 30, "each view has its own order"
