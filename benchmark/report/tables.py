"""Tables 1 and 2: our runs beside the published values, as Markdown, LaTeX, tidy CSV and for a terminal."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmark.data.catalog import info, is_near
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import REFERENCES
from benchmark.report import published
from benchmark.report.groups import Group, title_of
from benchmark.report.intervals import Estimate, estimate
from benchmark.store.records import Record, SetInRecord

if TYPE_CHECKING:
    from rich.console import RenderableType

MISSING = "—"


@dataclass(frozen=True)
class Cell:
    """What stands at a row and a column.

    planned: a run of the sweep should fill it, so that empty means missing. over: the number of sets that an average
    is over where some are missing, 0 where it is complete. seeds: the value of each run that `ours` is the mean of.
    """

    ours: Estimate | None = None
    published: float | None = None
    planned: bool = False
    best: bool = False
    over: int = 0
    seeds: dict[int, float] = field(default_factory=dict)

    @property
    def difference(self) -> float | None:
        """Ours less published, in points of AUROC."""
        return self.ours.mean - self.published if self.ours and self.published is not None else None


@dataclass(frozen=True)
class Row:
    """One row. section: "ood", "average", "measure" or "n". cells: by column key; `texts` instead for the row of n."""

    in_dist: str
    key: str
    title: str
    section: str
    cells: dict[str, Cell] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    decimals: int = 2


@dataclass(frozen=True)
class Table:
    """A finished table. columns: key -> title, in order."""

    number: int
    title: str
    heading: str
    corner: str
    columns: dict[str, str]
    rows: list[Row]
    notes: list[str]


def tables(number: int, group: Group) -> list[Table]:
    """Table 1: one for all in-distribution sets, with the rivals. Table 2: one for each in-distribution set."""
    if number == 1:
        return [_table(1, group, group.in_dists)]
    return [_table(2, group, [in_dist]) for in_dist in group.in_dists]


def _table(number: int, group: Group, in_dists: list[str]) -> Table:
    labels = dict.fromkeys(label for in_dist in in_dists for label in group.labels(in_dist))
    ordered = sorted(labels, key=lambda label: label in REFERENCES)
    columns = {label: title_of(label) for label in ordered}
    if number == 1:
        rivals = [
            r
            for r in published.RIVALS
            if any(
                known == published.original(i) and column == r
                for known, _, column in published.VALUES
                for i in in_dists
            )
        ]
        columns = {rival: f"{rival} (publ.)" for rival in rivals} | columns
    rows = [row for in_dist in in_dists for row in _rows(group, in_dist, list(columns))]
    names = " and ".join(info(in_dist).title for in_dist in in_dists)
    title = f"Table {number}. AUROC in % of {names} (in-distribution) against each out-of-distribution set"
    notes = _missing(rows, columns, group, in_dists) + _row_notes(rows, columns)
    notes += _published_notes(number, rows, columns) + about(group, in_dists)
    corner = "ID → OOD" if number == 1 else "OOD set"
    return Table(number, title, group.heading, corner, columns, rows, notes)


def _rows(group: Group, in_dist: str, columns: list[str]) -> list[Row]:
    planned = group.labels(in_dist)
    records = {label: group.records(in_dist, label) for label in planned}
    oods = group.ood_sets(in_dist)

    def cells(value: Callable[[Record], float | None], paper: Callable[[str], float | None]) -> dict[str, Cell]:
        made = {}
        for column in columns:
            done = records.get(column, {}).items()
            values = {seed: number for seed, record in done if (number := value(record)) is not None}
            ours = estimate(list(values.values())) if values else None
            made[column] = Cell(ours, paper(column), column in planned, seeds=values)
        return made

    rows = []
    for ood in oods:
        made = cells(partial(auroc, ood=ood), partial(published.value, in_dist, ood))
        mark = "†" if published.is_stand_in(ood) and any(cell.published is not None for cell in made.values()) else ""
        rows.append(Row(in_dist, ood, info(ood).title + mark, "ood", _mark_best(made)))
    near = [ood for ood in oods if is_near(in_dist, ood)]
    for name, sets in (("average", oods), ("near average", near), ("far average", [o for o in oods if o not in near])):
        if sets:
            made = {
                column: _average(in_dist, sets, column, records.get(column), column in planned) for column in columns
            }
            rows.append(Row(in_dist, name, f"{name} ({len(sets)})", "average", _mark_best(made)))

    measures: list[tuple[str, Callable[[Record], float | None], int]] = [
        *((f"k-NN accuracy, k={k}", partial(_knn_accuracy, k=k), 2) for k in _knn_ks(group, in_dist)),
        ("sensitivity", lambda record: record.sensitivity, 2),
        (f"occupied{_of_classes(group, in_dist)} classes", partial(occupied, reading=occupancy_reading(group)), 0),
    ]
    for name, value, decimals in measures:
        made = cells(value, lambda _: None)
        # A run that is done and has no such number (occupancy without a head) lacks nothing.
        made = {c: replace(cell, planned=cell.planned and not records.get(c)) for c, cell in made.items()}
        if any(cell.ours for cell in made.values()):
            best = name.startswith("k-NN")  # more is not better of the other two
            rows.append(Row(in_dist, name, name, "measure", _mark_best(made) if best else made, {}, decimals))
    counts = {column: _n_range(rows, column) for column in columns if column in planned}
    rows.append(Row(in_dist, "n", "n (runs)", "n", texts=counts))
    return rows


def auroc(record: Record, ood: str) -> float | None:
    """AUROC in %, None where this set has not been scored."""
    return record.ood[ood].auroc if ood in record.ood else None


def occupied(record: Record, reading: str) -> float | None:
    """Occupied soft classes in this reading, None for a run without a head."""
    return (record.occupancy or {}).get(reading)


def _knn_accuracy(record: Record, k: int) -> float | None:
    return record.knn_accuracy.get(str(k))


def average_over(sets: Iterable[str], records: dict[int, Record] | None) -> tuple[Estimate | None, list[str]]:
    """The average AUROC over `sets`, taken seed by seed, and the sets it is over: those that every seed has."""
    done = list((records or {}).values())
    shared = [ood for ood in sets if done and all(ood in record.ood for record in done)]
    if not shared:
        return None, []
    return estimate([_mean_auroc(record, shared) for record in done]), shared


def _mean_auroc(record: Record, oods: Sequence[str]) -> float:
    return math.fsum(record.ood[ood].auroc for ood in oods) / len(oods)


def _average(in_dist: str, sets: list[str], column: str, records: dict[int, Record] | None, planned: bool) -> Cell:
    ours, shared = average_over(sets, records)
    incomplete = ours is not None and len(shared) < len(sets)
    paper = published.average(in_dist, sets, column)
    seeds = {seed: _mean_auroc(record, shared) for seed, record in (records or {}).items()} if shared else {}
    return Cell(ours, None if incomplete else paper, planned, over=len(shared) if incomplete else 0, seeds=seeds)


def _mark_best(cells: dict[str, Cell]) -> dict[str, Cell]:
    """Mark the highest mean of the trained columns, as printed; a lone one has nothing to be best of."""
    rivals = {column: round(cell.ours.mean, 2) for column, cell in cells.items()
              if cell.ours and column not in REFERENCES and not cell.over}  # fmt: skip
    best = max(rivals.values()) if len(rivals) > 1 else None
    return {
        column: replace(cell, best=best is not None and rivals.get(column) == best) for column, cell in cells.items()
    }


def occupancy_reading(group: Group) -> str:
    """Which reading of occupancy the group's protocol uses: "paper" or "authors"."""
    return group.trained[0].protocol if group.trained else "paper"


