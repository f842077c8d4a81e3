"""Findings as a screen and as JSON, and the command around them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import run_bench

from benchmark.doctor import machine, places
from benchmark.doctor.findings import Finding, as_json, examine, lines


def test_a_check_that_raises_is_broken_and_the_others_are_said() -> None:
    def raises() -> list[Finding]:
        raise ZeroDivisionError("on purpose\nand more")

    found = examine([("one", raises), ("two", lambda: [Finding("ok", "two", "fine")])])
    assert found == [Finding("broken", "one", "could not be looked at: on purpose"), Finding("ok", "two", "fine")]


def test_lines_fit_and_lose_no_word() -> None:
    finding = Finding("missing", "images", " ".join(f"word{n}" for n in range(60)), "do " * 40)
    shown = lines([finding, Finding("ok", "x", "")], 80)
    assert max(map(len, shown)) <= 80 and " ".join(" ".join(shown).split()).count("word") == 60
    assert sum(line.strip().startswith("-> do") for line in shown) == 1 and shown[-1] == "ok      x"


def test_the_command_shows_everything_in_80_columns_and_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("benchmark.launch.slurm.is_available", lambda: False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    said = run_bench(monkeypatch, capsys, "doctor", "--no-speed", "--json", "m.json", "--data", tmp_path / "data")
    assert said.code == 0 and max(map(len, said.out.splitlines())) <= 80
    found = json.loads((tmp_path / "m.json").read_text())
    assert found["schema_version"] == 1 and not (tmp_path / "results").exists()
    whats = {finding["what"] for finding in found["findings"]}
    assert {"ood-bench", "packages", "GPU", "cores", "memory", "results", "data", "images", "SLURM"} <= whats
    assert as_json([]) == {"schema_version": 1, "findings": []}


@pytest.mark.parametrize("broken", [(machine, "gpus"), (places, "cluster")], ids=lambda pair: pair[1])
def test_something_broken_is_exit_code_1(
    broken: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(*broken, lambda: [Finding("broken", "it", "does not work", "mend it")])
    said = run_bench(monkeypatch, capsys, "doctor", "--no-speed", "--data", tmp_path)
    assert said.code == 1 and "-> mend it" in said.out


def test_the_speed_test_names_every_sweep_and_takes_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import time

    from benchmark.doctor import speed
    from benchmark.plan import sweep as sweeps

    monkeypatch.setattr(speed, "SECONDS", 0.5)
    monkeypatch.setattr(speed, "COUNT_SECONDS", float("inf"))
    begun = time.process_time()
    timed, estimated = speed.training_speed()
    assert time.process_time() - begun < speed.LIMIT_SECONDS
    assert "pairs/s" in timed.detail and all(f"{name} " in estimated.detail for name in sweeps.built_in())
    assert "An estimate" in estimated.detail and "Not counted" not in estimated.detail


def test_the_speed_stays_where_the_operations_take_too_long_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.doctor import speed
    from benchmark.perf import step
    from benchmark.plan import sweep as sweeps

    one, *rest = sweeps.built_in()
    monkeypatch.setattr(step, "step_flops", lambda config: (1e9, 1e9))
    monkeypatch.setattr(speed, "SECONDS", 0.1)
    monkeypatch.setattr(speed, "COUNT_SECONDS", 0)
    timed, estimated = speed.training_speed()
    assert "pairs/s" in timed.detail and f": {one} " in estimated.detail
    assert estimated.detail.endswith(f" Not counted in 0 s: {', '.join(rest)}.")


def test_networks_that_cost_the_same_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.doctor import speed

    asked = []
    monkeypatch.setattr("benchmark.perf.step.step_flops", lambda config: (asked.append(config), (1.0, 1.0))[1])
    counted: dict[str, tuple[float, float]] = {}
    assert speed._flops("background-one-class", counted) > 0 and len(asked) == len(counted) == 2  # two statistics
    speed._flops("background-one-class", counted)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("script", "state", "words"),
    [
        ("import time; time.sleep(60)", "note", ["not measured in 2 s", "bench doctor --no-speed"]),
        ("raise ValueError('no torch')", "broken", ["could not be measured: ValueError: no torch"]),
        ("""print('noise\\n[{"state": "ok", "what": "speed", "detail": "9 pairs/s"}]')""", "ok", ["9 pairs"]),
    ],
)
def test_the_speed_test_ends_in_its_time_whatever_it_is_at(
    monkeypatch: pytest.MonkeyPatch, script: str, state: str, words: list[str]
) -> None:
    from benchmark.doctor import speed

    honest, asked = subprocess.run, []

    def run(command: list[str], **how: Any) -> Any:
        asked.append(command)
        return honest([sys.executable, "-S", "-c", script], **how)

    monkeypatch.setattr(speed.subprocess, "run", run)
    monkeypatch.setattr(speed, "LIMIT_SECONDS", 2 if "sleep" in script else 60)
    [finding] = speed.timed()
    assert finding.state == state and all(word in f"{finding.detail} {finding.to_do}" for word in words), finding
    assert asked == [[sys.executable, "-m", "benchmark.doctor.speed"]]


def test_it_is_said_that_the_speed_is_measured_for_how_long_and_how_not_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from benchmark.doctor import speed

    monkeypatch.setattr(speed, "timed", list)
    for words, said in (([], True), (["--no-speed"], False)):
        out = run_bench(monkeypatch, capsys, "doctor", *words, "--data", tmp_path, "--results", tmp_path).out
        line = f"measuring how fast it trains, for {speed.LIMIT_SECONDS} s at most; --no-speed leaves that out"
        assert (line in out) is said


def test_the_operations_of_a_sweep_are_its_runs_pairs_times_a_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """smoke.yaml by hand: eleven variants; a pair of Combined has two negatives, of DINO none, of the others one."""
    from benchmark.data.catalog import info
    from benchmark.doctor import speed
    from benchmark.plan import sweep as sweeps

    monkeypatch.setattr("benchmark.perf.step.step_flops", lambda config: (7.0, 5.0))
    runs = [run.config for run in sweeps.load(Path("smoke")).runs if run.config.method.trains]
    assert len(runs) == 11
    data, train = runs[0].data, runs[0].train
    count = data.train_limit or info(runs[0].in_dist).counts["train"]
    negatives = sum({"dino": 0, "combined": 2}.get(run.variant, 1) for run in runs)
    a_run = train.epochs * (count // train.batch) * train.batch
    assert negatives == 11 and speed._flops("smoke", {}) == (11 * 7.0 + negatives * 5.0) * a_run
    assert [speed._in_words(x) for x in (0.001, 0.5, 12.4, 240.0)] == ["1 min", "30 min", "12 h", "10 days"]
