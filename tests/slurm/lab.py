"""A laboratory for the tests on a real SLURM cluster: a cluster for each test, tiny runs, and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from cluster import Cluster
from command import Said
from safetensors.numpy import load_file
from tiny_runs import TINY

from benchmark.files import locked
from benchmark.store.folders import RunFolder, all_runs
from benchmark.store.records import Record

MEDIUM = 20  # epochs of five steps: several seconds of training on a core, long enough to be disturbed
# `bench` in a process of its own, without the imports for a check that says nothing here.
BENCH = [
    sys.executable,
    "-c",
    "from benchmark.commands.app import main; from benchmark.launch import backbones; "
    "backbones.check_backbones = lambda *_: None; main()",
]


@dataclass
class Lab:
    """One test's cluster, data, results and command line."""

    cluster: Cluster
    folder: Path
    call: Callable[..., Said]
    shared: Path  # the same for all tests of this session, also in other processes

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def sweep(
        self,
        name: str = "tiny.yaml",
        *,
        variant: list[str] | None = None,
        seeds: int = 1,
        epochs: int = 1,
        resources: dict[str, Any] | None = None,
        model: dict[str, Any] | None = None,
    ) -> str:
        """Write a sweep file of tiny runs, one CPU each, and return its name."""
        base = json.loads(json.dumps(TINY))
        base["model"] |= model or {}
        base["train"]["epochs"] = epochs
        base.pop("variant")
        content = {
            "base": base,
            "grid": {"variant": variant or ["rot-in-dist"], "seed": list(range(seeds))},
            "references": [],
            "resources": {"gpus": 0, "cpus": 1, "memory_gb": 0.5, "hours": 0.25, **(resources or {})},
        }
        (self.folder / name).write_text(yaml.safe_dump(content))
        return name

    def no_op(self, name: str = "no-op.yaml", runs: int = 1, resources: dict[str, Any] | None = None) -> str:
        """Write a sweep file of runs that train nothing and take no time but their start, and return its name."""
        self.sweep(name, resources=resources)
        content = yaml.safe_load((self.folder / name).read_text())
        content["base"]["method"] = {"name": "image-statistics"}
        content["grid"] = {"variant": ["none"], "eval.knn_temperature": [0.1 + i / 100 for i in range(runs)]}
        (self.folder / name).write_text(yaml.safe_dump(content))
        return name

    def bench(self, *arguments: str, code: int = 0) -> Said:
        said = self.call(*arguments)
        assert said.code == code, f"bench {' '.join(arguments)}: exit {said.code}\n{said.out}\n{said.err}"
        return said

    def submit(self, *arguments: str, every: float = 1.0) -> Said:
        return self.bench("sweep", *arguments, "--executor", "slurm", "--checkpoint-every", f"{every:g}")

    def client(self, *command: str) -> str:
        environment = os.environ | self.cluster.environment
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def queue(self, form: str = "%i %T %N %r") -> list[str]:
        return self.client("squeue", "--noheader", "--array", f"--format={form}").splitlines()

    def runs(self) -> list[RunFolder]:
        return all_runs(self.results)

    def run(self) -> RunFolder:
        [folder] = self.runs()
        return folder

    def until(self, what: str, condition: Callable[[], Any], seconds: float = 90.0) -> Any:
        """The condition's value once it holds; fails with the state of everything when it does not in time."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                logs = "\n".join(f"{f.name}: {f.log.read_text()[-1500:]}" for f in self.runs() if f.log.exists())
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{self.queue()}\n{logs}")
            time.sleep(0.5)  # more often, and asking costs the runs their cores
        return value

    def until_training(self, folder: RunFolder, step: int = 10) -> None:
        """Wait until the run is at `step` and has a checkpoint."""
        self.until(
            f"{folder.name} trains",
            lambda: (status := folder.read_status()) and status.step >= step and folder.checkpoint.exists(),
        )

    def until_done(self, *folders: RunFolder, seconds: float = 120.0) -> None:
        for folder in folders or self.runs():
            self.until(f"{folder.name} is done", folder.record.exists, seconds)
        self.until("the queue is empty", lambda: not self.queue(), 60)

    def log_of(self, folder: RunFolder) -> str:
        return folder.log.read_text() if folder.log.exists() else ""

    def state(self, folder: RunFolder) -> str:
        """The line of `bench status` on this run."""
        out = self.bench("status", "--only", folder.name).out
        return next(line for line in out.splitlines() if line.startswith(folder.name)) + out

    def undisturbed(self, folder: RunFolder) -> RunFolder:
        """The same run on the same data, trained here in one go. Made once a session."""
        results = self.shared / "undisturbed"
        with locked(self.shared / f"{folder.name}.lock"):
            here = RunFolder(results / folder.name)
            if not here.record.exists():
                command = [*BENCH, "run", str(folder.config), "--results", str(results), "--device", "cpu"]
                command += ["--threads", "1", "--data", str(self.folder / "data")]
                subprocess.run(command, check=True, capture_output=True)
            return here

    def assert_as_undisturbed(self, folder: RunFolder) -> None:
        """Weights, scores and metrics are bit for bit those of an undisturbed run."""
        other = self.undisturbed(folder)
        ours, theirs = load_file(folder.weights), load_file(other.weights)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert np.array_equal(ours[name], theirs[name]), f"{folder.name}: {name} differs"
        mine, its = record_of(folder), record_of(other)
        assert (mine.scores, mine.knn_accuracy) == (its.scores, its.knn_accuracy)
        steps = [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()]
        assert steps == sorted(set(steps)), "a step is in the metrics twice"


def record_of(folder: RunFolder) -> Record:
    record = folder.read_record()
    assert record is not None
    return record


def step_of(folder: RunFolder) -> int:
    status = folder.read_status()
    return status.step if status else 0


def resumed_at(folder: RunFolder) -> list[int]:
    """The steps from which the run went on, as its log has them."""
    lines = folder.log.read_text().splitlines() if folder.log.exists() else []
    return [int(line.split("resumed at step ")[1].split()[0]) for line in lines if "resumed at step " in line]
