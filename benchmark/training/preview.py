"""What a sweep's trainings see, as a picture: training images, the views of one method, and every kind of negative."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmark import methods
from benchmark.errors import BenchError
from benchmark.negatives import OURS, VARIANTS, Negative, variant
from benchmark.plan.config import RunConfig
from benchmark.running.images import RunImages, load_sets
from benchmark.training.batches import Batches
from benchmark.training.trained import batches_of
from benchmark.views.pictures import grid
from benchmark.views.recipes import Block

CPU = torch.device("cpu")
FIRST_STEP = 0
TITLE_WIDTH = 16  # characters of a line over a column


def preview(configs: Sequence[RunConfig], data_root: Path, count: int, as_seen: bool = False) -> Image.Image:
    """One row per training image, `count` random ones: the image, a view of each resolution, and beside them as many
    negatives of each kind that these runs draw, each kind once.

    as_seen: negatives as training sees them, a view of the first resolution; else whole, before any crop and colour.
    The images are those of the first run's set. Raises BenchError where no run trains, for image sets that are missing
    or of another size, and for fewer images than `count`.
    """
    trained = [one for one in configs if one.method.trains and one.in_dist == configs[0].in_dist]
    if not trained:
        raise BenchError("no run of the sweep trains, so there are no views and no negatives to show")
    columns: dict[str, Tensor] = {}
    known: set[tuple[object, ...]] = set()
    for config in trained:
        new = [kind for kind in config.kinds() if _same(config, kind) not in known]
        if columns and not new:
            continue
        batches = _batches(config, data_root, count)
        images, whole = batches.plain(FIRST_STEP)
        seen = batches.batch(config.train.epochs, FIRST_STEP)  # the epoch that `plain` draws from: the same images
        blocks = batches.recipe.positives
        if not columns:
            columns["image"] = images
            columns |= {f"view, {size}": first for size, first in _shown(blocks, seen.positives, count)}
        for number, kind in enumerate(config.kinds()):
            if _same(config, kind) in known:
                continue
            known.add(_same(config, kind))
            views = _shown(batches.recipe.negatives, seen.negatives[number], count)
            title = _title(config, kind)
            title += f" ({len(known)})" if title in columns else ""
            columns[title] = next(views)[1] if as_seen else whole[number]
    return grid({textwrap.fill(title, TITLE_WIDTH): pictures for title, pictures in columns.items()})


def _same(config: RunConfig, kind: Negative) -> tuple[object, ...]:
    """What two kinds of negative share that look the same."""
    return kind, config.negatives.rot360 if kind.transform == "rot360" else "", config.data.image_size


def _title(config: RunConfig, kind: Negative) -> str:
    """The paper's name for the kind where a variant has it alone, else the variant's own."""
    alone = next((row.label for row in (VARIANTS | OURS).values() if row.negatives == (kind,)), None)
    return alone or variant(config.variant).label


def _batches(config: RunConfig, data_root: Path, count: int) -> Batches:
    """The run's batches of `count` images."""
    config = config.model_copy(update={"train": config.train.model_copy(update={"batch": count})})
    wanted = [each for each in config.training_sets() if each[1] != "test"]
    images = RunImages(config, load_sets(config, wanted, data_root), data_root)
    return batches_of(methods.build(config, CPU, begins=False), images, CPU, resident_bytes=0)


def _shown(blocks: dict[str, Block], views: dict[str, Tensor], count: int) -> Iterator[tuple[str, Tensor]]:
    """The first view of each block that has one, by its size: uint8 (count, 3, S, S), its normalisation taken back."""
    for name, block in blocks.items():
        if len(views[name]):
            by = block.specs[0].recipes[0].normalisation
            mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (by.mean, by.std))
            pixels = (views[name][:count] * std + mean).clamp(0, 1)
            yield f"{block.size} px", (255 * pixels).round().to(torch.uint8)
