"""Records held against what is kept beside them: whatever can be recomputed is, and what cannot is named.

Verified are numbers of record.json. Each is either recomputed, or counted with the reason why it cannot be. Where no
features are kept neither torch nor scikit-learn is imported, so that thousands of records take seconds.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmark.data import images
from benchmark.detection.recount import recount
from benchmark.errors import BenchError
from benchmark.plan.config import RunConfig
from benchmark.plan.identity import flat
from benchmark.store.folders import RunFolder, score_key
from benchmark.store.records import Record

# In per cent. One pair of images moves an AUROC of 10,000 against 10,000 by 1e-6; rounding moves it by 1e-12.
TOLERANCE = 1e-8

NO_LOGITS = "occupancy: the logits are not kept"
NO_TRAINING = "losses, timings and what was measured on the way: only training again would tell"
NO_FEATURES = "scores, k-NN accuracy and the method's own measures from features: features.npz is not kept"
NOT_ASKED = "scores, k-NN accuracy and the method's own measures from features: left out, as --no-features asks"
NO_IMAGES = "k-NN accuracy and the method's own measures: the run's images are not on this machine"
NO_SCORES = "metrics: their scores are missing or broken"
UNKNOWN = "no way to recompute them is known here"

Fingerprint = Callable[[str], str | None]  # "set/split" -> sha256 of its images here, None where they are not


@dataclass(frozen=True)
class Problem:
    """What differs. recorded, recomputed: None where there are no two values; `note` says then what is wrong."""

    file: str
    key: str
    recorded: Any = None
    recomputed: Any = None
    note: str = ""

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: " + (self.note or f"recorded {self.recorded}, recomputed {self.recomputed}")


@dataclass
class Verdict:
    """What became of one run's folder."""

    path: Path
    state: Literal["verified", "unfinished", "running"] = "verified"
    verified: int = 0  # numbers of the record that were recomputed, those that differ among them
    rescored: int = 0  # images whose scores were recomputed from features
    problems: list[Problem] = field(default_factory=list)
    unchecked: Counter[str] = field(default_factory=Counter)  # why -> how many numbers
    images: Counter[str] = field(default_factory=Counter)  # "the same", "others", "none" -> how many sets are so here

    def number(self, key: str, recorded: Any, recomputed: Any, tolerance: float = TOLERANCE) -> None:
        """Count a number of the record, and keep it where it differs; NaN differs from everything."""
        self.verified += 1
        numbers = isinstance(recorded, int | float) and isinstance(recomputed, int | float)
        if not (abs(recorded - recomputed) <= tolerance if numbers else recorded == recomputed):
            self.problems.append(Problem("record.json", key, recorded, recomputed))

    def text(self, file: str, key: str, recorded: Any, recomputed: Any) -> None:
        if recorded != recomputed:
            self.problems.append(Problem(file, key, recorded, recomputed))

    def wrong(self, file: str, key: str, note: str) -> None:
        self.problems.append(Problem(file, key, note=note))

    def unreadable(self, error: BenchError) -> None:
        """Keep what is wrong with a file of the run, without the folder, which is known."""
        file, _, note = str(error).removeprefix(f"{self.path}{os.sep}").partition(": ")
        self.problems.append(Problem(file, "", note=note or str(error)))


def verify(folders: list[RunFolder], data_root: Path, features: bool = True) -> Iterator[Verdict]:
    """A verdict a folder, in order. features: also recompute scores and more from the features, where they are kept."""
    fingerprint: Fingerprint = functools.cache(functools.partial(images.stored_fingerprint, data_root))
    for folder in folders:
        yield _examine(folder, data_root, fingerprint, features)


def _examine(folder: RunFolder, data_root: Path, fingerprint: Fingerprint, features: bool) -> Verdict:
    found = Verdict(folder.path)
    if folder.lease_is_live():
        found.state = "running"
        return found
    try:
        record = folder.read_record()
        config = record.run_config if record else None
        expected = config.scored_keys() if config else []
    except BenchError as error:
        found.unreadable(error)
        return found
    if record is None or config is None:
        found.state = "unfinished"
        return found
    _identity(found, folder, record, config)
    _images(found, record, config, expected, fingerprint)
    whole = record.model_dump(mode="json")
    scores = _scores(found, folder, record, config, expected)
    found.text("record.json", "own", record.own, config.method.own_score)
    for name, entry in whole["scores"].items():
        _metrics(found, config, entry, scores, name)
        found.number(f"scores.{name}.passes", entry["passes"], config.passes(name))
    _from_features(found, folder, record, config, scores, data_root, fingerprint, features)
    found.unchecked[NO_LOGITS] += len(flat(record.occupancy or {}))
    on_the_way = sum(len(flat(look)) for look in whole.get("trajectory") or [])
    found.unchecked[NO_TRAINING] += len(flat(record.training)) + len(record.timings) + on_the_way
    return found


