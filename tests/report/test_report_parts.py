"""Published values, intervals and grouping: what the tables and figures are built on."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from report_fakes import VARIANTS10, config, record_of, write_sweep

from benchmark.plan import sweep as sweeps
from benchmark.plan.titles import title_of
from benchmark.report.grouping import group_runs
from benchmark.report.intervals import correlate, estimate
from benchmark.report.published import sets as published


def test_printed_averages_are_the_means_of_the_printed_cells():
    sets = published.paper_sets("cifar10")
    assert len(sets) == 8
    assert set(published.PRINTED_AVERAGES) == set(VARIANTS10)
    for column, printed in published.PRINTED_AVERAGES.items():
        cells = [published.VALUES["cifar10", ood, column] for ood in sets]
        assert sum(cells) / 8 == pytest.approx(printed, abs=0.0051)
        assert published.average("cifar10", sets, column) == pytest.approx(sum(cells) / 8)


def test_published_values_number_and_samples():
    assert published.value("cifar10", "cifar100", "combined") == 94.20
    assert published.value("cifar100", "lsun", "rot-imgn") == 85.03
    assert published.value("cifar10", "stl10", "rot-dti") == 81.49
    assert published.value("cifar10", "imagenet30", "MTL") is None
    assert len([key for key in published.VALUES if key[2] in VARIANTS10 and key[0] == "cifar10"]) == 80
    assert len([key for key in published.VALUES if key[2] in published.RIVALS]) == 4 * 16 - 10
    assert published.average("cifar10", published.paper_sets("cifar10"), "combined") == pytest.approx(93.64, abs=0.005)


def test_stand_ins_are_known_and_partial_averages_are_not_compared():
    assert published.value("cifar10", "lsunlike", "dino") == 92.20
    assert published.value("cifar10", "texture@256", "dino") == 96.21
    assert published.is_stand_in("lsunlike") and not published.is_stand_in("texture@256")
    sets = published.paper_sets("cifar10")
    assert published.average("cifar10", sets[:5], "dino") is None
    assert published.average("cifar10", ["cifar100"], "dino") == 90.29
    assert published.average("cifar10", sets[1:], "dino") == pytest.approx((89.47 * 8 - 90.29) / 7, abs=0.01)
    assert published.average("cifar10", sets, "MTL") is None  # not published on all of them
    assert published.average("synthetic", [], "dino") is None


def test_best_rivals_by_training_data():
    assert published.best_rival("cifar10", "cifar100", published.LABEL_FREE_RIVALS) == ("SSD", 90.63)
    assert published.best_rival("cifar10", "cifar100", published.SUPERVISED_RIVALS) == ("MTL", 93.24)
    assert published.best_rival("cifar10", "imagenet30", published.SUPERVISED_RIVALS) is None


def test_estimate_is_the_student_t_interval():
    values = [90.0, 92.5, 91.0]
    mean = sum(values) / 3
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / 2)
    found = estimate(values)
    assert (found.mean, found.n) == (pytest.approx(mean), 3)
    assert found.half == pytest.approx(4.302652729911275 * spread / math.sqrt(3))  # t(0.975, 2) from a printed table
    assert estimate([5.0]).half is None
    assert estimate([5.0, 5.0]).half == 0


def test_correlation_by_hand():
    rng = np.random.default_rng(0)
    x = rng.normal(size=11).round(1)  # ties, for the ranks
    y = x + rng.normal(size=11)

    def pearson(a, b):
        return float(np.corrcoef(a, b)[0, 1])

    found, r = correlate(list(x), list(y)), pearson(x, y)
    reach = 1.959963984540054 / math.sqrt(11 - 3)  # Fisher's z
    assert found.r == pytest.approx(r)
    assert found.low == pytest.approx(math.tanh(math.atanh(r) - reach))
    assert found.high == pytest.approx(math.tanh(math.atanh(r) + reach))
    ranks = [[sum(int(other < one) + int(other <= one) for other in side) for one in side] for side in (x, y)]
    assert found.rho == pytest.approx(pearson(*ranks))
    assert str(found).endswith("n = 11")


@pytest.mark.parametrize(("x", "y"), [([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2, 3], [4, 4, 4]), ([1, 2], [3, 4]), ([], [])])
def test_correlation_is_undefined_without_warnings(x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = correlate(x, y)
    assert found.r is None and "undefined" in str(found)


def test_correlation_of_three_points_has_no_interval():
    found = correlate([1, 2, 3], [1, 3, 2])
    assert found.r == pytest.approx(0.5) and found.low is None and found.n == 3


def test_columns_follow_the_paper_and_references_come_last(tmp_path):
    names = ["rot-in-dist", "perm-9-imgn", "combined", "dino"]
    path = write_sweep(tmp_path, variant=names, extra="base: {data: {image_size: 36}}")
    (group,) = group_runs([run.config for run in sweeps.load(path).runs], [])
    wanted = ["dino", "rot-in-dist", "combined", "perm-9-imgn", "untrained", "image-statistics"]
    assert group.labels("cifar10") == wanted
    assert title_of("perm-9-imgn") == "Perm-9 ImgN"
    assert title_of("image-statistics") == "image statistics"
    assert title_of("ssd-none") == "ssd-none"


def test_settings_and_protocols_never_share_a_group(tmp_path):
    path = write_sweep(tmp_path, variant=["dino", "imgn"], extra="", protocol=["paper", "authors"])
    configs = [run.config for run in sweeps.load(path).runs]
    groups = group_runs(configs, [record_of(c) for c in configs])
    assert len(groups) == 2
    for group, protocol in zip(groups, ("paper", "authors"), strict=True):
        assert f"protocol = {protocol}" in group.heading
        assert {config.protocol for config in group.trained} == {protocol}
        assert "data.aux_order" in group.heading
        # The references do not depend on the protocol: one run each, shown in both groups.
        assert set(group.labels("cifar10")) == {"dino", "imgn", "untrained", "image-statistics"}
        assert all(group.records("cifar10", label) for label in group.labels("cifar10"))


def test_conflicting_images_never_share_a_group():
    dino, imgn, rot = (config(variant=name) for name in ("dino", "imgn", "rot-imgn"))
    of_imgn, of_rot = record_of(imgn, prints={"imagenet/aux": "one"}), record_of(rot, prints={"imagenet/aux": "two"})
    first, second = groups = group_runs([dino, imgn, rot], [record_of(dino), of_imgn, of_rot])
    assert "imagenet/aux" in first.heading and "imagenet/aux" in second.heading
    assert "cifar10/train" not in first.heading
    held = [{label for label in group.labels("cifar10") if group.records("cifar10", label)} for group in groups]
    assert held == [{"dino", "imgn"}, {"dino", "rot-imgn"}]  # DINO reads no auxiliary images: it agrees with both
    for group in groups:
        seen: dict[str, set[str]] = {}
        for run in group.runs:
            for key, image_set in run.record.data.items() if run.record else ():
                seen.setdefault(key, set()).add(image_set.fingerprint)
        assert all(len(prints) == 1 for prints in seen.values())


def test_the_same_recipe_on_other_images_is_another_group():
    dino = config(variant="dino")
    records = [record_of(dino), record_of(dino, prints={"svhn/test": "other"})]
    groups = group_runs([dino], records)
    assert len(groups) == 2 and all("svhn/test" in group.heading for group in groups)


def test_records_of_other_sweeps_are_left_out():
    (group,) = group_runs([config(variant="dino")], [record_of(config(variant="imgn"))])
    assert group.heading == "" and not any(run.record for run in group.runs)
