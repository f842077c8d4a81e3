"""`bench report` of a one-class sweep: which items it makes, the files, the figure and the page."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import report_fakes
from one_class_fakes import CIFAR10, TRANSLATION, everything, group_of, level, one_record, run, runs, write_sweep
from page_fakes import rendered
from report_fakes import make, record_of, write_runs

from benchmark.data.catalog import info
from benchmark.errors import BenchError
from benchmark.report import build
from benchmark.report.figures import files, one_class
from benchmark.report.figures.style import STYLES
from benchmark.report.intervals import estimate
from benchmark.report.page.charts import class_charts
from benchmark.report.published import one_class as published

LABELS = ["dino", "rot-in-dist", "rot-dti"]


OF_CLASSES = [f"mine/{name}" for name in ("table-one-class.md", "table-one-class.csv", "table-one-class.tex",
              "figure-one-class.png", "figure-one-class.svg", "claims.md", "claims.csv")]  # fmt: skip


def test_everything_of_a_one_class_sweep_is_its_own_table_figure_and_claims(place):
    path = write_sweep(place, LABELS, seeds=[0, 1])
    write_runs(Path("results"), path, one_record)
    names, text = make(place, everything=True, sweep=path)
    assert names == OF_CLASSES
    assert max(map(len, text.splitlines())) <= 80
    assert "One-class protocol on CIFAR10" in text and "Table 2" not in text and "The one-class protocol: what" in text
    claims = (place / "reports/mine/claims.md").read_text()
    assert "Rot. In-Dist. negatives raise DINO's mean" in claims and "Fig. 3" not in claims
    rows = list(csv.DictReader((place / "reports/mine/table-one-class.csv").open()))
    (cell,) = [r for r in rows if (r["in_dist"], r["column"]) == ("cifar10:cat", "rot-dti")]
    assert float(cell["mean"]) == pytest.approx(sum(level(run("cat", "rot-dti", s)) for s in (0, 1)) / 2)


def test_everything_of_any_other_sweep_stays_as_it_was(place):
    path = report_fakes.write_sweep(place, variant=["dino", "imgn", "dti"], name="mine.yaml")
    write_runs(Path("results"), path)
    names, text = make(place, everything=True, sweep=path)
    stems = ["table1.md", "table1.csv", "table1.tex", "table2.md", "table2.csv", "table2.tex", "figure-variants.png",
             "figure-variants.svg", "figure2.png", "figure2.svg", "figure3.png", "figure3.svg",
             "claims.md", "claims.csv"]  # fmt: skip
    assert names == [f"mine/{stem}" for stem in stems] and "one-class" not in text.lower()


def test_everything_without_a_sweep_is_the_papers(place):
    write_runs(Path("results"), report_fakes.write_sweep(place, variant=["dino", "imgn"]))
    report_fakes.write_sweep(place, variant=["combined"], name="table1.yaml")
    names, text = make(place, everything=True)
    assert "table2/table2.md" in names and not [name for name in names if "one-class" in name]
    assert "one-class" not in text.lower()


def test_a_sweep_of_both_has_both_and_each_holds_its_own(place):
    sweep = write_sweep(place, ["dino", "rot-in-dist"])
    text = sweep.read_text().replace("in_dist: [", "in_dist: [cifar10, ")
    sweep.write_text(text)
    write_runs(Path("results"), sweep, lambda c: one_record(c) if ":" in c.in_dist else record_of(c))
    names, text = make(place, everything=True, sweep=sweep)
    assert {"mine/table2.md", "mine/table-one-class.md", "mine/figure2.png", "mine/figure-one-class.png"} <= {*names}
    assert "cifar10:" not in (place / "reports/mine/table2.md").read_text()
    claims = (place / "reports/mine/claims.md").read_text()
    assert "Rot. ImgN beats ImgN on average" in claims and "negatives raise DINO's mean" in claims


def test_the_other_tables_are_still_made_for_whoever_asks(place):
    path = write_sweep(place, ["dino", "imgn"], classes=["cat", "dog"])
    write_runs(Path("results"), path, one_record)
    names, text = make(place, tables=["2"], sweep=path)
    assert names[0] == "mine/table2.md" and info("cifar10:cat").title in text


def test_a_sweep_without_classes_has_no_such_table(place):
    write_runs(Path("results"), report_fakes.write_sweep(place, variant=["dino"], name="mine.yaml"))
    with pytest.raises(BenchError) as error:
        make(place, tables=["one-class"], sweep=Path("sweeps/mine.yaml"))
    assert str(error.value) == (
        "sweeps/mine.yaml: no run is trained on one class of a set (in_dist: PARENT:CLASS, with PARENT:not-CLASS in "
        "eval.ood), as the one-class protocol needs"
    )


def test_no_records_is_one_line_that_says_what_to_run(place):
    write_sweep(place, ["dino"])
    with pytest.raises(BenchError, match=r"^results: no records for sweeps/mine.yaml yet; run: bench sweep"):
        make(place, everything=True, sweep=Path("sweeps/mine.yaml"))


def test_several_sets_make_several_tables_and_figures(place):
    path = write_sweep(place, ["dino", "imgn"], classes=["a", "b"], parent="photos")
    other = write_sweep(place, ["dino", "imgn"], classes=["c", "d"], parent="toys", name="other.yaml")
    one, two = path.read_text(), other.read_text()
    extra = two.split("overrides:\n")[1]
    path.write_text(one.replace('"photos:b"]', '"photos:b", "toys:c", "toys:d"]', 1) + extra)
    write_runs(Path("results"), path, one_record)
    names, _ = make(place, everything=True, sweep=path)
    assert "mine/figure-one-class-2.png" in names
    text = (place / "reports/mine/table-one-class.md").read_text()
    assert text.count("## One-class protocol on") == 2 and "photos" in text and "toys" in text
    claims = (place / "reports/mine/claims.md").read_text()
    assert "### photos" in claims and "### toys" in claims


# --- the figure -------------------------------------------------------------------------------------------------------


def drawn(group):
    return files.figure_of(one_class.one_class(group, "cifar10"))


def of_class(group, column, name: str) -> list[float]:
    """A column's AUROC of each seed for one class."""
    cases = [case for case in group.cases("cifar10") if case.in_dist == f"cifar10:{name}"]
    return list(group.mean(cases).seeds(column.key).values())


