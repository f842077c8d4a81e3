"""The report's tables as pandas DataFrames, of runs chosen in Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.data.catalog import info
from benchmark.errors import BenchError, unknown
from benchmark.report.grouping import class_groups, group_runs
from benchmark.report.items import TABLES
from benchmark.report.settings import class_of
from benchmark.report.tables.cells import Table
from benchmark.store.folders import RunFolder

if TYPE_CHECKING:
    import pandas as pd


# Columns that tell sweeps apart, by which a user chooses runs when several cannot stand in one table.
TELLING = ("model.backbone", "model.batch_statistics", "train.epochs", "images.train", "protocol")


def table(df: pd.DataFrame, name: str = "2", published: bool = False) -> pd.DataFrame:
    """A table of the report, of the runs that rows of `df` are of, as a DataFrame of numbers.

    df: what `benchmark.measurements` gives, or some of its rows; of each run in it all is shown. name: "1", "2",
    "one-class", "scores" or "oe", as in `bench report --table`. A row is an OOD set, a class, an average or a measure,
    by its title, behind that of the in-distribution set or block where there are several; a column is a variant or
    method, by its title. Values are means over seeds, AUROC and accuracy in per cent, NaN where nothing is measured.
    published: two columns of each, "ours" and "published".

    Raises BenchError, one line, for a name of no table, where no run is of the table's protocol, and where the runs are
    of several settings or images that must not stand in one table: choose among them by a column of `df`.
    """
    if name not in TABLES:
        raise BenchError(unknown("table", name, TABLES))
    records = [record for path in df["folder"].unique() if (record := RunFolder(Path(path)).read_record())]
    item = TABLES[name]
    configs = [record.run_config for record in records]
    groups = []
    if item.protocol != "one-class":
        groups += group_runs([config for config in configs if class_of(config) is None], records, beside=True)
    if item.protocol != "sets":
        groups += class_groups(configs, records)
    made = [one for group in groups for one in item.maker(group)]
    if not made:
        lacks = item.lacks or "is of its protocol: whole sets, or for one-class classes of a set"
        raise BenchError(f"table {name}: none of these {len(records)} runs {lacks}")
    headings = list(dict.fromkeys(one.heading for one in made))
    if len(headings) > 1:
        differ = [f"{key} ({', '.join(map(str, df[key].unique()[:4]))})" for key in TELLING if df[key].nunique() > 1]
        told = "; ".join(differ) or " | ".join(heading or "the others" for heading in headings)
        raise BenchError(
            f"table {name}: these runs are of {len(headings)} settings, which cannot stand in one table. They "
            f"differ in {told}. Choose some, as df[df[COLUMN] == VALUE], or of one folder: "
            f"df[df['folder'].str.startswith('{Path(df['folder'].iloc[0]).parent}/')]"
        )
    import pandas as pd

    several = len(made) > 1 or any(one.several_in_dists for one in made)
    parted = any(len(_blocks(one)) > 1 for one in made)
    return pd.concat([_frame(one, several, parted, published) for one in made])


def _blocks(made: Table) -> dict[str, str]:
    """The titles of a table's blocks of rows."""
    return {row.block: row.title for row in made.rows if not row.cells and row.block and row.section == "texts"}


def _frame(made: Table, several: bool, parted: bool, published: bool) -> pd.DataFrame:
    """several, parted: whether the set and the block stand before a row."""
    import pandas as pd

    rows, blocks = [row for row in made.rows if row.cells], _blocks(made)
    names = {"ID": [info(row.in_dist).title for row in rows]} if several else {}
    if parted:
        names[""] = [blocks.get(row.block, "") for row in rows]
    headings = [row.heading for row in rows]
    index: Any = headings
    if names:
        last = "OOD" if several else made.corner
        index = pd.MultiIndex.from_arrays([*names.values(), headings], names=[*names, last])
    columns: dict[Any, list[float | None]] = {}
    for key, column in made.columns.items():
        title = column.heading
        cells = [row.cells[key] for row in rows]
        ours = [cell.ours.mean if cell.ours else None for cell in cells]
        if published:
            columns |= {(title, "ours"): ours, (title, "published"): [cell.published for cell in cells]}
        else:
            columns[title] = ours
    return pd.DataFrame(columns, index=index, dtype=float)
