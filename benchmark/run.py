"""THE MAIN PATH: one RunConfig -> images -> training -> features -> scores -> record."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmark import methods
from benchmark.evaluation.features import extract
from benchmark.evaluation.intermediate import intermediate_evaluation
from benchmark.evaluation.kept import kept_of
from benchmark.evaluation.measures import measure, write_record
from benchmark.plan.config import RunConfig
from benchmark.running.context import claim_run
from benchmark.running.device import Runtime, find_device
from benchmark.running.images import load_images
from benchmark.seeds import derive_seed
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record
from benchmark.training.trained import trained


def run(config: RunConfig, results: Path, data_root: Path, runtime: Runtime | None = None) -> Record | None:
    """Do all of the run that is not done yet, and return its record; None on ranks other than 0, which only train.

    Raises BenchError for what the user can mend, RunIsHeld when another process is on the run, and KeyboardInterrupt
    after saving a checkpoint when asked to stop. Whatever happens is left in the run's status.json.
    """
    runtime = runtime or Runtime()
    device = find_device(runtime, full=True)
    images = load_images(config, data_root)
    with claim_run(config, results, images, device, runtime) as run:
        if isinstance(run, RunFolder):
            return run.read_record() if runtime.ranks.is_main else None

        torch.manual_seed(derive_seed(config.seed, "initialise"))
        method = methods.build(config, device, begins=not run.folder.weights.exists())
        training = trained(method, run, intermediate_evaluation(method, run))
        run.ranks.leave()
        if not run.ranks.is_main:
            return None
        run.clock.lap("train")

        kept = kept_of(run)
        outputs, occupied = extract(method, run, kept)
        measured = measure(method, run, outputs, kept)
        return write_record(run, training, occupied, measured, kept)