def on_the_page(group) -> str:
    return rendered("charts", class_charts(group))


def points(axes) -> list[tuple[str, str, float, float]]:
    """(marker, face, x, y) of every lone point."""
    return [(line.get_marker(), str(line.get_markerfacecolor()), float(line.get_xdata()[0]), float(line.get_ydata()[0]))
            for line in axes.get_lines() if len(line.get_xdata()) == 1 and line.get_marker() not in ("None", "_")
           ]  # fmt: skip


def test_the_figure_has_a_dot_a_class_and_method_and_published_values_open():
    group = group_of(everything())
    figure = drawn(group)
    classes, means = figure.get_axes()
    found = points(classes)
    ours = [point for point in found if point[1] != "none"]
    assert len(ours) == 10 * len(group.columns())
    for column in group.columns():
        for place, name in enumerate(CIFAR10):
            mean = np.mean(of_class(group, column, name))
            assert any(y == pytest.approx(mean) and abs(x - place) < 0.5 for _, _, x, y in ours), (column.key, name)
    papers = sorted((round(x), y) for _, face, x, y in found if face == "none")
    assert papers == sorted((CIFAR10.index(name), value) for (_, name), value in published.VALUES.items())
    assert sorted(y for _, face, _, y in points(means) if face == "none") == [88.4, 89.8]
    bars = [sorted(line.get_ydata()) for line in means.get_lines() if len(line.get_xdata()) == 2
            and line.get_color() == STYLES["rotation"][0] and line.get_marker() in (None, "None")]  # fmt: skip
    mean = estimate(list(group.mean(group.cases("cifar10")).seeds(group.columns()[0].key).values()))
    assert [pytest.approx([mean.mean - mean.half, mean.mean + mean.half])] == bars
    texts = " ".join(text.get_text() for text in means.texts)
    assert all(f"{name} {value:.1f}" in texts for name, value in published.MEANS_ALONE.items())


