"""The rule tried: what OOD sets say afterwards of a ranking that was made without them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from benchmark.data.catalog import CATALOG, info, is_near, set_behind, split_class
from benchmark.plan.methods import REFERENCES
from benchmark.report.groups import Group
from benchmark.report.intervals import hanley_mcneil, placements
from benchmark.report.numbers import auroc, average_over
from benchmark.report.ranking import scores_of


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau over n variants between sensitivity and AUROC on `title`. kind: "near", "far" or "all". tau and p
    are None below 3 variants, or where one side is constant."""

    title: str
    kind: str
    n: int
    tau: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Trial:
    """What the rule would have done on some records. chosen, best: variants, by sensitivity and by average AUROC.

    cost: points of average AUROC that the choice loses against the best; at_random: what a blind choice loses.
    spread: largest less smallest sensitivity. error: half the 95% interval of one sensitivity, from the images alone.
    halves: tau of sensitivity with average AUROC, both on one half of the ID test images, and each on its own half.
    """

    name: str
    agreements: tuple[Agreement, ...]
    chosen: str
    best: str
    cost: float
    at_random: float
    spread: float
    error: float
    n: int
    halves: tuple[float, float] | None = None


# --- what OOD sets say afterwards ---------------------------------------------------------------------------------


def agreements(group: Group, in_dist: str) -> list[Agreement]:
    """Near average, far average and average (each where it is over several sets), then each set, near ones first: the
    first of a kind is what stands for it."""
    known = _measured(group, in_dist)
    made = []
    oods = _near_first(group, in_dist)
    for title, kind, sets in [*_averages(in_dist, oods), *((info(o).title, _kind(in_dist, o), [o]) for o in oods)]:
        pairs = [
            (s, value) for label, s in known.items() if (value := _mean_auroc(group, in_dist, label, sets)) is not None
        ]
        made.append(_kendall(title, kind, pairs))
    return made


def _kendall(title: str, kind: str, pairs: list[tuple[float, float]]) -> Agreement:
    x, y = [a for a, _ in pairs], [b for _, b in pairs]
    if len(pairs) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return Agreement(title, kind, len(pairs))
    tau, p = stats.kendalltau(x, y)
    return Agreement(title, kind, len(pairs), float(tau), float(p))


def _measured(group: Group, in_dist: str) -> dict[str, float]:
    """Trained label -> mean sensitivity over its seeds."""
    means = {}
    for label in group.labels(in_dist):
        records = group.records(in_dist, label)
        if records and label not in REFERENCES:
            means[label] = math.fsum(record.own_score.sensitivity for record in records.values()) / len(records)
    return means


def _near_first(group: Group, in_dist: str) -> list[str]:
    oods = [ood for ood in group.ood_sets(in_dist) if _scored(group, in_dist, ood)]
    return sorted(oods, key=lambda ood: not is_near(in_dist, ood))


def _scored(group: Group, in_dist: str, ood: str) -> bool:
    records = (record for label in group.labels(in_dist) for record in group.records(in_dist, label).values())
    return any(auroc(record, ood) is not None for record in records)


def _kind(in_dist: str, ood: str) -> str:
    """ "near" or "far" where the catalogue knows the ID set, else ""."""
    if set_behind(in_dist) not in CATALOG:
        return ""
    return "near" if is_near(in_dist, ood) else "far"


def _averages(in_dist: str, oods: list[str]) -> list[tuple[str, str, list[str]]]:
    """(title, kind, sets) of the averages, each over more than one set."""
    near = [ood for ood in oods if is_near(in_dist, ood)]
    far = [ood for ood in oods if ood not in near]
    parts = [("near average", "near", near), ("far average", "far", far)] if near and far else []
    return [(f"{t} ({len(sets)})", kind, sets) for t, kind, sets in [*parts, ("average", "all", oods)] if len(sets) > 1]


def _mean_auroc(group: Group, in_dist: str, label: str, sets: list[str]) -> float | None:
    """Mean over seeds of the average over `sets`, None unless every seed has all of them."""
    value, shared = average_over(sets, group.records(in_dist, label))
    return value.mean if value and len(shared) == len(sets) else None


