"""The one-class table written down: notes, Markdown, LaTeX, CSV and the terminal."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from one_class_fakes import by_hand, everything, level, one_record, row, run, runs, table_of
from rich.console import Console

from benchmark.report.tables.cells import Table
from benchmark.report.tables.text import as_csv, latex, lines, markdown, terminal


def on_terminal(table: Table, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    for part in terminal(table, width):
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_footnotes_name_images_epochs_network_and_what_was_published():
    own = {"model": {"backbone": "resnet18", "args": {"width": 2}}, "train": {"epochs": 40, "batch": 64}}
    configs = [*runs(["rotation"], **own), *runs(["dino", "rot-in-dist", "image-statistics"])]  # fmt: skip
    make = lambda c: one_record(c, train=1500 if "cat" in c.in_dist else 2000)  # noqa: E731
    notes = "\n".join(table_of(configs, make).notes)
    assert "rotation: resnet18, width 2, 32 px, 40 epochs, batch 64, lr " in notes
    assert "; a class: 1,500 to 2,000 training images, 1,000 test images against 9,000." in notes
    assert "DINO, Rot. In-Dist.: vit_small_patch16_224, views 256/128 px, K = 4096, 500 epochs" in notes
    assert "image statistics: no network" in notes and "all 5,000 training images of a class" in notes
    assert "WideResNet 40-2, 200 epochs" in notes and "90.1" in notes and "Runs: 40 of 40 done" in notes
    imported = "\n".join(table_of(configs, lambda c: one_record(c, official=False)).notes)
    assert "Imported, not the official files: cifar10:airplane/test" in imported and "Imported" not in notes


def test_intervals_are_explained_only_where_there_are_any():
    assert not any("Student-t" in note for note in table_of(runs(["rotation"])).notes)
    (note,) = [note for note in table_of(everything()).notes if "Student-t" in note]
    assert "not over the classes" in note


def test_the_csv_is_tidy_exact_and_has_the_training_data():
    table = table_of(everything())
    rows = list(csv.DictReader(io.StringIO(as_csv([table]))))
    (cell,) = [r for r in rows if (r["in_dist"], r["column"]) == ("cifar10:cat", "rotation")]
    values = np.array([level(run("cat", "rotation", seed)) for seed in (0, 1, 2)])
    assert cell["ood"] == "cifar10:not-cat" and cell["training_data"] == "scratch" and cell["n"] == "3"
    assert float(cell["mean"]) == pytest.approx(values.mean(), abs=1e-12)
    assert float(cell["high"]) - float(cell["mean"]) == pytest.approx(by_hand(values)[1])
    assert float(cell["published"]) == 80.8
    (mean,) = [r for r in rows if (r["in_dist"], r["ood"], r["column"]) == ("cifar10", "mean", "CSI")]
    assert (mean["published"], mean["mean"], mean["n"]) == ("94.3", "", "0")
    assert len(rows) == len({(r["in_dist"], r["ood"], r["column"], r["group"]) for r in rows})
    assert sum(r["column"] == "rot-dti" for r in rows) == 11


def test_markdown_and_latex_hold_every_cell():
    table = table_of(everything())
    text, tex = markdown(table), latex(table)
    for r in table.rows:
        for line in lines(table, r, inline_interval=True):
            for cell in filter(None, line.texts):
                assert cell in text and cell.replace("±", r"$\pm$").lstrip("-") in tex
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    body = tex.split(r"\toprule")[1].split(r"\bottomrule")[0]
    assert {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")} == {len(table.columns)}
    assert body.count(r"\midrule") == 4  # below header, training data, classes and mean: not between classes
    assert all(ord(c) < 128 for c in tex) and tex.count("{") == tex.count("}")


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_table_fits_and_loses_nothing(width):
    table = table_of(everything())
    text = on_terminal(table, width)
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    for r in table.rows:
        for line in lines(table, r, inline_interval=False):
            assert all(word in text for cell in line.texts for word in cell.split())
    assert "Training data: scratch: " in text and text.count("\nairplane ") == text.count(
        "\ntraining data "
    )  # every block has both


def test_the_training_data_are_printed_with_every_column():
    table = table_of(everything())
    learns_from = {key: column.learns_from for key, column in table.columns.items()}
    assert learns_from["rot-dti"] == "aux, made with labels" and learns_from["CSI"] == "scratch"
    assert row(table, "training data").texts == learns_from
    line = next(text for text in markdown(table).splitlines() if text.startswith("| training data"))
    assert [part.strip() for part in line.strip("|").split("|")][1:] == list(learns_from.values())
    text = on_terminal(table)
    assert text.count("scratch") >= 10 and "labels" in text
    assert any("used to select the images of the one class" in note for note in table.notes)
