"""One run in this process: what `bench run` does, and each process of the local queue."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import BenchError
from benchmark.exits import HELD_ELSEWHERE, complain
from benchmark.plan import layers, yamlfile
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.store.leases import RunIsHeld


def run_file(
    file: Path,
    results: Path,
    data_root: Path,
    device: str = "auto",
    threads: int | None = None,
    checkpoint_seconds: float = 300.0,
    sets: Sequence[str] = (),
    compile: bool = False,
) -> int:
    """Do the run of a config file, with the overrides `sets`; returns an exit code, having said what became of it.

    Raises BenchError that names the file, and KeyboardInterrupt after a checkpoint when asked to stop.
    """
    raw = yamlfile.read(file)
    layers.lay(raw, dict(layers.parse_set(text) for text in sets))
    config: RunConfig = validate(RunConfig, raw, str(file))
    # A shell that starts this in the background has SIGINT ignored, and ignoring is inherited.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    from benchmark.run import run
    from benchmark.running.device import Runtime
    from benchmark.running.processes import from_environment

    ranks = from_environment()
    runtime = Runtime(device, threads, checkpoint_seconds, ranks, compile)
    try:
        record = run(config, results, data_root, runtime)
    except RunIsHeld as error:
        complain(str(error))
        return HELD_ELSEWHERE
    except BenchError as error:
        raise BenchError(f"{file}: {error}") from error
    if record is not None:
        print(f"done: {results / record.name / 'record.json'}", flush=True)
    return 0
