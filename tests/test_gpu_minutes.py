""".ci/gpu/gpu.py in small: a sweep packed, stopped on one machine, carried to another, and ended there.

No process of it can import submitit: a machine with a GPU and without SLURM has none.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from readmes import REPOSITORY
from tiny_runs import TINY

from benchmark.store.folders import RunFolder, all_runs

MIB = 2**20


@pytest.fixture
def gpu(tmp_path: Path, mini_data: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """gpu(words) runs the script in a folder with a sweep of three tiny runs and a reference row."""
    base = {key: value for key, value in TINY.items() if key != "variant"}
    sweep = {"base": base, "grid": {"variant": ["combined", "rot-imgn", "dino"]}, "references": ["image-statistics"]}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(sweep))
    blocked = tmp_path / "blocked/submitit.py"
    blocked.parent.mkdir()
    blocked.write_text("raise ImportError('submitit is not here')\n")
    ours = {"PYTHONPATH": str(blocked.parent), "BENCH_DATA": str(mini_data), "CUDA_VISIBLE_DEVICES": ""}

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(REPOSITORY / ".ci/gpu/gpu.py"), *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, env=os.environ | ours, capture_output=True, text=True, check=False)

    return call


def test_the_script_is_short() -> None:
    assert len((REPOSITORY / ".ci/gpu/gpu.py").read_text().splitlines()) <= 120


def test_a_sweep_is_stopped_carried_to_another_machine_and_ended(gpu, tmp_path: Path) -> None:
    said = gpu("pack", "tiny.yaml", "--piece", 0.1)
    assert said.returncode == 0, said.stderr
    pieces = sorted((tmp_path / ".gpu").glob("images.tar.xz.*"))
    assert len(pieces) > 1 and all(piece.stat().st_size <= 0.1 * MIB for piece in pieces)
    with zipfile.ZipFile(tmp_path / ".gpu/wheel.whl", "w") as wheel:
        wheel.writestr("brought_along.py", "")
    (tmp_path / ".gpu/wheels").mkdir()
    (tmp_path / ".gpu/wheel.whl").rename(tmp_path / ".gpu/wheels/wheel.whl")

    pieces[0].rename(tmp_path / "late")
    said = gpu("run", "tiny.yaml", "--results", "here", "--out", "home")
    assert said.returncode == 1 and f"{len(pieces) - 1} of {len(pieces)} pieces are here" in said.stderr
    (tmp_path / "late").rename(pieces[0])

    # No time at all: nothing is trained, and that is said and no failure. The tests for a GPU are all skipped.
    said = gpu("run", "tiny.yaml", "--results", "here", "--out", "home", "--stop-after", "0.1s", "--jobs", 2)
    assert said.returncode == 0 and "skipped" in said.stdout, said
    assert "stopped after 0.1s (--stop-after): 4 to do" in said.stdout
    assert (tmp_path / "here/.packages/brought_along.py").exists()

    # Two runs are done, and carried to another machine.
    only = ["--only", "*rot-imgn*", "--only", "*statistics*"]
    said = gpu("run", "tiny.yaml", "--results", "here", "--out", "home", "--no-tests", "--piece", 0.05, *only)
    assert said.returncode == 0 and "skipped" not in said.stdout, said
    [trained] = [folder for folder in all_runs(tmp_path / "here") if folder.weights.exists()]
    pieces = sorted((tmp_path / "home").iterdir())
    assert {piece.name.partition(".tar")[0] for piece in pieces} == {"records", "weights"}
    assert all(piece.stat().st_size <= 0.05 * MIB for piece in pieces) and len(pieces) > 2

    there = RunFolder(tmp_path / "there" / trained.name)
    there.path.mkdir(parents=True)
    there.log.write_text("newer")
    assert gpu("unpack", "--out", "home", "--results", "there").returncode == 0
    for name in ("record.json", "config.yaml", "weights.safetensors", "scores.npz"):
        assert (there.path / name).read_bytes() == (trained.path / name).read_bytes()
    assert there.log.read_text() == "newer" and not there.features.exists()

    said = gpu("run", "tiny.yaml", "--results", "there", "--out", "home2", "--no-tests", "--dry-run")
    assert said.returncode == 0 and "2 done, 2 to do" in said.stdout, said


def test_images_that_are_not_there_are_named(gpu, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text((tmp_path / "tiny.yaml").read_text().replace("mini-ood", "cifar100"))
    said = gpu("pack", "tiny.yaml")
    assert said.returncode == 1 and "has no cifar100/test" in said.stderr and not (tmp_path / ".gpu").exists()
