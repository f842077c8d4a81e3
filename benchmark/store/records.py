"""record.json: the versioned record of a finished run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr, field_validator

from benchmark.plan.config import RunConfig, as_kept
from benchmark.plan.methods import method_settings
from benchmark.plan.validation import Strict, validate

SCHEMA = 2  # of record.json; `UPGRADES` brings older ones here


def _name_own_score(raw: dict[str, Any]) -> dict[str, Any]:
    """From schema 1, where what the method's own score detects stood in the record itself, without a name."""
    method = method_settings(raw["config"]["method"])
    rest = {key: value for key, value in raw.items() if key not in ("ood", "sensitivity", "scores")}
    own = {"ood": raw["ood"], "sensitivity": raw["sensitivity"], "passes": method.own_passes}
    # The one further score that can be the own one again, eq6 of an untrained network, has the same numbers.
    scores = {**(raw.get("scores") or {}), method.own_score: own}
    return {**rest, "schema_version": 2, "own": method.own_score, "scores": scores}


UPGRADES: dict[int, Any] = {1: _name_own_score}  # version -> function(raw dict) -> raw dict of version + 1


class SetInRecord(Strict):
    """A set of images as a run saw it."""

    count: int
    fingerprint: str  # sha256 of images and labels
    official: bool = False  # prepared from the official files, or generated, rather than imported
    official_count: int | None = None
    shared: dict[str, int] = {}  # other "set/split" of the run -> how many of these images it has too; not in old ones


class OODMetrics(Strict):
    """Detection of one OOD set against the ID test set, in percent; larger score = more OOD."""

    auroc: float
    aupr_ood: float  # OOD images are the positives
    aupr_id: float
    aupr_oe: float | None = None  # aupr_ood at one OOD to five ID images (OE); older records lack it
    fpr95_id: float  # share of OOD accepted where 95% of ID are accepted (SSD's convention)
    fpr95_ood: float  # share of ID flagged where 95% of OOD are found (OE, OpenOOD 1.5, pytorch-ood)
    n_id: int
    n_ood: int


class ScoreInRecord(Strict):
    """What one score detects."""

    ood: dict[str, OODMetrics]  # OOD set -> its measures
    sensitivity: float  # AUROC in percent of ID train (leave-one-out) against ID test
    passes: int  # of the network for a test image


class IntermediateMeasures(Strict):
    """What a run measured while it trained, after so many epochs, by the method's own score; units as in the record."""

    epoch: int
    knn_accuracy: dict[str, float | None]
    ood: dict[str, float]  # OOD set -> AUROC
    sensitivity: float
    occupancy: dict[str, float] | None = None


class Record(BaseModel):
    """record.json: what a finished run measured, and all that is needed to know where the numbers come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA
    run_id: str
    recipe_id: str
    name: str
    config: dict[str, Any]  # resolved RunConfig
    data: dict[str, SetInRecord]  # "set/split" -> what was read
    own: str  # the score that the method is published with, one of `scores`
    scores: dict[str, ScoreInRecord]  # by name: the method's own, and those of `eval.scores`
    knn_accuracy: dict[str, float | None]  # "20" -> percent on the ID test set; None without labels, or with one
    occupancy: dict[str, float] | None = None  # "paper", "authors", "classes", ... ; None where there is no head
    extra: dict[str, Any] = {}  # what one method alone measures (AUROC by each image statistic, ...)
    trajectory: list[IntermediateMeasures] = []  # every `eval.every` epochs; the record itself is about the end
    training: dict[str, Any] = {}  # epochs, steps, final losses, images_per_s, alarms
    timings: dict[str, float] = {}  # seconds by phase
    environment: dict[str, Any] = {}  # commit, packages, hardware
    _folder: Path | None = PrivateAttr(None)

    @field_validator("environment")
    @classmethod
    def _packages_have_versions(cls, environment: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(environment.get("packages", {}), dict):
            raise ValueError("packages: must be a map from package to version")
        return environment

    @property
    def folder(self) -> Path | None:
        """The run's folder that it was read from, where its scores lie; None where it was not read from one."""
        return self._folder

    def read_from(self, folder: Path) -> Record:
        """This record, which from now on knows its folder."""
        self._folder = folder
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self.model_dump() == other.model_dump()

    @property
    def own_score(self) -> ScoreInRecord:
        """What the method's own score detects."""
        return self.scores[self.own]

    def lacks(self, config: RunConfig) -> list[str]:
        """What `config` asks of this run and the record does not hold yet: OOD sets and scores."""
        oods = [name for name in config.ood_sets() if name not in self.own_score.ood]
        return oods + [name for name in config.scores() if name not in self.scores]

    def changed(self, now: Mapping[str, str | None]) -> list[str]:
        """The "set/split" of which the run saw other images than now. now: "set/split" -> fingerprint, of some sets."""
        return [key for key, seen in self.data.items() if now.get(key, seen.fingerprint) != seen.fingerprint]

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase. Training's are of all attempts, where `timings` of older records know the last process."""
        if "seconds" not in self.training:
            return self.timings
        return {**self.timings, "train": max(self.timings.get("train", 0.0), self.training["seconds"])}

    @property
    def codes(self) -> tuple[str, ...]:
        """Fingerprints of the code that made its numbers, of all its attempts; none in older records."""
        return tuple(self.environment.get("codes") or filter(None, [self.environment.get("code")]))

    @property
    def plugins(self) -> dict[str, str]:
        """What it took from packages other than this one, as `plugins.loaded` says."""
        return dict(self.environment.get("plugins", {}))

    @property
    def run_config(self) -> RunConfig:
        config: RunConfig = validate(RunConfig, as_kept(self.config), f"record of {self.name}", "config")
        return config


def different_codes(of_records: Iterable[tuple[str, ...]]) -> str:
    """How many records were made by which code ("3 by 0a1b, 1 by 0a1b then 2c3d"), of the `Record.codes` of several;
    "" where all that know theirs have the same."""
    kinds = Counter(" then ".join(codes) for codes in of_records if codes)
    return ", ".join(f"{count} by {code}" for code, count in kinds.most_common()) if len(kinds) > 1 else ""
