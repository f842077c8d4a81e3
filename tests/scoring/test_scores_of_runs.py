"""Further scores of a run: asked for with it or later, from what is kept, without training."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from tiny_runs import TINY, tiny

from benchmark.data.images import load, write_set
from benchmark.errors import BenchError
from benchmark.evaluation import features, measures
from benchmark.methods.dino import Dino
from benchmark.plan import yamlfile
from benchmark.plan.config import RunConfig
from benchmark.plan.sweep import load as load_sweep
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.running.images import load_images
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record
from benchmark.store.states import observed_state, plan
from benchmark.views.render import evaluation_view

RUNTIME = Runtime(device="cpu", threads=1)
WANTED = [
    "eq6-confident",
    "knn-5",
    "energy",
    "negative-norm",
    "eq6-rotations+energy-gap",
    "eq6-permutations+energy-gap-permutations",
    "eq6-from-negatives",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mini_data: Path) -> tuple[Path, Record]:
    results = tmp_path_factory.mktemp("results")
    return results, run(tiny(), results, mini_data, RUNTIME)


@pytest.fixture(scope="module")
def scored(
    finished: tuple[Path, Record], tmp_path_factory: pytest.TempPathFactory, mini_data: Path
) -> tuple[Path, Record]:
    """The finished run, asked for scores afterwards."""
    results = Path(shutil.copytree(finished[0], tmp_path_factory.mktemp("scored") / "results"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.training.trained.Trainer", lambda *a, **k: pytest.fail("trained twice"))
        return results, run(tiny(eval={"scores": WANTED}), results, mini_data, RUNTIME)


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    return 100 * float(roc_auc_score([0] * len(inside) + [1] * len(outside), np.concatenate([inside, outside])))


def test_a_score_asked_for_later_changes_nothing_else(
    finished: tuple[Path, Record], scored: tuple[Path, Record]
) -> None:
    before, after = finished[1], scored[1]
    assert after.name == before.name and after.training == before.training
    assert after.own_score == before.own_score and set(before.scores) == {"eq6"}
    assert {name: score.passes for name, score in after.scores.items()} == dict(
        zip(["eq6", *WANTED], (1, 1, 1, 1, 1, 4, 4, 1), strict=True)
    )
    assert all(set(score.ood) == {"mini-ood"} for score in after.scores.values())


def test_what_is_kept_is_not_asked_of_the_network_again(
    scored: tuple[Path, Record], tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A score of what is kept asks the network nothing and makes no other score again; other images are seen anew."""
    results = Path(shutil.copytree(scored[0], tmp_path / "results"))
    folder = RunFolder(results / scored[1].name)
    asked: list[int] = []
    made: list[str] = []
    honest, by = Dino.embed, measures.scores_by
    monkeypatch.setattr(Dino, "embed", lambda self, images: asked.append(len(images)) or honest(self, images))

    def noted(name: str, *rest: Any) -> dict[str, np.ndarray]:
        made.append(name)
        return by(name, *rest)

    monkeypatch.setattr(measures, "scores_by", noted)
    before = np.load(folder.scores)
    again = run(tiny(eval={"scores": [*WANTED, "cosine"]}), results, mini_data, RUNTIME)
    assert again is not None and asked == [] and made == ["cosine"]
    assert {name: again.scores[name] for name in scored[1].scores} == dict(scored[1].scores)
    assert again.occupancy == scored[1].occupancy and again.own_score.ood == scored[1].own_score.ood
    after = np.load(folder.scores)
    assert all(np.array_equal(before[key], after[key]) for key in before.files) and "mini/test:cosine" in after.files
    fresh = run(tiny(eval={"scores": ["cosine"]}), tmp_path / "fresh", mini_data, RUNTIME)
    assert fresh is not None and fresh.scores["cosine"] == again.scores["cosine"]

    asked.clear()
    data = Path(shutil.copytree(mini_data, tmp_path / "data"))
    old = load(data, "mini-ood", "test")
    inverted = 255 - np.array(old.images)
    write_set(data, "mini-ood", "test", inverted, np.array(old.labels), recipe="inverted", replace=True)
    changed = run(tiny(eval={"scores": [*WANTED, "cosine"]}), results, data, RUNTIME)
    assert (
        changed is not None and changed.own_score.ood != again.own_score.ood and sum(asked) == 7 * len(old.images)
    )  # seven passes
    assert made == ["cosine", "cosine", *WANTED, "cosine"]
    folder.features.write_bytes(b"broken")
    assert run(tiny(eval={"scores": [*WANTED, "cosine", "eq6@0.1"]}), results, data, RUNTIME) is not None


