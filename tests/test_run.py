"""The main path from end to end, on a few random images."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tiny_runs import TINY, tiny

from benchmark.commands.app import main
from benchmark.data.images import load, write_set
from benchmark.errors import BenchError
from benchmark.methods.dino import Dino
from benchmark.plan import yamlfile
from benchmark.plan.config import RunConfig
from benchmark.plan.sweep import load as load_sweep
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import GpuFull, Runtime, find_device
from benchmark.running.images import load_images
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record
from benchmark.store.states import observed_state, plan
from benchmark.training.batches import Batches, DeviceImages

SHORT = {"epochs": 1, "warmup_epochs": 0.0}
RUNTIME = Runtime(device="cpu", threads=1)


def reference(name: str) -> RunConfig:
    config: RunConfig = validate(RunConfig, {**TINY, "variant": "none", "method": {"name": name}}, "t")
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mini_data: Path) -> tuple[Path, Record]:
    results = tmp_path_factory.mktemp("results")
    return results, run(tiny(), results, mini_data, RUNTIME)


def test_a_run_leaves_what_it_promises(finished: tuple[Path, Record]) -> None:
    results, record = finished
    folder = RunFolder(results / record.name)
    assert folder.read_record() == record and folder.read_config() == tiny()
    assert {path.name for path in folder.path.iterdir() if not path.name.startswith(".")} == {
        "attempts.jsonl",
        "config.yaml",
        "record.json",
        "scores.npz",
        "features.npz",
        "metrics.jsonl",
        "status.json",
        "weights.safetensors",
    }
    status = folder.read_status()
    assert status is not None and status.state == "done" and status.step == status.steps == 10
    assert record.environment["packages"]["torch"] and record.environment["commit"]
    assert record.training["epochs"] == 2 and record.training["peak_memory_bytes"] > 0
    assert record.data["mini/train"].count == 40 and record.data["mini-ood/test"].count == 20
    assert (record.own_score.ood["mini-ood"].n_id, record.own_score.ood["mini-ood"].n_ood) == (24, 20)
    assert record.occupancy is not None and record.occupancy["classes"] == 16
    for key in ("train", "features", "score"):
        assert record.timings[key] >= 0


def test_the_kept_scores_and_features_give_the_records_numbers(finished: tuple[Path, Record]) -> None:
    """Recomputed from the files alone: Eq. 6 as a plain float64 sum, AUROC by scikit-learn."""
    results, record = finished
    scores = np.load(results / record.name / "scores.npz")
    features = {key: rows.astype(np.float64) for key, rows in np.load(results / record.name / "features.npz").items()}
    unit = {key: rows / np.linalg.norm(rows, axis=1, keepdims=True) for key, rows in features.items()}
    similarity = {key: np.exp(rows @ unit["mini/train"].T / 0.04) for key, rows in unit.items()}
    plain = {key: -rows.mean(1) for key, rows in similarity.items()}
    np.fill_diagonal(similarity["mini/train"], 0.0)  # each training image does not see itself
    plain["mini/train"] = -similarity["mini/train"].sum(1) / 39

    def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
        return 100 * float(roc_auc_score([0] * len(inside) + [1] * len(outside), np.concatenate([inside, outside])))

    assert record.own_score.ood["mini-ood"].auroc == pytest.approx(
        auroc(scores["mini/test:eq6"], scores["mini-ood/test:eq6"]), abs=1e-9
    )
    assert record.own_score.ood["mini-ood"].auroc == pytest.approx(
        auroc(plain["mini/test"], plain["mini-ood/test"]), abs=0.3
    )
    assert record.own_score.sensitivity == pytest.approx(auroc(plain["mini/train"], plain["mini/test"]), abs=0.3)
    for key, values in plain.items():
        np.testing.assert_allclose(-np.log(-values), scores[f"{key}:eq6"], rtol=1e-4, atol=1e-3)


def test_a_finished_run_is_not_trained_again(
    finished: tuple[Path, Record], mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, record = finished
    monkeypatch.setattr("benchmark.training.trained.Trainer", lambda *a, **k: pytest.fail("trained twice"))
    assert run(tiny(), results, mini_data, RUNTIME) == record


def test_a_new_ood_set_is_scored_without_training(
    finished: tuple[Path, Record], tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Path(shutil.copytree(finished[0], tmp_path / "results"))
    more = tiny(eval={"ood": ["mini-ood", "mini-ood2"]})
    folder = RunFolder(results / finished[1].name)
    assert observed_state(more, folder)[0] == "to score"
    monkeypatch.setattr("benchmark.training.trained.Trainer", lambda *a, **k: pytest.fail("trained twice"))
    monkeypatch.setattr("benchmark.evaluation.measures.environment", lambda device: {"hardware": "another machine"})
    record = run(more, results, mini_data, RUNTIME)
    assert record.environment == finished[1].environment  # of the machine that trained it
    assert all(record.timings[phase] >= seconds for phase, seconds in finished[1].timings.items())
    assert set(record.own_score.ood) == {"mini-ood", "mini-ood2"}
    assert record.own_score.ood["mini-ood"] == finished[1].own_score.ood["mini-ood"]
    assert record.training == finished[1].training and record.run_id == finished[1].run_id
    folder.weights.unlink()
    newer = tiny(eval={"ood": ["mini-ood", "mini-ood3"]})
    assert observed_state(newer, folder)[:2] == ("no weights", f"new: mini-ood3; weights gone: {folder.name}")
    assert observed_state(more, folder)[0] == "done"
    with pytest.raises(BenchError, match="not trained twice"):
        run(tiny(eval={"ood": ["mini-ood3"]}), results, with_third_set(mini_data, tmp_path), RUNTIME)


def with_third_set(mini_data: Path, tmp_path: Path) -> Path:
    root = Path(shutil.copytree(mini_data, tmp_path / "data"))
    write_set(root, "mini-ood3", "test", np.zeros((4, 32, 32, 3), np.uint8) + 7, np.zeros(4, np.int64), recipe="grey")
    return root


def test_replaced_ood_images_are_scored_again_without_training(
    finished: tuple[Path, Record], tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Path(shutil.copytree(finished[0], tmp_path / "results"))
    root = Path(shutil.copytree(mini_data, tmp_path / "data"))
    sweep_file = tmp_path / "s.yaml"
    sweep_file.write_text(yamlfile.write({"base": TINY, "grid": {"seed": [0]}, "references": []}))
    assert [item.state for item in plan(load_sweep(sweep_file), results, root)] == ["done"]
    write_set(
        root, "mini-ood", "test", np.zeros((9, 32, 32, 3), np.uint8), np.zeros(9, np.int64), recipe="x", replace=True
    )
    [item] = plan(load_sweep(sweep_file), results, root)
    assert item.state == "to score" and item.detail == "other images now: mini-ood/test"
    folder = RunFolder(results / finished[1].name)
    folder.weights.rename(tmp_path / "elsewhere")
    [item] = plan(load_sweep(sweep_file), results, root)
    assert item.state == "no weights" and item.detail == f"other images now: mini-ood/test; weights gone: {folder.name}"
    (tmp_path / "elsewhere").rename(folder.weights)
    monkeypatch.setattr("benchmark.training.trained.Trainer", lambda *a, **k: pytest.fail("trained twice"))
    assert run(tiny(), results, root, RUNTIME).own_score.ood["mini-ood"].n_ood == 9
    assert [item.state for item in plan(load_sweep(sweep_file), results, root)] == ["done"]


def test_two_sweeps_that_share_a_run_take_nothing_from_each_other(
    finished: tuple[Path, Record], tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, root = Path(shutil.copytree(finished[0], tmp_path / "results")), with_third_set(mini_data, tmp_path)
    one = tiny(eval={"ood": ["mini-ood"], "scores": ["knn-5"]})
    other = tiny(eval={"ood": ["mini-ood2"], "scores": ["cosine"]})
    first, both = run(one, results, root, RUNTIME), run(other, results, root, RUNTIME)
    ood = both.own_score.ood
    assert set(ood) == {"mini-ood", "mini-ood2"} and ood["mini-ood"] == first.own_score.ood["mini-ood"]
    assert set(both.scores["knn-5"].ood) == set(both.scores["cosine"].ood) == {"mini-ood", "mini-ood2"}
    assert both.scores["knn-5"].ood["mini-ood"] == first.scores["knn-5"].ood["mini-ood"]
    assert not both.lacks(one) and not both.lacks(other) and run(one, results, root, RUNTIME) == both
    assert {"mini-ood/test:eq6", "mini-ood2/test:knn-5"} <= set(np.load(results / both.name / "scores.npz"))
    replaced = np.zeros((9, 32, 32, 3), np.uint8), np.zeros(9, np.int64)
    write_set(root, "mini-ood", "test", *replaced, recipe="x", replace=True)
    capsys.readouterr()
    third = run(tiny(eval={"ood": ["mini-ood3"]}), results, root, RUNTIME)
    assert set(third.own_score.ood) == {"mini-ood2", "mini-ood3"}
    assert third.own_score.ood["mini-ood2"] == both.own_score.ood["mini-ood2"]
    log = (results / third.name / "log.txt").read_text() if (results / third.name / "log.txt").exists() else ""
    assert "earlier results on mini-ood go" in capsys.readouterr().out + log


def test_replaced_images_are_scored_again_by_the_sweep_itself(
    finished: tuple[Path, Record], tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by `run` alone: the queue must not take the run for done."""
    results = Path(shutil.copytree(finished[0], tmp_path / "results"))
    root = Path(shutil.copytree(mini_data, tmp_path / "data"))
    (tmp_path / "s.yaml").write_text(yamlfile.write({"base": TINY, "grid": {"seed": [0]}, "references": []}))
    replaced = np.zeros((9, 32, 32, 3), np.uint8), np.zeros(9, np.int64)
    write_set(root, "mini-ood", "test", *replaced, recipe="x", replace=True)
    words = ("sweep", tmp_path / "s.yaml", "--executor", "local", "--results", results, "--data", root)
    monkeypatch.setattr(sys, "argv", ["bench", *map(str, words)])
    with pytest.raises(SystemExit) as exit_:
        main()
    record = RunFolder(results / finished[1].name).read_record()
    assert not exit_.value.code and record is not None and record.own_score.ood["mini-ood"].n_ood == 9
    assert [item.state for item in plan(load_sweep(tmp_path / "s.yaml"), results, root)] == ["done"]


