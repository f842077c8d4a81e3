"""`bench report`: from a sweep and the records to files in reports/ and tables on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.data.images import data_root
from benchmark.errors import BenchError, unknown
from benchmark.files import atomic_write
from benchmark.plan import sweep as sweeps
from benchmark.report import claims as paper_claims
from benchmark.report import tables as paper_tables
from benchmark.report.groups import Group, group_runs
from benchmark.store.records import Record
from benchmark.store.tables import load_records

if TYPE_CHECKING:
    from rich.console import Console

# Whose runs an item is made of, unless `--sweep` says otherwise.
TABLE_SWEEPS = {1: "table1", 2: "table2"}
FIGURE_SWEEPS = {2: "table2", 3: "table2"}


def report(
    results: Path,
    out: Path,
    *,
    tables: list[int],
    figures: list[int],
    claims: bool,
    page: bool = False,
    sweep: Path | None = None,
    sets: list[str] | None = None,
    data: Path | None = None,
    show: Console | None = None,
) -> list[Path]:
    """Write the tables, figures, claims and page asked for under `out`/SWEEP/, show the tables, return the paths.

    sweep: whose runs; by default the paper's own, from ./sweeps or built in. sets: the
    "field=value" overrides that the runs were made with, as in `bench sweep --set`. data: the folder of the image
    sets, where the page finds its thumbnails. show: the console to print on, standard output by default. Items whose
    sweep has no records yet are named and passed over; raises BenchError, one line, when that leaves nothing, and for
    an unknown table or figure or a broken file.
    """
    from rich.console import Console

    console = show or Console()
    for number in tables:
        if number not in TABLE_SWEEPS:
            raise BenchError(unknown("table", number, map(str, TABLE_SWEEPS)))
    for number in figures:
        if number not in FIGURE_SWEEPS:
            raise BenchError(unknown("figure", number, map(str, FIGURE_SWEEPS)))

    records = load_records(results)
    jobs: list[tuple[list[Path], Callable[[list[Group], Path, Console], list[Path]]]] = []
    for number in tables:
        jobs.append(([sweep or find_sweep(TABLE_SWEEPS[number])], _table_job(number)))
    for number in figures:
        jobs.append(([sweep or find_sweep(FIGURE_SWEEPS[number])], _figure_job(number)))
    if claims:
        jobs.append(([sweep] if sweep else [find_sweep(name) for name in TABLE_SWEEPS.values()], _claims))

    if page:
        both = [sweep] if sweep else [find_sweep(name) for name in TABLE_SWEEPS.values()]
        title = " and ".join(dict.fromkeys(loaded.title or loaded.name for loaded in map(sweeps.load, both)))
        jobs.append((both, _page_job(title, results, data_root(data))))

    grouped: dict[tuple[Path, ...], list[Group]] = {}
    written: list[Path] = []
    nothing: dict[str, None] = {}
    for paths, job in jobs:
        key = tuple(paths)
        if key not in grouped:
            grouped[key] = _groups(paths, sets, records)
        if not grouped[key]:
            names = " and ".join(str(path) for path in paths)
            commands = " && ".join(f"bench sweep {path}" for path in paths)
            others = (
                f" (its {len(records)} records are of other settings: give their --set here too)" if records else ""
            )
            nothing[f"{results}: no records for {names} yet; run: {commands}{others}"] = None
            continue
        written += job(grouped[key], out / "+".join(path.stem for path in paths), console)
    if nothing and not written:
        raise BenchError(next(iter(nothing)))
    for line in nothing:
        console.print(line, markup=False, highlight=False)
    return written


def find_sweep(name: str) -> Path:
    """The paper's sweep of this name: the file in ./sweeps where there is one, else the built-in sweep."""
    here = Path("sweeps") / f"{name}.yaml"
    return here if here.exists() else Path(name)


def _groups(paths: list[Path], sets: list[str] | None, records: list[Record]) -> list[Group]:
    """The comparable groups of these sweeps' runs; those without any record only while another has some."""
    configs = [run.config for path in paths for run in sweeps.load(path, sets).runs]
    groups = group_runs(configs, records)
    return groups if any(run.record for group in groups for run in group.runs) else []


def _table_job(number: int) -> Callable[[list[Group], Path, Console], list[Path]]:
    def write(groups: list[Group], folder: Path, console: Console) -> list[Path]:
        made = [table for group in groups for table in paper_tables.tables(number, group)]
        for table in made:
            for part in paper_tables.terminal(table, console.width):
                console.print(part)
        tex_head = "% needs the packages booktabs and graphicx\n"
        return [
            _write(folder / f"table{number}.md", "\n".join(map(paper_tables.markdown, made))),
            _write(folder / f"table{number}.csv", paper_tables.as_csv(made)),
            _write(folder / f"table{number}.tex", tex_head + "\n".join(map(paper_tables.latex, made))),
        ]

    return write


def _figure_job(number: int) -> Callable[[list[Group], Path, Console], list[Path]]:
    def write(groups: list[Group], folder: Path, console: Console) -> list[Path]:
        from benchmark.report import figures  # matplotlib takes a while to load

        written = []
        with_records = [(group, i) for group in groups for i in group.in_dists if any(r.record for r in group.runs)]
        for index, (group, in_dist) in enumerate(with_records, 1):
            name = f"figure{number}" + (f"-{index}" if index > 1 else "")
            for suffix, content in figures.draw(number, group, in_dist).items():
                path = folder / f"{name}.{suffix}"
                with atomic_write(path) as stream:
                    stream.write(content)
                written.append(path)
        return written

    return write


def _claims(groups: list[Group], folder: Path, console: Console) -> list[Path]:
    checked = [(group, paper_claims.check(group)) for group in groups if any(run.record for run in group.runs)]
    for group, results in checked:
        for part in paper_claims.terminal(group, results):
            console.print(part)
    return [
        _write(folder / "claims.md", "\n".join(paper_claims.markdown(group, results) for group, results in checked)),
        _write(folder / "claims.csv", paper_claims.as_csv(checked)),
    ]


def _page_job(title: str, results: Path, data: Path) -> Callable[[list[Group], Path, Console], list[Path]]:
    def write(groups: list[Group], folder: Path, console: Console) -> list[Path]:
        from benchmark.report.page import write_page

        with_records = [group for group in groups if any(run.record for run in group.runs)]
        return [write_page(folder / "page.html", title, with_records, results, data)]

    return write


def _write(path: Path, text: str) -> Path:
    with atomic_write(path, "w") as stream:
        stream.write(text)
    return path
