"""A table written four ways: for a terminal, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmark.data.catalog import info
from benchmark.report.tables.cells import MISSING, Cell, Row, Table

if TYPE_CHECKING:
    from rich.console import RenderableType

# --- one table, written four ways ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One printed line of a row. kind: "ours", "interval", "published" or "difference"."""

    kind: str
    label: str
    texts: list[str]
    best: list[bool]


def lines(table: Table, row: Row, inline_interval: bool) -> list[Line]:
    """A row as printed lines: ours, its interval (or inline), published, difference; only those that have content."""
    columns = list(table.columns)
    # A terminal has a heading for each in-distribution set instead.
    several = inline_interval and table.several_in_dists
    title = f"{info(row.in_dist).title} → {row.heading}" if several else row.heading
    if row.texts:
        return [Line("ours", title, [row.texts.get(column, "") for column in columns], [False] * len(columns))]
    cells = [row.cells[column] for column in columns]
    plain = [False] * len(cells)
    d = row.decimals

    def ours(cell: Cell) -> str:
        if not cell.ours:
            return MISSING if cell.planned else ""
        half = f" ± {cell.ours.half:.{d}f}" if inline_interval and cell.ours.half is not None else ""
        return f"{cell.ours.mean:.{d}f}{half}{'*' if cell.over else ''}"

    made = [Line("ours", title, [ours(cell) for cell in cells], [cell.best for cell in cells])]
    halves = ["" if not cell.ours or cell.ours.half is None else f"±{cell.ours.half:.{d}f}" for cell in cells]
    if any(halves) and not inline_interval:
        made.append(Line("interval", "  95%", halves, plain))
    if any(cell.published is not None for cell in cells):
        texts = ["" if cell.published is None else f"{cell.published:.{d}f}" for cell in cells]
        made.append(Line("published", "  published", texts, plain))
    if any(cell.difference is not None for cell in cells):
        texts = ["" if cell.difference is None else f"{cell.difference:+.{d}f}" for cell in cells]
        made.append(Line("difference", "  difference", texts, plain))
    return made


def markdown(table: Table) -> str:
    """The table as GitHub Markdown."""
    body = []
    for row in table.rows:
        for line in lines(table, row, inline_interval=True):
            texts = [f"**{text}**" if best else md(text) for text, best in zip(line.texts, line.best, strict=True)]
            label = md(line.label.strip())
            body.append([f"&emsp;*{label}*" if line.kind != "ours" else label, *texts])
    header = [md(table.corner), *(md(column.heading) for column in table.columns.values())]
    align = ["left"] + ["right"] * len(table.columns)
    return md_section(table.caption, table.heading, md_grid(header, body, align), table.notes)


def md_grid(header: list[str], body: list[list[str]], align: list[str] | None = None) -> str:
    """A table of GitHub Markdown; its cells are Markdown already. align: of the columns, by default to the left."""
    from tabulate import tabulate

    return tabulate(body, header, tablefmt="pipe", disable_numparse=True, colalign=align)


def md_section(title: str, heading: str, middle: str, notes: Iterable[str]) -> str:
    """A title, what tells this group of runs from others ("" where nothing does), some Markdown, and notes."""
    below = "\n".join(f"- {md(note)}" for note in notes)
    parts = [f"## {md(title)}", f"### {md(heading)}" if heading else "", middle, below]
    return "\n\n".join(part for part in parts if part) + "\n"


def md(text: str) -> str:
    """`text` with Markdown's special characters escaped."""
    return re.sub(r"([\\|*_<`])", r"\\\1", text)


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "—": "---", "±": r"$\pm$", "†": r"$^{\dagger}$", "→": r"$\to$", "τ": r"$\tau$", "ρ": r"$\rho$", "|": r"\textbar{}",
}  # fmt: skip


def tex(text: str) -> str:
    """`text` with LaTeX's special characters escaped."""
    return "".join(_TEX.get(character, character) for character in text)


def latex(table: Table) -> str:
    """The table in booktabs style; the document needs the packages booktabs and graphicx."""
    body: list[str] = []
    for index, row in enumerate(table.rows):
        if index and row.place != table.rows[index - 1].place:
            body.append(r"\midrule")
        for line in lines(table, row, inline_interval=True):
            label = tex(line.label.strip())
            texts = [_tex_cell(text, best) for text, best in zip(line.texts, line.best, strict=True)]
            body.append(" & ".join([rf"\quad {label}" if line.kind != "ours" else label, *texts]) + r" \\")
    header = " & ".join([tex(table.corner), *(tex(column.heading) for column in table.columns.values())]) + r" \\"
    caption = f"{table.caption}{f' ({table.heading})' if table.heading else ''}."
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{tex(caption)}}}", r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule", header, r"\midrule", *body, r"\bottomrule",
        r"\end{tabular}}", r"\par\smallskip", r"\begin{minipage}{\textwidth}\footnotesize",
        *(rf"{tex(note)}\par" for note in table.notes), r"\end{minipage}", r"\end{table}", "",
    ])  # fmt: skip


