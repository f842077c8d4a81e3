"""Fixtures of the tests on a real SLURM cluster."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from cluster_machine import unavailable
from command import Said, run_bench
from lab import Lab
from tiny_runs import write_mini_sets

WANTED = os.environ.get("BENCH_TEST_SLURM") == "1"
SKIP = (
    "set BENCH_TEST_SLURM=1 to run the tests on a real SLURM cluster (installs Debian packages slurmctld, slurmd, "
    f"munge, mariadb-server-core, ...; needs root); {unavailable() or 'possible here'}"
)
# The longest first, so that none of them is what a parallel session waits for at its end.
LONG = ("soak", "in_one_life", "taken_for_dead", "machine_dies", "taken_over", "array_of_12", "full_disk", "time_limit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return next((place for place, name in enumerate(LONG) if name in item.name), len(LONG))

    here = Path(__file__).parent
    ours = sorted((item for item in items if item.path.parent == here), key=rank)
    items[:] = [item for item in items if item.path.parent != here] + ours


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of a parallel session: what is made once lies there."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def make_lab(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shared_folder: Path
) -> Iterator[Callable[..., Lab]]:
    """make_lab(accounting=True, nodes=2, ...) starts a cluster; it ends with the test."""
    if not WANTED:
        pytest.skip(SKIP)
    root = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # tmp_path is too long for the cluster's sockets
    clusters: list[Cluster] = []

    def call(*arguments: str) -> Said:
        return run_bench(monkeypatch, capsys, *arguments)

    def make(**settings: Any) -> Lab:
        folder = root / f"w{len(clusters)}"
        cluster = Cluster(root / f"c{len(clusters)}", **settings)
        clusters.append(cluster)
        cluster.start()
        folder.mkdir()
        write_mini_sets(folder / "data")
        for key, value in {**cluster.environment, "BENCH_DATA": str(folder / "data")}.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # jobs start in half the time
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.chdir(folder)
        # It imports torch and builds each backbone, for nothing here: the runs are known to be right.
        monkeypatch.setattr("benchmark.launch.backbones.check_backbones", lambda *_: None)
        return Lab(cluster, folder, call, shared_folder)

    try:
        yield make
    finally:
        for cluster in clusters:
            cluster.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Two nodes, partitions main, fragile and urgent, no accounting: the leanest a lab may have."""
    return make_lab(accounting=False)
