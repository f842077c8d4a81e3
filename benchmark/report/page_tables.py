"""The tables of the page: sortable, with seeds and published values at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.data.catalog import info
from benchmark.plan.methods import REFERENCES
from benchmark.report import cells, charts, table_text
from benchmark.report.markup import Html, join, tag

# --- tables -------------------------------------------------------------------------------------------------------


def tables_section(made: Sequence[cells.Table], said: dict[str, None]) -> Html:
    """Tables and their switches; `said`: notes that stand on the page already."""
    published = any(cell.published is not None for table in made for row in table.rows for cell in row.cells.values())
    boxes = []
    if published:
        boxes.append(_switch("Published values", "published"))
    boxes.append(_switch("Variants as rows", "turned"))
    return join([tag("div", boxes, class_="switches"), *(_table(table, said) for table in made)])


def _switch(text: str, what: str) -> Html:
    return tag("label", tag("input", type="checkbox", data_switch=what), text)


def _table(table: cells.Table, said: dict[str, None]) -> Html:
    """A table twice, as the report has it and turned over; the page shows one of them."""
    own = {key: name for key, name in table.columns.items() if not _is_rival(name)}  # ours first, others' at the end
    table = replace(table, columns=own | table.columns)
    name = table.title.removeprefix(f"Table {table.name}. ")
    grids = [tag("div", grid, class_=f"scroll {kind}", tabindex="0", role="region", hidden=kind == "turned",
                 aria_label=table.title)
             for kind, grid in (("plain", _plain(table)), ("turned", _turned(table)))]  # fmt: skip
    notes = [note for note in table.notes if note not in said]
    if len(notes) < len(table.notes):
        notes.append("What is noted below Table 1 holds here too.")
    listed = tag("details", tag("summary", "Notes"), tag("ul", [tag("li", note) for note in notes]), open=True)
    return tag("div", tag("p", name), grids, listed, class_="table")


def _is_rival(name: str) -> bool:
    """Whether the column is another's system, of which only published values are known."""
    return name.endswith("(publ.)")


def _plain(table: cells.Table) -> Html:
    """OOD sets down, variants across; only the OOD sets are sorted, averages and measures stay below."""
    titles = (_heading(name, "number", table.label(key)) for key, name in table.columns.items())
    head = [_heading(table.corner, "text"), *titles]
    parts: dict[tuple[str, str], list[Html]] = {}
    for row in table.rows:
        cells = _cells(table, row)
        line = tag(
            "tr",
            tag("th", row.title if row.block else _row_title(table, row), scope="row"),
            (cells[column] for column in table.columns),
        )
        parts.setdefault(row.place, []).append(line)
    bodies = [tag("tbody", lines, class_=section, data_sorts="" if section == "ood" else None)
              for (section, _), lines in parts.items()]  # fmt: skip
    return tag("table", tag("thead", tag("tr", head)), bodies, data_roving="")


def _turned(table: cells.Table) -> Html:
    """Variants down, OOD sets, averages and measures across; references and others' systems stay below."""
    rows = [row for row in table.rows if row.cells or not row.block]  # without the headings of blocks
    head = [_heading("variant", "text"), *(_heading(_row_title(table, row), "number") for row in rows)]
    cells = [_cells(table, row) for row in rows]
    parts: dict[str, list[Html]] = {"trained": [], "references": [], "rivals": []}
    for column, name in table.columns.items():
        of = table.label(column)
        kind = "references" if of in REFERENCES else "rivals" if _is_rival(name) else "trained"
        label = tag("th", charts.key(of) if kind != "rivals" else None, name, scope="row", data_v=of)
        parts[kind].append(tag("tr", label, (of_row[column] for of_row in cells)))
    bodies = [tag("tbody", lines, class_=kind, data_sorts="") for kind, lines in parts.items() if lines]
    return tag("table", tag("thead", tag("tr", head)), bodies, data_roving="")


def _heading(text: str, kind: str, column: str | None = None) -> Html:
    """A column's heading: a button that sorts by it."""
    whole = text.replace("-", "\N{NON-BREAKING HYPHEN}")  # Perm-16 stays on one line
    button = tag("button", whole, type="button", data_sort=kind)
    return tag("th", button, scope="col", data_v=column, aria_sort="none")


def _row_title(table: cells.Table, row: cells.Row) -> str:
    """A row's title where no heading above it says of what it is."""
    if row.block and len({one.block for one in table.rows}) > 1:
        return f"{row.title}, {row.block}"
    return f"{info(row.in_dist).title} → {row.title}" if table.several_in_dists else row.title


def _cells(table: cells.Table, row: cells.Row) -> dict[str, Html]:
    """The cells of a row by column, with the very numbers of the report's other files."""
    texts: dict[str, dict[str, str]] = {}
    for line in table_text.lines(table, row, inline_interval=False):
        texts[line.kind] = dict(zip(table.columns, line.texts, strict=True))
    made = {}
    for column, name in table.columns.items():
        cell = row.cells.get(column, cells.Cell())
        ours, published = texts["ours"][column], texts.get("published", {}).get(column)
        number = cell.ours.mean if cell.ours else cell.published
        if _is_rival(name) and row.cells:
            parts = [tag("span", published or "", class_="rival")]
        else:
            parts = [tag("b" if cell.best else "span", ours)]
            for kind, class_ in (("interval", "half"), ("published", "published"), ("difference", "published")):
                if text := texts.get(kind, {}).get(column):
                    parts.append(tag("i", text, class_=class_))
        tip = _tip(f"{name}, {_row_title(table, row)}", cell, row.decimals) if row.cells else None
        made[column] = tag("td", parts, data_v=table.label(column), data_n=number, data_tip=tip)
    return made


def _tip(head: str, cell: cells.Cell, decimals: int) -> str | None:
    """Seeds, interval and published value of a cell, a line each."""
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
    return "\n".join(lines) if len(lines) > 1 else None