def test_other_images_are_another_run(finished: tuple[Path, Record], tmp_path: Path, mini_data: Path) -> None:
    root = Path(shutil.copytree(mini_data, tmp_path / "data"))
    train = load(root, "mini", "train")
    write_set(root, "mini", "train", 255 - np.array(train.images), np.array(train.labels), recipe="x", replace=True)
    record = run(reference("untrained"), tmp_path, root, RUNTIME)
    before = run(reference("untrained"), tmp_path, mini_data, RUNTIME)
    assert record.recipe_id == before.recipe_id and record.run_id != before.run_id and record.name != before.name


def test_reference_rows(tmp_path: Path, mini_data: Path) -> None:
    untrained = run(reference("untrained"), tmp_path, mini_data, RUNTIME)
    assert untrained.occupancy is None and untrained.training == {}
    assert 0 <= untrained.own_score.ood["mini-ood"].auroc <= 100
    statistics = run(reference("image-statistics"), tmp_path, mini_data, RUNTIME)
    measured = set(statistics.extra["single_statistic_auroc"]["mini-ood"])
    assert measured == {"sharpness", "brightness", "contrast", "colourfulness"}


def test_limits_are_respected(tmp_path: Path, mini_data: Path) -> None:
    config = validate(
        RunConfig,
        {**TINY, "variant": "none", "method": {"name": "untrained"}, "data": {"train_limit": 30, "test_limit": 10}},
        "t",
    )
    record = run(config, tmp_path, mini_data, RUNTIME)
    assert (record.data["mini/train"].count, record.data["mini/test"].count, record.data["mini-ood/test"].count) == (
        30,
        10,
        10,
    )
    assert (record.own_score.ood["mini-ood"].n_id, record.own_score.ood["mini-ood"].n_ood) == (10, 10)


