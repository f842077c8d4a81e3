"""Figures 2 and 3: which points they show, their correlations, and that their bytes never change."""

from __future__ import annotations

import re
import warnings

import pytest
from report_fakes import VARIANTS10, config, paper_auroc, record_of
from scipy import stats

from benchmark.negatives import OURS, VARIANTS
from benchmark.report import charts, figures
from benchmark.report.groups import Group, group_runs, title_of
from benchmark.report.intervals import Estimate


def group_of(configs, make=record_of) -> Group:
    (group,) = group_runs(configs, [make(c) for c in configs])
    return group


def all_configs(**fields):
    references = [config(method={"name": name}, **fields) for name in ("untrained", "image-statistics")]
    return [config(variant=name, **fields) for name in VARIANTS] + references


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title(loc="left")]


def drawn(axes) -> set[tuple[float, float]]:
    """The places of the markers (error bars have none)."""
    return {
        (round(float(line.get_xdata()[0]), 6), round(float(line.get_ydata()[0]), 6))
        for line in axes.get_lines()
        if line.get_marker() not in ("", "None", None) and len(line.get_xdata()) == 1
    }


def test_styles_are_distinct_and_cover_every_column():
    others = {"rotation", "rotation-translation", "simclr", "csi", "untrained", "image-statistics"}
    others |= {"dino-bg-remove", "dino-bg-random", *(f"simclr-bg-{kind}" for kind in ("remove", "random", "swaps"))}
    assert set(figures.STYLES) == {*VARIANTS, *OURS, *others}
    assert len(set(figures.STYLES.values())) == len(figures.STYLES)


def test_figure3_shows_every_variant_once_and_its_correlation():
    sensitivity = {name: 50 + 3 * (i % 4) for i, name in enumerate([*VARIANTS, "none"])}
    group = group_of(all_configs(), lambda c: record_of(c, sensitivity=float(sensitivity[c.variant])))
    shown = panels(figures.figure3(group, "cifar10"))
    assert len(shown) == 4
    for axes, ood in ((shown[2], "cifar100"), (shown[3], "texture")):
        xs = [paper_auroc(config(variant=name), ood) for name in VARIANTS]
        ys = [sensitivity[name] for name in VARIANTS]
        assert {(round(x, 6), y) for x, y in zip(xs, ys, strict=True)} == drawn(axes)
        r = stats.pearsonr(xs, ys)
        low, high = r.confidence_interval(0.95)
        rho = stats.spearmanr(xs, ys).statistic
        assert f"r = {r.statistic:.2f} [{low:.2f}, {high:.2f}], ρ = {rho:.2f}, n = 11" in axes.get_title(loc="left")
        assert "off the axes: untrained (60.0" in axes.get_xlabel()  # far from the variants


def test_a_reference_near_the_variants_is_drawn_hollow_and_not_counted():
    auroc = lambda c, ood: paper_auroc(c, ood) if c.variant != "none" else 90.0  # noqa: E731
    group = group_of(all_configs(), lambda c: record_of(c, auroc))
    axes = panels(figures.figure3(group, "cifar10"))[0]
    assert "n = 11" in axes.get_title(loc="left") and "off the axes" not in axes.get_xlabel()
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "none"]
    assert len(hollow) == 2


def test_several_seeds_make_one_point_with_error_bars():
    configs = [config(variant=name, seed=seed) for name in ("dino", "imgn", "dti") for seed in (0, 1)]
    group = group_of(configs, lambda c: record_of(c, lambda c, ood: paper_auroc(c, ood) + c.seed))
    axes = panels(figures.figure3(group, "cifar10"))[0]
    assert len(drawn(axes)) == 3
    points = figures.variant_points(group, "cifar10", lambda r: r.ood["cifar100"].auroc, lambda r: r.sensitivity)
    x, y = points["dino"]
    assert (x.mean, x.n, y.n) == (pytest.approx(90.79), 2, 2)
    assert x.half == pytest.approx(stats.t.ppf(0.975, 1) * 0.5)


def test_figure2_bars_are_the_occupied_classes():
    group = group_of(all_configs())
    bars, scatter = panels(figures.figure2(group, "cifar10"))
    widths = [bar.get_width() for bar in bars.patches]
    assert widths == [pytest.approx(3000 - 10 * paper_auroc(config(variant=name), "cifar100")) for name in VARIANTS]
    assert [label.get_text() for label in bars.get_yticklabels()][:3] == ["DINO", "ImgN", "Rot. ImgN"]
    assert len(drawn(scatter)) == 11 - 1  # DTI and Rot. DTI have one published CIFAR100 between them
    assert "r = -1.00" in scatter.get_title(loc="left")


