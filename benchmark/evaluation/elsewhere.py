"""Networks and features from elsewhere become runs like any other: scored, recorded, in tables and held against.

Shapes: N images, D features, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark import methods
from benchmark.data.images import ImageSet, data_root, load
from benchmark.data.images import folder as folder_of_set
from benchmark.detection.scores import full_float32, kept_features
from benchmark.errors import BenchError, first_line, unknown
from benchmark.evaluation.features import EMBED_BATCH
from benchmark.evaluation.measures import measure, write_record
from benchmark.files import atomic_write, expanded
from benchmark.methods.base import Outputs
from benchmark.plan import yamlfile
from benchmark.plan.config import RunConfig
from benchmark.plan.titles import title_of
from benchmark.plan.training_data import MEANINGS
from benchmark.plan.validation import validate
from benchmark.running.context import claim_run
from benchmark.running.device import Runtime, find_device, image_tensor
from benchmark.running.images import RunImages
from benchmark.scoring.base import summary
from benchmark.store.folders import RunFolder, all_runs, output_key
from benchmark.store.records import Record
from benchmark.views.recipes import AS_IT_IS
from benchmark.views.render import evaluation_view

# What a network answers to images (B, 3, S, S) in [0, 1]: features (B, D), or these and logits (B, K).
Network = Callable[[Tensor], Tensor | tuple[Tensor, Tensor]]
KNN = (20, 10)  # the k of k-NN accuracy, or as many as there are training images
ARRAYS = ("features", "logits", "labels")  # what a file of features may hold


@dataclass(frozen=True)
class ColumnOfOthers:
    """What whoever brings features says of them.

    column: what their column is called. training_data: what the network may have learnt from, in the words of
    `plan.training_data.MEANINGS`. scores: beside Eq. 6, by the names of `plan.scores`.
    """

    in_dist: str
    column: str
    training_data: str
    scores: Sequence[str] = ()
    seed: int = 0


@dataclass(frozen=True)
class NetworkOutputs:
    """What a network gave to the images of one set: features (N, D) and, where there are some, logits (N, K)."""

    features: Tensor
    logits: Tensor | None = None


def evaluate(
    network: Network,
    *,
    in_dist: str,
    ood: Sequence[str],
    training_data: str,
    column: str = "own",
    scores: Sequence[str] = (),
    size: int | None = None,
    seed: int = 0,
    data: str | Path | None = None,
    results: str | Path = "results",
    device: str = "auto",
) -> Record:
    """Score anybody's network on image sets that are stored here, and keep the record beside all others.

    network: any `nn.Module` or function from images (B, 3, S, S) float32 in [0, 1], RGB, to features (B, D), or to
    features and logits (B, K); what it subtracts of images is its own affair. A module is put into evaluation mode, on
    the device. size: S in pixels; other images are resized by Pillow's bicubic filter. By default as they are stored.
    The rest: see `ColumnOfOthers`; data is the folder of the image sets.

    Returns the run's record, of a column called `column`. Raises BenchError, one line, for sets that are not here,
    answers that are not features, and scores that cannot be had of them.
    """
    told = ColumnOfOthers(in_dist, column, training_data, scores, seed)
    place, root = find_device(Runtime(device=device)), data_root(None if data is None else Path(data))
    if isinstance(network, nn.Module):
        network.to(place).eval()
    keys = {f"{in_dist}/train": "", f"{in_dist}/test": "", **{f"{name}/test": name for name in ood}}
    sets = {key: load(root, *key.rsplit("/", 1)) for key in keys}
    found = {key: _asked(network, images, size, place) for key, images in sets.items()}
    return _kept_as_run(told, list(ood), found, sets, root, Path(results)).record


@torch.no_grad()
def _asked(network: Network, images: ImageSet, size: int | None, device: torch.device) -> NetworkOutputs:
    """The network's answers to all images of a set, a few at a time."""
    parts: list[NetworkOutputs] = []
    for start in range(0, images.count, EMBED_BATCH):
        pixels = image_tensor(images.images[start : start + EMBED_BATCH]).to(device)
        with full_float32():
            answer = network(evaluation_view(pixels, size or images.images.shape[1], AS_IT_IS))
        features, logits = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
        for name, rows in (("features", features), ("logits", logits)):
            if rows is not None and not (isinstance(rows, Tensor) and rows.ndim == 2 and len(rows) == len(pixels)):
                given = f"shape {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
                raise BenchError(f"the network's {name} of {len(pixels)} images are {given}, not one row per image")
        parts.append(NetworkOutputs(features.float().cpu(), None if logits is None else logits.float().cpu()))
    with_logits = [part.logits for part in parts if part.logits is not None]
    return NetworkOutputs(torch.cat([part.features for part in parts]), torch.cat(with_logits) if with_logits else None)