def test_no_two_methods_share_place_and_look():
    configs = [*everything(), *runs(["dino", "rotation", TRANSLATION, "untrained"], model={"backbone": "resnet18"})]
    slots = [dot for _, dot in one_class.slots(group_of(configs))]
    assert len({slot.x for slot in slots}) == len(slots)
    assert len({(slot.colour, slot.shape) for slot in slots}) == len(slots)
    assert max(abs(slot.x) for slot in slots) < 0.5
    ((classes, _),) = one_class.one_class(group_of(configs), "cifar10").rows
    shown = [dot.label for dot in classes.dots if dot.published is not None and round(dot.x) == 3]
    assert sorted(shown) == ["rotation", TRANSLATION]  # once each, though there are two recipes of both


def test_a_class_has_a_bar_over_the_range_of_its_seeds():
    values = {0: 81.0, 1: 84.0, 2: 89.5}
    group = group_of(runs(["rotation"], ["cat", "dog"], values), lambda c: one_record(c, lambda c: values[c.seed]))
    classes = drawn(group).get_axes()[0]
    bars = [sorted(line.get_ydata()) for line in classes.get_lines() if len(line.get_xdata()) == 2
            and line.get_color() == STYLES["rotation"][0] and line.get_marker() in (None, "None")]  # fmt: skip
    assert bars == [[81.0, 89.5]] * 2


def test_a_mean_over_fewer_classes_is_named_in_the_figure():
    gone = lambda c: None if (c.label, c.in_dist) == ("dino", "cifar10:frog") else one_record(c)  # noqa: E731
    group = group_of(runs(["dino", "rotation"]), gone)
    titles = [key.title for key in one_class.one_class(group, "cifar10").keys]
    assert titles[:2] == ["rotation", "DINO (mean of 9)"] and "DINO (mean of 9)" in on_the_page(group)
    few = group_of(runs(["rotation"], ["cat", "dog"]))
    ((_, means),) = one_class.one_class(few, "cifar10").rows
    assert [dot.published for dot in means.dots] == [None]


def test_published_methods_without_a_column_have_a_place_in_the_figure():
    assert [(column.label, column.is_quoted) for column, _ in one_class.slots(group_of(runs(["dino"])))] == [
        ("rotation", True), ("rotation-translation", True), ("dino", False),
    ]  # fmt: skip
    own = one_class.slots(group_of(runs(["dino"], ["a", "b"], parent="own")))
    assert [column.label for column, _ in own] == ["dino"]


def test_the_figure_is_the_same_every_time_and_drawn_of_whatever_there_is():
    group = group_of(runs(["dino"], ["cat", "dog"]))
    first, second = (files.content(one_class.one_class(group, "cifar10"), "key") for _ in range(2))
    assert first == second
    nothing = group_of(runs(["dino"], ["a"], parent="own"), lambda c: None)
    assert files.content(one_class.one_class(nothing, "own"))["svg"]


def test_the_figure_is_drawn_again_when_a_number_changes(place):
    path = write_sweep(place, ["dino"], classes=["cat", "dog"])
    (record, *_) = write_runs(Path("results"), path, one_record)
    make(place, figures=["one-class"], sweep=path)
    svg = place / "reports/mine/figure-one-class.svg"
    before, stamp = svg.read_bytes(), svg.stat().st_mtime_ns
    make(place, figures=["one-class"], sweep=path)
    assert svg.stat().st_mtime_ns == stamp
    file = next(Path("results").glob(f"{record.name}/record.json"))
    raw = json.loads(file.read_text())
    for one in raw["scores"][raw["own"]]["ood"].values():
        one["auroc"] = 12.5
    file.write_text(json.dumps(raw))
    make(place, figures=["one-class"], sweep=path)
    assert svg.read_bytes() != before


