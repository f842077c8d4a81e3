"""A finished run -> a detector folder. Reads the run's own files; images are read only to check the result.

Shapes: M bank rows, D features.
"""

from __future__ import annotations

import os
import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import timm
import torch
from torch import Tensor

from benchmark import methods
from benchmark.data import images as stored_images
from benchmark.data.images import ImageSet
from benchmark.data.subsets import limited
from benchmark.detection.knn import nearest
from benchmark.detection.metrics import auroc
from benchmark.detection.scores import ood_scores
from benchmark.detection.threshold import choose_threshold
from benchmark.detector import artifact
from benchmark.detector.artifact import BACKBONE, BANK, CARD, NAMES, SETTINGS, Settings
from benchmark.detector.card import model_card
from benchmark.detector.detector import Detector
from benchmark.errors import BenchError, first_line, unknown
from benchmark.files import atomic_write, read_npz, write_json
from benchmark.methods.base import Method
from benchmark.plan.config import ModelConfig, RunConfig
from benchmark.seeds import derive_seed
from benchmark.store.folders import RunFolder, all_runs
from benchmark.store.records import Record

Counted = Literal["stored split", "images of the run"]
CHECKED_IMAGES = 256  # of the ID test set, when the export is held against the run
# A cosine of features in float16 on another machine may differ by this much; scores by that over the temperature.
TOLERANCE = 2e-3


def find_run(run: str, results: Path) -> RunFolder:
    """The run of this name under `results`, or at this path."""
    for path in (Path(run), results / run):
        if (path / "config.yaml").is_file():
            return RunFolder(path)
    names = [folder.name for folder in all_runs(results)]
    if not names:
        raise BenchError(f"{run}: no such run, and {results} holds none; start some: bench sweep SWEEP.yaml")
    raise BenchError(unknown(f"run in {results}:", run, names))


def parse_rate(text: str, option: str) -> float:
    """ "5%" or "0.05" as 0.05."""
    try:
        rate = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        rate = float("nan")
    if not 0 < rate < 1:
        raise BenchError(f"{option} {text}: must be a share above 0% and below 100%, as in 5% or 0.05")
    return rate


def bank_size(text: str, count: int) -> int:
    """ "10%" or "500" as a number of the `count` training images."""
    given = round(parse_rate(text, "--bank") * count) if text.endswith("%") and text != "100%" else text
    try:
        size = count if given == "100%" else int(given)
    except ValueError:
        size = 0
    if not 1 <= size <= count:
        raise BenchError(f"--bank {text}: must be a share such as 10%, or a number of images from 1 to {count}")
    return size


