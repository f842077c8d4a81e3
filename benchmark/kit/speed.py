"""How fast a sweep's runs are here, alone and side by side, and how many epochs that leaves for each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchError
from benchmark.files import write_json
from benchmark.kit.parts import POLL_SECONDS, Deadline, bench, stop
from benchmark.kit.schedule import commands_needed, most_epochs

if TYPE_CHECKING:
    from benchmark.plan.config import RunConfig
    from benchmark.plan.sweep import Sweep

ENDLESS = 100_000  # epochs of a run that is only watched
MARGIN = 0.9  # of a command's time for work: clocks, disks and other people differ from one command to the next
WARM_UP = 0.1  # of the epochs, as in sweeps/small.yaml


@dataclass(frozen=True)
class Asked:
    """What is to be found out: for which sweep, with how many runs side by side, for how many commands of how many
    seconds of work; each watched for `seconds`. scratch: a folder for what is trained on the way."""

    sweep: Path
    data: Path
    scratch: Path
    jobs: Sequence[int]
    seconds: float
    commands: int
    window: float


def choose(asked: Asked, deadline: Deadline, environment: Mapping[str, str]) -> dict[str, Any]:
    """The number of runs side by side and of epochs with which most is trained, and what that was found from.

    Raises BenchError where nothing could be measured, or where not even one epoch fits.
    """
    from benchmark.plan import sweep as sweeps

    plan = sweeps.load(asked.sweep)
    shutil.rmtree(asked.scratch, ignore_errors=True)
    asked.scratch.mkdir(parents=True)
    trained = [run.config for run in plan.runs if run.config.method.trains]
    if not trained:
        raise BenchError(f"{asked.sweep}: no run that trains")
    # Without the reference rows, which have no speed.
    alone = asked.scratch / "watched.yaml"
    alone.write_text(json.dumps({"extends": str(plan.path.resolve()), "references": []}))
    flops = _flops(trained)
    overhead, record = _overhead(plan, alone, asked, deadline, environment)
    found: dict[str, Any] = {}
    for jobs in dict.fromkeys(min(jobs, len(trained)) for jobs in asked.jobs):
        if deadline.for_work() < asked.seconds:
            found[str(jobs)] = {"failed": "no time left"}
            continue
        found[str(jobs)] = _watch(alone, jobs, asked, flops, deadline, environment)
    steps = record["training"]["steps"]  # of one epoch
    work = [
        steps * run.config.train.batch * flops[_network(run.config)] if run.config.method.trains else 0.0
        for run in plan.runs
    ]
    window = MARGIN * asked.window
    epochs = {
        jobs: most_epochs(work, int(jobs), seen["flops_per_second"], overhead, window, asked.commands)
        for jobs, seen in found.items()
        if "failed" not in seen
    }
    if not epochs:
        raise BenchError(f"no speed was measured: {'; '.join(seen['failed'] for seen in found.values())}")
    best = max(epochs, key=lambda jobs: (epochs[jobs], -int(jobs)))
    about = {
        "sweep": str(asked.sweep),
        "hardware": record["environment"]["hardware"],
        "commands": asked.commands,
        "window_seconds": asked.window,
        "margin": MARGIN,
        "overhead_seconds": overhead,
        "work_flop_an_epoch": work,
        "side_by_side": found,
        "epochs_by_jobs": epochs,
    }
    if not epochs[best]:
        write_json(asked.scratch / "found.json", about)
        raise BenchError(
            f"not one epoch of {asked.sweep} fits into {asked.commands} commands of {asked.window:.0f} s "
            f"(see {asked.scratch / 'found.json'})"
        )
    speed = found[best]["flops_per_second"]
    needed = commands_needed(work, epochs[best], int(best), speed, overhead, window)
    shutil.rmtree(asked.scratch)
    return {**about, "jobs": int(best), "epochs": epochs[best], "commands_needed": needed}


def settings(choice: Mapping[str, Any]) -> list[str]:
    """The `--set` of a choice."""
    epochs = int(choice["epochs"])
    return [f"train.epochs={epochs}", f"train.warmup_epochs={WARM_UP * epochs:g}"]


def _network(config: RunConfig) -> str:
    """What makes the FLOPs of a pair differ from run to run."""
    return f"{config.model} {config.views} {config.method} {config.train.precision} {len(config.kinds())}"


def _flops(configs: Sequence[RunConfig]) -> dict[str, float]:
    """FLOPs of a pair, by `_network`."""
    from benchmark.perf.step import step_flops

    each = {_network(config): config for config in configs}
    return {key: step_flops(config) for key, config in each.items()}


def _sweep(file: Path, results: Path, asked: Asked, jobs: int, epochs: int, *more: str) -> list[str]:
    epochs_set = ["--set", f"train.epochs={epochs}", "--set", "train.warmup_epochs=0.5"]
    places = ["--executor", "local", "--results", results, "--data", asked.data]
    return bench(sys.executable, "sweep", file, "--jobs", jobs, *epochs_set, *places, *more)


def _overhead(
    plan: Sweep, alone: Path, asked: Asked, deadline: Deadline, environment: Mapping[str, str]
) -> tuple[float, dict[str, Any]]:
    """Seconds that a run takes beside its training, and the record of the run of one epoch that they were seen in."""
    from benchmark.perf import to_time

    chosen = to_time(plan, None)
    name = next(run.short_name for run in plan.runs if run.config == chosen)
    results, begun = asked.scratch / "whole", time.monotonic()
    command = _sweep(alone, results, asked, 1, 1, "--only", name)
    _begin(command, asked.scratch / "whole.log", deadline, environment)
    seconds = time.monotonic() - begun
    records = list(results.glob("*/record.json"))
    if not records:
        words = (asked.scratch / "whole.log").read_text().strip().splitlines()
        raise BenchError(f"one epoch of {name} did not end well: {words[-1] if words else 'no time left'}")
    record: dict[str, Any] = json.loads(records[0].read_text())
    return max(0.0, seconds - record["training"]["seconds"]), record


def _started(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            start_new_session=True,
        )


def _begin(command: Sequence[str], log: Path, deadline: Deadline, environment: Mapping[str, str]) -> None:
    """Run a sweep to its end, or the deadline's."""
    process = _started(command, log, environment)
    while process.poll() is None and deadline.for_work() > 0:
        time.sleep(POLL_SECONDS)
    if process.poll() is None:
        stop(process, in_order=True)