def test_training_sees_the_images_of_its_limits_alone(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(data={"train_limit": 17, "aux_limit": 9}, variant="rot-imgn")
    seen: dict[str, np.ndarray] = {}
    honest = Batches.__init__

    def noted(self: Batches, config: RunConfig, train: DeviceImages, auxiliary: dict, *rest: Any, **named: Any) -> None:
        seen.update({"mini/train": train._disk, **{f"mini-aux/{name}": one._disk for name, one in auxiliary.items()}})
        seen["labels"] = rest[-1]
        honest(self, config, train, auxiliary, *rest, **named)

    monkeypatch.setattr(Batches, "__init__", noted)
    record = run(config, tmp_path, mini_data, RUNTIME)
    images = load_images(config, mini_data)
    chosen = images.positions("mini/train")
    assert len(chosen) == 17 and np.array_equal(seen["mini/train"], images.sets["mini/train"].images[chosen])
    assert np.array_equal(seen["labels"], images.sets["mini/train"].labels[chosen])
    assert len(seen["mini-aux/imagenet"]) == 9 and record.training["steps"] == 2 * (17 // 8)


def test_a_gpu_without_room_is_one_line_and_the_run_stays_to_do(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, steps = Dino.losses, 0

    def losses(self: Any, *rest: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore")
        return honest(self, *rest)

    monkeypatch.setattr(Dino, "losses", losses)
    config, runtime = tiny(), Runtime(device="cpu", threads=1, checkpoint_seconds=0)
    with pytest.raises(
        GpuFull, match=r"the GPU is full \(CUDA out of memory. Tried to allocate 2.00 GiB.\); .*fewer --jobs"
    ) as caught:
        run(config, tmp_path, mini_data, runtime)
    assert "\n" not in str(caught.value)
    [folder] = [RunFolder(path) for path in tmp_path.iterdir()]
    status = folder.read_status()
    assert status is not None and status.state == "interrupted" and "GPU is full" in status.error
    assert observed_state(config, folder)[0] == "interrupted"
    record = run(config, tmp_path, mini_data, runtime)
    assert record is not None and record.training["resumed"] == 1 and steps == 4 + (10 - 3)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("CUDA error: out of memory\nMore")]
)
def test_a_gpu_that_others_have_filled_before_the_run_began_leaves_it_to_do(
    error: RuntimeError, tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*arguments: object, **options: object) -> None:
        raise error

    with monkeypatch.context() as full:
        full.setattr(torch, "zeros", no_room)  # the first that is asked of a device
        full.setattr(Dino, "__init__", no_room)
        with pytest.raises(GpuFull, match="fewer --jobs"):
            run(tiny(), tmp_path, mini_data, RUNTIME)
        with pytest.raises(BenchError, match=r"--device cpu: not to be had here .*out of memory"):
            find_device(RUNTIME)  # nobody who asks so waits for room
    [folder] = [RunFolder(path) for path in tmp_path.iterdir()]
    assert observed_state(tiny(), folder)[0] == "interrupted"
    assert run(tiny(), tmp_path, mini_data, RUNTIME) is not None


def test_other_errors_of_a_device_are_no_lack_of_room(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with monkeypatch.context() as unhealthy:
        unhealthy.setattr(Dino, "losses", broken)
        with pytest.raises(RuntimeError, match="illegal memory access"):
            run(tiny(), tmp_path, mini_data, RUNTIME)
    [folder] = [RunFolder(path) for path in tmp_path.iterdir()]
    assert observed_state(tiny(), folder)[0] == "failed"
    monkeypatch.setattr(torch, "zeros", broken)
    with pytest.raises(BenchError, match="not to be had here"):
        find_device(RUNTIME, full=True)


def test_a_failed_run_keeps_its_traceback(tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("benchmark.training.trained.Trainer", broken)
    with pytest.raises(ZeroDivisionError):
        run(tiny(), tmp_path, mini_data, RUNTIME)
    [folder] = [RunFolder(path) for path in tmp_path.iterdir()]
    state, detail, _ = observed_state(tiny(), folder)
    assert (state, detail) == ("failed", "ZeroDivisionError: on purpose")
    assert not folder.lease_is_live()


def test_broken_weights_are_named(finished: tuple[Path, Record], tmp_path: Path, mini_data: Path) -> None:
    results = Path(shutil.copytree(finished[0], tmp_path / "results"))
    folder = RunFolder(results / finished[1].name)
    folder.record.unlink()
    folder.weights.write_bytes(b"junk")
    with pytest.raises(BenchError, match=r"weights.safetensors: broken weights"):
        run(tiny(), results, mini_data, RUNTIME)


def test_killed_between_training_and_scoring_scores_only(
    finished: tuple[Path, Record], tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Path(shutil.copytree(finished[0], tmp_path / "results"))
    folder = RunFolder(results / finished[1].name)
    for path in (folder.record, folder.scores, folder.features):
        path.unlink()
    monkeypatch.setattr("benchmark.training.trained.Trainer", lambda *a, **k: pytest.fail("trained twice"))
    again = run(tiny(), results, mini_data, RUNTIME)
    assert again.own_score.ood == finished[1].own_score.ood and again.occupancy == finished[1].occupancy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {"backbone": "vit_tinny"}}, "unknown backbone 'vit_tinny'"),
        ({"model": {"args": {"patch_sise": 8}}}, "do not fit vit_tiny_patch16_224"),
        ({"views": {"local_size": 20}}, "cannot take views of 20 pixels"),
        ({"data": {"image_size": 64}}, "32x32, data.image_size is 64"),
        ({"eval": {"ood": ["nowhere"]}}, "nowhere"),
        ({"eval": {"knn": [41]}}, "eval.knn: 41 neighbours of 40 training images"),
        ({"train": {"batch": 41}}, "train.batch: 41 is more than the 40 training images"),
    ],
)
def test_bad_settings_that_show_only_here(tmp_path: Path, mini_data: Path, change: dict, words: str) -> None:
    with pytest.raises(BenchError, match=words) as caught:
        run(tiny(**change), tmp_path, mini_data, RUNTIME)
    assert "\n" not in str(caught.value)


def test_a_convolutional_backbone_trains_too(tmp_path: Path, mini_data: Path) -> None:
    config = tiny(variant="rot-imgn", model={"backbone": "resnet18", "args": {}}, train=SHORT)
    record = run(config, tmp_path, mini_data, RUNTIME)
    assert record.training["steps"] == 5 and np.isfinite(record.own_score.sensitivity)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "authors", "variant": "rot360-imgn"},
        {"protocol": "authors", "variant": "perm-4-imgn"},
        {"protocol": "authors", "variant": "pixperm-imgn"},
        {"method": {"head": "text"}},
        {"train": {"precision": "bf16"}},
    ],
)
def test_every_setting_of_the_protocols_runs(tmp_path: Path, mini_data: Path, change: dict) -> None:
    record = run(tiny(**{"variant": "rot-imgn", **change}), tmp_path, mini_data, RUNTIME)
    assert np.isfinite(record.training["losses"]["loss"])


def test_the_record_is_plain_json(finished: tuple[Path, Record]) -> None:
    raw = json.loads((finished[0] / finished[1].name / "record.json").read_text())
    auroc = raw["scores"][raw["own"]]["ood"]["mini-ood"]["auroc"]
    assert raw["schema_version"] == 2 and auroc == finished[1].own_score.ood["mini-ood"].auroc


def test_weights_cannot_be_brought_in_through_model_args(tmp_path: Path, mini_data: Path) -> None:
    with pytest.raises(BenchError, match=r"model\.args: checkpoint_path cannot be set"):
        run(tiny(model={"args": {"checkpoint_path": "x.pt"}}), tmp_path, mini_data, RUNTIME)
