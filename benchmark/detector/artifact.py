"""The files of a detector, and how they are read without trusting them.

DIR/ holds detector.json (this schema), backbone.safetensors, head.safetensors where the score reads class
probabilities, bank.safetensors, patches.safetensors for maps, names.json where the files of the training images are
known, detector.onnx where it was asked for, which nothing here reads again, and README.md, the model card. No file can
run code when it is read: safetensors and JSON alone, a backbone only by its name in timm's own list, file names fixed
here. The checksums guard against damage, not against someone who changes detector.json as well.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue

from benchmark.errors import BenchError, first_line
from benchmark.files import read_json, schema_version
from benchmark.plan.methods import DinoConfig, Positive, PositiveInt
from benchmark.plan.scores import EQ6
from benchmark.plan.sections import ModelConfig
from benchmark.plan.validation import Strict, validate
from benchmark.plan.weights import Colours
from benchmark.store.records import SetInRecord

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 2  # 1: without patches, graph and hashes; it is read as before
SETTINGS, BACKBONE, HEAD, BANK, PATCHES, NAMES, ONNX, CARD = (
    "detector.json",
    "backbone.safetensors",
    "head.safetensors",
    "bank.safetensors",
    "patches.safetensors",
    "names.json",
    "detector.onnx",
    "README.md",
)


class FileSum(Strict):
    bytes: int
    sha256: str


class ThresholdInfo(Strict):
    """`benchmark.detection.threshold.Threshold`, with what was asked for. An image is OOD where score > value."""

    value: float
    asked: float  # share of false alarms, 0..1
    rate: float
    rate_interval: list[float]  # 95%
    value_interval: list[float | None]  # 95%; None: beyond the held-out scores
    n: PositiveInt  # held-out ID images


class OODFigures(Strict):
    """One OOD set, in percent, by the bank as it is in the detector and by the run's whole bank."""

    auroc: float
    auroc_full_bank: float
    found: float  # share of its images above the threshold
    n: PositiveInt


class BankInfo(Strict):
    count: PositiveInt
    of: PositiveInt  # training images before thinning
    dimension: PositiveInt
    thinned: bool
    seed: int = 0
    hashed: bool = False  # whether each row has the hash of its image, by which that image is known again
    # what `index` counts in: the stored training split, or, where that was not at hand, the images the run used
    index: Literal["stored split", "images of the run"]


class Figures(Strict):
    ood: dict[str, OODFigures]
    sensitivity: float  # of the run, in percent, as the k-NN accuracy
    knn_accuracy: dict[str, float | None]


class HeadInfo(Strict):
    """A head on the backbone: the settings that shape it, and the temperature of its probabilities."""

    method: DinoConfig
    temperature: Positive


class OnnxInfo(Strict):
    """detector.onnx: its operator set, and how it was held against PyTorch."""

    opset: PositiveInt
    checked: str


class PatchInfo(Strict):
    """patches.safetensors: places of training images, for the map of where an image is unlike them."""

    count: PositiveInt
    of: PositiveInt  # that they were drawn from
    images: PositiveInt  # whose
    dimension: PositiveInt
    grid: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]  # h, w: places of an image
    maps: PositiveInt = 1  # of a network of convolutions, that a place is described by; older detectors have one
    usual: float  # distance: the median over the places of ID test images
    unusual: float  # what 95% of their maxima stay below


class Settings(Strict):
    """detector.json."""

    schema_version: int = SCHEMA
    run: str  # name, id and recipe of the run this came from
    run_id: str
    recipe_id: str
    method: str
    in_dist: str
    variant: str
    training_data: str = ""  # what its training read, as `plan.training_data` says it; "" in older detectors
    caveats: list[str] = []  # of weights from elsewhere
    backbone: ModelConfig
    timm_args: dict[str, JsonValue]  # what timm.create_model needs to load the backbone's file
    image_size: int = Field(ge=8, le=512)  # every image is first brought to this size, as an import does
    view_size: PositiveInt  # and then to this one, the backbone's
    mean: Colours | None = None  # how the backbone's images are made where it has weights from elsewhere; null: as all
    std: Colours | None = None
    interpolation: str | None = None
    temperature: Positive  # of Eq. 6
    score: Annotated[str, BeforeValidator(lambda given: given or EQ6)] = EQ6  # one of `plan.scores`; older ones: null
    scales: list[list[float]] = []  # of a sum: mean and deviation of each part over the training images
    head: HeadInfo | None = None  # of a score that reads class probabilities
    bank: BankInfo
    threshold: ThresholdInfo
    figures: Figures
    classes: list[str] | None  # names of the training labels
    data: dict[str, SetInRecord]
    environment: dict[str, Any]
    checked: str  # how the export was held against the run
    patches: PatchInfo | None = None
    onnx: OnnxInfo | None = None
    files: dict[str, FileSum]


def checksum(path: Path) -> FileSum:
    with open(path, "rb") as stream:
        return FileSum(bytes=path.stat().st_size, sha256=hashlib.file_digest(stream, "sha256").hexdigest())


def read_settings(folder: Path) -> Settings:
    """detector.json, with every other file held against its checksum. Raises BenchError that names the file."""
    path = folder / SETTINGS
    if not path.is_file():
        raise BenchError(f"{folder}: not a detector (no {SETTINGS}); make one: bench export RUN --to DIR")
    try:
        raw = read_json(path)
    except RecursionError as error:
        raise BenchError(f"{path}: not readable as JSON (nested too deeply)") from error
    schema_version(path, raw, 1, SCHEMA)
    settings: Settings = validate(Settings, raw, str(path))
    further = [HEAD] * (settings.head is not None) + [PATCHES] * (settings.patches is not None)
    further += [NAMES] * (NAMES in settings.files)
    for name in (BACKBONE, BANK, *further):
        _check_file(folder / name, settings.files.get(name))
    return settings


def _check_file(path: Path, expected: FileSum | None) -> None:
    if expected is None:
        raise BenchError(f"{path.parent / SETTINGS}: files: has no checksum of {path.name}")
    if not path.is_file():
        raise BenchError(f"{path}: is missing; export the detector again")
    found = checksum(path)
    if found.bytes != expected.bytes:
        raise BenchError(f"{path}: has {found.bytes} bytes, {SETTINGS} says {expected.bytes}; export or copy it again")
    if found.sha256 != expected.sha256:
        raise BenchError(f"{path}: is not the file that was exported (sha256 {found.sha256[:12]}); copy it again")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU."""
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # whatever the parser finds wrong
        raise BenchError(f"{path}: not readable as safetensors ({first_line(error)})") from error
