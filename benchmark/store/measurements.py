"""All that runs measured as one tidy table, one row per number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmark.errors import BenchError
from benchmark.exits import note
from benchmark.files import NewerRelease
from benchmark.plan.identity import flat
from benchmark.plan.titles import title_of
from benchmark.plan.training_data import training_data
from benchmark.store.folders import RunFolder, all_runs, runs_below
from benchmark.store.records import Record

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("auroc", "aupr_ood", "aupr_id", "aupr_oe", "fpr95_id", "fpr95_ood")  # of an OOD set, as in the record
_all_metrics = attrgetter(*METRICS)


def load_records(results: Path | Sequence[Path], tell: Callable[[str], None] = note) -> list[Record]:
    """All records under `results`, a folder or several one after another, by name. tell: is given a line for each that
    cannot be read, which is left out.

    Raises BenchError for one of a newer release.
    """
    places = [results] if isinstance(results, Path) else results
    return [record for place in places for _, record in _readable(all_runs(place), tell)]


def _readable(folders: Iterable[RunFolder], tell: Callable[[str], None]) -> Iterator[tuple[RunFolder, Record]]:
    for folder in folders:
        try:
            record = folder.read_record()
        except NewerRelease:
            raise
        except BenchError:
            tell(f"left out, its record is broken: {folder.name}: {folder.try_record()[1]}")
            continue
        if record is not None:
            yield folder, record


def measurements(results: str | Path = "results") -> pd.DataFrame:
    """Every number of the runs at or below a folder, a row each, those of a run together. In a checkout "results" holds
    the benchmark's own records too, in results/reference.

    What was measured: `metric` and `value`. Metrics are "auroc" and the other METRICS, "sensitivity" and
    "knn_accuracy_20", all in per cent; "occupied_paper", a number of soft classes; what a method alone measures, as
    "accuracy"; "training.NAME", and "seconds.PHASE". Missing where a metric has none: `score`, the one that detects,
    with `own`, whether the method is published with it, and `passes` of the network for a test image; `ood`, the set,
    with the numbers of images `n_id` and `n_ood`. `epoch`: after how many it was measured, NaN at the end.

    Of which run, in every row: `folder` (its path), `name`, `run_id`, `recipe_id`, `label`, `title` (the label for
    people), `training_data` (what it may learn from), `images.train` and `images.test` (numbers of in-distribution
    images), `seconds` in all, `hardware`, `commit`, `python`, `device`, `packages.NAME`, and every setting by its
    dotted key, as `in_dist`, `variant`, `seed`, `method.name`, `train.lr`. Texts are categories; a list is a text.

    A record that is broken, or of a package's method or variant that is not installed here, is left out, with a note.
    Raises BenchError, one line, where there is no finished run, or a record is of a newer release.
    """
    place = Path(results)
    found = []
    for folder, record in _readable(runs_below(place), note):
        try:
            _ = record.run_config
        except BenchError as error:  # of a method or variant of a package that is not installed here
            note(f"left out: {error}")
            continue
        found.append((folder.path, record))
    if not found:
        raise BenchError(f"{place}: holds runs, but none is finished; bench status says how far they are")
    return frame_of([record for _, record in found], [str(path) for path, _ in found])


def frame_of(records: Sequence[Record], folders: Sequence[str]) -> pd.DataFrame:
    """What `measurements` gives, of these records and the paths of their runs."""
    import pandas as pd

    frame = numbers_of(records)
    return pd.concat([_of_runs(records, folders, frame.pop("run").to_numpy(dtype=int)), frame], axis=1)


def numbers_of(records: Sequence[Record]) -> pd.DataFrame:
    """The columns of `measurements` that say what was measured, and `run`, the record's place."""
    import pandas as pd

    rows: list[_Row] = []  # one that names no metric stands for all METRICS of an OOD set
    values: list[float | None] = []
    for run, record in enumerate(records):
        for name, seen in record.scores.items():
            own = name == record.own
            for ood, found in seen.ood.items():
                rows.append(_Row(run, name, own, seen.passes, ood, found.n_id, found.n_ood))
                values += _all_metrics(found)
        for row, value in (*_of_the_run(run, record), *_on_the_way(run, record)):
            rows.append(row)
            values.append(value)
    frame = pd.DataFrame(rows, columns=_Row._fields).astype({"own": bool} | dict.fromkeys(("score", "ood"), "category"))
    whole = frame["metric"].to_numpy() == ""
    frame = frame.loc[frame.index.repeat(np.where(whole, len(METRICS), 1))]
    metrics = frame["metric"].to_numpy(copy=True)
    metrics[metrics == ""] = np.tile(METRICS, int(whole.sum()))
    frame = frame.assign(metric=pd.Categorical(metrics), value=np.array(values, dtype=float))
    return frame.dropna(subset="value").reset_index(drop=True)


