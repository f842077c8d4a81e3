"""A set's images before one another's backgrounds: how far does a detector go by what is behind the objects?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmark.data.catalog import OTHER_BACKGROUNDS
from benchmark.data.images import ImageSet, load, write_set
from benchmark.errors import BenchError
from benchmark.running.device import image_tensor
from benchmark.seeds import generator
from benchmark.views.foregrounds import compose, fill_in
from benchmark.views.saliency import VERSION, foreground

CHUNK = 256


def write_other_backgrounds(root: Path, name: str, replace: bool = False) -> ImageSet:
    """Store NAME-other-backgrounds/test: each test image of the set before the background of another one, filled in
    where that one's foreground was. Order, labels and classes are the set's own.

    Raises BenchError for a set that is not here, has one image alone, or is a class or another size of one, and where
    other images are stored under that name.
    """
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.endswith(OTHER_BACKGROUNDS):
        raise BenchError(f"{name}: backgrounds are changed of a whole set, as in cifar10; its classes follow")
    images = load(root, name, "test")
    if images.count < 2:
        raise BenchError(f"{name}/test: has one image alone, and none whose background it could take")
    order = torch.randperm(images.count, generator=generator("other backgrounds", name))
    other = torch.empty_like(order)
    other[order] = order.roll(1)  # one circle through all of them: nobody keeps its own

    parts = []
    for some in torch.arange(images.count).split(CHUNK):
        mine, theirs = (image_tensor(images.images[index.numpy()]) for index in (some, other[some]))
        behind = fill_in(theirs, foreground(theirs), torch.float64)
        changed = compose(mine, foreground(mine), behind, torch.float64)
        parts.append(changed.permute(0, 2, 3, 1).numpy())
    recipe = (
        f"the images of {name}/test (sha256 {images.fingerprint[:12]}) before one another's backgrounds, "
        f"foregrounds by minimum-barrier (version {VERSION})"
    )
    classes = images.manifest.get("classes")
    made = np.concatenate(parts)
    return write_set(root, name + OTHER_BACKGROUNDS, "test", made, images.labels, recipe, classes, replace)