def classes(group: Group, in_dist: str) -> int | None:
    """K, where all records with a head agree on it."""
    found = {
        int(record.occupancy["classes"])
        for label in group.labels(in_dist)
        for record in group.records(in_dist, label).values()
        if record.occupancy and "classes" in record.occupancy
    }
    return found.pop() if len(found) == 1 else None


def _of_classes(group: Group, in_dist: str) -> str:
    count = classes(group, in_dist)
    return f" of {count}" if count else " soft"


def _knn_ks(group: Group, in_dist: str) -> list[int]:
    return list(dict.fromkeys(k for run in group.runs if run.config.in_dist == in_dist for k in run.config.eval.knn))


def _n_range(rows: list[Row], column: str) -> str:
    counts = {row.cells[column].ours.n for row in rows if row.cells[column].ours}  # type: ignore[union-attr]
    if not counts:
        return "0"
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)}-{max(counts)}"


# --- notes below a table ------------------------------------------------------------------------------------------


def _missing(rows: list[Row], columns: dict[str, str], group: Group, in_dists: list[str]) -> list[str]:
    planned = missing = 0
    parts = []
    for in_dist in in_dists:
        of_set = [row for row in rows if row.section == "ood" and row.in_dist == in_dist]
        gaps = {}
        for column in columns:
            wanted = [row for row in of_set if row.cells[column].planned]
            gone = [row.title for row in wanted if not row.cells[column].ours]
            planned, missing = planned + len(wanted), missing + len(gone)
            if gone:
                gaps[column] = "all" if len(gone) == len(wanted) else ", ".join(gone)
        if gaps:
            where = f"{info(in_dist).title}: " if len(in_dists) > 1 else ""
            parts.append(where + ", ".join(f"{columns[column]} ({gone})" for column, gone in gaps.items()))
    notes = [f"{missing} of {planned} cells missing: {'; '.join(parts)}."] if missing else []
    runs = [run for run in group.runs if run.config.in_dist in in_dists]
    todo = [f"{r.config.in_dist}-{r.config.label}-s{r.config.seed}" for r in runs if not r.record]
    if todo:
        more = f" and {len(todo) - 6} more" if len(todo) > 6 else ""
        notes.append(f"{len(todo)} of {len(runs)} runs have no record yet: {', '.join(todo[:6])}{more}.")
    return notes


