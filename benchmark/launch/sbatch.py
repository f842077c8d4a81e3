"""What is asked of sbatch for a run's resources."""

from __future__ import annotations

import math
from typing import Any

from benchmark.plan.resources import Resources

SIGNAL_BEFORE_END_SECONDS = 120


def parameters(resources: Resources, name: str) -> dict[str, Any]:
    """Resources in submitit's words for sbatch options (time in minutes, memory in MB)."""
    minutes = math.ceil(resources.hours * 60)
    gpus: int | str | None = resources.gpus or None
    asked: dict[str, Any] = {
        "job_name": name,
        "time": minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "cpus_per_task": resources.cpus,
        "gpus_per_node": f"{resources.gpu_type}:{gpus}" if gpus and resources.gpu_type else gpus,
        "mem": f"{math.ceil(resources.memory_gb * 1024)}M",
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "array_parallelism": resources.array_parallelism,
        "signal_delay_s": min(SIGNAL_BEFORE_END_SECONDS, minutes * 60 // 4),  # not before a short job has started
        "wckey": None,  # submitit's own default, --wckey=submitit, is refused by clusters that check it
        # A run's processes cannot go on without one of them.
        "srun_args": ["--kill-on-bad-exit=1"] if resources.nodes * resources.tasks_per_node > 1 else [],
        # From SLURM 22.05 on srun no longer takes over --cpus-per-task.
        "setup": [f"export SRUN_CPUS_PER_TASK={resources.cpus}", *resources.setup],
        "additional_parameters": {
            key: value for key, value in {"requeue": True, **resources.sbatch}.items() if value is not False
        },
    }
    return asked
