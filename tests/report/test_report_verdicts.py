"""The three verdicts: an interval against where a claim has its value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmark.report.claims.text import Checked, Claim, judged, judged_least, markdown, terminal
from benchmark.report.claims.verdicts import ABOVE, BELOW, Measured, tally, verdict, verdict_of_all, within
from benchmark.report.images import OfImages, bootstrap


@pytest.mark.parametrize(("interval", "above", "below", "close"), [
    ((0.1, 3.0), "holds", "fails", "unclear"),
    ((0.1, 1.9), "holds", "fails", "holds"),
    ((-0.1, 1.9), "unclear", "unclear", "holds"),
    ((-1.9, -0.1), "fails", "holds", "holds"),
    ((-2.1, 2.1), "unclear", "unclear", "unclear"),
    ((-3.0, -2.1), "fails", "holds", "fails"),
    ((2.1, 9.0), "holds", "fails", "fails"),
    ((0.0, 0.0), "unclear", "unclear", "holds"),
    (None, "not judged", "not judged", "not judged"),
])  # fmt: skip
def test_the_whole_interval_decides(interval, above, below, close) -> None:
    assert (verdict(interval, ABOVE), verdict(interval, BELOW), verdict(interval, within(2))) == (above, below, close)


def test_of_several_seeds_the_interval_is_students_and_images_are_not_asked() -> None:
    def never() -> OfImages:
        raise AssertionError

    values = [1.0, 2.5, 2.0]
    for level in (0.05, 0.01):
        found = Measured(values, never).interval(level)
        wanted = stats.t.interval(1 - level, 2, np.mean(values), stats.sem(values))
        assert found == pytest.approx(wanted)


def of_images(value: float, spread: float = 1.0, count: int = 400) -> OfImages:
    """Of standard error spread / sqrt(count)."""
    added = np.random.default_rng(3).normal(size=count)
    added = (added - added.mean()) / added.std()
    return OfImages(value, {"set": (spread * added).astype(np.float32)})


def test_of_one_run_the_interval_is_over_its_images() -> None:
    one = Measured([1.0], lambda: of_images(1.0, 10.0))
    found = one.interval()
    assert found is not None and found == pytest.approx((1 - 1.96 * 0.5, 1 + 1.96 * 0.5), abs=0.06)
    assert found == pytest.approx(tuple(np.quantile(bootstrap([of_images(1.0, 10.0)]), [0.025, 0.975])))
    wide = one.interval(0.001)
    assert wide is not None and wide[0] < found[0] and wide[1] > found[1]
    assert Measured([1.0]).interval() is None


@pytest.mark.parametrize(("values", "wanted"), [
    ([(1.0, 1.1), (5.0, 5.1)], "holds"),
    ([(1.0, 1.1), (5.0, 9.0)], "unclear"),  # above in the mean, with an interval across 0
    ([(-1.0, -1.001), (5.0, 5.1)], "fails"),
    ([(-1.0, -1.05), (5.0, 5.1)], "fails"),
    ([(-1.0, -1.17), *[(5.0, 5.1)] * 9], "unclear"),  # fails were it the only one
    ([(-1.0, -1.17)], "fails"),
    ([(1.0, 1.1), (5.0,)], "not judged"),
])  # fmt: skip
def test_more_than_each_of_several(values, wanted) -> None:
    assert verdict_of_all([Measured(list(one)) for one in values]) == wanted


def test_of_equal_values_few_verdicts_are_wrong() -> None:
    """No difference: "holds" and "fails" in 2.5% of the draws each; of the least of nine, "fails" in less than 2.5%."""
    rng = np.random.default_rng(8)
    draws = 2000
    found = [verdict(Measured(list(rng.normal(size=3))).interval(), ABOVE) for _ in range(draws)]
    most = stats.binom.ppf(0.9999, draws, 0.025)
    assert draws * 0.01 < found.count("holds") < most and draws * 0.01 < found.count("fails") < most

    def least() -> str:
        several = [Measured(list(row)) for row in rng.normal(size=(9, 3))]
        return verdict_of_all(sorted(several, key=lambda one: one.mean))

    found_of_all = [least() for _ in range(draws // 4)]
    assert found_of_all.count("fails") < stats.binom.ppf(0.9999, draws // 4, 0.025)
    assert found_of_all.count("holds") < stats.binom.ppf(0.9999, draws // 4, 0.025)


def test_what_is_written_of_each() -> None:
    one = judged("a", "+1", Measured([1.0], lambda: of_images(1.0, 1.0)), "why")
    assert (one.verdict, one.ours, one.n, one.note) == ("holds", 1.0, 1, "why")
    low, high = np.quantile(bootstrap([of_images(1.0, 1.0)]), [0.025, 0.975])
    assert one.ours_text == f"+1.00 [{low:+.2f}, {high:+.2f}]"
    assert judged("a", "+1", Measured([1.0, 2.0]), "").ours_text == f"+1.50 ± {12.706 / 2:.2f}"
    alone = judged("a", "+1", Measured([3.0]), "why", decimals=0)
    assert (alone.verdict, alone.ours_text, alone.note) == ("not judged", "+3", "why; one run, no interval")
    least = judged_least("a", "+1", [Measured([1.0, 1.01]), Measured([2.0, 9.0])], "")
    assert (least.verdict, least.ours) == ("unclear", pytest.approx(1.005))
    assert judged("a", "", Measured([-3.0, -3.01]), "", within(2)).verdict == "fails"


def test_all_three_are_counted() -> None:
    verdicts = ["holds"] * 2 + ["unclear"] * 3 + ["fails"] + ["not judged"] * 4
    assert tally(verdicts) == ["2 hold", "3 unclear", "1 fails", "4 could not be judged"]
    assert tally(["holds"]) == ["1 holds", "0 unclear", "0 fail", "0 could not be judged"]
    claims = [Claim(f"claim {place}", "", one) for place, one in enumerate(verdicts)]
    said = "10 claims: 2 hold, 3 unclear, 1 fails, 4 could not be judged."
    assert said in markdown(Checked("Claims", "", claims, []))
    assert any(str(part) == said for part in terminal(Checked("Claims", "", claims, [])))
    assert math.isclose(Measured([1.0, 2.0]).mean, 1.5)
