"""`bench recommend`: the ranking against scipy and a bootstrap, and that it never looks at an OOD result."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fakes import VARIANTS10, config, record_of, with_own, with_scores, write_runs, write_sweep
from scipy import stats
from sklearn.metrics import roc_auc_score

from benchmark.advise import recommend as choosing
from benchmark.advise import wording
from benchmark.advise.ranking import Candidate, rank
from benchmark.advise.trial import Agreement, Trial
from benchmark.data.images import stored_fingerprint
from benchmark.errors import BenchError
from benchmark.files import write_json
from benchmark.plan import sweep as sweeps
from benchmark.plan.config import RunConfig
from benchmark.plan.scores import OWN
from benchmark.report.intervals import delong, hanley_mcneil, holm, placements
from benchmark.store.folders import RunFolder, all_runs
from benchmark.store.records import Record, ScoreInRecord

SHIPPED = Path(__file__).parents[2] / "results" / "reference"


def scored(seed: int, shift: float, m: int = 80, n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Scores of m negatives and n positives; a part is common to all seeds, as the same images are to all models."""
    common, rng = np.random.default_rng(99), np.random.default_rng(seed)
    negatives, positives = common.normal(size=m), common.normal(size=n) + shift
    return (negatives + rng.normal(size=m)).round(1), (positives + rng.normal(size=n)).round(1)


def auc(scores: tuple[np.ndarray, np.ndarray]) -> float:
    return 100 * float(roc_auc_score(np.repeat([0, 1], [len(s) for s in scores]), np.concatenate(scores)))


# --- the error of an AUROC ----------------------------------------------------------------------------------------


def test_placements_are_shares_by_a_double_loop() -> None:
    negatives, positives = scored(0, 0.4, 13, 9)
    below, above = placements(negatives, positives)
    for i, p in enumerate(positives):
        assert below[i] == pytest.approx(np.mean([(p > q) + 0.5 * (p == q) for q in negatives]))
    for j, q in enumerate(negatives):
        assert above[j] == pytest.approx(np.mean([(p > q) + 0.5 * (p == q) for p in positives]))
    assert 100 * below.mean() == pytest.approx(auc((negatives, positives)))


def test_delong_and_hanley_mcneil_against_a_bootstrap() -> None:
    first, second = scored(1, 0.6), scored(2, 0.2)
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, 80, (4000, 80)), rng.integers(0, 50, (4000, 50))
    above = [np.sign(positives[:, None] - negatives[None]) / 2 + 0.5 for negatives, positives in (first, second)]
    ones, others = (100 * np.array([share[np.ix_(b, a)].mean() for a, b in zip(i, j, strict=True)]) for share in above)
    steps = ones - others
    assert delong(first) == pytest.approx(np.std(ones), rel=0.08)
    assert delong(first, second) == pytest.approx(np.std(steps), rel=0.08)
    assert delong(first, second) < math.hypot(delong(first), delong(second))  # the images are the same
    assert hanley_mcneil(auc(first), 80, 50) == pytest.approx(np.std(ones), rel=0.2)


def test_holm_by_its_definition() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []
    with pytest.raises(ValueError, match="not a number"):
        holm([0.1, math.nan])


# --- the ranking --------------------------------------------------------------------------------------------------


def of(label: str, *values: float, seeds: tuple[int, ...] | None = None, scores: Any = None) -> Candidate:
    return Candidate(label, dict(zip(seeds or range(9), values, strict=False)), scores or {}, (300, 100))


def test_paired_by_seed_is_scipys_paired_t() -> None:
    best, other = [54.0, 55.5, 53.2], [52.1, 54.0, 52.5]
    first, second = rank([of("b", *other), of("a", *best)])
    assert (first.label, first.rank, first.p, second.how) == ("a", 1, None, "seeds")
    expected = stats.ttest_rel(other, best)
    assert second.p == pytest.approx(expected.pvalue)
    span = expected.confidence_interval(0.95)
    assert second.difference_half == pytest.approx((span.high - span.low) / 2)
    assert second.difference == pytest.approx(np.mean(other) - np.mean(best))
    assert first.half == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(best)) and first.interval == "seeds"


def test_other_seeds_are_scipys_welch() -> None:
    best, other = [54.0, 55.5, 53.2], [52.1, 54.0]
    second = rank([of("a", *best), of("b", *other, seeds=(7, 8))])[1]
    expected = stats.ttest_ind(other, best, equal_var=False)
    assert second.how == "Welch" and second.p == pytest.approx(expected.pvalue)
    span = expected.confidence_interval(0.95)
    assert second.difference_half == pytest.approx((span.high - span.low) / 2)


