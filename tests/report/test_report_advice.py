"""`bench recommend` in words: which side of noise a variant is on, and what is said of the rule."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.advise.ranking import Candidate, rank
from benchmark.advise.rules import ANY, RulesTried
from benchmark.advise.trial import Agreement, Trial
from benchmark.advise.wording import Advice, Ranking, _explained, _verdict, sections

SURE, UNSURE = 0.01, 0.6


def ranking(*candidates: Candidate) -> Ranking:
    places = tuple(rank(candidates))
    lost = {place.label: {"mean": float(place.rank)} for place in places}
    found = {place.label: {"mean": 70.0 - place.rank} for place in places}
    return Ranking("", "cifar10", "as ever", places, (), candidates[0].counts, {}, ("mean",), lost, found, None)


def of(label: str, *values: float, counts: tuple[int, int] = (30_000, 500)) -> Candidate:
    return Candidate(label, dict(enumerate(values)), {}, counts)


def test_who_is_within_noise_and_who_is_beyond_it() -> None:
    one = ranking(of("dino", 60.0, 60.1, 59.9), of("imgn", 50.0, 50.2, 49.9), of("rot-imgn", 59.9, 60.3, 59.5))
    said = sections(Advice("mine", (one,), None, ()))[0]
    rows = {row[1]: dict(zip(said.columns, row, strict=True)) for row in said.rows}
    assert {title: row["noise"] for title, row in rows.items()} == {
        "DINO": "best", "Rot. ImgN": "within", "ImgN": "beyond"
    }  # fmt: skip
    best, last = one.places[0], one.places[-1]
    assert rows["DINO"]["sensitivity"] == f"60.00 ±{best.half:.2f}" and rows["DINO"]["vs best"] == ""
    assert rows["ImgN"]["vs best"] == f"{last.difference:+.2f} ±{last.difference_half:.2f}"
    assert [row["lost mean"] for row in rows.values()] == ["1.0", "2.0", "3.0"]
    assert said.notes[0] == "DINO leads; within noise of it: Rot. ImgN. Behind it beyond noise: ImgN."


def test_a_leader_of_all_and_of_none() -> None:
    ahead = ranking(of("dino", 60.0, 60.1, 59.9), of("imgn", 50.0, 50.2, 49.9))
    level = ranking(of("dino", 60.0, 60.1, 59.9), of("imgn", 59.9, 60.3, 59.5))
    heads = [sections(Advice("mine", (one,), None, ()))[0].notes[0] for one in (ahead, level)]
    assert heads[0] == "DINO leads, and every other variant is behind it by more than noise."
    assert heads[1].startswith("No variant differs from the first, DINO, beyond noise")


@pytest.mark.parametrize(("values", "said"), [((50.4, 49.9), True), ((47.0, 50.1), False), ((53.0, 50.1), False)])
def test_sensitivities_that_tell_nothing_are_said_with_the_numbers_of_images(
    values: tuple[float, float], said: bool
) -> None:
    """500 test images leave about 2.6 points."""
    one = ranking(*(of(label, value) for label, value in zip(("dino", "imgn"), values, strict=True)))
    notes = " ".join(sections(Advice("mine", (one,), None, ()))[0].notes)
    assert ("the error that 30,000 training and 500 test images leave" in notes) is said


@pytest.mark.parametrize(
    ("near", "far", "verdict"),
    [
        ((0.6, SURE), (0.1, UNSURE), "mine: the rule holds on CIFAR100: "),
        ((0.6, SURE), (0.5, SURE), "mine: the rule holds on CIFAR100, far average: "),
        ((0.6, UNSURE), (-0.1, UNSURE), "mine: no evidence for or against the rule: "),
        ((-0.2, UNSURE), (-0.1, UNSURE), "mine: no evidence for or against the rule, the signs are against it: "),
        ((0.1, UNSURE), (-0.6, SURE), "mine: the rule points the WRONG way on far average: "),
        ((-0.6, SURE), (0.6, SURE), "mine: the rule points the WRONG way on CIFAR100: "),
        ((-0.6, SURE), (-0.1, UNSURE), "mine: the rule points the WRONG way: "),
    ],
)
def test_what_is_said_of_the_rule(near: tuple[float, float], far: tuple[float, float], verdict: str) -> None:
    both = Agreement("CIFAR100", "near", 11, *near), Agreement("far average", "far", 11, *far)
    text = _verdict(Trial("mine", both, "dino", "imgn", 3.0, 5.0, 9.0, 1.0, 11))
    assert text.startswith(f"{verdict}CIFAR100 τ = {near[0]:+.2f} (p = {near[1]:.2g}), far average τ = {far[0]:+.2f}")
    assert (
        "It chooses DINO, which loses 3.0 points" in text
        and "against the best, ImgN; a random choice loses 5.0" in text
    )


@pytest.mark.parametrize(("spread", "weak"), [(1.9, True), (2.1, False)])
def test_a_spread_within_the_error_is_a_weak_test(spread: float, weak: bool) -> None:
    near = Agreement("CIFAR100", "near", 11, 0.6, SURE)
    text = _verdict(Trial("mine", (near,), "dino", "imgn", 3.0, 5.0, spread, 1.0, 11))
    assert ("a weak test of the rule" in text) is weak


def test_points_lost_and_aurocs_have_columns_of_their_own() -> None:
    one = replace(ranking(of("dino", 60.0), of("imgn", 55.0)), references={"untrained": 51.25})
    advice = Advice("mine", (one,), None, ())
    said = sections(advice, wide=True)[0]
    rows = {row[1]: dict(zip(said.columns, row, strict=True)) for row in said.rows}
    assert [(row["lost mean"], row["AUROC mean"]) for row in rows.values()][:2] == [("1.0", "69.0"), ("2.0", "68.0")]
    assert rows["untrained"]["sensitivity"] == "51.25" and rows["untrained"]["n"] == "1"


def test_tau_stands_before_its_p() -> None:
    trial = Trial("mine", (Agreement("CIFAR100", "near", 11, 0.56, 0.017),), "dino", "imgn", 3.0, 5.0, 9.0, 1.0, 11)
    said = sections(Advice("mine", (), None, (trial,)))[0]
    assert (said.columns, said.rows) == (
        ["records", "OOD set", "kind", "τ", "p", "n"], [["mine", "CIFAR100", "near", "+0.56", "0.017", "11"]]
    )  # fmt: skip


def test_each_rules_loss_stands_in_its_column() -> None:
    own = {"sensitivity": 1.5, "k-NN": 2.5, "others": 0.5, "random": 4.5}
    found = RulesTried("mine", "OOD sets", 8, 11, {"own": own, ANY: {"others": 3.25, "random": 7.75}}, {"own": 76.0})
    said = sections(Advice("mine", (), None, (), (found,)))[-1]
    assert said.columns == ["score", "best", "sensitivity", "k-NN", "occupied", "others", "random"]
    assert said.rows == [["own", "76.0", "1.5", "2.5", "", "0.5", "4.5"], [ANY, "", "", "", "", "3.2", "7.8"]]
    assert "Least is lost, in the mean over scores, by others: 0.5." in said.notes[0]
    assert "3.2 are lost against the best variant and score; 7.8 where neither is chosen." in said.notes[1]


@pytest.mark.parametrize("interval", ["images (DeLong)", "seeds"])
@pytest.mark.parametrize("how", ["", "seeds", "DeLong"])
def test_what_the_columns_mean_is_in_whole_sentences(how: str, interval: str) -> None:
    place: Any = SimpleNamespace(how=how, interval=interval)
    [said] = _explained([place, place])
    assert ".." not in said and said.endswith(".") and f"interval over {interval}." in said
