"""`bench recommend`: which negatives to train with, chosen by sensitivity, before any OOD image has been seen.

The rule is the paper's: the larger the sensitivity, the better the negatives (its Figure 3). The sensitivity is the
AUROC in % of ID train, leave-one-out, against ID test. `rank` sees nothing but sensitivities and the scores of ID
images. What the choice would have cost on OOD sets, and how well the rule did on the benchmark's own records, stands
beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from benchmark.advise import rules
from benchmark.advise.frozen import Beside, beside, on_records
from benchmark.advise.ranking import Place, candidates, rank
from benchmark.advise.trial import Trial, costs, trial
from benchmark.data.catalog import info, set_behind, split_class
from benchmark.data.images import stored_fingerprint
from benchmark.errors import BenchError
from benchmark.plan import sweep as sweeps
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import REFERENCES
from benchmark.plan.scores import OWN
from benchmark.report.grouping import by_score, check_score, group_runs, of_other_sweeps
from benchmark.report.groups import Group, seeds_of
from benchmark.report.tables.about import describe, shared_notes
from benchmark.store.folders import all_runs
from benchmark.store.measurements import load_records
from benchmark.store.records import Record


@dataclass(frozen=True)
class Ranking:
    """One ranking: all variants of one ID set with the same settings. costs: label -> column -> points of AUROC lost
    against the best variant there. references: label -> sensitivity of the rows that train nothing. replaced: the
    "set/split" that the runs read, of which other images are stored here now. shared: sets with the same images.
    run: the name of the best variant's run with the lowest seed."""

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
    replaced: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    run: str = ""

    @property
    def best(self) -> Place:
        return self.places[0]


@dataclass(frozen=True)
class Advice:
    """Everything that `bench recommend` says. reference: the folder of the benchmark's own records, None without.
    frozen: networks that were not trained here, beside the trained ones; told: what those records say of such."""

    sweep: str
    rankings: tuple[Ranking, ...]
    reference: str | None
    trials: tuple[Trial, ...]
    rules: tuple[rules.RulesTried, ...] = ()
    frozen: tuple[Beside, ...] = ()
    told: tuple[str, ...] = ()


def recommend(
    sweep: Path,
    results: Path,
    reference: Path | None = None,
    sets: list[str] | None = None,
    data: Path | None = None,
    score: str = OWN,
) -> Advice:
    """Rank the variants of a sweep by what is done of it, and try the rule on the benchmark's own records.

    reference: a folder of runs or of such folders; by default results/reference here or beside the package, where that
    exists. sets: the "field=value" overrides of `bench sweep --set`. data: the folder of the image sets, as
    `sweeps.load` has it. score: what is to detect, and what the sensitivity is by. By another than DINO's own rules are
    not tried, since without `score` they are for every score. Raises BenchError when nothing
    is done yet, or nothing has been scored so.
    """
    wanted = [run.config for run in sweeps.load(sweep, sets, data=data).runs]
    groups = _groups(wanted, records := _load(results, score), score)
    rankings = [one for place in _places(groups) if (one := _ranking(*place, data))]
    methods_together = _groups(wanted, records, score, beside=True)
    frozen = [one for place in _places(methods_together) for one in beside(*place)]
    if not rankings and not frozen:
        raise BenchError(
            f"{results}: no trained runs of {sweep} yet; run: bench sweep {quote(str(sweep))}{of_other_sweeps(records)}"
        )
    place = reference_folder(reference)
    tried = list(_trials(place, results, score)) if place else []
    mine = (rules.tried("this sweep", group, in_dists) for group in groups for in_dists in _together(group))
    trials, found = tuple(one for one, _ in tried if one), [*mine, *(one for _, one in tried)]
    known = tuple(one for one in found if one and score == OWN)
    told = on_records(map(load_records, folders_of_runs(place))) if place and frozen else []
    return Advice(str(sweep), tuple(rankings), str(place) if place else None, trials, known, tuple(frozen), tuple(told))