# --- the page ---------------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """Attributes of every element by name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_has_the_table_the_figure_and_the_claims(place):
    path = write_sweep(place, LABELS, seeds=[0, 1])
    write_runs(Path("results"), path, one_record)
    names, _ = make(place, page=True, sweep=path)
    assert names == ["mine/page.html"]
    text = (place / "reports/mine/page.html").read_text()
    elements = Cells(text).found
    ids = [attrs["id"] for tag, attrs in elements if tag == "section"]
    assert ids == [f"{key}-0" for key in ("table-one-class", "figure-one-class", "training", "claims", "scores",
                                          "provenance")]  # fmt: skip
    group = group_of([c.config for c in build.sweeps.load(path).runs])
    shown = [
        (attrs.get("data-v"), float(attrs["data-n"])) for tag, attrs in elements if tag == "td" and "data-n" in attrs
    ]
    tips = [attrs.get("data-tip") or "" for _, attrs in elements if "mark" in (attrs.get("class") or "").split()]
    for column in group.columns():
        for name in CIFAR10:
            mean = np.mean(of_class(group, column, name))
            assert sum(label == column.label and number == pytest.approx(mean) for label, number in shown) >= 2
            assert any(f"{column.title}, {name}\n" in tip and f"{mean:.2f}" in tip for tip in tips), (column, name)
    assert any("rotation, cat\npublished 80.8" in tip for tip in tips)
    assert "Rot. In-Dist. negatives raise DINO" in text and "Combined beats Rot. In-Dist." not in text
    assert "aux, made with labels" in text and "CSI (publ.)" in text


def test_recipes_of_one_label_are_apart_on_the_page_too():
    configs = [*runs(["dino"], ["cat"]), *runs(["dino"], ["cat"], train={"epochs": 40}), *runs(["rotation"], ["cat"])]
    titles = [column.title for column in group_of(configs).columns()]
    assert len(titles) == 3 and titles[0] != titles[1] and all(f"{title}, cat\n" in on_the_page(group_of(configs))
                                                              for title in titles)  # fmt: skip


def test_the_pages_means_stand_in_the_methods_order():
    group = group_of(runs(["rotation", "dino", "rot-imgn"], seeds=(0, 1)))
    ours = {column.title for column in group.columns()}
    places = {title: x for title, where, x, _ in marks_of(group) if where == "mean" and title in ours}
    assert sorted(places, key=lambda title: places[title]) == ["rotation", "DINO", "Rot. ImgN"]


def marks_of(group) -> list[tuple[str, str, float, float]]:
    """Method, class, and where on the page the dot of its mean stands."""
    pattern = r'data-tip="([^"\n]*), ([^"\n]*)\n[^"]*"[^>]*><path d="[^"]*" transform="translate\(([\d.]+) ([\d.]+)\)"'
    return [(title, where, float(x), float(y)) for title, where, x, y in re.findall(pattern, on_the_page(group))]


def test_a_page_of_nothing_measured_says_so():
    group = group_of(runs(["dino"], ["a"], parent="own"), lambda c: None)
    assert "Not measured yet" in on_the_page(group)


def test_the_pages_dots_stand_at_the_means():
    group = group_of(everything())
    column = next(c for c in group.columns() if c.label == "dino")
    means = {name: float(np.mean(of_class(group, column, name))) for name in CIFAR10}
    means["mean"] = float(np.mean(list(group.mean(group.cases("cifar10")).seeds(column.key).values())))
    heights = [(means[where], y) for title, where, _, y in marks_of(group) if title == column.title]
    assert len(heights) == 11  # ten classes and the mean
    slope, at_zero = np.polyfit(*zip(*heights, strict=True), 1)
    assert slope < 0 and all(abs(at_zero + slope * mean - y) < 0.15 for mean, y in heights)
    view = [float(v) for v in re.search(r'viewBox="([\d. ]+)"', on_the_page(group))[1].split()]
    assert all(0 < x < view[2] and 0 < y < view[3] for _, _, x, y in marks_of(group))


def test_a_method_with_one_run_is_pale_and_one_with_several_has_its_interval():
    group = group_of([*runs(["rotation"], seeds=(0, 1, 2)), *runs(["dino"])])
    picture = one_class.one_class(group, "cifar10")
    assert "1-3 runs" in picture.heading and "pale: n = 1" in picture.heading
    classes = files.figure_of(picture).get_axes()[0]
    faces = {line.get_color(): line.get_markerfacecolor() for line in classes.get_lines()
             if len(line.get_xdata()) == 1 and line.get_marker() not in ("None", "_") and
             str(line.get_markerfacecolor()) != "none"}  # fmt: skip
    rotation, dino = STYLES["rotation"][0], STYLES["dino"][0]
    assert faces == {rotation: rotation, dino: (dino, 0.35)}