def halves(group: Group, in_dist: str, results: Path, draws: int = 200) -> tuple[float, float] | None:
    """Mean Kendall's tau over random halvings of the ID test images: sensitivity and average AUROC measured on the same
    half, and on different ones. None where the scores of some variant are not kept.

    The two measures share the ID test images. Ones that happen to look familiar lower the sensitivity and raise the
    AUROC, so that chance alone gives a negative tau on the same images; different halves are free of that.
    """
    oods = _near_first(group, in_dist)
    unseen, told = [], []
    for label in _measured(group, in_dist):
        record = next(iter(group.records(in_dist, label).values()))
        stored = [record.run_config.stored_name(ood) for ood in oods]
        keys = [f"{in_dist}/train", f"{in_dist}/test", *(f"{ood}/test" for ood in stored)]
        kept = scores_of(results, record, keys)
        if kept is None:
            return None
        train, test, *outside = kept
        unseen.append(placements(train, test)[0])  # of each test image, the share of training images below it
        told.append(np.mean([placements(test, ood)[1] for ood in outside], axis=0))
    if len({len(row) for row in unseen}) != 1:
        return None
    left, right = np.array(unseen), np.array(told)
    rng = np.random.default_rng(0)
    taus = []
    for _ in range(draws):
        order = rng.permutation(left.shape[1])
        one, other = order[: len(order) // 2], order[len(order) // 2 :]
        sensitivity = left[:, one].mean(1)
        taus.append([stats.kendalltau(sensitivity, right[:, half].mean(1)).statistic for half in (one, other)])
    same, apart = np.mean(taus, axis=0)
    return (float(same), float(apart)) if np.isfinite(same + apart) else None


def trial(name: str, group: Group, in_dist: str, results: Path) -> Trial | None:
    """The rule tried on records: None for fewer than three variants, or without OOD sets that all of them have."""
    known, oods = _measured(group, in_dist), _near_first(group, in_dist)
    values = {label: _mean_auroc(group, in_dist, label, oods) for label in known} if oods else {}
    averages = {label: value for label, value in values.items() if value is not None}
    if len(averages) < 3:
        return None
    chosen = max(averages, key=lambda label: known[label])
    best = max(averages, key=lambda label: averages[label])
    record = next(iter(group.records(in_dist, chosen).values()))
    counts = [record.data[f"{in_dist}/{split}"].count for split in ("train", "test")]
    return Trial(
        name, tuple(agreements(group, in_dist)), chosen, best, averages[best] - averages[chosen],
        averages[best] - math.fsum(averages.values()) / len(averages), max(known.values()) - min(known.values()),
        1.96 * hanley_mcneil(known[chosen], *counts), len(averages), halves(group, in_dist, results),
    )  # fmt: skip


def class_trial(name: str, group: Group, classes: Sequence[str]) -> Trial | None:
    """The rule tried on the means over several classes of a set, each against its others; None as of `trial`."""
    by_class = [_measured(group, one) for one in classes]
    labels = [label for label in by_class[0] if all(label in of for of in by_class)]
    known = {label: math.fsum(of[label] for of in by_class) / len(classes) for label in labels}
    averages = {}
    for label in labels:
        values = [_mean_auroc(group, one, label, group.ood_sets(one)) for one in classes]
        if found := [value for value in values if value is not None]:
            averages[label] = math.fsum(found) / len(found) if len(found) == len(values) else math.nan
    averages = {label: value for label, value in averages.items() if not math.isnan(value)}
    if len(averages) < 3:
        return None
    chosen, best = max(averages, key=lambda label: known[label]), max(averages, key=lambda label: averages[label])
    pairs = [(known[label], value) for label, value in averages.items()]
    record = next(iter(group.records(classes[0], chosen).values()))
    counts = [record.data[f"{classes[0]}/{split}"].count for split in ("train", "test")]
    return Trial(
        name, (_kendall(f"mean of {len(classes)} classes", "all", pairs),), chosen, best,
        averages[best] - averages[chosen], averages[best] - math.fsum(averages.values()) / len(averages),
        max(known.values()) - min(known.values()), 1.96 * hanley_mcneil(known[chosen], *counts) / len(classes) ** 0.5,
        len(averages),
    )  # fmt: skip


def costs(
    group: Group, in_dist: str
) -> tuple[tuple[str, ...], dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Columns, then label -> column -> points lost against the best variant there, then the AUROC itself.

    Near and far averages where the catalogue knows which sets are near, else each set where they are two; and the mean.
    """
    oods = _near_first(group, in_dist)
    near = [ood for ood in oods if is_near(in_dist, ood)]
    far = [ood for ood in oods if ood not in near]
    chosen = {"near": near, "far": far} if near and far else {}
    if len(oods) <= 2:
        chosen = {_short(in_dist, ood): [ood] for ood in oods}
    if len(oods) > 1:
        chosen["mean"] = oods
    values: dict[str, dict[str, float]] = {}
    for label in _measured(group, in_dist):
        found = {column: _mean_auroc(group, in_dist, label, sets) for column, sets in chosen.items()}
        values[label] = {column: value for column, value in found.items() if value is not None}
    best = {c: max((of[c] for of in values.values() if c in of), default=math.nan) for c in chosen}
    lost = {label: {column: best[column] - value for column, value in of.items()} for label, of in values.items()}
    return tuple(chosen), lost, values


def _short(in_dist: str, ood: str) -> str:
    """A title for a narrow column; sets that `bench init` stored begin with the ID set's name."""
    base = in_dist.split("@")[0]
    title, parent = info(ood).title, split_class(ood)[0]
    if parent != ood and parent == split_class(in_dist)[0]:
        title = title.removeprefix(f"{info(parent).title} ")
    return title.removeprefix(f"{base}-").split("@")[0][:8]
