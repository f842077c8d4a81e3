"""What each method can be told: one settings class a method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from benchmark.plan.validation import Strict

PositiveInt = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Range = Annotated[list[NonNegative], Field(min_length=2, max_length=2)]


class DinoConfig(Strict):
    """DINO with negatives: head, temperatures, teacher and centre (METHOD: Model, Loss)."""

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


class UntrainedConfig(Strict):
    """Reference row: the backbone as initialised, scored like any other."""

    name: Literal["untrained"]


class StatisticsConfig(Strict):
    """Reference row: sharpness, brightness, contrast and colourfulness alone, no network."""

    name: Literal["image-statistics"]


MethodConfig = Annotated[DinoConfig | UntrainedConfig | StatisticsConfig, Field(discriminator="name")]
REFERENCES = ("untrained", "image-statistics")
