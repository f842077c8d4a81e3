"""Who is tied with the best of a row: by hand, and the level and power of it by simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from benchmark.report.images import OfImages, of_scores
from benchmark.report.tables.cells import Cell, Row
from benchmark.report.tables.tied import IMAGES, SEEDS, WELCH, bold_note, mark_best, p_values


def seeds(*values: float) -> Cell:
    return Cell(dict(enumerate(values)))


def bold(cells: dict[str, Cell], **how) -> set[str]:
    return {key for key, cell in mark_best(cells, list(cells), **how).items() if cell.best}


def test_p_over_seeds_is_students_paired_or_welchs() -> None:
    best, same, fewer, alone = seeds(80, 82, 84), seeds(79, 81.5, 82), seeds(79.0, 80.5), seeds(70)
    found = p_values({"same": same, "fewer": fewer, "alone": alone}, best)
    paired = stats.ttest_rel([80, 82, 84], [79, 81.5, 82]).pvalue
    welch = stats.ttest_ind([80, 82, 84], [79, 80.5], equal_var=False).pvalue
    assert found == {"same": (pytest.approx(paired), SEEDS), "fewer": (pytest.approx(welch), WELCH)}


def test_the_p_values_are_holms_over_the_row() -> None:
    """Alone b is told from a, p = 0.0385 (paired, n = 3); beside two others as far away it is not, 0.115."""
    a, b = seeds(80, 81, 82), seeds(79.35, 80.0, 80.65)
    assert 0.03 < stats.ttest_rel([80, 81, 82], [79.35, 80.0, 80.65]).pvalue < 0.05
    assert bold({"a": a, "b": b}) == {"a"}
    assert bold({"a": a, "b": b, "c": b, "d": b}) == {"a", "b", "c", "d"}
    assert bold({"a": a, "b": b, "c": seeds(10, 11, 12)}) == {"a"}  # that one is gone before b is asked


def test_less_is_better_where_it_is_and_what_is_printed_the_same_is_bold_too() -> None:
    cells = {"a": seeds(10, 10.1, 10.2), "b": seeds(50, 50.1, 50.2), "c": seeds(10.001, 10.101, 10.201)}
    assert bold(cells, more=False) == {"a", "c"} and bold(cells) == {"b"}
    assert bold(cells, more=False, decimals=3) == {"a"}


def test_where_neither_is_possible_the_best_alone_is_bold() -> None:
    cells = {"a": seeds(80.0), "b": seeds(79.99), "c": seeds(80.0, 82.0)}
    assert bold({key: cells[key] for key in "ab"}) == {"a"} and bold(cells) == {"c"}
    marked = mark_best(cells, "abc")
    assert [marked[key].compared_by for key in "abc"] == ["", "", None]
    (note,) = bold_note([Row("", "k", "k-NN", "measure", mark_best({key: cells[key] for key in "ab"}, "ab"))])
    assert note == (
        "Bold: the best trained column of a row, alone: neither seeds nor scores of test images tell which others are "
        "as good."
    )


def test_lone_partial_and_unasked_cells_are_never_bold() -> None:
    cells = {"a": seeds(80.0, 80.1), "b": Cell({0: 90.0, 1: 90.1}, over=3), "c": Cell(), "untrained": seeds(95.0, 95.1)}
    assert not any(cell.best for cell in mark_best(cells, ["a", "b", "c"]).values())
    more = cells | {"d": seeds(70.0, 70.1)}
    assert [key for key, cell in mark_best(more, ["a", "b", "c", "d"]).items() if cell.best] == ["a"]
    assert bold_note([Row("", "k", "k", "ood", cells)]) == []


# --- over images ------------------------------------------------------------------------------------------------------


def column(sample: OfImages) -> Cell:
    return Cell({0: sample.value}, images=lambda: sample)


def row_of_images(rng: np.random.Generator, shifts: list[float], count: int = 80) -> dict[str, Cell]:
    """Columns whose scores of the same images are half shared; shifts: how far the OOD images are to each."""
    common = [rng.normal(size=count) for _ in range(2)]
    made = {}
    for place, shift in enumerate(shifts):
        negatives, positives = (part + rng.normal(size=count) for part in common)
        made[str(place)] = column(of_scores(negatives, positives + shift, "id", "ood"))
    return made


def row_of_seeds(rng: np.random.Generator, shifts: list[float]) -> dict[str, Cell]:
    shared = rng.normal(size=4)
    return {str(place): seeds(*(70 + shared + rng.normal(size=4) + shift)) for place, shift in enumerate(shifts)}


Make = Callable[[np.random.Generator, list[float]], dict[str, Cell]]


@pytest.mark.parametrize(("make", "rows"), [(row_of_images, 400), (row_of_seeds, 1500)])
@pytest.mark.parametrize("shifts", [[1.0] * 6, [1.0, 1.0, *[-9.0] * 4]])
def test_a_column_that_is_truly_the_best_is_left_out_in_at_most_5_percent(
    make: Make, rows: int, shifts: list[float]
) -> None:
    """Six equal columns; and two of them above four that are far below, which Holm then tells apart first."""
    rng = np.random.default_rng(11)
    left_out = sum("0" not in bold(make(rng, shifts), decimals=9) for _ in range(rows))
    assert left_out <= stats.binom.ppf(0.999, rows, 0.05)
    assert left_out > 0  # it does tell columns apart


@pytest.mark.parametrize(("make", "gap"), [(row_of_images, 1.5), (row_of_seeds, 12.0)])
def test_a_clear_difference_is_seen(make: Make, gap: float) -> None:
    rng = np.random.default_rng(12)
    alone = sum(bold(make(rng, [1.0 + gap, *[1.0] * 5])) == {"0"} for _ in range(100))
    assert alone >= 95


def test_one_run_against_several_is_over_images_and_the_note_names_each_way() -> None:
    rng = np.random.default_rng(13)
    cells = row_of_images(rng, [2.0, 2.0, -2.0])
    several = Cell({0: 99.0, 1: 99.1}, images=cells["0"].images)
    found = p_values({"1": cells["1"], "2": cells["2"], "seeds": seeds(98, 98.2)}, several)
    assert [way for _, way in found.values()] == [IMAGES, IMAGES, SEEDS]
    assert found["2"][0] < 1e-6 < found["1"][0]
    assert list(p_values({"1": cells["1"]}, seeds(99.0))) == []  # the best has kept no scores
    rows = [Row("", "k", "SVHN", "ood", mark_best(cells, list(cells))),
            Row("", "k", "k-NN", "measure", mark_best({"0": seeds(1.0), "1": seeds(2.0)}, ["0", "1"]))]  # fmt: skip
    assert bold_note(rows, "column") == [
        "Bold: the best score of a column, and all that cannot be told from it at 5% (paired bootstrap over the test "
        "images; Holm over the column); where neither is possible, as in k-NN, the best alone."
    ]
