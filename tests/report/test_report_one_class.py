"""The one-class protocol: which runs stand side by side, means and intervals, training data, the text forms."""

from __future__ import annotations

import numpy as np
import pytest
from one_class_fakes import (
    CIFAR10,
    T975,
    TRANSLATION,
    by_hand,
    everything,
    level,
    one_record,
    row,
    run,
    runs,
    table_of,
)
from report_fakes import config
from scipy import stats

from benchmark.plan.training_data import meaning, training_data
from benchmark.report.grouping import class_groups
from benchmark.report.published import one_class as published
from benchmark.report.settings import class_of
from benchmark.report.tables.auroc import one_class
from benchmark.report.tables.text import latex, lines, markdown


def test_published_values_are_the_papers():
    # Hendrycks et al. 2019, one-class CIFAR10; Tack et al. 2020.
    assert CIFAR10 == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    rotation = [78.3, 94.3, 86.2, 80.8, 89.4, 89.0, 88.9, 95.1, 92.3, 89.7]
    both = [80.4, 96.4, 85.9, 81.1, 91.3, 89.6, 89.9, 95.9, 95.0, 92.6]
    assert [published.value("cifar10", name, "rotation") for name in CIFAR10] == rotation
    assert [published.value("cifar10", name, TRANSLATION) for name in CIFAR10] == both
    assert np.mean(rotation) == pytest.approx(published.mean("cifar10", "rotation"), abs=0.05)
    assert np.mean(both) == pytest.approx(published.mean("cifar10", TRANSLATION), abs=0.05)
    assert published.MEANS_ALONE == {"SimCLR": 87.9, "CSI": 94.3, "Rot+Trans in CSI": 90.0}
    assert published.value("cifar10", "airplane", "dino") is None and published.mean("synthetic", "rotation") is None


@pytest.mark.parametrize(
    ("in_dist", "oods", "wanted"),
    [
        ("cifar10:cat", ["cifar10:not-cat"], ("cifar10", "cat")),
        ("cifar10:cat", ["svhn", "cifar10:not-cat"], ("cifar10", "cat")),
        ("own:a-b", ["own:not-a-b"], ("own", "a-b")),
        ("cifar10:cat", ["svhn"], None),
        ("cifar10:not-cat", ["cifar10:cat"], None),
        ("own:not-safe", ["own:not-not-safe"], ("own", "not-safe")),
        ("cifar10", ["cifar100"], None),
    ],
)
def test_which_runs_are_of_the_protocol(in_dist, oods, wanted):
    assert class_of(config(in_dist=in_dist, variant="dino", eval={"ood": oods})) == wanted


def test_a_row_a_class_a_column_a_method_references_last():
    table = table_of(everything())
    assert list(table.columns) == [
        "rotation", TRANSLATION, "dino", "rot-imgn", "rot-dti", "rot-in-dist", "combined", "Rot+Trans in CSI", "SimCLR",
        "CSI", "untrained", "image-statistics",
    ]  # fmt: skip
    assert [r.title for r in table.rows] == ["training data", *CIFAR10, "mean (10)", "n (runs)"]
    assert table.columns["CSI"].heading == "CSI (publ.)" and table.columns["dino"].heading == "DINO"


def test_published_columns_are_of_methods_without_a_column_of_ours():
    table = table_of(runs(["dino"]))
    assert list(table.columns) == ["dino", "Rotation", "Rot+Trans", "Rot+Trans in CSI", "SimCLR", "CSI"]
    assert [row(table, name).cells["Rotation"].published for name in CIFAR10[:2]] == [78.3, 94.3]
    assert [row(table, name).cells["CSI"].published for name in CIFAR10[:2]] == [None, None]
    means = {column: cell.published for column, cell in row(table, "mean").cells.items()}
    assert means == {"dino": None, "Rotation": 88.4, "Rot+Trans": 89.8, "Rot+Trans in CSI": 90.0, "SimCLR": 87.9,
                     "CSI": 94.3}  # fmt: skip
    assert not any(cell.ours or cell.planned for r in table.rows for c, cell in r.cells.items() if c != "dino")
    ours = table_of(everything())
    assert row(ours, "bird").cells[TRANSLATION].published == 85.9
    assert row(ours, "mean").cells[TRANSLATION].published == 89.8


def test_classes_follow_cifar10_whatever_the_sweeps_order():
    table = table_of(runs(["rotation"], classes=["truck", "cat", "airplane"]))
    assert [r.title for r in table.rows if r.section == "ood"] == ["airplane", "cat", "truck"]


