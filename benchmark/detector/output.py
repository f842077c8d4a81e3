"""Rows as CSV or JSON lines, and how far the scoring is."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import IO, Any

from benchmark.detector.rows import Row


@dataclass
class Counts:
    """How many images were seen, how many of them called OOD, and how many not readable."""

    seen: int = 0
    ood: int = 0
    broken: int = 0
    seconds: float = 0.0

    def add(self, row: Row) -> None:
        self.seen += 1
        self.broken += bool(row.error)
        self.ood += bool(row.ood)


def csv_lines(rows: Iterable[Row], nearest: int, with_files: bool, header: bool = True) -> Iterator[str]:
    """Header and rows; nearest_1, cosine_1, ... are the nearest training images, file_1 where files are known."""
    parts = ["nearest", "cosine", *(["file"] if with_files else [])]
    columns = [f"{part}_{i}" for i in range(1, nearest + 1) for part in parts]
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")

    def take(cells: Sequence[object]) -> str:
        line.seek(0)
        line.truncate()
        writer.writerow(cells)
        return line.getvalue()

    if header:
        yield take(["path", "score", "ood", "p_value", *columns, "error"])
    for row in rows:
        ood = "" if row.ood is None else "yes" if row.ood else "no"
        p_value = "" if row.p_value is None else f"{row.p_value:.6g}"
        near: list[object] = []
        for one in row.nearest:
            near += [one.index, one.cosine, *([one.file] if with_files else [])]
        near += [""] * (len(columns) - len(near))
        yield take([row.source.path, "" if row.score is None else row.score, ood, p_value, *near, row.error])


def json_lines(rows: Iterable[Row]) -> Iterator[str]:
    """One JSON object a line; of an image that could not be read only path and error."""
    for row in rows:
        if row.error:
            value: dict[str, Any] = {"path": row.source.path, "error": row.error}
        else:
            near = [{key: value for key, value in vars(one).items() if value is not None} for one in row.nearest]
            value = {
                "path": row.source.path, "score": row.score, "ood": row.ood, "p_value": row.p_value, "nearest": near,
            }  # fmt: skip
        yield json.dumps(value) + "\n"


def write_lines(lines: Iterable[str], stream: IO[bytes]) -> None:
    """As UTF-8; of a path that is none, the odd bytes as \\udcXX."""
    for line in lines:
        stream.write(line.encode("utf-8", "backslashreplace"))


class Progress:
    """Counts the rows that pass, and shows how far it is on stderr: a bar on a terminal, else a line now and then."""

    def __init__(self, total: int | None, every_seconds: float = 10.0) -> None:
        self.counts = Counts()
        self._total, self._every = total, every_seconds

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        counts, started = self.counts, time.monotonic()
        told = started
        with self._bar() as bar:
            task = bar.add_task("", total=self._total, found=0) if bar is not None else None
            for row in rows:
                counts.add(row)
                now = time.monotonic()
                counts.seconds = now - started
                if bar is not None and task is not None and (now - told > 0.1 or counts.seen == self._total):
                    told = now
                    bar.update(task, completed=counts.seen, found=counts.ood)
                elif bar is None and now - told > self._every:
                    told = now
                    print(self.text(), file=sys.stderr, flush=True)
                yield row

    def text(self) -> str:
        counts = self.counts
        of = "" if self._total in (None, counts.seen) else f" of {self._total}"
        speed = f"; {counts.seen / counts.seconds:.0f} images/s" if counts.seconds > 0 else ""
        broken = f", {counts.broken} not readable" if counts.broken else ""
        return f"{counts.seen}{of} images, {counts.ood} OOD{broken}{speed}"

    def _bar(self) -> AbstractContextManager[Any]:
        if not sys.stderr.isatty():
            return nullcontext()
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        return RichProgress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[found]} OOD"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
