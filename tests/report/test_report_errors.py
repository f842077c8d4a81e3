"""Errors of an AUROC: Hanley and McNeil's by simulation, DeLong's by hand, and whose numbers of images they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_fakes import config, record_of
from scipy import stats

from benchmark.advise import recommend
from benchmark.advise.ranking import Candidate, candidates, rank
from benchmark.advise.trial import trial
from benchmark.plan.config import RunConfig
from benchmark.report.grouping import group_runs
from benchmark.report.groups import Group, Run
from benchmark.report.intervals import delong, hanley_mcneil
from benchmark.store.records import Record

TRAIN, TEST = 300, 20


@pytest.mark.parametrize(("negatives", "positives"), [(200, 12), (12, 200)])
def test_hanley_mcneil_is_the_spread_of_exponential_scores(negatives: int, positives: int) -> None:
    """Their formula is exact for exponential scores, as they assume; few on one side tells the sides apart."""
    rng = np.random.default_rng(0)
    inside = np.sort(rng.exponential(1.0, (3000, negatives)), axis=1)
    outside = rng.exponential(7 / 3, (3000, positives))  # above an exponential of mean 1 in 7 of 10 draws
    above = [np.searchsorted(one, other).mean() / negatives for one, other in zip(inside, outside, strict=True)]
    assert np.mean(above) == pytest.approx(0.7, abs=0.01)
    assert hanley_mcneil(70.0, negatives, positives) == pytest.approx(100 * np.std(above), rel=0.05)


def test_delong_by_hand() -> None:
    """2 is above one of 1 and 3, 4 and 5 above both; 1 is below three of three, 3 below two: 1/2, 1, 1 and 1, 2/3."""
    by_positive, by_negative = [1 / 2, 1, 1], [1, 2 / 3]
    error = np.sqrt(np.var(by_positive, ddof=1) / 3 + np.var(by_negative, ddof=1) / 2)
    assert delong((np.array([1.0, 3.0]), np.array([2.0, 4.0, 5.0]))) == pytest.approx(100 * error)


def test_without_scores_or_seeds_the_numbers_of_images_are_the_error() -> None:
    first, second = rank([Candidate(label, {0: value}, {}, (TRAIN, TEST)) for label, value in (("a", 70), ("b", 55))])
    errors = [hanley_mcneil(value, TRAIN, TEST) for value in (70, 55)]
    z = stats.norm.ppf(0.975)
    assert [first.half, second.half] == pytest.approx([z * error for error in errors], rel=1e-4)
    both = float(np.hypot(*errors))
    assert (second.how, second.difference) == ("Hanley-McNeil", -15)
    assert second.difference_half == pytest.approx(z * both)
    assert second.p == pytest.approx(2 * stats.norm.sf(15 / both))


# label -> sensitivity, AUROC on every set
VARIANTS = {"dino": (60.0, 80.0), "imgn": (75.0, 70.0), "rot-imgn": (70.0, 90.0)}


def counted(one: RunConfig) -> Record:
    sensitivity, auroc = VARIANTS[one.variant]
    made = record_of(one, lambda c, ood: auroc, sensitivity=sensitivity)
    counts = {f"{one.in_dist}/train": TRAIN, f"{one.in_dist}/test": TEST}
    data = {key: seen.model_copy(update={"count": counts.get(key, 50)}) for key, seen in made.data.items()}
    return made.model_copy(update={"data": data})


def group_of(in_dists: list[str], ood: list[str]) -> Group:
    configs = [config(in_dist=one, variant=label, eval={"ood": ood}) for one in in_dists for label in VARIANTS]
    (group,) = group_runs(configs, [counted(one) for one in configs])
    return group


def test_training_images_are_the_negatives_of_a_sensitivity_and_test_images_the_positives(tmp_path: Path) -> None:
    group = group_of(["cifar10"], ["cifar100", "svhn"])
    assert {one.counts for one in candidates(group, "cifar10")} == {(TRAIN, TEST)}
    found = trial("mine", group, ["cifar10"])
    assert found is not None and (found.chosen, found.best, found.spread) == ("imgn", "rot-imgn", 15.0)
    assert found.error == pytest.approx(stats.norm.ppf(0.975) * hanley_mcneil(75.0, TRAIN, TEST), rel=1e-4)


def test_the_error_of_a_mean_over_classes_falls_with_their_root() -> None:
    classes = [f"cifar10:{name}" for name in ("airplane", "bird", "cat", "dog")]
    found = trial("mine", group_of(classes, ["other-classes"]), classes)
    assert found is not None and (found.chosen, found.best, found.spread) == ("imgn", "rot-imgn", 15.0)
    assert found.error == pytest.approx(stats.norm.ppf(0.975) * hanley_mcneil(75.0, TRAIN, TEST) / 2, rel=1e-4)


def test_the_references_sensitivity_stands_beside_the_ranking(tmp_path: Path) -> None:
    group = group_of(["cifar10"], ["cifar100", "svhn"])
    one = group.runs[0].config.reference("untrained")
    record = record_of(one, sensitivity=52.5)
    more = Group("", (*group.runs, Run(one, one.recipe_id(), record)))
    found = recommend._ranking(more, "cifar10", None)
    assert found is not None and found.references == {"untrained": 52.5} and found.best.label == "imgn"


def test_a_variant_that_lacks_a_set_is_in_no_trial_of_the_average(tmp_path: Path) -> None:
    more = {**VARIANTS, "combined": (90.0, 99.0)}
    configs = [config(variant=label, eval={"ood": ["cifar100", "svhn"]}) for label in more]
    lacks = ("combined", "svhn")
    made = [record_of(one, lambda c, ood: None if (c.variant, ood) == lacks else more[c.variant][1],
                      sensitivity=more[one.variant][0]) for one in configs]  # fmt: skip
    found = trial("mine", group_runs(configs, made)[0], ["cifar10"])
    assert found is not None and (found.n, found.chosen, found.cost) == (3, "imgn", 20.0)
    assert {one.title: one.n for one in found.agreements} == {"average (2)": 3, "CIFAR100": 4, "SVHN": 3}


def test_a_variant_of_which_one_seed_lacks_a_set_is_in_no_trial_of_it(tmp_path: Path) -> None:
    more = {**VARIANTS, "combined": (90.0, 99.0)}
    configs = [config(variant=v, seed=s, eval={"ood": ["cifar100", "svhn"]}) for v in more for s in (0, 1)]
    lacks = ("combined", 1, "svhn")
    made = [record_of(one, lambda c, ood: None if (c.variant, c.seed, ood) == lacks else more[c.variant][1],
                      sensitivity=more[one.variant][0]) for one in configs]  # fmt: skip
    found = trial("mine", group_runs(configs, made)[0], ["cifar10"])
    assert found is not None and {one.title: one.n for one in found.agreements}["SVHN"] == 3 and found.n == 3
