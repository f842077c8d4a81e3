"""What all steps of one run need."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmark.data.images import ImageSet
from benchmark.plan.config import RunConfig
from benchmark.running.device import Runtime
from benchmark.running.processes import Ranks
from benchmark.running.signals import StopFlag
from benchmark.running.status import Reporter
from benchmark.store.folders import RunFolder
from benchmark.store.leases import Lease


@dataclass(frozen=True)
class Context:
    """What all steps of one run need."""

    config: RunConfig
    run_id: str
    folder: RunFolder
    sets: dict[str, ImageSet]
    device: torch.device
    runtime: Runtime
    reporter: Reporter
    stop: StopFlag
    lease: Lease | None  # rank 0's

    @property
    def ranks(self) -> Ranks:
        return self.runtime.ranks

    def should_stop(self) -> bool:
        return self.stop.requested or (self.lease is not None and self.lease.lost)

    def check_lease(self) -> None:
        if self.lease is not None:
            self.lease.check()
