"""The speed at which a run's network sees stored images, against the bare network on tensors that are ready."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmark import methods
from benchmark.data.images import ImageSet
from benchmark.detection.scores import full_float32
from benchmark.errors import BenchError
from benchmark.evaluation.features import network_outputs
from benchmark.models.backbones import at_once
from benchmark.perf.measure import Spread, figures, timed
from benchmark.perf.step import Tell
from benchmark.plan.config import RunConfig
from benchmark.plan.sweep import Sweep
from benchmark.running.device import image_tensor
from benchmark.running.images import RunImages
from benchmark.views.recipes import input_of
from benchmark.views.render import evaluation_view

IMAGES = 128  # of each of the two sets that are seen, and in a batch


def to_extract(sweep: Sweep, only: str | None) -> RunConfig:
    """The run of a sweep whose network is timed: the first that has one. Raises BenchError where none has."""
    found = next((run.config for run in sweep.runs if run.config.input_sizes()), None)
    if found is None:
        raise BenchError(f"{sweep.path}: no run that has a network" + (f" matches {only!r}" if only else ""))
    return found


def perf_extraction(config: RunConfig, device: torch.device, *, rounds: int = 5, tell: Tell = print) -> dict[str, Any]:
    """Images a second from stored pixels to kept features, as a run goes over its sets, and of the bare network."""
    config = config.model_copy(update={"eval": config.eval.model_copy(update={"ood": [], "scores": []})})
    torch.manual_seed(0)
    method = methods.build(config, device, begins=False)
    backbone = method.scoring_backbone()
    if backbone is None:
        raise BenchError(f"method.name: {config.method.name} has no backbone whose features are kept")
    images = _noise(config)
    run: Any = SimpleNamespace(config=config, images=images)
    pixels = [image_tensor(one.images).to(device) for one in images.sets.values()]
    ready = [evaluation_view(one, config.views.global_size, *input_of(config.model)) for one in pixels]

    def extraction() -> None:
        network_outputs(method, run, frozenset(), lambda done, images: None)

    @torch.no_grad()
    def bare() -> None:
        with full_float32():
            for batch in ready:
                for part in batch.split(at_once(config.views.global_size, device)):
                    backbone(part)

    tasks = {"extraction": extraction, "bare network": bare}
    count = IMAGES * len(ready)
    spreads = timed(tasks, device, rounds, lambda each: count / each, lambda line: tell(f"{line} images/s"))
    return {
        "network": f"{config.model.backbone}, {config.data.image_size} to {config.views.global_size} px",
        "images_per_second": {name: spread.as_dict() for name, spread in spreads.items()},
        "share": spreads["extraction"].median / spreads["bare network"].median,
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What `perf_extraction` found, as lines of a table."""
    return [
        ("network, stored to seen", result["network"]),
        *((f"{name}: images/s", str(Spread(**spread))) for name, spread in result["images_per_second"].items()),
        ("extraction / bare network", f"{figures(100 * result['share'])} %"),
    ]


def _noise(config: RunConfig) -> RunImages:
    size, rng, sets = config.data.image_size, np.random.default_rng(0), {}
    for key in config.scored_keys():
        pixels = rng.integers(0, 256, (IMAGES, size, size, 3), dtype=np.uint8)
        name, split = key.split("/")
        sets[key] = ImageSet(name, split, pixels, np.full(IMAGES, -1), "", {})
    return RunImages(config, sets, Path())
