"""`bench report`: from a sweep and the records to files in reports/ and tables on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from benchmark.data.images import data_root
from benchmark.errors import BenchError, unknown
from benchmark.files import atomic_write
from benchmark.plan import sweep as sweeps
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import REFERENCES
from benchmark.plan.scores import OWN
from benchmark.report.claims import one_class, ours, paper
from benchmark.report.claims import text as claims_text
from benchmark.report.figures import files
from benchmark.report.grouping import by_score, check_score, class_groups, group_runs, of_other_sweeps
from benchmark.report.groups import Group
from benchmark.report.here import named
from benchmark.report.items import FIGURES, TABLES, Item, Protocol
from benchmark.report.settings import class_of
from benchmark.report.tables import text as table_text
from benchmark.store.measurements import load_records
from benchmark.store.records import Record

if TYPE_CHECKING:
    from rich.console import Console

Groups = list[Group]
Job = Callable[[Groups, Path, "Console"], list[Path]]  # writes files of groups into a folder, shows them


def report(
    results: Path | Sequence[Path],
    out: Path,
    *,
    tables: Sequence[str],
    figures: Sequence[str],
    claims: bool,
    page: bool = False,
    everything: bool = False,
    sweep: Path | Sequence[Path] | None = None,
    only: Sequence[str] = (),
    sets: list[str] | None = None,
    data: Path | None = None,
    score: str = OWN,
    show: Console | None = None,
    records: list[Record] | None = None,
) -> list[Path]:
    """Write the tables, figures, claims and page asked for under `out`/SWEEP/, show the tables, return the paths.

    results: the folder of the runs, or several whose records stand together.
    everything: also all tables and figures that the sweep's runs are for (the paper's where no sweep is given) and the
    claims. sweep: whose runs, those of several side by side in `out`/A+B/; by default the paper's own, from ./sweeps or
    built in. only: patterns of labels, as "rot-*"; other columns are left out, but for the reference rows. sets: the
    "field=value" overrides that the runs were made with, as in `bench sweep --set`. data: the folder of the image
    sets, where the page finds its thumbnails and a sweep its sets' classes. score: what detects; of another than each
    method's own (`grouping.by_score`) the files go to `out`/SWEEP/by-SCORE/. show: the console to print on,
    standard output by default. records: those of `results`, where they are read already. Items whose sweep has no
    records yet are named and passed over; raises BenchError, one line, when that leaves nothing, and for an unknown
    table or figure or a broken file.
    """
    from rich.console import Console

    console = show or Console()
    for kind, names, known in (("table", tables, TABLES), ("figure", figures, FIGURES)):
        for name in names:
            if name not in known:
                raise BenchError(unknown(kind, name, known))

    places = [results] if isinstance(results, Path) else list(results)
    records = load_records(places) if records is None else records
    if score != OWN:
        _check_by_score(score, tables, figures, page)
        check_score(records, score)
    runs = _Runs(sets, data, records, only, score)
    chosen = (sweep,) if isinstance(sweep, Path) else tuple(sweep or ())
    fitting: tuple[Protocol | None, ...] = ()
    if everything:
        fitting = (None, *runs.protocols(chosen)) if chosen else ("sets",)
    jobs = _jobs(tables, TABLES, _table_job, chosen, fitting, score)
    jobs += _jobs(figures, FIGURES, _figure_job, chosen, fitting, score)
    both = chosen or tuple(find_sweep(TABLES[name].sweep) for name in ("1", "2"))
    if claims or everything:
        jobs.append((both, None, _claims))
    if page:
        loaded = [sweeps.load(path, sets, data=data) for path in both]
        title = " and ".join(dict.fromkeys(one.title or one.name for one in loaded))
        jobs.append((both, None, _page_job(title, data_root(data))))

    written: list[Path] = []
    nothing: dict[str, None] = {}
    runs.check_only(paths for paths, _, _ in jobs)
    for paths, protocol, job in jobs:
        if not runs.configs(paths):
            continue  # another sweep has what --only names
        groups = runs.groups(paths, protocol)
        if not groups:
            nothing[_why_nothing(paths, protocol, runs, places)] = None
            continue
        folder = out / "+".join(dict.fromkeys(path.stem for path in paths))
        written += job(groups, folder if score == OWN else folder / f"by-{score}", console)
    if nothing and not written:
        raise BenchError(next(iter(nothing)))
    if score != OWN and not written:
        raise BenchError(
            f"--score {score}: the claims about single classes compare scores themselves; without --score they are "
            "checked, with it --table one-class is made"
        )
    for line in nothing:
        console.print(line, markup=False, highlight=False)
    return written


# What to make of which sweeps' runs, and of those of which protocol (None: any).
_Planned = tuple[tuple[Path, ...], Protocol | None, Job]


def _jobs(
    given: Sequence[str],
    known: Mapping[str, Item],
    job: Callable[[str, bool], Job],
    chosen: tuple[Path, ...],
    fitting: tuple[Protocol | None, ...],
    score: str,
) -> list[_Planned]:
    """Of the tables, or figures, that are given, then of all others of the protocols `fitting`."""
    more = [name for name, item in known.items() if item.protocol in fitting and (score == OWN or item.any_score)]
    return [
        (chosen or (find_sweep(known[name].sweep),), known[name].protocol, job(name, name in given))
        for name in dict.fromkeys([*given, *more])
    ]


def _why_nothing(paths: tuple[Path, ...], protocol: Protocol | None, runs: _Runs, places: Sequence[Path]) -> str:
    names = " and ".join(str(path) for path in paths)
    if protocol == "one-class" and protocol not in runs.protocols(paths):
        return (
            f"{names}: no run is trained on one class of a set (in_dist: PARENT:CLASS, with PARENT:not-CLASS in "
            "eval.ood), as the one-class protocol needs"
        )
    commands = " && ".join(f"bench sweep {quote(str(path))}" for path in paths)
    where = " and ".join(map(str, places))
    return f"{where}: no records for {names} yet; run: {commands}{of_other_sweeps(runs.records)}"


def _check_by_score(score: str, tables: Sequence[str], figures: Sequence[str], page: bool) -> None:
    """Raises BenchError, one line, for what there is by a method's own score alone, or by every score already."""
    asked = [f"--table {name}" for name in tables if not TABLES[name].any_score]
    asked += [f"--figure {name}" for name in figures if not FIGURES[name].any_score]
    asked += ["--page"] if page else []
    if asked:
        allowed = [f"--table {name}" for name, item in TABLES.items() if item.any_score]
        allowed += [f"--figure {name}" for name, item in FIGURES.items() if item.any_score]
        raise BenchError(
            f"--score {score}: {' and '.join(asked)} cannot be by another score; allowed: "
            f"{', '.join(allowed)}, --claims, --all"
        )


