"""A finished run -> a detector folder. Reads the run's own files; images are read only to check the result.

Shapes: N images, M bank rows, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark import methods
from benchmark.data import images as stored_images
from benchmark.data.subsets import limited
from benchmark.detection.metrics import auroc
from benchmark.detection.scores import ood_scores
from benchmark.detection.threshold import Threshold, choose_threshold
from benchmark.detector import artifact, onnx_graph
from benchmark.detector.artifact import BACKBONE, BANK, CARD, HEAD, NAMES, SETTINGS, HeadInfo, Settings
from benchmark.detector.bank import bank_size, thin
from benchmark.detector.card import model_card
from benchmark.detector.detector import Detector
from benchmark.detector.folder import check_target, in_place_of, save_tensors
from benchmark.detector.patches import IMAGES
from benchmark.detector.patches import add as add_patches
from benchmark.detector.run_images import TrainingImages, same_images, training_images
from benchmark.errors import BenchError, first_line, some_of, unknown
from benchmark.files import atomic_write, expanded, read_npz, write_json
from benchmark.methods.base import Method, ScoringHead
from benchmark.models.backbones import create
from benchmark.models.spatial import has_map
from benchmark.plan.config import RunConfig
from benchmark.plan.run_names import meant
from benchmark.plan.scores import EQ6, OWN, needs, parts
from benchmark.plan.sections import ModelConfig
from benchmark.plan.training_data import caveats, training_data
from benchmark.scoring.base import Outputs
from benchmark.scoring.named import Sum, named
from benchmark.scoring.outputs import output_names
from benchmark.seeds import derive_seed
from benchmark.store.folders import NEGATIVES, RunFolder, all_runs
from benchmark.store.records import Record, ScoreInRecord

CHECKED_IMAGES = 256  # of the ID test set, when the export is held against the run
# A cosine of features in float16 on another machine may differ by this much; scores by that over the temperature.
TOLERANCE = 2e-3


def find_run(run: str, results: Path) -> RunFolder:
    """The run of this name, or of the only name that begins so, under `results`, or at this path."""
    for path in (expanded(run), results / run):
        if (path / "config.yaml").is_file():
            return RunFolder(path)
    names = [folder.name for folder in all_runs(results)]
    if len(found := meant(run, names)) == 1:
        return RunFolder(results / found[0])
    if found:
        raise BenchError(f"{run}: {len(found)} runs are called so: {some_of(found)}; name one")
    if not names:
        raise BenchError(f"{run}: no such run, and {results} holds none; start some: bench sweep SWEEP.yaml")
    raise BenchError(unknown(f"run in {results}:", run, names))


@dataclass(frozen=True)
class _Source:
    """A finished run: its settings, its network with the trained weights, and what it kept of every set.

    features: "set/split" -> (N, D) float16. scores: "set/split" -> (N,) float32, larger = more OOD, by `score`.
    outputs: what else that score reads of the training images; head: what it asks for class probabilities.
    """

    record: Record
    config: RunConfig
    backbone: nn.Module
    features: dict[str, Tensor]
    scores: dict[str, Tensor]
    score: str
    outputs: Outputs
    head: ScoringHead | None

    @property
    def measured(self) -> ScoreInRecord:
        return self.record.scores[self.score]


@dataclass(frozen=True)
class _Bank:
    """The rows of the training features (M, D) that are kept, int64, and how many rows each stands for, float32.

    weights: None where every row is kept. scores: as the run's, by this bank.
    """

    rows: Tensor
    weights: Tensor | None
    scores: dict[str, Tensor]


@dataclass(frozen=True)
class _Some:
    """Some images of a set, (N, S, S, 3) uint8, and at which rows of the run's features of that set they are, (N,)."""

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]


