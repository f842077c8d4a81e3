"""Figures 2, 3 and of the variants: which points they show, their correlations, and that their bytes never change."""

from __future__ import annotations

import hashlib
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from report_fakes import VARIANTS10, config, paper_auroc, record_of
from scipy import stats

from benchmark.negatives import OURS, VARIANTS
from benchmark.plan.titles import title_of
from benchmark.report.figures import embed, files, paper, variants
from benchmark.report.figures.panels import Bars, Line, Lines, Point, Scatter
from benchmark.report.figures.style import BACK, STYLES, VARIABLES, marker
from benchmark.report.grouping import group_runs
from benchmark.report.groups import Group
from benchmark.report.intervals import Estimate, hanley_mcneil
from benchmark.report.published import sets as published


def group_of(configs, make=record_of) -> Group:
    (group,) = group_runs(configs, [make(c) for c in configs])
    return group


def all_configs(**fields):
    references = [config(method={"name": name}, **fields) for name in ("untrained", "image-statistics")]
    return [config(variant=name, **fields) for name in VARIANTS] + references


def panels(picture):
    return [axes for axes in files.figure_of(picture).axes if axes.get_title(loc="left")]


def point(label: str, x: float, y: float, half: float | None = None, reference: bool = False) -> Point:
    n = 1 if half is None else 2
    return Point(label, title_of(label), Estimate(x, half, n), Estimate(y, half, n), reference)


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
    assert set(STYLES) == {*VARIANTS, *OURS, *others}
    assert len(set(STYLES.values())) == len(STYLES)


def test_figure3_shows_every_variant_once_and_its_correlation():
    sensitivity = {name: 50 + 3 * (i % 4) for i, name in enumerate([*VARIANTS, "none"])}
    group = group_of(all_configs(), lambda c: record_of(c, sensitivity=float(sensitivity[c.variant])))
    shown = panels(paper.figure3(group, "cifar10"))
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
    axes = panels(paper.figure3(group, "cifar10"))[0]
    assert "n = 11" in axes.get_title(loc="left") and "off the axes" not in axes.get_xlabel()
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == BACK]
    assert len(hollow) == 2


def test_several_seeds_make_one_point_with_error_bars():
    configs = [config(variant=name, seed=seed) for name in ("dino", "imgn", "dti") for seed in (0, 1)]
    group = group_of(configs, lambda c: record_of(c, lambda c, ood: paper_auroc(c, ood) + c.seed))
    axes = panels(paper.figure3(group, "cifar10"))[0]
    assert len(drawn(axes)) == 3
    auroc, sensitivity = group.values("auroc", "cifar10", "cifar100"), group.values("sensitivity", "cifar10")
    x, y = paper.points(group, "cifar10", auroc, sensitivity)["dino"]
    assert (x.mean, x.n, y.n) == (pytest.approx(90.79), 2, 2)
    assert x.half == pytest.approx(stats.t.ppf(0.975, 1) * 0.5)


def test_figure2_bars_are_the_occupied_classes():
    group = group_of(all_configs())
    bars, scatter = panels(paper.figure2(group, "cifar10"))
    widths = [bar.get_width() for bar in bars.patches]
    assert widths == [pytest.approx(3000 - 10 * paper_auroc(config(variant=name), "cifar100")) for name in VARIANTS]
    assert [label.get_text() for label in bars.get_yticklabels()][:3] == ["DINO", "ImgN", "Rot. ImgN"]
    assert len(drawn(scatter)) == 11 - 1  # DTI and Rot. DTI have one published CIFAR100 between them
    assert "r = -1.00" in scatter.get_title(loc="left")


def test_the_pages_bars_leave_room_for_the_longest_name():
    for labels in (["dino"], ["dino", "frequencies-imgn", "simclr-bg-random"]):
        bars = {label: (title_of(label), Estimate(30.0, None, 1)) for label in labels}
        picture = str(embed.panel(Bars("t", "classes", bars, 256)))
        for label in labels:
            [(at, name)] = re.findall(rf'<text x="([\d.]+)"[^>]*>({re.escape(title_of(label))})<', picture)
            assert float(at) - 4.5 * len(name) > 0  # the name ends there


def test_the_authors_protocol_counts_their_reading_of_occupancy():
    configs = [config(variant=name, protocol="authors") for name in ("dino", "imgn")]
    bars, _ = panels(paper.figure2(group_of(configs), "cifar10"))
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
    chosen = paper.near_and_far(group, in_dist)
    assert (chosen["near"].ood if near else None, chosen["far"].ood) == (near, far)
    assert len(panels(paper.figure3(group, in_dist))) == (4 if near else 2)