def test_the_pages_bars_leave_room_for_the_longest_name():
    value = Estimate(30.0, None, 1)
    for labels in (["dino"], ["dino", "frequencies-imgn", "simclr-bg-random"]):
        picture = str(charts.bars(dict.fromkeys(labels, value), 256, "", ""))
        for label in labels:
            [(at, name)] = re.findall(rf'<text x="([\d.]+)"[^>]*>({re.escape(title_of(label))})<', picture)
            assert float(at) - 6 * len(name) > 0  # the name ends there


def test_the_authors_protocol_counts_their_reading_of_occupancy():
    configs = [config(variant=name, protocol="authors") for name in ("dino", "imgn")]
    bars, _ = panels(figures.figure2(group_of(configs), "cifar10"))
    assert [bar.get_width() for bar in bars.patches] == [7, 7]


@pytest.mark.parametrize(
    ("in_dist", "ood", "near", "far"),
    [
        ("cifar10", ["svhn", "texture", "cifar100"], "cifar100", "texture"),
        ("cifar100", ["svhn", "cifar10", "places365"], "cifar10", "svhn"),
        (
            "synthetic",
            ["synthetic-digits", "synthetic-textures", "synthetic-near"],
            "synthetic-near",
            "synthetic-textures",
        ),
        ("cifar10", ["svhn"], None, "svhn"),
    ],
)
def test_near_and_far_sets_of_figure3(in_dist, ood, near, far):
    c = config(in_dist=in_dist, variant="dino", eval={"ood": ood})
    group = group_of([c], lambda c: record_of(c, lambda c, ood: 80.0))
    chosen = figures.near_and_far(group, in_dist)
    assert (chosen.get("near"), chosen["far"]) == (near, far)
    assert len(panels(figures.figure3(group, in_dist))) == (4 if near else 2)


def test_bytes_never_change_and_constant_input_warns_of_nothing():
    group = group_of(all_configs(), lambda c: record_of(c, lambda c, ood: 80.0))  # every correlation undefined
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again = figures.draw(figures.figure2, group, "cifar10"), figures.draw(figures.figure2, group, "cifar10")
    assert first == again
    assert set(first) == {"png", "svg"}
    assert b"<dc:date>" not in first["svg"] and first["svg"].startswith(b"<?xml")
    title = panels(figures.figure2(group, "cifar10"))[1].get_title(loc="left")
    assert "correlation undefined, n = 11" in title


def test_png_is_200_dpi(tmp_path):
    import io

    from PIL import Image

    group = group_of([config(variant=name) for name in VARIANTS10[:3]])
    image = Image.open(io.BytesIO(figures.draw(figures.figure2, group, "cifar10")["png"]))
    assert image.size == (1800, 960)
    assert round(image.info["dpi"][0]) == 200


def test_a_half_finished_sweep_draws_what_there_is():
    configs = all_configs()
    (group,) = group_runs(configs, [record_of(configs[0])])
    assert figures.draw(figures.figure3, group, "cifar10")["svg"]


def bars_of(container) -> dict[str, list[float]]:
    """The ends of an error bar's lines along x and along y."""
    ends = [segment for lines in container[2] for segment in lines.get_segments()]
    return {"x" if (one[0][1] == one[1][1]) else "y": sorted(one[:, 0] if one[0][1] == one[1][1] else one[:, 1])
            for one in ends}  # fmt: skip


def test_error_bars_are_the_whole_interval_each_along_its_own_axis():
    """Two seeds d apart: their t interval is 12.706 d / 2 either way."""
    configs = [config(variant=name, seed=seed) for name in ("dino", "imgn") for seed in (0, 1)]
    base = {"dino": 60.0, "imgn": 70.0}
    make = lambda c: record_of(c, lambda c, ood: base[c.variant] + c.seed, sensitivity=50.0 + 4 * c.seed,  # noqa: E731
                               knn_accuracy={"20": base[c.variant] - 5 + 3 * c.seed, "10": 0.0},
                               occupancy={"paper": base[c.variant] + 2 * c.seed, "classes": 4096})  # fmt: skip
    group = group_of(configs, make)
    shown = panels(figures.figure3(group, "cifar10"))
    for axes, low, apart in ((shown[0], 65.0, 3), (shown[2], 50.0, 4)):
        found = bars_of(axes.containers[1])  # ImgN's
        assert found["x"] == pytest.approx([70.5 - 6.353, 70.5 + 6.353], abs=1e-3)
        middle = low + apart / 2
        assert found["y"] == pytest.approx([middle - 6.353 * apart, middle + 6.353 * apart], abs=1e-3)
        assert (70.5, middle) in drawn(axes)
    bars = panels(figures.figure2(group, "cifar10"))[0]
    spans = [bars_of(one)["x"] for one in bars.containers if hasattr(one, "has_xerr")]
    assert spans == [pytest.approx([mean - 12.706, mean + 12.706], abs=1e-3) for mean in (61.0, 71.0)]


