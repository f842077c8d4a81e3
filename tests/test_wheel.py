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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: what an earlier build left in the checkout would go into the wheel."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("the wheel: this environment has no pip (python -m ensurepip)")
    source = tmp_path_factory.mktemp("source")
    for name in ("benchmark", "sweeps"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copyfile(REPOSITORY / name, source / name)
    built = call(
        sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", "dist", ".", folder=source
    )
    assert built.returncode == 0, built.stderr
    [made] = (source / "dist").iterdir()
    return made


@pytest.fixture(scope="module")
def bench(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bench` of an environment that has the wheel, and sees our dependencies but not our package."""
    place = tmp_path_factory.mktemp("environment")
    made = call(sys.executable, "-m", "venv", "--without-pip", "venv", folder=place)
    assert made.returncode == 0, made.stderr
    python = place / "venv/bin/python"
    installed = call(sys.executable, *f"-m pip --python {python} install --no-deps".split(), wheel, folder=place)
    assert installed.returncode == 0, installed.stderr
    [site] = (place / "venv/lib").glob("python*/site-packages")
    # A folder that a .pth file names is on the path, but its own .pth files, as of an editable install, are not read.
    (site / "dependencies.pth").write_text(
        "\n".join(sorted({sysconfig.get_path(name) for name in ("purelib", "platlib")}))
    )
    return place / "venv/bin/bench"


def test_the_wheel_alone_plans_the_built_in_sweeps(bench: Path, tmp_path: Path) -> None:
    where = call(bench.with_name("python"), "-c", "import benchmark; print(benchmark.__file__)", folder=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(bench.parents[1]), where.stdout + where.stderr
    assert (Path(where.stdout.strip()).parent / "py.typed").exists()
    for name, words in {"smoke": "synthetic-rot-imgn-s0", "table2": "cifar10-rot-imgn-s0"}.items():
        plan = call(bench, "sweep", name, "--dry-run", "--executor", "local", folder=tmp_path)
        assert plan.returncode == 0 and words in plan.stdout, plan.stdout + plan.stderr
        assert "nothing started (--dry-run)" in plan.stdout
    assert not (tmp_path / "results").exists()


def test_the_wheel_alone_reports(bench: Path, tmp_path: Path) -> None:
    records = REPOSITORY / "results/reference/small-cpu"
    made = call(bench, "report", "--table", 2, "--page", "--sweep", "small-cpu", "--results", records, folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "reports/small-cpu/table2.md").read_text().startswith("## Table 2")
    assert (tmp_path / "reports/small-cpu/page.html").read_text().count("<svg") > 1
    none = call(bench, "report", "--table", 1, folder=tmp_path)
    assert none.returncode == 2
    assert none.stderr == "error: results: no records for table1 yet; run: bench sweep table1\n"


def test_the_wheel_alone_recommends_without_the_reference_records(bench: Path, tmp_path: Path) -> None:
    records = REPOSITORY / "results/reference/small-cpu"
    chosen = call(bench, "recommend", "small-cpu", "--results", records, folder=tmp_path)
    assert chosen.returncode == 0 and not chosen.stderr, chosen.stderr
    assert "results/reference) are not here: name their folder with --reference" in " ".join(chosen.stdout.split())


def test_what_the_wheel_installs_does_not_take_a_strangers_commit_for_its_own(bench: Path) -> None:
    place = bench.parents[2]
    for words in ("init -q .", "-c user.name=a -c user.email=b commit -q --allow-empty -m theirs"):
        made = call("git", *words.split(), folder=place)
        assert made.returncode == 0, made.stderr
    asks = "from benchmark.provenance import source_commit; print(source_commit())"
    assert call(bench.with_name("python"), "-c", asks, folder=place).stdout == "unknown\n"
