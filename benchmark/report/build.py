"""`bench report`: from a sweep and the records to files in reports/ and tables on the terminal."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.data.images import data_root
from benchmark.errors import BenchError, unknown
from benchmark.files import atomic_write
from benchmark.plan import sweep as sweeps
from benchmark.report import claims as paper_claims
from benchmark.report import drawn, table_text
from benchmark.report.groups import Group, group_runs
from benchmark.report.items import FIGURES, TABLES, Item
from benchmark.store.records import Record
from benchmark.store.tables import load_records

if TYPE_CHECKING:
    from rich.console import Console

Job = Callable[[list[Group], Path, "Console"], list[Path]]  # writes files of groups into a folder, shows them


def report(
    results: Path,
    out: Path,
    *,
    tables: Sequence[str],
    figures: Sequence[str],
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
    sets, where the page finds its thumbnails and a sweep its sets' classes. show: the console to print on, standard
    output by default. Items whose sweep has no records yet are named and passed over; raises BenchError, one line, when
    that leaves nothing, and for an unknown table or figure or a broken file.
    """
    from rich.console import Console

    console = show or Console()
    for kind, names, known in (("table", tables, TABLES), ("figure", figures, FIGURES)):
        for name in names:
            if name not in known:
                raise BenchError(unknown(kind, name, known))

    records = load_records(results)
    jobs: list[tuple[list[Path], Job]] = []
    for name in tables:
        jobs.append(([sweep or find_sweep(TABLES[name].sweep)], _table_job(name)))
    for name in figures:
        jobs.append(([sweep or find_sweep(FIGURES[name].sweep)], _figure_job(name)))
    both = [sweep] if sweep else [find_sweep(TABLES[name].sweep) for name in ("1", "2")]
    if claims:
        jobs.append((both, _claims))
    if page:
        title = " and ".join(
            dict.fromkeys(loaded.title or loaded.name for loaded in (sweeps.load(path, data=data) for path in both))
        )
        jobs.append((both, _page_job(title, results, data_root(data))))

    grouped: dict[tuple[Path, ...], list[Group]] = {}
    written: list[Path] = []
    nothing: dict[str, None] = {}
    for paths, job in jobs:
        key = tuple(paths)
        if key not in grouped:
            grouped[key] = _groups(paths, sets, data, records)
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


def _groups(paths: list[Path], sets: list[str] | None, data: Path | None, records: list[Record]) -> list[Group]:
    """The comparable groups of these sweeps' runs; those without any record only while another has some."""
    configs = [run.config for path in paths for run in sweeps.load(path, sets, data=data).runs]
    groups = group_runs(configs, records)
    return groups if any(run.record for group in groups for run in group.runs) else []


def _made_by(item: Item) -> Callable[..., Any]:
    module, _, function = item.made_by.partition(":")
    made: Callable[..., Any] = getattr(importlib.import_module(f"benchmark.report.{module}"), function)
    return made


def _table_job(name: str) -> Job:
    def write(groups: list[Group], folder: Path, console: Console) -> list[Path]:
        make = _made_by(TABLES[name])
        made = [table for group in groups for table in make(group)]
        for table in made:
            for part in table_text.terminal(table, console.width):
                console.print(part)
        tex_head = "% needs the packages booktabs and graphicx\n"
        return [
            _write(folder / f"table{name}.md", "\n".join(map(table_text.markdown, made))),
            _write(folder / f"table{name}.csv", table_text.as_csv(made)),
            _write(folder / f"table{name}.tex", tex_head + "\n".join(map(table_text.latex, made))),
        ]

    return write


def _figure_job(name: str) -> Job:
    def write(groups: list[Group], folder: Path, console: Console) -> list[Path]:
        written: list[Path] = []
        with_records = [(group, i) for group in groups for i in group.in_dists if any(r.record for r in group.runs)]
        for index, (group, in_dist) in enumerate(with_records, 1):
            stem = f"figure{name}" + (f"-{index}" if index > 1 else "")
            paths = {suffix: folder / f"{stem}.{suffix}" for suffix in ("png", "svg")}
            key = drawn.fingerprint(name, group, in_dist)
            if not drawn.are_there(list(paths.values()), key):
                from benchmark.report import figures  # matplotlib takes a while to load

                for suffix, content in figures.draw(_made_by(FIGURES[name]), group, in_dist, key).items():
                    with atomic_write(paths[suffix]) as stream:
                        stream.write(content)
            written += paths.values()
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


def _page_job(title: str, results: Path, data: Path) -> Job:
    def write(groups: list[Group], folder: Path, console: Console) -> list[Path]:
        from benchmark.report.page import write_page

        with_records = [group for group in groups if any(run.record for run in group.runs)]
        return [write_page(folder / "page.html", title, with_records, results, data)]

    return write


def _write(path: Path, text: str) -> Path:
    with atomic_write(path, "w") as stream:
        stream.write(text)
    return path