def test_of_seeds_and_images_the_wider_decides() -> None:
    """Seeds that agree to a hair share the images, and say nothing of others."""
    a, b = scored(1, 0.6), scored(2, 0.2)
    level, lower = auc(a), auc(b)
    both = {0: a, 1: a}, {0: b, 1: b}
    calm = [of("a", level, level + 0.01, scores=both[0]), of("b", lower, lower + 0.02, scores=both[1])]
    first, second = rank(calm)
    assert second.how == "DeLong" and first.interval == second.interval == "images (DeLong)"
    assert first.half == pytest.approx(1.96 * delong(a))
    z = (second.sensitivity - first.sensitivity) / delong(a, b)
    assert second.p == pytest.approx(2 * stats.norm.sf(abs(z)))
    wild = [of("a", level - 20, level + 20, scores=both[0]), of("b", lower - 20, lower + 21, scores=both[1])]
    first, second = rank(wild)
    assert second.how == "DeLong"  # paired, the seeds differ by one point alone
    assert first.interval == "seeds"
    apart = [of("a", level - 20, level + 20, scores=both[0]), of("b", lower + 20, lower - 20, scores=both[1])]
    assert rank(apart)[1].how == "seeds"


def test_one_seed_is_judged_by_the_images() -> None:
    a, b = scored(1, 0.6), scored(2, 0.2)
    first, second = rank([of("b", auc(b), scores={0: b}), of("a", auc(a), scores={0: a})])
    assert (first.interval, second.how) == ("images (DeLong)", "DeLong")
    z = (auc(a) - auc(b)) / delong(a, b)
    assert second.p == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert second.difference_half == pytest.approx(stats.norm.ppf(0.975) * delong(a, b))
    first, second = rank([of("b", auc(b)), of("a", auc(a), scores={0: a})])
    assert second.interval == "images (Hanley-McNeil)" and second.how == "Hanley-McNeil"


def test_noise_is_told_from_difference_after_holm() -> None:
    clear = [of("a", 60.0, 60.1, 59.9), of("b", 50.0, 50.2, 49.9), of("c", 59.9, 60.3, 59.5)]
    places = rank(clear)
    assert {place.label: place.within_noise for place in places} == {"a": True, "b": False, "c": True}
    assert places[2].p == pytest.approx(2 * stats.ttest_rel([50.0, 50.2, 49.9], [60.0, 60.1, 59.9]).pvalue)
    assert rank([of("a", 50.0, 50.0), of("b", 50.0, 50.0)])[1].p == 1.0  # equal to the last digit
    assert len(rank([of("a", 50.0)])) == 1


# --- from records -------------------------------------------------------------------------------------------------


def runs(folder: Path, auroc: Any, **options: Any) -> Path:
    sweep = write_sweep(folder, variant=VARIANTS10, extra="references: [untrained]", **options)

    def make(run: RunConfig) -> Any:
        rank_ = VARIANTS10.index(run.variant) if run.variant in VARIANTS10 else 0
        return record_of(run, auroc, sensitivity=50.0 + rank_ + run.seed / 10)

    write_runs(folder / "results", sweep, make)
    return sweep


def test_the_ranking_reads_no_ood_result(tmp_path: Path) -> None:
    """The same records with other OOD results, or none at all, give the same ranking."""
    places = []
    for number, value in enumerate((lambda c, ood: 90.0 - len(c.variant), lambda c, ood: 40.0, lambda c, ood: None)):
        sweep = runs(tmp_path / str(number), value, seed=[0, 1, 2])
        advice = choosing.recommend(sweep, tmp_path / str(number) / "results")
        places.append(advice.rankings[0].places)
    assert places[0] == places[1] == places[2]
    assert [place.label for place in places[0]] == VARIANTS10[::-1]


