"""One run in this process: what `bench run` does, and each process of the local queue."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmark.errors import BenchError, StillToDo
from benchmark.exits import HELD_ELSEWHERE, complain, explain_os, no_room
from benchmark.launch.status import mark
from benchmark.plan import layers, yamlfile
from benchmark.plan.config import RunConfig, as_kept
from benchmark.plan.validation import validate
from benchmark.running.signals import StopFlag, answer_stop_signals
from benchmark.store.folders import RunFolder
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
    if RunConfig.model_fields.keys() <= raw.keys():  # all settings are in a run's own config.yaml alone
        raw = as_kept(raw)
    layers.lay(raw, dict(layers.parse_set(text) for text in sets))
    config: RunConfig = validate(RunConfig, raw, str(file))
    answer_stop_signals(StopFlag().on_signal)  # for good: the process ends with the run
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
    except (BenchError, OSError) as error:
        passes = isinstance(error, StillToDo) or no_room(error)
        if isinstance(error, OSError) and not passes:
            raise
        said = explain_os(error) if isinstance(error, OSError) else str(error)
        if passes and file.absolute().parents[1] == results.absolute():  # perhaps the run itself could not say it yet
            with suppress(OSError):
                mark(RunFolder(file.parent), "interrupted", said)
        raise (StillToDo if passes else BenchError)(f"{file}: {said}") from error
    if record is not None:
        print(f"done: {results / record.name / 'record.json'}", flush=True)
    return 0