def _watch(
    alone: Path,
    jobs: int,
    asked: Asked,
    flops: Mapping[str, float],
    deadline: Deadline,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """The speed of `jobs` runs side by side, from when all of them train; a line on why where there is none."""
    results, log = asked.scratch / f"jobs-{jobs}", asked.scratch / f"jobs-{jobs}.log"
    command = _sweep(alone, results, asked, jobs, ENDLESS)
    process = _started(command, log, environment)
    before: dict[str, int] = {}
    until = None
    try:
        while process.poll() is None and deadline.for_work() > 0:
            lines = read_metrics(results)
            if until is None and len(lines) >= jobs and all(lines.values()):
                before, until = {run: len(each) for run, each in lines.items()}, time.monotonic() + asked.seconds
            if until is not None and time.monotonic() > until and all(len(lines[run]) > before[run] for run in before):
                break
            time.sleep(POLL_SECONDS)
        ended_early = process.poll() is not None
    finally:
        if process.poll() is None:
            stop(process, in_order=True)
    if until is None or ended_early:
        words = log.read_text().strip().splitlines()
        return {"failed": f"{jobs} side by side: " + (words[-1] if ended_early and words else "no time left")}
    found = _rates(results, before, flops)
    if len(found["pairs_per_second"]) < len(before):
        return {"failed": f"{jobs} side by side: no time left"}
    return found


def read_metrics(results: Path) -> dict[str, list[dict[str, float]]]:
    """The lines of metrics.jsonl of each run in a folder, less one that is being written."""
    found = {}
    for file in results.glob("*/metrics.jsonl"):
        whole = file.read_text().rpartition("\n")[0]
        found[file.parent.name] = [json.loads(line) for line in whole.splitlines()]
    return found


def _rates(results: Path, before: Mapping[str, int], flops: Mapping[str, float]) -> dict[str, Any]:
    from benchmark.store.folders import RunFolder

    speeds, total = {}, 0.0
    for run, lines in read_metrics(results).items():
        config = RunFolder(results / run).read_config()
        if before.get(run) and len(lines) > before[run]:
            speeds[run] = rate(lines[before[run] - 1 :])
            total += speeds[run] * flops[_network(config)]
    return {"pairs_per_second": speeds, "flops_per_second": total}


def rate(lines: Sequence[Mapping[str, float]]) -> float:
    """Pairs a second over all lines of metrics.jsonl but the first, which says only where the others begin."""
    steps = [(after["step"] - line["step"], after["pairs_per_second"]) for line, after in pairwise(lines)]
    return sum(count for count, _ in steps) / sum(count / speed for count, speed in steps)
