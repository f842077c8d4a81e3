"""The tables of the page: sortable, with seeds and published values at hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from benchmark.data.catalog import info
from benchmark.plan.methods import REFERENCES
from benchmark.report import table_text
from benchmark.report.cells import Cell, Row, Table


def _whole(name: str) -> str:
    """Perm-16 stays on one line."""
    return name.replace("-", "\N{NON-BREAKING HYPHEN}")


@dataclass(frozen=True)
class Heading:
    """Of a column, a button that sorts by "number" or "text"."""

    text: str
    kind: str = "number"
    label: str = ""

    @classmethod
    def of(cls, text: str, kind: str = "number", label: str = "") -> Heading:
        return cls(_whole(text), kind, label)


@dataclass(frozen=True)
class Shown:
    """A cell. more: (kind, text) of what stands below the number. quoted: another system's published value."""

    label: str
    ours: str
    number: float | None
    tip: str
    best: bool
    quoted: bool
    more: list[tuple[str, str]]


@dataclass(frozen=True)
class Line:
    """A row. label: the column that it stands for, where it does; marked: with its marker."""

    title: str
    cells: list[Shown]
    label: str = ""
    marked: bool = False


@dataclass
class Body:
    """Rows that belong together, and what stands above them."""

    kind: str
    sorts: bool
    above: str = ""
    lines: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class Grid:
    """One way round of a table. above: what stands over how many columns."""

    kind: str
    head: list[Heading]
    bodies: list[Body]
    above: list[tuple[str, int]] = field(default_factory=list)


def shown(made: Sequence[Table], said: Collection[str] = ()) -> dict[str, Any]:
    """Tables as the template shows them; `said`: notes that stand on the page already."""
    published = any(cell.published is not None for table in made for row in table.rows for cell in row.cells.values())
    return {"published": published, "tables": [_table(table, said) for table in made]}


def _table(table: Table, said: Collection[str]) -> dict[str, Any]:
    """A table twice, as the report has it and turned over; the page shows one of them."""
    columns = sorted(table.columns, key=lambda column: column in table.quoted)  # ours first, others' at the end
    notes = [note for note in table.notes if note not in said]
    if len(notes) < len(table.notes):
        notes.append("What is noted below Table 1 holds here too.")
    cells = {id(row): _cells(table, row) for row in table.rows}
    return {"title": table.title.removeprefix(f"Table {table.name}. "), "notes": notes,
            "grids": [_plain(table, columns, cells), _turned(table, columns, cells)]}  # fmt: skip


_BELOW = {"interval": "half", "published": "published", "difference": "published"}  # a line's kind -> its class
Cells = dict[int, dict[str, Shown]]  # of each row, by column


def _plain(table: Table, columns: list[str], cells: Cells) -> Grid:
    """OOD sets down, variants across; only the OOD sets are sorted, averages and measures stay below."""
    head = [Heading.of("OOD set" if table.several_in_dists else table.corner, "text"),
            *(Heading.of(table.columns[column], label=table.label(column)) for column in columns)]  # fmt: skip
    bodies: list[Body] = []
    before = ""
    for (section, _), rows in groupby(table.rows, lambda row: row.place):
        body = Body(section, section == "ood")
        for row in rows:
            if table.several_in_dists and section != "league" and row.in_dist != before:
                body.above = f"{info(row.in_dist).title} →"
                before = row.in_dist
            body.lines.append(Line(row.title, [cells[id(row)][column] for column in columns]))
        bodies.append(body)
    return Grid("plain", head, bodies)


def _turned(table: Table, columns: list[str], cells: Cells) -> Grid:
    """Variants down, OOD sets, averages and measures across; references and others' systems stay below."""
    rows = [row for row in table.rows if row.cells or not row.block]  # without the headings of blocks
    rows.sort(key=lambda row: row.section == "league")  # words behind the numbers
    head = [Heading.of("variant", "text"), *(Heading.of(_title(table, row)) for row in rows)]
    parts = {kind: Body(kind, True) for kind in ("trained", "references", "rivals")}
    for column in columns:
        label = table.label(column)
        kind = "references" if label in REFERENCES else "rivals" if column in table.quoted else "trained"
        line = Line(_whole(table.columns[column]), [cells[id(row)][column] for row in rows], label, kind != "rivals")
        parts[kind].lines.append(line)
    of = groupby(rows, lambda row: f"{info(row.in_dist).title} →" if row.section != "league" else "")
    above = [(name, len(list(members))) for name, members in of] if table.several_in_dists else []
    return Grid("turned", head, [body for body in parts.values() if body.lines], above)


def _title(table: Table, row: Row) -> str:
    """A row's title where no heading above it says of what block it is."""
    blocks = {one.block for one in table.rows}
    return f"{row.title}, {row.block}" if row.block and len(blocks) > 1 else row.title


def _cells(table: Table, row: Row) -> dict[str, Shown]:
    """The cells of a row by column, with the very numbers of the report's other files."""
    texts = {line.kind: dict(zip(table.columns, line.texts, strict=True))
             for line in table_text.lines(table, row, inline_interval=False)}  # fmt: skip
    where = f"{info(row.in_dist).title} → {row.title}" if table.several_in_dists else _title(table, row)
    made = {}
    for column, name in table.columns.items():
        cell = row.cells.get(column, Cell())
        quoted = column in table.quoted and bool(row.cells)
        more = [(class_, text) for kind, class_ in _BELOW.items() if (text := texts.get(kind, {}).get(column))]
        made[column] = Shown(
            label=table.label(column),
            ours=texts.get("published", texts["ours"])[column] if quoted else texts["ours"][column],
            number=cell.ours.mean if cell.ours else cell.published,
            tip=_tip(f"{name}, {where}", cell, row.decimals) if row.cells else "",
            best=cell.best,
            quoted=quoted,
            more=[] if quoted else more,
        )
    return made


def _tip(head: str, cell: Cell, decimals: int) -> str:
    """Seeds, interval and published value of a cell, a line each; "" where there is nothing to say."""
    lines = [head]
    if cell.ours and cell.ours.half is not None:
        d = max(decimals, 1)
        low, high = cell.ours.mean - cell.ours.half, cell.ours.mean + cell.ours.half
        lines.append(f"{cell.ours.mean:.{d}f} ± {cell.ours.half:.{d}f}, n = {cell.ours.n}, 95% Student-t")
        lines.append(f"interval {low:.{d}f} to {high:.{d}f}")
        seeds = [f"seed {seed}: {value:.{d}f}" for seed, value in sorted(cell.seeds.items())]
        lines.append(", ".join(seeds[:20]) + (f" and {len(seeds) - 20} more" if len(seeds) > 20 else ""))
    elif cell.ours:
        seeds = [f"seed {seed}" for seed in cell.seeds]
        lines.append(f"{cell.ours.mean:.{decimals}f}, n = 1 ({', '.join(seeds)}): no interval")
    elif cell.planned:
        lines.append("not measured yet")
    if cell.published is not None:
        difference = f", ours {cell.difference:+.2f}" if cell.difference is not None else ""
        lines.append(f"published {cell.published:.2f}{difference}")
    return "\n".join(lines) if len(lines) > 1 else ""
