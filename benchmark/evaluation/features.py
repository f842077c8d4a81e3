"""Features of a run's test and training images, kept on disk."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmark.data.images import ImageSet
from benchmark.data.subsets import limited
from benchmark.detection.scores import full_float32
from benchmark.errors import BenchError
from benchmark.files import atomic_write
from benchmark.methods.base import Method
from benchmark.plan.config import RunConfig
from benchmark.running.images import limit_of, ood_key
from benchmark.running.status import Reporter
from benchmark.store.folders import RunFolder

EMBED_BATCH = 256  # images a forward pass in evaluation


@torch.no_grad()
def extract_features(
    method: Method, config: RunConfig, folder: RunFolder, sets: dict[str, ImageSet], reporter: Reporter
) -> tuple[dict[str, Tensor], dict[str, float] | None]:
    """Stored features (N, D) of the ID and OOD sets, kept in features.npz, and the occupancy on the ID test set."""
    keys = [f"{config.in_dist}/train", f"{config.in_dist}/test", *(ood_key(config, n) for n in config.ood_sets())]
    features: dict[str, Tensor] = {}
    logits: list[Tensor] = []
    for key in keys:
        reporter.say(f"features of {key}")
        rows = limited(sets[key], limit_of(config, key))
        parts = []
        for start in range(0, len(rows), EMBED_BATCH):
            block = np.ascontiguousarray(sets[key].images[rows[start : start + EMBED_BATCH]])
            with full_float32():
                raw = method.embed(torch.from_numpy(block).permute(0, 3, 1, 2).contiguous().to(method.device))
            parts.append(method.stored(raw))
            if key == f"{config.in_dist}/test":
                soft = method.soft_logits(raw)
                if soft is not None:
                    logits.append(soft.float().cpu())
            reporter.alive()
        features[key] = torch.cat(parts)
        if not torch.isfinite(features[key].float()).all():
            raise BenchError(f"{key}: the features hold NaN or infinity; the training diverged")
    with atomic_write(folder.features) as stream:
        np.savez(stream, **{key: rows.numpy() for key, rows in features.items()})  # type: ignore[arg-type]
    return features, method.occupancy(torch.cat(logits)) if logits else None
