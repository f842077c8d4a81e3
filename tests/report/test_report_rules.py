"""`bench recommend`'s trial of rules on records, against losses taken by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_fakes import config, record_of, write_sweep

from benchmark.advise import recommend as choosing
from benchmark.advise import wording
from benchmark.advise.rules import ANY, tried
from benchmark.files import write_json
from benchmark.plan.config import RunConfig
from benchmark.report.grouping import group_runs
from benchmark.store.folders import RunFolder
from benchmark.store.records import OODMetrics, Record, ScoreInRecord

OODS = ["cifar100", "svhn", "texture"]
# label -> AUROC on each OOD set, by the own score and by msp, sensitivity by both, k-NN accuracy, occupied classes
NUMBERS: dict[str, tuple[list[float], list[float], float, float, float, float]] = {
    "dino": ([60, 70, 50], [40, 41, 42], 51, 54, 30, 200),
    "imgn": ([50, 90, 60], [70, 60, 62], 53, 52, 45, 150),
    "combined": ([58, 60, 64], [80, 50, 52], 52, 58, 40, 10),
}
SCORED = {"ood": OODS, "scores": ["msp"]}


def metrics(values: list[float], oods: list[str]) -> dict[str, OODMetrics]:
    rest = {"aupr_ood": 1.0, "aupr_id": 1.0, "fpr95_id": 1.0, "fpr95_ood": 1.0, "n_id": 9, "n_ood": 9}
    return {ood: OODMetrics(auroc=value, **rest) for ood, value in zip(oods, values, strict=True)}


def record(config: RunConfig, shift: float = 0.0, lacks: str = "") -> Record:
    own, msp, sensitivity, by_msp, knn, occupied = NUMBERS[config.variant]
    further = {"msp": ScoreInRecord(ood=metrics(msp, OODS), sensitivity=by_msp, passes=1)}
    return record_of(
        config, ood=metrics([value + shift for value in own], OODS), sensitivity=sensitivity,
        scores={} if lacks == config.variant else further, knn_accuracy={"20": knn, "10": 0.0},
        occupancy={"paper": occupied, "authors": 1, "classes": 256},
    )  # fmt: skip


def runs(**changes: Any) -> list[RunConfig]:
    return [config(variant=label, eval=SCORED, **changes) for label in NUMBERS]


def test_each_rule_loses_what_it_loses_by_hand() -> None:
    configs = [*runs(), *runs(seed=1), config(method={"name": "rotation"}, eval={"ood": OODS})]
    of_seeds = [record(one, shift=(-2.0, 2.0)[one.seed]) for one in configs[:6]]
    (group, *_) = group_runs(configs, of_seeds)
    found = tried("mine", group, ["cifar10"])
    assert found is not None and (found.tasks, found.n, found.kind) == (3, 3, "OOD sets")
    own, msp = found.lost["own"], found.lost["msp"]
    # Best 60, 90, 64. By sensitivity and k-NN ImgN: 10 + 0 + 4; by occupancy DINO: 0 + 20 + 14. Others: on two sets
    # ImgN (150 of 90 + 60), then Combined or DINO without svhn (122 against 110), then ImgN again (140): 10 + 30 + 4.
    assert own["sensitivity"] == own["k-NN"] == pytest.approx(14 / 3)
    assert own["occupied"] == pytest.approx(34 / 3) and own["others"] == pytest.approx(44 / 3)
    assert own["random"] == pytest.approx((60 - 168 / 3 + 90 - 220 / 3 + 64 - 174 / 3) / 3)
    assert found.best["own"] == pytest.approx(214 / 3)
    # Best 80, 60, 62. Sensitivity by msp chooses Combined: 0 + 10 + 10; k-NN ImgN: 10; DINO: 40 + 19 + 20.
    assert msp["sensitivity"] == pytest.approx(20 / 3) and msp["k-NN"] == pytest.approx(10 / 3)
    assert msp["occupied"] == pytest.approx(79 / 3)
    # Others: ImgN (122 of 60 + 62), then both have 132, the first is ImgN, then Combined and ImgN both have 130: ImgN.
    assert msp["others"] == pytest.approx(10 / 3)
    # Any: best 80, 90, 64; on the other two the best pair is ImgN's own (150), msp's (132), own (140).
    assert found.lost[ANY]["others"] == pytest.approx((80 - 50 + 90 - 60 + 64 - 60) / 3)
    assert set(found.lost[ANY]) == {"others", "random"}
    assert found.least == ("k-NN", pytest.approx((14 / 3 + 10 / 3) / 2))


def test_a_score_that_too_few_have_is_left_out_and_two_variants_are_nothing_to_choose_from() -> None:
    (group,) = group_runs(runs(), [record(one, lacks="imgn") for one in runs()])
    found = tried("mine", group, ["cifar10"])
    assert found is not None and list(found.lost) == ["own"] and found.n == 3
    (group,) = group_runs(runs()[:2], [record(one) for one in runs()[:2]])
    assert tried("mine", group, ["cifar10"]) is None


def test_classes_of_a_set_are_the_tasks_of_one_trial(tmp_path: Path) -> None:
    classes = ["airplane", "bird", "cat"]
    rest = {"aupr_ood": 1.0, "aupr_id": 1.0, "fpr95_id": 1.0, "fpr95_ood": 1.0, "n_id": 9, "n_ood": 9}
    for number, name in enumerate(classes):
        for label, (values, *_) in NUMBERS.items():
            one = config(in_dist=f"cifar10:{name}", variant=label, eval={"ood": ["other-classes"]})
            made = record_of(one, ood={f"cifar10:not-{name}": OODMetrics(auroc=values[number], **rest)},
                             sensitivity=50 + number + len(label), knn_accuracy={"20": None})  # fmt: skip
            folder = RunFolder(tmp_path / "reference" / "one" / f"{one.short_name}-{made.run_id[:8]}")
            folder.write_config(one)
            folder.write_record(made)
    sweep = write_sweep(tmp_path, variant=["dino", "imgn"])
    mine = config(variant="dino")
    folder = RunFolder(tmp_path / "results" / "cifar10-dino-s0-0")
    folder.write_config(mine)
    folder.write_record(record_of(mine))
    found = choosing.recommend(sweep, tmp_path / "results", tmp_path / "reference")
    (trial,) = found.trials
    assert trial.name == "one" and [a.title for a in trial.agreements] == ["mean of 3 classes"]
    assert (trial.chosen, trial.best, trial.n) == ("combined", "imgn", 3)
    assert trial.cost == pytest.approx(200 / 3 - 182 / 3) and trial.agreements[0].tau == pytest.approx(
        0
    )  # one tie, one pair each way
    (rules,) = found.rules
    assert rules.kind == "classes" and rules.tasks == 3 and "k-NN" not in rules.lost["own"]
    assert rules.lost["own"]["sensitivity"] == pytest.approx((2 + 30 + 0) / 3)  # Combined, the longest label
    section = wording.sections(found)[-1]
    assert section.title == "Rules tried on one" and section.columns[:3] == ["score", "best", "sensitivity"]
    assert section.rows[0][2] == "10.7" and "mean over 3 classes" in section.notes[0]
    write_json(tmp_path / "x.json", wording.as_json(found))
    assert "Rules tried on one" in wording.markdown(found)