def export(
    folder: RunFolder,
    to: Path,
    data_root: Path,
    false_alarms: float = 0.05,
    bank: str | None = None,
    replace: bool = False,
    score: str = OWN,
    onnx: bool = False,
    patches: int = 2000,
) -> Settings:
    """Write the detector of a finished run to the folder `to`, and return what its detector.json says.

    data_root: where the run's images are, to name the training images and to check the detector on the ID test set;
    without them it is written all the same and says that it was not checked. bank: thin the bank to "10%" or "500".
    score: one that the run has been scored by, by default the method's own. onnx: write it as one ONNX
    graph as well. patches: how many places of training images to keep, so that it can show where an image is unlike
    them; none without the images.

    Raises BenchError when the run is not finished, has no features kept, or is of a method without a backbone, when the
    detector does not give the run's scores, or when `to` holds something else (or a detector, without `replace`).
    """
    check_target(to, replace)
    if onnx:
        onnx_graph.require_packages()
    source = _read_run(folder, score)
    if bank and source.score != EQ6:
        raise BenchError(
            f"--bank {bank}: a thinned bank stands for the whole one in Eq. 6 alone, not in {source.score!r}"
        )
    kept = _thinned(source, bank)
    threshold = choose_threshold(kept.scores[source.config.test_key].numpy(), false_alarms)
    images = training_images(source.record, source.config, data_root, len(source.features[source.config.train_key]))
    tensors = _bank_tensors(source, kept, images)
    with in_place_of(to) as made:
        _write_tensors(made, source, kept, images, tensors)
        settings = _settings(made, source, kept, threshold, false_alarms, images)
        detector = Detector(settings, source.backbone, tensors, head=source.head.network if source.head else None)
        test = _some_images(source, source.config.test_key, source.config.data.test_limit, data_root, CHECKED_IMAGES)
        settings = settings.model_copy(update={"checked": _check(detector, source, test, data_root)})
        if patches and test is not None and has_map(source.backbone):
            limit = source.config.data.train_limit
            train = _some_images(source, source.config.train_key, limit, data_root, IMAGES)
            if train is not None:
                settings = add_patches(detector, settings, made, train.images, test.images, patches)
        if onnx:
            settings = onnx_graph.add(detector, settings, made, test.images if test else None)
        with atomic_write(made / CARD, "w") as stream:
            stream.write(model_card(settings))
        write_json(made / SETTINGS, settings.model_dump(mode="json"))
    return settings


def _read_run(folder: RunFolder, score: str) -> _Source:
    """The run's record, trained backbone, features and scores. Raises BenchError for what is missing or of no use."""
    record = folder.read_record()
    if record is None:
        raise BenchError(f"{folder.path}: the run is not finished (no record.json); finish it: bench sweep, bench run")
    config = record.run_config
    score = record.own if score == OWN else score
    if score not in record.scores:
        parts(score)  # a name of no score is told first
        raise BenchError(
            f"--score {score}: {folder.name} has not been scored by it (scores: {', '.join(record.scores)}); name it "
            "in eval.scores and run the sweep again, which trains nothing"
        )
    method = trained_method(config, folder)
    backbone = method.scoring_backbone()
    if backbone is None:
        raise BenchError(
            f"{folder.name}: method {config.method.name!r} has no backbone to export; dino, frozen and untrained do"
        )
    wanted = needs([score])
    head = method.scoring_head() if "logits" in wanted else None
    features = _kept(folder.features, lambda: read_npz(folder.features))
    scores = _kept(folder.scores, lambda: folder.read_scores(config))
    scores = {key.removesuffix(f":{score}"): rows for key, rows in scores.items() if key.endswith(f":{score}")}
    missing = [name for name in output_names(wanted) if f"{config.train_key}:{name}" not in features]
    if missing:
        raise BenchError(f"{folder.features}: has no {config.train_key}:{missing[0]}; the file is not of this record")
    outputs = {name: features[f"{config.train_key}:{name}"] for name in output_names(wanted)}
    if "negatives" in wanted:
        if NEGATIVES not in features:
            raise BenchError(f"{folder.features}: has no {NEGATIVES}; the file is not of this record")
        outputs[NEGATIVES] = features[NEGATIVES].double().mean(0, keepdim=True).float()  # all that a score needs
    source = _Source(record, config, backbone, features, scores, score, outputs, head)
    for key in (source.config.train_key, source.config.test_key, *map(source.config.ood_key, source.measured.ood)):
        if key not in source.features or key not in source.scores:
            raise BenchError(f"{folder.features}: has no {key}; the file is not of this record")
    return source


