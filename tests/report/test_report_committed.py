"""The numbers that are committed in reports/ are what the committed records give."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from compare_reports import REPOSITORY, differences, make_again

from benchmark.report.figures import files

COMMITTED = REPOSITORY / "reports"


def test_the_committed_reports_are_those_of_the_committed_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "content", lambda *_: {})  # figures hold no numbers that the tables do not
    monkeypatch.chdir(tmp_path)
    make_again(tmp_path)
    found = list(differences(COMMITTED, tmp_path, ["*.csv"]))
    of_rows = [line for line in found if line.endswith((": is gone", ": is new"))]  # a sweep asks for other scores now
    assert [line for line in found if line not in of_rows] == []
    assert len(of_rows) < sum(len(path.read_text().splitlines()) for path in COMMITTED.rglob("*.csv")) / 4


@pytest.mark.parametrize("kind", ["csv", "md"])
def test_a_number_that_differs_is_found(tmp_path: Path, kind: str) -> None:
    shutil.copytree(COMMITTED, tmp_path / "reports")
    file = tmp_path / "reports" / "cpu" / f"table2.{kind}"
    text = file.read_text()
    number = re.findall(r"\d\d\.\d\d", text)[0]
    file.write_text(text.replace(number, f"{float(number) + 0.01:.2f}", 1))
    (found,) = differences(COMMITTED, tmp_path / "reports")
    assert found.startswith(f"cpu/table2.{kind}:")
    file.unlink()
    assert list(differences(COMMITTED, tmp_path / "reports")) == [f"cpu/table2.{kind}: only in {COMMITTED}"]
