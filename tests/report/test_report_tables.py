"""Tables 1 and 2: the numbers in them, what is missing, and the four ways of writing."""

from __future__ import annotations

import csv
import io
import itertools
import math

import pytest
from report_fakes import VARIANTS10, paper_auroc, record_of, write_sweep
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text
from scipy import stats

from benchmark.negatives import VARIANTS
from benchmark.plan import sweep as sweeps
from benchmark.report.grouping import group_runs
from benchmark.report.groups import Group
from benchmark.report.published import sets as published
from benchmark.report.tables import auroc as tables
from benchmark.report.tables.cells import Table
from benchmark.report.tables.text import as_csv, fold, latex, lines, markdown, md, terminal, tex


def group_of(path, make=record_of) -> Group:
    configs = [run.config for run in sweeps.load(path).runs]
    groups = group_runs(configs, [record for c in configs if (record := make(c))])
    assert len(groups) == 1
    return groups[0]


def row(table: Table, key: str, in_dist: str = "cifar10"):
    return next(row for row in table.rows if (row.in_dist, row.key) == (in_dist, key))


def table2(path, make=record_of) -> Table:
    (table,) = tables.table2(group_of(path, make))
    return table


def on_terminal(table: Table, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    for part in terminal(table, width):
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


def shifted(config, ood):
    """The published value and a little more, different for each variant, set and seed."""
    rank = [*VARIANTS, "none"].index(config.variant)
    return paper_auroc(config, ood) + 0.01 * rank - 0.003 * len(ood) + 0.1 * config.seed


def test_table2_has_ours_published_difference_and_averages(tmp_path):
    table = table2(write_sweep(tmp_path, variant=VARIANTS10), lambda c: record_of(c, shifted))
    assert list(table.columns) == [*VARIANTS10, "untrained", "image-statistics"]
    sets = published.paper_sets("cifar10")
    assert [r.key for r in table.rows if r.section == "ood"] == sets
    for column in VARIANTS10:
        rank = VARIANTS10.index(column)
        for ood in sets:
            cell = row(table, ood).cells[column]
            assert cell.difference == pytest.approx(0.01 * rank - 0.003 * len(ood))
            assert cell.ours.n == 1 and cell.ours.half is None
        wanted = sum(published.VALUES["cifar10", ood, column] + 0.01 * rank - 0.003 * len(ood) for ood in sets) / 8
        average = row(table, "average").cells[column]
        assert average.ours.mean == pytest.approx(wanted)
        assert average.published == pytest.approx(published.PRINTED_AVERAGES[column], abs=0.0051)
        assert row(table, "near average").cells[column] == row(table, "cifar100").cells[column]
        far = sum(row(table, ood).cells[column].ours.mean for ood in sets[1:]) / 7
        assert row(table, "far average").cells[column].ours.mean == pytest.approx(far)
    untrained = 60 - 0.003 * sum(map(len, sets)) / 8 + 0.11
    assert row(table, "average").cells["untrained"].ours.mean == pytest.approx(untrained)
    assert row(table, "average").cells["untrained"].published is None


def test_the_best_trained_value_of_a_row_is_marked(tmp_path):
    def references_win(config, ood):
        return 99.99 if config.variant == "none" else paper_auroc(config, ood)

    table = table2(write_sweep(tmp_path, variant=VARIANTS10), lambda c: record_of(c, references_win))
    for ood in published.paper_sets("cifar10"):
        top = max(published.VALUES["cifar10", ood, column] for column in VARIANTS10)
        best = {column for column, cell in row(table, ood).cells.items() if cell.best}
        assert best == {column for column in VARIANTS10 if published.VALUES["cifar10", ood, column] == top}
    assert {c for c, cell in row(table, "average").cells.items() if cell.best} == {"rot-dti"}
    assert not any(cell.best for cell in row(table, "sensitivity").cells.values())
    assert "**94.89**" in markdown(table) and r"\textbf{94.89}" in latex(table)


def test_several_seeds_average_by_seed_with_student_t(tmp_path):
    # Seeds that move together over all sets: the average over sets varies as much as each set does.
    def auroc(config, ood):
        return paper_auroc(config, ood) + {0: 0.0, 1: 0.9, 2: -0.3}[config.seed]

    table = table2(write_sweep(tmp_path, variant=["dino", "imgn"], seed=[0, 1, 2]), lambda c: record_of(c, auroc))
    values = [0.0, 0.9, -0.3]
    mean = sum(values) / 3
    half = stats.t.ppf(0.975, 2) * math.sqrt(sum((v - mean) ** 2 for v in values) / 2) / math.sqrt(3)
    for key in ("svhn", "average", "far average"):
        cell = row(table, key).cells["dino"]
        assert (cell.ours.n, cell.ours.half) == (3, pytest.approx(half))
        assert cell.difference == pytest.approx(mean)
    assert row(table, "n").texts == {"dino": "3", "imgn": "3", "untrained": "1", "image-statistics": "1"}
    assert f"99.58 ± {half:.2f}" in markdown(table)
    assert f"99.58 $\\pm$ {half:.2f}" in latex(table)
    assert f"±{half:.2f}" in on_terminal(table)
    assert any("Student-t" in note for note in table.notes)


def test_mixed_n_is_said(tmp_path):
    def make(config):
        keep = config.seed == 0 or config.variant == "dino"
        auroc = lambda c, ood: None if (ood, c.seed) == ("svhn", 1) else paper_auroc(c, ood)  # noqa: E731
        return record_of(config, auroc) if keep else None

    table = table2(write_sweep(tmp_path, variant=["dino", "imgn"], seed=[0, 1]), make)
    assert row(table, "n").texts["dino"] == "1-2" and row(table, "n").texts["imgn"] == "1"
    (note,) = [note for note in table.notes if "n differs" in note]
    assert "DINO: SVHN n = 1" in note and "the rest n = 2" in note
    average = row(table, "average").cells["dino"]
    assert (average.over, average.ours.n) == (7, 2)  # over the sets that both seeds have
    assert any("1 of 6 runs have no record yet: cifar10-imgn-s1" in note for note in table.notes)


def test_missing_cells_are_shown_and_counted(tmp_path):
    def make(config):
        if config.variant == "rot-dti":
            return None
        return record_of(config, lambda c, ood: None if (c.variant, ood) == ("imgn", "lsun") else paper_auroc(c, ood))

    table = table2(write_sweep(tmp_path, variant=["dino", "imgn", "rot-dti"]), make)
    assert table.notes[0] == "9 of 40 cells missing: ImgN (LSUN), Rot. DTI (all)."
    average = row(table, "average").cells["imgn"]
    others = [published.VALUES["cifar10", ood, "imgn"] for ood in published.paper_sets("cifar10") if ood != "lsun"]
    assert average.ours.mean == pytest.approx(sum(others) / 7)
    assert average.published is None and average.over == 7 and not average.best
    assert any("incomplete" in note and "ImgN, average (8): over 7" in note for note in table.notes)
    (line, *_) = lines(table, row(table, "lsun"), inline_interval=True)
    assert line.texts == ["92.20", "—", "—", "60.00", "60.00"]
    (line, *_) = lines(table, row(table, "average"), inline_interval=True)
    assert line.texts[1] == f"{sum(others) / 7:.2f}*"
    for text in (markdown(table), on_terminal(table)):
        assert "—" in text and "9 of 40 cells missing" in text
    assert "---" in latex(table)


def test_a_missing_occupancy_is_no_missing_cell(tmp_path):
    table = table2(write_sweep(tmp_path, variant=["dino"]))
    (line,) = lines(table, row(table, "occupied of 4096 classes"), inline_interval=True)
    assert line.texts == ["2097", "", ""]
    assert not any("missing" in note for note in table.notes)


def test_runs_of_different_code_are_told_below_their_table(tmp_path):
    """Not those whose records do not know, which are from before."""
    path = write_sweep(tmp_path, variant=["dino", "dti", "imgn"])
    known = {"dino": {"code": "a1"}, "dti": {"code": "b2"}, "imgn": {"code": "b2"}}

    def notes(codes: dict) -> str:
        make = lambda c: record_of(c, environment=codes.get(c.variant, {}))  # noqa: E731
        return "\n".join(table2(path, make).notes)

    said = "Made by different code, so that numbers may differ for that alone: 2 by b2, 1 by a1 (bench sweep --again)."
    assert said in notes(known)
    assert "different code" not in notes({key: known[key] for key in ("dti", "imgn")})
    assert "1 by a1 then b2" in notes({**known, "dino": {"code": "b2", "codes": ["a1", "b2"]}})


def test_table1_marks_rivals_as_published(tmp_path):
    path = write_sweep(tmp_path, variant=["rot-imgn", "combined"], in_dist=["cifar10", "cifar100"])
    (table,) = tables.table1(group_of(path))
    assert [column.heading for column in table.columns.values()][:4] == [
        "Geometric (publ.)",
        "SSD (publ.)",
        "CSI (publ.)",
        "MTL (publ.)",
    ]
    assert list(table.columns)[4:] == ["rot-imgn", "combined", "untrained", "image-statistics"]
    assert row(table, "lsun", "cifar100").cells["SSD"].published == 79.50
    assert row(table, "lsun", "cifar100").cells["SSD"].ours is None
    assert row(table, "lsun", "cifar100").cells["rot-imgn"].published == 85.03
    assert len([r for r in table.rows if r.section == "ood"]) == 16
    assert not any("missing" in note for note in table.notes)  # rivals lack nothing
    assert "CIFAR100 → LSUN" in markdown(table) and r"CIFAR100 $\to$ LSUN" in latex(table)


def test_footnotes_name_images_stand_ins_and_doubtful_cells(tmp_path):
    path = write_sweep(tmp_path, variant=["dino", "dti"], extra="base: {eval: {ood: [cifar100, stl10, lsunlike]}}")
    table = table2(path, lambda c: record_of(c, official=False))
    notes = "\n".join(table.notes)
    assert "CIFAR10 train 50 imported (official 100)" in notes
    assert "† LSUN-like stands in for LSUN" in notes and row(table, "lsunlike").heading == "LSUN-like†"
    assert "STL10 shares all its classes but monkey" in notes
    assert "probably a slip" in notes
    assert "one GPU, torch 2.11, commit 0123456789" in notes and "Runs: 4 of 4 done" in notes
    assert row(table, "lsunlike").cells["dino"].published == 92.20
    assert row(table, "average").cells["dino"].published is None  # three sets are not the paper's eight
    assert row(table, "near average").cells["dino"].published == 90.29


def test_no_doubtful_cells_no_note(tmp_path):
    notes = "\n".join(table2(write_sweep(tmp_path, variant=["dino"])).notes)
    assert "probably a slip" not in notes and "†" not in notes and "Kendall" not in notes


def test_kendalls_tau_counts_pairs(tmp_path):
    names = ["dino", "imgn", "rot-imgn", "dti", "rot-dti"]
    ours = {"dino": 90.0, "imgn": 88.0, "rot-imgn": 95.0, "dti": 94.0, "rot-dti": 93.0, "none": 50.0}
    table = table2(write_sweep(tmp_path, variant=names), lambda c: record_of(c, lambda c, ood: ours[c.variant]))
    pairs = [(ours[a] - ours[b]) * (published.PRINTED_AVERAGES[a] - published.PRINTED_AVERAGES[b])
             for a, b in itertools.combinations(names, 2)]  # fmt: skip
    tau = sum(math.copysign(1, pair) for pair in pairs) / len(pairs)
    (note,) = [note for note in table.notes if "Kendall" in note]
    assert "n = 5 columns" in note and f"over 8 OOD sets {tau:.2f} (p = " in note


def test_the_near_sets_order_is_held_against_their_own_published_one(tmp_path):
    ours = {"none": 0.0, "dino": 1.0, "imgn": 2.0, "rot-imgn": 3.0, "dti": 4.0}  # as published on CIFAR100
    make = lambda c: record_of(c, lambda c, ood: 50 + ours[c.variant] * (1 if ood == "cifar100" else -1))  # noqa: E731
    table = table2(write_sweep(tmp_path, variant=list(ours)[1:]), make)
    (note,) = [note for note in table.notes if "Kendall" in note]
    assert (
        note.endswith("; by CIFAR100 alone 1.00 (p = 0.083).") and "by the average over 8 OOD sets -0.67 (p = " in note
    )


def test_synthetic_images_have_no_published_column(tmp_path):
    extra = "base: {eval: {ood: [synthetic-near, synthetic-digits]}, data: {sources: {imagenet: synthetic-aux}}}"
    path = write_sweep(tmp_path, variant=["dino", "imgn"], in_dist=["synthetic"], extra=extra)
    table = table2(path, lambda c: record_of(c, lambda c, ood: 80.0))
    assert not any(cell.published for r in table.rows for cell in r.cells.values())
    text = markdown(table)
    assert "*published*" not in text and "Published:" not in text
    assert "ImageNet negatives are drawn from Synthetic aux" in text


def test_csv_is_tidy_and_exact(tmp_path):
    third = 90 + 1 / 3
    make = lambda c: record_of(c, lambda c, ood: third + c.seed)  # noqa: E731
    table = table2(write_sweep(tmp_path, variant=["dino"], seed=[0, 1]), make)
    rows = list(csv.DictReader(io.StringIO(as_csv([table]))))
    (cell,) = [r for r in rows if (r["ood"], r["column"]) == ("svhn", "dino")]
    assert float(cell["mean"]) == math.fsum([third, third + 1]) / 2
    half = stats.t.ppf(0.975, 1) * math.sqrt(0.5) / math.sqrt(2)
    assert float(cell["low"]) == pytest.approx(float(cell["mean"]) - half)
    assert float(cell["high"]) == pytest.approx(float(cell["mean"]) + half)
    assert (cell["n"], float(cell["published"])) == ("2", 99.38)
    assert float(cell["difference"]) == pytest.approx(third + 0.5 - 99.38)
    assert {"average", "near average", "far average", "sensitivity", "k-NN accuracy, k=20"} <= {r["ood"] for r in rows}


def test_csv_keeps_missing_cells(tmp_path):
    make = lambda c: None if c.variant == "imgn" else record_of(c)  # noqa: E731
    rows = list(csv.DictReader(io.StringIO(as_csv([table2(write_sweep(tmp_path, variant=["dino", "imgn"]), make)]))))
    (cell,) = [r for r in rows if (r["ood"], r["column"]) == ("svhn", "imgn")]
    assert (cell["mean"], cell["low"], cell["n"], cell["published"], cell["difference"]) == ("", "", "0", "99.5", "")


def test_names_are_escaped(tmp_path):
    extra = 'base: {eval: {ood: ["my_set|50%", svhn]}}'
    table = table2(write_sweep(tmp_path, variant=["dino"], extra=extra))
    assert r"my\_set\|50%" in markdown(table)
    assert r"my\_set\textbar{}50\%" in latex(table)
    widths = {len([c for i, c in enumerate(line) if c == "|" and line[i - 1] != "\\"])
              for line in markdown(table).splitlines() if line.startswith("|")}  # fmt: skip
    assert widths == {5}  # three columns and the corner on every line
    assert md("a_b|c*d<e>`") == r"a\_b\|c\*d\<e>\`"
    assert tex(r"50% & a_b #1 {x} ~ ^ \ $") == (
        r"50\% \& a\_b \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$"
    )


def test_latex_is_booktabs_with_as_many_cells_on_every_line(tmp_path):
    text = latex(table2(write_sweep(tmp_path, variant=["dino", "imgn"])))
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrrrr}", r"\end{table}"):
        assert word in text
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    assert {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")} == {4}
    assert all(ord(c) < 128 for c in text)
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("number", [1, 2])
def test_the_terminal_table_fits_80_columns_and_loses_nothing(tmp_path, number):
    path = write_sweep(tmp_path, variant=list(VARIANTS), seed=[0, 1])
    (table,) = (tables.table1 if number == 1 else tables.table2)(group_of(path, lambda c: record_of(c, shifted)))
    text = on_terminal(table)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for r in table.rows:
        for line in lines(table, r, inline_interval=False):
            assert all(word in text for cell in line.texts for word in cell.split())  # words fold, numbers do not


def test_fold():
    assert fold("TinyImageNet") == "Tiny\nImageNet"
    assert fold("Rot. ImgN") == "Rot.\nImgN"
    assert fold("DINO") == "DINO"
    assert fold("untrained") == "untrained"


def test_columns_that_print_the_same_are_both_bold_on_the_terminal_too(tmp_path):
    ours = {"dino": 80.004, "imgn": 79.996, "rot-imgn": 79.99, "none": 99.0}
    path = write_sweep(tmp_path, variant=["dino", "imgn", "rot-imgn"])
    table = table2(path, lambda c: record_of(c, lambda c, ood: ours[c.variant]))
    assert {column for column, cell in row(table, "svhn").cells.items() if cell.best} == {"dino", "imgn"}
    (grid,) = [part for part in terminal(table, 200) if isinstance(part, RichTable)]
    titles, *columns = ([cell for cell in column.cells if isinstance(cell, Text)] for column in grid.columns)
    place = [cell.plain for cell in titles].index("SVHN")
    shown = [(column[place].plain, str(column[place].style)) for column in columns]
    assert [number for number, style in shown if style == "bold green"] == ["80.00", "80.00"]
    assert [number for number, _ in shown] == ["80.00", "80.00", "79.99", "99.00", "99.00"]


def test_each_k_of_the_vote_has_a_row_of_its_own(tmp_path):
    accuracies = {"20": 61.5, "10": 58.25}
    table = table2(write_sweep(tmp_path, variant=["dino", "imgn"]), lambda c: record_of(c, knn_accuracy=accuracies))
    for k, value in accuracies.items():
        assert row(table, f"k-NN accuracy, k={k}").cells["imgn"].ours.mean == value


def test_a_part_of_the_official_images_is_told_from_all_of_them(tmp_path):
    def make(c):
        made = record_of(c)
        whole = made.data["svhn/test"].model_copy(update={"official_count": 50})
        return made.model_copy(update={"data": made.data | {"svhn/test": whole}})

    (note,) = [one for one in table2(write_sweep(tmp_path, variant=["dino"]), make).notes if one.startswith("Images:")]
    assert "CIFAR10 train 50 of 100," in note and "SVHN test 50," in note
