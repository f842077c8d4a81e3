"""Single numbers of the page: bold, intervals, the order of detectors, histograms, figures and summaries."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from one_class_fakes import group_of as classes_of
from one_class_fakes import runs, table_of
from page_fakes import write_everything, write_page
from report_fakes import config, record_of, with_own

from benchmark.report.claims.text import Claim
from benchmark.report.grouping import group_runs
from benchmark.report.groups import Run
from benchmark.report.page import compose, provenance, scores
from benchmark.report.published.sets import value
from benchmark.report.tables import auroc as tables

LABELS = ["dino", "rot-imgn", "combined"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of three variants, whose second seeds are 1.25 below the published values and the first on them."""
    place = tmp_path_factory.mktemp("page")
    return write_page(place, write_everything(place, LABELS, [0, 1])).read_text()


def test_the_best_trained_cell_is_bold_and_no_other(text: str) -> None:
    table = text[text.index('id="table-2-0"') : text.index('id="figures-0"')]
    for name, key in (("CIFAR100", "cifar100"), ("SVHN", "svhn"), ("Texture", "texture")):
        pattern = rf'<td data-v="([\w-]+)"[^>]*data-tip="[^",]+, {name}\n[^"]*">(<b>|<span>)'
        found = {label: mark for label, mark in re.findall(pattern, table)}
        best = max(LABELS, key=lambda label: value("cifar10", key, label) or 0.0)
        assert {label for label, mark in found.items() if mark == "<b>"} == {best}, name
        assert found.keys() > set(LABELS)  # the references are there too


def test_a_cells_tip_has_the_whole_interval(text: str) -> None:
    """Student's t of two values 1.25 apart: 12.706 x 1.25 / 2 either way."""
    mean = 99.69 - 0.625
    low, high = re.findall(r'data-tip="Rot\. ImgN, SVHN\n[^"]*interval ([\d.]+) to ([\d.]+)', text)[0]
    assert (float(low), float(high)) == pytest.approx((mean - 7.941, mean + 7.941), abs=0.006)


def test_the_best_detector_is_shown_first(text: str) -> None:
    assert re.findall(r'<option value="cifar10 ([\w-]+)" selected', text) == ["combined"]
    blocks = re.findall(r'data-block="cifar10 ([\w-]+)"( hidden)?', text)
    assert [label for label, hidden in blocks] == ["combined", "rot-imgn", "dino", "untrained", "image-statistics"]
    assert [label for label, hidden in blocks if not hidden] == ["combined"]


def test_a_point_of_figure_3_has_its_auroc_across_and_its_measure_up(text: str) -> None:
    pattern = r'data-tip="Combined\nAUROC \(%\), CIFAR100 ([\d.]+) ± ([\d.]+) \(n = 2\)\nSensitivity, % ([\d.]+)'
    ((auroc, half, sensitivity),) = re.findall(pattern, text)
    assert float(auroc) == pytest.approx(94.20 - 0.625, abs=0.006) and float(half) == pytest.approx(7.94, abs=0.006)
    assert float(sensitivity) == pytest.approx(100 - (94.20 - 0.625) / 2, abs=0.006)


def test_images_that_were_read_stand_before_those_that_there_are(text: str) -> None:
    assert re.findall(r'SVHN test</th><td class="number">([\d,]+)</td><td class="number">([\d,]+)</td>', text) == [
        ("50", "100")
    ]


