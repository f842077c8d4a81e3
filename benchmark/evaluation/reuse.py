"""Features that finished runs of the same fixed network have kept: one extraction serves ten single classes.

A network that is not trained answers to an image by the settings and the image alone, so that what a run kept of an
image is what the next one would find. Images are known by their pixels, whatever set they are in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import torch

from benchmark.data.identical import digests
from benchmark.data.images import stored_fingerprint
from benchmark.errors import BenchError, some_of
from benchmark.files import read_npz
from benchmark.methods.base import Outputs
from benchmark.plan.config import RunConfig
from benchmark.plan.identity import canonical
from benchmark.plan.untrained import FixedNetwork
from benchmark.running.context import Context
from benchmark.running.environment import environment
from benchmark.running.images import load_images
from benchmark.store.folders import RunFolder, all_runs, output_key
from benchmark.store.records import Record


def from_other_runs(run: Context, keys: Collection[str], names: Collection[str]) -> dict[str, Outputs]:
    """Of the images "set/split" `keys` the outputs "features" and `names` of those sets whose every image some finished
    runs beside this one have answered to. Which runs these are is said, and noted in `run.features_from`."""
    if not keys or not isinstance(run.config.method, FixedNetwork):
        return {}
    wanted = {key: digests(run.images.array(key)).tolist() for key in keys}
    needed = {one for some in wanted.values() for one in some}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("features", *names)}
    place: dict[int, int] = {}  # of an image's digest in the rows
    used: list[str] = []
    for folder, record in _alike(run):
        before = len(place)
        for seen, outputs in _kept(folder, record, run, list(rows)):
            new = {one: at for at, one in enumerate(seen) if one in needed and one not in place}
            place |= {one: len(place) + number for number, one in enumerate(new)}
            for name in rows:
                rows[name].append(outputs[name][list(new.values())])
        used += [folder.name] * (len(place) > before)
        if len(place) == len(needed):
            break
    found = {}
    for key, prints in wanted.items():
        if all(one in place for one in prints):
            where = [place[one] for one in prints]
            found[key] = {name: torch.from_numpy(np.concatenate(parts)[where]) for name, parts in rows.items()}
    if found:
        run.features_from.extend(used)
        run.reporter.say(f"features of {', '.join(found)} as {some_of(used, 3)} kept them")
    return found


def network_of(config: RunConfig) -> str:
    """All settings that the answer of a fixed network to an image depends on, in one text."""
    return canonical({key: value for key, value in config.identity().items() if key not in ("in_dist", "data", "eval")})


def _alike(run: Context) -> Iterator[tuple[RunFolder, Record]]:
    """The finished runs beside this one of the same network, by the same code, packages and kind of device."""
    network, here = network_of(run.config), environment(run.device)
    for folder in all_runs(run.folder.path.parent):
        if folder.name == run.folder.name or f"-{run.config.label}-s" not in folder.name:
            continue
        record = folder.try_record()[0]
        if record is None or any(record.environment.get(key) != here[key] for key in ("code", "packages", "device")):
            continue
        if record.config["method"] == run.config.method.model_dump() and network_of(record.run_config) == network:
            yield folder, record


def _kept(
    folder: RunFolder, record: Record, run: Context, names: list[str]
) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
    """The `digests` of the images of each set that a run has scored, and its outputs (N, ...) of them by name; of sets
    that are the same now, and whose outputs are all there."""
    config, root = record.run_config, run.images.root
    try:
        arrays, images = read_npz(folder.features), load_images(config, root)
    except BenchError:  # gone, broken, or other images by now: this run answers itself
        return
    changed = record.changed({key: stored_fingerprint(root, key) for key in record.data})
    for key in config.scored_keys():
        outputs = {name: arrays.get(output_key(key, name)) for name in names}
        count = len(images.positions(key))
        if key not in changed and all(rows is not None and len(rows) == count for rows in outputs.values()):
            yield digests(images.array(key)).tolist(), outputs  # type: ignore[misc]
