"""The numbers and sides in what `bench init` warns of, on sets that are made up to have them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmark.own.bring import Loaded, Own
from benchmark.own.examine import Findings, LowLevel, _easy, _few, _low_level, _repeats, examine
from benchmark.own.layout import Layout, Source
from benchmark.own.orientation import Upright
from benchmark.own.summary import rows
from benchmark.own.sweepfile import duration_in_words, sweep_text
from benchmark.plan import yamlfile


def loaded(role: str, pixels: np.ndarray, name: str = "", cluster: list[int] | None = None, copies: int = 0) -> Loaded:
    """A set of these images, each in a cluster of its own unless said."""
    count = len(pixels)
    source = Source(name or role, role, Path(role), [], f"mine-{name or role}" if role != "id" else "mine")
    names = [f"{i}.png" for i in range(count)]
    original = np.full((count, 2), 48) + np.arange(count)[:, None]
    return Loaded(source, pixels, np.arange(count), names, original, Counter({"PNG": count}), [], ["x"] * copies,
                  np.zeros((count, 192), np.float32), np.array(cluster or range(count)))  # fmt: skip


def own(sets: list[Loaded], train: int, test: int, size: int = 32) -> Own:
    return Own("mine", size, Path("data"), Layout(sets[0].source, None, (), ()), sets, [], train=train, test=test)


def noise(count: int, seed: int) -> np.ndarray:
    """Images of many strengths of noise and brightnesses."""
    rng = np.random.default_rng(seed)
    level, spread = rng.uniform(80, 170, (count, 1, 1, 3)), rng.uniform(10, 50, (count, 1, 1, 1))
    return np.clip(level + spread * rng.normal(size=(count, 32, 32, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("together", "alone", "easy"),
    [(75, 60, True), (25, 60, True), (60, 75, True), (60, 25, True), (60, 40, False), (40, 60, False), (30, 50, True)],
)
def test_either_side_of_50_is_easy(together: float, alone: float, easy: bool) -> None:
    assert LowLevel(together, "contrast", alone).is_easy is easy


@pytest.mark.parametrize(("alone", "said"), [(8.0, "sharpness alone 92, it has less"), (92.0, "92, it has more")])
def test_less_of_a_statistic_is_told_from_more(alone: float, said: str) -> None:
    sets = own([loaded("id", noise(4, 0)), loaded("ood", noise(4, 1), "soft")], 3, 1)
    (line,) = _easy(sets, {"mine-soft": LowLevel(97.0, "sharpness", alone)})
    assert line.startswith("soft: image statistics alone tell it from ID (AUROC 97; ") and said in line


def test_images_of_the_same_kind_are_told_from_those_that_taught_nothing() -> None:
    """What taught the detector is nearer to it than any other image: held against that, every set would look OOD."""
    found = []
    for seed in range(6):
        sets = own([loaded("id", noise(28, seed)), loaded("ood", noise(200, 100 + seed))], 20, 8)
        found.append(_low_level(sets)["mine-ood"].auroc)
    assert np.mean(found) == pytest.approx(50, abs=8)


@pytest.mark.parametrize(("count", "said"), [(10, True), (24, True), (25, False), (99, False)])
def test_few_auxiliary_images_are_told_by_how_often_each_serves(count: int, said: bool) -> None:
    lines = _few(own([loaded("id", noise(1, 0)), loaded("aux", np.zeros((count, 8, 8, 3), np.uint8))], 100, 25))
    told = [line for line in lines if line.startswith("aux:")]
    assert len(told) == said
    if said:
        assert (
            f"{count} auxiliary images for 100 ID ones" in told[0] and f" {100 / count:.0f} times an epoch" in told[0]
        )


def test_the_largest_cluster_is_counted_not_its_number() -> None:
    one = loaded("id", np.zeros((9, 8, 8, 3), np.uint8), cluster=[7, 7, 2, 2, 2, 0, 1, 3, 8])
    (line,) = _repeats(own([one], 7, 2))
    assert "id: 5 of 9 images have a near-duplicate in the set (up to 3 alike; " in line


def test_a_line_of_the_summary_has_each_number_in_its_column() -> None:
    inside = loaded("id", np.zeros((6, 8, 8, 3), np.uint8), cluster=[0, 0, 1, 1, 1, 5], copies=3)
    outside = loaded("ood", np.zeros((4, 8, 8, 3), np.uint8), "far", copies=1)
    found = Findings({"mine-far": LowLevel(81.4, "contrast", 23.4)}, Upright(60, 2, 6), [])
    assert rows(own([inside, outside], 5, 1), found) == [
        ["mine", "id", "5 train, 1 test", "3", "5", "48-53", ""],
        ["mine-far", "ood", "4", "1", "0", "48-51", "81 (contrast 23)"],
    ]


@pytest.mark.parametrize(
    ("size", "gpu", "turned", "cost"),
    [
        # 85 epochs of 1,000 images at 160 a second are 531 s; at 64 pixels a quarter of the speed: 35 minutes.
        (32, False, 60.0, "roughly 9 minutes a run, 106 minutes in all on a core"),
        (64, False, 60.0, "roughly 35 minutes a run, 7 hours in all on a core"),
        (32, False, 20.0, "roughly 9 minutes a run, 80 minutes in all on a core"),  # without what rotates ID images
        # 400 epochs at most, of 1,500 images a second for 64 patches: 267 s.
        (32, True, 60.0, "a guess: 4 minutes a run, 53 minutes in all on a GPU"),
    ],
)
def test_the_cost_of_a_sweep_by_hand(size: int, gpu: bool, turned: float, cost: str) -> None:
    found = Findings({}, Upright(turned, 2, 1000), [])
    text = sweep_text(Path("a.yaml"), own([loaded("id", noise(1, 0))], 1000, 250, size), found, gpu, None)
    assert f"Cost: {cost};" in " ".join(text.replace("#", " ").split())


def test_no_sweep_is_said_to_take_no_time() -> None:
    hours = (0.0001, 0.02, 0.03, 1.99, 2.4)
    assert [duration_in_words(one) for one in hours] == ["a minute", "a minute", "2 minutes", "119 minutes", "2 hours"]


def test_examine_brings_it_together() -> None:
    found = examine(own([loaded("id", noise(60, 0)), loaded("ood", noise(60, 1) // 2, "dark")], 48, 12))
    assert found.low_level["mine-dark"].is_easy and any("dark: image statistics" in line for line in found.warnings)
    assert any("it has less): an AUROC below that proves nothing" in line for line in found.warnings)


def test_few_ood_images_are_told_by_the_numbers_on_both_sides() -> None:
    """25 ID test images against 20: 1.96 times the root of 46 / (12 x 25 x 20) is 17.2 points."""
    lines = _few(own([loaded("id", noise(1, 0)), loaded("ood", np.zeros((20, 8, 8, 3), np.uint8), "far")], 5000, 25))
    assert "far: 20 images; its AUROC is known to ±17.2 points at best" in lines


@pytest.mark.parametrize(
    ("train", "size", "epochs", "batch", "warmup", "hours"),
    [(1000, 32, 85, 64, 8.5, 1), (1000, 64, 85, 64, 8.5, 2), (100, 32, 100, 8, 10.0, 1), (300, 32, 100, 32, 10.0, 1),
     (40_000, 32, 5, 64, 0.5, 2)],
)  # fmt: skip
def test_a_sweeps_training_by_the_number_of_images(
    train: int, size: int, epochs: int, batch: int, warmup: float, hours: int
) -> None:
    """85,000 images are seen, in 5 to 100 epochs; eight batches an epoch at least, three times the time is asked for.

    An hour holds 576,000 images of 32 pixels and a quarter of that of 64: 0.6 hours for 85,000, 0.35 for 200,000.
    """
    text = sweep_text(
        Path("a.yaml"), own([loaded("id", noise(1, 0))], train, 250, size), Findings({}, Upright(60, 2, 9), []), False,
        None,
    )  # fmt: skip
    found = yamlfile.parse(text, "text")
    given = {"epochs": epochs, "batch": batch, "lr": 0.004, "warmup_epochs": warmup, "precision": "fp32"}
    assert found["base"]["train"] == given and found["resources"]["hours"] == hours
