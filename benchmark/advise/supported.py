"""Which score a detector should use: what the benchmark's own records say of the scores that a run has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmark.advise.recommend import folders_of_runs, reference_folder
from benchmark.negatives import perm_count
from benchmark.plan.config import RunConfig
from benchmark.plan.scores import EQ6, needs
from benchmark.store.measurements import load_records
from benchmark.store.records import Record

FEWEST = 3  # records that a gain is taken from
MAJORITY = 0.75  # of them, in which the score must be above Eq. 6
LEAST = 1.0  # points of AUROC, the mean gain


@dataclass(frozen=True)
class Choice:
    """A score and why it was chosen, in one sentence."""

    score: str
    why: str


def supported(record: Record, reference: Path | None = None) -> Choice:
    """Of the scores that a run has been scored by, the one that the benchmark's own records support, else its own.

    Asked are records of the same method, with negatives or without as this run, and normalised as it is; of a score
    over rotated or shuffled copies only those with such negatives where it has them, and without where not. In them
    each score's mean AUROC over the OOD sets is held against Eq. 6's. The run's own record is not asked, and none
    twice. reference: the folder of these records, by default as of `bench recommend`.
    """
    place = reference_folder(reference)
    if record.own != EQ6:
        return Choice(record.own, "the method's own score")
    if place is None:
        return Choice(EQ6, "the paper's score; the benchmark's own records, by which to choose, are not here")
    gains = _gains([load_records(folder) for folder in folders_of_runs(place)], record)
    better = {score: found for score, found in gains.items() if _is_supported(found)}
    if not better:
        return Choice(EQ6, "the paper's score; in the benchmark's own records no other of this run is clearly above it")
    score = max(better, key=lambda score: _mean(better[score]))
    found = [gain for folder in better[score] for gain in folder]
    above = sum(gain > 0 for gain in found)
    return Choice(
        score,
        f"in the benchmark's own records of such runs its mean AUROC is {_mean(better[score]):.1f} points above "
        f"Eq. 6's, and it is above in {above} of {len(found)}",
    )


Gains = list[list[float]]  # folder by folder, record by record: points of AUROC above Eq. 6


def _gains(folders: Iterable[list[Record]], of: Record) -> dict[str, Gains]:
    made: dict[str, Gains] = defaultdict(list)
    asked, config, further = {of.run_id}, of.run_config, [score for score in of.scores if score != EQ6]
    for folder in folders:
        records = [one for one in folder if one.own == EQ6 and one.run_id not in asked and one.scores[EQ6].ood]
        asked.update(one.run_id for one in records)
        with_configs = [(one, one.run_config) for one in records]  # which are read anew each time they are asked for
        for score in further:
            kind = _kind(config, score)
            alike = [one for one, its in with_configs if score in one.scores and _kind(its, score) == kind]
            if alike:
                made[score].append([_gain(one, score) for one in alike])
    return made


def _gain(record: Record, score: str) -> float:
    by, own = record.scores[score].ood, record.scores[EQ6].ood
    return fmean(by[ood].auroc - own[ood].auroc for ood in own if ood in by)


def _mean(gains: Gains) -> float:
    """Over the folders, so that one with many small runs weighs no more than another."""
    return fmean(fmean(folder) for folder in gains)


def _is_supported(gains: Gains) -> bool:
    flat = [gain for folder in gains for gain in folder]
    above = sum(gain > 0 for gain in flat)
    return len(flat) >= FEWEST and above >= MAJORITY * len(flat) and _mean(gains) >= LEAST


def _kind(config: RunConfig, score: str) -> tuple[object, ...]:
    """What must agree for one run's gain by a score to say anything of another's."""
    statistics = config.model.batch_statistics if config.chooses_statistics else "none"
    transforms = [kind.transform for kind in config.kinds()]
    learnt = {
        "rotations": any(transform in ("rot", "rot360") for transform in transforms),
        "permutations": any(map(perm_count, transforms)),
    }
    copies = [there for need, there in learnt.items() if need in needs([score])]
    return config.method.name, bool(transforms), statistics, *copies
