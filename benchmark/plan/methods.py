"""What each method can be told: one settings class a method, and the table of all methods.

Nothing here imports the methods themselves: settings are read where no network is ever built.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, SerializeAsAny, TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from benchmark import plugins
from benchmark.data.catalog import set_behind
from benchmark.errors import BenchError
from benchmark.plan.scores import Need
from benchmark.plan.settings import MethodSettings, NonNegative, Positive, PositiveInt, Probability, Range
from benchmark.plan.untrained import FeaturesConfig, FrozenConfig, StatisticsConfig, UntrainedConfig
from benchmark.plan.validation import explained


class DinoConfig(MethodSettings):
    """DINO with negatives: head, temperatures, teacher and centre (methods/PAPER.md, "Model" and "Loss")."""

    negatives: ClassVar[bool] = True
    multi_crop: ClassVar[bool] = True
    backgrounds: ClassVar[tuple[str, ...]] = ("keep", "remove", "random")
    provides: ClassVar[frozenset[Need]] = frozenset({"norm", "logits", "rotations", "permutations", "negatives"})

    name: Literal["dino"] = "dino"
    classes: Annotated[int, Field(ge=2)] = 4096  # K soft classes
    # dino: three-layer MLP, L2-normalised bottleneck, weight-normed last layer (the authors' code);
    # text: the two fully connected layers that the paper's text names.
    head: Literal["dino", "text"] = "dino"
    head_hidden: PositiveInt = 2048
    head_bottleneck: PositiveInt = 256
    student_temperature: Positive = 0.1
    # "paper": 0.055, but 0.050 where CIFAR100 is the in-distribution set.
    teacher_temperature_start: Positive | Literal["paper"] = "paper"
    teacher_temperature_end: Positive = 0.01
    teacher_momentum: Probability = 0.996  # rises to 1 along a cosine
    centre_momentum: Probability = 0.9
    # two-rows (the authors' code): of each of `centre_shards` equal parts of the batch only the first two rows count.
    centre: Literal["all-rows", "two-rows"] = "all-rows"
    centre_shards: PositiveInt = 4
    teacher_sees_negatives: bool = False  # the authors' code forwards them and uses nothing of it
    frozen_last_layer_epochs: Annotated[int, Field(ge=0)] = 1

    def start_temperature(self, in_dist: str) -> float:
        """The resolved start of tau_t; a class, or another size, has that of its set."""
        given = self.teacher_temperature_start
        return (0.050 if set_behind(in_dist) == "cifar100" else 0.055) if given == "paper" else given

    def identity(self, full: dict[str, Any], in_dist: str) -> dict[str, Any]:
        method = super().identity(full, in_dist)["method"]
        method["teacher_temperature_start"] = self.start_temperature(in_dist)
        del method["teacher_sees_negatives"]  # a waste of time that changes no number
        if self.centre == "all-rows":
            del method["centre_shards"]
        if self.head == "text":
            del method["head_bottleneck"]
        return full


class RotationConfig(MethodSettings):
    """Rotation prediction (Hendrycks et al. 2019), on whole images."""

    name: Literal["rotation"]
    # Pixels by which images are moved in x and y, for two heads to tell; published 8 of 32. 0: the rotation head alone.
    shift: Annotated[int, Field(ge=0)] = 0

    @property
    def own_score(self) -> str:
        return "rotation-prediction"

    @property
    def own_passes(self) -> int:
        return 4 * (9 if self.shift else 1)

    @property
    def label(self) -> str:
        return "rotation-translation" if self.shift else "rotation"

    def check(self, image_size: int, batch: int) -> None:
        if self.shift >= image_size:
            raise ValueError(f"method.shift: {self.shift} pixels is not less than the {image_size} of an image")


def check_scale(key: str, scale: list[float]) -> None:
    """Raises ValueError, one line with the key, for what is no share of an area."""
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"{key}: {scale} given, a scale is [smallest, largest] share of the area, above 0 and up to 1")


class ContrastiveSettings(MethodSettings):
    """What SimCLR and CSI share: NT-Xent over two views, and the score of CSI."""

    rotations: ClassVar[bool]  # whether the rotated copies of an image are instances of their own
    backgrounds: ClassVar[tuple[str, ...]] = ("keep", "remove", "random", "swaps")

    temperature: Positive = 0.5
    projection: PositiveInt = 128  # width of what NT-Xent compares
    scale: Range  # of the views: shares of the area
    # Fixed crops of a test image whose projections are averaged, and their share of its area (CSI's ood_samples and
    # resize_factor).
    test_crops: PositiveInt = 10
    test_scale: Annotated[float, Field(gt=0, le=1)] = 0.54

    @property
    def own_score(self) -> str:
        return "csi" if self.rotations else "cosine-times-norm"

    @property
    def own_passes(self) -> int:
        return self.test_crops * (4 if self.rotations else 1)

    def check(self, image_size: int, batch: int) -> None:
        if batch < 2:
            raise ValueError(f"train.batch: {batch} image has nothing to be unlike; NT-Xent needs 2 at least")
        check_scale("method.scale", self.scale)

    def identity(self, full: dict[str, Any], in_dist: str) -> dict[str, Any]:
        shown = {key: value for key, value in full["views"].items() if key in ("background", "background_p")}
        full = super().identity(full, in_dist)
        return full | {"views": shown} if shown else full


class SimclrConfig(ContrastiveSettings):
    """SimCLR (Chen et al. 2020) with the views of SSD (Sehwag et al. 2021); SSD is its score `mahalanobis`."""

    rotations: ClassVar[bool] = False

    name: Literal["simclr"]
    scale: Range = [0.2, 1.0]


class CsiConfig(ContrastiveSettings):
    """CSI (Tack et al. 2020) with rotations as the shifting transformation."""

    rotations: ClassVar[bool] = True

    name: Literal["csi"]
    scale: Range = [0.08, 1.0]


class ClassifierSettings(MethodSettings):
    """What classifiers share: the classes, and rotation prediction beside them (Hendrycks et al. 2019)."""

    labels: ClassVar[bool] = True
    provides: ClassVar[frozenset[Need]] = frozenset({"norm", "logits"})

    classes: Annotated[int, Field(ge=2)] = 10  # of the in-distribution set
    # Weight of the rotation head's loss; published 1, as a weight of 3 that is shared by three heads. 0: no such head.
    rotation_weight: NonNegative = 0.0
    # How a step shows an image: "all", upright and turned by 90, 180 and 270 degrees, as published; "one", upright and
    # turned by one of the three, weighted 1 : 3, which has the same mean for half the passes.
    turns: Literal["all", "one"] = "all"

    @property
    def own_score(self) -> str:
        """`max-probability` is `msp` of logits as they are, not of what is kept of them: the same but for rounding."""
        return "classes-and-rotations" if self.rotation_weight else "max-probability"

    @property
    def own_passes(self) -> int:
        return 4 if self.rotation_weight else 1

    def check(self, image_size: int, batch: int) -> None:
        if self.turns == "one" and not self.rotation_weight:
            raise ValueError("method.turns: one given, but with method.rotation_weight 0 no image is turned")

    def setting(self, full: dict[str, Any]) -> dict[str, Any]:
        """Without the number of classes, which is the in-distribution set's: its table has columns of several sets."""
        full["method"].pop("classes")
        return full

    def identity(self, full: dict[str, Any], in_dist: str) -> dict[str, Any]:
        full = super().identity(full, in_dist)
        if self.turns == "all":  # keeps the names that runs had before there was a choice
            del full["method"]["turns"]
        return full


