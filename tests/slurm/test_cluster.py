"""The test cluster itself: it starts, runs a job, loses and regains a node, leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from cluster_machine import ClusterError, unavailable

WANTED = os.environ.get("BENCH_TEST_SLURM") == "1"
real = pytest.mark.skipif(
    not WANTED,
    reason="set BENCH_TEST_SLURM=1 to run the tests on a real SLURM cluster (installs Debian packages slurmctld, "
    f"slurmd, munge, mariadb-server-core, ...; needs root); {unavailable() or 'possible here'}",
)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # tmp_path is too long for names of sockets
    yield path
    shutil.rmtree(path)


def client(cluster: Cluster, *command: str) -> str:
    environment = os.environ | cluster.environment
    done = subprocess.run(command, env=environment, cwd=cluster.folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def until(condition: Callable[[], object], seconds: float) -> float:
    """Seconds that it took until the condition held."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() < begin + seconds, f"not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - begin


def nodes(cluster: Cluster) -> list[str]:
    return client(cluster, "sinfo", "-h", "-N", "-p", "main", "-o", "%N %T %c %G").splitlines()


def owned(cluster: Cluster) -> list[str]:
    """Processes that name the cluster's folder in their command line or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = process.joinpath("cmdline").read_bytes() + process.joinpath("environ").read_bytes()
        except OSError:
            continue
        if str(cluster.folder).encode() in words and int(process.name) != os.getpid():
            found.append(f"{process.name} {process.joinpath('comm').read_text().strip()}")
    return found


@real
def test_two_clusters_side_by_side_run_jobs_lose_a_node_and_leave_nothing(folder: Path) -> None:
    with_accounting = Cluster(folder / "a", dead_node=5)
    without = Cluster(folder / "b", accounting=False, gpus=0, nodes=1)
    try:
        with_accounting.start()
        daemons = owned(with_accounting)
        with_accounting.start()
        assert sorted(owned(with_accounting)) == sorted(daemons)
        assert sorted(name.split()[1] for name in daemons) == sorted(
            ["munged", "mariadbd", "slurmdbd", "slurmctld", "slurmscriptd", "slurmd", "slurmd"]
        )
        without.start()
        assert nodes(with_accounting) == ["node1 idle 4 gpu:2", "node2 idle 4 gpu:2"]
        assert nodes(without) == ["node1 idle 4 (null)"]
        with pytest.raises(ClusterError, match="other settings"):
            Cluster(folder / "a", dead_node=5, gpus=1).start()

        for cluster in (with_accounting, without):
            job = client(cluster, "sbatch", "--parsable", "-o", "out", "--wrap", "echo $SLURMD_NODENAME")
            until(lambda: client(cluster, "squeue", "-h", "-j", job, "-t", "all", "-o", "%T") == "COMPLETED", 10)  # noqa: B023
            assert (cluster.folder / "out").read_text() == "node1\n"
        sacct = ("sacct", "-n", "-X", "-P", "-o", "State")
        until(lambda: client(with_accounting, *sacct) == "COMPLETED", 10)
        with pytest.raises(subprocess.CalledProcessError):
            client(without, *sacct)

        job = client(
            with_accounting, "sbatch", "--parsable", "-w", "node2", "--gpus=1", "-o", "job", "--wrap",
            "echo $CUDA_VISIBLE_DEVICES; setsid -f sleep 99; sleep 99",
        )  # fmt: skip
        output = with_accounting.folder / "job"
        until(lambda: output.exists() and output.read_text() == "0\n", 10)
        until(lambda: sum("sleep" in process for process in owned(with_accounting)) == 2, 5)
        with_accounting.kill_slurmd("node2", with_jobs=True)
        until(lambda: len(owned(with_accounting)) == len(daemons) - 1, 5)  # the kernel takes its moment to end them
        with pytest.raises(ClusterError, match="node2 does not run"):
            with_accounting.slurmd_pid("node2")
        client(without, "sbatch", "-o", "/dev/null", "--wrap", "setsid -f sleep 99; sleep 99")
        until(lambda: sum("sleep" in process for process in owned(without)) == 2, 10)
        without.stop_controller()
        assert without._run("scontrol", "ping").returncode != 0
        without.start_controller()
        assert client(without, "squeue", "-h", "-o", "%T") == "RUNNING"

        until(lambda: nodes(with_accounting)[1].startswith("node2 down"), 40)
        assert client(with_accounting, "squeue", "-h", "-j", job, "-o", "%T") == "PENDING"  # requeued
        with_accounting.start_slurmd("node2")
        assert nodes(with_accounting)[1].startswith("node2 idle")
        with_accounting.stop()
        with_accounting.start()
        assert client(with_accounting, "squeue", "-h") == ""  # stop had cancelled the job
    finally:
        with_accounting.stop()
        without.stop()
    assert owned(with_accounting) == owned(without) == []
    without.stop()  # harmless


def test_settings_that_cannot_work_are_told_in_one_line() -> None:
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (Path("/tmp/" + "x" * 61), {}, "over 65 characters"),
        (Path("/tmp/a b"), {}, "only letters"),
        (Path("/tmp/x"), {"gpus": 7}, "0 to 6 GPUs"),
        (Path("/tmp/x"), {"requeue_wait": 6, "kill_wait": 6}, "above kill_wait"),
    ]
    for folder, settings, words in cases:
        with pytest.raises(ClusterError, match=words) as error:
            Cluster(folder, **settings)
        assert "\n" not in str(error.value)
