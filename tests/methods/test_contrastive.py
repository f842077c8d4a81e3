"""SimCLR and CSI: loss and score against plain loops in float64, image by image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark import methods
from benchmark.errors import BenchError
from benchmark.methods.base import Batch, Moment
from benchmark.methods.contrastive import Contrastive, nt_xent
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.running.images import load_images
from benchmark.training.batches import Batches, DeviceImages
from benchmark.views.recipes import AS_IT_IS, ViewRecipe
from benchmark.views.render import fixed_views

CPU = torch.device("cpu")


def config(name: str, **changes: Any) -> RunConfig:
    raw = {
        "in_dist": "mini",
        "method": {"name": name, "test_crops": 3},
        "model": {"backbone": "small_convnet", "args": {"width": 4}, "drop_path": 0.0},
        "train": {"epochs": 2, "batch": 8, "warmup_epochs": 0.5, "optimiser": "lars", "lr": 1.0, "lr_scaling": "none"},
        "eval": {"ood": ["mini-ood"], "knn": [5]},
    }
    made: RunConfig = validate(RunConfig, {**raw, **changes}, "test")
    return made


def build(name: str, **settings: Any) -> Contrastive:
    torch.manual_seed(0)
    made = methods.build(config(name, method={"name": name, "test_crops": 3, **settings}), CPU)
    assert isinstance(made, Contrastive)
    made.network.eval()
    return made


def plain_nt_xent(first: Tensor, second: Tensor, temperature: float, unlike: Tensor | None = None) -> float:
    views = [*first.double().tolist(), *second.double().tolist()]

    def similarity(one: list[float], two: list[float]) -> float:
        dot = math.fsum(a * b for a, b in zip(one, two, strict=True))
        return math.exp((dot / (math.hypot(*one) * math.hypot(*two)) - 1) / temperature)  # less 1: nothing overflows

    count, total = len(first), 0.0
    for anchor, view in enumerate(views):
        partner = anchor + count if anchor < count else anchor - count
        rest = math.fsum(similarity(view, other) for number, other in enumerate(views) if number != anchor)
        if unlike is not None and anchor < count:
            rest += similarity(view, unlike[anchor].double().tolist())
        total -= math.log(similarity(view, views[partner]) / rest)
    return total / (2 * count)


@pytest.mark.parametrize("temperature", [0.5, 0.1])
def test_nt_xent_is_the_double_loop(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(5, 7, generator=generator) * 3 for _ in range(2))
    made = nt_xent(first, second, temperature)
    assert made.item() == pytest.approx(plain_nt_xent(first, second, temperature), rel=1e-5)
    alike = torch.ones(4, 7)
    assert nt_xent(alike, alike, temperature).item() == pytest.approx(math.log(7), rel=1e-5)


def test_nt_xent_with_one_more_negative_for_each_first_view() -> None:
    generator = torch.Generator().manual_seed(2)
    first, second, unlike = (torch.randn(5, 7, generator=generator) * 3 for _ in range(3))
    made = nt_xent(first, second, 0.3, unlike)
    assert made.item() == pytest.approx(plain_nt_xent(first, second, 0.3, unlike), rel=1e-5)
    assert made.item() > nt_xent(first, second, 0.3).item() + 0.01
    alike = torch.ones(4, 7)  # of 8 views 4 have 8 others, 4 have 7
    expected = (math.log(8) + math.log(7)) / 2
    assert nt_xent(alike, alike, 0.5, alike).item() == pytest.approx(expected, rel=1e-5)


def views_of(method: Contrastive, count: int) -> tuple[Tensor, Tensor]:
    """Two views (count, 3, 32, 32), and the tensor of the batch: turn after turn, in each view after view."""
    coarse = torch.rand(2 * count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    first, second = torch.nn.functional.interpolate(coarse, size=32).unflatten(0, (2, count))
    both = torch.cat([first, second])
    turns = [torch.rot90(both, turn, (2, 3)) for turn in range(method.turns)]
    return torch.stack([first, second]), torch.cat(turns)


def test_the_loss_of_simclr() -> None:
    method = build(
        "simclr", temperature=0.002
    )  # untrained projections are nearly alike: who is whose partner must show
    (first, second), rows = views_of(method, 4)
    seen: list[Tensor] = []
    losses = method.losses(Batch({"images": rows}, (), torch.zeros(4)), Moment(0, 1, 0, 1), seen.append)
    with torch.no_grad():
        z = [method.network["projection"](method.network["backbone"](view)) for view in (first, second)]
    assert losses["loss"].item() == pytest.approx(plain_nt_xent(*z, 0.002), rel=1e-3)
    assert seen == [losses["loss"]] and set(losses) == {"loss", "contrastive"}


def test_the_loss_of_csi_has_rotated_copies_as_others_and_tells_the_turns() -> None:
    method = build("csi", temperature=0.002)
    (first, second), rows = views_of(method, 3)
    losses = method.losses(Batch({"images": rows}, (), torch.zeros(3)), Moment(0, 1, 0, 1))
    z: list[list[Tensor]] = [[], []]
    entropies = []
    with torch.no_grad():
        for turn in range(4):
            for number, view in enumerate((first, second)):
                for image in view:
                    feature = method.network["backbone"](torch.rot90(image, turn, (1, 2))[None])
                    z[number].append(method.network["projection"](feature)[0])
                    logits = method.network["rotation"](feature)[0].double().tolist()
                    entropies.append(math.log(math.fsum(map(math.exp, logits))) - logits[turn])
    contrastive = plain_nt_xent(torch.stack(z[0]), torch.stack(z[1]), 0.002)  # 12 instances of three images
    assert (
        losses["contrastive"].item() == pytest.approx(contrastive, rel=1e-3) and abs(contrastive - math.log(23)) > 0.2
    )
    assert losses["rotation"].item() == pytest.approx(math.fsum(entropies) / 24, rel=1e-4)
    assert losses["loss"].item() == pytest.approx(contrastive + math.fsum(entropies) / 24, rel=1e-3)


@pytest.mark.parametrize("name", ["simclr", "csi"])
def test_the_loss_with_swapped_backgrounds(name: str) -> None:
    method = build(name, temperature=0.002)
    (first, second), rows = views_of(method, 3)
    swapped = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    turned = torch.cat([torch.rot90(swapped, turn, (2, 3)) for turn in range(method.turns)])
    batch = Batch({"images": rows, "swapped": turned}, (), torch.zeros(3))
    losses = method.losses(batch, Moment(0, 1, 0, 1))
    plain = method.losses(Batch({"images": rows}, (), torch.zeros(3)), Moment(0, 1, 0, 1))

    def projected(images: Tensor) -> Tensor:
        found = [torch.rot90(image, turn, (1, 2)) for turn in range(method.turns) for image in images]
        with torch.no_grad():
            return torch.cat([method.network["projection"](method.network["backbone"](one[None])) for one in found])

    expected = plain_nt_xent(projected(first), projected(second), 0.002, projected(swapped))
    assert losses["contrastive"].item() == pytest.approx(expected, rel=1e-3)
    assert losses["contrastive"].item() > plain["contrastive"].item()
    if name == "csi":  # the head learns turns from the views alone
        torch.testing.assert_close(losses["rotation"], plain["rotation"])


@pytest.mark.parametrize("name", ["simclr", "csi"])
def test_views_with_other_backgrounds(name: str) -> None:
    def views(background: str) -> dict[str, list[tuple[int, str, float]]]:
        made = methods.build(config(name, views={"background": background, "background_p": 0.3}), CPU)
        return {key: [(spec.count, spec.background, spec.background_p) for spec in block.specs]
                for key, block in made.batch_recipe().positives.items()}  # fmt: skip

    assert views("remove") == {"images": [(2, "remove", 0.3)]} and views("random") == {"images": [(2, "random", 0.3)]}
    swaps = {"images": [(1, "keep", 0.0), (1, "random", 0.3)], "swapped": [(1, "swap", 1.0)]}
    assert views("swaps") == swaps
    kept = config(name).identity()
    assert "views" not in kept and "mask" not in kept["data"]
    assert config(name, views={"background_p": 0.7, "local_views": 3}).recipe_id() == config(name).recipe_id()
    changed = {config(name, views={"background": background, "background_p": share}).recipe_id()
               for background in ("remove", "random", "swaps") for share in (0.2, 0.3)}  # fmt: skip
    assert len(changed) == 6
    masked = {"background": "swaps", "local_views": 3}
    assert config(name, views=masked).identity()["views"] == {"background": "swaps", "background_p": 0.2}
    assert config(name, views=masked).identity()["data"]["mask"] == "minimum-barrier"
    assert config(name, views=masked).label == f"{name}-bg-swaps"
    assert config(name, views=masked).setting() == config(name, views={"local_views": 3}).setting()


@pytest.mark.parametrize(
    ("method", "background", "allowed"),
    [("dino", "swaps", "keep, remove, random"), ("rotation", "remove", "keep"), ("classifier", "random", "keep")],
)
def test_backgrounds_that_a_method_does_not_know(method: str, background: str, allowed: str) -> None:
    with pytest.raises(BenchError) as raised:
        config(
            "simclr",
            method={"name": method},
            variant="dino" if method == "dino" else "none",
            views={"background": background},
        )
    line = f"views.background: {background!r} is not for the method {method!r}; allowed: {allowed}"
    assert line in str(raised.value)
    reference = config("simclr", views={"background": "swaps"}).reference("untrained")
    assert reference.recipe_id() == config("simclr").reference("untrained").recipe_id()


@pytest.mark.parametrize(("name", "turns", "scale"), [("simclr", 1, (0.2, 1.0)), ("csi", 4, (0.08, 1.0))])
def test_a_batch_has_the_published_views(name: str, turns: int, scale: tuple[float, float], mini_data: Path) -> None:
    method = build(name)
    block = method.batch_recipe().positives["images"]
    [spec] = block.specs
    [recipe] = spec.recipes
    assert spec.count == 2 and block.views == 2 * turns and recipe.scale == scale
    assert (recipe.jitter, recipe.jitter_p, recipe.grayscale_p, recipe.flip_p) == ((0.4, 0.4, 0.4, 0.1), 0.8, 0.2, 0.5)
    assert recipe.blur_p == recipe.solarize_p == 0 and recipe.normalisation == AS_IT_IS
    images = load_images(config(name), mini_data)
    batches = Batches(config(name), DeviceImages(images.array("mini/train"), CPU), {}, recipe=method.batch_recipe())
    rows = batches.batch(0, 0).positives["images"]
    assert rows.shape == (16 * turns, 3, 32, 32) and 0 <= float(rows.min()) < float(rows.max()) <= 1
    for turn in range(turns):
        torch.testing.assert_close(rows[16 * turn : 16 * turn + 16], torch.rot90(rows[:16], turn, (2, 3)))


def plain_outputs(method: Contrastive, pixels: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """(z, logit of the true turn) of an image (H, W, 3), averaged over the fixed crops, for each turn."""
    recipe = ViewRecipe(32, (0.54, 0.54), 0, 0, jitter_p=0, grayscale_p=0, normalisation=AS_IT_IS)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    crops = fixed_views(image, recipe, 3, seed=0)
    found = []
    for turn in range(method.turns):
        z, logit = np.zeros(128), 0.0
        for crop in crops:
            with torch.no_grad():
                feature = method.network["backbone"](torch.rot90(crop, turn, (1, 2))[None])
                z += method.network["projection"](feature)[0].double().numpy() / 3
                if method.turns == 4:
                    logit += float(method.network["rotation"](feature)[0, turn]) / 3
        found.append((z, logit))
    return found


@pytest.mark.parametrize("name", ["simclr", "csi"])
def test_the_score_image_by_image(name: str) -> None:
    method = build(name)
    rng = np.random.default_rng(0)
    # One image at a time here: the crops of an image must not depend on the others it is scored with.
    pixels = rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    train, test = pixels[:5], pixels[5:]

    def embedded(images: np.ndarray) -> dict[str, Tensor]:
        with torch.no_grad():
            parts = [method.embed(torch.from_numpy(image).permute(2, 0, 1)[None]) for image in images]
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    method.fit(embedded(train))
    bank = [plain_outputs(method, image) for image in train]

    def score(outputs: list[tuple[np.ndarray, float]], leave: int | None = None) -> float:
        total = 0.0
        for turn, (z, logit) in enumerate(outputs):
            products = [
                float(z @ other[turn][0]) / float(np.linalg.norm(other[turn][0]))
                for number, other in enumerate(bank)
                if number != leave
            ]
            total += max(products) / float(np.mean([np.linalg.norm(other[turn][0]) for other in bank]))
            if name == "csi":
                total += logit / float(np.mean([other[turn][1] for other in bank]))
        return -total / method.turns

    expected = [score(plain_outputs(method, image)) for image in test]
    np.testing.assert_allclose(method.score(embedded(test)).numpy(), expected, rtol=1e-3)
    expected = [score(outputs, number) for number, outputs in enumerate(bank)]
    np.testing.assert_allclose(method.score(embedded(train), torch.arange(5)).numpy(), expected, rtol=1e-3)


@pytest.mark.parametrize("name", ["simclr", "csi"])
def test_crops_do_not_depend_on_who_is_scored_beside(name: str) -> None:
    method = build(name)
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, part = method.embed(images), method.embed(images[2:3])
    for key in whole:
        torch.testing.assert_close(whole[key][2:3], part[key], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["simclr", "csi"])
def test_a_run_from_end_to_end(name: str, mini_data: Path, tmp_path: Path) -> None:
    asked = config(name, eval={"ood": ["mini-ood"], "knn": [5], "scores": ["mahalanobis", "cosine"]})
    record = run(asked, tmp_path, mini_data, Runtime(device="cpu", threads=1))
    assert record is not None and record.own == {"simclr": "cosine-times-norm", "csi": "csi"}[name]
    assert set(record.scores) == {record.own, "mahalanobis", "cosine"}
    assert record.training["losses"]["contrastive"] > 0 and ("rotation" in record.training["losses"]) == (name == "csi")
    assert record.name.startswith(f"mini-{name}-s0-") and record.occupancy is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": {"epochs": 2, "batch": 1, "warmup_epochs": 0}}, "train.batch: 1 image has nothing to be unlike"),
        ({"method": {"name": "simclr", "scale": [0.9, 0.5]}}, "method.scale"),
        ({"method": {"name": "csi", "temperature": 0}}, "temperature"),
        ({"method": {"name": "simclr"}, "eval": {"ood": ["x"], "scores": ["energy"]}}, "'simclr' does not have"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BenchError) as error:
        config("simclr", **changes)
    assert says in str(error.value) and "\n" not in str(error.value)
