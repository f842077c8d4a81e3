"""Which number of runs side by side is chosen, and what is said of one that was watched for too short a time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from kit_sweeps import write_tiny_sweep
from tiny_runs import tiny

from benchmark.errors import BenchError
from benchmark.kit import speed
from benchmark.kit.parts import Deadline
from benchmark.plan import sweep as sweeps
from benchmark.store.folders import RunFolder

# Of two variants: pairs are of as many FLOPs in a run of either.
RUNS = {"mini-combined-s0-00000000": tiny(), "mini-dino-s0-00000000": tiny(variant="dino")}


def choose(folder: Path, monkeypatch: pytest.MonkeyPatch, seen: Mapping[int, float | None]) -> dict[str, Any]:
    """What is chosen for three runs and a reference row, where these FLOP/s were seen of so many side by side; None
    where nothing was. An epoch is 5 steps of 8 pairs of 1 FLOP, and a run takes a second beside its training."""
    record = {"training": {"steps": 5}, "environment": {"hardware": {}}}

    def watch(alone: Path, jobs: int, *rest: object) -> dict[str, Any]:
        found = seen[jobs]
        return {"failed": f"{jobs} side by side: no time left"} if found is None else {"flops_per_second": found}

    monkeypatch.setattr("benchmark.perf.step.step_flops", lambda config: 1.0)
    monkeypatch.setattr(speed, "_overhead", lambda *rest: (1.0, record))
    monkeypatch.setattr(speed, "_watch", watch)
    asked = speed.Asked(write_tiny_sweep(folder), folder, folder / "scratch", list(seen), 1.0, 1, 101.0)
    return speed.choose(asked, Deadline(1000, 10), {})


def test_the_most_epochs_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine tenths of 101 s are 90.9. One by one at 40 FLOP/s, an epoch a second: 3 (E + 1) + 1 fits up to 28. Two at a
    time at 30 each, two after one another: 2 (4/3 E + 1), up to 33. All at once at 10 each: 4 E + 1 + 1, up to 22."""
    chosen = choose(tmp_path, monkeypatch, {1: 40.0, 2: 60.0, 3: 30.0})
    assert chosen["work_flop_an_epoch"] == [40.0, 40.0, 40.0, 0.0]
    assert chosen["epochs_by_jobs"] == {"1": 28, "2": 33, "3": 22}
    assert (chosen["jobs"], chosen["epochs"], chosen["commands_needed"]) == (2, 33, 1)


def test_of_equals_the_fewest_side_by_side_are_chosen_and_what_failed_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once at 1000 / 3 each and one by one at 1000: both far beyond the most epochs that there may be."""
    chosen = choose(tmp_path, monkeypatch, {3: 1e6, 2: None, 1: 1e6})
    assert chosen["epochs_by_jobs"] == {"3": 1000, "1": 1000} and chosen["jobs"] == 1
    assert chosen["side_by_side"]["2"] == {"failed": "2 side by side: no time left"}
    with pytest.raises(BenchError, match="no speed was measured: 1 side by side: no time left") as error:
        choose(tmp_path, monkeypatch, {1: None})
    assert "\n" not in str(error.value)


class Training:
    """A sweep that trains on and on until it is ended."""

    def poll(self) -> None:
        return None


def watch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lines_at: Mapping[str, list[float]], until: float
) -> dict[str, Any]:
    """What is said of two runs side by side, whose lines of metrics.jsonl come at these seconds, a step each; each is
    watched for 2 seconds, in all `until`. A second goes by between two looks."""
    now = 0.0
    results = folder / "scratch/jobs-2"
    for run, config in RUNS.items():
        (results / run).mkdir(parents=True)
        RunFolder(results / run).write_config(config)

    def sleep(seconds: float) -> None:
        nonlocal now
        now += 1.0
        for run, times in lines_at.items():
            lines = [{"step": step, "pairs_per_second": 10.0} for step, at in enumerate(times, 1) if at <= now]
            (results / run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def started(command: object, log: Path, environment: object) -> Training:
        log.touch()
        return Training()

    ended: list[object] = []
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(speed, "_started", started)
    monkeypatch.setattr(speed, "stop", lambda process, in_order: ended.append(process))
    asked = speed.Asked(folder / "tiny.yaml", folder, folder / "scratch", [2], 2.0, 1, 100.0)
    flops = {speed._network(config): 3.0 for config in RUNS.values()}
    found = speed._watch(folder / "tiny.yaml", 2, asked, flops, Deadline(until, 0, lambda: now), {})
    assert len(ended) == 1, "whatever was seen"
    return found


def test_runs_side_by_side_are_watched_until_each_has_another_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = RUNS
    found = watch(tmp_path, monkeypatch, {one: [3, 4, 5, 6], other: [4, 60]}, 100)
    assert found["pairs_per_second"] == pytest.approx({one: 10.0, other: 10.0})
    assert found["flops_per_second"] == pytest.approx(2 * 10.0 * 3.0)


@pytest.mark.parametrize("lines_at", [([3, 200], [4, 200]), ([3, 4, 5, 6], [4, 200]), ([3], [200])])
def test_a_run_that_has_no_other_line_in_time_has_no_speed(
    lines_at: tuple[list[float], list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is not 0: nothing is known of it, nor of all of them together."""
    found = watch(tmp_path, monkeypatch, dict(zip(RUNS, lines_at, strict=True)), 100)
    assert found == {"failed": "2 side by side: no time left"}


def test_what_was_seen_before_the_watching_began_says_nothing(tmp_path: Path) -> None:
    """Two lines, a step each, were there: the others say 2 steps at 20 pairs a second and 4 at 5."""
    (run, config), _ = RUNS.items()
    (tmp_path / run).mkdir()
    RunFolder(tmp_path / run).write_config(config)
    lines = [(1, 900.0), (2, 700.0), (4, 20.0), (8, 5.0)]
    text = "".join(json.dumps({"step": step, "pairs_per_second": rate}) + "\n" for step, rate in lines)
    (tmp_path / run / "metrics.jsonl").write_text(text)
    found = speed._rates(tmp_path, {run: 2}, {speed._network(config): 3.0})
    rate = (2 + 4) / (2 / 20 + 4 / 5)
    assert found["pairs_per_second"] == {run: pytest.approx(rate)}
    assert found["flops_per_second"] == pytest.approx(3 * rate)


@pytest.mark.parametrize(("in_all", "training", "beside"), [(42.0, 30.0, 12.0), (10.0, 10.5, 0.0)])
def test_the_overhead_of_a_run_is_what_it_takes_beside_its_training(
    in_all: float, training: float, beside: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By two clocks, which can differ by a little."""
    now = 100.0
    record = {"training": {"seconds": training}}

    def begin(command: list[str], *_: object) -> None:
        nonlocal now
        now += in_all
        assert command[command.index("--only") + 1] == "mini-combined-s0" and "train.epochs=1" in command
        (tmp_path / "whole/run").mkdir(parents=True)
        (tmp_path / "whole/run/record.json").write_text(json.dumps(record))

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(speed, "_begin", begin)
    file = write_tiny_sweep(tmp_path)
    asked = speed.Asked(file, tmp_path, tmp_path, [1], 1.0, 1, 100.0)
    found = speed._overhead(sweeps.load(file), file, asked, Deadline(1000, 10), {})
    assert found == (pytest.approx(beside), record)