def export(
    folder: RunFolder,
    to: Path,
    data_root: Path,
    false_alarms: float = 0.05,
    bank: str | None = None,
    replace: bool = False,
) -> Settings:
    """Write the detector of a finished run to the folder `to`, and return what its detector.json says.

    data_root: where the run's images are, to name the training images and to check the detector on the ID test set;
    without them it is written all the same and says that it was not checked. bank: thin the bank to "10%" or "500".

    Raises BenchError when the run is not finished, has no features kept, or is of a method without a backbone, when the
    detector does not give the run's scores, or when `to` holds something else (or a detector, without `replace`).
    """
    _check_target(to, replace)
    record = folder.read_record()
    if record is None:
        raise BenchError(f"{folder.path}: the run is not finished (no record.json); finish it: bench sweep, bench run")
    config = record.run_config
    method = trained_method(config, folder)
    backbone = method.scoring_backbone()
    if backbone is None:
        raise BenchError(
            f"{folder.name}: method {config.method.name!r} has no backbone to export; dino and untrained do"
        )
    features, scores = _kept(folder.features), _kept(folder.scores)
    train_key, test_key = f"{config.in_dist}/train", f"{config.in_dist}/test"
    ood_keys = {name: f"{config.stored_name(name)}/test" for name in record.ood}
    for key in (train_key, test_key, *ood_keys.values()):
        if key not in features or key not in scores:
            raise BenchError(f"{folder.features}: has no {key}; the file is not of this record")

    whole = features[train_key]
    size = len(whole) if bank is None else bank_size(bank, len(whole))
    rows, weights = thin(whole.float(), size, config.seed) if size < len(whole) else (torch.arange(len(whole)), None)
    if weights is not None:
        scores |= {
            key: ood_scores(
                features[key].float(), whole[rows].float(), config.eval.temperature, weights=weights
            ).float()
            for key in (test_key, *ood_keys.values())
        }
    threshold = choose_threshold(scores[test_key].numpy(), false_alarms)
    index, label, names, classes, counted = _training_images(record, config, data_root, len(whole))

    tensors = {
        "features": whole[rows].half().contiguous(),
        "index": torch.from_numpy(index)[rows],
        "label": torch.from_numpy(label)[rows],
        "id_scores": scores[test_key].float(),
        **({} if weights is None else {"weights": weights}),
    }
    with _in_place_of(to) as made:
        _save(made / BACKBONE, {name: tensor.detach().cpu() for name, tensor in backbone.state_dict().items()})
        _save(made / BANK, tensors)
        if names is not None:
            write_json(made / NAMES, [names[row] for row in rows.tolist()])
        about: dict[str, Any] = {
            "run": record.name,
            "run_id": record.run_id,
            "recipe_id": record.recipe_id,
            "method": config.method.name,
            "in_dist": config.in_dist,
            "variant": config.variant,
            "backbone": ModelConfig(backbone=config.model.backbone, args=config.model.args, drop_path=0.0),
            "timm_args": _timm_arguments(config, made / BACKBONE),
            "image_size": config.data.image_size,
            "view_size": config.views.global_size,
            "temperature": config.eval.temperature,
            "bank": artifact.BankInfo(
                count=len(rows),
                of=len(whole),
                dimension=whole.shape[1],
                thinned=weights is not None,
                seed=config.seed,
                index=counted,
            ),
            "threshold": artifact.ThresholdInfo(
                value=threshold.value,
                asked=false_alarms,
                rate=threshold.rate,
                rate_interval=[threshold.rate_low, threshold.rate_high],
                value_interval=[threshold.value_low, threshold.value_high],
                n=len(scores[test_key]),
            ),
            "figures": artifact.Figures(
                ood={
                    name: artifact.OODFigures(
                        auroc=auroc(scores[test_key], scores[key]),
                        auroc_full_bank=record.ood[name].auroc,
                        found=100 * float((scores[key].float() > threshold.value).float().mean()),
                        n=len(scores[key]),
                    )
                    for name, key in ood_keys.items()
                },
                sensitivity=record.sensitivity,
                knn_accuracy=record.knn_accuracy,
            ),
            "classes": classes,
            "data": record.data,
            "environment": record.environment,
            "files": {
                name: artifact.checksum(made / name) for name in (BACKBONE, BANK, NAMES) if (made / name).exists()
            },
        }
        settings = Settings(**about, checked="")
        detector = Detector(settings, backbone, tensors)
        settings = settings.model_copy(
            update={"checked": check(detector, record, config, features[test_key], data_root)}
        )
        with atomic_write(made / CARD, "w") as stream:
            stream.write(model_card(settings))
        write_json(made / SETTINGS, settings.model_dump(mode="json"))
    return settings


def trained_method(config: RunConfig, folder: RunFolder) -> Method:
    """The run's method with its trained weights, on the CPU; an untrained one as its seed draws it."""
    torch.manual_seed(derive_seed(config.seed, "initialise"))
    method = methods.build(config, torch.device("cpu"))
    if config.method.trains:
        if not folder.weights.exists():
            raise BenchError(f"{folder.weights}: is missing; a detector needs the run's weights")
        try:
            method.load_final_state(safetensors.torch.load_file(folder.weights))
        except Exception as error:
            raise BenchError(f"{folder.weights}: broken weights ({first_line(error)})") from error
    return method


