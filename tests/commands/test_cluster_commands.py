"""The commands where SLURM is about, or ought to be; its clients are small scripts here."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Said

from benchmark.plan.config import RunConfig
from benchmark.store.folders import RunFolder, Status

DOWN = 'echo "Slurmctld(primary) at c is DOWN"; exit 1'


@pytest.fixture
def bench(bench_with_slurm: Callable[..., Said]) -> Callable[..., Said]:
    return bench_with_slurm


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """clients(squeue=SCRIPT, ...): SLURM's clients on PATH are these shell scripts, and do nothing where none is given.

    A client says in NAME.calls with which arguments it was called.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(**scripts: str) -> None:
        for name in ("sbatch", "srun", "scontrol", "squeue", "scancel", "sacct"):
            (folder / name).write_text(f'#!/bin/sh\necho "$@" >> "$0.calls"\n{scripts.get(name, "exit 0")}\n')
            (folder / name).chmod(0o755)

    put()
    return put


STARTS = """
base:
  in_dist: mine
  eval: {ood: [other]}
  data: {sources: {imagenet: broad}}
  model: {backbone: small_convnet, args: {width: 8}, drop_path: 0.0}
  method: {name: classifier, classes: 3}
grids:
- {}
- base: {method: {name: outlier-exposure, classes: 3, tune: classifier}, negatives: {weight: 0.5}, variant: imgn}
references: []
"""


def test_runs_at_a_time_here_are_no_matter_of_a_cluster(bench, clients, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "tuned.yaml").write_text(STARTS)
    clients(sbatch='echo "Submitted batch job 7"')
    monkeypatch.setattr("benchmark.launch.slots.visible_gpus", lambda: pytest.fail("a login node has been asked"))
    said = bench("sweep", "tuned.yaml", "--executor", "slurm", "--only", "*classifier*", "--jobs", "2")
    assert said.code == 2 and "--jobs 2: is of runs here" in said.err and "array_parallelism" in said.err
    assert bench("sweep", "tuned.yaml", "--executor", "slurm", "--only", "*classifier*").code == 0


def test_a_start_that_is_queued_is_waited_for_also_where_its_submitter_died(bench, clients, tmp_path: Path) -> None:
    (tmp_path / "tuned.yaml").write_text(STARTS)
    clients(sbatch='cat "$1" > "$0.text"; echo "Submitted batch job 7"')
    said = bench("sweep", "tuned.yaml", "--executor", "slurm", "--only", "*classifier*")
    assert said.code == 0, said
    [folder] = [RunFolder(path.parent) for path in (tmp_path / "results").glob("*/job.json")]
    folder.write_job({key: value for key, value in folder.read_job().items() if key != "job"})
    clients(
        squeue=f"echo '7|PENDING||{folder.read_job()['name']}|Priority'",
        sbatch='cat "$1" > "$0.text"; echo "Submitted batch job 8"',
    )
    assert "dependency=afterany:7\n" in bench("sweep", "tuned.yaml", "--executor", "slurm", "--dry-run").out
    assert "job 8" in bench("sweep", "tuned.yaml", "--executor", "slurm").out
    assert "#SBATCH --dependency=afterany:7\n" in (tmp_path / "bin/sbatch.text").read_text()


def test_what_is_advised_after_a_submission_works_as_copied(bench, clients, tmp_path: Path, monkeypatch) -> None:
    clients(sbatch='echo "Submitted batch job 7"')
    monkeypatch.delenv("BENCH_DATA")
    places = ["--data", str(tmp_path / "data"), "--results", "my results"]
    (tmp_path / "mine.yaml").rename(tmp_path / "two words.yaml")
    said = bench("sweep", "two words.yaml", "--executor", "slurm", "--set", "eval.knn=[5, 7]", *places)
    assert said.code == 0, said
    advised = dict(line.split(": ", 1) for line in said.out.splitlines() if ": bench " in line)
    watch, see = (shlex.split(advised[key])[1:] for key in ("Watch them", "See the results"))
    [name] = {RunFolder(path.parent).read_job()["name"] for path in (tmp_path / "my results").glob("*/job.json")}
    clients(squeue=f'for i in 0 1 2; do echo "7_$i|PENDING||{name}|Priority"; done')
    assert "3 runs: 3 pending" in bench(*watch).out
    assert see[0] == "report" and "my results: no records for two words.yaml" in bench(*see).err


@pytest.fixture
def queued_run(tmp_path: Path) -> RunFolder:
    """A run whose job, submitted as "s-1", has not written a word yet."""
    folder = RunFolder(tmp_path / "results/mine-dino-s0-0")
    folder.write_config(RunConfig.model_validate({"in_dist": "mine", "variant": "dino", "eval": {"ood": ["other"]}}))
    folder.write_job({"name": "s-1", "index": 0, "job": "7", "submitted": 1.0})
    return folder


class Clock:
    """Stands for `time`: a second passes at each sleep, and after `last` of them `then` is done."""

    def __init__(self, last: int, then: Callable[[], object]) -> None:
        self.now, self.last, self.then = 0.0, last, then

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > self.last:
            self.then()


def test_who_follows_a_log_asks_the_queue_now_and_then(
    bench, clients, tmp_path: Path, queued_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients(squeue="echo '7|PENDING||s-1|Priority'")
    clock = Clock(40, lambda: queued_run.write_status(Status(state="failed", error="no good")))
    monkeypatch.setattr("benchmark.commands.logs.time", clock)
    assert bench("logs", queued_run.name, "-f").code == 0
    assert clock.now >= 40 and len((tmp_path / "bin/squeue.calls").read_text().splitlines()) == 3


def test_a_queue_that_does_not_answer_is_told_once_and_without_one_nothing_is_waited_for(
    bench, clients, queued_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients(squeue="echo 'slurm_load_jobs error: no controller' >&2; exit 1")
    clock = Clock(40, lambda: queued_run.write_status(Status(state="failed", error="no good")))
    monkeypatch.setattr("benchmark.commands.logs.time", clock)
    assert bench("logs", queued_run.name, "-f").out.count("note: squeue failed") == 1 and clock.now >= 40
    queued_run.status.unlink()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(
        "benchmark.commands.logs.time", Clock(40, lambda: pytest.fail("it waits for what it cannot know"))
    )
    assert bench("logs", queued_run.name, "-f").out.count("note: squeue is not on PATH") == 1


def test_a_controller_that_is_silent_leaves_a_sweep_to_neither_machine(bench, clients, tmp_path: Path) -> None:
    clients(scontrol=DOWN)
    for arguments in ([], ["--dry-run"]):
        said = bench("sweep", "mine.yaml", *arguments)
        assert said.code == 2 and len(said.err.splitlines()) == 1 and said.out == ""
        assert "controller does not answer (scontrol failed: Slurmctld(primary) at c is DOWN)" in said.err
        assert "--executor local" in said.err and "--executor slurm" in said.err
    assert not (tmp_path / "results").exists() and not (tmp_path / "bin/sbatch.calls").exists()
    assert bench("sweep", "mine.yaml", "--dry-run", "--executor", "local").code == 0
