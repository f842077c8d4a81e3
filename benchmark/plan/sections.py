"""The sections of a run's settings that every method shares."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator

from benchmark.errors import BenchError, unknown
from benchmark.negatives import AUXILIARY
from benchmark.plan.methods import NonNegative, Positive, PositiveInt, Probability, Range
from benchmark.plan.validation import Strict
from benchmark.plan.weights import BACKBONE, WeightsConfig


class DataConfig(Strict):
    """Which images. Limits keep a random subset (drawn once, the same for every seed) for small trials."""

    image_size: Annotated[int, Field(ge=8, le=512)] = 32  # stored size (methods/PAPER.md, "Views")
    sources: dict[str, str] = {"imagenet": "imagenet", "dti": "dti"}  # the set that stands behind each auxiliary source
    train_limit: PositiveInt | None = None
    aux_limit: PositiveInt | None = None
    test_limit: PositiveInt | None = None
    # The authors' sampler was never reseeded: the same auxiliary images recur in every epoch ("fixed").
    aux_order: Literal["each-epoch", "fixed"] = "each-epoch"
    # How the foreground of an image is found, where negatives or views need to know (views/saliency.py).
    mask: Literal["minimum-barrier"] = "minimum-barrier"

    @field_validator("sources")
    @classmethod
    def _known_sources(cls, sources: dict[str, str]) -> dict[str, str]:
        for source in sorted(sources.keys() - AUXILIARY):
            raise ValueError(unknown("source", source, AUXILIARY))
        return sources


# Families of timm whose layers normalise each image by itself. Any other network may have batch normalisation.
NORMALISED_ALONE = ("vit_", "deit_", "deit3_", "beit", "eva02_", "swin_", "swinv2_", "convnext", "mixer_", "cait_")


class ModelConfig(WeightsConfig):
    """A timm backbone by name, and the weights it begins with; `args` go to `timm.create_model` as they are."""

    backbone: str = BACKBONE
    args: dict[str, JsonValue] = {}
    drop_path: Probability = 0.1  # on the student alone
    # Of DINO, where the network has batch normalisation: which images student, teacher and test are normalised over.
    # mixture: one population for all three. The teacher's pass holds the global views of the negatives, as the
    # student's does, and after training the statistics are taken anew over plain training images and as many negatives.
    # positives: the teacher sees positives alone and is scored with the running statistics of their augmented views;
    # kept to reproduce older records, which had no choice (FOOTGUNS.md, "Batch normalisation").
    # weights: the statistics that `weights` came with, for all three and throughout; no image depends on another.
    batch_statistics: Literal["mixture", "positives", "weights"] = "mixture"

    def check_statistics(self, chosen: bool) -> None:
        """Raise ValueError, one line with the key, where a run for which they are `chosen` has no such statistics."""
        if chosen and self.batch_statistics == "weights" and self.weights is None:
            raise ValueError(
                "model.batch_statistics: 'weights' given, but there are no weights; allowed: mixture, positives"
            )

    @property
    def may_normalise_over_images(self) -> bool:
        """Whether the network may have batch normalisation, as far as its name and arguments tell without building it:
        false for the families in `NORMALISED_ALONE` and for a `small_convnet` with group normalisation."""
        if self.backbone == "small_convnet":
            return self.args.get("norm", "batch") == "batch"
        return not self.backbone.startswith(NORMALISED_ALONE)


class ViewsConfig(Strict):
    """Multi-crop views T. Sizes in pixels, scales as shares of the image's area."""

    global_size: PositiveInt = 256
    local_size: PositiveInt = 128
    local_views: Annotated[int, Field(ge=0)] = 8  # of a positive and of a negative image alike
    global_scale: Range = [0.4, 1.0]
    local_scale: Range = [0.15, 0.4]
    # The background of a positive view is now and then a uniform grey ("remove", BG_RM), or that of another image of
    # the batch ("random", BG_Random): Ryali, Schwab and Morcos 2021. With "swaps" (BG_Swaps, contrastive methods) it is
    # the second view's alone, and another image's foreground before the first view's background is one more negative.
    # The probability is ours. SimCLR and CSI, whose views are otherwise their own, read these two settings too.
    background: Literal["keep", "remove", "random", "swaps"] = "keep"
    background_p: Probability = 0.2


class NegativesConfig(Strict):
    """How negatives enter: weight lambda of L_neg, and the two readings of the transforms."""

    weight: NonNegative = 1.0
    # per-image: the stored image is transformed, then cut into views. per-view (the authors' code): each view draws its
    # own transform, rotations after the crop and before the jitter, permutations after normalisation.
    draw: Literal["per-image", "per-view"] = "per-image"
    rot360: Literal["right-angles", "any-angle"] = "right-angles"  # any-angle (the authors' code): black corners
    # Lambda rises from 0 to `weight` on a straight line, step by step, over so many epochs; 0: `weight` from the start.
    weight_warmup_epochs: NonNegative = 0.0


class TrainConfig(Strict):
    """Optimisation (methods/PAPER.md, "Optimisation"). `batch` counts in-distribution images; a negative each."""

    epochs: PositiveInt = 500
    batch: PositiveInt = 128
    lr: Positive = 0.004  # for a batch of 256: the peak is lr x batch / 256
    lr_scaling: Literal["batch", "none"] = "batch"  # none: the peak is lr
    min_lr: NonNegative = 1e-6
    warmup_epochs: NonNegative = 30.0
    weight_decay: Range = [0.04, 0.4]
    clip: Positive | None = 3.0  # gradient norm per parameter tensor; null: as they are
    precision: Literal["fp32", "bf16"] = "fp32"
    optimiser: Literal["adamw", "sgd", "lars"] = "adamw"
    momentum: Probability = 0.9  # of SGD and LARS; `nesterov` is of SGD alone
    nesterov: bool = True
    schedule: Literal["cosine", "linear"] = "cosine"  # of the learning rate, after its warm-up
    decay_on: Literal["matrices", "all"] = "matrices"  # weight decay: not on biases and norms, or on all parameters

    def check_images(self, count: int, name: str) -> None:
        """Raise BenchError where `count` training images, those of the set `name`, do not make one batch."""
        if self.batch > count:
            raise BenchError(f"train.batch: {self.batch} is more than the {count} training images of {name}")


class EvalConfig(Strict):
    """What is measured after training. Adding a set to `ood`, or a score, never retrains: it scores what is kept."""

    # None: the paper's eight sets for this in-distribution set, all other classes for a class. "other-classes" in the
    # list are the others of this run's in_dist. An empty list: no set, so that no AUROC is measured at all.
    ood: list[str] | None = None
    temperature: Positive = 0.04  # tau of Eq. 6
    scores: list[str] = []  # beside the method's own, by the names of plan/scores.py; the table of scores holds them
    every: PositiveInt | None = None  # epochs: a run is also scored every so many of them while it trains
    knn: Annotated[list[PositiveInt], Field(min_length=1)] = [20, 10]
    knn_temperature: Positive = 0.07
    # direct (some early scripts of the authors): OOD images go to the model's size without the step through 32x32;
    # needs the sets prepared at that size, as NAME@256.
    ood_resize: Literal["stored", "direct"] = "stored"
