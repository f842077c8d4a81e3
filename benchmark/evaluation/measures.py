"""From stored outputs to scores and to the numbers of the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmark.detection.knn import knn_accuracy
from benchmark.detection.metrics import ood_metrics, sensitivity
from benchmark.evaluation.features import NEAR_UNIFORM
from benchmark.evaluation.kept import Kept
from benchmark.files import atomic_write
from benchmark.methods.base import Method, Outputs
from benchmark.plan.config import RunConfig
from benchmark.plan.scores import needs
from benchmark.plan.training_data import caveats
from benchmark.running.context import Context
from benchmark.running.environment import commits, environment
from benchmark.running.images import RunImages
from benchmark.scoring.named import named
from benchmark.store.folders import NEGATIVES, score_key
from benchmark.store.records import OODMetrics, Record, ScoreInRecord


@dataclass(frozen=True)
class Measures:
    """What a run measured; see `Record` for the units."""

    knn_accuracy: dict[str, float | None]
    scores: dict[str, ScoreInRecord]
    extra: dict[str, Any]
    alarms: list[str]


@torch.no_grad()
def measure(method: Method, run: Context, outputs: dict[str, Outputs], kept: Kept | None = None) -> Measures:
    """Score every image, keep the scores in scores.npz, and hold the sets against each other.

    kept: of an earlier scoring, whose further scores are not made again.
    """
    run.reporter.phase("score")
    images, config = run.images, run.config
    train_key, test_key = config.train_key, config.test_key
    ood_keys = {name: config.ood_key(name) for name in config.ood_sets()}
    test = outputs[test_key]
    own = config.method.own_score
    arrays: dict[str, np.ndarray] = {}
    scores: dict[str, ScoreInRecord] = {}
    for name in dict.fromkeys([own, *config.scores()]):
        found = kept.scored(name, config.scored_keys()) if kept and name != own else {}
        if name == own:
            found = own_scores(method, config, outputs)
        elif missing := [key for key in config.scored_keys() if key not in found]:
            run.reporter.say(f"score {name}")
            found |= scores_by(name, config, outputs, method.device, missing)
        arrays |= {score_key(key, name): values for key, values in found.items()}
        scores[name] = ScoreInRecord(
            ood=_detection(found, test_key, ood_keys),
            sensitivity=sensitivity(found[train_key], found[test_key]),
            passes=config.passes(name),
        )
        run.reporter.alive()
    with atomic_write(run.folder.scores) as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    extra = method.extra_measures(test, images.labels(test_key), {n: outputs[k] for n, k in ood_keys.items()})
    run.clock.lap("score")
    return Measures(
        knn_accuracy=accuracies(images, outputs),
        scores=scores,
        extra=extra,
        alarms=_collapsed(outputs[train_key], run) if config.method.trains else [],
    )


ALL_BUT_ONE = 0.999  # trained networks here had 0.95 at most


def _collapsed(train: Outputs, run: Context) -> list[str]:
    """An alarm, said too, where all training images have all but one feature, whatever the method and its loss say: the
    mean cosine of two of them, drawn with replacement."""
    mean = train["features"].double().mean(0)
    cosine = float(mean @ mean)
    if cosine < ALL_BUT_ONE:
        return []
    alarm = f"collapse: the features of the training images are all but one (mean cosine {cosine:.4f})"
    run.reporter.say(f"ALARM {alarm}")
    return [alarm]


MUCH_UNIFORM = 25.0  # per cent of the training images


def _uniform(occupied: dict[str, float] | None, run: Context) -> list[str]:
    """An alarm, said too, where the network that is scored answers many training images as the loss wants negatives to
    be answered: OOD images then lie among them, and a density such as Eq. 6 takes them for familiar."""
    share = (occupied or {}).get("near_uniform", 0.0)
    if share <= MUCH_UNIFORM:
        return []
    alarm = f"near uniform: {share:.0f} % of the training images are within {NEAR_UNIFORM} nats of the uniform response"
    run.reporter.say(f"ALARM {alarm}")
    return [alarm]


def own_scores(method: Method, config: RunConfig, outputs: dict[str, Outputs]) -> dict[str, np.ndarray]:
    """The method's own score of every image (N,) by "set/split"; no training image sees itself."""
    train_key = config.train_key
    train = outputs[train_key]
    method.fit(train)
    # float32 as kept in scores.npz, so that whoever reads that file finds the record's own numbers.
    others = [key for key in config.scored_keys() if key != train_key]
    scores = {key: method.score(outputs[key]).float().numpy() for key in others}
    return scores | {train_key: method.score(train, torch.arange(len(train["features"]))).float().numpy()}