def test_asking_at_once_gives_the_same(scored: tuple[Path, Record], tmp_path: Path, mini_data: Path) -> None:
    assert run(tiny(eval={"scores": WANTED}), tmp_path, mini_data, RUNTIME).scores == scored[1].scores


def test_the_kept_scores_give_the_numbers(scored: tuple[Path, Record]) -> None:
    results, record = scored
    kept = np.load(results / record.name / "scores.npz")
    for name, score in record.scores.items():
        inside, outside, train = (kept[f"{key}:{name}"] for key in ("mini/test", "mini-ood/test", "mini/train"))
        assert score.ood["mini-ood"].auroc == pytest.approx(auroc(inside, outside), abs=1e-9)
        assert (score.ood["mini-ood"].n_id, score.ood["mini-ood"].n_ood) == (24, 20)
        assert score.sensitivity == pytest.approx(auroc(train, inside), abs=1e-9)


def test_training_images_are_scored_without_themselves(scored: tuple[Path, Record]) -> None:
    results, record = scored
    kept, features = (np.load(results / record.name / f"{name}.npz") for name in ("scores", "features"))
    bank = features["mini/train"].astype(np.float64)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    expected = NearestNeighbors(n_neighbors=5).fit(bank).kneighbors()[0][:, -1]
    np.testing.assert_allclose(kept["mini/train:knn-5"], expected, atol=1e-3)


def test_scores_read_the_network_of_the_run(scored: tuple[Path, Record], mini_data: Path) -> None:
    """Norm, energy and energy gap, image by image from the kept weights; numpy turns the images."""
    results, record = scored
    folder = RunFolder(results / record.name)
    method = Dino(folder.read_config(), torch.device("cpu"))
    method.load_final_state(safetensors.torch.load_file(folder.weights))
    method.teacher.eval()
    kept = np.load(folder.scores)
    features = np.load(folder.features)
    for row, image in enumerate(load(mini_data, "mini-ood", "test").images[:5]):
        energies, turned = [], []
        left, right = image[:, :16], image[:, 16:]
        a, b, c, d = left[:16], right[:16], left[16:], right[16:]  # quarters, row by row
        shuffled = [np.block([[[p], [q]], [[r], [s]]]) for p, q, r, s in ((b, c, d, a), (c, d, a, b), (d, a, b, c))]
        for k, copy in enumerate([*(np.rot90(image, k) for k in range(4)), *shuffled]):
            pixels = torch.from_numpy(copy.copy()).permute(2, 0, 1)[None]
            with torch.no_grad():
                feature = method.teacher["backbone"](evaluation_view(pixels, 32))
                logits = method.teacher["head"](feature)[0].double().numpy() / 0.1  # the student's temperature
            energies.append(-np.log(np.exp(logits).sum()))
            turned.append((feature / feature.norm())[0].numpy())
            if k == 0:
                assert kept["mini-ood/test:negative-norm"][row] == pytest.approx(-float(feature.norm()), rel=1e-4)
        assert kept["mini-ood/test:energy"][row] == pytest.approx(energies[0], abs=1e-4)
        for name, copies in (("rotated", slice(1, 4)), ("permuted", slice(4, 7))):
            np.testing.assert_allclose(features[f"mini-ood/test:{name}"][row], turned[copies], atol=1e-3)
            summary = features[f"mini-ood/test:{name}_class_logits"][row]
            np.testing.assert_allclose(-summary[:, 2], energies[copies], atol=1e-4)