def trained_method(config: RunConfig, folder: RunFolder) -> Method:
    """The run's method with its trained weights, on the CPU; an untrained one as its seed draws it."""
    torch.manual_seed(derive_seed(config.seed, "initialise"))
    method = methods.build(config, torch.device("cpu"), begins=False)
    if config.method.trains:
        if not folder.weights.exists():
            raise BenchError(f"{folder.weights}: is missing; a detector needs the run's weights")
        try:
            method.load_final_state(safetensors.torch.load_file(folder.weights))
        except Exception as error:
            raise BenchError(f"{folder.weights}: broken weights ({first_line(error)})") from error
    return method


def _thinned(source: _Source, bank: str | None) -> _Bank:
    """The run's bank, thinned where `bank` asks for fewer rows than it has, and the scores that it then gives."""
    whole = source.features[source.config.train_key]
    size = len(whole) if bank is None else bank_size(bank, len(whole))
    if size == len(whole):
        return _Bank(torch.arange(len(whole)), None, source.scores)
    rows, weights = thin(whole.float(), size, source.config.seed)
    scores = {
        key: ood_scores(
            source.features[key].float(), whole[rows].float(), source.config.eval.temperature, weights=weights
        ).float()
        for key in (source.config.test_key, *map(source.config.ood_key, source.measured.ood))
    }
    return _Bank(rows, weights, scores)


def _bank_tensors(source: _Source, kept: _Bank, images: TrainingImages) -> dict[str, Tensor]:
    """What bank.safetensors holds."""
    tensors = {
        "features": source.features[source.config.train_key][kept.rows].half().contiguous(),
        "index": torch.from_numpy(images.index)[kept.rows],
        "label": torch.from_numpy(images.label)[kept.rows],
        "id_scores": kept.scores[source.config.test_key].float(),
        **source.outputs,
    }
    if kept.weights is not None:  # a row stands for several images then, of which one cannot be left out
        return tensors | {"weights": kept.weights}
    return tensors if images.hashes is None else tensors | {"hash": torch.from_numpy(images.hashes.copy())}


def _write_tensors(
    made: Path, source: _Source, kept: _Bank, images: TrainingImages, tensors: dict[str, Tensor]
) -> None:
    """The files that detector.json has checksums of."""
    weights = {name: tensor.detach().cpu() for name, tensor in source.backbone.state_dict().items()}
    save_tensors(made / BACKBONE, weights)
    if source.head is not None:
        head = source.head.network.state_dict()
        save_tensors(made / HEAD, {name: tensor.detach().cpu() for name, tensor in head.items()})
    save_tensors(made / BANK, tensors)
    if images.names is not None:
        write_json(made / NAMES, [images.names[row] for row in kept.rows.tolist()])


def _settings(
    made: Path, source: _Source, kept: _Bank, threshold: Threshold, asked: float, images: TrainingImages
) -> Settings:
    """detector.json, but for what the check finds."""
    record, config, whole = source.record, source.config, source.features[source.config.train_key]
    backbone = ModelConfig(backbone=config.model.backbone, args=config.model.args, drop_path=0.0)
    return Settings(
        run=record.name,
        run_id=record.run_id,
        recipe_id=record.recipe_id,
        method=config.method.name,
        in_dist=config.in_dist,
        variant=config.variant,
        training_data=training_data(config),
        caveats=caveats(config),
        backbone=backbone,
        timm_args=_timm_arguments(backbone, config.views.global_size, made / BACKBONE),
        image_size=config.data.image_size,
        view_size=config.views.global_size,
        mean=config.model.mean,
        std=config.model.std,
        interpolation=config.model.interpolation,
        temperature=config.eval.temperature,
        score=source.score,
        scales=_scales(source),
        head=HeadInfo(method=source.head.settings, temperature=source.head.temperature) if source.head else None,
        bank=artifact.BankInfo(
            count=len(kept.rows),
            of=len(whole),
            dimension=whole.shape[1],
            thinned=kept.weights is not None,
            seed=config.seed,
            hashed=images.hashes is not None and kept.weights is None,
            index=images.counted,
        ),
        threshold=artifact.ThresholdInfo(
            value=threshold.value,
            asked=asked,
            rate=threshold.rate,
            rate_interval=[threshold.rate_low, threshold.rate_high],
            value_interval=[threshold.value_low, threshold.value_high],
            n=len(kept.scores[source.config.test_key]),
        ),
        figures=_figures(source, kept, threshold),
        classes=images.classes,
        data=record.data,
        environment=record.environment,
        checked="",
        files={
            name: artifact.checksum(made / name) for name in (BACKBONE, HEAD, BANK, NAMES) if (made / name).exists()
        },
    )