class _Row(NamedTuple):
    """A row but for its value. run: the record's place."""

    run: int
    score: str | None = None
    own: bool = False
    passes: float = np.nan
    ood: str | None = None
    n_id: float = np.nan
    n_ood: float = np.nan
    metric: str = ""
    epoch: float = np.nan


def _of_the_run(run: int, record: Record) -> Iterator[tuple[_Row, float | None]]:
    """What is measured once, whatever the OOD set."""
    for name, seen in record.scores.items():
        yield _Row(run, name, name == record.own, seen.passes, metric="sensitivity"), seen.sensitivity
    kept = {**record.extra, "training": record.training, "seconds": record.seconds}
    measured = {
        **{f"knn_accuracy_{k}": value for k, value in record.knn_accuracy.items()},
        **{f"occupied_{reading}": value for reading, value in (record.occupancy or {}).items()},
        **{key: value for key, value in flat(kept).items() if type(value) in (int, float)},  # True is no number
    }
    yield from ((_Row(run, metric=metric), value) for metric, value in measured.items())


def _on_the_way(run: int, record: Record) -> Iterator[tuple[_Row, float | None]]:
    """What was measured while it trained, by the method's own score."""
    for seen in record.trajectory:
        at = _Row(run, epoch=seen.epoch)
        detects = at._replace(score=record.own, own=True, passes=record.own_score.passes)
        yield detects._replace(metric="sensitivity"), seen.sensitivity
        yield from ((detects._replace(ood=ood, metric="auroc"), value) for ood, value in seen.ood.items())
        yield from ((at._replace(metric=f"knn_accuracy_{k}"), value) for k, value in seen.knn_accuracy.items())
        yield from ((at._replace(metric=f"occupied_{name}"), value) for name, value in (seen.occupancy or {}).items())


def _of_runs(records: Sequence[Record], folders: Sequence[str], places: np.ndarray) -> pd.DataFrame:
    """The columns that say which run it is, for rows whose record stands at `places`."""
    import pandas as pd

    about = [{"folder": folder, **_about(record)} for folder, record in zip(folders, records, strict=True)]
    return spread(pd.DataFrame(about), places)


def spread(runs: pd.DataFrame, places: np.ndarray) -> pd.DataFrame:
    """The rows of `runs` at these places; its texts as categories, which are found once a run and not once a row."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in runs:
        if pd.api.types.is_numeric_dtype(runs[name]):
            columns[str(name)] = runs[name].to_numpy()[places]
        else:
            codes, texts = pd.factorize(runs[name])
            columns[str(name)] = pd.Categorical.from_codes(codes[places], texts)
    return pd.DataFrame(columns)


def _about(record: Record) -> dict[str, Any]:
    config, environment = record.run_config, record.environment
    settings = flat(config.model_dump(mode="json"))
    sizes = {split: record.data.get(f"{config.in_dist}/{split}") for split in ("train", "test")}
    return {
        "name": record.name,
        "run_id": record.run_id,
        "recipe_id": record.recipe_id,
        "label": config.label,
        "title": title_of(config.label),
        "training_data": training_data(config),
        **{key: ", ".join(map(str, value)) if isinstance(value, list) else value for key, value in settings.items()},
        **{f"images.{split}": seen.count if seen else np.nan for split, seen in sizes.items()},
        "seconds": float(sum(record.seconds.values())),
        "hardware": hardware(environment),
        **{key: environment.get(key) for key in ("commit", "python", "device")},
        **{f"packages.{name}": version for name, version in (environment.get("packages") or {}).items()},
    }


def hardware(environment: dict[str, Any]) -> str:
    """What a record's environment says of its machine."""
    return str(environment.get("hardware") or "")
