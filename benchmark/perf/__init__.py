"""`bench perf`: how fast a step, its views and the scoring are, against the plain recipe and the hardware's ceiling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmark.cores import usable_cores
from benchmark.errors import BenchError, first_line
from benchmark.plan.config import RunConfig
from benchmark.plan.sweep import Sweep


def to_time(sweep: Sweep, only: str | None) -> RunConfig:
    """The run of a sweep that `bench perf` times: the first that trains with negatives, else the first that trains.

    Raises BenchError where none trains; only: the glob that chose the runs, for that line.
    """
    trained = [run.config for run in sweep.runs if run.config.method.trains]
    chosen = next((config for config in trained if config.kinds()), None) or next(iter(trained), None)
    if chosen is None:
        raise BenchError(f"{sweep.path}: no run that trains" + (f" matches {only!r}" if only else ""))
    return chosen


Found = tuple[str, dict[str, Any], list[tuple[str, str]]]


def timings(
    config: RunConfig | None,
    *,
    origin: str,
    device: str,
    threads: int | None,
    against: str | None,
    compile: bool,
    views: bool,
    scoring: tuple[int, int, int] | None,
    masks: bool,
    memory: bool,
    steps: int,
    rounds: int,
    warmup: int,
    tell: Callable[[str], None],
) -> Found:
    """One measurement of `bench perf`: its title, its results as plain values, and the lines of its table.

    origin: the file that the config is from. scoring: queries, bank and feature width, to time that in place of the
    step; masks: to time and compare how foregrounds are found. Raises BenchError for a device that is not there, a
    model that cannot be built, and for lack of memory.
    """
    import torch

    from benchmark.perf import masks as foregrounds
    from benchmark.perf import scoring as scores
    from benchmark.perf import step
    from benchmark.perf import views as crops
    from benchmark.running.device import Runtime, find_device
    from benchmark.running.environment import environment

    where = find_device(Runtime(device="cpu" if views else device, threads=1 if views else threads))
    try:
        if scoring is not None:
            title = "Scoring"
            result = scores.perf_scoring(*scoring, where, rounds=rounds, tell=tell)
            rows = scores.rows(result)
        elif masks:
            title = "Foregrounds"
            result = foregrounds.perf_masks(where, rounds=rounds, tell=tell)
            rows = foregrounds.rows(result)
        elif config is None:
            raise BenchError("nothing to time: no config")
        elif views:
            title = "Views, one CPU thread"
            result = crops.perf_views(config, rounds=rounds, tell=tell)
            rows = crops.rows(result)
        else:
            title = f"A step of {config.in_dist}-{config.label}, batch {config.train.batch}"
            counted = {"counted_memory": step.step_memory(config)} if memory else {}
            result = counted | step.perf_step(
                config,
                where,
                steps=steps,
                rounds=rounds,
                warmup=warmup,
                against=against,
                compile=compile,
                workers=usable_cores(),
                tell=tell,
            )
            rows = step.rows(result)
    except BenchError as error:
        raise BenchError(f"{origin}: {error}") from error
    except RuntimeError as error:
        # torch.OutOfMemoryError is one; on a CPU it is a plain one, told by its text.
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        smaller = "--size" if scoring is not None else "--set train.batch=N"
        raise BenchError(
            f"{where.type}: not enough memory for this ({first_line(error)}); smaller: {smaller}"
        ) from error
    seen = environment(where)
    machine = f"{seen['hardware']}, {seen['threads']} threads, torch {seen['packages']['torch']}"
    details = {"config": config.model_dump(mode="json")} if config is not None else {}
    return f"{title} ({machine})", {**result, **details, "environment": seen}, rows
