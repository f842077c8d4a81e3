"""Occupied soft classes against a plain loop and against cases whose count is known."""

from __future__ import annotations

import math

import pytest
import torch

from benchmark.detection.occupancy import from_uniform, occupancy, occupied
from benchmark.errors import BenchError


def loop_mean_probability(logits: list[list[float]], centre: list[float], temperature: float) -> list[float]:
    total = [0.0] * len(centre)
    for row in logits:
        scaled = [(value - c) / temperature for value, c in zip(row, centre, strict=True)]
        weights = [math.exp(value - max(scaled)) for value in scaled]
        for k, weight in enumerate(weights):
            total[k] += weight / math.fsum(weights)
    return [value / len(logits) for value in total]


@pytest.fixture(scope="module")
def logits() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(600, 40, generator=generator) + 0.05 * torch.randn(40, generator=generator)


@pytest.fixture(scope="module")
def centre() -> torch.Tensor:
    return 0.05 * torch.randn(40, generator=torch.Generator().manual_seed(1))


def test_both_readings_equal_a_plain_loop(logits: torch.Tensor, centre: torch.Tensor) -> None:
    rows = logits.double().tolist()
    paper = loop_mean_probability(rows, centre.double().tolist(), 0.04)
    mean_logit = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    authors = loop_mean_probability(rows, mean_logit, 0.01)
    result = occupancy(logits, centre, 0.04)
    assert result["paper"] == sum(p > 1 / 40 for p in paper)
    assert result["authors"] == sum(p > 1 / 40 for p in authors)
    assert result["paper"] != result["authors"]  # the case tells the readings apart
    assert result["classes"] == 40
    assert result["max_mean_probability"] == pytest.approx(max(paper))
    assert result["effective"] == pytest.approx(math.exp(-math.fsum(p * math.log(p) for p in paper)))


def test_batches_iterators_and_shapes_do_not_matter(logits: torch.Tensor, centre: torch.Tensor) -> None:
    whole = occupancy(logits, centre, 0.04)
    for other in (logits.split(7), iter(logits.split(299)), [logits[:0], logits], [logits.flip(0)], logits.double()):
        result = occupancy(other, centre[None], 0.04)  # DINO keeps its centre as (1, K)
        assert result == pytest.approx(whole, rel=1e-9)


def test_a_shift_of_all_logits_moves_the_centre_only(logits: torch.Tensor, centre: torch.Tensor) -> None:
    shift = torch.linspace(-2, 2, 40)
    shifted = occupancy(logits + shift, centre + shift, 0.04)
    assert shifted == pytest.approx(occupancy(logits, centre, 0.04), rel=1e-4)
    assert occupancy(logits + shift, centre, 0.04)["paper"] != shifted["paper"]
    assert occupancy(logits + shift, centre, 0.04)["authors"] == shifted["authors"]  # follows the data, not the centre


@pytest.mark.parametrize("used", [1, 3, 17, 39])
def test_known_count(used: int) -> None:
    """Each image is sure of one class, and the images share `used` classes evenly."""
    logits = torch.eye(40)[torch.arange(40 * used) % used] * 5
    result = occupancy(logits, torch.zeros(40), 0.04)
    assert result["paper"] == used
    assert result["effective"] == pytest.approx(used)
    assert result["max_mean_probability"] == pytest.approx(1 / used)


@pytest.mark.parametrize("classes", [7, 30, 4096])
def test_a_uniform_output_occupies_no_class(classes: int) -> None:
    """Collapse: rounding must not count classes."""
    noise = 1e-10 * torch.randn(1001, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = occupancy(0.3 + noise, torch.zeros(classes), 0.01)
    assert (result["paper"], result["authors"]) == (0, 0)
    assert result["effective"] == pytest.approx(classes)


def test_occupied_means_strictly_above_the_average() -> None:
    assert occupied(torch.tensor([0.25, 0.25, 0.25, 0.25])) == 0
    assert occupied(torch.tensor([0.4, 0.3, 0.25, 0.05])) == 2
    assert occupied(torch.tensor([0.0, 1.0])) == 1


def test_extreme_logits_stay_finite() -> None:
    result = occupancy(torch.tensor([[1e30, -1e30], [1e30, -1e30]]), torch.zeros(2), 0.01)
    assert result["paper"] == 1 and result["effective"] == pytest.approx(1)


def test_bad_input_is_named(logits: torch.Tensor, centre: torch.Tensor) -> None:
    broken = logits.clone()
    broken[5, 7] = torch.nan
    with pytest.raises(BenchError, match="1 of 40 soft classes"):
        occupancy(broken, centre, 0.04)
    with pytest.raises(BenchError, match="no logits"):
        occupancy([], centre, 0.04)
    with pytest.raises(BenchError, match="temperature 0 "):
        occupancy(logits, centre, 0)


def test_distance_from_uniform_is_the_divergence_by_a_loop() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [3.0, -1.0, 0.5, 0.0], [400.0, 0.0, -400.0, 1.0]])
    expected = []
    for row in logits.double().tolist():
        total = sum(math.exp(x - max(row)) for x in row)
        p = [math.exp(x - max(row)) / total for x in row]
        expected.append(sum(q * math.log(q / 0.25) for q in p if q > 0))
    assert from_uniform(logits).tolist() == pytest.approx(expected, abs=1e-12)
    assert from_uniform(logits)[0] == pytest.approx(0, abs=1e-12) and from_uniform(logits)[2] == pytest.approx(
        math.log(4)
    )