def test_costs_and_agreement_against_scipy(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 3, (10, 8))
    sets = config(variant="dino").ood_sets()

    def value(run: RunConfig, ood: str) -> float:
        place = VARIANTS10.index(run.variant) if run.variant in VARIANTS10 else 0
        return float(70 + (place if ood == "cifar100" else -place) + noise[place, sets.index(ood)])

    advice = choosing.recommend(runs(tmp_path, value), tmp_path / "results", tmp_path / "results")
    ranking = advice.rankings[0]
    table = np.array([[value(config(variant=name), ood) for ood in sets] for name in VARIANTS10])
    assert ranking.columns == ("near", "far", "mean")
    for place, name in enumerate(VARIANTS10):
        far = table[:, 1:].mean(1)
        assert ranking.costs[name]["near"] == pytest.approx(table[:, 0].max() - table[place, 0])
        assert ranking.costs[name]["far"] == pytest.approx(far.max() - far[place])
        assert ranking.aurocs[name]["mean"] == pytest.approx(table[place].mean())
    assert min(cost["mean"] for cost in ranking.costs.values()) == 0
    trial = ranking.trial
    assert trial is not None and trial.n == 10
    found = {one.title: one for one in trial.agreements}
    near = stats.kendalltau(range(10), table[:, 0])
    assert (found["CIFAR100"].tau, found["CIFAR100"].p) == pytest.approx((near.statistic, near.pvalue))
    assert found["far average (7)"].tau == pytest.approx(stats.kendalltau(range(10), table[:, 1:].mean(1)).statistic)
    assert (found["CIFAR100"].kind, found["SVHN"].kind, found["average (8)"].kind) == ("near", "far", "all")
    assert trial.chosen == VARIANTS10[-1] and trial.cost == pytest.approx(table.mean(1).max() - table[-1].mean())
    assert trial.at_random == pytest.approx(table.mean(1).max() - table.mean())
    assert advice.trials == ()  # the records being ranked are not their own reference
    text = wording.markdown(advice)
    assert "the rule points the WRONG way on" in text and "lost near" in text
    write_json(tmp_path / "a.json", wording.as_json(advice))  # no NaN, all plain
    plain = json.loads((tmp_path / "a.json").read_text())
    assert plain["rankings"][0]["places"][0]["within_noise"] is True


def test_what_is_missing_is_said_and_what_is_there_is_ranked(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, variant=["dino", "imgn", "rot-imgn"], seed=[0, 1])
    with pytest.raises(BenchError, match="no trained runs"):
        choosing.recommend(sweep, tmp_path / "results")
    write_runs(
        tmp_path / "results", sweep, lambda run: record_of(run) if run.seed == 0 and run.variant != "imgn" else None
    )
    advice = choosing.recommend(sweep, tmp_path / "results")
    ranking = advice.rankings[0]
    assert {place.label for place in ranking.places} == {"dino", "rot-imgn"}
    assert set(ranking.missing) == {"dino-s1", "imgn-s0", "imgn-s1", "rot-imgn-s1"}
    assert ranking.trial is None  # two variants have no order to correlate
    assert any("4 runs not done" in note for note in wording.sections(advice)[0].notes)


def test_images_that_were_replaced_after_the_runs_are_named(tmp_path: Path, mini_data: Path) -> None:
    sweep = write_sweep(tmp_path, variant=["dino", "rot-in-dist"], in_dist=["mini"],
                        extra="base: {eval: {ood: [mini-ood]}}")  # fmt: skip
    same = {key: stored_fingerprint(mini_data, key) or "" for key in ("mini/train", "mini/test", "mini-ood/test")}
    for prints, names in (
        (same, None),
        ({**same, "mini-ood/test": "of others"}, None),  # the ranking reads no OOD image
        ({**same, "mini/train": "of others"}, "mini/train are"),
        ({**same, "mini/train": "of others", "mini/test": "too"}, "mini/test, mini/train are"),
    ):
        write_runs(tmp_path / "results", sweep, lambda run, prints=prints: record_of(run, prints=prints))
        notes = wording.sections(choosing.recommend(sweep, tmp_path / "results", data=mini_data))[0].notes
        said = [note for note in notes if "other images than these runs read" in note]
        assert len(said) == (names is not None) and (names or "") in "".join(said)
        assert not choosing.recommend(sweep, tmp_path / "results", data=tmp_path).rankings[0].replaced  # none here
        shutil.rmtree(tmp_path / "results")


def test_own_sets_are_neither_near_nor_far(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, variant=["dino", "imgn", "rot-imgn"], in_dist=["pets"],
                        extra="base: {eval: {ood: [pets-cats, pets-dogs]}}")  # fmt: skip
    write_runs(tmp_path / "results", sweep)
    ranking = choosing.recommend(sweep, tmp_path / "results").rankings[0]
    assert ranking.columns == ("cats", "dogs", "mean")
    assert ranking.trial is not None and {one.kind for one in ranking.trial.agreements} == {"", "all"}


