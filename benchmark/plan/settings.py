"""What a run's plan must know of any method, and the kinds of number that settings hold."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from benchmark.plan.scores import EQ6, Need
from benchmark.plan.validation import Strict

PositiveInt = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Range = Annotated[list[NonNegative], Field(min_length=2, max_length=2)]


class MethodSettings(Strict):
    """What a run's plan must know of its method; each subclass is one method's settings, told apart by `name`."""

    trains: ClassVar[bool] = True
    negatives: ClassVar[bool] = False  # trains with the negatives of the run's variant
    needs_negatives: ClassVar[bool] = False  # and is nothing without
    multi_crop: ClassVar[bool] = False  # sees the views of the run's `views`; else a recipe of its own
    labels: ClassVar[bool] = False  # needs the class labels of the training images
    backgrounds: ClassVar[tuple[str, ...]] = ("keep",)  # what `views.background` may be
    # What a score may read beside features (`plan.scores`): "logits" where `Method.class_logits` has some, "rotations"
    # and "permutations" where `Method.embed` is one pass of the network, so that four images cost four, "negatives"
    # where it trains with some.
    provides: ClassVar[frozenset[Need]] = frozenset({"norm"})
    made_by: ClassVar[str] = ""  # of another package's: "module:Class" of its `methods.base.Method`

    name: str

    @property
    def own_score(self) -> str:
        """The name of the score that the method is published with; one of `plan.scores` where it is the same score."""
        return EQ6

    @property
    def own_passes(self) -> int:
        """Passes of the network that it takes for a test image."""
        return 1

    @property
    def label(self) -> str:
        """What its runs are called in names and tables; with negatives, the variant's name follows."""
        return self.name

    @property
    def negatives_each(self) -> int:
        """How many negatives of each kind come with an image."""
        return 1

    def check(self, image_size: int, batch: int) -> None:
        """Raises ValueError, one line with the key, for settings that do not fit images of this side in pixels, or
        batches of so many."""

    def identity(self, full: dict[str, Any], in_dist: str) -> dict[str, Any]:
        """Of all settings of a run, `full`, those that change this method's numbers."""
        if not self.multi_crop:
            del full["views"]
        if not self.negatives:
            del full["variant"], full["negatives"]
            read = ("image_size", "train_limit", "test_limit", "mask")
            full["data"] = {key: value for key, value in full["data"].items() if key in read}
        return full

    def setting(self, full: dict[str, Any]) -> dict[str, Any]:
        """All settings of a run, `full`, less what differs from seed to seed of one table's column."""
        return full

    @property
    def starts_from(self) -> str | None:
        """The recipe of the finished run whose weights training begins with; None where it begins anew."""
        return None
