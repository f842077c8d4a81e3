"""`bench recommend`: which negatives to train with, chosen by sensitivity, before any OOD image has been seen.

The rule is the paper's: the larger the sensitivity (AUROC in % of ID train, each image unseen by itself, against ID
test), the better the negatives (its Figure 3). `rank` sees nothing but sensitivities and the scores of ID images. What
the choice would have cost on OOD sets, and how well the rule did on the benchmark's own records, stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmark.data.catalog import CATALOG, info, is_near, split_size
from benchmark.errors import BenchError
from benchmark.files import read_npz
from benchmark.plan import sweep as sweeps
from benchmark.plan.methods import REFERENCES
from benchmark.report.groups import Group, group_runs, title_of
from benchmark.report.intervals import delong, estimate, hanley_mcneil, holm, placements
from benchmark.report.tables import auroc, average_over, describe, md
from benchmark.store.folders import RunFolder, all_runs
from benchmark.store.tables import load_records

LEVEL = 0.05
PUBLISHED = (
    "Published: the paper finds a positive correlation (its Figure 3: CIFAR10 against CIFAR100 and Texture, single "
    "runs), but none of its tables prints a sensitivity, so there is no published figure to compute one from."
)
Scores = tuple[NDArray[np.floating], NDArray[np.floating]]  # of ID train (each unseen by itself) and of ID test


@dataclass(frozen=True)
class Candidate:
    """All that the ranking may read of a variant. sensitivity: seed -> AUROC in %. scores: seed -> scores of the ID
    images, where they are kept. counts: ID images (train, test)."""

    label: str
    sensitivity: dict[int, float]
    scores: dict[int, Scores]
    counts: tuple[int, int]

    @property
    def mean(self) -> float:
        return math.fsum(self.sensitivity.values()) / len(self.sensitivity)


@dataclass(frozen=True)
class Place:
    """A variant's place. half: half the 95% interval of the sensitivity, of the kind `interval`.

    difference, difference_half: this less the best, in points. p: of the difference, after Holm over all comparisons.
    how: what the difference was judged by. Both None for the best.
    """

    rank: int
    label: str
    sensitivity: float
    half: float
    interval: str
    n: int
    difference: float | None = None
    difference_half: float | None = None
    p: float | None = None
    how: str = ""

    @property
    def within_noise(self) -> bool:
        return self.p is None or self.p >= LEVEL


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


@dataclass(frozen=True)
class Ranking:
    """One ranking: all variants of one ID set with the same settings. costs: label -> column -> points of AUROC lost
    against the best variant there. references: label -> sensitivity of the rows that train nothing."""

    heading: str
    in_dist: str
    settings: str
    places: tuple[Place, ...]
    missing: tuple[str, ...]
    counts: tuple[int, int]
    references: dict[str, float]
    columns: tuple[str, ...]
    costs: dict[str, dict[str, float]]
    aurocs: dict[str, dict[str, float]]
    trial: Trial | None

    @property
    def best(self) -> Place:
        return self.places[0]


@dataclass(frozen=True)
class Advice:
    """Everything that `bench recommend` says. reference: the folder of the benchmark's own records, None without."""

    sweep: str
    rankings: tuple[Ranking, ...]
    reference: str | None
    trials: tuple[Trial, ...]


# --- the ranking: no OOD image is looked at here ------------------------------------------------------------------


def rank(candidates: Sequence[Candidate]) -> list[Place]:
    """The variants by mean sensitivity, the largest first, each held against the first.

    The same two or more seeds: paired by seed, Student's t. Two or more each, but other seeds: Welch's t. Otherwise the
    sampling error of the images: DeLong's on the same images or, without their scores, Hanley and McNeil's.
    """
    ordered = sorted(candidates, key=lambda candidate: -candidate.mean)
    best = ordered[0]
    judged = [_against(best, other) for other in ordered[1:]]
    adjusted = holm([p for _, p, _ in judged])
    places = [Place(1, best.label, best.mean, *_interval(best), len(best.sensitivity))]
    for number, (other, (half, _, how), p) in enumerate(zip(ordered[1:], judged, adjusted, strict=True), 2):
        n = len(other.sensitivity)
        difference = other.mean - best.mean
        places.append(Place(number, other.label, other.mean, *_interval(other), n, difference, half, p, how))
    return places


