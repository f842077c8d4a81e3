"""The figure of training, and reports of runs that score no OOD set."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from report_fakes import config, make, record_of, write_runs, write_sweep
from scipy import stats

from benchmark.advise.recommend import recommend
from benchmark.errors import BenchError
from benchmark.report.figures.files import figure_of
from benchmark.report.figures.style import style_of
from benchmark.report.figures.training import curves, on_the_way, panels, training
from benchmark.report.grouping import group_runs
from benchmark.report.page.charts import training_charts
from benchmark.store.records import IntermediateMeasures

SETS = ["svhn", "cifar100", "texture"]
VALUE = {"svhn": 90.0, "cifar100": 60.0, "texture": 75.0}


def at(c, epoch, **fields):
    """A look whose numbers tell epoch, seed and set."""
    up = epoch / 10 + c.seed
    given = {"ood": {ood: VALUE[ood] + up for ood in SETS}, "knn_accuracy": {"20": 40 + up, "10": 1.0},
             "sensitivity": 50.0, "occupancy": {"paper": 300 - up, "authors": 7, "classes": 4096}}  # fmt: skip
    return IntermediateMeasures(epoch=epoch, **(given | fields))


def scored(c, epochs=(10, 20), **fields):
    seen = [at(c, epoch) for epoch in epochs] if c.method.name == "dino" else []
    return record_of(c, lambda c, ood: VALUE[ood] + 5 + c.seed, trajectory=seen,
                     knn_accuracy={"20": 45.0 + c.seed, "10": 1.0}, **fields)  # fmt: skip


def configs(variants=("dino", "imgn"), seeds=(0, 1), references=True, **fields):
    fields = {"eval": {"ood": SETS}, "train": {"epochs": 50}} | fields
    named = [config(method={"name": name}, **fields) for name in ("untrained", "image-statistics") if references]
    return [config(variant=v, seed=s, **fields) for v in variants for s in seeds] + named


def group_of(chosen, make=scored):
    (group,) = group_runs(chosen, [make(c) for c in chosen])
    return group


def drawn(group):
    picture = training(group, "cifar10")
    assert picture is not None
    return figure_of(picture)


def test_a_run_ends_where_its_record_does():
    chosen = configs(["dino"], [0], references=False)
    seen = on_the_way(group_of(chosen, lambda c: scored(c, epochs=(20, 10), sensitivity=61.0)), "cifar10")
    assert sorted(set(seen["epoch"])) == [10, 20, 50]
    end = seen[seen["epoch"] == 50].set_index(["metric", "ood"])["value"]
    assert end["auroc"].to_dict() == {ood: VALUE[ood] + 5 for ood in SETS} and list(end["sensitivity"]) == [61.0]
    assert on_the_way(group_of(chosen, lambda c: scored(c, epochs=())), "cifar10").empty  # at the end alone: no line


def test_lines_are_means_over_seeds_at_the_epochs_that_all_have():
    group = group_of(configs(), lambda c: scored(c, (10, 20) if c.seed else (5, 10, 20)))
    shown = {title: curves(values) for title, values in panels(group, "cifar10").items()}
    assert list(shown) == ["average AUROC over 3 OOD sets, %", "AUROC on CIFAR100, %", "k-NN accuracy (k = 20), %",
                           "occupied soft classes"]  # fmt: skip
    average, near, accuracy, occupied = ({e: v for e, v in of["imgn"]} for of in shown.values())
    assert list(average) == list(near) == list(accuracy) == list(occupied) == [10, 20, 50]
    half = stats.t.ppf(0.975, 1) * 0.5  # two seeds that are 1 apart
    for epoch, up in ((10, 1.0), (20, 2.0), (50, 5.0)):
        assert average[epoch].mean == pytest.approx((90 + 60 + 75) / 3 + up + 0.5)
        assert near[epoch].mean == pytest.approx(60 + up + 0.5) and near[epoch].half == pytest.approx(half)
        assert accuracy[epoch].mean == pytest.approx(40 + up + 0.5) and accuracy[epoch].n == 2
    assert occupied[20].mean == pytest.approx(300 - 2 - 0.5)


def test_the_average_is_over_the_sets_that_every_look_has():
    def make(c):
        short = [at(c, 10), at(c, 20, ood={"svhn": 91.0, "cifar100": 61.0})]
        return scored(c).model_copy(update={"trajectory": short} if c.variant == "imgn" else {})

    group = group_of(configs(seeds=[0]), make)
    title, values = next(iter(panels(group, "cifar10").items()))
    assert title == "average AUROC over 2 OOD sets, %"
    assert [v.mean for _, v in curves(values)["dino"]] == pytest.approx([76, 77, 80])


def test_the_figure_has_a_line_a_variant_bands_and_dotted_references():
    figure = drawn(group_of(configs()))
    first = figure.axes[0]
    solid = [line for line in first.get_lines() if line.get_linestyle() == "-"]
    dotted = [line for line in first.get_lines() if line.get_linestyle() == ":"]
    assert [list(line.get_xdata()) for line in solid] == [[10, 20, 50]] * 2 and len(dotted) == 2
    assert [line.get_color() for line in solid] == [style_of(label)[0] for label in ("dino", "imgn")]
    band = first.collections[0].get_paths()[0].get_extents()
    half = stats.t.ppf(0.975, 1) * 0.5
    assert (band.y0, band.y1) == pytest.approx((76.5 - half, 80.5 + half))
    assert "2 runs per variant; bands: 95% Student-t" in figure.get_suptitle()
    single = drawn(group_of(configs(seeds=[0])))
    assert not single.axes[0].collections and "bands" not in single.get_suptitle()


def test_without_ood_sets_the_figure_has_accuracy_and_occupancy():
    group = group_of(configs(eval={"ood": []}), lambda c: scored(c).model_copy(
        update={"trajectory": [at(c, 10, ood={})] if c.method.name == "dino" else []}))  # fmt: skip
    figure = drawn(group)
    assert [bool(axes.get_lines()) for axes in figure.axes] == [False, False, True, True]
    assert [axes.get_title(loc="left") for axes in figure.axes][:2] == [
        "(a) AUROC: no OOD set",
        "(b) AUROC: no near OOD set",
    ]


def test_the_figure_is_written_where_there_is_something_to_show(place: Path):
    sweep = write_sweep(place, variant=["dino", "imgn"], seed=[0, 1],
                        extra=f"base: {{eval: {{ood: [{', '.join(SETS)}]}}, train: {{epochs: 50}}}}")  # fmt: skip
    write_runs(Path("results"), sweep, scored)
    names, _ = make(place, figures=["training"], sweep=sweep)
    assert names == ["table2/figure-training.png", "table2/figure-training.svg"]
    make(place, page=True, sweep=sweep)
    page = (place / "reports/table2/page.html").read_text()
    assert "average AUROC over 3 OOD sets, %" in page and "scored while it trained" in page


def test_without_looks_it_is_left_out_of_all_and_one_line_when_asked_for(place: Path):
    sweep = write_sweep(place, variant=["dino", "imgn"])
    write_runs(Path("results"), sweep)
    names, _ = make(place, everything=True, sweep=sweep)
    assert "table2/figure2.png" in names and not any("training" in name for name in names)
    with pytest.raises(BenchError, match=r"figure training: no run of table2 .* eval\.every") as caught:
        make(place, figures=["training"], sweep=sweep)
    assert "\n" not in str(caught.value)


def test_everything_is_reported_of_runs_without_ood_sets(place: Path):
    extra = "base: {eval: {ood: []}}\nreferences: [untrained, image-statistics]"
    sweep = write_sweep(place, variant=["dino", "imgn", "rot-imgn"], extra=extra)
    write_runs(Path("results"), sweep, lambda c: record_of(c, sensitivity=60.0 + len(c.variant)))
    names, said = make(place, everything=True, page=True, sweep=sweep)
    assert {"table2/table2.md", "table2/figure2.png", "table2/figure3.svg", "table2/page.html"} <= set(names)
    for name in ("table1", "table2"):
        text = (place / f"reports/table2/{name}.md").read_text()
        (row,) = [line for line in text.splitlines() if line[:1] == "|" and "AUROC: not measured" in line]
        assert row.count("—") == 5
        assert "score no OOD set (eval.ood: []): no AUROC is measured" in text
    assert "k-NN accuracy, k=20" in said and "None is judged: the paper's claims are about" in " ".join(said.split())
    (ranking,) = recommend(sweep, Path("results"), Path("results")).rankings
    assert [each.label for each in ranking.places] == ["rot-imgn", "dino", "imgn"]
    assert ranking.trial is None and ranking.columns == () and all(math.isfinite(each.half) for each in ranking.places)


def test_the_dotted_lines_and_the_pages_curves_are_at_their_values():
    group = group_of(configs())
    figure = drawn(group)
    dotted = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == ":"]
    assert [set(line.get_ydata()) for line in dotted] == [{(90 + 60 + 75) / 3 + 5}] * 2
    text = "".join(chart["svg"] for block in training_charts(group, "cifar10") for chart in block.charts)
    for said in ("average AUROC over 3 OOD sets, %: 76.500 at first, 80.500", "k-NN accuracy (k = 20), %: 41.500 at"):
        for title in ("DINO", "ImgN"):  # the mean of two seeds 1 apart, after 10 epochs and at the end
            assert f'data-tip="{title}\n{said}' in text