def thin(bank: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """At most `count` rows of the bank (M, D) that stand for all of it: their positions, int64, rising, and how many
    rows each stands for, float32.

    k-means, and of each cluster the row nearest to its centre: a real training image, so that it can be shown. The
    weights matter more than the choice of rows: Eq. 6 is an estimate of density, and one row a cluster without its
    weight forgets where the images are dense. On 64 features of 3,400 CIFAR10 images thinned to 10%, AUROC on eight OOD
    sets moved by 0.07 points on average, with the centres themselves by 0.17, with random rows by 0.71, with k-means
    rows unweighted by 3.74, with a k-centre coreset by 9.2 (weighted: 0.12).
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    unit = torch.nn.functional.normalize(bank.float(), dim=1)
    # A few steps from random rows: what they leave to gain is small beside what the weights give.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than asked for: fewer are kept
        means = KMeans(count, init="random", n_init=1, max_iter=10, random_state=seed).fit(unit.numpy())
    centres = torch.from_numpy(means.cluster_centers_).float()
    chosen = nearest(centres, unit, 1)[1].flatten().unique()
    owner = nearest(unit, unit[chosen], 1)[1].flatten()
    weights = torch.bincount(owner, minlength=len(chosen)).float()
    return chosen[weights > 0], weights[weights > 0]


def check(detector: Detector, record: Record, config: RunConfig, features: Tensor, data_root: Path) -> str:
    """Hold the detector's features of some ID test images against the run's own; what was found, in words."""
    images = _same_images(record, f"{config.in_dist}/test", data_root)
    if images is None:
        return "not checked: the ID test images were not at hand"
    rows = limited(images, config.data.test_limit)[:CHECKED_IMAGES]
    again = detector.features(np.ascontiguousarray(images.images[rows]))
    error = float((again - features[: len(rows)].float()).abs().max())
    if not error <= TOLERANCE:
        raise BenchError(
            f"{record.name}: the backbone gives other features than the run kept (they differ by up to {error:.2g}); "
            "an untrained backbone needs the same torch and timm as the run"
        )
    return f"features of {len(rows)} ID test images as the run's, to within {error:.2g}"


def _training_images(
    record: Record, config: RunConfig, data_root: Path, count: int
) -> tuple[np.ndarray, np.ndarray, list[str] | None, list[str] | None, Counted]:
    """Of each of the `count` bank images: place, label (-1 unknown), file; the labels' names; what the place counts."""
    images = _same_images(record, f"{config.in_dist}/train", data_root)
    if images is None:
        counted: Counted = "stored split" if config.data.train_limit is None else "images of the run"
        return np.arange(count), np.full(count, -1), None, None, counted
    rows = limited(images, config.data.train_limit)
    names = stored_images.file_names(images, data_root)
    return (
        rows,
        images.labels[rows],
        None if names is None else [names[row] for row in rows],
        images.manifest.get("classes"),
        "stored split",
    )


def _same_images(record: Record, key: str, data_root: Path) -> ImageSet | None:
    """The very images that the run read, None where they are not in `data_root`."""
    name, split = key.split("/")
    if stored_images.read_manifest(data_root, name, split) is None:
        return None
    images = stored_images.load(data_root, name, split)
    return images if images.fingerprint == record.data[key].fingerprint else None


def _kept(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise BenchError(f"{path}: is missing; a detector needs the features and scores that the run kept")
    try:
        return {key: torch.from_numpy(array) for key, array in read_npz(path).items()}
    except TypeError as error:  # text
        raise BenchError(f"{path}: not what a run keeps ({first_line(error)})") from error


def _timm_arguments(config: RunConfig, weights: Path) -> dict[str, Any]:
    """The arguments with which `timm.create_model` loads these weights, found by doing it."""
    plain: dict[str, Any] = {"num_classes": 0, **config.model.args}
    positions = {"img_size": config.views.global_size, "dynamic_img_size": True}  # a transformer's; others refuse them
    for arguments in (positions | plain, plain):
        try:
            timm.create_model(config.model.backbone, checkpoint_path=str(weights), **arguments)
            return arguments
        except TypeError:
            continue
    raise BenchError(f"{weights}: timm cannot load it as {config.model.backbone}")


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    with atomic_write(path) as stream:
        stream.write(safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}))


@contextmanager
def _in_place_of(to: Path) -> Iterator[Path]:
    """A new folder that takes the place of `to` when all in it is written; detector.json, with the checksums, last."""
    made = to.absolute().with_name(f".{to.name}.{secrets.token_hex(4)}.tmp")
    made.mkdir(parents=True)
    try:
        yield made
        if (to / SETTINGS).exists():
            for name in (BACKBONE, BANK, NAMES, CARD, SETTINGS):
                if (made / name).exists():
                    os.replace(made / name, to / name)
                else:
                    (to / name).unlink(missing_ok=True)
        else:
            os.rename(made, to)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _check_target(to: Path, replace: bool) -> None:
    if to.exists() and not to.is_dir():
        raise BenchError(f"--to {to}: is a file; a detector is a folder")
    if to.is_dir() and any(to.iterdir()):
        if not (to / SETTINGS).exists():
            raise BenchError(f"--to {to}: holds other files; choose a new folder")
        if not replace:
            raise BenchError(f"--to {to}: holds a detector; allow its replacement with --replace")