def _interval(one: Candidate) -> tuple[float, str]:
    made = estimate(list(one.sensitivity.values()))
    if made.half is not None:
        return made.half, "seeds"
    seed = next(iter(one.sensitivity))
    if seed in one.scores:
        return 1.96 * delong(one.scores[seed]), "images (DeLong)"
    return 1.96 * hanley_mcneil(one.mean, *one.counts), "images (Hanley-McNeil)"


def _against(best: Candidate, other: Candidate) -> tuple[float, float, str]:
    """Half the 95% interval of the difference of the means, its two-sided p, and the way they were found."""
    shared = sorted(best.sensitivity.keys() & other.sensitivity.keys())
    if len(shared) >= 2 and len(shared) == len(best.sensitivity) == len(other.sensitivity):
        steps = [other.sensitivity[seed] - best.sensitivity[seed] for seed in shared]
        return *_student(
            float(np.mean(steps)), float(np.std(steps, ddof=1)) / math.sqrt(len(steps)), len(steps) - 1
        ), "seeds"
    sides = [list(one.sensitivity.values()) for one in (best, other)]
    if min(map(len, sides)) >= 2:
        parts = [float(np.var(side, ddof=1)) / len(side) for side in sides]
        error = math.sqrt(sum(parts))
        below = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
        freedom = sum(parts) ** 2 / below if below else math.inf
        return *_student(other.mean - best.mean, error, freedom), "Welch"
    for seed in shared:
        if seed in best.scores and seed in other.scores and _same_images(best.scores[seed], other.scores[seed]):
            error = delong(best.scores[seed], other.scores[seed])
            return *_student(other.mean - best.mean, error, math.inf), "DeLong"
    error = math.hypot(*(hanley_mcneil(one.mean, *one.counts) for one in (best, other)))
    return *_student(other.mean - best.mean, error, math.inf), "Hanley-McNeil"


def _student(difference: float, error: float, freedom: float) -> tuple[float, float]:
    half = float(stats.t.ppf(0.975, freedom) * error)
    if error == 0:
        return half, 1.0 if difference == 0 else 0.0
    return half, float(2 * stats.t.sf(abs(difference) / error, freedom))


def _same_images(one: Scores, other: Scores) -> bool:
    return [len(side) for side in one] == [len(side) for side in other]


def candidates(group: Group, in_dist: str, results: Path) -> list[Candidate]:
    """The variants of a group that have a record, with what the ranking may read of them."""
    found = []
    for label in group.labels(in_dist):
        records = group.records(in_dist, label)
        if label in REFERENCES or not records:
            continue
        keys = [f"{in_dist}/{split}" for split in ("train", "test")]
        scores = {}
        for seed, record in records.items():
            kept = _scores(RunFolder(results / record.name), keys)
            if kept is not None:
                scores[seed] = (kept[0], kept[1])
        first = next(iter(records.values()))
        counts = (first.data[keys[0]].count, first.data[keys[1]].count)
        found.append(Candidate(label, {seed: r.sensitivity for seed, r in records.items()}, scores, counts))
    return found


def _scores(folder: RunFolder, keys: list[str]) -> list[NDArray[np.floating]] | None:
    """The scores of these sets and of no other; None where one is not kept."""
    if not folder.scores.is_file():
        return None
    kept = read_npz(folder.scores, keys)
    return [kept[key] for key in keys] if all(key in kept for key in keys) else None


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
            means[label] = math.fsum(record.sensitivity for record in records.values()) / len(records)
    return means


def _near_first(group: Group, in_dist: str) -> list[str]:
    oods = [ood for ood in group.ood_sets(in_dist) if _scored(group, in_dist, ood)]
    return sorted(oods, key=lambda ood: not is_near(in_dist, ood))


