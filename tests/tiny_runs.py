"""The tiny run that many tests train: its settings, to be varied. Its images are the fixture `mini_data`."""

from __future__ import annotations

from typing import Any

from benchmark.config import RunConfig, validate

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