class ClassifierConfig(ClassifierSettings):
    """A classifier, scored by MSP (Hendrycks and Gimpel 2017); with rotations "Geometric" of Table 1."""

    name: Literal["classifier"]

    @property
    def label(self) -> str:
        return "classifier-rotation" if self.rotation_weight else "classifier"


class OutlierExposureConfig(ClassifierSettings):
    """Outlier Exposure (Hendrycks et al. 2019): a classifier that is to be unsure of the variant's negatives, weighted
    by `negatives.weight`, published 0.5."""

    negatives: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = True
    provides: ClassVar[frozenset[Need]] = ClassifierSettings.provides | {"negatives"}

    name: Literal["outlier-exposure"]
    outliers: PositiveInt = 2  # of each kind to an image; published 256 beside 128
    # The classifier to go on from. In a sweep "classifier" or "classifier-rotation", which means its run of the same
    # in-distribution set and seed; what is kept of it is that run's recipe.
    tune: Annotated[str, Field(min_length=1)] | None = None

    @property
    def negatives_each(self) -> int:
        return self.outliers

    @property
    def label(self) -> str:
        return "oe" + ("-tuned" if self.tune else "") + ("-rotation" if self.rotation_weight else "")

    @property
    def starts_from(self) -> str | None:
        return self.tune

    def identity(self, full: dict[str, Any], in_dist: str) -> dict[str, Any]:
        full = super().identity(full, in_dist)
        if self.tune is None:  # runs from scratch keep the names that they had before there was tuning
            del full["method"]["tune"]
        return full

    def setting(self, full: dict[str, Any]) -> dict[str, Any]:
        full = super().setting(full)
        return full | {"method": full["method"] | {"tune": self.tune is not None}}


# The methods: a settings class, and the class in benchmark/methods/ that does what it says.
METHODS: dict[type[MethodSettings], str] = {
    DinoConfig: "dino:Dino",
    RotationConfig: "rotation:Rotation",
    SimclrConfig: "contrastive:Contrastive",
    CsiConfig: "contrastive:Contrastive",
    ClassifierConfig: "classifier:Classifier",
    OutlierExposureConfig: "classifier:Classifier",
    FrozenConfig: "frozen:Frozen",
    FeaturesConfig: "features:Features",
    UntrainedConfig: "references:Untrained",
    StatisticsConfig: "references:ImageStatistics",
}
REFERENCES = ("untrained", "image-statistics")

_NAMES = {name for method in METHODS for name in get_args(method.model_fields["name"].annotation)}


def _of_package(raw: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """The settings of another package's method where `name` is one of those; else what `read` makes of it."""
    name = raw.get("name", "dino") if isinstance(raw, dict) else getattr(raw, "name", None)
    if not isinstance(name, str):
        return read(raw)
    made = plugins.load("methods", name, built_in=name in _NAMES)
    if made is None:
        return read(raw)
    if not (isinstance(made, type) and issubclass(made, MethodSettings) and made.made_by):
        package = plugins.package_of("methods", name)
        raise BenchError(f"package {package}: {name!r} of ood_bench.methods is no MethodSettings with a `made_by`")
    try:
        return made.model_validate(raw)
    except ValidationError as error:
        raise ValueError(explained(made, error)) from error


if TYPE_CHECKING:
    MethodConfig = MethodSettings
else:
    # SerializeAsAny: another package's settings are none of the classes that pydantic knows here.
    MethodConfig = SerializeAsAny[
        Annotated[functools.reduce(operator.or_, METHODS), Field(discriminator="name"), WrapValidator(_of_package)]
    ]

_READS_METHOD: TypeAdapter[MethodSettings] = TypeAdapter(MethodConfig)


def method_settings(raw: dict[str, Any]) -> MethodSettings:
    """A run's `method` section as settings. Raises ValueError for what is none."""
    return _READS_METHOD.validate_python(raw)