@dataclass(frozen=True)
class Brought:
    """A run made of features: its record, its folder, and the sweep file that has it in reports."""

    record: Record
    folder: RunFolder
    sweep: Path


def import_features(folder: Path, told: ColumnOfOthers, data: Path, results: Path) -> Brought:
    """Score the features in a folder's .npz files, one a set: train, test, and each OOD set by its name.

    A file holds `features` (N, D) and maybe `logits` (N, K) and `labels` (N,), -1 where unknown. Where the images of a
    set of this name are stored here, its rows are taken for those images, in their order.

    Raises BenchError, one line that names the file, for whatever is missing, broken, or of unequal widths.
    """
    folder = expanded(folder)
    files = {path.stem: path for path in sorted(folder.glob("*.npz"))}
    if lacking := [name for name in ("train", "test") if name not in files]:
        raise BenchError(f"{folder}: has no {lacking[0]}.npz; one file per set is wanted: train, test and each OOD set")
    ood = [name for name in files if name not in ("train", "test")]
    key_of = {name: f"{told.in_dist}/{name}" if name in ("train", "test") else f"{name}/test" for name in files}
    found, sets = {}, {}
    for name, path in files.items():
        answers, labels = _read(path)
        found[key_of[name]] = answers
        sets[key_of[name]] = _images_of(path, key_of[name], answers, labels, data)
    return _kept_as_run(told, ood, found, sets, data, results)


def _read(path: Path) -> tuple[NetworkOutputs, np.ndarray | None]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # numpy and zipfile raise whatever a broken file leads them to
        raise BenchError(f"{path}: not a readable .npz of numbers ({first_line(error)})") from error
    for name in arrays:
        if name not in ARRAYS:
            raise BenchError(f"{path}: {unknown('array', name, ARRAYS)}")
    if "features" not in arrays:
        raise BenchError(f"{path}: has no array 'features'")
    count = len(arrays["features"]) if arrays["features"].ndim else 0
    for name, rows in arrays.items():
        dimensions, kind = (1, "iu") if name == "labels" else (2, "f")
        if not count or rows.ndim != dimensions or len(rows) != count or rows.dtype.kind not in kind:
            what = "whole numbers, one a row of features" if name == "labels" else "numbers (N, width), N above 0"
            raise BenchError(f"{path}: {name}: {rows.dtype} {rows.shape} given, allowed are {what}")
    tensors = {name: torch.from_numpy(rows.astype(np.float32)) for name, rows in arrays.items() if name != "labels"}
    return NetworkOutputs(tensors["features"], tensors.get("logits")), arrays.get("labels")


def _images_of(path: Path, key: str, answers: NetworkOutputs, labels: np.ndarray | None, root: Path) -> ImageSet:
    """The images that the rows are taken for: those stored here, or nameless ones that the file's numbers stand for."""
    count, (name, split) = len(answers.features), key.rsplit("/", 1)
    try:
        stored = load(root, name, split)
    except BenchError:
        known = np.full(count, -1) if labels is None else labels.astype(np.int64)
        return ImageSet(name, split, np.empty((count, 0, 0, 3), np.uint8), known, _sha256({key: answers}), {})
    if stored.count != count:
        raise BenchError(f"{path}: has {count} rows, and {key} has {stored.count} images here; give one row per image")
    if labels is not None and (labels != stored.labels)[(labels >= 0) & (stored.labels >= 0)].any():
        raise BenchError(f"{path}: its labels are not those of {key} here; rows must be in the order of the images")
    return stored


def _sha256(answers: Mapping[str, NetworkOutputs]) -> str:
    """Of the names and numbers of these answers, by "set/split"."""
    made = hashlib.sha256()
    for key in sorted(answers):
        made.update(key.encode() + b"\0")
        for rows in (answers[key].features, answers[key].logits):
            made.update(
                b"none" if rows is None else str(tuple(rows.shape)).encode() + rows.contiguous().numpy().tobytes()
            )
    return made.hexdigest()