def test_the_numbers_of_a_class_are_the_mean_and_student_t_of_its_seeds():
    table = table_of(everything())
    for name in CIFAR10:
        values = np.array([level(run(name, "rotation", seed)) for seed in (0, 1, 2)])
        mean, half = by_hand(values)
        cell = row(table, name).cells["rotation"]
        assert (cell.ours.mean, cell.ours.half, cell.ours.n) == (pytest.approx(mean), pytest.approx(half), 3)
        assert cell.published == published.VALUES["rotation", name]
        assert cell.difference == pytest.approx(mean - published.VALUES["rotation", name])
        single = row(table, name).cells["combined"]
        assert (single.ours.n, single.ours.half) == (1, None) and single.published is None
    assert row(table, "n").texts["rotation"] == "3" and row(table, "n").texts["combined"] == "1"


def test_the_means_interval_is_that_of_the_seeds_means_not_of_the_classes():
    rng = np.random.default_rng(0)
    matrix = rng.normal(80, 8, (10, 3))  # (classes, seeds): the classes differ by far more than the seeds
    value = lambda c: float(matrix[CIFAR10.index(c.in_dist.partition(":")[2]), c.seed])  # noqa: E731
    table = table_of(runs(["rotation"], seeds=[0, 1, 2]), lambda c: one_record(c, value))
    mean, half = by_hand(matrix.mean(axis=0))
    cell = row(table, "mean").cells["rotation"]
    assert (cell.ours.mean, cell.ours.half, cell.ours.n) == (pytest.approx(mean), pytest.approx(half), 3)
    assert cell.ours.mean == pytest.approx(matrix.mean())
    assert cell.seeds == {s: pytest.approx(matrix[:, s].mean()) for s in range(3)}
    over_classes = by_hand(matrix.mean(axis=1))[1]
    assert abs(half - over_classes) > 0.5  # the two are not confused
    assert (cell.published, cell.difference) == (88.4, pytest.approx(mean - 88.4))


def test_a_mean_is_over_the_classes_that_every_seed_has_and_says_so():
    gone = {("ship", 2), ("cat", 0)}
    make = lambda c: None if (c.in_dist.partition(":")[2], c.seed) in gone else one_record(c)  # noqa: E731
    table = table_of(
        runs(["rotation", "dino"], seeds=[0, 1, 2]), lambda c: make(c) if c.label != "dino" else one_record(c)
    )
    eight = [name for name in CIFAR10 if name not in ("ship", "cat")]
    wanted = np.array([[level(run(name, "rotation", s)) for s in range(3)] for name in eight]).mean(axis=0)
    cell = row(table, "mean").cells["rotation"]
    assert (cell.ours.mean, cell.ours.half) == tuple(pytest.approx(v) for v in by_hand(wanted))
    assert (cell.over, cell.published, cell.best) == (8, None, False)
    (line, *_) = lines(table, row(table, "mean"), inline_interval=True)
    assert line.texts[0].endswith("*") and not line.texts[1].endswith("*")
    notes = "\n".join(table.notes)
    assert "have: rotation, mean (10): over 8, all of them in seed 1 alone." in notes
    assert "n differs within a column: rotation: cat n = 2, ship n = 2, the rest n = 3." in notes
    assert "2 of 60 runs have no record yet: cifar10.cat-rotation-s0, cifar10.ship-rotation-s2." in notes
    assert row(table, "n").texts == {"rotation": "2-3", "dino": "3"}


def test_seeds_without_a_class_in_common_have_no_mean():
    configs = [run("cat", seed=0), run("dog", seed=1)]
    table = table_of(configs)
    cell = row(table, "mean").cells["rotation"]
    assert cell.ours is None and cell.planned
    assert any("rotation, mean (2 of 10): none in common" in note for note in table.notes)


def test_missing_cells_are_shown_and_counted_and_unplanned_ones_are_blank():
    configs = [*runs(["rotation"]), *runs(["dino"], classes=["cat", "dog"])]
    make = lambda c: None if (c.label, c.in_dist) == ("dino", "cifar10:dog") else one_record(c)  # noqa: E731
    table = table_of(configs, make)
    assert table.notes[0] == "1 of 12 cells missing: DINO (dog)."
    texts = {r.title: dict(zip(table.columns, lines(table, r, True)[0].texts, strict=True)) for r in table.rows}
    assert texts["dog"]["dino"] == "—" and texts["airplane"]["dino"] == "" and texts["cat"]["dino"] != ""
    assert row(table, "mean").cells["dino"].over == 1
    assert texts["mean (10)"]["dino"] == f"{level(run('cat', 'dino')):.1f}*"


def test_a_column_without_any_record():
    table = table_of(runs(["rotation", "dino"]), lambda c: one_record(c) if c.label == "rotation" else None)
    assert "10 of 20 cells missing: DINO (all)." in table.notes
    assert row(table, "n").texts["dino"] == "0" and row(table, "mean").cells["dino"].ours is None
    assert any("10 of 20 runs have no record yet" in note and "(10 in all)" in note for note in table.notes)


