"""Invented runs of the one-class protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from report_fakes import config, record_of, with_own

from benchmark.plan.config import RunConfig
from benchmark.report.grouping import class_groups
from benchmark.report.groups import Group
from benchmark.report.published import one_class as published
from benchmark.report.tables.auroc import one_class
from benchmark.report.tables.cells import Row, Table
from benchmark.store.records import Record, SetInRecord

CIFAR10 = published.CLASSES
T975 = {1: 12.706204736, 2: 4.302652730, 9: 2.262157163}  # Student's t, 0.975, from a printed table
TRANSLATION = "rotation-translation"


def run(name: str, label: str = "rotation", seed: int = 0, parent: str = "cifar10", **fields: Any) -> RunConfig:
    """A run of the class `name` of `parent`: a method by its label, or a variant of DINO."""
    named: dict[str, Any] = {"variant": label}
    if label in ("rotation", "untrained", "image-statistics"):
        named = {"method": {"name": label}}
    elif label == TRANSLATION:
        named = {"method": {"name": "rotation", "shift": 8}}
    raw = {"in_dist": f"{parent}:{name}", "seed": seed, "eval": {"ood": [f"{parent}:not-{name}"]}, **named}
    return config(**(raw | fields))


def runs(labels: Iterable[str], classes: Iterable[str] = CIFAR10, seeds: Iterable[int] = (0,), **fields: Any
         ) -> list[RunConfig]:  # fmt: skip
    """Every class and seed of every label; the references have seed 0 alone."""
    return [run(name, label, seed, **fields) for label in labels for name in classes
            for seed in (seeds if label not in ("untrained", "image-statistics") else (0,))]  # fmt: skip


def level(config: RunConfig) -> float:
    """An AUROC that is different for each label, class and seed."""
    name = config.in_dist.partition(":")[2]
    base = {"rotation": 86.0, TRANSLATION: 87.5, "dino": 70.0, "rot-in-dist": 80.0, "rot-imgn": 82.0, "combined": 84.0,
            "untrained": 52.0, "image-statistics": 58.0}.get(config.label, 75.0)  # fmt: skip
    hard = published.VALUES.get(("rotation", name), 80.0 + len(name)) - 88.4
    return base + (hard if base > 60 else hard / 4) + (0.7, -0.4, 1.3)[config.seed % 3] * (len(name) % 3)


def one_record(config: RunConfig, value: Callable[[RunConfig], float | None] = level, train: int = 2000, **fields: Any
               ) -> Record:  # fmt: skip
    """A record of `train` training images, 1,000 test images and 9,000 of the other classes."""
    record = record_of(config, lambda c, ood: value(c), **fields)
    key = config.train_key
    data = record.data | {key: SetInRecord(**(record.data[key].model_dump() | {"count": train}))}
    ood = {name: one.model_copy(update={"n_id": 1000, "n_ood": 9000}) for name, one in record.own_score.ood.items()}
    return with_own(record.model_copy(update={"data": data}), ood=ood)


def group_of(configs: Iterable[RunConfig], make: Callable[[RunConfig], Record | None] = one_record) -> Group:
    """The only group of these runs."""
    configs = list(configs)
    (group,) = class_groups(configs, [record for c in configs if (record := make(c))])
    return group


def everything() -> list[RunConfig]:
    """Seven methods and the references on CIFAR10: some with three seeds, some with one."""
    return [
        *runs(["rotation"], seeds=(0, 1, 2)),
        *runs([TRANSLATION]),
        *runs(["dino", "rot-in-dist"], seeds=(0, 1)),
        *runs(["rot-imgn", "combined", "rot-dti"]),
        *runs(["untrained", "image-statistics"]),
    ]


def write_sweep(folder: Path, labels: list[str], classes: Iterable[str] = CIFAR10, seeds: Iterable[int] = (0,),
                parent: str = "cifar10", name: str = "mine.yaml") -> Path:  # fmt: skip
    """A sweep file of DINO's variants on these classes."""
    classes = list(classes)
    listed = ", ".join(f'"{parent}:{one}"' for one in classes)
    overrides = "\n".join(
        f'  - {{when: {{in_dist: "{parent}:{one}"}}, set: {{eval.ood: ["{parent}:not-{one}"]}}}}' for one in classes
    )
    path = folder / "sweeps" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"grid:\n  in_dist: [{listed}]\n  variant: [{', '.join(labels)}]\n  seed: [{', '.join(map(str, seeds))}]\n"
        f"overrides:\n{overrides}\n"
    )
    return path


def table_of(configs: Iterable[RunConfig], make: Callable[[RunConfig], Record | None] = one_record) -> Table:
    """The only table of these runs."""
    (table,) = one_class(group_of(configs, make))
    return table


def row(table: Table, key: str) -> Row:
    return next(row for row in table.rows if key in (row.key, row.title))


def by_hand(values: np.ndarray) -> tuple[float, float]:
    """Mean and half the 95% interval of n values, with numpy and the table of t above."""
    n = len(values)
    spread = np.sqrt(((values - values.mean()) ** 2).sum() / (n - 1))
    return float(values.mean()), float(T975[n - 1] * spread / np.sqrt(n))
