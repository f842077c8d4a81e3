"""The `bench` command through its entry point, in this process."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass

import pytest

from benchmark.commands.app import main


@dataclass
class Said:
    """How a command ended: its exit code, what it wrote to standard output and to standard error."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, str]]:
        """Standard output as CSV."""
        return list(csv.DictReader(io.StringIO(self.out)))


def run_bench(monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], *arguments: object) -> Said:
    """`bench` with these arguments. `capture` is capsys or capfd; what it holds from before is dropped."""
    monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
    capture.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capture.readouterr()
    return Said(int(exit_.value.code or 0), captured.out, captured.err)