def scores_by(
    name: str, config: RunConfig, outputs: dict[str, Outputs], device: torch.device, keys: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """As `own_scores`, by the score called `name`. keys: only of these "set/split", by default of all."""
    score = named(name, config.eval.temperature)
    train = _on(device, outputs[config.train_key])
    if "negatives" in needs([name]):
        train |= {"negatives": outputs[NEGATIVES]["features"].to(device)}
    score.fit(train)
    itself = torch.arange(len(outputs[config.train_key]["features"]))
    return {
        key: score.score(_on(device, outputs[key]), itself if key == config.train_key else None).float().numpy()
        for key in keys or config.scored_keys()
    }


def accuracies(images: RunImages, outputs: dict[str, Outputs]) -> dict[str, float | None]:
    """k-NN accuracy on the ID test set by k, as in the record."""
    config = images.config
    found = knn_accuracy(
        outputs[config.test_key]["features"].float(),
        images.labels(config.test_key),
        outputs[config.train_key]["features"].float(),
        images.labels(config.train_key),
        tuple(config.eval.knn),
        config.eval.knn_temperature,
    )
    return {str(k): found.get(k) for k in config.eval.knn}


def _on(device: torch.device, outputs: Outputs) -> Outputs:
    return {name: rows.to(device) for name, rows in outputs.items()}


def _detection(scores: dict[str, np.ndarray], test_key: str, ood_keys: dict[str, str]) -> dict[str, OODMetrics]:
    """The measures of each OOD set by its name; scores: by "set/split"."""
    return {
        name: OODMetrics.model_validate(ood_metrics(scores[test_key], scores[key])) for name, key in ood_keys.items()
    }


def write_record(
    run: Context,
    training: dict[str, Any],
    occupied: dict[str, float] | None,
    measured: Measures,
    kept: Kept | None = None,
) -> Record:
    """The run's record, on disk; what only an unfinished run needs goes. kept: of an earlier scoring."""
    for line in caveats(run.config):
        run.reporter.say(f"note: {line}")
    alarms = training.get("alarms", []) + measured.alarms + _uniform(occupied, run)
    training = training | ({"alarms": alarms} if training else {})
    trajectory = training.pop("trajectory", [])
    record = Record(
        run_id=run.run_id,
        recipe_id=run.config.recipe_id(),
        name=run.folder.name,
        config=run.config.model_dump(mode="json"),
        data=run.images.in_record(),
        own=run.config.method.own_score,
        scores=measured.scores,
        knn_accuracy=measured.knn_accuracy,
        occupancy=occupied,
        extra=measured.extra,
        trajectory=trajectory,
        training=training,
        timings=_seconds(run.clock.laps, kept),
        environment={**_made_on(run, kept), **commits(run.folder)},
    )
    run.check_lease()
    run.folder.write_record(record)
    for leftover in run.folder.path.glob("checkpoint*.pt"):
        leftover.unlink()
    return record


def _seconds(laps: dict[str, float], kept: Kept | None) -> dict[str, float]:
    """Seconds by phase, with those of the earlier scoring."""
    earlier = kept.record.timings if kept else {}
    return {name: round(earlier.get(name, 0.0) + laps.get(name, 0.0), 3) for name in {**earlier, **laps}}


def _made_on(run: Context, kept: Kept | None) -> dict[str, Any]:
    """The machine and packages that trained the run, or answered to its images where nothing is trained; a further
    score elsewhere does not change them."""
    if kept and (run.config.method.trains or kept.features):
        made = kept.record.environment
    else:
        made = {**environment(run.device), "processes": run.ranks.world}
    runs = dict.fromkeys([*made.get("features_from", []), *run.features_from])
    return {**made, **({"features_from": list(runs)} if runs else {})}
