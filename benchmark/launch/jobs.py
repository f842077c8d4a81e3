"""A run that waits its turn, here or on a cluster, and how a run of the local queue ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmark.plan.config import RunConfig
from benchmark.store.folders import RunFolder


@dataclass(frozen=True)
class Job:
    """A run that waits its turn. device: what its sweep asks for."""

    config: RunConfig
    folder: RunFolder
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class Outcome:
    """How a run of the queue ended. elsewhere: another process is on it."""

    name: str
    state: Literal["done", "failed", "interrupted", "elsewhere"]
    detail: str = ""
    seconds: float = 0.0
