"""What the choice of test images leaves open: against a bootstrap that resamples the scores themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from report_fakes import config, record_of
from scipy import stats
from sklearn.metrics import roc_auc_score

from benchmark.errors import BenchError
from benchmark.plan.config import RunConfig
from benchmark.plan.scores import OWN
from benchmark.report import images
from benchmark.report.groups import Case, Group, Run
from benchmark.report.images import REPLICATES, OfImages, bootstrap, mean_of, of_column, of_scores
from benchmark.report.intervals import delong
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record

OODS = ["cifar100", "svhn"]


def auroc(negatives: np.ndarray, positives: np.ndarray) -> float:
    labels = np.r_[np.zeros(len(negatives)), np.ones(len(positives))]
    return 100 * float(roc_auc_score(labels, np.r_[negatives, positives]))


def scores(seed: int, counts: tuple[int, ...] = (120, 90, 60), gain: float = 1.0) -> list[np.ndarray]:
    """Of the ID images and two OOD sets, with ties; half of each image's score is the same for every seed."""
    shared, own = np.random.default_rng(99), np.random.default_rng(seed)
    return [np.round(shared.normal(size=n) + own.normal(size=n) + gain * (place > 0), 1).astype(np.float32)
            for place, n in enumerate(counts)]  # fmt: skip


def measured(arrays: list[np.ndarray]) -> OfImages:
    """Their mean AUROC over the two OOD sets."""
    return mean_of([of_scores(arrays[0], arrays[place], "id", f"ood {place}") for place in (1, 2)])


def by_resampling(several: list[list[np.ndarray]], count: int = 3000) -> np.ndarray:
    """(count, len(several)) mean AUROCs of resampled images, the same of all; the other way: index, rank, average."""
    rng = np.random.default_rng(5)
    made = np.empty((count, len(several)))
    for row in made:
        at = [rng.integers(0, len(part), len(part)) for part in several[0]]
        for column, arrays in enumerate(several):
            drawn = [part[where] for part, where in zip(arrays, at, strict=True)]
            row[column] = np.mean([auroc(drawn[0], drawn[place]) for place in (1, 2)])
    return made


def test_the_value_is_the_mean_auroc_and_a_difference_is_one() -> None:
    one, other = scores(1), scores(2)
    expected = [np.mean([auroc(a[0], a[1]), auroc(a[0], a[2])]) for a in (one, other)]
    assert measured(one).value == pytest.approx(expected[0])
    assert (measured(one) - measured(other)).value == pytest.approx(expected[0] - expected[1])
    assert (measured(one) - 50.0).value == pytest.approx(expected[0] - 50)
    for added in (measured(one) - measured(other)).added.values():
        assert float(added.mean()) == pytest.approx(0, abs=1e-5)


def test_it_spreads_as_the_resampled_aurocs_do() -> None:
    one, other = scores(1), scores(2, gain=1.4)
    slow = by_resampling([one, other])
    fast = bootstrap([measured(one), measured(other)])
    assert fast.shape == (REPLICATES, 2)
    for place in (0, 1):
        assert np.std(fast[:, place]) == pytest.approx(np.std(slow[:, place]), rel=0.06)
        assert np.mean(fast[:, place]) == pytest.approx(np.mean(slow[:, place]), abs=0.3)
    steps = slow[:, 1] - slow[:, 0]
    assert np.std(fast[:, 1] - fast[:, 0]) == pytest.approx(np.std(steps), rel=0.06)
    assert np.std(steps) < 0.8 * np.hypot(*np.std(slow, axis=0))  # the images are the same: the pairing matters
    of_difference = bootstrap([measured(other) - measured(one)])[:, 0]
    assert of_difference == pytest.approx(fast[:, 1] - fast[:, 0], abs=1e-3)
    for share in (0.025, 0.975):
        assert np.quantile(of_difference, share) == pytest.approx(np.quantile(steps, share), abs=0.15 * np.std(steps))


def test_one_replicate_is_the_auroc_of_the_images_drawn() -> None:
    """But for the product of two small deviations, which a large set makes small."""
    arrays = scores(3, (3000, 2000, 10))
    one = of_scores(arrays[0], arrays[1], "id", "ood")
    drawn = [images._draws(key, len(part)) for key, part in (("id", arrays[0]), ("ood", arrays[1]))]
    found = bootstrap([one])[:, 0]
    assert all((of.sum(axis=1) == of.shape[1]).all() for of in drawn)
    for place in (0, 7, REPLICATES - 1):
        exact = auroc(np.repeat(arrays[0], drawn[0][place]), np.repeat(arrays[1], drawn[1][place]))
        assert found[place] == pytest.approx(exact, abs=0.05) and abs(found[place] - one.value) > 0.001


