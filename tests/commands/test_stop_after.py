"""`bench sweep --stop-after`: what it accepts, a real run that it stops and goes on with, and what it says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from command import Said, run_bench
from tiny_runs import TINY

from benchmark.commands.options import seconds_of
from benchmark.errors import BenchError
from benchmark.launch import local
from benchmark.store.folders import all_runs


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("9m", 540), ("1h", 3600), ("1.5m", 90), ("0.2s", 0.2)])
def test_a_duration_has_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert seconds_of("--stop-after", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["9", "m", "", "9 m", "-9m", "0s", "0.0h", "1d", "1e3s", "infs", "9m30s", "٣m"])
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(BenchError) as caught:
        seconds_of("--stop-after", text)
    assert str(caught.value) == f"--stop-after {text}: must be a number above 0 and its unit, as in 30s, 9m or 1h"


def test_a_bad_duration_is_one_line(bench: Callable[..., Said]) -> None:
    said = bench("sweep", "mine.yaml", "--stop-after", "9")
    assert said.code == 2 and said.err.startswith("error: --stop-after 9: ") and len(said.err.splitlines()) == 1


def test_slurm_jobs_have_a_time_limit_of_their_own(bench: Callable[..., Said], tmp_path: Path) -> None:
    for more in ([], ["--dry-run"]):
        said = bench("sweep", "mine.yaml", "--stop-after", "9m", "--executor", "slurm", *more)
        assert said.code == 2 and len(said.err.splitlines()) == 1
        assert all(part in said.err for part in ("--stop-after 9m", "hours", "--executor local"))
    assert not (tmp_path / "results").exists()


def test_a_run_is_stopped_with_a_checkpoint_and_goes_on(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training that would take hours, stopped as soon as it has trained an epoch; then one more start of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    base = TINY | {"train": TINY["train"] | {"epochs": 100_000}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"base": base, "references": ["image-statistics"]}))
    words = ("sweep", "tiny.yaml", "--executor", "local", "--data", mini_data, "--jobs", 1, "--stop-after", "9h")
    stops: list[local.Stop] = []
    deadlines: list[float] = []

    class Watched(local.Stop):
        def __init__(self) -> None:
            super().__init__()
            stops.append(self)

    monkeypatch.setattr(local, "Stop", Watched)

    def sweep_until_an_epoch_more() -> Said:
        def epochs() -> int:
            return sum(len(file.read_text().splitlines()) for file in tmp_path.glob("results/*/metrics.jsonl"))

        before = epochs()

        def time_is_up() -> None:
            while epochs() <= before:
                time.sleep(0.05)
            deadlines.append(stops[-1].deadline)
            stops[-1].deadline = 0.0

        threading.Thread(target=time_is_up, daemon=True).start()
        return run_bench(monkeypatch, capsys, *words)

    for start in (1, 2):
        begun = time.monotonic()
        said = sweep_until_an_epoch_more()
        assert said.code == 0 and not said.err, said
        assert stops[-1].timed_out and 9 * 3600 <= deadlines[-1] - begun < 9 * 3600 + 60
        [line] = [line for line in said.out.splitlines() if line.startswith("stopped after 9h (--stop-after): ")]
        assert line.endswith(f"1 to do, 1 interrupted. To go on: bench {' '.join(map(str, words))}")
        [folder] = [folder for folder in all_runs(tmp_path / "results") if folder.checkpoint.exists()]
        status = folder.read_status()
        assert status is not None and status.state == "interrupted" and not folder.record.exists()
        assert folder.log.read_text().count("resum") == start - 1
