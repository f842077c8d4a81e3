"""What one run computes: strict settings, the two protocols, and the run's identity.

A `RunConfig` holds what changes the numbers and leaves out how the run is run (device, workers, checkpoint interval,
SLURM): those belong to the sweep's resources and to the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from benchmark.data import classes
from benchmark.data.catalog import PAPER_OOD, name_at
from benchmark.data.classes import OTHERS
from benchmark.errors import BenchError
from benchmark.negatives import IN_DIST, WHOLE_IMAGE, Negative, check_transform, variant
from benchmark.plan import scores, weights
from benchmark.plan.identity import canonical, digest, sha256
from benchmark.plan.methods import REFERENCES, DinoConfig, MethodConfig, check_scale
from benchmark.plan.sections import DataConfig, EvalConfig, ModelConfig, NegativesConfig, TrainConfig, ViewsConfig
from benchmark.plan.validation import Strict

PROTOCOLS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "authors": {
        "data": {"aux_order": "fixed"},
        "negatives": {"draw": "per-view", "rot360": "any-angle"},
        "method": {"centre": "two-rows", "teacher_sees_negatives": True, "teacher_temperature_start": 0.04},
    },
}

# Fields added after the first release: {"section.field": value that means "as before"}. While a run has that value the
# field stays out of its identity, so that old results keep their names.
LEGACY_DEFAULTS: dict[str, Any] = {
    "train.lr_scaling": "batch",
    "train.optimiser": "adamw",
    "train.schedule": "cosine",
    "train.decay_on": "matrices",
    "method.shift": 0,
    "negatives.weight_warmup_epochs": 0.0,
    "model.batch_statistics": "positives",
    **{f"model.{key}": value for key, value in weights.NO_WEIGHTS.items()},
}

# Of these the default today is another than what it was before there was a choice. A record, or a run's config.yaml,
# holds all settings there were: where it lacks one of these, it is older than the choice.
CHANGED_DEFAULTS = {"model.batch_statistics": "positives"}


def as_kept(raw: Any) -> Any:
    """The settings that a record or a run's config.yaml holds, and those that are younger than it as they were then."""
    if not isinstance(raw, dict):
        return raw  # whoever validates it says what is wrong
    for path, before in CHANGED_DEFAULTS.items():
        section, field = path.split(".")
        inside = raw.get(section)
        if isinstance(inside, dict) and field not in inside:
            raw = raw | {section: inside | {field: before}}
    return raw