def test_bytes_never_change_and_constant_input_warns_of_nothing():
    group = group_of(all_configs(), lambda c: record_of(c, lambda c, ood: 80.0))  # every correlation undefined
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again = (
            files.content(paper.figure2(group, "cifar10")),
            files.content(paper.figure2(group, "cifar10")),
        )
    assert first == again
    assert set(first) == {"png", "svg"}
    assert b"<dc:date>" not in first["svg"] and first["svg"].startswith(b"<?xml")
    title = panels(paper.figure2(group, "cifar10"))[1].get_title(loc="left")
    assert "correlation undefined, n = 11" in title


@pytest.mark.parametrize("made_of", ["plan/titles.py", "negatives.py", "store/measurements.py", "report/intervals.py"])
def test_a_figure_is_drawn_anew_where_the_code_behind_its_names_and_numbers_changes(made_of):
    code = (Path(files.__file__).parents[2] / made_of).read_bytes()
    assert hashlib.sha256(code).hexdigest() in files._code()


def test_png_is_200_dpi(tmp_path):
    import io

    from PIL import Image

    group = group_of([config(variant=name) for name in VARIANTS10[:3]])
    image = Image.open(io.BytesIO(files.content(paper.figure2(group, "cifar10"))["png"]))
    assert image.size == (1800, 960)
    assert round(image.info["dpi"][0]) == 200


def test_a_half_finished_sweep_draws_what_there_is():
    configs = all_configs()
    (group,) = group_runs(configs, [record_of(configs[0])])
    assert files.content(paper.figure3(group, "cifar10"))["svg"]


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
    shown = panels(paper.figure3(group, "cifar10"))
    for axes, low, apart in ((shown[0], 65.0, 3), (shown[2], 50.0, 4)):
        found = bars_of(axes.containers[1])  # ImgN's
        assert found["x"] == pytest.approx([70.5 - 6.353, 70.5 + 6.353], abs=1e-3)
        middle = low + apart / 2
        assert found["y"] == pytest.approx([middle - 6.353 * apart, middle + 6.353 * apart], abs=1e-3)
        assert (70.5, middle) in drawn(axes)
    bars = panels(paper.figure2(group, "cifar10"))[0]
    spans = [bars_of(one)["x"] for one in bars.containers if hasattr(one, "has_xerr")]
    assert spans == [pytest.approx([mean - 12.706, mean + 12.706], abs=1e-3) for mean in (61.0, 71.0)]


def test_the_dotted_line_of_figure2_is_dinos():
    group = group_of([config(variant=name) for name in ("dino", "combined", "rot-imgn")],
                     lambda c: record_of(c, occupancy={"paper": 10.0 * len(c.variant), "classes": 4096}))  # fmt: skip
    bars = panels(paper.figure2(group, "cifar10"))[0]
    (line,) = [line for line in bars.get_lines() if line.get_linestyle() == ":"]
    assert set(line.get_xdata()) == {40.0}


def test_the_pages_points_have_their_whole_intervals_too():
    """The places of two markers give the scale of each axis."""
    points = (Point("dino", "DINO", Estimate(60.0, 3.0, 2), Estimate(10.0, 2.0, 2)), point("imgn", 80.0, 40.0))
    picture = str(embed.panel(Scatter("t", "x", "y", points)))
    places = re.findall(r'data-tip="[^"]*"[^>]*><path d="[^"]*" transform="translate\(([\d.]+) ([\d.]+)\)"', picture)
    (x0, y0), (x1, y1) = [(float(x), float(y)) for x, y in places]
    bars = re.findall(r'data-v="dino"><path d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)" fill="none"', picture)
    across, up = [[float(end) for end in bar] for bar in bars]
    assert across[1] == across[3] == pytest.approx(y0, abs=0.11) and up[0] == up[2] == pytest.approx(x0, abs=0.11)
    assert [across[0], across[2]] == pytest.approx([x0 - 3 * (x1 - x0) / 20, x0 + 3 * (x1 - x0) / 20], abs=0.2)
    assert sorted([up[1], up[3]]) == pytest.approx([y0 + 2 * (y1 - y0) / 30, y0 - 2 * (y1 - y0) / 30], abs=0.2)
    assert x1 > x0 and y1 < y0  # up the page y falls


