"""What a terminal of any width is shown: tables, prose, progress."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from benchmark.launch.status import Row


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A callable for (what is being done, how many, of how many): a bar on a terminal, else a line every 5 seconds."""
    if sys.stdout.isatty():
        from rich.progress import Progress

        with Progress(transient=True) as bar:
            task = bar.add_task("")
            yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
        return
    last = time.monotonic()

    def line(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 5:
            last = time.monotonic()
            say(f"{what}: {done} of {total}")

    yield line


def print_rows(rows: Sequence[Row], title: str, with_logs: bool = False) -> None:
    """The state of runs as a table; the logs of runs that are not done in lines of their own (paths are long)."""
    lines = [[row.name, row.state, *([row.age] if with_logs else []), row.detail] for row in rows]
    print_table(["run", "state", *(["age"] if with_logs else []), "detail"], lines, title)
    for row in rows:
        if row.state == "broken":
            say(f"broken: {row.name}: {row.detail}")
    if with_logs:
        done = [row.log for row in rows if row.log is not None and row.state == "done"]
        for row in rows:
            if row.log is not None and row.state != "done":
                say(f"log of {row.name}: {row.log}")
        if done:
            say(f"logs of the {len(done)} done: {done[0].parent.parent}/RUN/log.txt")


def print_table(columns: Sequence[str], lines: Sequence[Sequence[str]], title: str) -> None:
    """A table that fits 80 columns or the terminal: a last cell that is too long goes below its line."""
    widths = [max(len(line[i]) for line in [columns, *lines]) for i in range(len(columns))]
    total = shutil.get_terminal_size((80, 24)).columns
    room = total - sum(widths[:-1]) - 2 * (len(widths) - 1)
    colours = {
        "done": "green",
        "ready": "green",
        "failed": "red",
        "broken": "red",
        "no data": "red",
        "no weights": "red",
        "missing": "yellow",
        "running": "cyan",
        "pending": "cyan",
        "suspended": "yellow",
        "lost": "yellow",
        "unknown": "yellow",
    }
    say("\n".join(textwrap.wrap(title, total, break_long_words=False, break_on_hyphens=False)))
    for line in [columns, *lines]:
        cells = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        last = " ".join(line[-1].split())
        text = "  ".join([*cells, last if len(last) <= room else ""]).rstrip()
        if len(last) > room:
            text += "\n    " + (last if len(last) <= total - 4 else last[: total - 7] + "...")
        typer.secho(text, fg=next((colours[cell] for cell in line[1:] if cell in colours), None), bold=line is columns)


def print_checklist(title: str, entries: Mapping[str, str]) -> None:
    """A title and one line per entry, wrapped to the terminal: what it is, and what to do about it."""
    say_wrapped(title)
    for name, what in entries.items():
        say_wrapped(f"- {name}: {what}")


def say(text: str) -> None:
    """A line, at once: whoever reads a pipe need not wait for the end. Names of files need not be UTF-8."""
    print(text.encode("utf-8", "backslashreplace").decode(), flush=True)


def warn(text: str) -> None:
    """A line on stderr, of what may spoil a result; none for ""."""
    if text:
        print(text.encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)


def say_wrapped(text: str) -> None:
    """Prose in the width of the terminal, further lines indented; paths and names are not broken."""
    width = shutil.get_terminal_size((80, 24)).columns
    say(textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))