def test_a_reference_without_runs_is_refused_and_a_missing_one_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = write_sweep(tmp_path, variant=["dino"])
    write_runs(tmp_path / "results", sweep)
    with pytest.raises(BenchError, match="holds no runs"):
        choosing.recommend(sweep, tmp_path / "results", tmp_path / "sweeps")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(choosing, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    advice = choosing.recommend(sweep, tmp_path / "results")
    assert advice.reference is None and "are not here" in wording.markdown(advice)


def test_what_the_shipped_records_say_of_the_rule_is_said() -> None:
    """Eleven variants with a seed each, and the rule's agreement with AUROC counted by scipy."""
    if not (SHIPPED / "half-hour").is_dir():
        pytest.skip("the shipped records: results/reference/half-hour is not here")
    repository, before = SHIPPED.parents[1], ["model.batch_statistics=positives"]
    advice = choosing.recommend(repository / "sweeps" / "half-hour.yaml", SHIPPED / "half-hour", sets=before)
    trial = advice.rankings[0].trial
    assert trial is not None and trial.n == 11 and trial.halves is not None
    near = next(one for one in trial.agreements if one.kind == "near")
    records = [folder.read_record() for folder in all_runs(SHIPPED / "half-hour")]
    own = [r.own_score for r in records if r and r.config["method"]["name"] == "dino"]
    pairs = [(score.sensitivity, score.ood["cifar100"].auroc) for score in own]
    expected = stats.kendalltau(*zip(*pairs, strict=True))
    assert near.tau == pytest.approx(expected.statistic) and expected.pvalue > 0.05
    said = "\n".join(note for section in wording.sections(advice) for note in section.notes)
    assert f"this sweep: no evidence for or against the rule: CIFAR100 τ = {near.tau:+.2f}" in said
    assert "none of its tables prints a sensitivity" in said


def test_another_score_ranks_by_its_own_sensitivity_and_its_own_scores_of_images(tmp_path: Path) -> None:
    """By msp the order is another than by Eq. 6, and one variant has not been scored so."""
    names, kept = ["dino", "imgn", "rot-imgn", "dti"], {}
    sweep = write_sweep(tmp_path, variant=names, extra="base: {eval: {scores: [msp]}}")

    def record(run: RunConfig) -> Record:
        made = record_of(run, lambda c, ood: 80.0)
        place = names.index(run.variant) if run.variant in names else -1
        ood = {name: m.model_copy(update={"auroc": 50.0 + place**2}) for name, m in made.own_score.ood.items()}
        if place >= 0:
            kept[run.variant] = [scored(100 + place, 0.2), scored(place, 1 - place / 4)]
        own, msp = (auc(kept[run.variant][by]) if place >= 0 else 50.0 for by in (0, 1))
        scores = {"msp": ScoreInRecord(ood=ood, sensitivity=msp, passes=1)} if 0 <= place < 3 else {}
        return with_own(with_scores(made, scores), sensitivity=own)

    for done in write_runs(tmp_path / "results", sweep, record):
        if done.config["variant"] in kept:
            arrays = {
                f"cifar10/{split}{suffix}": kept[done.config["variant"]][by][side]
                for by, suffix in enumerate(("", ":msp"))
                for side, split in enumerate(("train", "test"))
            }
            folder = RunFolder(tmp_path / "results" / done.name)
            folder.path.mkdir(exist_ok=True)
            np.savez(folder.scores, **arrays)  # type: ignore[arg-type]
    advice = choosing.recommend(sweep, tmp_path / "results", tmp_path / "results", score="msp")
    [ranking] = advice.rankings
    assert ranking.heading.startswith("by msp") and ranking.missing == ("dti-s0",) and advice.rules == ()
    by_msp = sorted(names[:3], key=lambda name: -auc(kept[name][1]))
    assert [place.label for place in ranking.places] == by_msp
    assert by_msp != sorted(names[:3], key=lambda name: -auc(kept[name][0]))
    for place in ranking.places:
        assert place.sensitivity == pytest.approx(auc(kept[place.label][1]))
    second = ranking.places[1]
    assert second.how == "DeLong" and second.difference_half == pytest.approx(
        stats.norm.ppf(0.975) * delong(*(kept[name][1] for name in by_msp[:2]))
    )
    assert ranking.aurocs["rot-imgn"]["mean"] == 54.0
    assert choosing.recommend(sweep, tmp_path / "results").rankings[0].heading == ""
    with pytest.raises(BenchError, match="--score knn-5: none of the records has it"):
        choosing.recommend(sweep, tmp_path / "results", score="knn-5")


def test_another_score_is_tried_on_records_that_have_it_and_on_no_others(tmp_path: Path) -> None:
    """By msp sensitivity and AUROC agree on all records, by Eq. 6 they are against each other."""
    names = ["dino", "imgn", "rot-imgn", "dti", "rot-dti"]
    sweep = write_sweep(tmp_path, variant=names, extra="base: {eval: {ood: [cifar100], scores: [msp]}}")

    def record(run: RunConfig, has: bool = True) -> Record:
        place = names.index(run.variant) if run.variant in names else 0
        made = record_of(run, lambda c, ood: 90.0 - place, sensitivity=50.0 + place)
        ood = {name: m.model_copy(update={"auroc": 60.0 + place}) for name, m in made.own_score.ood.items()}
        scores = {"msp": ScoreInRecord(ood=ood, sensitivity=50.0 + place, passes=1)} if has else {}
        return with_scores(made, scores)

    rng = np.random.default_rng(0)
    for folder, has in (("results", True), ("shipped/with", True), ("shipped/without", False)):
        for done in write_runs(tmp_path / folder, sweep, lambda run, has=has: record(run, has)):  # type: ignore[misc]
            kept = RunFolder(tmp_path / folder / done.name)
            kept.path.mkdir(exist_ok=True)
            keys = [f"{key}:msp" for key in ("cifar10/train", "cifar10/test", "cifar100/test")]
            np.savez(kept.scores, **{key: rng.normal(size=60) for key in keys})  # type: ignore[arg-type]

    def taus(score: str) -> dict[str, Any]:
        advice = choosing.recommend(sweep, tmp_path / "results", tmp_path / "shipped", score=score)
        trials = [*(one.trial for one in advice.rankings if one.trial), *advice.trials]
        assert all((trial.halves is not None) == (score != OWN) for trial in trials)  # only msp's are kept
        return {trial.name: trial.agreements[0].tau for trial in trials}

    assert taus("msp") == pytest.approx({"this sweep": 1.0, "with": 1.0})
    assert taus(OWN) == pytest.approx({"this sweep": -1.0, "with": -1.0, "without": -1.0})


@pytest.mark.parametrize(("halves", "said"), [((-0.4, 0.1), True), ((-0.4, -0.1), True), ((0.06, 0.2), False),
                                              ((-0.1, -0.4), False), (None, False)])  # fmt: skip
def test_a_share_of_chance_is_said_of_a_negative_tau_alone(halves: tuple[float, float] | None, said: bool) -> None:
    near = Agreement("CIFAR100", "near", 11, 0.2, 0.5)
    trial = Trial("mine", (near,), "dino", "imgn", 3.0, 5.0, 4.0, 1.0, 11, halves)
    assert ("is chance" in wording._verdict(trial)) is said


def test_halves_are_free_of_the_images_both_measures_share(tmp_path: Path) -> None:
    """Variants that are all alike: the same images give a negative tau by chance, different ones give none."""
    sweep = write_sweep(tmp_path, variant=VARIANTS10, extra="base: {eval: {ood: [texture]}}")
    write_runs(tmp_path / "results", sweep, lambda run: record_of(run, lambda c, ood: 50.0 + len(c.variant) / 9))
    rng = np.random.default_rng(0)
    for folder in all_runs(tmp_path / "results"):
        if folder.read_record() and "untrained" not in folder.name and "statistics" not in folder.name:
            sizes = {"cifar10/train": 400, "cifar10/test": 100, "texture/test": 100}
            np.savez(folder.scores, **{key: rng.normal(size=n) for key, n in sizes.items()})  # type: ignore[arg-type]
    trial = choosing.recommend(sweep, tmp_path / "results").rankings[0].trial
    assert sweeps.load(sweep).runs and trial is not None and trial.halves is not None
    same, apart = trial.halves
    assert same < -0.2 and same < apart - 0.15


def test_methods_without_negatives_are_not_ranked_as_negatives(tmp_path: Path) -> None:
    """SimCLR and a classifier beside DINO's variants: they have no negatives to choose."""
    sweep = tmp_path / "mixed.yaml"
    sweep.write_text(
        "base: {in_dist: cifar10}\n"
        "grids:\n"
        "  - grid: {variant: [dino, rot-imgn], seed: [0]}\n"
        "  - {base: {method: {name: simclr}}, grid: {seed: [0]}}\n"
        "  - {base: {method: {name: classifier}}, grid: {seed: [0]}}\n"
    )
    write_runs(tmp_path / "results", sweep)
    [ranking] = choosing.recommend(sweep, tmp_path / "results").rankings
    assert {place.label for place in ranking.places} == {"dino", "rot-imgn"}