def test_every_colour_of_a_drawing_is_the_pages_own():
    """A colour that the page does not know would stay as it is in the dark."""
    of = [Line(label, label, [0, 1, 2], [Estimate(v, 0.5, 2) for v in (1.0, 2.0, place)]) for place, label in
          enumerate(STYLES)]  # fmt: skip
    drawn = [Lines("t", "epoch", of, [("", "level", 1.0), ("untrained", "untrained", 1.5)]),
             Scatter("t", "x", "y", tuple(point(label, i, i, 0.5) for i, label in enumerate(STYLES))),
             Bars("t", "classes", {label: (label, Estimate(9.0, 1.0, 2)) for label in STYLES}, 12)]  # fmt: skip
    for panel in drawn:
        picture = str(embed.panel(panel))
        assert not re.findall(r"#[0-9a-fA-F]{3,6}|rgb\(|style=| id=|clip-path|url\(", picture)
        assert set(re.findall(r"var\(--([a-z]+)\)", picture)) <= set(VARIABLES.values())
        (dino, *_) = re.findall(r'data-v="dino".*?</g>', picture)
        assert "var(--ink)" in dino or "fill=" not in dino  # a drawing's own colour is ink


def test_a_point_without_an_interval_looks_unlike_one_with_one():
    group = group_of([config(variant="dino", seed=seed) for seed in (0, 1)] + [config(variant="imgn")])
    axes = panels(paper.figure3(group, "cifar10"))[0]
    dino, imgn = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert dino.get_markerfacecolor() == STYLES["dino"][0] and imgn.get_markerfacecolor() == (STYLES["imgn"][0], 0.35)
    assert "pale: n = 1" in paper.figure3(group, "cifar10").heading
    faces = {look: marker("o", "#0072b2", look)["markerfacecolor"] for look in ("interval", "single", "reference")}
    assert len(set(map(str, faces.values()))) == 3


def test_markers_at_one_place_stand_side_by_side_and_are_named():
    points = (
        point("dti", 50.0, 50.0),
        point("rot-dti", 50.004, 50.004),
        point("imgn", 50.2, 50.0),
        point("dino", 51.0, 51.0),
    )
    panel = Scatter("t", "x", "y", points)
    assert panel.below == "at one place, side by side: DTI and Rot. DTI"
    picture = str(embed.panel(panel))
    places = dict(
        re.findall(r'data-v="([\w-]+)" data-tip[^>]*><path d="[^"]*" transform="translate\(([\d.]+) ', picture)
    )
    scale = (float(places["dino"]) - float(places["imgn"])) / 0.8
    middle = float(places["imgn"]) - 0.2 * scale
    assert float(places["dti"]) == pytest.approx(middle - 3, abs=0.2)
    assert float(places["rot-dti"]) == pytest.approx(middle + 0.004 * scale + 3, abs=0.2)
    assert "50.00 (n = 1)" in picture  # what it says is its own


def test_figure2s_points_have_their_auroc_across_and_their_classes_up():
    """Not on one line: which axis is which shows in every point."""
    counted = {name: 100.0 + (7 * place) % 11 for place, name in enumerate([*VARIANTS, "none"])}
    group = group_of([config(variant=name) for name in VARIANTS],
                     lambda c: record_of(c, occupancy={"paper": counted[c.variant], "classes": 4096}))  # fmt: skip
    scatter = panels(paper.figure2(group, "cifar10"))[1]
    wanted = {(round(paper_auroc(config(variant=name), "cifar100"), 6), counted[name]) for name in VARIANTS}
    assert drawn(scatter) == wanted and scatter.get_xlabel() == "AUROC (%), CIFAR100"


def test_a_reference_that_is_far_along_one_axis_alone_is_named_below():
    trained = (point("dino", 60, 10), point("imgn", 62, 12))
    for x, y in ((61.0, 50.0), (50.0, 11.0)):
        panel = Scatter("t", "x", "y", (*trained, point("untrained", x, y, reference=True)))
        assert panel.below == f"off the axes: untrained ({x:.1f}, {y:.1f})" and panel.shown == [*trained]
    inside = Scatter("t", "x", "y", (*trained, point("untrained", 61.0, 11.0, reference=True)))
    assert not inside.below and len(inside.shown) == 3 and inside.correlation.n == 2


def test_a_line_of_the_page_goes_where_its_numbers_do():
    def line(label: str, xs: list[float], ys: list[float]) -> Line:
        return Line(label, label, xs, [Estimate(y, None, 1) for y in ys])

    panel = Lines(
        "t", "epoch", [line("dino", [0.0, 5.0, 10.0], [1.0, 1.0, 3.0]), line("imgn", [0.0, 10.0], [2.0, 2.0])]
    )
    paths = re.findall(r'class="hit" /><path d="M([\d. L]+)"', str(embed.panel(panel)))
    first, second = ([tuple(map(float, place.split(" "))) for place in path.split("L")] for path in paths)
    (x0, y0), (x1, y1), (x2, y2) = first
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1) and y0 == y1 > y2  # up the page y falls
    assert [y for _, y in second] == pytest.approx([(y0 + y2) / 2] * 2, abs=0.1) and (second[0][0], second[1][0]) == (
        x0, x2
    )  # fmt: skip