def test_negatives_are_the_runs_own_and_as_many_of_each_kind(scored: tuple[Path, Record], mini_data: Path) -> None:
    """Combined: every other one is an auxiliary image, turned, the rest are training images; from the kept weights."""
    results, record = scored
    folder = RunFolder(results / record.name)
    method = Dino(folder.read_config(), torch.device("cpu"))
    method.load_final_state(safetensors.torch.load_file(folder.weights))
    rows = np.load(folder.features)["negatives"].astype(np.float64)
    assert rows.shape == (2 * 40, 24)  # an epoch's
    for first, name, split in ((0, "mini-aux", "aux"), (1, "mini", "train")):
        pictures = load(mini_data, name, split).images
        turned = np.stack([np.rot90(one, k) for one in pictures for k in (1, 2, 3)])
        with torch.no_grad():
            known = method.embed(torch.from_numpy(turned.copy()).permute(0, 3, 1, 2))["features"].double().numpy()
        off = np.abs(rows[first::2, None] - known[None]).max(2)
        assert off.min(1).max() < 1e-4 and len(set(off.argmin(1))) == (40 if split == "train" else 38)
    assert record.scores["eq6-from-negatives"].sensitivity != record.own_score.sensitivity


def test_a_run_without_negatives_has_no_score_that_is_measured_from_them(tmp_path: Path, mini_data: Path) -> None:
    asked = {"scores": ["eq6-from-negatives", "cosine"]}
    for change in ({"variant": "dino"}, {"negatives": {"weight": 0.0}}):
        assert tiny(eval=asked, **change).scores() == ["cosine"]
    record = run(tiny(variant="dino", eval=asked), tmp_path, mini_data, RUNTIME)
    assert list(record.scores) == ["eq6", "cosine"] and not record.lacks(tiny(variant="dino", eval=asked))
    raw = TINY | {"variant": "none", "method": {"name": "rotation"}, "eval": TINY["eval"] | asked}
    with pytest.raises(BenchError, match="'eq6-from-negatives' needs negatives, which 'rotation' does not have"):
        validate(RunConfig, raw, "test")


