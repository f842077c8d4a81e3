"""The records of a results folder, and records as a tidy table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.store.folders import all_runs
from benchmark.store.records import Record

if TYPE_CHECKING:
    import pandas as pd


def load_records(results: Path) -> list[Record]:
    """All records under `results`, by name. Raises BenchError when one is broken or of a newer schema."""
    records = [folder.read_record() for folder in all_runs(results)]
    return [record for record in records if record is not None]


def to_frame(records: list[Record]) -> pd.DataFrame:
    """Records as a tidy table: one row a number.

    Columns: recipe_id, run_id, name, in_dist, method, variant, label, seed, metric
    ("auroc", ..., "knn_accuracy_20", "sensitivity", "occupied_paper", ...), ood (None for measures without OOD), value.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for record in records:
        config = record.run_config
        about = {
            "recipe_id": record.recipe_id,
            "run_id": record.run_id,
            "name": record.name,
            "in_dist": config.in_dist,
            "method": config.method.name,
            "variant": config.variant,
            "label": config.label,
            "seed": config.seed,
        }
        values: list[tuple[str, str | None, float | None]] = [("sensitivity", None, record.own_score.sensitivity)]
        values += [(f"knn_accuracy_{k}", None, value) for k, value in record.knn_accuracy.items()]
        values += [(f"occupied_{k}", None, value) for k, value in (record.occupancy or {}).items()]
        values += [
            (metric, ood, value)
            for ood, measures in record.own_score.ood.items()
            for metric, value in measures.model_dump().items()
        ]
        rows += [
            about | {"metric": metric, "ood": ood, "value": value} for metric, ood, value in values if value is not None
        ]
    columns = ["recipe_id", "run_id", "name", "in_dist", "method", "variant", "label", "seed", "metric", "ood", "value"]
    return pd.DataFrame(rows, columns=columns)
