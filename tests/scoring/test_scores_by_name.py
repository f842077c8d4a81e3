"""The names of scores, what each needs, and who may have it."""

from __future__ import annotations

import importlib

import pytest
from tiny_runs import tiny

from benchmark.errors import BenchError
from benchmark.plan import scores
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.scoring.base import Score
from benchmark.scoring.named import Sum, named


@pytest.mark.parametrize("name", [name for name, kind in scores.KINDS.items() if not kind.required])
def test_every_kind_is_there_by_its_name(name: str) -> None:
    module, _, of = scores.KINDS[name].made_by.partition(":")
    assert type(named(name, 0.04)) is getattr(importlib.import_module(f"benchmark.scoring.{module}"), of)
    assert isinstance(named(name, 0.04), Score)


def test_a_name_carries_its_number() -> None:
    assert named("eq6", 0.04).temperature == 0.04 and named("eq6@0.5", 0.04).temperature == 0.5  # type: ignore
    assert named("eq6-rotations", 0.07).temperature == 0.07  # type: ignore[attr-defined]
    assert named("knn-50", 1).k == 50 and named("mahalanobis-10", 1).clusters == 10  # type: ignore[attr-defined]
    assert named("mahalanobis", 1).clusters == 1  # type: ignore[attr-defined]
    both = named("eq6@0.1+knn-5", 1)
    assert isinstance(both, Sum) and both.parts[0].temperature == 0.1 and both.parts[1].k == 5  # type: ignore


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("knn", "'knn'"),
        ("knn-0", "'knn-0'"),
        ("eq6@0", "a temperature after @ is a number above 0"),
        ("eq6@cold", "a temperature after @ is a number above 0"),
        ("eq6-5", "eq6-5"),
        ("energy@2", "energy@2"),
        ("eq6+", "''"),
        ("mahalanobi", "did you mean 'mahalanobis'"),
    ],
)
def test_a_name_of_no_score_is_told_what_is_one(name: str, says: str) -> None:
    with pytest.raises(BenchError) as error:
        scores.parts(name)
    assert says in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(BenchError, match=r"test: eval"):
        tiny(eval={"scores": [name]})


def test_what_scores_need_and_cost() -> None:
    assert scores.needs(["eq6", "knn-5"]) == frozenset() and scores.passes("mahalanobis") == 1
    assert scores.needs(["eq6", "energy-gap+negative-norm"]) == {"logits", "rotations", "norm"}
    assert scores.passes("eq6-rotations") == 4 and scores.passes("eq6+energy-gap") == 4
    assert scores.passes("knn-5") == 1 and scores.passes("eq6-permutations+energy-gap-permutations") == 4
    assert scores.passes("eq6-rotations+energy-gap-permutations") == 7
    assert named("eq6-permutations", 0.07).temperature == 0.07  # type: ignore[attr-defined]


def test_a_score_that_a_method_cannot_have_is_refused_and_left_out_of_references() -> None:
    wanted = ["knn-5", "energy", "eq6-rotations"]
    config = tiny(eval={"scores": wanted})
    assert config.scores() == wanted
    assert config.reference("untrained").scores() == ["knn-5", "eq6-rotations"]
    assert config.reference("image-statistics").scores() == []
    with pytest.raises(BenchError, match=r"eval.*'energy' needs logits, which 'rotation' does not have; allowed: eq6"):
        rotation = {"in_dist": "mini", "method": {"name": "rotation"}, "train": {"epochs": 2, "warmup_epochs": 0}}
        validate(RunConfig, {**rotation, "eval": {"ood": ["x"], "scores": ["energy"]}}, "test")
    with pytest.raises(BenchError, match="names a score twice"):
        tiny(eval={"scores": ["knn-5", "knn-5"]})


def test_scores_are_no_part_of_what_a_run_is() -> None:
    assert tiny().recipe_id() == tiny(eval={"scores": ["knn-5"]}).recipe_id()
    assert tiny().setting() == tiny(eval={"scores": ["knn-5"]}).setting()  # nor of what a table's cells share