def test_a_histogram_has_the_test_images_and_the_ood_set_each_in_its_own_place(tmp_path: Path) -> None:
    one = config(variant="dino", eval={"ood": ["svhn"]})
    record = record_of(one)
    svhn = record.own_score.ood["svhn"].model_copy(update={"n_id": 40, "n_ood": 1200})
    run = Run(one, one.recipe_id(), with_own(record, ood={"svhn": svhn}))
    found = {"cifar10/test:eq6": np.linspace(0.0, 0.1, 40), "svhn/test:eq6": np.linspace(0.9, 1.0, 1200)}
    block = scores._block("cifar10 dino", run, found, scores.Thumbnails(tmp_path, 0))
    (card,) = block["cards"]
    assert card["facts"].endswith("40 against 1,200 images")
    tops = {}
    for path, colour in re.findall(r'<path d="M([^"]*)" fill="var\(--(blue|vermilion)\)"', str(card["svg"])):
        points = [tuple(map(float, point.split())) for point in re.split("[LZz]", path) if point]
        low, high = min(x for x, _ in points), max(x for x, _ in points)
        ground = max(y for _, y in points)
        tops[colour] = [min(y for x, y in points if x == end) < ground for end in (low, high)]
    assert tops == {"blue": [True, False], "vermilion": [False, True]}


VERDICTS = [Claim(f"claim {number}", "", verdict) for number, verdict in enumerate(
    ["holds"] * 3 + ["fails"] * 2 + ["not judged"] + ["unclear"] * 4)]  # fmt: skip
COUNTED = ("3 of 10 hold", "4 unclear, 2 fail, 1 could not be judged")


def test_what_is_said_first_of_whole_sets() -> None:
    configs = [config(variant=label, seed=seed) for label in LABELS for seed in (0, 1)]
    configs += [configs[0].reference(name) for name in ("untrained", "image-statistics")]
    ours = {"dino": 70.0, "rot-imgn": 81.0, "combined": 80.0, "untrained": 90.0, "image-statistics": 55.0}
    records = [record_of(one, lambda c, ood: ours[c.label] + c.seed) for one in configs[1:]]
    (group,) = group_runs(configs, records)
    assert compose.summary(group, tables.table2(group), VERDICTS) == [
        ("Runs done", "7 of 8", ""),
        ("Best average AUROC (8 OOD sets)", "81.50", "Rot. ImgN"),
        ("Reference averages", "90.00 · 55.00", "untrained · image statistics"),
        ("The paper's claims", *COUNTED),
    ]


def test_what_is_said_first_of_classes() -> None:
    ours = {"rotation": 84.0, "dino": 64.0, "untrained": 90.0}
    configs = runs(ours, seeds=(0, 1))

    def made(one):
        return record_of(one, lambda c, ood: ours[c.label] + c.seed)

    assert compose.summary(classes_of(configs, made), [table_of(configs, made)], VERDICTS) == [
        ("Protocol", "one class", "of CIFAR10 against its others"),
        ("Runs done", "50 of 50", ""),
        ("Best mean AUROC (10 classes)", "84.5", "rotation"),
        ("Reference means", "90.0", "untrained"),
        ("Claims", *COUNTED),
    ]


def test_a_point_of_figure_2_has_its_auroc_across_and_its_classes_up(text: str) -> None:
    pattern = r'data-tip="Combined\nAUROC \(%\), CIFAR100 ([\d.]+) ± [\d.]+ \(n = 2\)\noccupied soft classes ([\d.]+)'
    ((auroc, occupied),) = re.findall(pattern, text)
    assert float(auroc) == pytest.approx(94.20 - 0.625, abs=0.006)
    assert float(occupied) == pytest.approx(3000 - 10 * (94.20 - 0.625), abs=0.06)


def test_others_systems_have_their_published_values_to_read_and_to_sort_by(text: str) -> None:
    pattern = r'<td data-v="CSI" data-n="([\d.]+)" data-tip="[^",]+, [^"\n]*SVHN\n[^"]*"><span class="rival">([\d.]+)<'
    assert set(re.findall(pattern, text)) == {("99.8", "99.80")}


def test_the_seconds_of_a_run_are_all_of_them() -> None:
    one = config(variant="dino")
    record = record_of(one, timings={"features": 12.5, "score": 3.2, "train": 100.4})
    assert provenance.run_facts(Run(one, one.recipe_id(), record), [])["facts"].endswith(" · 116 s")