def test_fewer_classes_than_the_set_has_are_said_and_not_compared():
    table = table_of(runs(["rotation"], classes=["cat", "dog", "ship"]))
    mean = row(table, "mean")
    assert mean.title == "mean (3 of 10)" and mean.cells["rotation"].published is None
    assert "CSI" not in table.columns and "Rot+Trans" in table.columns and mean.cells["Rot+Trans"].published is None
    assert row(table, "cat").cells["Rot+Trans"].published == 81.1
    assert any("3 of the 10 classes of CIFAR10: its means are over these" in note for note in table.notes)


def test_the_best_trained_column_of_a_row_is_bold():
    def value(c):
        if c.label in ("untrained", "image-statistics"):
            return 99.0
        return {"rotation": 80.04, "dino": 80.03, "rot-imgn": 79.0}[c.label]  # the first two print the same

    table = table_of(
        runs(["rotation", "dino", "rot-imgn", "untrained", "image-statistics"]), lambda c: one_record(c, value)
    )
    for key in (*CIFAR10, "mean"):
        assert {column for column, cell in row(table, key).cells.items() if cell.best} == {"rotation", "dino"}
    assert "**80.0**" in markdown(table) and r"\textbf{80.0}" in latex(table) and "**99.0**" not in markdown(table)
    alone = table_of(runs(["rotation", "untrained"]))
    assert not any(cell.best for r in alone.rows for cell in r.cells.values())


# --- never mixed ------------------------------------------------------------------------------------------------------


def test_two_recipes_of_a_label_are_two_columns_told_apart():
    short = runs(["dino"], train={"epochs": 40}, seeds=[0, 1])
    configs = [*runs(["dino"], seeds=[0, 1]), *short, *runs(["rotation"])]
    make = lambda c: one_record(c, lambda c: 70.0 if c.train.epochs == 40 else 90.0)  # noqa: E731
    table = table_of(configs, make)
    keys = [key for key in table.columns if key.startswith("dino")]
    assert keys == ["dino (train.epochs = 500)", "dino (train.epochs = 40)"]
    assert [table.columns[key].title for key in keys] == ["DINO (a)", "DINO (b)"]
    assert [row(table, "mean").cells[key].ours.mean for key in keys] == [90.0, 70.0]
    assert [row(table, "cat").cells[key].ours.n for key in keys] == [2, 2]
    notes = "\n".join(table.notes)
    assert "DINO (a): train.epochs = 500; DINO (b): train.epochs = 40" in notes and "rotation:" in notes
    assert table.columns[keys[1]].label == "dino" and table.columns["rotation"].own == ""


def test_what_was_so_before_there_was_a_choice_is_named() -> None:
    """Its identity leaves it out, so that older runs keep their ids."""
    model = {"backbone": "resnet10t"}
    older = runs(["dino"], model=model | {"batch_statistics": "positives"})
    table = table_of([*runs(["dino"], model=model), *older])
    keys = [key for key in table.columns if key.startswith("dino")]
    assert keys == [f"dino (model.batch_statistics = {which})" for which in ("mixture", "positives")]


def test_a_recipe_of_a_single_class_does_not_slip_into_the_column():
    configs = [run(name, train={"epochs": 31} if name == "cat" else {"epochs": 60}) for name in CIFAR10]
    table = table_of(configs)
    first, second = (key for key in table.columns if key.startswith("rotation ("))
    assert first == "rotation (train.epochs = 60)" and second == "rotation (train.epochs = 31)"
    assert row(table, "mean").cells[first].over == 9 and row(table, "mean").cells[second].over == 1
    assert row(table, "cat").cells[first].ours is None


def test_two_networks_give_two_untrained_columns():
    small = {"backbone": "resnet18"}
    configs = [*runs(["rotation", "untrained"], model=small), *runs(["dino", "untrained", "image-statistics"])]
    table = table_of(configs)
    keys = [key for key in table.columns if key.startswith("untrained")]
    assert len(keys) == 2 and "model.backbone = resnet18" in keys[0]
    assert [table.columns[key].title for key in keys] == ["untrained (a)", "untrained (b)"]
    assert [table.columns[key].learns_from for key in keys] == ["scratch, no training"] * 2
    assert list(table.columns)[-3:] == [*keys, "image-statistics"]


def test_what_changes_no_number_tells_no_columns_apart():
    # The protocol fills in DINO's settings alone: for rotation prediction it is the same recipe, run once.
    configs = [*runs(["rotation"], classes=CIFAR10[:5]), *runs(["rotation"], classes=CIFAR10[5:], protocol="authors")]
    assert [c for c in table_of(configs).columns if c.startswith("rotation")] == ["rotation"]


