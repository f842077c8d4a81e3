"""Many runs on a cluster where everything goes wrong at random, and nothing may be lost.

BENCH_TEST_SLURM=1 BENCH_SOAK_RUNS=60 pytest -s tests/slurm/test_soak.py
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from lab import Lab, record_of, resumed_at

from benchmark.store.folders import RunFolder

RUNS = int(os.environ.get("BENCH_SOAK_RUNS", "5"))
SEED = int(os.environ.get("BENCH_SOAK_SEED", "0"))
EPOCHS = 40  # of five steps
CHECKPOINT_SECONDS = 0.5

# All of them in one process, which imports torch once.
UNDISTURBED = """
import sys
from pathlib import Path
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.store.folders import all_runs
results, other, data = map(Path, sys.argv[1:])
for folder in all_runs(results):
    run(folder.read_config(), other, data, Runtime("cpu", 1))
"""


class Trouble:
    """Disturbances, each a method; they return whether there was something to disturb."""

    def __init__(self, lab: Lab, chance: random.Random) -> None:
        self.lab, self.chance = lab, chance

    def _running(self) -> RunFolder | None:
        """A run in the midst of its training: most of so short a run's life is the start of its process."""
        end = time.monotonic() + 4
        while time.monotonic() < end:
            training = [
                folder
                for folder in self.lab.runs()
                if folder.holder() and (status := folder.read_status()) and 0 < status.step < status.steps / 2
            ]
            if training:
                return self.chance.choice(training)
            time.sleep(0.3)
        return None

    def requeue(self) -> bool:
        folder = self._running()
        if folder is not None:
            with suppress(subprocess.CalledProcessError):  # it may have ended this moment
                self.lab.client("scontrol", "requeue", folder.read_job()["job"])
        return folder is not None

    def kill(self) -> bool:
        folder = self._running()
        holder = folder.holder() if folder else None
        if holder is not None:
            with suppress(ProcessLookupError):
                os.kill(holder["pid"], signal.SIGKILL)
        return holder is not None

    def warn(self) -> bool:
        folder = self._running()
        if folder is not None:
            with suppress(subprocess.CalledProcessError):
                self.lab.client("scancel", f"--signal={self.chance.choice(['USR2', 'TERM'])}", folder.read_job()["job"])
        return folder is not None

    def preempt(self) -> bool:
        cpus = str(self.chance.choice([1, 2]))
        self.lab.client("sbatch", "-p", "urgent", "-c", cpus, "-o", "/dev/null", "--wrap", "sleep 2")
        return True

    def lose_a_node(self) -> bool:
        node = self.chance.choice(["node1", "node2"])
        self.lab.cluster.kill_slurmd(node, with_jobs=True)
        time.sleep(2)
        self.lab.cluster.start_slurmd(node)
        return True


def steps_done_twice(folder: RunFolder) -> list[int]:
    """For each start after the first: how many steps behind the last report of the start before it went on."""
    texts = re.split(r"^.* start \d+ on .*$", folder.log.read_text(), flags=re.MULTILINE)[2:]
    lost = []
    for text, attempt in zip(texts, folder.read_attempts()[1:], strict=True):
        went_on = re.search(r"resumed at step (\d+) ", text)
        if went_on:
            lost.append(max(0, attempt["step"] - int(went_on.group(1))))
        elif "epoch" in text:  # from the beginning: the start before had no checkpoint yet
            lost.append(attempt["step"])
    return lost


def test_soak(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(accounting=False, nodes=2, cpus=2, dead_node=5)
    chance = random.Random(SEED)
    trouble = Trouble(lab, chance)
    kinds = [trouble.requeue, trouble.kill, trouble.warn, trouble.preempt, trouble.lose_a_node]
    weights = [4, 4, 4, 2, 1]
    file = lab.sweep(seeds=RUNS, epochs=EPOCHS, resources={"hours": 1})
    begun, sweeps, done_to = time.monotonic(), 0, Counter[str]()
    while True:
        if not lab.queue():  # as a user does: again, until nothing is left
            assert sweeps < 30
            said = lab.submit(file, every=CHECKPOINT_SECONDS).out
            sweeps += 1
            if "nothing to do" in said:
                break
        if done_to.total() < RUNS:
            kind = chance.choices(kinds, weights)[0]
            done_to[kind.__name__] += kind()
        time.sleep(chance.uniform(0.3, 2))
        assert time.monotonic() - begun < 60 + 30 * RUNS, lab.queue()

    runs = lab.runs()
    assert len(runs) == RUNS and all(folder.record.exists() for folder in runs)
    starts = [folder.read_attempts() for folder in runs]
    resumes = sum(len(resumed_at(folder)) for folder in runs)
    lost = []
    for folder, attempts in zip(runs, starts, strict=True):
        record = record_of(folder)
        assert record.training["steps"] == 5 * EPOCHS
        # No start after the record: a finished run is not trained again.
        assert attempts[-1]["time"] < folder.record.stat().st_mtime
        lost += steps_done_twice(folder)
    print(
        f"\n{RUNS} runs, {sum(map(len, starts))} starts, {resumes} resumed, {sweeps} sweeps, "
        f"{time.monotonic() - begun:.0f} s; disturbances: {dict(done_to)}; steps done twice: {sum(lost)} of "
        f"{RUNS * 5 * EPOCHS}, at most {max(lost, default=0)} at a time"
    )
    assert done_to.total() >= RUNS / 2 and sum(map(len, starts)) > RUNS
    subprocess.run(
        [sys.executable, "-c", UNDISTURBED, str(lab.results), str(lab.folder / "calm"), str(lab.folder / "data")],
        check=True,
        capture_output=True,
    )
    for folder in runs:
        calm = RunFolder(lab.folder / "calm" / folder.name)
        mine, its = record_of(folder), record_of(calm)
        assert (mine.scores, mine.knn_accuracy) == (its.scores, its.knn_accuracy)
        assert mine.training["losses"] == its.training["losses"]
        assert folder.weights.read_bytes()[-1000:] == calm.weights.read_bytes()[-1000:]
