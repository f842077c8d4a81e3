"""Single numbers of the page: bold, intervals, the order of detectors, histograms, figures and summaries."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from one_class_fakes import group_of as classes_of
from one_class_fakes import runs, table_of
from page_fakes import write_everything, write_page
from report_fakes import config, record_of

from benchmark.report import one_class_page, page, page_provenance, page_scores, tables
from benchmark.report.claims_text import Claim
from benchmark.report.groups import Run, group_runs
from benchmark.report.published.sets import value

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
    svhn = record.ood["svhn"].model_copy(update={"n_id": 40, "n_ood": 1200})
    run = Run(one, one.recipe_id(), record.model_copy(update={"ood": {"svhn": svhn}}))
    scores = {"cifar10/test": np.linspace(0.0, 0.1, 40), "svhn/test": np.linspace(0.9, 1.0, 1200)}
    block = str(page_scores._score_block(run, scores, page_scores.Thumbnails(tmp_path, 0)))
    assert "40 against 1,200 images" in block
    empty = "118.0"  # the height of a bin without an image
    ends = {}
    for kind, path in re.findall(r'd="M8\.0,118([^"]*)V118" class="steps (id|ood)"', block):
        heights = re.findall(r"V([\d.]+)", kind)
        ends[path] = (heights[0] == empty, heights[-1] == empty)
    assert ends == {"id": (False, True), "ood": (True, False)}


VERDICTS = [Claim(f"claim {number}", "", verdict) for number, verdict in enumerate(
    ["holds"] * 3 + ["fails"] * 2 + ["not measured"])]  # fmt: skip
COUNTED = "<dt>{}</dt><dd>3 of 6 hold<small>2 fail, 1 not measured</small></dd>"


def test_what_is_said_first_of_whole_sets() -> None:
    configs = [config(variant=label, seed=seed) for label in LABELS for seed in (0, 1)]
    configs += [configs[0].reference(name) for name in ("untrained", "image-statistics")]
    ours = {"dino": 70.0, "rot-imgn": 81.0, "combined": 80.0, "untrained": 90.0, "image-statistics": 55.0}
    records = [record_of(one, lambda c, ood: ours[c.label] + c.seed) for one in configs[1:]]
    (group,) = group_runs(configs, records)
    said = str(page._summary(group, tables.table2(group), VERDICTS))
    assert "<dt>Runs done</dt><dd>7 of 8</dd>" in said
    assert "<dt>Best average AUROC (8 OOD sets)</dt><dd>81.50<small>Rot. ImgN</small></dd>" in said
    assert "<dd>90.00 · 55.00<small>untrained · image statistics</small></dd>" in said
    assert COUNTED.format("The paper&#x27;s claims") in said


def test_what_is_said_first_of_classes() -> None:
    ours = {"rotation": 84.0, "dino": 64.0, "untrained": 90.0}
    configs = runs(ours, seeds=(0, 1))

    def made(one):
        return record_of(one, lambda c, ood: ours[c.label] + c.seed)

    said = str(one_class_page.summary(classes_of(configs, made), table_of(configs, made), VERDICTS))
    assert "<dt>Runs done</dt><dd>50 of 50</dd>" in said
    assert "<dt>Best mean AUROC (10 classes)</dt><dd>84.5<small>rotation</small></dd>" in said
    assert "<dt>Reference means</dt><dd>90.0<small>untrained</small></dd>" in said
    assert COUNTED.format("Claims") in said


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
    assert " · 116 s" in str(page_provenance._run(Run(one, one.recipe_id(), record), []))