def find_sweep(name: str) -> Path:
    """The paper's sweep of this name: the file in ./sweeps where there is one, else the built-in sweep."""
    here = Path("sweeps") / f"{name}.yaml"
    return here if here.exists() else Path(name)


class _Runs:
    """The runs of sweeps and their groups, each read and made once."""

    def __init__(
        self, sets: list[str] | None, data: Path | None, records: list[Record], only: Sequence[str], score: str
    ) -> None:
        self.records, self._sets, self._data, self._only, self._score = records, sets, data, only, score
        self._loaded: dict[Path, list[RunConfig]] = {}
        self._groups: dict[tuple[Protocol, tuple[Path, ...]], Groups] = {}

    def configs(self, paths: tuple[Path, ...]) -> list[RunConfig]:
        for path in (path for path in paths if path not in self._loaded):
            self._loaded[path] = [run.config for run in sweeps.load(path, self._sets, data=self._data).runs]
        return self._kept([config for path in paths for config in self._loaded[path]])

    def _kept(self, configs: list[RunConfig]) -> list[RunConfig]:
        """The runs whose label matches a pattern of `only`, and the reference rows; none where no label does."""
        if not self._only:
            return configs
        kept = named(_labels(configs), self._only)
        return [config for config in configs if kept and (config.label in kept or config.method.name in REFERENCES)]

    def check_only(self, several: Iterable[tuple[Path, ...]]) -> None:
        """Raises BenchError where `only` matches no label of any of these sweeps."""
        paths = tuple(dict.fromkeys(path for paths in several for path in paths))
        if self._only and not self.configs(paths):
            labels = _labels(config for path in paths for config in self._loaded[path])
            raise BenchError(
                f"--only {' --only '.join(self._only)}: no column is called so; allowed: {', '.join(labels)}"
            )

    def protocols(self, paths: tuple[Path, ...]) -> list[Protocol]:
        """The protocols that the runs are of."""
        of_class = {class_of(config) is not None for config in self.configs(paths)}
        known: tuple[tuple[Protocol, bool], ...] = (("sets", False), ("one-class", True))
        return [name for name, single in known if single in of_class]

    def groups(self, paths: tuple[Path, ...], protocol: Protocol | None) -> Groups:
        """The comparable groups of one protocol, or of any (None); those without any record only while another has
        some."""
        wanted = [protocol] if protocol else self.protocols(paths)
        found = [group for name in wanted for group in self._made(paths, name)]
        return found if any(group.done for group in found) else []

    def _made(self, paths: tuple[Path, ...], protocol: Protocol) -> Groups:
        if (protocol, paths) not in self._groups:
            configs = self.configs(paths)
            if protocol == "one-class":
                made = class_groups(configs, self.records)
            else:  # Tables 1 and 2 of nothing but classes: for whoever asks for them
                whole = [config for config in configs if class_of(config) is None]
                made = group_runs(whole or configs, self.records, beside=True)
            self._groups[protocol, paths] = [by_score(group, self._score) for group in made]
        return self._groups[protocol, paths]