def _kept_as_run(
    told: ColumnOfOthers,
    ood: list[str],
    found: Mapping[str, NetworkOutputs],
    sets: dict[str, ImageSet],
    root: Path,
    results: Path,
) -> Brought:
    """Check what was brought, score it, and write the run's folder."""
    for key in found:
        folder_of_set(root, *key.rsplit("/", 1))  # a name that could be a set's
    _check(told, found)
    logits = all(one.logits is not None for one in found.values())
    method = {"name": "features", "column": told.column, "sha256": _sha256(found),
              "training_data": told.training_data, "logits": logits}  # fmt: skip
    neighbours = list(dict.fromkeys(min(k, len(found[f"{told.in_dist}/train"].features)) for k in KNN))
    raw: dict[str, Any] = {
        "in_dist": told.in_dist, "seed": told.seed, "method": method,
        "eval": {"ood": ood, "scores": list(told.scores), "knn": neighbours},
    }  # fmt: skip
    config: RunConfig = validate(RunConfig, raw, told.column)
    images = RunImages(config, sets, root)
    config.check_count(len(found[config.train_key].features))
    _check_alone(config, expanded(results))
    with claim_run(config, expanded(results), images, torch.device("cpu"), Runtime(device="cpu")) as run:
        if isinstance(run, RunFolder):
            folder, record = run, run.read_record()
            assert record is not None  # or it would not be done
        else:
            outputs = {key: _outputs(found[key]) for key in config.scored_keys()}
            arrays = {output_key(key, name): rows.numpy() for key, of in outputs.items() for name, rows in of.items()}
            with atomic_write(run.folder.features) as stream:
                np.savez(stream, **arrays)  # type: ignore[arg-type]
            measured = measure(methods.build(config, run.device), run, outputs)
            folder, record = run.folder, write_record(run, {}, None, measured)
    sweep = folder.path / f"{told.column}.yaml"
    with atomic_write(sweep, "w") as text:
        text.write(yamlfile.write({"title": told.column, "base": raw, "references": []}))
    return Brought(record, folder, sweep)


def _check_alone(config: RunConfig, results: Path) -> None:
    """Raise BenchError, one line, where the column has other features of this set and seed: a table shows one."""
    for folder in all_runs(results):
        if not folder.name.startswith(f"{config.short_name}-") or (record := folder.try_record()[0]) is None:
            continue
        if record.config["method"].get("sha256") not in (None, config.method.sha256):  # type: ignore[attr-defined]
            raise BenchError(
                f"{folder.path}: has other features of column {config.label!r}, {config.in_dist}, seed {config.seed}; "
                "give another seed or column, or delete that folder"
            )


def _outputs(answers: NetworkOutputs) -> Outputs:
    """In the form that runs keep."""
    made = {"features": kept_features(answers.features), "norm": answers.features.norm(dim=1)}
    return made if answers.logits is None else made | {"class_logits": summary(answers.logits)}


def _check(told: ColumnOfOthers, found: Mapping[str, NetworkOutputs]) -> None:
    """Raise BenchError, one line, for a column that is taken, unknown training data, and rows that cannot be scored."""
    if title_of(told.column) != told.column:
        raise BenchError(f"column {told.column!r}: is what {title_of(told.column)} is called; name yours otherwise")
    if told.column == "config":
        raise BenchError("column 'config': its sweep file would be the run's own config.yaml; give another name")
    for word in told.training_data.split(", "):
        if word not in MEANINGS:
            raise BenchError(f"training data: {unknown('word', word, MEANINGS)}; several are separated by a comma")
    first = f"{told.in_dist}/train"
    for name in ("features", "logits"):
        wanted = getattr(found[first], name)
        for key, one in found.items():
            rows = getattr(one, name)
            if (rows is None) != (wanted is None):
                some, none = (first, key) if rows is None else (key, first)
                raise BenchError(f"{name}: {some} has some, {none} has none")
            if rows is None:
                continue
            if rows.shape[1] != wanted.shape[1]:
                raise BenchError(f"{name}: {key} has {rows.shape[1]} numbers a row, {first} has {wanted.shape[1]}")
            if bad := int((~torch.isfinite(rows)).any(1).sum()):
                raise BenchError(f"{name}: {key} has NaN or infinity in {bad} of {len(rows)} rows")