def _scored(group: Group, in_dist: str, ood: str) -> bool:
    records = (record for label in group.labels(in_dist) for record in group.records(in_dist, label).values())
    return any(auroc(record, ood) is not None for record in records)


def _kind(in_dist: str, ood: str) -> str:
    """ "near" or "far" where the catalogue knows the ID set, else ""."""
    if split_size(in_dist)[0] not in CATALOG:
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
        kept = _scores(RunFolder(results / record.name), keys)
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


def _costs(
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
    return info(ood).title.removeprefix(f"{base}-").split("@")[0][:8]


# --- putting it together ------------------------------------------------------------------------------------------


def recommend(sweep: Path, results: Path, reference: Path | None = None, sets: list[str] | None = None) -> Advice:
    """Rank the variants of a sweep by what is done of it, and try the rule on the benchmark's own records.

    reference: a folder of runs or of such folders; by default results/reference here or beside the package, where that
    exists. sets: the "field=value" overrides of `bench sweep --set`. Raises BenchError when nothing is done yet.
    """
    groups = group_runs([run.config for run in sweeps.load(sweep, sets).runs], records := load_records(results))
    rankings = [
        ranking for group in groups for in_dist in group.in_dists if (ranking := _ranking(group, in_dist, results))
    ]
    if not rankings:
        others = f" (its {len(records)} records are of other settings: give their --set here too)" if records else ""
        raise BenchError(f"{results}: no trained runs of {sweep} yet; run: bench sweep {sweep}{others}")
    place = reference_folder(reference)
    trials = tuple(_trials(place, results)) if place else ()
    return Advice(str(sweep), tuple(rankings), str(place) if place else None, trials)


def _ranking(group: Group, in_dist: str, results: Path) -> Ranking | None:
    found = candidates(group, in_dist, results)
    if not found:
        return None
    configs = [run for run in group.runs if run.config.in_dist == in_dist]
    missing = [f"{run.config.label}-s{run.config.seed}" for run in configs if not run.record]
    references = {
        run.config.label: run.record.sensitivity for run in configs if run.record and run.config.label in REFERENCES
    }
    columns, costs, aurocs = _costs(group, in_dist)
    return Ranking(
        group.heading, in_dist, describe(group.trained[0]), tuple(rank(found)), tuple(missing), found[0].counts,
        references, columns, costs, aurocs, trial("this sweep", group, in_dist, results),
    )  # fmt: skip


def reference_folder(given: Path | None) -> Path | None:
    """The folder of the benchmark's own records. Raises BenchError when the one given holds none."""
    if given is not None:
        if not _folders_of_runs(given):
            raise BenchError(f"--reference {given}: holds no runs, nor folders of runs")
        return given
    places = (Path("results") / "reference", Path(__file__).parents[2] / "results" / "reference")
    return next((place for place in places if _folders_of_runs(place)), None)


def _folders_of_runs(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return [folder for folder in [place, *sorted(p for p in place.iterdir() if p.is_dir())] if all_runs(folder)]


def _trials(place: Path, results: Path) -> Iterable[Trial]:
    """The rule on each folder of records, less the one that is being ranked."""
    for folder in _folders_of_runs(place):
        if folder.resolve() == results.resolve():
            continue
        records = load_records(folder)
        groups = group_runs([record.run_config for record in records], records)
        for group in groups:
            for in_dist in group.in_dists:
                more = f", {info(in_dist).title}" if len(group.in_dists) > 1 else ""
                name = folder.name + more + (f", {group.heading}" if group.heading else "")
                if made := trial(name, group, in_dist, folder):
                    yield made


# --- saying it ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A part of what is said: a title, a table, and sentences below it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def sections(advice: Advice, wide: bool = False) -> list[Section]:
    """The ranking of each group, then how far the rule can be trusted. wide: with AUROCs, p-values and methods too."""
    made = [_ranking_section(ranking, wide) for ranking in advice.rankings]
    trials = [ranking.trial for ranking in advice.rankings if ranking.trial] + list(advice.trials)
    rows = [[trial.name, one.title, one.kind, *_tau(one), str(one.n)] for trial in trials for one in trial.agreements]
    if not wide:  # say the name of the records once
        rows = [[row[0] if i == 0 or rows[i - 1][0] != row[0] else "", *row[1:]] for i, row in enumerate(rows)]
    notes = [_verdict(trial) for trial in trials]
    if advice.reference is None:
        notes.append(
            "The benchmark's own records (results/reference) are not here: name their folder with --reference."
        )
    notes += [
        PUBLISHED,
        "τ: Kendall's rank correlation, over n variants, of sensitivity with AUROC; the rule wants +1. p: two-sided, "
        "of no correlation. The sets share variants and ID images, so their rows are not independent.",
    ]
    made.append(Section("How far to trust the rule", ["records", "OOD set", "kind", "τ", "p", "n"], rows, notes))
    return made


def _ranking_section(ranking: Ranking, wide: bool) -> Section:
    columns = ["#", "variant", "sensitivity", "n", "vs best", "noise"]
    if wide:
        columns += ["p (Holm)", "judged by"]
    columns += [f"lost {c}" if wide else c for c in ranking.columns]
    if wide:
        columns += [f"AUROC {c}" for c in ranking.columns]
    rows = []
    for place in ranking.places:
        row = [str(place.rank), title_of(place.label), f"{place.sensitivity:.2f} ±{place.half:.2f}", str(place.n)]
        if place.p is None:
            row += ["", "best", *(["", ""] if wide else [])]
        else:
            row += [
                f"{place.difference:+.2f} ±{place.difference_half:.2f}",
                "within" if place.within_noise else "beyond",
            ]
            row += [f"{place.p:.2g}", place.how] if wide else []
        lost, values = ranking.costs.get(place.label, {}), ranking.aurocs.get(place.label, {})
        row += [f"{lost[c]:.1f}" if c in lost else "—" for c in ranking.columns]
        row += [f"{values[c]:.1f}" if c in values else "—" for c in ranking.columns] if wide else []
        rows.append(row)
    for label, value in ranking.references.items():
        rows.append(["", title_of(label), f"{value:.2f}", "1"] + [""] * (len(columns) - 4))
    heading = f" ({ranking.heading})" if ranking.heading else ""
    title = f"Negatives for {info(ranking.in_dist).title}, by sensitivity{heading}"
    return Section(title, columns, rows, _ranking_notes(ranking))


def _ranking_notes(ranking: Ranking) -> list[str]:
    places, best = ranking.places, ranking.best
    others = places[1:]
    beyond = [title_of(place.label) for place in others if not place.within_noise]
    near = [title_of(place.label) for place in others if place.within_noise]
    name = title_of(best.label)
    if not others:
        notes = [f"One variant, {name}: there is nothing to choose from."]
    elif not beyond:
        notes = [
            f"No variant differs from the first, {name}, beyond noise: this ranking gives no reason to prefer any."
        ]
    elif not near:
        notes = [f"{name} leads, and every other variant is behind it by more than noise."]
    else:
        notes = [f"{name} leads; within noise of it: {', '.join(near)}. Behind it beyond noise: {', '.join(beyond)}."]
    error = 1.96 * hanley_mcneil(best.sensitivity, *ranking.counts)
    if max(abs(place.sensitivity - 50) for place in places) < error:
        notes.append(
            f"Every sensitivity is within ±{error:.1f} of 50, the error that {ranking.counts[0]:,} training and "
            f"{ranking.counts[1]:,} test images leave: the score does not tell unseen ID images from seen ones. Train "
            "longer, or on more images, before choosing by it."
        )
    if ranking.missing:
        more = f" and {len(ranking.missing) - 8} more" if len(ranking.missing) > 8 else ""
        notes.append(f"{len(ranking.missing)} runs not done: {', '.join(ranking.missing[:8])}{more}.")
    notes += _explained(places)
    if ranking.columns:
        notes.append(
            f"{', '.join(ranking.columns)}: points of AUROC lost by this choice against the best variant there, known "
            "only afterwards; the ranking does not use them."
        )
    notes.append(f"Settings: {ranking.settings}.")
    return notes


def _explained(places: Sequence[Place]) -> list[str]:
    ways = {
        "seeds": "paired by seed, Student's t over n seeds",
        "Welch": "Welch's t over the seeds of each",
        "DeLong": "DeLong's test on the same images, as there is one seed: what another seed would give is not known",
        "Hanley-McNeil": "Hanley and McNeil's error of two AUROCs from their numbers of images, as there is one seed "
        "and no scores.npz: too wide, and what another seed would give is not known",
    }
    used = list(dict.fromkeys(place.how for place in places if place.how))
    kinds = list(dict.fromkeys(place.interval for place in places))
    tail = f"; p after Holm over {len(places) - 1} comparisons, {LEVEL:g}." if used else "."
    kind = " or ".join(f"over {one}" for one in kinds)
    judged = f" vs best, noise: {'; or '.join(ways[way] for way in used)}" if used else ""
    seeds = " Seeds say nothing of other ID images." if "seeds" in kinds else ""
    return [
        f"sensitivity: AUROC in % of ID train against ID test, ± half its 95% interval {kind}.{judged}{tail}{seeds}"
    ]


def _tau(one: Agreement) -> list[str]:
    return ["—", "—"] if one.tau is None or one.p is None else [f"{one.tau:+.2f}", f"{one.p:.2g}"]


def _verdict(one: Trial) -> str:
    """In plain words whether the rule held on these records, by the first agreement of each kind."""
    by_kind = {a.kind: a for a in reversed(one.agreements) if a.tau is not None and a.p is not None}
    heads = sorted(by_kind.values(), key=lambda a: ["near", "far", "", "all"].index(a.kind))
    wrong = [a for a in heads if (a.tau or 0) < 0]
    sure = [a for a in heads if a.p is not None and a.p < LEVEL]
    if not sure:
        says = "no evidence for or against the rule" + (
            ", the signs are against it" if heads and heads == wrong else ""
        )
    elif heads == wrong:
        says = "the rule points the WRONG way"
    elif any(a in wrong for a in sure):
        says = "the rule points the WRONG way on " + ", ".join(a.title for a in sure if a in wrong)
    else:
        says = "the rule holds on " + ", ".join(a.title for a in sure)
    values = ", ".join(f"{a.title} τ = {a.tau:+.2f} (p = {a.p:.2g})" for a in heads)
    text = (
        f"{one.name}: {says}: {values}, n = {one.n} variants. It chooses {title_of(one.chosen)}, which loses "
        f"{one.cost:.1f} points of average AUROC against the best, {title_of(one.best)}; a blind choice loses "
        f"{one.at_random:.1f}."
    )
    if one.spread < 2 * one.error:
        text += (
            f" Its sensitivities differ by {one.spread:.1f} points at most, and its images leave each open by "
            f"±{one.error:.1f}: a weak test of the rule."
        )
    if one.halves and one.halves[0] < one.halves[1]:
        text += (
            f" Part of a negative τ is chance, as both measures share the ID test images: on one half of them τ = "
            f"{one.halves[0]:+.2f} (average), with each measure on a half of its own {one.halves[1]:+.2f}."
        )
    return text


def markdown(advice: Advice) -> str:
    """The same as GitHub Markdown, with AUROCs and p-values."""
    from tabulate import tabulate

    parts = [f"# Which negatives? {md(advice.sweep)}\n"]
    for section in sections(advice, wide=True):
        rows = [[md(cell) for cell in row] for row in section.rows]
        table = tabulate(rows, [md(column) for column in section.columns], tablefmt="pipe", disable_numparse=True)
        parts.append(
            f"## {md(section.title)}\n\n{table}\n\n" + "\n".join(f"- {md(note)}" for note in section.notes) + "\n"
        )
    return "\n".join(parts)


def as_json(advice: Advice) -> dict[str, Any]:
    """The same as plain values: every number unrounded."""
    plain = asdict(advice)
    for ranking, made in zip(advice.rankings, plain["rankings"], strict=True):
        for place, row in zip(ranking.places, made["places"], strict=True):
            row["within_noise"] = place.within_noise
    return plain