def _load(results: Path, score: str) -> list[Record]:
    """The records that have been scored so, and the reference rows."""
    records = load_records(results)
    if score == OWN or not records:
        return records
    check_score(records, score)
    return [record for record in records if score in record.scores or record.config["method"]["name"] in REFERENCES]


def _places(groups: Iterable[Group]) -> list[tuple[Group, str]]:
    return [(group, in_dist) for group in groups for in_dist in group.in_dists]


def _groups(configs: Iterable[RunConfig], records: list[Record], score: str, beside: bool = False) -> list[Group]:
    return [by_score(group, score) for group in group_runs(configs, records, beside)]


def _ranking(group: Group, in_dist: str, data: Path | None) -> Ranking | None:
    found = candidates(group, in_dist)
    if not found:
        return None
    places, runs = rank(found), group.runs_of(in_dist)
    missing = [f"{run.config.label}-s{run.config.seed}" for run in runs if not run.record]
    sensitivity = group.values("sensitivity", in_dist)
    references = {one.label: value for one in group.columns(in_dist) if one.is_reference
                  for value in seeds_of(sensitivity, one.key).values()}  # fmt: skip
    columns, cost, aurocs = costs(group, in_dist)
    return Ranking(
        group.heading, in_dist, describe(group.trained[0]), tuple(places), tuple(missing), found[0].counts,
        references, columns, cost, aurocs, trial("this sweep", group, [in_dist]),
        _replaced(group, in_dist, data), tuple(shared_notes(run.record for run in runs if run.record)),
        next(record.name for _, record in sorted(group.records(in_dist, places[0].label).items())),
    )  # fmt: skip


def _replaced(group: Group, in_dist: str, data: Path | None) -> tuple[str, ...]:
    """The "set/split" that the runs trained on or are ranked by, and of which other images are stored in `data`."""
    if data is None:
        return ()
    read = {"/".join(key) for run in group.runs_of(in_dist) for key in run.config.training_sets()}
    now = {key: here for key in read if (here := stored_fingerprint(data, key))}
    records = [run.record for run in group.runs_of(in_dist) if run.record]
    return tuple(sorted({key for record in records for key in record.changed(now)}))


def reference_folder(given: Path | None) -> Path | None:
    """The folder of the benchmark's own records. Raises BenchError when the one given holds none."""
    if given is not None:
        if not folders_of_runs(given):
            raise BenchError(f"--reference {given}: holds no runs, nor folders of runs")
        return given
    places = (Path("results") / "reference", Path(__file__).parents[2] / "results" / "reference")
    return next((place for place in places if folders_of_runs(place)), None)


def folders_of_runs(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return [folder for folder in [place, *sorted(p for p in place.iterdir() if p.is_dir())] if all_runs(folder)]


def _together(group: Group) -> list[list[str]]:
    """The in-distribution sets of a group, classes of one set in one list: each is a trial of the same question."""
    found: dict[str, list[str]] = {}
    for in_dist in group.in_dists:
        found.setdefault(split_class(in_dist)[0] if split_class(in_dist)[1] else f"whole {in_dist}", []).append(in_dist)
    return list(found.values())


def _trials(place: Path, results: Path, score: str) -> Iterable[tuple[Trial | None, rules.RulesTried | None]]:
    """Sensitivity and other rules on each folder of records, less the one that is being ranked.

    Of DINO's runs alone: other methods have no negatives to choose.
    """
    for folder in folders_of_runs(place):
        if folder.resolve() == results.resolve():
            continue
        try:
            loaded = _load(folder, score)
        except BenchError:  # nothing there has been scored so
            continue
        records = [r for r in loaded if r.run_config.method.name in ("dino", *REFERENCES)]
        groups = _groups([record.run_config for record in records], records, score)
        for number, group in enumerate(groups, 1):
            for in_dists in _together(group):
                more = f", {info(set_behind(in_dists[0])).title}" if len(group.in_dists) > len(in_dists) else ""
                name = folder.name + more + (f" ({number} of {len(groups)})" if len(groups) > 1 else "")
                yield trial(name, group, in_dists), rules.tried(name, group, in_dists)