def test_how_many_training_images_are_answered_uniformly_is_in_the_record_and_rings(
    scored: tuple[Path, Record], tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    results, record = scored
    folder = RunFolder(results / record.name)
    method = Dino(folder.read_config(), torch.device("cpu"))
    method.load_final_state(safetensors.torch.load_file(folder.weights))
    method.teacher.eval()
    images = torch.from_numpy(np.array(load(mini_data, "mini", "train").images)).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = method.teacher["head"](method.teacher["backbone"](evaluation_view(images, 32))).double().numpy() / 0.1
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    divergence = np.sort((p * np.log(p * 16)).sum(1))
    assert record.occupancy is not None
    assert record.occupancy["near_uniform"] == pytest.approx(100 * np.mean(divergence <= 0.3))
    between = float(divergence[10:12].mean())  # 11 of 40: more than a quarter
    assert divergence[11] - divergence[10] > 1e-5
    monkeypatch.setattr(features, "NEAR_UNIFORM", between)
    capsys.readouterr()
    alarmed = run(tiny(), tmp_path / "alarmed", mini_data, RUNTIME)
    assert (
        alarmed is not None
        and alarmed.occupancy is not None
        and alarmed.occupancy["near_uniform"] == pytest.approx(27.5)
    )
    [alarm] = [alarm for alarm in alarmed.training["alarms"] if alarm.startswith("near uniform")]
    assert "28 % of the training images" in alarm and f"ALARM {alarm}" in capsys.readouterr().out
    monkeypatch.setattr(features, "NEAR_UNIFORM", float(divergence[9:11].mean()))  # 10 of 40
    calm = run(tiny(), tmp_path / "calm", mini_data, RUNTIME)
    assert calm is not None and not [alarm for alarm in calm.training["alarms"] if "near uniform" in alarm]


@pytest.mark.parametrize("name", ["knn-40", "mahalanobis-50", "eq6+knn-40"])
def test_a_score_of_more_images_than_there_are_is_refused_before_the_training(
    name: str, tmp_path: Path, mini_data: Path
) -> None:
    with pytest.raises(BenchError, match=rf"eval\.scores: {re.escape(name)} asks for more than the 39 other images"):
        run(tiny(eval={"scores": [name]}), tmp_path, mini_data, RUNTIME)
    assert load_images(tiny(eval={"scores": ["knn-39", "eq6@50"]}), mini_data) and not list(tmp_path.iterdir())


def test_features_that_are_all_but_one_are_an_alarm_by_any_method(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    method = {
        "method": {"name": "simclr"},
        "variant": "none",
        "model": {"backbone": "small_convnet", "args": {}, "drop_path": 0.0},
    }
    config = RunConfig.model_validate({**TINY, **method})
    honest = run(config, tmp_path / "honest", mini_data, RUNTIME)
    assert not honest.training["alarms"]
    kept = np.load(tmp_path / "honest" / honest.name / "features.npz")["mini/train"].astype(float)
    mean = np.mean([one @ other for one in kept for other in kept])
    monkeypatch.setattr(measures, "ALL_BUT_ONE", mean - 1e-6)
    capsys.readouterr()
    alarmed = run(config, tmp_path / "alarmed", mini_data, RUNTIME)
    [alarm] = alarmed.training["alarms"]
    assert f"mean cosine {mean:.4f}" in alarm and f"ALARM {alarm}" in capsys.readouterr().out
    monkeypatch.setattr(measures, "ALL_BUT_ONE", mean + 1e-6)
    assert not run(config, tmp_path / "calm", mini_data, RUNTIME).training["alarms"]
    monkeypatch.setattr(measures, "ALL_BUT_ONE", -1.0)
    capsys.readouterr()
    assert run(config.reference("untrained"), tmp_path / "untrained", mini_data, RUNTIME).training == {}
    assert "ALARM" not in capsys.readouterr().out


def test_a_sweep_scores_what_lacks_a_score(
    scored: tuple[Path, Record], tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Path(shutil.copytree(scored[0], tmp_path / "results"))
    folder = RunFolder(results / scored[1].name)
    sweep_file = tmp_path / "s.yaml"

    def asked(names: list[str], oods: tuple[str, ...] = ("mini-ood",)) -> tuple[str, str]:
        base = {**TINY, "eval": {**TINY["eval"], "ood": list(oods), "scores": names}}
        sweep_file.write_text(yamlfile.write({"base": base, "grid": {"seed": [0]}, "references": []}))
        [item] = plan(load_sweep(sweep_file), results, mini_data)
        return item.state, item.detail

    assert asked([]) == ("done", "") and asked(WANTED[::-1]) == ("done", "")
    assert asked([*WANTED, "cosine"]) == ("to score", "new: cosine")
    assert asked(WANTED, ("mini-ood", "mini-ood2"))[0] == "to score"
    assert observed_state(tiny(eval={"scores": ["eq6@0.1"]}), folder)[0] == "to score"
    # Fewer scores, and a new OOD set: those that are there are asked about it too, and none goes.
    monkeypatch.setattr("benchmark.training.trained.Trainer", lambda *a, **k: pytest.fail("trained twice"))
    record = run(tiny(eval={"ood": ["mini-ood", "mini-ood2"], "scores": ["knn-5"]}), results, mini_data, RUNTIME)
    assert set(record.scores) == {*scored[1].scores, "knn-5"}
    assert all(set(score.ood) == {"mini-ood", "mini-ood2"} for score in record.scores.values())
    assert asked(WANTED) == ("done", "")
