"""Outlier Exposure that goes on from a finished classifier: which run is meant, what it takes over, what is refused."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from test_classifier import OE, RAW

from benchmark.data.images import load as load_set
from benchmark.data.images import write_set
from benchmark.errors import BenchError
from benchmark.methods.classifier import Classifier
from benchmark.plan import sweep as sweeps
from benchmark.plan.config import RunConfig
from benchmark.plan.layers import merge
from benchmark.plan.starts import misfit
from benchmark.plan.validation import validate
from benchmark.report.grouping import group_runs
from benchmark.report.settings import recipe_of
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.store import states
from benchmark.store.folders import RunFolder

CPU = Runtime("cpu", threads=1)
TUNED = {"method": {**OE["method"], "tune": "classifier"}, "variant": "imgn", "negatives": {"weight": 0.5}}


def config(**changes: Any) -> RunConfig:
    return RunConfig.model_validate(merge(copy.deepcopy(RAW), changes))


def load(folder: Path, *entries: dict[str, Any], seeds: tuple[int, ...] = (0,)) -> sweeps.Sweep:
    path = folder / "mine.yaml"
    content = {
        "base": RAW,
        "grid": {"seed": list(seeds)},
        "grids": [{"base": one} for one in entries],
        "references": [],
    }
    path.write_text(json.dumps(content))
    return sweeps.load(path)


def test_a_sweep_names_the_classifier_of_the_same_set_and_seed_and_trains_it_first(tmp_path: Path) -> None:
    found = load(tmp_path, TUNED, {}, {"train": {"epochs": 3}, "method": {"rotation_weight": 1.0}}, seeds=(4, 5))
    plain = {r.config.seed: r for r in found.runs if r.config.label == "classifier"}
    tuned = [r for r in found.runs if r.config.method.starts_from]
    assert [r.config.label for r in found.runs][-2:] == ["oe-tuned-imgn", "oe-tuned-imgn"]
    for one in tuned:
        assert one.config.method.starts_from == plain[one.config.seed].recipe
        assert one.config.identity()["method"]["tune"] == plain[one.config.seed].recipe
    assert len({one.recipe for one in tuned}) == 2


def test_the_recipe_of_the_start_is_part_of_the_name_and_none_changes_no_name(tmp_path: Path) -> None:
    names = {
        load(tmp_path, {"train": {"lr": lr}}, {**TUNED, "train": {"lr": 0.01}}).runs[-1].recipe for lr in (0.1, 0.2)
    }
    assert len(names) == 2
    assert "tune" not in config(**OE).identity()["method"]


def test_seeds_of_tuned_runs_share_a_column(tmp_path: Path) -> None:
    found = [r.config for r in load(tmp_path, {}, TUNED, seeds=(0, 1, 2)).runs]
    assert len({recipe_of(c) for c in found}) == 2
    (group,) = group_runs(found, [], beside=True)
    assert {label: len([r for r in group.runs if r.config.label == label]) for label in group.labels("mini")} == {
        "classifier": 3, "oe-tuned-imgn": 3
    }  # fmt: skip


def test_training_begins_with_the_classifiers_weights(mini_data: Path, tmp_path: Path) -> None:
    still = {"train": {**RAW["train"], "epochs": 1, "lr": 1e-12, "weight_decay": [0.0, 0.0]}}
    found = load(tmp_path, {}, {**TUNED, **still})
    with pytest.raises(BenchError, match=r"method\.tune: no run of recipe .* in .*results; train it first"):
        run(found.runs[1].config, tmp_path / "results", mini_data, CPU)
    records = [run(one.config, tmp_path / "results", mini_data, CPU) for one in found.runs]
    before, after = (
        safetensors.torch.load_file(RunFolder(tmp_path / "results" / r.name).weights) for r in records if r
    )
    learnt = [name for name in before if "running" not in name and "batches" not in name]  # not what follows the images
    assert learnt and all(torch.allclose(before[name], after[name], atol=1e-6) for name in learnt)
    alone = run(config(**OE, **still), tmp_path / "results", mini_data, CPU)
    assert alone is not None
    other = safetensors.torch.load_file(RunFolder(tmp_path / "results" / alone.name).weights)
    assert not torch.allclose(before["classes.weight"], other["classes.weight"], atol=1e-3)


def test_a_stopped_run_goes_on_from_its_checkpoint_and_needs_its_start_no_more(
    mini_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load(tmp_path, {}, TUNED)
    start = run(found.runs[0].config, tmp_path / "results", mini_data, CPU)
    whole = run(found.runs[1].config, Path(shutil.copytree(tmp_path / "results", tmp_path / "whole")), mini_data, CPU)
    honest, steps = Classifier.losses, 0

    def losses(self: Any, *rest: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt
        return honest(self, *rest)

    with monkeypatch.context() as stopping:
        stopping.setattr(Classifier, "losses", losses)
        with pytest.raises(KeyboardInterrupt):
            run(found.runs[1].config, tmp_path / "results", mini_data, Runtime("cpu", threads=1, checkpoint_seconds=0))
    assert start is not None and whole is not None
    RunFolder(tmp_path / "results" / start.name).weights.unlink()
    record = run(found.runs[1].config, tmp_path / "results", mini_data, CPU)
    assert record is not None and record.training["resumed"] == 1
    assert record.training["losses"] == whole.training["losses"] and record.own_score.ood == whole.own_score.ood


@pytest.mark.parametrize(("start", "words"), [
    ({"in_dist": "other"}, "trained on other, not mini"),
    ({"model": {"args": {"width": 16}}}, r"its network is small_convnet .*16\}, not small_convnet .*8\}"),
    ({"method": {"classes": 5}}, r"its method\.classes is 5, not 4"),
    ({"method": {"rotation_weight": 1.0}}, r"its method\.rotation_weight is 1\.0, not 0\.0"),
    ({"data": {"train_limit": 20}}, r"its data\.train_limit is 20, not None"),
    ({"data": {"image_size": 48}}, r"its data\.image_size is 48, not 32"),
    ({"method": {"name": "rotation"}}, "it is no classifier but rotation"),
])  # fmt: skip
def test_what_does_not_fit_is_said(start: dict[str, Any], words: str) -> None:
    raw = copy.deepcopy(RAW)
    if "name" in start.get("method", {}):
        raw["method"] = {}
    other = RunConfig.model_validate(merge(raw, start))
    assert re.search(words, misfit(config(**TUNED), other))
    assert misfit(config(**TUNED), config()) == ""


def test_a_sweep_without_the_run_or_with_another_network_is_refused_in_one_line(tmp_path: Path) -> None:
    for entries, words in (
        ([TUNED], r"mine\.yaml: method\.tune: no run mini-classifier-s0 in this sweep; it has no classifier"),
        (
            [{"method": {"rotation_weight": 1.0}}, TUNED],
            r"mini-classifier-s0 .* it has mini-classifier-rotation-s0",
        ),
        ([{"model": {"args": {"width": 16}}}, TUNED], r"method\.tune: mini-classifier-s0 does not fit: its network is"),
        ([{}, {"train": {"epochs": 3}}, TUNED], r"method\.tune: 2 runs are called mini-classifier-s0; name a recipe"),
    ):
        with pytest.raises(BenchError, match=words) as caught:
            load(tmp_path, *entries)
        assert "\n" not in str(caught.value)


def test_a_plan_knows_that_the_start_has_lost_its_weights_and_its_advice_helps(mini_data: Path, tmp_path: Path) -> None:
    sweep, results = load(tmp_path, {}, TUNED), tmp_path / "results"

    def found() -> dict[str, tuple[str, str]]:
        return {item.run.config.label: (item.state, item.detail) for item in states.plan(sweep, results, mini_data)}

    assert found() == {"classifier": ("to do", ""), "oe-tuned-imgn": ("to do", "")}
    record = run(sweep.runs[0].config, results, mini_data, CPU)
    assert record is not None
    folder = RunFolder(results / record.name)
    assert found() == {"classifier": ("done", ""), "oe-tuned-imgn": ("to do", "")}
    folder.weights.unlink()
    assert found() == {"classifier": ("done", ""), "oe-tuned-imgn": ("no weights", f"weights gone: {folder.name}")}
    assert str(folder.weights) in folder.weights_are_gone and f"delete {folder.record} to" in folder.weights_are_gone
    kept = folder.record.read_text()
    folder.record.write_text(kept.replace(record.data["mini/train"].fingerprint, "0" * 64))
    assert found()["oe-tuned-imgn"] == ("to do", "")  # it is another run's record, and says nothing of this one's start
    folder.record.unlink()
    assert found()["oe-tuned-imgn"] == ("to do", "")
    assert run(sweep.runs[0].config, results, mini_data, CPU) is not None and folder.weights.exists()
    assert run(sweep.runs[1].config, results, mini_data, CPU) is not None


def test_of_two_runs_of_the_start_the_one_with_weights_will_do(mini_data: Path, tmp_path: Path) -> None:
    """As where test images were exchanged: the same recipe and training images, another folder."""
    sweep, results = load(tmp_path, {}, TUNED), tmp_path / "results"
    record = run(sweep.runs[0].config, results, mini_data, CPU)
    assert record is not None
    whole = RunFolder(results / record.name)
    for name, age in (("mini-classifier-s0-00000000", -1000), ("mini-classifier-s0-ffffffff", 1000)):
        bare = RunFolder(Path(shutil.copytree(whole.path, results / name)))
        bare.weights.unlink()
        when = whole.config.stat().st_mtime + age
        os.utime(bare.config, (when, when))
        tuned = states.plan(sweep, results, mini_data)[1]
        assert tuned.state == "to do" and tuned.folder is not None
        assert run(sweep.runs[1].config, results, mini_data, CPU) is not None
        shutil.rmtree(tuned.folder.path)
        shutil.rmtree(bare.path)


def test_what_a_plan_can_see_of_labels_and_starts_is_refused_before_anything_runs(
    mini_data: Path, tmp_path: Path
) -> None:
    results, root = tmp_path / "results", Path(shutil.copytree(mini_data, tmp_path / "data"))

    def refused(words: str, *entries: dict[str, Any], **base: Any) -> None:
        sweep = load(tmp_path, *(merge(copy.deepcopy(base), one) for one in entries))
        with pytest.raises(BenchError, match=words) as caught:
            states.plan(sweep, results, root)
        assert "\n" not in str(caught.value)

    unknown = merge(copy.deepcopy(TUNED), {"method": {"tune": "0" * 64}})
    refused(
        r"mine\.yaml: method\.tune: the run that mini-oe-tuned-imgn-s0 goes .* 00000000\) is neither among", {}, unknown
    )
    record = run(config(), results, root, CPU)
    assert record is not None
    there = merge(copy.deepcopy(TUNED), {"method": {"tune": record.recipe_id}})
    assert [item.state for item in states.plan(load(tmp_path, there), results, root)] == ["to do"]
    wider = merge(copy.deepcopy(there), {"model": {"args": {"width": 16}}})
    refused(r"mine\.yaml: method\.tune: .*/mini-classifier-s0-\w+ does not fit: its network is", wider)
    for split in ("train", "test"):
        one = load_set(mini_data, "mini", split)
        write_set(root, "bare", split, one.images, np.full(len(one.images), -1), recipe="unlabelled")
    refused(r"mine\.yaml: method\.name: classifier needs labels: image set bare/train", {}, in_dist="bare")


@pytest.mark.parametrize(("changes", "words"), [
    ({"variant": "none"}, r"variant: none given; outlier-exposure learns from a variant's negatives, as in"),
    ({"method": {"tune": ""}}, r"method\.tune"),
])  # fmt: skip
def test_outlier_exposure_without_outliers_or_with_an_empty_start_is_refused(changes: Any, words: str) -> None:
    with pytest.raises(BenchError, match=words) as caught:
        validate(RunConfig, merge(merge(copy.deepcopy(RAW), copy.deepcopy(OE)), changes), "test")
    assert "\n" not in str(caught.value)


def test_unfinished_weightless_and_other_images_are_refused(mini_data: Path, tmp_path: Path) -> None:
    start, tuned = (one.config for one in load(tmp_path, {}, TUNED).runs)
    results, other = tmp_path / "results", Path(shutil.copytree(mini_data, tmp_path / "data"))
    record = run(start, results, mini_data, CPU)
    assert record is not None
    folder = RunFolder(results / record.name)

    def refused(words: str, settings: RunConfig = tuned) -> None:
        with pytest.raises(BenchError, match=words) as caught:
            run(settings, results, mini_data, CPU)
        assert "\n" not in str(caught.value)

    kept = folder.record.read_bytes()
    folder.record.unlink()
    status = folder.read_status()
    assert status is not None
    for state, becomes in (("failed", "failed"), ("interrupted", "interrupted"), ("running", "interrupted")):
        folder.write_status(status.model_copy(update={"state": state}))
        refused(r"method\.tune: .*mini-classifier-s0-\w+ is not finished; train it first: bench run ")
        planned = states.plan(load(tmp_path, {}, TUNED), results, mini_data)[1]
        assert planned.state == becomes and "is not finished" in planned.detail
    changed = json.loads(kept)
    changed["data"]["mini/train"]["fingerprint"] = "0" * 64
    folder.record.write_text(json.dumps(changed))
    refused(r"method\.tune: .* was trained on other images of mini")
    folder.record.write_bytes(kept)
    weights = folder.weights.read_bytes()
    folder.weights.unlink()
    refused(r"method\.tune: .*/weights\.safetensors: is gone, .*; delete .*record\.json to train it again$")
    elsewhere = tuned.model_copy(update={"in_dist": "mini-ood2"})  # a set that the start has not seen at all
    images = load_set(mini_data, "mini", "train"), load_set(mini_data, "mini", "test")
    for split, one in zip(("train", "test"), images, strict=True):
        write_set(other, "mini-ood2", split, one.images, one.labels, recipe="copy", replace=True)
    with pytest.raises(BenchError, match=r"method\.tune: .* does not fit: it was trained on mini, not mini-ood2$"):
        run(elsewhere, results, other, CPU)
    folder.weights.write_bytes(weights[:100])
    refused(r"weights\.safetensors: broken weights")
    named = tuned.model_copy(update={"method": tuned.method.model_copy(update={"tune": "classifier"})})
    refused(r"method\.tune: classifier names a run of a sweep; a run on its own needs the recipe_id", named)
    folder.weights.write_bytes(weights)
    assert run(tuned, results, mini_data, CPU) is not None