def _row_notes(rows: list[Row], columns: dict[str, str]) -> list[str]:
    notes = []
    cells = [(row, column, row.cells[column]) for row in rows for column in columns if column in row.cells]
    estimates = [cell.ours for _, _, cell in cells if cell.ours]
    if any(one.half is not None for one in estimates):
        notes.append("± is half of the 95% Student-t interval of the mean over n runs (seeds); n = 1 has none.")
    mixed = []
    for column in columns:
        usual = max((cell.ours.n for _, c, cell in cells if c == column and cell.ours), default=0)
        fewer = [
            f"{row.title} n = {cell.ours.n}"
            for row, c, cell in cells
            if c == column and cell.ours and cell.ours.n < usual
        ]
        if fewer and len({row.in_dist for row in rows}) == 1:
            mixed.append(f"{columns[column]}: {', '.join(fewer)}, the rest n = {usual}")
    if mixed:
        notes.append(f"n differs within a column: {'; '.join(mixed)}.")
    incomplete = [f"{columns[column]}, {row.title}: over {cell.over} sets" for row, column, cell in cells if cell.over]
    if incomplete:
        notes.append(f"* incomplete, over the sets measured only: {'; '.join(incomplete)}.")
    oods = [row for row in rows if row.section == "ood"]
    stand_ins = dict.fromkeys(
        f"{info(row.key).title} stands in for {info(published.original(row.key)).title}"
        for row in oods
        if row.title.endswith("†")
    )
    if stand_ins:
        notes.append(f"† {'; '.join(stand_ins)}: the published value is of other images.")
    if any(published.original(row.in_dist) == "cifar10" and published.original(row.key) == "stl10" for row in oods):
        notes.append("STL10 shares all its classes but monkey with CIFAR10: a test of shift, not of new classes.")
    references = [column for column in columns if column in REFERENCES]
    if references:
        notes.append("untrained, image statistics: references. An OOD set that they already separate proves nothing.")
    else:
        notes.append("This sweep has no reference rows (untrained, image-statistics): easy OOD sets go unseen.")
    return notes