def _labels(configs: Iterable[RunConfig]) -> list[str]:
    """What the columns of these runs are called, each once, without the reference rows."""
    return list(dict.fromkeys(config.label for config in configs if config.method.name not in REFERENCES))


def _table_job(name: str, asked: bool) -> Job:
    """asked: for this table by its name, so that having nothing to show in it is an error."""

    def write(groups: Groups, folder: Path, console: Console) -> list[Path]:
        make = TABLES[name].maker
        made = [table for group in groups for table in make(group)]
        if not made and asked:
            raise BenchError(f"table {name}: no run of {folder.name} {TABLES[name].lacks}")
        if not made:
            return []
        for table in made:
            for part in table_text.terminal(table, console.width):
                console.print(part)
        tex_head = "% needs the packages booktabs and graphicx\n"
        return [
            _write(folder / f"{_stem('table', name)}.md", "\n".join(map(table_text.markdown, made))),
            _write(folder / f"{_stem('table', name)}.csv", table_text.as_csv(made)),
            _write(folder / f"{_stem('table', name)}.tex", tex_head + "\n".join(map(table_text.latex, made))),
        ]

    return write


def _figure_job(name: str, asked: bool) -> Job:
    """asked: as of a table."""

    def write(groups: Groups, folder: Path, console: Console) -> list[Path]:
        written: list[Path] = []
        for index, (group, subject) in enumerate(((g, one) for g in groups if g.done for one in g.subjects), 1):
            stem = _stem("figure", name) + (f"-{index}" if index > 1 else "")
            paths = {suffix: folder / f"{stem}.{suffix}" for suffix in ("png", "svg")}
            key = files.fingerprint(name, group, subject)
            if not files.are_there(list(paths.values()), key):
                picture = FIGURES[name].maker(group, subject)
                if picture is None:
                    continue
                for suffix, content in files.content(picture, key).items():
                    with atomic_write(paths[suffix]) as stream:
                        stream.write(content)
            written += paths.values()
        if asked and not written:
            raise BenchError(f"figure {name}: no run of {folder.name} {FIGURES[name].lacks}")
        return written

    return write


def _stem(kind: str, name: str) -> str:
    """table2, table-one-class."""
    return f"{kind}{name}" if name[:1].isdigit() else f"{kind}-{name}"


def _claims(groups: Groups, folder: Path, console: Console) -> list[Path]:
    """All claims; by another score than the methods' own the paper's alone, as ours compare scores."""
    checked: list[claims_text.Checked] = []
    for group in (group for group in groups if group.done):
        if group.parent:
            checked += [one_class.checked(group)] if group.score == OWN else []
            continue
        own, papers = ours.checked(group) if group.score == OWN else None, paper.checked(group)
        if not own or not papers.claims or any(claim.n for claim in papers.claims):
            checked.append(papers)  # where runs are of our own questions alone, none of theirs is asked
        checked += [own] if own else []
    for one in checked:
        for part in claims_text.terminal(one):
            console.print(part)
    if not checked:
        return []
    return [
        _write(folder / "claims.md", "\n".join(map(claims_text.markdown, checked))),
        _write(folder / "claims.csv", claims_text.as_csv(checked)),
    ]


def _page_job(title: str, data: Path) -> Job:
    def write(groups: Groups, folder: Path, console: Console) -> list[Path]:
        from benchmark.report.page.compose import write_page

        with_records = [group for group in groups if group.done]
        return [write_page(folder / "page.html", title, with_records, data)]

    return write


def _write(path: Path, text: str) -> Path:
    with atomic_write(path, "w") as stream:
        stream.write(text)
    return path