def test_records_of_other_images_are_parted_with_a_heading():
    configs = runs(["rotation"], seeds=[0, 1])
    records = [one_record(c) for c in configs]
    again = one_record(configs[0], lambda c: 1.0, prints={"cifar10:airplane/train": "other"})
    first, second = groups = class_groups(configs, [*records, again])
    assert all("cifar10:airplane/train" in group.heading for group in groups)
    values = [group.values("auroc", *group.cases("cifar10")[0][:2])["rotation"].to_dict() for group in groups]
    assert values[0] == {s: pytest.approx(level(run("airplane", seed=s))) for s in (0, 1)}
    assert values[1] == {0: 1.0}  # seed 1 read the other images
    cats = [group.values("auroc", "cifar10:cat", "cifar10:not-cat") for group in (first, second)]
    assert cats[0].equals(cats[1]) and len(cats[0]) == 2
    assert "### images 1 of 2" in markdown(one_class(first)[0])


def test_several_parents_are_several_tables():
    own = [run(name, "rotation", parent="photos") for name in ("b", "a")]
    hundred = runs(["rotation"], classes=["apple", "bear"], parent="cifar100")
    configs = [*runs(["rotation"]), *own, *hundred, config(variant="dino")]
    groups = class_groups(configs, [one_record(c) for c in configs if ":" in c.in_dist])
    assert [group.parent for group in groups] == ["cifar10", "photos", "cifar100"]
    tables = [table for group in groups for table in one_class(group)]
    assert [row(table, "mean").title for table in tables] == ["mean (10)", "mean (2)", "mean (2 of 100)"]
    assert [r.title for r in tables[1].rows if r.section == "ood"] == ["b", "a"]  # the sweep's order
    for table in tables[1:]:
        assert not any(cell.published for r in table.rows for cell in r.cells.values())
        assert list(table.columns) == ["rotation"] and "ublished" not in markdown(table)
    assert "photos" in tables[1].title and "CIFAR100" in tables[2].title


# --- training data ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "fields", "wanted"),
    [
        ("rotation", {}, "scratch"),
        ("dino", {}, "scratch"),
        ("rot-in-dist", {}, "scratch"),
        ("imgn", {}, "aux"),
        ("rot-imgn", {}, "aux"),
        ("combined", {}, "aux"),
        ("perm-16-imgn", {}, "aux"),
        ("dti", {}, "aux, made with labels"),
        ("rot-dti", {}, "aux, made with labels"),
        ("rot-imgn", {"data": {"sources": {"imagenet": "imagenet1k"}}}, "aux"),
        ("rot-imgn", {"data": {"sources": {"imagenet": "synthetic-dti"}}}, "aux, made with labels"),
        ("rot-imgn", {"data": {"sources": {"imagenet": "dti@64"}}}, "aux, made with labels"),
        ("rot-imgn", {"negatives": {"weight": 0.0}}, "scratch"),
        ("untrained", {}, "scratch, no training"),
        ("image-statistics", {}, "scratch, no training"),
    ],
)
def test_training_data(label, fields, wanted):
    assert training_data(run("cat", label, **fields)) == wanted
    words = wanted.split(", ")
    note = meaning([wanted])
    assert all(f"{word}: " in note for word in words) and note.count(": ") == len(words) + 1


def test_weights_from_elsewhere_stand_before_what_else_training_reads():
    config = run("cat", "rot-imgn")
    begun = config.model.model_copy(update={"weights": "net.safetensors", "pretraining": "self-supervised"})
    assert training_data(config.model_copy(update={"model": begun})) == "pretrained (self-supervised), aux"


def test_a_method_with_labels_learns_from_labels(monkeypatch):
    from benchmark.plan.methods import RotationConfig

    monkeypatch.setattr(RotationConfig, "labels", True)
    assert training_data(run("cat", "rotation")) == "labels"


def test_student_t_of_the_test_is_scipys():
    assert all(stats.t.ppf(0.975, freedom) == pytest.approx(value) for freedom, value in T975.items())


def test_a_published_mean_stands_beside_our_own_column_of_that_method() -> None:
    csi = [run(name, "rotation", method={"name": "csi"}, variant="none") for name in CIFAR10]
    [table] = one_class(class_groups(csi, [one_record(one) for one in csi])[0])
    cell = next(row for row in table.rows if row.section == "average").cells["csi"]
    assert cell.published == 94.3 and cell.ours is not None and cell.ours.n == 1
    assert "CSI" not in table.columns and {"SimCLR", "Rot+Trans in CSI"} <= set(table.columns)
