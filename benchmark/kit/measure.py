"""The kit's first command: what the machine is, whether it computes right, and how fast it is."""

from __future__ import annotations

import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.files import write_json
from benchmark.kit.parts import SWEEP_GRACE_SECONDS, Deadline, Part, Parts, bench
from benchmark.kit.places import REPOSITORY, Places, prepare, take_in

# Of the measuring command's time, the most that each part may take; together more than all, since most take less.
SHARES = {"images": 0.1, "doctor": 0.15, "cuda-tests": 0.28, "speed": 0.33, "perf-bf16": 0.32, "perf": 0.25}
# Compiling takes minutes where nothing is compiled yet.
SHARES |= dict.fromkeys(("perf-bf16-compiled", "perf-fp32-compiled"), 0.45)


# The steps that are timed: what each adds to `bench perf`. The plain recipe is the same float32 beside all of them.
STEPS = {
    "perf-bf16": ["--set", "train.precision=bf16", "--against", "reference"],
    "perf-fp32": ["--set", "train.precision=fp32"],
    "perf-bf16-compiled": ["--set", "train.precision=bf16", "--compile"],
    "perf-fp32-compiled": ["--set", "train.precision=fp32", "--compile"],
}


FILES = {"speed": "choice"}  # of a part, where it has another name


@dataclass(frozen=True)
class Measuring:
    """What the measuring command is told. seconds: for how long each number of runs side by side is watched; commands,
    window: how many `table2` will follow, of how many seconds of work; effort: options of `bench perf`; tests: the
    folder that pytest is given; parts: of PARTS, which."""

    limit: float
    window: float
    sweep: Path
    perf_sweep: Path
    jobs: list[int]
    seconds: float
    commands: int
    effort: list[str]
    tests: Path
    parts: Sequence[str]


PARTS = ("doctor", "cuda-tests", "speed", *STEPS)


def measure(places: Places, told: Measuring, deadline: Deadline) -> bool:
    """The first command; returns whether all parts were done. Each leaves a JSON file in `places.out`."""
    environment, out = prepare(places), places.out
    parts = Parts(out, places.results / ".logs", environment, {"command": sys.argv[1:]})
    for name in told.parts:  # so that what is there at the end is this command's
        (out / f"{FILES.get(name, name)}.json").unlink(missing_ok=True)
    limits = {name: share * told.limit for name, share in SHARES.items()}
    take_in(places, told.sweep, parts, deadline, limits["images"])
    for name in told.parts:
        seconds = limits.get(name, limits["perf"])
        if name == "cuda-tests":
            _test(told, parts, deadline, seconds)
        elif name == "speed":
            # It ends by itself; the time beyond is for its sweeps to stop in order.
            command = speed_command(places, told, min(seconds, deadline.for_work()))
            parts.run(name, command, seconds + SWEEP_GRACE_SECONDS, left=deadline.for_work, in_order=True)
            if (out / "choice.json").exists():
                shutil.copyfile(out / "choice.json", places.results / "choice.json")
        elif name == "doctor":
            where = ["--results", places.results, "--data", places.data]
            command = bench(sys.executable, "doctor", "--no-speed", "--json", out / "doctor.json", *where)
            # 1: something is broken here, and what it is stands in the file.
            parts.run(name, command, seconds, left=deadline.for_work, fine=(0, 1))
        else:
            command = bench(sys.executable, "perf", told.perf_sweep, *STEPS[name], *told.effort)
            parts.run(name, [*command, "--json", str(out / f"{name}.json")], seconds, left=deadline.for_work)
    return all(part.state == "done" for part in parts.ended)


def speed_command(places: Places, told: Measuring, seconds: float) -> list[str]:
    """The command that finds `choice.json`, a process of its own."""
    command = [sys.executable, "-m", "benchmark.kit", "speed", "--limit", f"{seconds + 1:.1f}", "--reserve", "1"]
    command += ["--window", f"{told.window:g}", "--commands", str(told.commands), "--seconds", f"{told.seconds:g}"]
    command += ["--jobs", ",".join(map(str, told.jobs)), "--sweep", str(told.sweep)]
    return [*command, "--data", str(places.data), "--results", str(places.results), "--out", str(places.out)]


def _test(told: Measuring, parts: Parts, deadline: Deadline, seconds: float) -> None:
    junit = parts.logs.resolve() / "cuda-tests.xml"
    junit.unlink(missing_ok=True)
    words = ["-m", "cuda", "-p", "no:cacheprovider", "-rs", f"--junitxml={junit}", str(told.tests.resolve())]
    command = [sys.executable, "-m", "pytest", *words]
    part = parts.run("cuda-tests", command, seconds, left=deadline.for_work, cwd=REPOSITORY)
    write_json(parts.out / "cuda-tests.json", tests_found(junit, part))


def tests_found(junit: Path, part: Part) -> dict[str, Any]:
    """What pytest's XML says, as plain values; what is known where it did not get to write it."""
    found: dict[str, Any] = {"state": part.state, "seconds": part.seconds, "last_words": list(part.last_words)}
    if not junit.exists():
        return found
    cases = ElementTree.parse(junit).getroot().iter("testcase")
    outcomes: dict[str, list[dict[str, Any]]] = {"passed": [], "failed": [], "skipped": []}
    for case in cases:
        about: dict[str, Any] = {"test": f"{case.get('classname')}::{case.get('name')}"}
        about["seconds"] = float(case.get("time") or 0)
        outcome = "passed"
        for said in case:
            if said.tag in ("failure", "error", "skipped"):
                outcome = "skipped" if said.tag == "skipped" else "failed"
                about["said"] = (said.get("message") or "")[:2000]
        outcomes[outcome].append(about)
    return {**found, "counts": {name: len(each) for name, each in outcomes.items()}, **outcomes}