def _scales(source: _Source) -> list[list[float]]:
    """Of a score that is a sum, what its parts are standardised by."""
    score = named(source.score, source.config.eval.temperature)
    if not isinstance(score, Sum):
        return []
    score.fit({"features": source.features[source.config.train_key], **source.outputs})
    return score.scales_


def _figures(source: _Source, kept: _Bank, threshold: Threshold) -> artifact.Figures:
    """What the detector was measured to do, on the run's own OOD sets."""
    inside = kept.scores[source.config.test_key]
    ood = {}
    for name, measures in source.measured.ood.items():
        outside = kept.scores[source.config.ood_key(name)]
        ood[name] = artifact.OODFigures(
            auroc=auroc(inside, outside),
            auroc_full_bank=measures.auroc,
            found=100 * float((outside.float() > threshold.value).float().mean()),
            n=len(outside),
        )
    return artifact.Figures(ood=ood, sensitivity=source.measured.sensitivity, knn_accuracy=source.record.knn_accuracy)


def _some_images(source: _Source, key: str, limit: int | None, data_root: Path, count: int) -> _Some | None:
    """Up to `count` images from all over the set "set/split" that the run has seen, since folders may follow one
    another there; None where they are not at hand."""
    images = same_images(source.record, key, data_root)
    if images is None:
        return None
    seen = limited(images, limit)
    rows = np.linspace(0, len(seen) - 1, min(count, len(seen))).astype(int)
    return _Some(np.ascontiguousarray(images.images[seen[rows]]), rows)


def _check(detector: Detector, source: _Source, some: _Some | None, data_root: Path) -> str:
    """Hold the detector's features of some ID test images against the run's own; what was found, in words."""
    if some is None:
        missing = stored_images.read_manifest(data_root, *source.config.test_key.split("/")) is None
        return "not checked: the ID test images " + ("were not at hand" if missing else "stored here are not the run's")
    kept = source.features[source.config.test_key][some.rows].float()
    error = float((detector.features(some.images) - kept).abs().max())
    if not error <= TOLERANCE:
        raise BenchError(
            f"{source.record.name}: the backbone gives other features than the run kept (they differ by up to "
            f"{error:.2g}); an untrained backbone needs the same torch and timm as the run"
        )
    return f"features of {len(some.images)} ID test images as the run's, to within {error:.2g}"


def _kept(path: Path, read: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, Tensor]:
    if not path.exists():
        raise BenchError(f"{path}: is missing; a detector needs the features and scores that the run kept")
    try:
        return {key: torch.from_numpy(array) for key, array in read().items()}
    except TypeError as error:  # text
        raise BenchError(f"{path}: not what a run keeps ({first_line(error)})") from error


def _timm_arguments(backbone: ModelConfig, size: int, weights: Path) -> dict[str, Any]:
    """The arguments with which `timm.create_model` loads these weights, found by doing it."""
    try:
        return create(backbone, size, checkpoint_path=str(weights))[1]
    except TypeError as error:
        raise BenchError(f"{weights}: timm cannot load it as {backbone.backbone}") from error
