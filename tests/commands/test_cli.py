"""The `bench` command from the outside: what it prints, its exit codes, one clear line for every kind of bad input."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_sweeps import BAD_SWEEPS, SWEEP
from command import Said

from benchmark.launch import local
from benchmark.launch.jobs import Outcome
from benchmark.store.folders import RunFolder, Status


def one_line(said: Said, *parts: str, code: int = 2) -> None:
    assert said.code == code, said
    lines = said.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), said.err
    assert "Traceback" not in said.err + said.out
    for part in parts:
        assert part in lines[0], lines[0]


@pytest.mark.parametrize(("what", "text", "arguments", "parts"), BAD_SWEEPS, ids=[case[0] for case in BAD_SWEEPS])
def test_bad_sweep_is_one_line(
    bench, fake_run, tmp_path: Path, what: str, text: str, arguments: list[str], parts: list[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    one_line(bench("sweep", "mine.yaml", *arguments), *parts)
    assert fake_run == [] and not (tmp_path / "results").exists(), "something was started or written"


def test_other_bad_input_is_one_line(bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_line(bench("sweep", "absent.yaml"), "absent.yaml", "no such file")
    one_line(bench("sweep"), "SWEEP.yaml")
    one_line(bench("sweeep"), "sweeep")
    one_line(bench("run", "absent.yaml"), "absent.yaml", "no such file")
    one_line(bench("status"), "results", "no runs")
    one_line(bench("status", "--set", "a=1"), "--set")
    monkeypatch.setenv("PATH", str(tmp_path))
    one_line(bench("sweep", "mine.yaml", "--executor", "slurm"), "sbatch", "--executor local")
    (tmp_path / "one.yaml").write_text("in_dist: mine\nvariant: rot-imgm\n")
    one_line(bench("run", "one.yaml"), "one.yaml", "rot-imgm")
    (tmp_path / "one.yaml").write_text("in_dist: mine\nmethod: {name: untrained}\neval: {ood: []}\n")
    one_line(bench("run", "one.yaml", "--device", "tpu"), "--device tpu", "cuda")
    one_line(bench("run", "one.yaml", "--set", "seed=x"), "seed", "'x'")
    one_line(
        bench("run", "one.yaml", "--set", "eval.knn=[131]", "--device", "cpu"), "one.yaml: eval.knn", "130 training"
    )
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    one_line(bench("sweep", "binary.yaml"), "binary.yaml")
    (tmp_path / "file").write_text("")
    one_line(bench("sweep", "mine.yaml", "--results", "file"), "file")
    one_line(bench("sweep", str(tmp_path)), str(tmp_path))


def test_bad_report_input_is_one_line(bench, tmp_path: Path) -> None:
    pytest.importorskip("benchmark.report.build", reason="the report is not there")
    one_line(bench("report", "--table", "3"), "--table", "3")
    one_line(bench("report", "--table", "2", "--sweep", "mine.yaml"), "results")
    one_line(bench("report", "--table", "2", "--sweep", "absent.yaml"), "absent.yaml")


@pytest.mark.parametrize(
    ("number", "parts"),
    [
        (errno.ENOSPC, ["disk full", "config.yaml"]),
        (errno.EDQUOT, ["disk full", "config.yaml"]),
        (errno.EACCES, ["config.yaml", "Permission denied"]),
        (errno.EROFS, ["config.yaml", "Read-only"]),
    ],
)
def test_a_disk_that_refuses_is_one_line(
    bench, fake_run, monkeypatch: pytest.MonkeyPatch, number: int, parts: list[str]
) -> None:
    def refuse(folder: RunFolder, config: Any) -> None:
        raise OSError(number, os.strerror(number), str(folder.config))

    monkeypatch.setattr(RunFolder, "write_config", refuse)
    one_line(bench("sweep", "mine.yaml"), *parts)


def test_dry_run_shows_the_plan_in_80_columns_and_starts_nothing(bench, fake_run, tmp_path: Path) -> None:
    said = bench("sweep", "mine.yaml", "--dry-run")
    assert said.code == 0 and said.out.count("to do") >= 3 and "nothing started" in said.out
    assert max(len(line) for line in said.out.splitlines()) <= 80
    assert fake_run == [] and not (tmp_path / "results").exists()
    said = bench("sweep", "mine.yaml", "--dry-run", "--executor", "slurm")
    assert "#SBATCH --array=0-2" in said.out and "wckey" not in said.out
    assert not (tmp_path / "results").exists()


def test_a_sweep_runs_fails_in_part_continues_and_retries(bench, fake_run, tmp_path: Path) -> None:
    said = bench("sweep", "mine.yaml", "--jobs", "1")
    assert said.code == 1 and "2 done, 1 failed" in said.out and "RuntimeError: no good" in said.out
    short_names = [name.rpartition("-")[0] for name in fake_run]
    assert short_names == ["mine-dino-s0", "mine-rot-imgn-s0", "mine-image-statistics-s0"]
    log = next((tmp_path / "results").glob("mine-dino-*/log.txt"))
    assert "Traceback" in log.read_text() and f"results/{log.parent.name}/log.txt" in said.out
    fake_run.clear()
    said = bench("sweep", "mine.yaml")
    assert said.code == 1 and fake_run == [] and "nothing to do" in said.out
    assert "left alone" in said.out and log.parent.name in said.out
    said = bench("sweep", "mine.yaml", "--retry-failed")
    assert said.code == 1 and fake_run == [log.parent.name]
    said = bench("sweep", "mine.yaml", "--only", "*rot*")
    assert said.code == 0 and "nothing to do" in said.out and "bench report" in said.out
    fake_run.clear()
    (tmp_path / "mine.yaml").write_text(
        SWEEP.replace("[other]", "[other, mine]")
    )  # one more OOD set: scored, not trained
    weights = next((tmp_path / "results").glob("mine-rot-imgn-*/weights.safetensors"))
    weights.unlink()
    assert "1 to score, 1 failed, 1 no weights" in bench("sweep", "mine.yaml", "--dry-run").out
    assert (
        "1 to score, 1 no weights"
        in bench(*("sweep", "mine.yaml", "--dry-run", "--only", "*rot*", "--only", "*statistics*")).out
    )
    said = bench("sweep", "mine.yaml", "--only", "*rot*")
    assert said.code == 1 and fake_run == [] and f"left alone, weights gone: {weights.parent.name}" in said.out
    assert "a run without its record.json is trained again" in said.out and "nothing to do" in said.out
    weights.touch()
    assert "2 to score, 1 failed" in bench("sweep", "mine.yaml", "--dry-run").out
    bench("sweep", "mine.yaml", "--jobs", "1")
    assert [name.rpartition("-")[0] for name in fake_run] == ["mine-rot-imgn-s0", "mine-image-statistics-s0"]
    said = bench("status")
    assert said.code == 0 and f"results/{log.parent.name}/log.txt" in said.out
    by_variant = bench("status", "--only", "rot-imgn")
    assert by_variant.code == 0 and "mine-rot-imgn-s0" in by_variant.out and "dino" not in by_variant.out
    one_line(bench("status", "--only", "rot-dti"), "rot-dti")
    one_line(bench("cancel", "rot-imgn"), "rot-imgn: matches no run")  # a variant ends no runs: its name must be meant


def test_data_commands(bench, tmp_path: Path) -> None:
    said = bench("data", "list")
    assert said.code == 0 and "bench data prepare cifar10" in said.out
    mine = next(line.split() for line in said.out.splitlines() if line.startswith("mine") and " train " in line)
    assert "ready" in mine and "130" in mine
    assert bench("data", "verify").code == 0
    labels = tmp_path / "data/mine/train/labels.npy"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x01")
    said = bench("data", "verify")
    assert said.code == 1 and str(labels.parent) in said.out
    folder = tmp_path / "bring"
    folder.mkdir()
    one_line(bench("data", "import", str(folder)), str(folder))
    one_line(bench("data", "import", "absent"), "absent")
    one_line(bench("data", "prepare", "cifar11"), "cifar11", "cifar10")
    images = np.zeros((4, 32, 32, 3), np.uint8)
    np.savez(folder / "toys-test.npz", images=images, labels=np.zeros(4, np.int64))
    assert bench("data", "import", str(folder)).code == 0 and "toys" in bench("data", "list").out
    (folder / "toys-test.npz").write_bytes(b"PK torn")
    one_line(bench("data", "import", str(folder), "--replace"), "toys-test.npz")


def test_set_makes_other_runs(bench, fake_run) -> None:
    bench("sweep", "mine.yaml", "--only", "*rot*")
    bench("sweep", "mine.yaml", "--only", "*rot*", "--set", "train.lr=1e-4")
    assert len(set(fake_run)) == 2


def test_status_tells_progress_and_interruption(bench, tmp_path: Path) -> None:
    from benchmark.plan import sweep as sweeps
    from benchmark.store import states

    item = states.plan(sweeps.load(tmp_path / "mine.yaml"), tmp_path / "results", tmp_path / "data")[0]
    folder, config = item.folder, item.run.config
    assert folder is not None
    folder.write_config(config)
    folder.write_status(Status(state="running", phase="train", epoch=3, epochs=9, loss=8.25, seconds_left=600))
    folder.log.write_text("x")
    with folder.hold():
        said = bench("status", "mine.yaml")
        assert "train 3/9, loss 8.25, 10m 00s left" in said.out and "1 running, 2 to do" in said.out
        assert f"results/{folder.name}/log.txt" in said.out
    assert "lost" in bench("status").out


def test_a_run_whose_data_is_gone_is_still_found_by_status(bench, fake_run, tmp_path: Path) -> None:
    import shutil

    bench("sweep", "mine.yaml", "--only", "*rot*")
    shutil.rmtree(tmp_path / "data")
    assert "1 done" in bench("status", "mine.yaml", "--only", "*rot*").out


def test_interrupted_sweep_says_how_to_go_on(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "run_queue", lambda *_: [Outcome("a", "interrupted")])
    said = bench("sweep", "mine.yaml")
    assert said.code == 130 and "To go on: bench sweep mine.yaml" in said.err
    said = bench("sweep", "mine.yaml", "--stop-after", "9m")  # Ctrl-C came first
    assert said.code == 130 and "stopped after" not in said.out


def test_interrupt_elsewhere_is_quiet(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.commands.status._show_status", interrupt)
    said = bench("status", "mine.yaml")
    assert said.code == 130 and "bench status mine.yaml" in said.err and "Traceback" not in said.err


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["sweep"],
        ["run"],
        ["status"],
        ["report"],
        ["data"],
        ["data", "list"],
        ["data", "prepare"],
        ["data", "import"],
        ["data", "verify"],
    ],
)
def test_every_command_has_help_with_examples(bench, command: list[str]) -> None:
    said = bench(*command, "--help")
    assert said.code == 0 and "Examples:\n" in said.out and "\n    bench " in said.out


def test_start_up_imports_nothing_heavy() -> None:
    heavy = ["torch", "torchvision", "timm", "pandas", "sklearn", "scipy", "matplotlib", "submitit", "numpy"]
    script = (
        "import sys; sys.argv = ['bench', '--help']\nfrom benchmark.commands.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print('HEAVY', [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_a_reader_that_goes_away_is_no_error(bench, tmp_path: Path) -> None:
    """`bench status | head`: the reader is gone before the first line is written."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "sweep", "--help"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(write_end)
    assert done.stderr == "" and done.returncode not in (0, 2)


def test_the_whole_way_with_the_real_run(bench, tmp_path: Path) -> None:
    """The sweep starts `bench run`, which writes a record that `bench status` reads; a second sweep finds it done."""
    said = bench("sweep", "mine.yaml", "--only", "*image-statistics*")
    log = next((tmp_path / "results").glob("*/log.txt"))
    assert said.code == 0, said.out + log.read_text()
    record = RunFolder(log.parent).read_record()
    assert record is not None and set(record.own_score.ood) == {"other"}
    assert "nothing to do" in bench("sweep", "mine.yaml", "--only", "*image-statistics*").out
    assert "1 done" in bench("status").out


def test_a_broken_site_file_is_one_line(bench, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("always: {partitions: gpu}\n")
    said = bench("sweep", "mine.yaml", "--site", "site.yaml", "--dry-run")
    assert said.code == 2 and "site.yaml" in said.err and "did you mean 'partition'" in said.err
    said = bench("sweep", "mine.yaml", "--site", "none.yaml")
    assert said.code == 2 and "none.yaml: no such file" in said.err