def _tex_cell(text: str, best: bool) -> str:
    escaped = re.sub(r"^-(?=\d)", "$-$", tex(text))
    return rf"\textbf{{{escaped}}}" if best else escaped


CSV_FIELDS = ("in_dist", "ood", "column", "mean", "low", "high", "n", "published", "difference", "group")


def as_csv(many: Iterable[Table]) -> str:
    """Tidy, one row a cell, full precision; `ood` also names the averages and measures, `group` is the heading.

    Tables that state the training data have it in a further column."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    many = list(many)
    stated = any(table.states_training_data for table in many)
    writer.writerow([*CSV_FIELDS, *(["training_data"] if stated else [])])
    for table in many:
        for row in table.rows:
            for column, cell in row.cells.items():
                if not (cell.ours or cell.planned or cell.published is not None):
                    continue
                ours = cell.ours
                half = ours.half if ours else None
                span = (ours.mean - half, ours.mean + half) if ours and half is not None else (None, None)
                numbers = [ours.mean, *span, ours.n] if ours else [None, None, None, 0]
                about_it = [cell.published, cell.difference, table.heading]
                if stated:
                    about_it.append(table.columns[column].learns_from)
                writer.writerow([row.in_dist, row.key, column, *numbers, *about_it])
    return stream.getvalue()


_STYLES = {"ours": "", "interval": "dim", "published": "dim", "difference": "cyan"}


def terminal(table: Table, width: int) -> list[RenderableType]:
    """The table for a terminal of `width` columns, split into as many blocks as it takes, and its notes."""
    from rich.table import Table as RichTable
    from rich.text import Text

    parts: list[RenderableType] = [Text(table.caption, style="bold")]
    if table.heading:
        parts.append(Text(table.heading, style="bold yellow"))
    everything = [(row, _folded(row, lines(table, row, inline_interval=False))) for row in table.rows]
    titles = [fold(column.heading) for column in table.columns.values()]
    printed = [line for _, of_row in everything for line in of_row]
    widths = [
        max(map(len, "\n".join([title, *(line.texts[i] for line in printed)]).split("\n")))
        for i, title in enumerate(titles)
    ]
    first = max(len(table.corner), *(len(line.label) for line in printed))
    for block in _blocks(widths, width - first - 1):
        grid = RichTable(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
        grid.add_column(Text(table.corner), no_wrap=True)
        for i in block:
            grid.add_column(Text(titles[i]), justify="right", vertical="bottom", no_wrap=True)
        before = Row("", "", "", "")
        for row, of_row in everything:
            if before.section and row.place != before.place:
                grid.add_row()
            if table.several_in_dists and row.in_dist != before.in_dist:
                grid.add_row(Text(f"{info(row.in_dist).title} →", style="bold"))
            before = row
            for line in of_row:
                if line.kind != "ours" and not any(line.texts[i] for i in block):
                    continue
                style = _STYLES[line.kind]
                texts = [Text(line.texts[i], style="bold green" if line.best[i] else style) for i in block]
                grid.add_row(Text(line.label, style=style if line.kind != "ours" else ""), *texts)
        parts += [Text(""), grid]
    parts.append(Text(""))
    parts += [Text(note) for note in table.notes]
    return [*parts, Text("")]


def _folded(row: Row, of_row: list[Line]) -> list[Line]:
    """Words in place of numbers fold as the titles do."""
    return [replace(line, texts=[fold(text) for text in line.texts]) for line in of_row] if row.texts else of_row


def fold(title: str, width: int = 8) -> str:
    """`title` over several lines, broken at spaces and hyphens, and before capitals in a word longer than `width`."""
    words = re.split(r"(?<=[ -])", title)
    pieces = [p for word in words for p in (re.split(r"(?<=[a-z])(?=[A-Z])", word) if len(word) > width else [word])]
    out = [""]
    for piece in pieces:
        if out[-1] and len(out[-1] + piece.rstrip()) > width:
            out.append("")
        out[-1] += piece
    return "\n".join(line.rstrip() for line in out)


def _blocks(widths: list[int], room: int) -> list[list[int]]:
    """Columns in runs that fit in `room` characters each; a column that is wider stands alone."""
    blocks: list[list[int]] = [[]]
    left = room
    for i, width in enumerate(widths):
        if width + 1 > left and blocks[-1]:
            blocks.append([])
            left = room
        blocks[-1].append(i)
        left -= width + 1
    return blocks