class RunConfig(Strict):
    """One run: train `method` on `in_dist` with the negatives of `variant`, score, write a record."""

    in_dist: str
    variant: str = "none"
    seed: Annotated[int, Field(ge=0)] = 0
    protocol: Literal["paper", "authors"] = "paper"
    # Factories: pydantic copies a default deeply for each run, which is slow by the thousand.
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    views: ViewsConfig = Field(default_factory=ViewsConfig)
    negatives: NegativesConfig = Field(default_factory=NegativesConfig)
    method: MethodConfig = Field(default_factory=DinoConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    eval: EvalConfig = Field(default_factory=EvalConfig)

    @model_validator(mode="before")
    @classmethod
    def _apply_protocol(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        filled = dict(raw)
        for section, values in PROTOCOLS.get(str(raw.get("protocol", "paper")), {}).items():
            given = raw.get(section, {})
            if isinstance(given, dict) and not (section == "method" and given.get("name", "dino") != "dino"):
                filled[section] = {**values, **given}
        if isinstance(filled.get("method"), dict):
            filled["method"] = {"name": "dino", **filled["method"]}
            if filled["method"]["name"] == "frozen":
                filled["views"] = weights.sized(filled.get("views", {}), filled.get("model"))
        return filled

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        self._check_classes()
        self._check_scores()
        weights.check_method(self.method.name, self.model, self.views.global_size)
        if self.method.negatives:
            self._check_negatives()
        elif self.variant != "none":
            raise ValueError(f"variant: {self.method.name!r} has no negatives; leave the variant out")
        if self.views.background not in self.method.backgrounds:
            raise ValueError(
                f"views.background: {self.views.background!r} is not for the method {self.method.name!r}; allowed: "
                + ", ".join(self.method.backgrounds)
            )
        self.method.check(self.data.image_size, self.train.batch)
        if self.method.multi_crop:
            check_scale("views.local_scale", self.views.local_scale)
            check_scale("views.global_scale", self.views.global_scale)
        self.model.check_statistics(self.chooses_statistics)
        if self.method.trains and self.train.warmup_epochs >= self.train.epochs:
            raise ValueError(
                f"train.warmup_epochs: {self.train.warmup_epochs:g} leaves nothing of train.epochs {self.train.epochs}"
            )
        return self

    def _check_classes(self) -> None:
        """What is wrong with the classes that are named as sets, as far as their names say."""
        oods = self.eval.ood or []
        if OTHERS not in oods and not any(":" in name for name in (self.in_dist, *oods, *self.data.sources.values())):
            return
        named = [("in_dist", self.in_dist), *((f"data.sources.{s}", name) for s, name in self.data.sources.items())]
        checks: list[tuple[str, Callable[[], None]]] = [(key, partial(classes.check_name, name)) for key, name in named]
        checks += [("eval.ood", partial(classes.check_name, name)) for name in oods]
        checks += [("eval.ood", lambda: self.check_apart(classes.official_names(self.in_dist)))]
        for key, check in checks:
            try:
                check()
            except BenchError as error:
                raise ValueError(f"{key}: {error}") from error

    def check_apart(self, names: Mapping[str, int] | None) -> None:
        """Raise BenchError where an OOD set has images of in_dist. names: see `classes.check_apart`."""
        if self.eval.ood is None and ":" not in self.in_dist:
            return  # the paper's sets
        by_default = self.eval.ood is None or OTHERS in self.eval.ood
        classes.check_apart(self.in_dist, self.ood_sets(), names, by_default)

    def check_size(self, key: str, side: int) -> None:
        """Raise BenchError where images "set/split" `key` of so many pixels a side are not what the run takes."""
        if side != self.data.image_size and "@" not in key:
            raise BenchError(f"{key}: its images are {side}x{side}, data.image_size is {self.data.image_size}")

    def check_count(self, images: int) -> None:
        """Raise BenchError where so many training images are too few for a batch or for the neighbours asked for."""
        if self.method.trains:
            self.train.check_images(images, self.in_dist)
        if max(self.eval.knn) > images:
            raise BenchError(f"eval.knn: {max(self.eval.knn)} neighbours of {images} training images of {self.in_dist}")
        for name in self.scores():
            if max(part.count for part in scores.parts(name)) >= images:
                raise BenchError(
                    f"eval.scores: {name} asks for more than the {images - 1} other images of {self.train_key}"
                )

    def _check_scores(self) -> None:
        """Each name is one of a score, given once, that this method's runs can have. The reference rows, which a sweep
        adds by itself, leave out what they cannot have."""
        if len(set(self.eval.scores)) < len(self.eval.scores):
            raise ValueError(f"eval.scores: {self.eval.scores} names a score twice")
        for name in self.eval.scores:
            try:
                needed = scores.needs([name])
            except BenchError as error:
                raise ValueError(f"eval.scores: {error}") from error
            lacking = needed - self.method.provides
            if lacking and self.method.name not in REFERENCES:
                raise ValueError(
                    f"eval.scores: {name!r} needs {' and '.join(sorted(lacking))}, which {self.method.name!r} does not "
                    "have; allowed: " + ", ".join(n for n, k in scores.KINDS.items() if k.needs <= self.method.provides)
                )
            if "permutations" in needed and self.data.image_size % 2:
                raise ValueError(f"eval.scores: {name!r} cuts images in quarters; data.image_size is odd")

    def scores(self) -> list[str]:
        """The scores beside the method's own that this run is to have: those asked for that it can have. DINO without
        negatives has no score that is measured from them."""
        if self.method.name == "image-statistics":
            return []  # four numbers, which have no direction
        has = self.method.provides if self.kinds() else self.method.provides - {"negatives"}
        return [name for name in self.eval.scores if scores.needs([name]) <= has]

    def passes(self, score: str) -> int:
        """Passes of the network that a score of this run takes for a test image."""
        return self.method.own_passes if score == self.method.own_score else scores.passes(score)

    def _check_negatives(self) -> None:
        if self.negatives.weight_warmup_epochs > self.train.epochs:
            raise ValueError(
                f"negatives.weight_warmup_epochs: {self.negatives.weight_warmup_epochs:g} is more than train.epochs "
                f"{self.train.epochs}; allowed: 0 to {self.train.epochs}"
            )
        try:
            if self.method.needs_negatives and self.variant == "none":
                raise BenchError(
                    f"none given; {self.method.name} learns from a variant's negatives, as in variant: imgn"
                )
            if self.method.needs_negatives and not self.kinds():
                raise BenchError(f"{self.variant!r} has no outliers to expose, or negatives.weight is 0")
            for negative in variant(self.variant).negatives:
                per_image = self.negatives.draw == "per-image"
                for side in (self.data.image_size,) if per_image else self.input_sizes():
                    check_transform(negative, side)
                for source in {*negative.sources} - {IN_DIST, *self.data.sources}:
                    raise BenchError(f"variant {self.variant!r} needs data.sources.{source}, which is not set")
        except BenchError as error:
            raise ValueError(f"variant: {error}") from error

    @property
    def label(self) -> str:
        """What tells this run from its neighbours in a table: DINO's variant, or the method's name."""
        if self.method.name == "dino":
            label = self.variant
        else:
            label = f"{self.method.label}-{self.variant}" if self.method.negatives else self.method.label
        return label if self.views.background == "keep" else f"{label}-bg-{self.views.background}"

    def kinds(self) -> tuple[Negative, ...]:
        """The kinds of negative that training sees; none where they have no weight."""
        if not self.method.negatives or not self.negatives.weight:
            return ()
        return tuple(kind for kind in variant(self.variant).negatives for _ in range(self.method.negatives_each))

    @property
    def chooses_statistics(self) -> bool:
        """Whether `model.batch_statistics` changes the numbers of this run."""
        return self.method.multi_crop and self.method.trains and self.model.may_normalise_over_images

    @property
    def masked(self) -> bool:
        """Whether training asks which part of an image is foreground."""
        return self.views.background != "keep" or any(kind.masked for kind in self.kinds())

    def input_sizes(self) -> tuple[int, ...]:
        """Sides in pixels of the images that the backbone sees, the largest first; empty where there is no backbone."""
        if self.method.name in ("image-statistics", "features"):
            return ()
        if not self.method.trains:
            return (self.views.global_size,)
        return (self.views.global_size, self.views.local_size) if self.method.multi_crop else (self.data.image_size,)

    def training_sets(self) -> list[tuple[str, str]]:
        """(set, split) of everything that training and the in-distribution measures read."""
        sets = [(self.in_dist, "train"), (self.in_dist, "test")]
        for source in self.auxiliary_sources():
            if (self.data.sources[source], "aux") not in sets:
                sets.append((self.data.sources[source], "aux"))
        return sets

    def ood_sets(self) -> list[str]:
        """The OOD sets to score, in table order. Raises BenchError when the paper names none for this set."""
        if self.eval.ood is not None:
            if OTHERS not in self.eval.ood:
                return self.eval.ood
            named = (classes.other_classes(self.in_dist) if ood == OTHERS else ood for ood in self.eval.ood)
            return list(dict.fromkeys(named))
        if ":" in self.in_dist:
            return [classes.other_classes(self.in_dist)]
        if self.in_dist not in PAPER_OOD:
            raise BenchError(
                f"eval.ood: must be given for in_dist {self.in_dist!r}; the paper has it only for "
                + " and ".join(PAPER_OOD)
            )
        return list(PAPER_OOD[self.in_dist])

    def stored_name(self, ood: str) -> str:
        """The set that stands behind the OOD set `ood`: itself, or, where `ood_resize` is direct, the same at the size
        that the backbone sees (without one, that of the stored ID images)."""
        if self.eval.ood_resize != "direct" or "@" in ood:
            return ood
        name, colon, of = ood.partition(":")
        return f"{name_at(name, (*self.input_sizes(), self.data.image_size)[0])}{colon}{of}"

    @property
    def train_key(self) -> str:
        """ "set/split" of the in-distribution training images."""
        return f"{self.in_dist}/train"

    @property
    def test_key(self) -> str:
        """ "set/split" of the in-distribution test images."""
        return f"{self.in_dist}/test"

    def ood_key(self, ood: str) -> str:
        """ "set/split" of the images that stand behind the OOD set `ood`."""
        return f"{self.stored_name(ood)}/test"

    def scored_keys(self) -> list[str]:
        """ "set/split" of all images that are scored: in-distribution training and test images, then the OOD sets."""
        return [self.train_key, self.test_key, *map(self.ood_key, self.ood_sets())]

    def auxiliary_sources(self) -> list[str]:
        """The sources ("imagenet", "dti") that the variant's negatives come from, less the training images."""
        if not self.method.negatives:
            return []
        return [s for negative in variant(self.variant).negatives for s in negative.sources if s != IN_DIST]

    def identity(self) -> dict[str, Any]:
        """Everything that changes the numbers of this run and nothing else, as plain values.

        The lists of OOD sets and of scores are left out: each is a matter of its own, so adding one changes no other
        number. Neither does scoring on the way.
        """
        full = self.model_dump(mode="json")
        del full["protocol"]  # it only fills in other fields
        del full["eval"]["ood"], full["eval"]["scores"], full["eval"]["every"]
        del full["model"]["weights"]  # where they lie: they are known by their hash
        if self.train.optimiser == "adamw":
            del full["train"]["momentum"]
        if self.train.optimiser != "sgd":
            del full["train"]["nesterov"]
        if not self.masked:
            del full["data"]["mask"]
        if self.views.background == "keep":
            del full["views"]["background"], full["views"]["background_p"]
        if not self.chooses_statistics:
            del full["model"]["batch_statistics"]
        if self.method.negatives:
            self._identify_negatives(full)
        full = self.method.identity(full, self.in_dist)
        return _without_legacy(full)

    def _identify_negatives(self, full: dict[str, Any]) -> None:
        chosen, sources = variant(self.variant), self.auxiliary_sources()
        full["variant"] = [negative.identity for negative in chosen.negatives]
        full["data"]["sources"] = {source: self.data.sources[source] for source in sources}
        if not sources:
            for key in ("aux_limit", "aux_order"):
                del full["data"][key]
        transforms = {negative.transform for negative in chosen.negatives}
        if not chosen.negatives:
            del full["negatives"]
        else:
            if transforms <= WHOLE_IMAGE:
                del full["negatives"]["draw"]
            if "rot360" not in transforms:
                del full["negatives"]["rot360"]

    def recipe_id(self) -> str:
        """Hash of `identity()`: the same settings give the same recipe, on any machine, with or without data."""
        return digest(self.identity())

    def run_id(self, fingerprints: dict[str, str], identity: str | None = None) -> str:
        """Hash of the recipe and of the images it reads; `fingerprints` maps "set/split" to a sha256 of the content.

        identity: `canonical(self.identity())` where it is known already.
        """
        identity = identity or canonical(self.identity())
        return sha256(f'{{"data":{canonical(fingerprints)},"recipe":{identity}}}')

    @property
    def short_name(self) -> str:
        """The run's name without its id, safe as a file's: the class of a set stands behind a dot."""
        return f"{self.in_dist.replace(':', '.')}-{self.label}-s{self.seed}"

    def run_name(self, run_id: str) -> str:
        """Folder of the run: a readable prefix and the first eight digits of its id."""
        return f"{self.short_name}-{run_id[:8]}"

    def reference(self, name: str) -> RunConfig:
        """The reference row `name` to this run: it trains nothing, and sees images of the size that the run sees."""
        raw = self.model_dump() | {"method": {"name": name}, "variant": "none", "seed": 0}
        raw["model"] |= weights.NO_WEIGHTS
        raw["views"]["background"] = "keep"
        if self.method.trains and not self.method.multi_crop:
            raw["views"]["global_size"] = self.data.image_size
        return RunConfig.model_validate(raw)

    def with_more(self, ood: Iterable[str], scores: Iterable[str]) -> RunConfig:
        """The same run, scored on these OOD sets and by these scores too."""
        wanted = {"ood": [*self.ood_sets(), *ood], "scores": [*self.eval.scores, *scores]}
        unique = {key: list(dict.fromkeys(names)) for key, names in wanted.items()}
        return self.model_copy(update={"eval": self.eval.model_copy(update=unique)})

    def setting(self) -> dict[str, Any]:
        """The settings that all cells of one table share: all but in-distribution set, seed and what `label` tells of
        the variant and the views' backgrounds."""
        full = self.model_dump(mode="json")
        for key in ("variant", "in_dist", "seed"):
            del full[key]
        del full["eval"]["ood"], full["eval"]["scores"], full["eval"]["every"], full["views"]["background"]
        del full["model"]["weights"]
        if not self.chooses_statistics:
            del full["model"]["batch_statistics"]
        return self.method.setting(full)


def _without_legacy(full: dict[str, Any]) -> dict[str, Any]:
    for path, default in LEGACY_DEFAULTS.items():
        section, field = path.split(".")
        inside = full.get(section, {})
        if field in inside and inside[field] == default:
            del inside[field]
    return full
