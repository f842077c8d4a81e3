"""Places to run on this machine: one per GPU, or some CPU threads each."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import benchmark
from benchmark.cores import usable_cores

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Slot:
    """A place to run: a GPU (by its id in CUDA_VISIBLE_DEVICES; None on a CPU) and a number of threads."""

    gpu: str | None
    threads: int

    def environment(self) -> dict[str, str]:
        """The environment of a process in this slot."""
        threads = {name: str(self.threads) for name in THREAD_VARIABLES}
        gpu = {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu}
        # The runs import this very package, not whatever is called `benchmark` in the folder we were started in. Once:
        # the fork server has this environment made our own, run by run.
        package = str(Path(benchmark.__file__).parent.parent)
        others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", package)]
        paths = os.pathsep.join([package, *others])
        alone = {"RANK": "0", "WORLD_SIZE": "1"}  # one process a run, also where this queue is one of several tasks
        python = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
        return {**os.environ, **threads, **gpu, **alone, **python}


def make_slots(runs: int, jobs: int | None) -> list[Slot]:
    """One slot a visible GPU; on a CPU, min(cores, runs). `jobs` sets another number; more than GPUs share them."""
    gpus = visible_gpus()
    cores = usable_cores()
    count = max(1, min(jobs or len(gpus) or cores, runs))
    threads = max(1, cores // count)
    return [Slot(gpus[index % len(gpus)] if gpus else None, threads) for index in range(count)]


def visible_gpus() -> list[str]:
    """Ids of the GPUs this process may use: CUDA_VISIBLE_DEVICES, or else what nvidia-smi lists. No torch needed."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [part.strip() for part in given.split(",") if part.strip() and part.strip() != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return []
    return answer.stdout.split()
