"""The kit for real, in small: speeds measured, a training stopped, carried to another machine, ended and reported.

No process of it can import submitit: a machine with a GPU and without SLURM has none.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from kit_sweeps import write_tiny_sweep
from readmes import REPOSITORY

from benchmark.kit import speed
from benchmark.kit.schedule import most_epochs
from benchmark.perf.step import step_flops
from benchmark.plan import sweep as sweeps


@pytest.fixture
def kit(tmp_path: Path, mini_data: Path) -> Any:
    """Starts `python -m benchmark.kit` in a folder of its own, where nothing is installed."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "submitit.py").write_text("raise ImportError('submitit is not here')\n")
    write_tiny_sweep(tmp_path)
    paths = os.pathsep.join([str(blocked), str(REPOSITORY)])
    ours = {"PYTHONPATH": paths, "BENCH_DATA": str(mini_data), "OMP_NUM_THREADS": "1"}
    refused = subprocess.run([sys.executable, "-c", "import submitit"], env={**os.environ, **ours}, capture_output=True)
    assert b"submitit is not here" in refused.stderr

    def start(*words: object, out: str = "home") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmark.kit", *map(str, words), "--sweep", "tiny.yaml"]
        environment = {**os.environ, **ours, "OUT": str(tmp_path / out)}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    return start


def records(results: Path) -> dict[str, Any]:
    found = [json.loads(file.read_text()) for file in results.glob("*/record.json")]
    return {record["name"].rpartition("-")[0]: record for record in found}


def test_speeds_side_by_side_give_the_epochs_that_fit(kit: Any, tmp_path: Path) -> None:
    words = ["--parts", "speed", "--jobs", "2", "--seconds", "1", "--commands", "2", "--window", "900"]
    process = kit("measure", "--limit", "700", *words)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    choice = json.loads((tmp_path / "home/choice.json").read_text())
    assert json.loads((tmp_path / "results/half-hour/choice.json").read_text()) == choice
    runs = sweeps.load(tmp_path / "tiny.yaml").runs
    flops = [step_flops(run.config) if run.config.method.trains else 0.0 for run in runs]
    # 40 images are 5 steps of 8; the reference row comes last and trains nothing.
    assert choice["work_flop_an_epoch"] == pytest.approx([40 * each for each in flops]) and flops[-1] == 0
    watched = choice["side_by_side"]["2"]
    names = ["mini-combined-s0", "mini-rot-imgn-s0"]
    assert sorted(name.rpartition("-")[0] for name in watched["pairs_per_second"]) == names
    together = sum(
        rate * flops[names.index(name.rpartition("-")[0])] for name, rate in watched["pairs_per_second"].items()
    )
    assert watched["flops_per_second"] == pytest.approx(together) and together > 0
    assert choice["overhead_seconds"] > 1, "a process must start"
    wanted = most_epochs(choice["work_flop_an_epoch"], 2, together, choice["overhead_seconds"], 0.9 * 900, 2)
    assert choice["epochs"] == wanted and choice["jobs"] == 2
    assert not (tmp_path / "results/half-hour/.speed").exists()


def test_a_training_goes_on_on_another_machine_and_is_reported_from_the_start(kit: Any, tmp_path: Path) -> None:
    here = tmp_path / "here"

    def some_are_done_and_some_train() -> bool:
        done = {file.parent.name for file in here.glob("*/record.json")}
        return bool(done and {file.parent.name for file in here.glob("*/metrics.jsonl")} - done)

    process = kit("table2", "--epochs", "40", "--jobs", "2", "--limit", "900", "--results", "here")
    wait_for(some_are_done_and_some_train, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    done = records(here)
    assert said.splitlines()[-1] == f"{len(done)} of 4 runs are done; to go on, give the same command again"
    told = json.loads((tmp_path / "home/kit.json").read_text())
    assert [(part["name"], part["state"], part["code"]) for part in told["parts"]] == [
        ("sweep", "stopped", 130),
        ("report", "done", 0),
    ]
    assert (tmp_path / "home/table2.md").read_text().startswith("## Table 2"), "a part is shown"
    with tarfile.open(tmp_path / "home/checkpoints.tar") as archive:
        saved = {name.partition("/")[0].rpartition("-")[0] for name in archive.getnames()}
    assert saved and not saved & set(done)

    # Another machine: of the first there is what went home.
    (tmp_path / "home").rename(tmp_path / "back")
    (tmp_path / ".kit").mkdir()
    (tmp_path / "back").rename(tmp_path / ".kit/back")
    process = kit("table2", "--limit", "900", "--results", "there")
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert said.splitlines()[-1] == "4 of 4 runs are done"
    found = records(tmp_path / "there")
    assert sorted(found) == ["mini-combined-s0", "mini-dino-s0", "mini-image-statistics-s0", "mini-rot-imgn-s0"]
    assert {name for name in found if found[name]["training"].get("resumed")} == saved
    assert all(found[name] == record for name, record in done.items()), "what is done is not done again"
    assert {record["training"]["epochs"] for record in found.values() if record["training"]} == {40}
    assert (tmp_path / "home/table2.md").read_text().startswith("## Table 2")
    with tarfile.open(tmp_path / "home/report.tar.gz") as archive:
        assert "tiny/table2.csv" in archive.getnames()
    assert json.loads((tmp_path / "home/kit.json").read_text())["brought_back"] >= len(done) + len(saved)


def wait_for(happened: Any, process: subprocess.Popen[str], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(f"it did not happen: {process.communicate()[0]}")
        time.sleep(0.1)


def test_a_rate_is_of_the_lines_after_the_first() -> None:
    """5 steps of 8 pairs at 40 a second and 10 at 20: 120 pairs in 1 + 4 seconds."""
    steps = [(5, 1000.0), (10, 40.0), (20, 20.0)]
    assert speed.rate([{"step": step, "pairs_per_second": rate} for step, rate in steps]) == pytest.approx(24.0)


def test_the_settings_of_a_choice() -> None:
    assert speed.settings({"epochs": 25, "jobs": 3}) == ["train.epochs=25", "train.warmup_epochs=2.5"]


def test_a_line_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert speed.read_metrics(tmp_path) == {"run": [{"step": 1}, {"step": 2}]}
