"""A few seconds of training on random images, and what every built-in sweep would take at that speed.

Run as a program it prints what it found as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmark.cores import usable_cores
from benchmark.doctor.findings import Finding
from benchmark.launch.slots import Slot
from benchmark.plan import sweep as sweeps
from benchmark.plan.config import RunConfig

SECONDS = 4.0
COUNT_SECONDS = 60  # to count the operations of the sweeps; a network takes up to 10 s of them
LIMIT_SECONDS = 90  # with the imports and the first step
TIMED_SWEEP = "cpu"


def timed() -> list[Finding]:
    """What `training_speed` finds, in a process of its own that ends after LIMIT_SECONDS whatever it is at."""
    command = [sys.executable, "-m", "benchmark.doctor.speed"]
    env = Slot(None, usable_cores()).environment()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False, env=env)
    except subprocess.TimeoutExpired:
        to_do = "again when it is less busy: bench doctor; without measuring: bench doctor --no-speed"
        return [Finding("note", "speed", f"not measured in {LIMIT_SECONDS} s: this machine is busy or slow", to_do)]
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return [Finding("broken", "speed", f"could not be measured: {why}")]
    return [Finding(**finding) for finding in json.loads(done.stdout.splitlines()[-1])]


def training_speed() -> list[Finding]:
    """FLOP/s of the small network's steps, and from it hours for each sweep: an estimate, and said to be one."""
    import torch

    from benchmark.perf import to_time
    from benchmark.perf.step import OurSteps, build, noise_images, pair_flops

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = to_time(sweeps.load(Path(TIMED_SWEEP)), None)
    steps = OurSteps(build(config, device), noise_images(config))
    steps.run(1, lambda part: None)
    begun, done = time.monotonic(), 0
    while time.monotonic() - begun < SECONDS:
        steps.run(1, lambda part: None)
        if device.type == "cuda":
            torch.cuda.synchronize()
        done += 1
    pairs = done * config.train.batch / (time.monotonic() - begun)
    speed = pairs * pair_flops(config)
    told = f"{pairs:,.0f} pairs/s of {TIMED_SWEEP} on the {device.type}, {speed / 1e9:,.3g} GFLOP/s of its networks"
    found = [Finding("ok", "speed", told)]
    counted: dict[str, tuple[float, float]] = {}
    hours: dict[str, float] = {}
    begun = time.monotonic()
    for name in sweeps.built_in():
        if not hours or time.monotonic() - begun < COUNT_SECONDS:
            hours[name] = _flops(name, counted) / speed / 3600
    told = ", ".join(f"{name} {_in_words(value)}" for name, value in sorted(hours.items(), key=lambda item: item[1]))
    how = (
        "An estimate, from these seconds and FLOPs for official numbers of images; large networks use hardware better."
    )
    left = [name for name in sweeps.built_in() if name not in hours]
    rest = f" Not counted in {COUNT_SECONDS} s: {', '.join(left)}." if left else ""
    return [*found, Finding("note", "sweeps", f"training would take about: {told}. {how}{rest}")]


def _flops(name: str, counted: dict[str, tuple[float, float]]) -> float:
    """Floating-point operations of the trained runs of a built-in sweep, at the official count of images.

    counted: of each network so far, the FLOPs of an image without negatives and of a negative; added to.
    """
    from benchmark.perf.step import step_flops

    total = 0.0
    for run in sweeps.load(Path(name)).runs:
        config = run.config
        if not config.method.trains:
            continue
        key = _costs(config)
        if key not in counted:
            counted[key] = step_flops(config)
        alone, negative = counted[key]
        total += (alone + negative * len(config.kinds())) * _pairs(config)
    return total


def _costs(config: RunConfig) -> str:
    """What decides the operations of a step. What a background is replaced by does not, nor which weights are tuned."""
    views = config.views.model_dump(exclude={"background", "background_p"})
    return f"{config.model} {views} {config.method.name} {config.method.model_dump(exclude={'tune'})}"


def _pairs(config: RunConfig) -> int:
    from benchmark.data.catalog import info

    count = config.data.train_limit or info(config.in_dist).counts.get("train") or 50_000
    return config.train.epochs * (count // config.train.batch) * config.train.batch


def _in_words(hours: float) -> str:
    if hours < 1:
        return f"{max(1, round(60 * hours))} min"
    return f"{hours:,.0f} h" if hours < 100 else f"{hours / 24:,.0f} days"


if __name__ == "__main__":
    print(json.dumps([asdict(finding) for finding in training_speed()]))