def _published_notes(number: int, rows: list[Row], columns: dict[str, str]) -> list[str]:
    shown = {(published.original(row.in_dist), published.original(row.key), column)
             for row in rows for column, cell in row.cells.items() if cell.published is not None}  # fmt: skip
    if not shown:
        return []
    notes = ["Published: ViT-S/16, views of 256 and 128 px, K = 4096, 500 epochs, single runs (arXiv 2201.06378). "
             "Published averages are shown where the sets are the paper's."]  # fmt: skip
    if number == 1:
        notes.append("Columns marked (publ.) are the paper's figures for others' systems, none of them run here. "
                     "Label-free: SSD, CSI. With help of labels: Geometric, MTL.")  # fmt: skip
    if any(key in shown for key in published.DOUBTFUL):
        notes.append(
            "The paper prints the same CIFAR100 (93.77) and SVHN (99.86) for DTI and Rot. DTI, probably a slip."
        )
    if number == 2 and (order := rank_agreement(rows, columns)):
        notes.append(order)
    return notes


def rank_agreement(rows: list[Row], columns: Iterable[str]) -> str | None:
    """Kendall's tau between the columns' order in our averages and in the published ones, None below three columns.

    Over the OOD sets that the paper has and that all compared columns have.
    """
    from scipy import stats

    oods = [row for row in rows if row.section == "ood" and any(c.published is not None for c in row.cells.values())]
    chosen = [column for column in columns if oods and any(row.cells[column].difference is not None for row in oods)]
    oods = [row for row in oods if all(row.cells[column].difference is not None for column in chosen)]
    if len(chosen) < 3 or not oods:
        return None
    ours = [math.fsum(row.cells[column].ours.mean for row in oods) for column in chosen]  # type: ignore[union-attr]
    paper = [math.fsum(row.cells[column].published or 0.0 for row in oods) for column in chosen]
    if len(set(ours)) == 1 or len(set(paper)) == 1:
        return f"Kendall's τ of our order of columns with the published one: undefined (all equal), n = {len(chosen)}."
    tau, p = stats.kendalltau(ours, paper)
    return (f"Kendall's τ of our order of columns with the published one: {tau:.2f} "
            f"(n = {len(chosen)} columns, p = {p:.2g}, averages over {len(oods)} OOD sets).")  # fmt: skip


def about(group: Group, in_dists: Sequence[str]) -> list[str]:
    """Where the numbers come from: settings, runs, images, machines."""
    runs = [run for run in group.runs if run.config.in_dist in in_dists]
    notes = [f"Settings: {describe(group.trained[0])}."] if group.trained else []
    machines = {_machine(run.record.environment) for run in runs if run.record} - {""}
    done = sum(run.record is not None for run in runs)
    notes.append(f"Runs: {done} of {len(runs)} done{'; ' + ' | '.join(sorted(machines)) if machines else ''}.")
    seen = group.data()
    keys = [f"{in_dist}/{split}" for in_dist in in_dists for split in ("train", "test")]
    keys += sorted(key for key in seen if key.endswith("/aux"))
    keys += [f"{ood}/test" for in_dist in in_dists for ood in group.ood_sets(in_dist)]
    images = [_images(key, seen[key]) for key in dict.fromkeys(keys) if key in seen]
    if images:
        notes.append(f"Images: {', '.join(images)}.")
    swapped = [f"{info(source).title} negatives are drawn from {info(name).title}"
               for source, name in (group.trained[0].data.sources if group.trained else {}).items()
               if name != source and f"{name}/aux" in seen]  # fmt: skip
    return notes + ([f"{'; '.join(swapped)}."] if swapped else [])


def _images(key: str, seen: SetInRecord) -> str:
    name, _, split = key.rpartition("/")
    of = f" of {seen.official_count:,}" if seen.official_count and seen.official_count != seen.count else ""
    return f"{info(name).title} {split} {seen.count:,}{of}{'' if seen.official else ' (imported)'}"


