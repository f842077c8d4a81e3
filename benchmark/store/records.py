"""record.json: the versioned record of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from benchmark.plan.config import RunConfig, as_kept
from benchmark.plan.validation import Strict, validate

SCHEMA = 1  # of record.json; `UPGRADES` brings older ones here
UPGRADES: dict[int, Any] = {}  # version -> function(raw dict) -> raw dict of version + 1


class SetInRecord(Strict):
    """A set of images as a run saw it."""

    count: int
    fingerprint: str  # sha256 of images and labels
    official: bool = False  # prepared from the official files, or generated, rather than imported
    official_count: int | None = None


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
    """What another score than the method's own detects."""

    ood: dict[str, OODMetrics]  # OOD set -> its measures
    sensitivity: float  # as in the record
    passes: int  # of the network for a test image


class Look(Strict):
    """What a run measured while it trained, after so many epochs; units as in the record."""

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
    ood: dict[str, OODMetrics]  # OOD set -> its measures
    knn_accuracy: dict[str, float | None]  # "20" -> percent on the ID test set; None without labels, or with one
    sensitivity: float  # AUROC in percent of ID train (each unseen by itself) against ID test
    scores: dict[str, ScoreInRecord] = {}  # further scores by the names of `eval.scores`
    occupancy: dict[str, float] | None = None  # "paper", "authors", "classes", ... ; None where there is no head
    extra: dict[str, Any] = {}  # what one method alone measures (AUROC by each image statistic, ...)
    trajectory: list[Look] = []  # every `eval.every` epochs; the record itself is about the end
    training: dict[str, Any] = {}  # epochs, steps, final losses, images_per_s, alarms
    timings: dict[str, float] = {}  # seconds by phase
    environment: dict[str, Any] = {}  # commit, packages, hardware

    def lacks(self, config: RunConfig) -> list[str]:
        """What `config` asks of this run and the record does not hold yet: OOD sets and scores."""
        oods = [name for name in config.ood_sets() if name not in self.ood]
        return oods + [name for name in config.scores() if name not in self.scores]

    def changed(self, now: Mapping[str, str | None]) -> list[str]:
        """The "set/split" of which the run saw other images than now. now: "set/split" -> fingerprint, of some sets."""
        return [key for key, seen in self.data.items() if now.get(key, seen.fingerprint) != seen.fingerprint]

    @property
    def run_config(self) -> RunConfig:
        config: RunConfig = validate(RunConfig, as_kept(self.config), f"record of {self.name}", "config")
        return config