def test_it_agrees_with_delong() -> None:
    one, other = scores(1, (2000, 1500, 10)), scores(2, (2000, 1500, 10))
    both = [of_scores(a[0], a[1], "id", "ood") for a in (one, other)]
    assert np.std(bootstrap([both[0] - both[1]])) == pytest.approx(delong(one[:2], other[:2]), rel=0.05)
    apart = [both[0], of_scores(other[0], other[1], "other id", "other ood")]
    wide = float(np.hypot(delong(one[:2]), delong(other[:2])))
    assert np.std(bootstrap([apart[0] - apart[1]])) == pytest.approx(wide, rel=0.05)  # of other images: not paired
    found = bootstrap(both)[:, 0]
    assert stats.kstest(found, "norm", (found.mean(), found.std())).pvalue > 0.001


# --- from what runs keep ----------------------------------------------------------------------------------------------


def kept(place: Path, one: RunConfig, arrays: list[np.ndarray], prints: dict[str, str] | None = None) -> Record:
    """A run's folder with these scores by its own score, and by msp the same the other way round."""
    keys = ["cifar10/test", *(f"{ood}/test" for ood in OODS)]
    record = record_of(one, prints=prints)
    folder = RunFolder(place / record.name)
    folder.write_config(one)
    scores = {record.own: record.own_score, "msp": record.own_score}
    folder.write_record(record.model_copy(update={"scores": scores}))
    named = {f"{key}:{record.own}": part for key, part in zip(keys, arrays, strict=True)}
    np.savez(folder.scores, **named, **{f"{key}:msp": -part for key, part in zip(keys, arrays, strict=True)})
    found = folder.read_record()
    assert found is not None
    return found


def of_records(records: list[Record], oods: list[str], score: str = OWN) -> OfImages | None:
    """The mean of these runs of one column over these sets."""
    group = Group("", tuple(Run(record.run_config, record.recipe_id, record) for record in records))
    label = records[0].run_config.label if records else "dino"
    return of_column(group, label, [Case("cifar10", ood, ood) for ood in oods], score)


def run(variant: str = "dino") -> RunConfig:
    return config(variant=variant, eval={"ood": OODS, "scores": ["msp"]})


def test_the_scores_of_runs_are_found_by_set_and_score(tmp_path: Path) -> None:
    arrays = scores(1)
    record = kept(tmp_path, run(), arrays)
    each = [auroc(arrays[0], arrays[place]) for place in (1, 2)]
    for oods, expected in ((OODS, np.mean(each)), (OODS[:1], each[0]), (OODS[1:], each[1])):
        one = of_records([record], oods)
        assert one is not None and one.value == pytest.approx(expected)
        flipped = of_records([record], oods, "msp")
        assert flipped is not None and flipped.value == pytest.approx(100 - expected)
    by_msp = of_records([record.model_copy(update={"own": "msp"})], OODS)
    assert by_msp is not None and by_msp.value == pytest.approx(100 - np.mean(each))
    assert of_records([record], ["texture"]) is None and of_records([], OODS) is None
    assert of_records([record], OODS, "energy") is None
    assert of_records([record_of(run())], OODS) is None  # made in memory


def test_runs_are_paired_where_they_read_the_same_images(tmp_path: Path) -> None:
    arrays = [scores(1), scores(2)]
    same = [kept(tmp_path / "a", run(v), a) for v, a in zip(("dino", "imgn"), arrays, strict=True)]
    other = kept(tmp_path / "b", run("imgn"), arrays[1], prints={"cifar10/test": "others"})
    one, two, three = (of_records([record], OODS) for record in (*same, other))
    assert one is not None and two is not None and three is not None
    assert set(one.added) == set(two.added) and len(set(one.added) & set(three.added)) == 2
    paired, unpaired = (np.std(bootstrap([one - x])) for x in (two, three))
    assert paired < 0.9 * unpaired


def test_scores_that_change_are_read_again_and_without_them_there_is_nothing(tmp_path: Path) -> None:
    first = of_records([record := kept(tmp_path, run(), scores(1))], OODS)
    second = of_records([kept(tmp_path, run(), scores(1, gain=3.0))], OODS)
    assert first is not None and second is not None and second.value > first.value + 5
    folder = RunFolder(tmp_path / record.name)
    folder.scores.write_bytes(b"torn")
    with pytest.raises(BenchError, match="not a readable npz"):
        of_records([record], OODS)
    folder.scores.unlink()
    assert of_records([record], OODS) is None
    kept(tmp_path, run(), [np.full(9, np.nan, np.float32), *scores(1)[1:]])
    assert of_records([record], OODS) is None
    shutil.rmtree(folder.path)
    assert of_records([record], OODS) is None


def test_seeds_that_are_asked_for_alone(tmp_path: Path) -> None:
    records = [kept(tmp_path, run().model_copy(update={"seed": seed}), scores(seed)) for seed in (1, 2)]
    group = Group("", tuple(Run(record.run_config, record.recipe_id, record) for record in records))
    cases = [Case("cifar10", ood, ood) for ood in OODS]
    alone = [of_records([record], OODS) for record in records]
    both, second = of_column(group, "dino", cases), of_column(group, "dino", cases, seeds=[2])
    assert both is not None and second is not None and alone[0] is not None and alone[1] is not None
    assert second.value == pytest.approx(alone[1].value) != pytest.approx(alone[0].value)
    assert both.value == pytest.approx((alone[0].value + alone[1].value) / 2)
