"""A claim and what became of it, and lists of them as Markdown, CSV and for a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.report.claims.verdicts import ABOVE, Interval, Measured, Verdict, tally, verdict, verdict_of_all
from benchmark.report.tables.text import md, md_grid, md_section

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Claim:
    """A claim and what became of it. Numbers are in points of AUROC (%) unless `ours_text` says otherwise."""

    text: str
    published: str
    verdict: Verdict = "not judged"
    ours: float | None = None
    ours_text: str = "—"
    n: int = 0
    note: str = ""


@dataclass(frozen=True)
class Checked:
    """The claims of one group of runs. notes: how they are judged, and where the runs come from; why none is judged
    where there are none."""

    title: str
    heading: str
    claims: list[Claim]
    notes: list[str]


def join(notes: Iterable[str]) -> str:
    """The notes of a claim that say something, in one."""
    return "; ".join(note for note in notes if note)


def judged(text: str, paper: str, value: Measured, note: str, region: Interval = ABOVE, decimals: int = 2) -> Claim:
    """The claim that this value lies in `region`."""
    interval = value.interval()
    return _claim(text, paper, value, interval, verdict(interval, region), note, decimals)


def judged_least(text: str, paper: str, several: Sequence[Measured], note: str, decimals: int = 2) -> Claim:
    """The claim that every one of these values is above 0, which is told by the least, the first of them."""
    return _claim(text, paper, several[0], several[0].interval(), verdict_of_all(several), note, decimals)


def _claim(
    text: str, paper: str, value: Measured, interval: Interval | None, found: Verdict, note: str, decimals: int
) -> Claim:
    spread, n = "", len(value.by_seed)
    if interval is None:
        note = join([note, "one run, no interval"])
    elif n > 1:
        spread = f" ± {(interval[1] - interval[0]) / 2:.{decimals}f}"
    else:
        spread = f" [{interval[0]:+.{decimals}f}, {interval[1]:+.{decimals}f}]"
    return Claim(text, paper, found, value.mean, f"{value.mean:+.{decimals}f}{spread}", n, note)


def _tally(results: list[Claim]) -> str:
    return f"{len(results)} claims: {', '.join(tally([claim.verdict for claim in results]))}."


def markdown(checked: Checked) -> str:
    """The claims as GitHub Markdown."""
    body = [
        [md(text) for text in (c.text, c.published, c.ours_text, str(c.n), c.verdict, c.note)] for c in checked.claims
    ]
    header = ["claim", "published", "ours", "n", "verdict", "note"]
    align = ["left", "right", "right", "right", "left", "left"]
    grid = f"{_tally(checked.claims)}\n\n{md_grid(header, body, align)}" if checked.claims else ""
    return md_section(checked.title, checked.heading, grid, checked.notes)


def as_csv(many: Iterable[Checked]) -> str:
    """One row a claim, `ours` at full precision."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["claim", "published", "ours", "ours_text", "n", "verdict", "note", "group"])
    for checked in many:
        for c in checked.claims:
            writer.writerow([c.text, c.published, c.ours, c.ours_text, c.n, c.verdict, c.note, checked.heading])
    return stream.getvalue()


_COLOURS: dict[Verdict, str] = {"holds": "green", "unclear": "yellow", "fails": "red", "not judged": "dim"}


def terminal(checked: Checked) -> list[RenderableType]:
    """The claims for a terminal, and the rules they were judged by."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    grid.add_column("claim", ratio=1)
    for name, justify in (("published", "right"), ("ours", "right"), ("n", "right"), ("verdict", "left")):
        grid.add_column(name, justify=justify, no_wrap=name != "ours", max_width=14)  # type: ignore[arg-type]
    for claim in checked.claims:
        text = Text(claim.text).append(f" ({claim.note})" if claim.note else "", style="dim")
        grid.add_row(
            text,
            Text(claim.published),
            Text(claim.ours_text),
            str(claim.n),
            Text(claim.verdict, style=_COLOURS[claim.verdict]),
        )
    parts: list[RenderableType] = [Text(checked.title, style="bold")]
    if checked.heading:
        parts.append(Text(checked.heading, style="bold yellow"))
    if checked.claims:
        parts += [Text(""), grid, Text(""), Text(_tally(checked.claims))]
    return [*parts, *(Text(note) for note in checked.notes), Text("")]
