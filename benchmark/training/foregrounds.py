"""Where the foreground masks of a run's training images come from."""

from __future__ import annotations

import torch

from benchmark.data import masks
from benchmark.data.catalog import split_class
from benchmark.data.images import ImageSet, load
from benchmark.running.context import Context
from benchmark.training.batches import DeviceImages
from benchmark.views.foregrounds import Foregrounds
from benchmark.views.saliency import VERSION

CHUNK = 256  # images that are looked at together


def foregrounds(run: Context) -> Foregrounds:
    """Of the run's training images. Masks are kept beside their set: a run on a whole set finds what is missing before
    it trains, a run on a class or another part takes what is there and finds the rest as it meets it.

    Raises BenchError for kept masks that are of other images or damaged.
    """
    config, key = run.config, run.config.train_key
    positions = run.images.positions(key)
    if not config.masked:
        return Foregrounds(len(positions))
    mine, root = run.images.sets[key], run.images.root
    whole = mine if mine.rows is None else load(root, split_class(config.in_dist)[0], "train")
    if len(positions) == whole.count:
        run.ranks.from_main(lambda: _keep(run, whole))
    kept = masks.read(root, whole, config.data.mask, VERSION)
    if kept is None:
        return Foregrounds(len(positions))
    rows = positions if mine.rows is None else mine.rows[positions]
    return Foregrounds(len(positions), torch.from_numpy(kept[rows]))


def _keep(run: Context, images: ImageSet) -> None:
    """Find the masks of a whole set and write them beside it, if they are not there."""
    method, root, say = run.config.data.mask, run.images.root, run.reporter.say
    if masks.read(root, images, method, VERSION) is not None:
        return
    say(f"finding the foregrounds of {images.count} images, once for all runs on {images.name}")
    found, pixels = Foregrounds(images.count), DeviceImages(images.images, run.device, resident_bytes=0)
    for some in torch.arange(images.count).split(CHUNK):
        found.masks(some, pixels.take(some))
    say(f"no foreground found in {found.whole} of {found.seen} images; the whole is taken")
    try:
        masks.write(root, images, method, VERSION, found.packed().numpy(), found.whole)
    except OSError as error:  # a shared folder of others: every run finds its own
        say(f"the masks cannot be kept beside the images ({error.strerror or error}); each run finds them again")