def _identity(found: Verdict, folder: RunFolder, record: Record, config: RunConfig) -> None:
    """Names against settings and fingerprints, and the settings in config.yaml against those in the record."""
    found.text("record.json", "recipe_id", record.recipe_id, config.recipe_id())
    prints = {key: record.data[key].fingerprint for key in map("/".join, config.training_sets()) if key in record.data}
    found.text("record.json", "run_id", record.run_id, config.run_id(prints))
    found.text("record.json", "name", record.name, config.run_name(record.run_id))
    if (name := folder.path.resolve().name) != record.name:
        found.wrong("record.json", "name", f"is {record.name}, its folder is called {name}")
    try:
        kept = folder.read_config()
    except BenchError as error:
        found.unreadable(error)
        return
    here, there = (flat(one.model_dump(mode="json")) for one in (kept, config))
    for key in sorted({*here, *there} - {"eval.ood", "eval.scores", "eval.every"}):  # asked for since, perhaps
        if here.get(key) != there.get(key):
            found.wrong("config.yaml", key, f"is {here.get(key)}, in record.json {there.get(key)}")


def _images(found: Verdict, record: Record, config: RunConfig, expected: list[str], fingerprint: Fingerprint) -> None:
    """The sets that the run read, and whether those here are the same. Others here are no fault of the record's."""
    wanted = {*expected, *map("/".join, config.training_sets())}
    for key in sorted(wanted ^ set(record.data)):
        found.wrong("record.json", f"data.{key}", "is missing" if key in wanted else "is no set of this run")
    for key, seen in record.data.items():
        here = fingerprint(key)
        found.images["none" if here is None else "the same" if here == seen.fingerprint else "others"] += 1
    for name, entry in record.scores.items():
        for key in sorted(set(entry.ood) ^ set(config.ood_sets())):
            known = "is no set of this run" if key in entry.ood else "is missing"
            found.wrong("record.json", f"scores.{name}.ood.{key}", known)


def _scores(
    found: Verdict, folder: RunFolder, record: Record, config: RunConfig, expected: list[str]
) -> dict[str, np.ndarray]:
    """The sound arrays of scores.npz."""
    try:
        arrays = folder.read_scores(config)
    except BenchError as error:
        found.unreadable(error)
        return {}
    wanted = {score_key(key, name): key for key in expected for name in record.scores}
    for name in sorted(wanted.keys() ^ arrays.keys()):
        found.wrong("scores.npz", name, "is missing" if name in wanted else "stands for nothing in the record")
    sound = {}
    for name, key in wanted.items():
        if name not in arrays or key not in record.data:
            continue
        values, count = arrays[name], record.data[key].count
        if values.shape != (count,) or values.dtype.kind != "f" or not count:
            found.wrong("scores.npz", name, f"holds {values.dtype} {values.shape}, not scores of {count} images")
        elif bad := int(np.sum(~np.isfinite(values))):
            found.wrong("scores.npz", name, f"{bad} of {count} scores are not finite")
        else:
            sound[name] = values
    return sound


def _metrics(
    found: Verdict, config: RunConfig, recorded: Mapping[str, Any], scores: dict[str, np.ndarray], name: str
) -> None:
    """Every OOD metric and the sensitivity by the score called `name`."""
    train, test = (scores.get(score_key(key, name)) for key in (config.train_key, config.test_key))
    for ood, metrics in recorded["ood"].items():
        outside = scores.get(score_key(config.ood_key(ood), name))
        counted = {} if test is None or outside is None else recount(test, outside)
        for metric, value in metrics.items():
            if value is None:  # a metric younger than the record
                continue
            if metric in counted:
                found.number(f"scores.{name}.ood.{ood}.{metric}", value, counted[metric])
            else:
                found.unchecked[UNKNOWN if counted else NO_SCORES] += 1
    if train is None or test is None:
        found.unchecked[NO_SCORES] += 1
    else:
        found.number(f"scores.{name}.sensitivity", recorded["sensitivity"], recount(train, test)["auroc"])


def _from_features(
    found: Verdict,
    folder: RunFolder,
    record: Record,
    config: RunConfig,
    scores: dict[str, np.ndarray],
    data_root: Path,
    fingerprint: Fingerprint,
    wanted: bool,
) -> None:
    measures = flat({"knn_accuracy": record.knn_accuracy, "extra": record.extra})
    rest = {key: value for key, value in measures.items() if value is not None}
    if not wanted or not folder.features.exists():
        found.unchecked[NO_FEATURES if wanted else NOT_ASKED] += len(rest)
        return
    from benchmark.evaluation import rescore  # torch

    keys = (config.train_key, config.test_key)
    labelled = all(key in record.data and fingerprint(key) == record.data[key].fingerprint for key in keys)
    try:
        again = rescore.rescore(folder, config, record, data_root if labelled else None)
    except BenchError as error:
        found.unreadable(error)
        return
    for key, values in again.scores.items():
        found.rescored += len(values)
        if key in scores and (off := np.abs(scores[key] - values) > again.tolerance(values)).any():
            most = float(np.abs(scores[key] - values).max())
            note = f"{int(off.sum())} of {len(off)} scores are not those of features.npz, by up to {most:.3g}"
            found.wrong("scores.npz", key, note)
    anew = flat(again.measures)
    for key, value in rest.items():
        if key in anew:
            found.number(key, value, anew[key], again.vote if key.startswith("knn_accuracy.") else TOLERANCE)
        else:
            found.unchecked[UNKNOWN if labelled else NO_IMAGES] += 1
