"""Views and negatives against Pillow, torchvision and SciPy, with the parameters of our own drawing.

Two kinds of reference: exact ones in floating point (tolerance 1e-4 of the range or tighter), and the paper's own
tool chain, torchvision on Pillow images, which rounds to 8 bits after each step, approximates the Gaussian by boxes
and turns hue in steps of 1/256. Distances to the latter are in levels of 255; the bounds are what was measured on
drawn and on real images, with a margin.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest
import scipy.ndimage
import scipy.stats
import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode
from view_references import (
    OPERATIONS,
    assert_levels,
    denormalised,
    drawn_images,
    exact_resize,
    from_pil,
    generator,
    neutral,
    pil,
    real_images,
)

from benchmark.plan.sections import ViewsConfig
from benchmark.views import crops, fused, recipes, render, transforms
from benchmark.views.recipes import ViewParams

GLOBAL_ONE, GLOBAL_TWO, LOCAL = recipes.view_recipes(ViewsConfig(global_size=256, local_size=128))


def pillow_view(image: Tensor, params: ViewParams, row: int, size: int) -> Image.Image:
    """One view by torchvision on a Pillow image."""
    box = [int(field[row]) for field in (params.top, params.left, params.height, params.width)]
    view = TF.resized_crop(pil(image), *box, [size, size], InterpolationMode.BICUBIC)
    if params.flip[row]:
        view = TF.hflip(view)
    for number in params.order[row].tolist() if params.jitter[row] else []:
        view = getattr(TF, f"adjust_{OPERATIONS[number]}")(view, float(params.factors[row, number]))
    if params.grayscale[row]:
        view = TF.rgb_to_grayscale(view, 3)
    if params.blur[row]:
        view = view.filter(ImageFilter.GaussianBlur(float(params.sigma[row])))
    return ImageOps.solarize(view) if params.solarize[row] else view


def exact_view(image: Tensor, params: ViewParams, row: int, size: int) -> Tensor:
    """The same without rounding: Pillow's float resize, torchvision on float64, SciPy's Gaussian."""
    top, left, height, width = (int(field[row]) for field in (params.top, params.left, params.height, params.width))
    view = exact_resize(image[:, top : top + height, left : left + width], size).double()
    if params.flip[row]:
        view = TF.hflip(view)
    for number in params.order[row].tolist() if params.jitter[row] else []:
        view = getattr(TF, f"adjust_{OPERATIONS[number]}")(view, float(params.factors[row, number]))
    if params.grayscale[row]:
        view = TF.rgb_to_grayscale(view, 3)
    if params.blur[row]:
        sigma = float(params.sigma[row])
        view = torch.from_numpy(
            scipy.ndimage.gaussian_filter(view.numpy(), (0, sigma, sigma), mode="nearest", truncate=8)
        )
    return TF.solarize(view, 0.5) if params.solarize[row] else view


@pytest.mark.parametrize("size", [256, 128, 32, 16])
@pytest.mark.parametrize("source, mean, p999", [("drawn", 1.6, 14), ("real", 1.5, 8)])
def test_whole_views_against_the_papers_tool_chain(size: int, source: str, mean: float, p999: float) -> None:
    """Every recipe, 32 pixels to `size`: to 1.5e-4 of the exact reference, and near Pillow's 8-bit images."""
    count = 6 if size == 256 else 24
    images = drawn_images(count) if source == "drawn" else real_images(count)
    ours, theirs = [], []
    for seed, recipe in enumerate(recipes.view_recipes(ViewsConfig(global_size=size, local_size=size))):
        params = recipes.draw(recipe, count, 32, 32, generator(seed))
        rendered = denormalised(render.render(images, params, size))
        exact = torch.stack([exact_view(image, params, row, size) for row, image in enumerate(images)])
        torch.testing.assert_close(rendered.double(), exact, atol=1.5e-4, rtol=0)
        ours.append(rendered)
        theirs.append(from_pil([pillow_view(image, params, row, size) for row, image in enumerate(images)]))
    assert_levels(torch.cat(ours), torch.cat(theirs), mean, p999, name=f"view 32 -> {size}, {source}")


def test_a_view_is_normalised_with_imagenets_numbers() -> None:
    view = render.render(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8), neutral(1), 32)
    expected = TF.normalize(torch.ones(1, 3, 32, 32), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)


def test_many_views_at_once_equal_one_at_a_time() -> None:
    images = drawn_images(9)
    params = recipes.draw(GLOBAL_TWO, 9, 32, 32, generator())
    together = render.render(images, params, 256)
    for row in range(9):
        alone = render.render(images[row : row + 1], params[row : row + 1], 256)[0]
        torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)


