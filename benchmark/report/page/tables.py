"""The tables of the page: sortable, with seeds and published values at hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

from benchmark.data.catalog import info
from benchmark.report.tables import text
from benchmark.report.tables.cells import Cell, Row, Table

Cells = dict[int, dict[str, dict[str, Any]]]  # of each row, by column
_BELOW = {"interval": "half", "published": "published", "difference": "published"}  # a line's kind -> its class


def shown(made: Sequence[Table], said: Collection[str] = ()) -> dict[str, Any]:
    """Tables as the template shows them; `said`: notes that stand on the page already."""
    published = any(cell.published is not None for table in made for row in table.rows for cell in row.cells.values())
    return {"published": published, "tables": [_table(table, said) for table in made]}


def _table(table: Table, said: Collection[str]) -> dict[str, Any]:
    """A table twice, as the report has it and turned over; the page shows one of them."""
    columns = sorted(table.columns, key=lambda key: table.columns[key].is_quoted)  # ours first, others' at the end
    notes = [note for note in table.notes if note not in said]
    if len(notes) < len(table.notes):
        notes.append("What is noted below Table 1 holds here too.")
    cells = {id(row): _cells(table, row) for row in table.rows}
    return {"title": table.title, "notes": notes,
            "grids": [_plain(table, columns, cells), _turned(table, columns, cells)]}  # fmt: skip


def _plain(table: Table, columns: list[str], cells: Cells) -> dict[str, Any]:
    """OOD sets down, variants across; only the OOD sets are sorted, averages and measures stay below."""
    head = [("OOD set" if table.several_in_dists else table.corner, "text", "")]
    head += [(_whole(table.columns[key].heading), "number", table.columns[key].label) for key in columns]
    bodies = []
    before = ""
    for (section, _), members in groupby(table.rows, lambda row: row.place):
        rows = list(members)
        new = table.several_in_dists and section != "texts" and rows[0].in_dist != before
        before = rows[0].in_dist if new else before
        lines = [
            {"title": row.heading, "label": "", "cells": [cells[id(row)][column] for column in columns]} for row in rows
        ]
        above = f"{info(before).title} →" if new else ""  # once, not in each row
        bodies.append({"kind": section, "sorts": section == "ood", "above": above, "lines": lines})
    return {"kind": "plain", "above": [], "head": head, "bodies": bodies}


def _turned(table: Table, columns: list[str], cells: Cells) -> dict[str, Any]:
    """Variants down, OOD sets, averages and measures across; references and others' systems stay below."""
    rows = [row for row in table.rows if row.cells or not row.block]  # without the headings of blocks
    rows.sort(key=lambda row: row.section == "texts")  # words behind the numbers
    head = [("variant", "text", ""), *((_whole(_title(table, row)), "number", "") for row in rows)]
    parts: dict[str, list[dict[str, Any]]] = {"trained": [], "references": [], "rivals": []}
    for key in columns:
        column = table.columns[key]
        kind = "references" if column.is_reference else "rivals" if column.is_quoted else "trained"
        line = {"title": _whole(column.heading), "label": column.label, "cells": [cells[id(row)][key] for row in rows]}
        parts[kind].append(line)
    of = groupby(rows, lambda row: f"{info(row.in_dist).title} →" if row.section != "texts" else "")
    above = [(name, len(list(members))) for name, members in of] if table.several_in_dists else []
    bodies = [{"kind": kind, "sorts": True, "above": "", "lines": lines} for kind, lines in parts.items() if lines]
    return {"kind": "turned", "above": above, "head": head, "bodies": bodies}


def _whole(name: str) -> str:
    """Perm-16 stays on one line."""
    return name.replace("-", "\N{NON-BREAKING HYPHEN}")


def _title(table: Table, row: Row) -> str:
    """A row's title where no heading above it says of what block it is."""
    blocks = {one.block for one in table.rows}
    return f"{row.heading}, {row.block}" if row.block and len(blocks) > 1 else row.heading


def _cells(table: Table, row: Row) -> dict[str, dict[str, Any]]:
    """The cells of a row by column, with the very numbers of the report's other files."""
    texts = {line.kind: dict(zip(table.columns, line.texts, strict=True))
             for line in text.lines(table, row, inline_interval=False)}  # fmt: skip
    where = f"{info(row.in_dist).title} → {row.heading}" if table.several_in_dists else _title(table, row)
    made = {}
    for key, column in table.columns.items():
        cell = row.cells.get(key, Cell())
        quoted = column.is_quoted and bool(row.cells)
        more = [(class_, said) for kind, class_ in _BELOW.items() if (said := texts.get(kind, {}).get(key))]
        made[key] = {
            "label": column.label,
            "ours": texts.get("published", texts["ours"])[key] if quoted else texts["ours"][key],
            "number": cell.ours.mean if cell.ours else cell.published if quoted else None,
            "tip": _tip(f"{column.heading}, {where}", cell, row.decimals) if row.cells else "",
            "kind": "rival" if quoted else "best" if cell.best else "",
            "more": [] if quoted else more,
        }
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
