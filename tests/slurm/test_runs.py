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
from conftest import MEDIUM, Lab, record_of, resumed_at, step_of
from safetensors.numpy import load_file

from benchmark.store import RunFolder


def test_time_limit_then_requeue_then_the_end(lab: Lab) -> None:
    """SLURM looks at time limits every 30 s and warns 20 to 50 s after the start of a job of one minute."""
    file = lab.sweep(epochs=40 * MEDIUM, resources={"hours": 1 / 60})
    lab.submit(file, every=1000)  # no checkpoint but the one at the warning
    folder = lab.run()
    lab.until("the job is warned and asks for another start", lambda: "requeued job" in lab.log_of(folder), 150)
    saved = folder.read_status()
    assert saved is not None and saved.state == "interrupted" and 0 < saved.step < 200 * MEDIUM
    lab.until("it goes on", lambda: len(folder.read_attempts()) == 2, 60)
    lab.until("it says where", lambda: resumed_at(folder) == [saved.step], 60)
    assert "requeued 1x" in lab.state(folder)
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


@pytest.mark.parametrize("how", ["scontrol requeue", "SIGKILL", "SIGTERM"])
def test_put_back_or_killed(lab: Lab, how: str) -> None:
    file = lab.sweep(epochs=MEDIUM)
    lab.submit(file)
    folder = lab.run()
    lab.until_training(folder)
    job = folder.read_job()["job"]
    if how == "scontrol requeue":
        lab.client("scontrol", "requeue", job)
    elif how == "SIGTERM":  # how a cluster preempts that sends no warning: the job may still end by itself
        lab.client("scancel", "--signal=TERM", job)
    else:
        before = step_of(folder)
        os.kill(process_of(folder), signal.SIGKILL)
        lab.until("the job is gone", lambda: not lab.queue())
        assert "lost" in lab.state(folder)
        lab.submit(file)
        lab.until("it says where it goes on", lambda: resumed_at(folder))
        assert resumed_at(folder)[0] >= before - 60
    lab.until_done(folder)
    assert len(folder.read_attempts()) == 2 and len(resumed_at(folder)) == 1
    lab.assert_as_undisturbed(folder)


def process_of(folder: RunFolder) -> int:
    holder = folder.holder()
    assert holder is not None
    return int(holder["pid"])


@pytest.mark.parametrize("machine_dies", [True, False])
def test_node_failure(make_lab: Callable[..., Lab], machine_dies: bool) -> None:
    """slurmd ends and SLURM takes the node for dead. If its processes live on, nobody may train beside them."""
    lab = make_lab(accounting=True, dead_node=5)
    epochs = MEDIUM if machine_dies else 9 * MEDIUM
    lab.submit(lab.sweep(epochs=epochs))
    folder = lab.run()
    lab.until_training(folder)
    [node] = lab.queue("%N")
    lab.cluster.kill_slurmd(node, with_jobs=machine_dies)
    lab.until("SLURM sees it", lambda: any(node not in line for line in lab.queue("%T %N")), 60)
    if not machine_dies:
        assert process_of(folder)
        lab.until("a second start has come", lambda: "waiting for it to end" in lab.log_of(folder), 90)
        assert "running" in lab.state(folder)
    lab.until_done(folder, seconds=400)
    attempts = folder.read_attempts()
    if machine_dies:
        assert len(attempts) == 2 and attempts[0]["node"] != attempts[1]["node"]
        lab.assert_as_undisturbed(folder)
    else:
        assert len(attempts) == 1 and not resumed_at(folder), "two jobs were on one run"


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
    file = lab.sweep(epochs=3 * MEDIUM)
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


@pytest.mark.parametrize(("nodes", "tasks"), [(2, 1), (1, 2)])
def test_two_processes_share_a_run(lab: Lab, nodes: int, tasks: int) -> None:
    """Over gloo under srun; put back in mid-run, they go on together and end where one process ends."""
    file = lab.sweep(epochs=MEDIUM, model={"drop_path": 0.0}, resources={"nodes": nodes, "tasks": tasks})
    said = lab.submit(file).out
    assert ("2 nodes of" if nodes == 2 else "2 processes of") in said
    folder = lab.run()
    lab.until_training(folder)
    assert lab.queue("%D %C") == [f"{nodes} 2"]
    lab.client("scancel", "--signal=USR2", folder.read_job()["job"])
    lab.until("they ask for another start", lambda: "requeued job" in lab.log_of(folder), 60)
    lab.until_done(folder)
    assert len(folder.read_attempts()) == 2 and len(resumed_at(folder)) == 1
    assert record_of(folder).environment["processes"] == 2
    alone = lab.undisturbed(folder)
    ours, theirs = load_file(folder.weights), load_file(alone.weights)
    for name in ours:  # float32, another order of summation, 150 steps
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=2e-3, err_msg=name)
    mine, its = record_of(folder), record_of(alone)
    assert mine.training["losses"]["loss"] == pytest.approx(its.training["losses"]["loss"], rel=1e-3)


def test_when_one_of_two_processes_dies_the_run_is_told_and_goes_on(lab: Lab) -> None:
    file = lab.sweep(epochs=MEDIUM, resources={"nodes": 2})
    lab.submit(file)
    folder = lab.run()
    lab.until_training(folder)
    first = process_of(folder)
    others = lab.client("pgrep", "-f", "submitit.core._submit").split()
    second = next(int(pid) for pid in others if int(pid) != first and belongs_to(int(pid), lab, "SLURM_PROCID=1"))
    os.kill(second, signal.SIGKILL)
    lab.until("the job ends", lambda: not lab.queue(), 60)
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
