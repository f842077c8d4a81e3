"""The methods that train nothing: the two reference rows, frozen networks, and features made elsewhere."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from benchmark.plan.scores import Need
from benchmark.plan.settings import MethodSettings


class FixedNetwork(MethodSettings):
    """A backbone that nothing is trained of, scored at the size of the global views: what it answers to an image
    depends on the settings and the image alone."""

    trains: ClassVar[bool] = False
    provides: ClassVar[frozenset[Need]] = frozenset({"norm", "rotations", "permutations"})

    def identity(self, full: dict[str, Any], in_dist: str) -> dict[str, Any]:
        size = full["views"]["global_size"]
        full = super().identity(full, in_dist)
        del full["train"], full["model"]["drop_path"]
        return full | {"views": {"global_size": size}}


class UntrainedConfig(FixedNetwork):
    """Reference row: the backbone as initialised, scored like any other."""

    name: Literal["untrained"]


class FrozenConfig(FixedNetwork):
    """The backbone with `model.weights` as they are, trained elsewhere."""

    name: Literal["frozen"]

    def identity(self, full: dict[str, Any], in_dist: str) -> dict[str, Any]:
        full = super().identity(full, in_dist)
        del full["seed"]  # nothing is drawn: all seeds are one run
        return full


class StatisticsConfig(MethodSettings):
    """Reference row: sharpness, brightness, contrast and colourfulness alone, no network."""

    trains: ClassVar[bool] = False

    name: Literal["image-statistics"]

    @property
    def own_score(self) -> str:
        return "image-statistics"

    @property
    def own_passes(self) -> int:
        return 0

    def identity(self, full: dict[str, Any], in_dist: str) -> dict[str, Any]:
        full = super().identity(full, in_dist)
        del full["train"], full["model"]
        # Whole OOD images that are resized at once are other images; with the default the row keeps the name it had.
        resized = ["ood_resize"] if full["eval"]["ood_resize"] != "stored" else []
        return full | {"eval": {key: full["eval"][key] for key in ("knn", "knn_temperature", *resized)}}


class FeaturesConfig(MethodSettings):
    """Features, and maybe logits, that a network of somebody else's gave; nothing of it is built here."""

    trains: ClassVar[bool] = False

    name: Literal["features"]
    column: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]  # what its column is called
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # of all features and logits
    training_data: Annotated[
        str, Field(min_length=1)
    ]  # what the network may have learnt from, as whoever brought them says
    logits: bool = False

    @property
    def provides(self) -> frozenset[Need]:  # type: ignore[override]
        return frozenset({"norm", "logits"} if self.logits else {"norm"})

    @property
    def label(self) -> str:
        return self.column

    def setting(self, full: dict[str, Any]) -> dict[str, Any]:
        """Without the hash: another seed's network gives other features, in the same column."""
        full["method"].pop("sha256")
        return full

    def identity(self, full: dict[str, Any], in_dist: str) -> dict[str, Any]:
        full = super().identity(full, in_dist)
        del full["train"], full["model"], full["data"]
        return full
