"""What a trained method answers to a run's images, kept in features.npz."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from benchmark.detection.occupancy import from_uniform
from benchmark.detection.scores import full_float32
from benchmark.errors import BenchError
from benchmark.evaluation.reuse import from_other_runs
from benchmark.files import atomic_write
from benchmark.methods.base import Method, Outputs, ignore
from benchmark.plan.scores import Need, needs
from benchmark.running.context import Context
from benchmark.running.device import image_tensor
from benchmark.scoring.outputs import batch_outputs, output_names
from benchmark.store.folders import NEGATIVES, output_key
from benchmark.training.foregrounds import foregrounds
from benchmark.training.trained import batches_of

if TYPE_CHECKING:
    from benchmark.evaluation.kept import Kept

EMBED_BATCH = 256  # images a forward pass in evaluation
NEGATIVES_KEPT = 2000  # negatives whose features are kept, where a score is measured from them
NEAR_UNIFORM = 0.3  # nats: a response no further from uniform than this is taken for a negative's


@torch.no_grad()
def extract(
    method: Method, run: Context, kept: Kept | None = None
) -> tuple[dict[str, Outputs], dict[str, float] | None]:
    """Stored outputs of the ID and OOD sets by "set/split", and the occupancy on the ID test set.

    In features.npz the features of a set have its key, any further output KEY:NAME. Where a score is measured from the
    run's negatives, "negatives" holds features of some. kept: of an earlier scoring, which is asked before the network
    is. Raises BenchError for features that are not finite.
    """
    run.reporter.phase("features")
    wanted, config = needs(run.config.scores()), run.config
    there: dict[str, Outputs] = {}
    if kept:
        for key in config.scored_keys():
            answer = kept.outputs(key, output_names(wanted), len(run.images.positions(key)))
            if answer is not None:
                there[key] = answer
    there |= from_other_runs(run, [key for key in config.scored_keys() if key not in there], output_names(wanted))
    found, occupied = network_outputs(method, run, wanted, run.reporter.extracted, run.reporter.say, there)
    if kept and config.test_key in there:
        occupied = kept.record.occupancy
    if "negatives" in wanted:
        known = kept.features.get(NEGATIVES) if kept else None
        rows = features_of_negatives(method, run) if known is None else torch.from_numpy(known)
        found[NEGATIVES] = {"features": rows}
    arrays = {output_key(key, name): rows.numpy() for key, outputs in found.items() for name, rows in outputs.items()}
    with atomic_write(run.folder.features) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    run.clock.lap("features")
    return found, occupied


def features_of_negatives(method: Method, run: Context) -> Tensor:
    """Features (L, D), of their own length, of whole negatives drawn by the run's seed, as many of each kind: L is
    `NEGATIVES_KEPT`, or all that an epoch has where these are fewer."""
    run = run.alone()  # one process takes whole batches, however many have trained
    run.reporter.say("features of negatives")
    batches = batches_of(method, run.images, run.device, foregrounds(run), run.ranks)
    parts: list[Tensor] = []
    left = NEGATIVES_KEPT
    for step in range(batches.steps_per_epoch):
        images = torch.stack(batches.plain(step)[1], 1).flatten(0, 1)[:left]  # a row's kinds stand side by side
        with full_float32():
            parts += [method.embed(some)["features"].float().cpu() for some in images.split(EMBED_BATCH)]
        run.reporter.alive()
        if not (left := left - len(images)):
            break
    return torch.cat(parts)


@torch.no_grad()
def network_outputs(
    method: Method,
    run: Context,
    wanted: frozenset[Need],
    between: Callable[[int, int], None],
    say: Callable[[str], None] = ignore,
    there: Mapping[str, Outputs] = MappingProxyType({}),
) -> tuple[dict[str, Outputs], dict[str, float] | None]:
    """What `extract` gives, kept nowhere. wanted: by the scores beside the method's own. between: told after every
    batch how many images are done, of how many. say: told of every set. there: what is known, by "set/split"."""
    found: dict[str, Outputs] = {}
    logits: list[Tensor] = []
    distances: list[Tensor] = []
    config = run.config
    positions = {key: run.images.positions(key) for key in config.scored_keys() if key not in there}
    done, images_in_all = 0, sum(map(len, positions.values()))

    for key in config.scored_keys():
        if key in there:
            found[key] = there[key]
            continue
        say(f"features of {key}")
        images, rows = run.images.sets[key].images, positions[key]
        parts: list[Outputs] = []
        for start in range(0, len(rows), EMBED_BATCH):
            with full_float32():
                pixels = image_tensor(images[rows[start : start + EMBED_BATCH]]).to(method.device)
                outputs, stored = batch_outputs(method, pixels, wanted)
            parts.append({name: rows.cpu() for name, rows in stored.items()})
            if key in (config.train_key, config.test_key) and (soft := method.soft_logits(outputs)) is not None:
                if key == config.test_key:
                    logits.append(soft.float().cpu())
                elif (classes := method.class_logits(outputs)) is not None:
                    distances.append(from_uniform(classes).cpu())
            done += len(pixels)
            between(done, images_in_all)
        found[key] = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        for name, values in found[key].items():
            if not torch.isfinite(values.float()).all():
                raise BenchError(f"{key}: the {name} hold NaN or infinity; the training diverged")
    occupied = method.occupancy(torch.cat(logits)) if logits else None
    if occupied and distances:
        occupied["near_uniform"] = 100 * float((torch.cat(distances) <= NEAR_UNIFORM).double().mean())
    return found, occupied
