"""Runs that are scored on the way, and runs that score no OOD set: from the settings to the record."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tiny_runs import TINY, tiny

from benchmark import methods
from benchmark.data.images import load
from benchmark.evaluation import intermediate
from benchmark.evaluation.verify import verify
from benchmark.plan import yamlfile
from benchmark.plan.sweep import load as load_sweep
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.running.signals import StopFlag
from benchmark.running.status import Clock
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record
from benchmark.store.states import plan
from benchmark.training import trained
from benchmark.training.batches import Batches, DeviceImages
from benchmark.training.checkpoint import load_checkpoint
from benchmark.training.statistics import recalibrate

RUNTIME = Runtime(device="cpu", threads=1)
# Batch normalisation has statistics that a forward pass in the wrong mode would move; drop-path draws.
NETWORKS: dict[str, dict[str, Any]] = {
    "batch normalisation": {"model": {"backbone": "small_convnet", "args": {"width": 8}, "drop_path": 0.0}},
    "drop-path": {"model": {"drop_path": 0.3}},
    "rotation": {
        "model": {"backbone": "small_convnet", "args": {"width": 8}, "drop_path": 0.0},
        "method": {"name": "rotation"},
        "variant": "none",
    },
}
THREE = {**TINY["train"], "epochs": 3}


def config_of(network: str, **evaluated: Any) -> Any:
    changes = NETWORKS[network]
    raw = {**changes, "train": THREE, "eval": {"ood": ["mini-ood", "mini-ood2"], "knn": [5], **evaluated}}
    if network == "rotation":
        from benchmark.plan.config import RunConfig
        from benchmark.plan.validation import validate

        return validate(RunConfig, {**TINY, **raw}, "t")
    return tiny(**raw)


def weights(results: Path, record: Record) -> bytes:
    """The tensors of a run, less the head of the file, which tells times."""
    raw = (results / record.name / "weights.safetensors").read_bytes()
    return raw[8 + int.from_bytes(raw[:8], "little") :]


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_and_measures_are_those_of_a_run_without_looks(tmp_path: Path, mini_data: Path, network: str) -> None:
    plain = run(config_of(network), tmp_path / "plain", mini_data, RUNTIME)
    seen = run(config_of(network, every=1), tmp_path / "seen", mini_data, RUNTIME)
    assert plain is not None and seen is not None and seen.name == plain.name
    assert weights(tmp_path / "plain", plain) == weights(tmp_path / "seen", seen)
    same = ("scores", "knn_accuracy", "occupancy", "extra")
    assert {key: getattr(plain, key) for key in same} == {key: getattr(seen, key) for key in same}
    assert plain.trajectory == [] and [look.epoch for look in seen.trajectory] == [1, 2]
    assert "trajectory" not in seen.training and plain.training["losses"] == seen.training["losses"]
    assert seen.timings["trajectory"] > 0 and "trajectory" not in plain.timings
    for look in seen.trajectory:
        assert set(look.ood) == {"mini-ood", "mini-ood2"} and set(look.knn_accuracy) == {"5"}
        assert (look.occupancy is None) == (network == "rotation")
    [verdict] = verify([RunFolder(tmp_path / "seen" / seen.name)], mini_data)
    assert not verdict.problems


def test_a_look_measures_the_teacher_of_its_epoch(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher out of a checkpoint after epoch 1, its Eq. 6 as a plain float64 sum, AUROC by scikit-learn."""
    config = config_of("batch normalisation", every=1)
    seen = run(config, tmp_path / "seen", mini_data, RUNTIME)
    assert seen is not None
    steps = 0

    def should_stop(flag: Any) -> bool:
        nonlocal steps
        steps += 1
        return steps == 5

    with monkeypatch.context() as patch:
        patch.setattr("benchmark.running.context.Context.should_stop", should_stop)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "stopped", mini_data, RUNTIME)
    saved = load_checkpoint(tmp_path / "stopped" / seen.name / "checkpoint.pt", seen.run_id)
    assert saved is not None and saved["step"] == 5
    method = methods.build(config, torch.device("cpu"))
    method.modules().load_state_dict(saved["modules"])
    train, auxiliary = (
        DeviceImages(np.array(load(mini_data, *key).images), method.device)
        for key in (("mini", "train"), ("mini-aux", "aux"))
    )
    recalibrate(method, Batches(config, train, {"imagenet": auxiliary}))  # as it would be scored at the end
    unit = {}
    for name, split in (("mini", "train"), ("mini", "test"), ("mini-ood", "test"), ("mini-ood2", "test")):
        images = torch.from_numpy(np.array(load(mini_data, name, split).images)).permute(0, 3, 1, 2)
        with torch.no_grad():
            rows = method.embed(images)["features"].numpy().astype(np.float64)
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float64)  # as kept
        unit[f"{name}/{split}"] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    similarity = {key: np.exp(rows @ unit["mini/train"].T / 0.04) for key, rows in unit.items()}
    score = {key: -rows.mean(1) for key, rows in similarity.items()}
    np.fill_diagonal(similarity["mini/train"], 0.0)
    score["mini/train"] = -similarity["mini/train"].sum(1) / 39

    def auroc(inside: str, outside: str) -> float:
        parts = [score[inside], score[outside]]
        return 100 * float(roc_auc_score(np.repeat([0, 1], [len(part) for part in parts]), np.concatenate(parts)))

    first = seen.trajectory[0]
    assert first.ood["mini-ood"] == pytest.approx(auroc("mini/test", "mini-ood/test"), abs=0.3)
    assert first.ood["mini-ood2"] == pytest.approx(auroc("mini/test", "mini-ood2/test"), abs=0.3)
    assert first.sensitivity == pytest.approx(auroc("mini/train", "mini/test"), abs=0.3)
    votes = unit["mini/test"] @ unit["mini/train"].T
    right = 0
    for row, truth in zip(votes, np.arange(24) % 4, strict=True):
        ballot = np.zeros(4)
        for near in np.argsort(-row)[:5]:
            ballot[near % 4] += np.exp(row[near] / 0.07)
        right += int(ballot.argmax() == truth)
    assert first.knn_accuracy["5"] == pytest.approx(100 * right / 24, abs=100 / 24 + 1e-6)
    # Going on, the stopped run comes to the same looks and the same end.
    resumed = run(config, tmp_path / "stopped", mini_data, RUNTIME)
    assert resumed is not None and resumed.training["resumed"] == 1
    assert resumed.trajectory == seen.trajectory and resumed.scores == seen.scores


