"""The image sets of one run."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.catalog import info
from benchmark.data.images import ImageSet, load
from benchmark.data.subsets import limited
from benchmark.errors import BenchError
from benchmark.plan.config import RunConfig
from benchmark.store.records import SetInRecord


def load_sets(config: RunConfig, data_root: Path) -> dict[str, ImageSet]:
    """Every set the run reads, by "set/split". Raises BenchError when one is missing or of another size."""
    wanted = [*config.training_sets(), *(tuple(ood_key(config, name).split("/")) for name in config.ood_sets())]
    sets = {}
    for name, split in wanted:
        images = load(data_root, name, split)
        if images.images.shape[1:3] != (config.data.image_size,) * 2 and "@" not in name:
            raise BenchError(
                f"{name}/{split}: its images are {images.images.shape[1]}x{images.images.shape[2]}, "
                f"data.image_size is {config.data.image_size}"
            )
        sets[f"{name}/{split}"] = images
    bank = len(limited(sets[f"{config.in_dist}/train"], config.data.train_limit))
    if max(config.eval.knn) > bank:
        raise BenchError(f"eval.knn: {max(config.eval.knn)} neighbours of {bank} training images of {config.in_dist}")
    return sets


def ood_key(config: RunConfig, name: str) -> str:
    return f"{config.stored_name(name)}/test"


def limit_of(config: RunConfig, key: str) -> int | None:
    if key == f"{config.in_dist}/train":
        return config.data.train_limit
    return config.data.aux_limit if key.endswith("/aux") else config.data.test_limit


def set_in_record(images: ImageSet, used: int) -> SetInRecord:
    known = info(images.name.split("@")[0])
    return SetInRecord(
        count=used,
        fingerprint=images.fingerprint,
        official=known.builtin or bool(images.manifest.get("official", False)),
        official_count=known.counts.get(images.split),
    )
