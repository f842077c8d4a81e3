"""Benchmark of label-free out-of-distribution detection by self-distillation and negative sampling.

From Python, beside the `bench` command: `measurements(folder)` gives all that runs measured as one pandas DataFrame,
`table(df, "2")` a table of the report of them, `evaluate(network, in_dist=..., ood=[...])` scores a network of one's
own, and `Detector` is the Python side of `bench export`: Detector.load(folder).score(images).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.detector.detector import Detector
    from benchmark.evaluation.elsewhere import evaluate
    from benchmark.report.frames import table
    from benchmark.store.measurements import measurements

__version__ = "0.2.0"
__all__ = ["Detector", "__version__", "evaluate", "measurements", "table"]

# On first use: they need torch or pandas, and `import benchmark` must stay light.
_WHERE = {
    "Detector": "benchmark.detector.detector",
    "evaluate": "benchmark.evaluation.elsewhere",
    "measurements": "benchmark.store.measurements",
    "table": "benchmark.report.frames",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
