"""The tiny run that many tests train: its settings, to be varied. Its images are the fixture `mini_data`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.images import write_set
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate

TINY: dict[str, Any] = {
    "in_dist": "mini",
    "variant": "combined",
    "data": {"sources": {"imagenet": "mini-aux", "dti": "mini-aux"}},
    "model": {
        "backbone": "vit_tiny_patch16_224",
        "args": {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2},
    },
    "views": {"global_size": 32, "local_size": 16, "local_views": 2},
    "method": {"classes": 16, "head_hidden": 16, "head_bottleneck": 8},
    "train": {"epochs": 2, "batch": 8, "warmup_epochs": 0.5},
    "eval": {"ood": ["mini-ood"], "knn": [5]},
}


def tiny(**changes: Any) -> RunConfig:
    """The tiny run with some top-level keys replaced; a mapping is laid over the one below it."""
    raw = dict(TINY)
    for key, value in changes.items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) and isinstance(raw.get(key), dict) else value
    config: RunConfig = validate(RunConfig, raw, "test")
    return config


def write_mini_sets(root: Path) -> None:
    """The images of the tiny run, a few dozen random ones a set, in the data folder `root`."""
    rng = np.random.default_rng(0)
    for name, split, count in (
        ("mini", "train", 40),
        ("mini", "test", 24),
        ("mini-aux", "aux", 32),
        ("mini-ood", "test", 20),
        ("mini-ood2", "test", 20),
    ):
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        write_set(root, name, split, images, np.arange(count) % 4, recipe="random numbers")
