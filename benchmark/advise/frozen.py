"""A network that was not trained on these images, beside those that were: by OOD images, the only thing that can tell.

It is not ranked by sensitivity. That measures how a training images' score differs from an unseen one's, and a network
that never saw either gives 50, however well it detects.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from benchmark.advise.ranking import LEVEL, Scores, is_ranked, mean_error, same_images, scores_of
from benchmark.advise.trial import parts_of
from benchmark.data.catalog import info, split_class
from benchmark.plan.training_data import caveats, training_data
from benchmark.report.groups import Case, Column, Group, seeds_of
from benchmark.report.intervals import delong_of_means, hanley_mcneil, holm, student
from benchmark.report.settings import recipe_of
from benchmark.report.tables.about import describe
from benchmark.store.records import Record


@dataclass(frozen=True)
class Against:
    """A trained column beside the frozen network. aurocs: part -> AUROC in %, mean over seeds. ahead, half, p: by how
    many points of the last part the frozen network is ahead, half the 95% interval, p after Holm over all columns;
    None without OOD images. how: what the interval is over."""

    label: str
    learns_from: str
    n: int
    aurocs: dict[str, float]
    ahead: float | None = None
    half: float | None = None
    p: float | None = None
    how: str = ""

    @property
    def verdict(self) -> str:
        if self.p is None or self.ahead is None:
            return ""
        return "within noise" if self.p >= LEVEL else "frozen ahead" if self.ahead > 0 else "frozen behind"


@dataclass(frozen=True)
class Beside:
    """A frozen network beside the trained columns of its group. parts: of the OOD sets, the mean last; none without.
    what: network and weights. run: its name. sensitivity, error: in %, and half its 95% interval. counts: of ID
    images. warnings: what must be known of its weights."""

    in_dist: str
    label: str
    what: str
    learns_from: str
    run: str
    counts: tuple[int, int]
    sensitivity: float
    error: float
    parts: tuple[str, ...]
    aurocs: dict[str, float]
    others: tuple[Against, ...]
    warnings: tuple[str, ...]

    @property
    def is_told(self) -> bool:
        """Whether OOD images tell it from the trained ones."""
        return any(other.p is not None for other in self.others)

    @property
    def is_behind(self) -> bool:
        return any(other.verdict == "frozen behind" for other in self.others)


def beside(group: Group, in_dist: str) -> list[Beside]:
    """Every network of a group that is done and was not trained, image statistics and the like left out."""
    columns = [column for column in group.columns(in_dist) if not column.is_reference]
    here = [column for column in columns if not is_ranked(column) and group.records(in_dist, column.key)]
    return [_beside(group, in_dist, column, [one for one in columns if is_ranked(one)]) for column in here]


def _beside(group: Group, in_dist: str, frozen: Column, trained: Sequence[Column]) -> Beside:
    record = next(iter(group.records(in_dist, frozen.key).values()))
    keys = [f"{in_dist}/{split}" for split in ("train", "test")]
    counts = record.data[keys[0]].count, record.data[keys[1]].count
    sensitivity = next(iter(seeds_of(group.values("sensitivity", in_dist), frozen.key).values()))
    parts = parts_of(group, in_dist)
    own = {part: seeds for part, cases in parts.items() if (seeds := seeds_of(group.mean(cases).whole, frozen.key))}
    decisive = next(reversed(own), None)
    others = []
    for column in trained:
        records = group.records(in_dist, column.key)
        by_part = {part: seeds for part in own if (seeds := seeds_of(group.mean(parts[part]).whole, column.key))}
        if not records:
            continue
        n = len(by_part.get(decisive or "", records))
        other = Against(column.label, training_data(column.config), n, _means_of(by_part))
        if decisive is not None and decisive in by_part:
            one, cases = fmean(own[decisive].values()), parts[decisive]
            half, p, how = _compared(group, cases, record, one, records, by_part[decisive])
            other = replace(other, ahead=one - other.aurocs[decisive], half=half, p=p, how=how)
        others.append(other)
    told = [place for place, other in enumerate(others) if other.p is not None]
    for place, p in zip(told, holm([others[place].p or 0.0 for place in told]), strict=True):
        others[place] = replace(others[place], p=p)
    return Beside(
        in_dist, frozen.label, describe(frozen.config), training_data(frozen.config), record.name, counts, sensitivity,
        1.96 * hanley_mcneil(sensitivity, *counts), tuple(own), _means_of(own),
        tuple(sorted(others, key=lambda other: -other.aurocs.get(decisive or "", 0.0))),
        tuple(caveats(frozen.config)),
    )  # fmt: skip


def _means_of(by_part: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    return {part: fmean(seeds.values()) for part, seeds in by_part.items()}


def _compared(
    group: Group, cases: Sequence[Case], frozen: Record, value: float, records: Mapping[int, Record],
    seeds: Mapping[int, float],
) -> tuple[float, float, str]:  # fmt: skip
    """Half the 95% interval of the difference of the mean AUROCs over `cases`, its two-sided p, and over what: seeds of
    training (Student's t), or the images (DeLong's), whichever leaves more open."""
    difference = value - fmean(seeds.values())
    found = []
    if len(seeds) > 1:
        error = stdev(seeds.values()) / math.sqrt(len(seeds))
        found.append((*student(difference, error, len(seeds) - 1), "seeds"))
    first = _scores(group, cases, frozen)
    kept = [_scores(group, cases, records[seed]) for seed in seeds]
    both = [other for other in kept if first and other and all(map(same_images, first, other))]
    if first and (of_images := mean_error(delong_of_means(first, other) for other in both)) is not None:
        found.append((*student(difference, of_images, math.inf), "images"))
    if found:
        return max(found, key=lambda one: one[0])
    sizes = [frozen.scores[group.score_of(frozen)].ood[case.ood] for case in cases]
    errors = [
        math.hypot(*(hanley_mcneil(level, size.n_id, size.n_ood) for level in (value, value - difference)))
        for size in sizes
    ]
    return (*student(difference, max(errors), math.inf), "numbers of images")


def _scores(group: Group, cases: Sequence[Case], record: Record) -> list[Scores] | None:
    """Of each case the scores of the ID test images and of the OOD images."""
    keys = [record.run_config.test_key, *(record.run_config.ood_key(case.ood) for case in cases)]
    kept = scores_of(record, keys, group.score)
    return None if kept is None else [(kept[0], outside) for outside in kept[1:]]


# --- what other records say ---------------------------------------------------------------------------------------


def on_records(folders: Iterable[Sequence[Record]]) -> list[str]:
    """What records of the same images say of frozen networks beside networks trained on the in-distribution images
    alone, in words for each frozen network and set, or its single classes."""
    records = {record.run_id: record for folder in folders for record in folder}.values()
    trained = [one for one in records if training_data(one.run_config) == "scratch"]
    tasks: dict[tuple[str, str], list[tuple[float, float]]] = {}  # AUROC of the frozen network and of the best other
    for frozen in (one for one in records if one.run_config.method.name == "frozen"):
        rows: dict[str, list[tuple[float, float]]] = {}
        for other in trained:
            if (both := _means(frozen, other)) is not None:
                rows.setdefault(recipe_of(other.run_config), []).append(both)
        if rows:
            parent, name = split_class(frozen.config["in_dist"])
            of = f"single classes of {info(parent).title}" if name else info(parent).title
            best = max(rows.values(), key=lambda row: fmean(theirs for _, theirs in row))
            own, theirs = (fmean(side) for side in zip(*best, strict=True))
            tasks.setdefault((describe(frozen.run_config), of), []).append((own, theirs))
    return [
        f"on {of} (n = {len(several)}) {what} has a mean AUROC of {fmean(own for own, _ in several):.1f}, the best "
        f"network trained on those images alone {fmean(theirs for _, theirs in several):.1f}"
        for (what, of), several in tasks.items()
    ]


def _means(one: Record, other: Record) -> tuple[float, float] | None:
    """The mean AUROCs of two records by their own scores over the OOD sets that both have, where they read the same
    test images; None where there are none."""
    if one.config["in_dist"] != other.config["in_dist"]:
        return None
    config = one.run_config
    shared = [name for name in one.own_score.ood if name in other.own_score.ood]
    keys = [config.test_key, *map(config.ood_key, shared)]
    if not shared or any(key not in side.data for key in keys for side in (one, other)):
        return None
    if any(one.data[key].fingerprint != other.data[key].fingerprint for key in keys):
        return None
    means = [fmean(side.own_score.ood[name].auroc for name in shared) for side in (one, other)]
    return means[0], means[1]