def describe(config: RunConfig) -> str:
    """The settings that matter most, on one line."""
    args = "".join(f", {key} {value}" for key, value in config.model.args.items())
    soft_classes = getattr(config.method, "classes", None)
    k = f", K = {soft_classes}" if soft_classes else ""
    return (f"{config.model.backbone}{args}, views {config.views.global_size}/{config.views.local_size} px{k}, "
            f"{config.train.epochs} epochs, batch {config.train.batch}, {config.train.precision}, "
            f"protocol {config.protocol}")  # fmt: skip


def _machine(environment: dict[str, Any]) -> str:
    hardware = environment.get("hardware") or ""
    if isinstance(hardware, dict):
        hardware = ", ".join(str(value) for value in hardware.values() if value)
    torch = environment.get("torch") or (environment.get("packages") or {}).get("torch")
    commit = environment.get("commit")
    parts = [str(hardware), f"torch {torch}" if torch else "", f"commit {str(commit)[:10]}" if commit else ""]
    return ", ".join(part for part in parts if part)


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
    title = f"{info(row.in_dist).title} → {row.title}" if inline_interval and table.number == 1 else row.title
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
    from tabulate import tabulate

    body = []
    for row in table.rows:
        for line in lines(table, row, inline_interval=True):
            texts = [f"**{text}**" if best else md(text) for text, best in zip(line.texts, line.best, strict=True)]
            label = md(line.label.strip())
            body.append([f"&emsp;*{label}*" if line.kind != "ours" else label, *texts])
    header = [md(table.corner), *(md(title) for title in table.columns.values())]
    grid = tabulate(
        body, header, tablefmt="pipe", disable_numparse=True, colalign=["left"] + ["right"] * len(table.columns)
    )
    heading = f"\n### {md(table.heading)}\n" if table.heading else ""
    notes = "\n".join(f"- {md(note)}" for note in table.notes)
    return f"## {md(table.title)}\n{heading}\n{grid}\n\n{notes}\n"


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
        if index and (row.section, row.in_dist) != (table.rows[index - 1].section, table.rows[index - 1].in_dist):
            body.append(r"\midrule")
        for line in lines(table, row, inline_interval=True):
            label = tex(line.label.strip())
            texts = [_tex_cell(text, best) for text, best in zip(line.texts, line.best, strict=True)]
            body.append(" & ".join([rf"\quad {label}" if line.kind != "ours" else label, *texts]) + r" \\")
    header = " & ".join([tex(table.corner), *(tex(title) for title in table.columns.values())]) + r" \\"
    caption = f"{table.title}{f' ({table.heading})' if table.heading else ''}."
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
    """Tidy, one row a cell, full precision; `ood` also names the averages and measures, `group` is the heading."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
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
                writer.writerow([row.in_dist, row.key, column, *numbers, *about_it])
    return stream.getvalue()


_STYLES = {"ours": "", "interval": "dim", "published": "dim", "difference": "cyan"}


def terminal(table: Table, width: int) -> list[RenderableType]:
    """The table for a terminal of `width` columns, split into as many blocks as it takes, and its notes."""
    from rich.table import Table as RichTable
    from rich.text import Text

    parts: list[RenderableType] = [Text(table.title, style="bold")]
    if table.heading:
        parts.append(Text(table.heading, style="bold yellow"))
    everything = [(row, lines(table, row, inline_interval=False)) for row in table.rows]
    titles = [fold(title) for title in table.columns.values()]
    printed = [line for _, of_row in everything for line in of_row]
    widths = [
        max(map(len, [*title.split("\n"), *(line.texts[i] for line in printed)])) for i, title in enumerate(titles)
    ]
    first = max(len(table.corner), *(len(line.label) for line in printed))
    for block in _blocks(widths, width - first - 1):
        grid = RichTable(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
        grid.add_column(Text(table.corner), no_wrap=True)
        for i in block:
            grid.add_column(Text(titles[i]), justify="right", vertical="bottom", no_wrap=True)
        before = Row("", "", "", "")
        for row, of_row in everything:
            if before.section and (row.section, row.in_dist) != (before.section, before.in_dist):
                grid.add_row()
            if table.number == 1 and row.in_dist != before.in_dist:
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