def test_where_the_operations_on_negatives_come() -> None:
    """after_crop sees 0..1 before flip and colours, after_normalise the finished view."""
    images = drawn_images(5)
    params = replace(neutral(5), flip=torch.ones(5).bool(), solarize=torch.ones(5).bool())
    seen: dict[str, Tensor] = {}

    def black(name: str) -> render.ImageOperation:
        def operation(batch: Tensor) -> Tensor:
            seen[name] = batch.clone()
            return torch.zeros_like(batch)

        return operation

    view = render.render(images, params, 32, after_crop=black("crop"))
    torch.testing.assert_close(seen["crop"], images / 255, atol=1e-6, rtol=0)
    torch.testing.assert_close(denormalised(view), torch.zeros_like(view), atol=1e-6, rtol=0)
    finished = render.render(images, params, 32)
    assert render.render(images, params, 32, after_normalise=black("normalise")).abs().max() == 0
    assert torch.equal(seen["normalise"], finished)


def test_rendering_never_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meta tensors hold no values: whatever had to read one back would raise."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows nothing of meta tensors
    images = torch.empty(6, 3, 32, 32, dtype=torch.uint8, device="meta")
    for recipe in recipes.view_recipes(ViewsConfig(global_size=64, local_size=32)):
        params = recipes.draw(recipe, 6, 32, 32, generator())
        for name in ("none", "rot", "rot360", "perm-16", "pixels"):
            operation = transforms.draw_negative(name, 6, generator())
            view = render.render(images, params, recipe.size, after_crop=operation, after_normalise=operation)
            assert view.shape == (6, 3, recipe.size, recipe.size) and view.device.type == "meta"
        crops = torch.empty(6, 3, recipe.size, recipe.size, device="meta")
        assert fused.fused_colours_and_blur(crops, fused.tabulate(params).to("meta"), 4).device.type == "meta"
    transforms.rotate_degrees(images, torch.rand(6))
    assert render.evaluation_view(images, 64).shape == (6, 3, 64, 64)


def test_an_idle_operation_after_the_crop_changes_nothing() -> None:
    """With such an operation flips are made by themselves, without one they are part of the crop."""
    images, params = drawn_images(40), recipes.draw(LOCAL, 40, 32, 32, generator())
    idle = render.render(images, params, 16, after_crop=lambda batch: batch)
    torch.testing.assert_close(render.render(images, params, 16), idle, atol=1e-5, rtol=0)


def in_fused_form(images: Tensor, params: ViewParams, size: int, radius: int) -> Tensor:
    cropped = crops.crop_and_resize(images, params, size)
    before = cropped.clone()
    result = fused.fused_colours_and_blur(cropped, fused.tabulate(params), radius)
    assert torch.equal(cropped, before)
    return result


@pytest.mark.parametrize("size, radius", [(64, 4), (32, 4), (16, 8)])
def test_the_fused_form_for_gpus_agrees(size: int, radius: int) -> None:
    images = drawn_images(300)
    for seed, recipe in enumerate(recipes.view_recipes(ViewsConfig(global_size=size, local_size=size))):
        params = recipes.draw(recipe, 300, 32, 32, generator(seed))
        assert len(params.order[params.jitter].unique(dim=0)) == 24
        expected = render.render(images, params, size)
        torch.testing.assert_close(in_fused_form(images, params, size, radius), expected, atol=1e-5, rtol=0)


def test_the_fused_form_compiled_agrees() -> None:
    """With inductor for CPUs, as that for GPUs needs one; the recipes share what is compiled."""
    compilers = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    if not any(shutil.which(name) for name in compilers):
        pytest.skip(f"no C++ compiler, so nothing can be compiled: looked for {compilers}")
    images = drawn_images(24)
    for seed, recipe in enumerate(recipes.view_recipes(ViewsConfig(global_size=32, local_size=32))):
        params = recipes.draw(recipe, 24, 32, 32, generator(seed))
        compiled = fused.render_compiled(images, None, params, 32)
        assert compiled is not None and fused._compiles
        torch.testing.assert_close(compiled, render.render(images, params, 32), atol=1e-5, rtol=0)


def test_where_nothing_compiles_one_note_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compile_views() -> Callable[..., Tensor]:
        def broken(*_: object) -> Tensor:
            raise RuntimeError("no compiler\nat all")

        return broken

    monkeypatch.setattr(fused, "_compiled_colours_and_blur", compile_views)
    monkeypatch.setattr(fused, "_compiles", True)
    images, params = drawn_images(4), recipes.draw(GLOBAL_ONE, 4, 32, 32, generator())
    far = replace(params, factors=torch.full((4, 4), 0.4))  # such turns of hue are not for the fused form
    assert fused.render_compiled(images, None, far, 32) is None and capsys.readouterr().err == ""
    for _ in range(3):
        assert fused.render_compiled(images, None, params, 32) is None
    assert capsys.readouterr().err == "Views are made without torch.compile, more slowly: no compiler\n"


def test_autocast_does_not_coarsen_views() -> None:
    images, params = drawn_images(4), recipes.draw(GLOBAL_ONE, 4, 32, 32, generator())
    plain = render.render(images, params, 64), render.evaluation_view(images, 64)
    with torch.autocast("cpu", torch.bfloat16):
        cast = render.render(images, params, 64), render.evaluation_view(images, 64)
    assert torch.equal(plain[0], cast[0]) and torch.equal(plain[1], cast[1])
