"""`bench perf`: which way its ratios go, and its sums, with times that are given instead of taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from tiny_runs import tiny

from benchmark import methods
from benchmark.perf import masks, measure, scoring, step, views
from benchmark.perf.measure import Spread

CPU = torch.device("cpu")


def given(values: dict[str, float]) -> Callable[..., dict[str, Spread]]:
    """In place of `alternate` or `timed`: each task by its name has this value, whatever it would have."""

    def measured(tasks: Iterable[str], *_: Any) -> dict[str, Spread]:
        return {name: Spread.of([values[name]]) for name in tasks}

    return measured


def test_scoring_is_told_as_multiples_of_ours_and_ours_as_one_of_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"matrix product alone": 2.0, "Eq. 6, ours": 5.0, "Eq. 6, plain": 20.0, "k-NN, ours": 3.0,
               "k-NN, plain": 18.0, "Mahalanobis, ours": 2.0, "Mahalanobis, plain": 14.0, "NT-Xent, ours": 4.0,
               "NT-Xent, plain": 32.0}  # fmt: skip
    monkeypatch.setattr(scoring, "timed", given(seconds))
    monkeypatch.setattr(scoring, "NT_XENT_ROWS", 8)
    found = scoring.perf_scoring(6, 40, 3, CPU, tell=lambda line: None)
    assert (found["eq6_over_product"], found["ratio"], found["knn_ratio"]) == (2.5, 4.0, 6.0)
    assert [found[f"{name}_text"] for name in ("ratio", "knn_ratio", "mahalanobis_ratio", "nt_xent_ratio")] == [
        "4 times", "6 times", "7 times", "8 times"
    ]  # fmt: skip
    told = dict(scoring.rows(found))
    assert told["Eq. 6, ours / product alone"] == "2.5 times" and told["Eq. 6, plain / ours"] == "4 times"


def test_views_are_told_as_a_multiple_of_the_references_and_masks_by_what_they_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speeds = {"ours": 60.0, "reference": 20.0, "with masks": 10.0, "without masks": 25.0}
    monkeypatch.setattr(views, "alternate", given(speeds))
    monkeypatch.setattr(step, "IMAGES", 32)
    found = views.perf_views(tiny(variant="background-in-dist"), images=2, tell=lambda line: None)
    assert (found["ratio"], found["ratio_text"], found["masks"]["cost_text"]) == (3.0, "3 times", "2.5 times")


def test_images_a_second_are_the_images_by_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 images in 4 seconds with ours and in 10 with the reference."""
    took = iter([4.0, 10.0])
    monkeypatch.setattr(views, "seconds", lambda task, device: next(took))
    monkeypatch.setattr(step, "IMAGES", 32)
    found = views.perf_views(tiny(variant="dino"), images=2, rounds=1, tell=lambda line: None)["images_per_second"]
    assert {name: each["median"] for name, each in found.items()} == {"ours": 0.5, "reference": 0.2}


def test_foregrounds_are_timed_by_the_image_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "seconds", lambda task, device: 3.0)
    monkeypatch.setattr(masks, "foreground", lambda images: torch.zeros(len(images), 32, 32, dtype=torch.bool))
    found = masks.perf_masks(CPU, rounds=1, tell=lambda line: None)
    assert found["images"] == 600 and {each["median"] for each in found["milliseconds"].values()} == {5.0}


def test_the_ceiling_is_that_of_the_quickest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of two matrices of 16 x 16 is 16 multiplications and 16 additions a number."""
    took = iter([4.0, 2.0, 8.0])
    monkeypatch.setattr(measure, "CEILING_SIDE", {"cpu": 16})
    monkeypatch.setattr(measure, "seconds", lambda task, device: next(took))
    assert measure.ceiling(CPU, "fp32", repeats=3) == 16 * 16 * 32 / 2


def test_pairs_a_second_and_shares_are_of_the_steps_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "IMAGES", 32)
    monkeypatch.setattr(step, "ceiling", lambda device, precision: 1e9)
    monkeypatch.setattr(step.Laps, "seconds", lambda laps: {"views": 1.0, "teacher": 0.5, "update": 2.5})
    found = step.perf_step(tiny(variant="dino"), CPU, steps=3, rounds=1, warmup=2, tell=lambda line: None)
    assert found["ours"]["pairs_per_second"]["median"] == 8 * 3 / 4
    assert found["ours"]["shares"] == {"views": 0.25, "teacher": 0.125, "update": 0.625}


@pytest.mark.parametrize(("optimiser", "moments"), [("adamw", 2), ("sgd", 1)])
def test_memory_is_of_both_networks_and_of_the_moments_of_the_one_that_learns(optimiser: str, moments: int) -> None:
    config = tiny(variant="dino", train={"optimiser": optimiser})
    found, method = step.step_memory(config), methods.build(config, CPU)
    numbers = sum(tensor.numel() for name, tensor in method.modules().named_parameters() if name.startswith("student"))
    assert found["weights"] == 2 * 4 * numbers and found["optimiser"] == moments * 4 * numbers
    assert found["all"] == found["weights"] + found["optimiser"] + found["step"]
    two_negatives = step.step_memory(config.model_copy(update={"variant": "combined"}))
    assert two_negatives["step"] > 1.5 * found["step"] and two_negatives["weights"] == found["weights"]