def test_the_dotted_line_of_figure2_is_dinos():
    group = group_of([config(variant=name) for name in ("dino", "combined", "rot-imgn")],
                     lambda c: record_of(c, occupancy={"paper": 10.0 * len(c.variant), "classes": 4096}))  # fmt: skip
    (line,) = [line for line in panels(figures.figure2(group, "cifar10"))[0].get_lines() if line.get_linestyle() == ":"]
    assert set(line.get_xdata()) == {40.0}
    picture = str(charts.bars({name: Estimate(float(v), None, 1) for name, v in (("combined", 80), ("dino", 40))},
                              None, "", ""))  # fmt: skip
    (at,) = re.findall(r'd="M([\d.]+),8V[\d.]+" class="rule dotted"', picture)
    left, width = re.findall(r'<rect x="([\d.]+)"[^>]* width="([\d.]+)"', picture)[1]
    assert float(at) == pytest.approx(float(left) + float(width), abs=0.2)


def test_the_pages_points_have_their_whole_intervals_too():
    """The places of two markers give the scale of each axis."""
    points = {"dino": (Estimate(60.0, 3.0, 2), Estimate(10.0, 2.0, 2)),
              "imgn": (Estimate(80.0, None, 1), Estimate(40.0, None, 1))}  # fmt: skip
    picture = str(charts.scatter(points, {}, "x", "y", "t"))
    marks = re.findall(r'<path d="M([\d.]+),([\d.]+)a[^"]*" class="shape"', picture)
    (x0, y0), (x1, y1) = [(float(x) + 5.5, float(y)) for x, y in marks]
    (low, high), (bottom, top) = (
        [float(end) for end in re.findall(pattern, picture)[0]]
        for pattern in (r'd="M([\d.]+),[\d.]+H([\d.]+)" class="bar"', r'd="M[\d.]+,([\d.]+)V([\d.]+)" class="bar"')
    )
    for at in (x0 - low, high - x0):
        assert at == pytest.approx(3 * (x1 - x0) / 20, abs=0.2)
    for at in (bottom - y0, y0 - top):
        assert at == pytest.approx(2 * (y0 - y1) / 30, abs=0.2)
    picture = str(charts.bars({"dino": Estimate(100.0, 25.0, 3)}, None, "", ""))
    ((left, width),) = re.findall(r'<rect x="([\d.]+)"[^>]* width="([\d.]+)"', picture)
    ((low, high),) = [[float(end) for end in one] for one in re.findall(r'd="M([\d.]+),[\d.]+H([\d.]+)" class="bar"',
                                                                        picture)]  # fmt: skip
    assert [low - float(left), high - float(left)] == pytest.approx([0.75 * float(width), 1.25 * float(width)], abs=0.2)


def test_figure2s_points_have_their_auroc_across_and_their_classes_up():
    """Not on one line: which axis is which shows in every point."""
    counted = {name: 100.0 + (7 * place) % 11 for place, name in enumerate([*VARIANTS, "none"])}
    group = group_of([config(variant=name) for name in VARIANTS],
                     lambda c: record_of(c, occupancy={"paper": counted[c.variant], "classes": 4096}))  # fmt: skip
    scatter = panels(figures.figure2(group, "cifar10"))[1]
    wanted = {(round(paper_auroc(config(variant=name), "cifar100"), 6), counted[name]) for name in VARIANTS}
    assert drawn(scatter) == wanted and scatter.get_xlabel() == "AUROC (%), CIFAR100"


def test_a_reference_that_is_far_along_one_axis_alone_is_named_below_the_pages_figure():
    near, far = Estimate(61.0, None, 1), Estimate(50.0, None, 1)
    trained = {
        name: (Estimate(x, None, 1), Estimate(y, None, 1)) for name, x, y in (("dino", 60, 10), ("imgn", 62, 12))
    }
    for pair, said in (((near, far), "(61.0, 50.0)"), ((far, Estimate(11.0, None, 1)), "(50.0, 11.0)")):
        assert f"off the axes: untrained {said}" in str(charts.scatter(trained, {"untrained": pair}, "x", "y", "t"))
    inside = str(charts.scatter(trained, {"untrained": (near, Estimate(11.0, None, 1))}, "x", "y", "t"))
    assert "off the axes" not in inside and inside.count('class="shape hollow"') == 1


def test_a_line_of_the_page_goes_where_its_numbers_do():
    series = [("dino", "a", [0.0, 5.0, 10.0], [1.0, 1.0, 3.0]), ("imgn", "b", [0.0, 10.0], [2.0, 2.0])]
    picture = str(charts.lines(series, "t", "epoch"))
    first, second = ([tuple(map(float, point.split(","))) for point in path.split("L")]
                     for path in re.findall(r'd="M([\d.,L]+)" class="line"', picture))  # fmt: skip
    (x0, y0), (x1, y1), (x2, y2) = first
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1) and y0 == y1 > y2  # up the page y falls
    assert [y for _, y in second] == pytest.approx([(y0 + y2) / 2] * 2, abs=0.1) and (second[0][0], second[1][0]) == (
        x0, x2
    )  # fmt: skip
