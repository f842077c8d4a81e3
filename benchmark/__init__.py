"""Benchmark of label-free out-of-distribution detection by self-distillation and negative sampling.

`Detector` is the Python side of `bench export`: Detector.load(folder).score(images).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.detector.detector import Detector

__version__ = "0.1.0"
__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Detector":  # on first use: it needs torch, and `import benchmark` must stay light
        from benchmark.detector.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
