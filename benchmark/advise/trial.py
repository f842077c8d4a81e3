"""The rule tried: what OOD sets say afterwards of a ranking that was made without them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pandas as pd
from scipy import stats

from benchmark.advise.ranking import scores_of
from benchmark.advise.rules import by_case
from benchmark.data.catalog import CATALOG, info, set_behind, split_class
from benchmark.report.groups import Case, Group, by_nearness
from benchmark.report.intervals import hanley_mcneil, kendall, placements

HALVINGS = 200  # of the ID test images at random, for the tau of two halves


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

    cost: points of average AUROC that the choice loses against the best; at_random: what a random choice loses.
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


def _sensitivities(group: Group, in_dists: Sequence[str]) -> dict[str, float]:
    """Trained column -> mean sensitivity over its seeds, and over these in-distribution sets, which it has all."""
    parts = pd.DataFrame([group.values("sensitivity", in_dist).mean() for in_dist in in_dists])
    trained = {column.key for column in group.columns(*in_dists) if not column.is_reference}
    return {str(key): float(value) for key, value in parts.mean(skipna=False).dropna().items() if key in trained}


def _near_first(group: Group, in_dist: str) -> list[Case]:
    cases = group.cases(in_dist)
    return sorted((c for c in cases if len(group.values("auroc", in_dist, c.ood))), key=lambda case: not case.near)


def _averages(group: Group, cases: Sequence[Case], known: Iterable[str]) -> dict[str, float]:
    """Column -> mean AUROC over these cases, of those in `known` that have all of them in every seed."""
    found = by_case(group, cases).mean(skipna=False) if cases else pd.Series(dtype=float)
    return {key: float(found[key]) for key in known if key in found and not math.isnan(found[key])}


def agreements(group: Group, in_dist: str) -> list[Agreement]:
    """Near average, far average and average (each where it is over several sets), then each set, near ones first: the
    first of a kind is what stands for it."""
    known, cases = _sensitivities(group, [in_dist]), _near_first(group, in_dist)
    parts = [(f"{title} ({len(some)})", kind, some) for title, kind, some in _parts(cases) if len(some) > 1]
    catalogued = set_behind(in_dist) in CATALOG
    parts += [(case.title, ("near" if case.near else "far") if catalogued else "", [case]) for case in cases]
    return [_kendall(title, kind, known, _averages(group, some, known)) for title, kind, some in parts]


def _parts(cases: Sequence[Case]) -> list[tuple[str, str, list[Case]]]:
    """(title, kind, cases) of the averages."""
    near, far = by_nearness(cases)
    parts = [("near average", "near", near), ("far average", "far", far)] if near and far else []
    return [*parts, ("average", "all", list(cases))]


def _kendall(title: str, kind: str, known: dict[str, float], averages: dict[str, float]) -> Agreement:
    found = kendall([known[key] for key in averages], list(averages.values())) if len(averages) > 2 else None
    return Agreement(title, kind, len(averages), *(found or ()))


def halves(group: Group, in_dist: str) -> tuple[float, float] | None:
    """Mean Kendall's tau over random halvings of the ID test images: sensitivity and average AUROC measured on the same
    half, and on different ones. None where the scores of some variant are not kept.

    The two measures share the ID test images. Ones that happen to look familiar lower the sensitivity and raise the
    AUROC, so that chance alone gives a negative tau on the same images; different halves are free of that.
    """
    unseen, told = [], []
    for key in _sensitivities(group, [in_dist]):
        record = next(iter(group.records(in_dist, key).values()))
        stored = [record.run_config.stored_name(case.ood) for case in _near_first(group, in_dist)]
        keys = [f"{in_dist}/train", f"{in_dist}/test", *(f"{ood}/test" for ood in stored)]
        kept = scores_of(record, keys, group.score)
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
    for _ in range(HALVINGS):
        order = rng.permutation(left.shape[1])
        one, other = order[: len(order) // 2], order[len(order) // 2 :]
        sensitivity = left[:, one].mean(1)
        taus.append([stats.kendalltau(sensitivity, right[:, half].mean(1)).statistic for half in (one, other)])
    same, apart = np.mean(taus, axis=0)
    return (float(same), float(apart)) if np.isfinite(same + apart) else None


def trial(name: str, group: Group, in_dists: Sequence[str]) -> Trial | None:
    """The rule tried on records: on one in-distribution set, or on the means over several classes of a set, each
    against its others. None for fewer than three variants, or without OOD sets that all of them have."""
    known = _sensitivities(group, in_dists)
    averages = _averages(group, [case for in_dist in in_dists for case in _near_first(group, in_dist)], known)
    if len(averages) < 3:
        return None
    first, several = in_dists[0], len(in_dists) > 1
    chosen, best = max(averages, key=lambda key: known[key]), max(averages, key=lambda key: averages[key])
    record = next(iter(group.records(first, chosen).values()))
    counts = [record.data[f"{first}/{split}"].count for split in ("train", "test")]
    of_classes = [_kendall(f"mean of {len(in_dists)} classes", "all", known, averages)] if several else []
    spread = [known[key] for key in (averages if several else known)]
    return Trial(
        name, tuple(of_classes or agreements(group, first)), chosen, best, averages[best] - averages[chosen],
        averages[best] - fmean(averages.values()), max(spread) - min(spread),
        1.96 * hanley_mcneil(known[chosen], *counts) / len(in_dists) ** 0.5, len(averages),
        None if several else halves(group, first),
    )  # fmt: skip


def parts_of(group: Group, in_dist: str) -> dict[str, list[Case]]:
    """The OOD sets that have values, under short titles: near and far averages where the catalogue knows which sets are
    near, else each set where they are two; and the mean."""
    cases = _near_first(group, in_dist)
    chosen = {kind: some for _, kind, some in _parts(cases) if kind != "all"}
    if len(cases) <= 2:
        chosen = {_short(in_dist, case): [case] for case in cases}
    if len(cases) > 1:
        chosen["mean"] = cases
    return chosen


def costs(
    group: Group, in_dist: str
) -> tuple[tuple[str, ...], dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Columns, then label -> column -> points lost against the best variant there, then the AUROC itself."""
    chosen = parts_of(group, in_dist)
    known = _sensitivities(group, [in_dist])
    by_part = {part: _averages(group, some, known) for part, some in chosen.items()}
    values = {key: {part: of[key] for part, of in by_part.items() if key in of} for key in known}
    best = {part: max(of.values(), default=math.nan) for part, of in by_part.items()}
    lost = {key: {part: best[part] - value for part, value in of.items()} for key, of in values.items()}
    return tuple(chosen), lost, values


def _short(in_dist: str, case: Case) -> str:
    """A title for a narrow column; sets that `bench init` stored begin with the ID set's name."""
    title, parent = case.title, split_class(case.ood)[0]
    if parent != case.ood and parent == split_class(in_dist)[0]:
        title = title.removeprefix(f"{info(parent).title} ")
    return title.removeprefix(f"{in_dist.split('@')[0]}-").split("@")[0][:8]
