"""What can happen to a run on a cluster, and that it ends as if nothing had."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lab import MEDIUM, Lab, record_of, resumed_at, step_of
from safetensors.numpy import load_file

from benchmark.store.folders import RunFolder


def test_time_limit_then_requeue_then_the_end(lab: Lab) -> None:
    """SLURM looks at time limits every 30 s and warns 20 to 50 s after the start of a job of one minute."""
    file = lab.sweep(epochs=40 * MEDIUM, resources={"hours": 1 / 60})
    lab.submit(file, every=1000)  # no checkpoint but the one at the warning
    folder = lab.run()
    lab.until("the job is warned and asks for another start", lambda: "requeued job" in lab.log_of(folder), 150)
    saved = folder.read_status()
    assert saved is not None and saved.state == "interrupted" and 0 < saved.step < 200 * MEDIUM
    lab.until("it goes on", lambda: len(folder.read_attempts()) >= 2, 60)
    lab.until("it says where", lambda: resumed_at(folder), 120)  # on a busy machine not before the next warning
    assert resumed_at(folder)[0] == saved.step and "requeued " in lab.state(folder)
    lab.bench("cancel", folder.name)
    # The rest needs no clock: what is left of so long a training is another test's.


@pytest.mark.parametrize(("partition", "warned"), [("main", True), ("fragile", False)])
def test_preemption_by_a_higher_partition(make_lab: Callable[..., Lab], partition: str, warned: bool) -> None:
    """Warned, the run saves first; unwarned, it loses at most one checkpoint interval."""
    lab = make_lab(accounting=False, nodes=1, cpus=1, preempt_warning=warned)
    file = lab.sweep(epochs=MEDIUM, resources={"partition": partition})
    lab.submit(file)
    folder = lab.run()
    lab.until_training(folder)
    lab.client("sbatch", "-p", "urgent", "-o", "/dev/null", "--wrap", "sleep 3")
    lab.until("the run is put back", lambda: "pending" in lab.state(folder).split(), 60)
    assert folder.checkpoint.exists() and step_of(folder) > 0
    lab.until_done(folder)
    assert len(folder.read_attempts()) == 2
    [resumed] = resumed_at(folder)
    assert resumed >= 5
    assert record_of(folder).training["resumed"] == 1
    lab.assert_as_undisturbed(folder)


def test_put_back_terminated_and_killed_in_one_life(lab: Lab) -> None:
    file = lab.sweep(epochs=2 * MEDIUM)
    lab.submit(file)
    folder = lab.run()
    job = folder.read_job()["job"]

    def next_start(number: int) -> None:
        lab.until(f"start {number}", lambda: len(folder.read_attempts()) == number)
        lab.until("it says where it goes on", lambda: len(resumed_at(folder)) == number - 1)

    lab.until_training(folder)
    lab.client("scontrol", "requeue", job)  # SIGTERM, and SIGKILL two seconds later
    next_start(2)
    lab.client("scancel", "--signal=TERM", job)  # a cluster that preempts without a warning: the job may still act
    next_start(3)
    assert "requeued 2x" in lab.state(folder)
    os.kill(process_of(folder), signal.SIGKILL)
    lab.until("the job is gone", lambda: not lab.queue())
    assert "lost" in lab.state(folder)
    lab.submit(file)
    next_start(4)
    lab.until_done(folder)
    assert len(folder.read_attempts()) == 4 and resumed_at(folder) == sorted(resumed_at(folder))
    lab.assert_as_undisturbed(folder)


def process_of(folder: RunFolder) -> int:
    holder = folder.holder()
    assert holder is not None
    return int(holder["pid"])


def test_a_machine_dies(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(accounting=True, dead_node=5)
    lab.submit(lab.sweep(epochs=MEDIUM))
    folder = lab.run()
    lab.until_training(folder)
    lab.cluster.kill_slurmd(lab.queue("%N")[0], with_jobs=True)
    lab.until("SLURM sees it", lambda: "pending" in lab.state(folder).split(), 60)
    lab.until_done(folder)
    attempts = folder.read_attempts()
    assert len(attempts) == 2 and attempts[0]["node"] != attempts[1]["node"]
    lab.assert_as_undisturbed(folder)


def test_a_node_is_taken_for_dead_and_its_job_goes_on(lab: Lab) -> None:
    """SLURM starts the job again elsewhere. Nobody may train beside the one that lives."""
    lab.submit(lab.sweep(epochs=6 * MEDIUM))
    folder = lab.run()
    lab.until_training(folder)
    node = lab.queue("%N")[0]
    lab.cluster.kill_slurmd(node)
    lab.client("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    lab.until("a second start has come", lambda: "waiting for it to end" in lab.log_of(folder))
    assert "running" in lab.state(folder) and f"on {node}" in lab.state(folder)
    lab.until_done(folder, seconds=300)
    assert len(folder.read_attempts()) == 1 and not resumed_at(folder), "two jobs were on one run"


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(lab: Lab) -> None:
    lab.results.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(lab.results)], check=True)
    try:
        file = lab.sweep(epochs=MEDIUM)
        lab.submit(file)
        folder = lab.run()
        lab.until_training(folder)
        filler = lab.results / "filler"
        with pytest.raises(OSError, match="No space"), open(filler, "wb", buffering=0) as stream:
            while True:
                stream.write(b"x" * 4096)
        lab.until("the job is gone", lambda: not lab.queue(), 60)
        filler.unlink()
        state = lab.state(folder)
        assert "disk full" in state or "No space left" in state or "lost" in state
        lab.submit(file, "--retry-failed")
        lab.until_done(folder)
        lab.assert_as_undisturbed(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(lab.results)], check=True)


def test_a_run_that_was_suspended_notices_that_it_was_taken_over(lab: Lab) -> None:
    """Its lease expires while it sleeps; another job goes on with the run; woken, it writes nothing more."""
    file = lab.sweep(epochs=2 * MEDIUM)
    lab.submit(file)
    folder = lab.run()
    lab.until_training(folder)
    sleeper = process_of(folder)
    os.kill(sleeper, signal.SIGSTOP)
    # Two minutes of silence, told in a second: an old heartbeat of a host that is not this one.
    holder = folder.lease.read_text().replace(f'"host": "{os.uname().nodename}"', '"host": "another"')
    folder.lease.write_text(holder)
    old = time.time() - 121
    os.utime(folder.lease, (old, old))
    assert folder.holder() is None
    lab.client("scontrol", "update", f"JobId={folder.read_job()['job']}", "JobName=forgotten")  # SLURM lost sight of it
    assert "lost" in lab.state(folder)
    lab.submit(file)
    lab.until("the second goes on", lambda: len(resumed_at(folder)) == 1)
    os.kill(sleeper, signal.SIGCONT)
    lab.until("the first gives way", lambda: "taken over by another process" in lab.log_of(folder), 40)
    lab.until_done(folder)
    assert len(folder.read_attempts()) == 2
    lab.assert_as_undisturbed(folder)


def test_two_processes_on_two_nodes_share_a_run(lab: Lab) -> None:
    """Over gloo under srun; put back in mid-run, they go on together and end where one process ends."""
    file = lab.sweep(epochs=MEDIUM, model={"drop_path": 0.0}, resources={"nodes": 2})
    assert "2 nodes of 0 GPUs, 1 CPU" in lab.submit(file).out
    folder = lab.run()
    lab.until_training(folder)
    assert lab.queue("%D %C") == ["2 2"]
    lab.client("scancel", "--signal=USR2", folder.read_job()["job"])
    lab.until("they ask for another start", lambda: "requeued job" in lab.log_of(folder), 60)
    lab.until_done(folder)
    assert len(folder.read_attempts()) == 2 and len(resumed_at(folder)) == 1
    assert record_of(folder).environment["processes"] == 2
    alone = lab.undisturbed(folder)
    ours, theirs = load_file(folder.weights), load_file(alone.weights)
    for name in ours:  # float32, another order of summation, 100 steps
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=2e-3, err_msg=name)
    mine, its = record_of(folder), record_of(alone)
    assert mine.training["losses"]["loss"] == pytest.approx(its.training["losses"]["loss"], rel=1e-3)


def test_when_one_of_two_processes_dies_the_run_is_told_and_goes_on(lab: Lab) -> None:
    file = lab.sweep(epochs=2 * MEDIUM, resources={"nodes": 2})
    lab.submit(file)
    folder = lab.run()
    lab.until_training(folder)
    first = process_of(folder)
    others = lab.client("pgrep", "-f", "submitit.core._submit").split()
    second = next(int(pid) for pid in others if int(pid) != first and belongs_to(int(pid), lab, "SLURM_PROCID=1"))
    os.kill(second, signal.SIGKILL)
    # srun ends the first as well. Told by its own finding, the run has failed; by srun's SIGTERM, it asks for a start.
    lab.until("it is told", lambda: not lab.queue() or "requeued job" in lab.log_of(folder), 60)
    if "requeued job" not in lab.log_of(folder):
        assert "another process of this run died" in lab.state(folder) or "lost" in lab.state(folder)
        lab.submit(file, "--retry-failed")
    lab.until_done(folder)
    assert len(resumed_at(folder)) == 1


def belongs_to(pid: int, lab: Lab, variable: str) -> bool:
    """Whether a process is a Python of this lab's jobs with this in its environment."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        name = Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return False
    return variable in words and name.startswith("python") and any(str(lab.cluster.folder) in word for word in words)
