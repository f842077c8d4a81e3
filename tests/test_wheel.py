"""Without a clone: the wheel, installed alone into an empty environment, used from a folder of the user's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = (
    Path(__file__).resolve().parents[next(n for n, p in enumerate(Path(__file__).parents) if p.name == "tests") + 1]
)


def call(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command as a user without our settings gives it; neither this checkout nor its environment is on its path."""
    ours = ("PYTHON", "BENCH_", "VIRTUAL_ENV", "PIP_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    environment |= {"BENCH_DATA": str(folder / "images"), "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.run([*map(str, words)], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Built from a copy: what an earlier build left in the checkout would go into the wheel."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("the wheel: this environment has no pip (python -m ensurepip)")
    source = tmp_path / "source"
    for name in ("benchmark", "sweeps"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copyfile(REPOSITORY / name, source / name)
    words = ["-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", "dist", "."]
    built = call(sys.executable, *words, folder=source)
    assert built.returncode == 0, built.stderr
    [made] = (source / "dist").iterdir()
    return made


@pytest.fixture
def bench(wheel: Path, tmp_path: Path) -> Path:
    """The `bench` of an environment that has the wheel, and sees our dependencies but not our package."""
    made = call(sys.executable, "-m", "venv", "--without-pip", "theirs/venv", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    python = tmp_path / "theirs/venv/bin/python"
    installed = call(sys.executable, *f"-m pip --python {python} install --no-deps".split(), wheel, folder=tmp_path)
    assert installed.returncode == 0, installed.stderr
    [site] = python.parents[1].glob("lib/python*/site-packages")
    # A folder that a .pth file names is on the path, but its own .pth files, as of an editable install, are not read.
    ours = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(ours)))
    return python.with_name("bench")


def test_the_wheel_alone_plans_reports_and_recommends(bench: Path) -> None:
    """One test, since every process of a parallel run would build a wheel of its own."""
    folder, records = bench.parents[2], REPOSITORY / "results/reference/cpu"
    for words in ("init -q .", "-c user.name=a -c user.email=b commit -q --allow-empty -m theirs"):
        assert call("git", *words.split(), folder=folder).returncode == 0  # somebody else's checkout

    asks = "import benchmark.provenance as p; print(p.__file__); print(p.source_commit())"
    file, commit = call(bench.with_name("python"), "-c", asks, folder=folder).stdout.splitlines()
    assert Path(file).is_relative_to(bench.parents[1]) and commit == "unknown"
    assert Path(file).with_name("py.typed").exists()

    for name, run in {"smoke": "synthetic-rot-imgn-s0", "table2": "cifar10-rot-imgn-s0"}.items():
        plan = call(bench, "sweep", name, "--dry-run", "--executor", "local", folder=folder)
        assert plan.returncode == 0 and run in plan.stdout, plan
        assert "nothing started (--dry-run)" in plan.stdout
    assert not (folder / "results").exists()

    made = call(bench, "report", "--table", 2, "--page", "--sweep", "cpu", "--results", records, folder=folder)
    assert made.returncode == 0, made
    assert (folder / "reports/cpu/table2.md").read_text().startswith("## Table 2")
    assert (folder / "reports/cpu/page.html").read_text().count("<svg") > 1
    none = call(bench, "report", "--table", 1, folder=folder)
    assert none.stderr == "error: results: no records for table1 yet; run: bench sweep table1\n"

    chosen = call(bench, "recommend", "cpu", "--details", "--results", records, folder=folder)
    assert chosen.returncode == 0 and not chosen.stderr, chosen
    assert "results/reference) are not here: name their folder with --reference" in " ".join(chosen.stdout.split())
