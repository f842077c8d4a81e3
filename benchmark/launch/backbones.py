"""The backbones of a sweep, built once before anything starts: better one line here than a hundred failed runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmark.errors import about
from benchmark.plan.config import RunConfig


def check_backbones(configs: Iterable[RunConfig], file: Path) -> None:
    """Build each backbone for the views it will see. Raises BenchError that names the sweep file."""
    from benchmark.models.backbones import build_backbone

    networks = [(config.model, config.input_sizes()) for config in configs]
    seen = {(model.model_dump_json(), sizes): model for model, sizes in networks if sizes}
    for (_, sizes), model in seen.items():
        with about(file):
            build_backbone(model, sizes[0], sizes[-1], model.drop_path)