def test_lines_of_one_colour_have_shapes_along_them_and_epochs_have_round_ticks():
    of = [Line(label, label, list(range(61)), [Estimate(float(i), None, 1) for i in range(61)]) for label in
          ("imgn", "rot-imgn", "rot360-imgn")]  # fmt: skip
    (axes,) = panels(files.Picture("", ((Lines("t", "epoch", of),),), (), (4, 3)))
    assert [line.get_marker() for line in axes.get_lines()] == ["o", "^", "v"]
    assert len({line.get_markevery() for line in axes.get_lines()}) == 3  # at other places on each
    assert [tick for tick in axes.get_xticks() if 0 <= tick <= 60] == [0, 20, 40, 60]


def test_a_lacking_panel_is_said_and_letters_go_on():
    far = Scatter("far", "x", "y", (point("dino", 1, 1),))
    figure = files.figure_of(files.Picture("", ((None, far),), (), (8, 3), "no near OOD set in this sweep"))
    assert [text.get_text() for text in figure.axes[0].texts] == ["no near OOD set in this sweep"]
    assert figure.axes[1].get_title(loc="left").startswith("(b) far")


def test_the_figure_of_variants_has_each_mean_its_interval_and_the_published_value():
    """Two seeds of one variant, one of another: Student's t over seeds, and the images' error of one run."""
    configs = [config(variant="imgn", seed=0), config(variant="imgn", seed=1), config(variant="dino")]
    values = lambda c, ood: {"imgn": 70.0 + 2 * c.seed, "dino": 60.0}.get(c.variant, 55.0)  # noqa: E731
    group = group_of([*configs, configs[0].reference("untrained")], lambda c: record_of(c, values))
    picture = variants.variants(group, "cifar10")
    near, far = picture.panels
    assert near.title.endswith("CIFAR100") and far.title == "far OOD: mean of 7 sets" and near.slanted
    assert near.places == far.places == ["DINO", "ImgN", "untrained"]
    dino, imgn, untrained = near.dots
    half = 1.96 * hanley_mcneil(60.0, 9, 9)
    assert dino.ours.mean == 60 and dino.ends == (pytest.approx(60 - half), pytest.approx(60 + half))
    t = float(stats.t.ppf(0.975, 1)) * np.std([70, 72], ddof=1) / np.sqrt(2)
    assert imgn.ours.mean == 71 and imgn.ends == (pytest.approx(71 - t), pytest.approx(71 + t))
    assert imgn.seeds == {0: 70.0, 1: 72.0} and dino.seeds == {} and untrained.reference and not imgn.reference
    assert (dino.published, imgn.published, untrained.published) == (90.29, 90.46, None)
    far_sets = [ood for ood in published.paper_sets("cifar10") if ood != "cifar100"]
    mean = np.mean([published.VALUES["cifar10", ood, "imgn"] for ood in far_sets])
    assert far.dots[1].published == pytest.approx(mean)
    assert [key.title.partition(":")[2] or key.title for key in picture.keys] == [
        " mean over seeds, a dash per seed", " one run", "published (larger)"
    ]  # fmt: skip
    assert files.content(picture)["png"][:4] == b"\x89PNG"


def test_the_figure_of_variants_leaves_out_what_is_not_measured():
    partly = lambda c: record_of(c, lambda c, ood: None if ood == "svhn" else 60.0)  # noqa: E731
    near, far = variants.variants(group_of([config(variant="dino")], partly), "cifar10").panels
    assert near.dots[0].ours.mean == 60 and far.dots[0].ours is None and far.dots[0].published
    own = variants.variants(group_of([config(variant="patch-rot-in-dist")], partly), "cifar10")
    assert [key.label for key in own.keys] == ["single"]  # nothing is published of it
    rotation = config(method={"name": "rotation"}, train={"epochs": 50})
    assert variants.variants(group_of([rotation]), "cifar10") is None


def test_one_seed_of_several_that_has_a_score_is_the_one_drawn():
    """Seed 0 is not scored on the further sets yet: the interval over images is of seed 1's numbers."""
    partly = lambda c: record_of(c, lambda c, ood: None if c.seed == 0 and ood != "cifar100" else 60.0 + c.seed)  # noqa: E731
    both = [config(variant="dino", seed=seed) for seed in (0, 1)]
    _, far = variants.variants(group_of(both, partly), "cifar10").panels
    half = 1.96 * hanley_mcneil(61.0, 9, 9)
    assert far.dots[0].seeds == {} and far.dots[0].ends == (pytest.approx(61 - half), pytest.approx(61 + half))