def test_a_signal_during_a_look_ends_it_and_the_run_goes_on_from_there(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of("drop-path", every=1)
    whole = run(config, tmp_path / "whole", mini_data, RUNTIME)
    assert whole is not None
    honest = Clock.apart
    flags: list[StopFlag] = []
    note = StopFlag.put_off
    monkeypatch.setattr(StopFlag, "put_off", lambda flag: flags.append(flag) or note(flag))

    def apart(clock: Clock, name: str) -> Any:
        flags[-1].requested = True  # as a signal does
        return honest(clock, name)

    with monkeypatch.context() as patch:
        patch.setattr(Clock, "apart", apart)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "stopped", mini_data, RUNTIME)
    [folder] = (tmp_path / "stopped").iterdir()
    saved = load_checkpoint(folder / "checkpoint.pt", whole.run_id)
    assert saved is not None and saved["step"] == 5  # at once, not after a step more
    assert json.loads(saved["summary"])["trajectory"] == []
    again = run(config, tmp_path / "stopped", mini_data, RUNTIME)
    assert again is not None
    assert again.trajectory == whole.trajectory and [look.epoch for look in again.trajectory] == [1, 2]
    assert weights(tmp_path / "stopped", again) == weights(tmp_path / "whole", whole)


def test_what_a_look_says_is_the_mean_over_the_ood_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores as they might come: of 4 test images 1 is above both of one set, 3 of 8 pairs are lost with the other."""
    scores = {"mini/train": [0.0, 1.0], "mini/test": [1.0, 2.0, 3.0, 9.0], "mini-ood/test": [5.0, 6.0],
              "mini-ood2/test": [2.5, 9.5]}  # fmt: skip
    monkeypatch.setattr(intermediate, "network_outputs", lambda *_: ({}, None))
    monkeypatch.setattr(intermediate, "own_scores", lambda *_: scores)
    monkeypatch.setattr(intermediate, "accuracies", lambda *_: {"5": 62.5})
    said: list[str] = []
    config = tiny(eval={"ood": ["mini-ood", "mini-ood2"], "knn": [5]})
    run = SimpleNamespace(config=config, clock=Clock(), images=None, reporter=SimpleNamespace(say=said.append))
    found = intermediate.intermediate_evaluation(None, run)(3)  # type: ignore[arg-type]
    assert found["ood"] == {"mini-ood": 75.0, "mini-ood2": 75.0} and found["epoch"] == 3
    assert found["sensitivity"] == 100 * 7.5 / 8  # one pair is a tie
    assert said == ["after epoch 3: k-NN accuracy (k = 5) 62.50, AUROC 75.00, sensitivity 93.75"]


def test_the_clock_keeps_apart_what_is_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr("benchmark.running.status.time.monotonic", lambda: now[0])
    clock = Clock()
    for seconds in (3.0, 4.0):
        now[0] += 1
        with clock.apart("trajectory"):
            now[0] += seconds
    now[0] += 5
    clock.lap("train")
    assert clock.laps == {"trajectory": 7.0, "train": 7.0}


def test_a_run_without_ood_sets(tmp_path: Path, mini_data: Path) -> None:
    """Planned, run, recorded, verified; an OOD set that is asked for later is scored without training."""
    raw = {**TINY, "train": {**THREE, "epochs": 2}, "eval": {"ood": [], "knn": [5], "every": 1, "scores": ["knn-10"]}}
    file = tmp_path / "s.yaml"
    file.write_text(yamlfile.write({"base": raw, "grid": {"seed": [0]}}))
    sweep, results = load_sweep(file), tmp_path / "results"
    assert [item.state for item in plan(sweep, results, mini_data)] == ["to do"] * 3
    for one in sweep.runs:
        record = run(one.config, results, mini_data, RUNTIME)
        assert record is not None and record.own_score.ood == {} and 0 <= record.own_score.sensitivity <= 100
        assert record.knn_accuracy["5"] is not None and "mini-ood/test" not in record.data
        assert all(score.ood == {} for score in record.scores.values())
        assert [(look.epoch, look.ood) for look in record.trajectory] == ([(1, {})] if record.training else [])
        json.dumps(record.model_dump(mode="json"), allow_nan=False)
    assert [item.state for item in plan(sweep, results, mini_data)] == ["done"] * 3
    assert not [p for one in verify([RunFolder(f) for f in sorted(results.iterdir())], mini_data) for p in one.problems]
    asked = tiny(eval={"ood": ["mini-ood"], "knn": [5]})
    more = run(asked, results, mini_data, RUNTIME)
    assert more is not None and set(more.own_score.ood) == {"mini-ood"} and more.training["steps"] == 10
    assert [look.epoch for look in more.trajectory] == [1]  # measured before, and kept


def test_a_signal_after_the_last_step_ends_the_run_before_it_is_scored(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, steps = trained.recalibrate, []

    def stopped_there(*given: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        honest(*given)

    config = config_of("drop-path", every=None)
    with monkeypatch.context() as patch:
        patch.setattr(trained, "recalibrate", stopped_there)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "stopped", mini_data, RUNTIME)
    [folder] = map(RunFolder, (tmp_path / "stopped").iterdir())
    assert folder.weights.exists() and not folder.features.exists()
    status = folder.read_status()
    assert status is not None and status.state == "interrupted"
    monkeypatch.setattr(trained, "Trainer", lambda *given: steps.append(given))
    again = run(config, tmp_path / "stopped", mini_data, RUNTIME)
    monkeypatch.undo()
    whole = run(config, tmp_path / "whole", mini_data, RUNTIME)
    assert again is not None and whole is not None and not steps and again.scores == whole.scores
