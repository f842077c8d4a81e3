"""The speed of the views alone, on one CPU thread, against torchvision and Pillow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from benchmark import methods
from benchmark.perf.measure import Spread, alternate, ratio_text, seconds
from benchmark.perf.reference import pipeline
from benchmark.perf.step import Tell, noise_images
from benchmark.plan.config import RunConfig
from benchmark.seeds import generator
from benchmark.training.batches import Batches, DeviceImages
from benchmark.views.recipes import draw, view_recipes
from benchmark.views.render import render

CPU = torch.device("cpu")


def perf_views(config: RunConfig, *, images: int = 32, rounds: int = 5, tell: Tell = print) -> dict[str, Any]:
    """Images a second, each in two global and the config's local views, on one thread of the CPU."""
    sizes, some = config.views, noise_images(config)[:images]
    all_recipes = view_recipes(sizes)
    counts = (1, 1, sizes.local_views)
    tensors = torch.from_numpy(some).permute(0, 3, 1, 2).contiguous()
    pictures = [Image.fromarray(image) for image in some]
    pipelines = [pipeline(recipe) for recipe in all_recipes]
    rng = generator("perf")

    def ours() -> None:
        for recipe, count in zip(all_recipes, counts, strict=True):
            batch = tensors.repeat(count, 1, 1, 1)
            render(batch, draw(recipe, len(batch), config.data.image_size, config.data.image_size, rng), recipe.size)

    def reference() -> None:
        for picture in pictures:
            for make, count in zip(pipelines, counts, strict=True):
                for _ in range(count):
                    make(picture)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours()
        reference()
        spreads = alternate(
            {"ours": lambda: images / seconds(ours, CPU), "reference": lambda: images / seconds(reference, CPU)},
            rounds,
            lambda line: tell(f"{line} images/s"),
        )
    finally:
        torch.set_num_threads(threads)
    masked = {"masks": perf_masked(config, rounds=rounds, tell=tell)} if config.masked else {}
    return masked | {
        "views": f"2 x {sizes.global_size} + {sizes.local_views} x {sizes.local_size} px",
        "images_per_second": {name: spread.as_dict() for name, spread in spreads.items()},
        "ratio": spreads["ours"].median / spreads["reference"].median,
        "ratio_text": ratio_text(spreads["ours"], spreads["reference"]),
    }


def perf_masked(config: RunConfig, *, rounds: int = 5, tell: Tell = print) -> dict[str, Any]:
    """Images a second of the batches of a run that asks for foregrounds, and of the same run with its backgrounds kept
    and rotated training images in place of negatives that are made of masks; the masks are found before."""
    plain = config.model_copy(
        update={
            "variant": "rot-in-dist" if any(kind.masked for kind in config.kinds()) else config.variant,
            "views": config.views.model_copy(update={"background": "keep"}),
        }
    )
    noise = DeviceImages(noise_images(config), CPU)
    batches = {}
    for name, one in (("with masks", config), ("without masks", plain)):
        recipe = methods.build(one, CPU).batch_recipe()
        batches[name] = Batches(one, noise, dict.fromkeys(one.data.sources, noise), recipe=recipe)
    steps = min(8, batches["with masks"].steps_per_epoch)

    def epoch(name: str) -> Callable[[], float]:
        def go() -> float:
            took = seconds(lambda: [batches[name].batch(0, step) for step in range(steps)], CPU)
            return steps * config.train.batch / took

        return go

    for name in batches:
        epoch(name)()
    spreads = alternate({name: epoch(name) for name in batches}, rounds, lambda line: tell(f"{line} images/s"))
    return {
        "images_per_second": {name: spread.as_dict() for name, spread in spreads.items()},
        "cost_text": ratio_text(spreads["without masks"], spreads["with masks"]),
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What `perf_views` found, as lines of a table."""
    found = [(f"{name}: images/s", str(Spread(**spread))) for name, spread in result["images_per_second"].items()]
    lines = [("views of an image", result["views"]), *found, ("ours / reference", result["ratio_text"])]
    if masks := result.get("masks"):
        spreads = masks["images_per_second"].items()
        lines += [(f"a batch {name}: images/s", str(Spread(**spread))) for name, spread in spreads]
        lines.append(("a batch without / with masks", masks["cost_text"]))
    return lines
