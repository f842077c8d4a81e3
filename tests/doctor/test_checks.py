"""Each check in other worlds: with a GPU, without a package, with a full disk, a broken file, a cluster."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark.data.catalog import CATALOG
from benchmark.data.images import folder, write_set
from benchmark.doctor import machine, places
from benchmark.errors import BenchError


def states(found: list) -> list[tuple[str, str]]:
    return [(finding.state, finding.what) for finding in found]


def test_with_all_sets_of_the_paper_nothing_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [
        {"name": name, "split": "test", "state": "ready" if name not in ("lsunlike", "imagenet1k") else "missing"}
        for name in CATALOG
    ]
    monkeypatch.setattr("benchmark.data.inventory.listing", lambda root: sets)
    assert [finding.state for finding in places.image_sets(tmp_path)] == ["ok"]


def test_packages_that_are_there_are_named_with_their_versions() -> None:
    own, there, *more = machine.packages()
    assert own.what == "ood-bench" and metadata.version("ood-bench") in own.detail and more == []
    assert f"torch {metadata.version('torch')}" in there.detail and "pytest" not in there.detail


@pytest.mark.parametrize(("name", "state"), [("submitit", "missing"), ("timm", "broken")])
def test_a_missing_package(name: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = metadata.version

    def version(package: str) -> str:
        if package == name:
            raise metadata.PackageNotFoundError(package)
        return honest(package)

    monkeypatch.setattr(machine.metadata, "version", version)
    *_, last = machine.packages()
    assert (last.state, last.what) == (state, "packages") and f"no {name}" in last.detail
    assert last.to_do.startswith(f"pip install '{name}") and ">=" in last.to_do
    assert ("SLURM" in last.detail) == (name == "submitit")


def test_a_package_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = metadata.version
    monkeypatch.setattr(machine.metadata, "version", lambda name: "2.3.0" if name == "torch" else honest(name))
    *_, last = machine.packages()
    assert last.state == "broken" and "torch 2.3.0 is not torch>=2.11" in last.detail


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (30 * 2**30, 80 * 2**30))
    about = SimpleNamespace(name="Pretended", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: about)
    monkeypatch.setattr(machine, "visible_gpus", lambda: ["0"])


@pytest.mark.parametrize(
    ("code", "out", "err", "state", "words"),
    [
        (0, "right\n", "", "ok", "bf16 works"),
        (0, "wrong\n", "", "note", "wrong in bf16"),
        (1, "", "Traceback\nRuntimeError: no kernel image is available", "broken", "no kernel image"),
        (-11, "", "", "broken", "exit code -11"),
    ],
)
def test_a_gpu_is_computed_with_in_a_process_of_its_own(
    code: int, out: str, err: str, state: str, words: str, one_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "torch.compile" in command[-1]:
            return subprocess.CompletedProcess(command, 1, "", "Traceback\nRuntimeError: no Triton")
        assert 'device="cuda:0"' in command[-1]
        return subprocess.CompletedProcess(command, code, out, err)

    monkeypatch.setattr(machine.subprocess, "run", run)
    gpu, compiler = machine.gpus()
    assert gpu.state == state and words in gpu.detail and "30.0 of 80.0 GiB free" in gpu.detail
    assert compiler.state == "note" and "no Triton" in compiler.detail


def test_a_compiler_that_hangs_is_left(one_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: object, **options: float) -> None:
        raise subprocess.TimeoutExpired("python", options["timeout"])

    monkeypatch.setattr(machine.subprocess, "run", hangs)
    [found] = machine._compiler()
    assert found.state == "note" and "did not end" in found.detail


def test_a_gpu_that_torch_cannot_use_is_broken_and_none_at_all_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "visible_gpus", lambda: ["0", "1"])
    [found] = machine.gpus()
    assert found.state == "broken" and found.detail.startswith("2 on this machine") and found.to_do
    monkeypatch.setattr(machine, "visible_gpus", lambda: [])
    assert states(machine.gpus()) == [("note", "GPU")]


def test_a_containers_limits_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    cores, memory = machine.cores_and_memory(tmp_path)
    assert (cores.state, memory.detail) == ("ok", "8.0 of 16.0 GiB free")
    (group / "cpu.max").write_text("150000 100000\n")
    (group / "memory.max").write_text(f"{4 * 2**30}\n")
    cores, memory = machine.cores_and_memory(tmp_path)
    assert cores.state == "note" and "leaves 1.5" in cores.detail and "limit of 4.0 GiB" in memory.detail
    (group / "cpu.max").write_text("max 100000\n")
    assert machine.cores_and_memory(tmp_path)[0].state == "ok"
    for file in ("cpu.max", "memory.max"):
        (group / file).unlink()
    for file, text in (
        ("cpu/cpu.cfs_quota_us", "250000"),
        ("cpu/cpu.cfs_period_us", "100000"),
        ("memory/memory.limit_in_bytes", str(2 * 2**30)),
    ):
        (group / file).parent.mkdir(exist_ok=True)
        (group / file).write_text(f"{text}\n")
    cores, memory = machine.cores_and_memory(tmp_path)
    assert "leaves 2.5" in cores.detail and "limit of 2.0 GiB" in memory.detail
    (group / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    (group / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert "limit" not in "".join(finding.detail for finding in machine.cores_and_memory(tmp_path))
    assert machine.cores_and_memory(tmp_path)[0].state == "ok"


def test_disks_that_are_full_or_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "not" / "made" / "yet"
    [found] = machine.disk("results", deep)
    assert found.state == "ok" and not (tmp_path / "not").exists() and list(tmp_path.iterdir()) == []
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: SimpleNamespace(free=2**30))
    [found] = machine.disk("results", deep)
    assert found.state == "note" and "1.0 GiB free" in found.detail

    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: SimpleNamespace(free=0))
    assert states(machine.disk("results", deep)) == [("broken", "results")]
    (tmp_path / "file").write_text("")
    [found] = machine.disk("results", tmp_path / "file")
    assert found.state == "broken" and "is a file" in found.detail

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    [found] = machine.disk("data", deep)
    assert found.state == "broken" and "Permission denied" in found.detail and "--data" in found.to_do


def test_image_sets_here_and_not_here_and_damaged(tmp_path: Path) -> None:
    [nothing] = places.image_sets(tmp_path)
    assert nothing.state == "missing" and "cifar10/train" in nothing.detail
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    write_set(tmp_path, "svhn", "test", images, np.zeros(4, np.int64), recipe="random numbers")
    [some] = places.image_sets(tmp_path)
    assert some.state == "note" and some.detail.startswith("1 sets stored") and "svhn/test" not in some.detail
    assert "lsunlike" not in some.detail
    (folder(tmp_path, "svhn", "test") / "manifest.json").write_text("{")
    damaged = places.image_sets(tmp_path)[-1]
    assert damaged.state == "broken" and "manifest.json" in damaged.detail


@pytest.mark.parametrize(
    ("storage", "told"), [("accounting_storage/none", "without"), ("(null)", "without"), ("x/slurmdbd", "with ")]
)
def test_a_cluster_that_answers(storage: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.launch.slurm.is_available", lambda: True)
    monkeypatch.setattr("benchmark.launch.slurm.max_array_size", lambda: 1001)
    settings = f"ClusterName = test\nAccountingStorageType   = {storage}\nMaxArraySize = 1001\n"
    monkeypatch.setattr("benchmark.launch.task.ask", lambda *command: settings)
    [found] = places.cluster()
    assert found.state == "ok" and f"{told}" in found.detail and "1001" in found.detail


def test_a_cluster_that_does_not_answer_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent() -> bool:
        raise BenchError("its controller does not answer")

    monkeypatch.setattr("benchmark.launch.slurm.is_available", silent)
    [found] = places.cluster()
    assert (found.state, found.detail) == ("broken", "its controller does not answer")


def test_a_site_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert places.site_file() == []
    file = tmp_path / "ood-bench" / "site.yaml"
    file.parent.mkdir()
    file.write_text("profiles: {large: {gpus: 4}}\n")
    [found] = places.site_file()
    assert found.state == "ok" and "large" in found.detail and str(file) in found.detail
    given = tmp_path / "given.yaml"
    given.write_text("profiles: {other: {gpus: 1}}\n")
    assert "other" in places.site_file(given)[0].detail
    file.write_text("alwayss: {}\n")
    [found] = places.site_file()
    assert found.state == "broken" and "alwayss" in found.detail
