"""Networks and features from elsewhere: the numbers, the record, and one line for what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import run_bench
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

import benchmark
from benchmark.data.images import load
from benchmark.detection.scores import kept_features
from benchmark.errors import BenchError
from benchmark.evaluation.elsewhere import ColumnOfOthers, import_features
from benchmark.evaluation.verify import verify
from benchmark.plan import sweep as sweeps
from benchmark.plan.training_data import training_data
from benchmark.report.build import report
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.store.folders import RunFolder
from benchmark.store.measurements import measurements

WIDTH, CLASSES = 6, 4


class Small(nn.Module):
    """Features of a plain convolution, and logits; with dropout, which evaluation must not draw."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.drop, self.head = nn.Conv2d(3, WIDTH, 5, 4), nn.Dropout(0.5), nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert images.dtype == torch.float32 and float(images.min()) >= 0 and float(images.max()) <= 1
        features = self.drop(self.first(images).relu().mean((2, 3)))
        return features, self.head(features)


def told(**changes: Any) -> ColumnOfOthers:
    return ColumnOfOthers(**{"in_dist": "mini", "column": "mine", "training_data": "labels", **changes})


def answers(data: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    """The network's features and logits of a stored set, by torch alone."""
    pixels = torch.from_numpy(np.array(load(data, *key.split("/")).images)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        features, logits = Small().eval()(pixels)
    return features.numpy(), logits.numpy()


def write(folder: Path, data: Path, **changes: Any) -> Path:
    """A folder of features, as of `Small`; changes: by the file, arrays to lay over its own (None: leave out)."""
    folder.mkdir(exist_ok=True)
    for name, key in (("train", "mini/train"), ("test", "mini/test"), ("mini-ood", "mini-ood/test")):
        features, logits = answers(data, key)
        arrays = {"features": features, "logits": logits, **changes.get(name.replace("-", "_"), {})}
        np.savez(folder / f"{name}.npz", **{key: rows for key, rows in arrays.items() if rows is not None})
    return folder


def eq6(data: Path) -> dict[str, np.ndarray]:
    """Eq. 6 written out: minus the log of the mean of exp(cosine / 0.04) over the training images."""
    unit = {key: F.normalize(kept_features(torch.from_numpy(answers(data, key)[0])).double(), dim=1).numpy()
            for key in ("mini/train", "mini/test", "mini-ood/test")}  # fmt: skip
    return {key: -np.log(np.exp(rows @ unit["mini/train"].T / 0.04).mean(1)) for key, rows in unit.items()}


def test_a_network_of_ones_own_is_scored_as_written_out(mini_data: Path, tmp_path: Path) -> None:
    network = Small().train()
    scores = ["msp", "knn-2", "negative-norm"]
    record = benchmark.evaluate(network, in_dist="mini", ood=["mini-ood"], scores=scores, training_data="labels",
                                column="mine", data=mini_data, results=tmp_path, device="cpu")  # fmt: skip
    assert list(record.scores) == ["eq6", "msp", "knn-2", "negative-norm"] and not network.training
    by_hand = eq6(mini_data)
    truth = [0] * len(by_hand["mini/test"]) + [1] * len(by_hand["mini-ood/test"])
    expected = 100 * roc_auc_score(truth, np.concatenate([by_hand["mini/test"], by_hand["mini-ood/test"]]))
    assert record.own_score.ood["mini-ood"].auroc == pytest.approx(expected, abs=1e-6)
    probability = [torch.from_numpy(answers(mini_data, key)[1]).softmax(1).amax(1).numpy()
                   for key in ("mini/test", "mini-ood/test")]  # fmt: skip
    msp = 100 * roc_auc_score(truth, -np.concatenate(probability))
    assert record.scores["msp"].ood["mini-ood"].auroc == pytest.approx(msp, abs=1e-6)
    assert record.name.startswith("mini-mine-s0-") and training_data(record.run_config) == "labels"
    assert record.data["mini/train"].fingerprint == load(mini_data, "mini", "train").fingerprint


def test_images_come_in_the_size_that_is_asked_for(mini_data: Path, tmp_path: Path) -> None:
    sizes = set()

    def network(images: Tensor) -> Tensor:
        sizes.add(images.shape[1:])
        return images.mean((2, 3)) + 1

    benchmark.evaluate(network, in_dist="mini", ood=["mini-ood"], training_data="scratch", size=48,
                       data=mini_data, results=tmp_path, device="cpu")  # fmt: skip
    assert sizes == {(3, 48, 48)}


def test_features_give_what_the_network_gives_and_are_held_against(mini_data: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "f", mini_data)
    made = import_features(folder, told(scores=["msp"]), mini_data, tmp_path / "r")
    record = benchmark.evaluate(Small(), in_dist="mini", ood=["mini-ood"], scores=["msp"], training_data="labels",
                                column="mine", data=mini_data, results=tmp_path / "r2", device="cpu")  # fmt: skip
    for score in ("eq6", "msp"):
        assert made.record.scores[score].ood == record.scores[score].ood
    (verdict,) = verify([made.folder], mini_data)
    assert verdict.problems == [] and verdict.rescored == 2 * (40 + 24 + 20)
    assert verdict.images == {"the same": 3}
    frame = measurements(tmp_path / "r")
    assert set(frame["training_data"]) == {"labels"} and set(frame["title"]) == {"mine"}
    planned = sweeps.load(made.sweep)
    assert [one.recipe for one in planned.runs] == [made.record.recipe_id]


def test_bringing_the_same_again_changes_nothing_and_other_numbers_need_another_seed_or_column(
    mini_data: Path, tmp_path: Path
) -> None:
    folder = write(tmp_path / "f", mini_data)
    first = import_features(folder, told(), mini_data, tmp_path / "r")
    again = import_features(folder, told(), mini_data, tmp_path / "r")
    assert again.record == first.record
    features = answers(mini_data, "mini-ood/test")[0]
    features[0, 0] += 0.25
    write(folder, mini_data, mini_ood={"features": features})
    with pytest.raises(
        BenchError, match=f"{first.folder.path}: has other features of column 'mine', mini, seed 0; give"
    ):
        import_features(folder, told(), mini_data, tmp_path / "r")
    assert [path.name for path in (tmp_path / "r").iterdir()] == [first.record.name]
    for changes in ({"seed": 1}, {"column": "mine-too"}):
        other = import_features(folder, told(**changes), mini_data, tmp_path / "r")
        assert other.record.recipe_id != first.record.recipe_id


def test_several_seeds_are_one_column_and_one_report(mini_data: Path, tmp_path: Path) -> None:
    features, files, found = answers(mini_data, "mini-ood/test")[0], [], []
    for seed in range(3):
        folder = write(tmp_path / f"f{seed}", mini_data, mini_ood={"features": np.roll(features, seed, axis=1)})
        made = import_features(folder, told(seed=seed), mini_data, tmp_path / "r")
        files.append(made.sweep)
        found.append(made.record.own_score.ood["mini-ood"].auroc)
    assert len(set(found)) > 1
    column = benchmark.table(measurements(tmp_path / "r"), "2")["mine"]
    assert column.loc["mini-ood"] == pytest.approx(np.mean(found))
    written = report(tmp_path / "r", tmp_path / "reports", tables=["2"], figures=[], claims=False, sweep=files)
    assert {path.parent for path in written} == {tmp_path / "reports" / "mine"}


def test_sets_without_images_here_have_the_labels_of_the_files(mini_data: Path, tmp_path: Path) -> None:
    rows = {"train": 40, "test": 24}
    labels = {name: {"labels": np.arange(count) % 4} for name, count in rows.items()}
    folder = write(tmp_path / "f", mini_data, **labels)
    made = import_features(folder, told(in_dist="unheard-of"), tmp_path / "nothing", tmp_path / "r")
    assert made.record.data["unheard-of/train"].count == 40
    assert made.record.knn_accuracy["20"] is not None and made.record.data["unheard-of/test"].shared == {}
    (verdict,) = verify([made.folder], tmp_path / "nothing")
    assert verdict.problems == [] and verdict.images["none"] == 3
    bare = import_features(
        write(tmp_path / "g", mini_data), told(in_dist="unheard-of"), tmp_path / "no", tmp_path / "r2"
    )
    assert bare.record.knn_accuracy == {"20": None, "10": None}


def test_few_training_images_are_all_neighbours(mini_data: Path, tmp_path: Path) -> None:
    features, logits = answers(mini_data, "mini/train")
    few = {"features": features[:15], "logits": logits[:15], "labels": np.arange(15) % 4}
    folder = write(tmp_path / "f", mini_data, train=few, test={"labels": np.arange(24) % 4})
    made = import_features(folder, told(in_dist="unheard-of"), tmp_path / "nothing", tmp_path / "r")
    assert list(made.record.knn_accuracy) == ["15", "10"] and None not in made.record.knn_accuracy.values()


def test_such_a_run_cannot_be_made_again(mini_data: Path, tmp_path: Path) -> None:
    made = import_features(write(tmp_path / "f", mini_data), told(), mini_data, tmp_path / "r")
    with pytest.raises(BenchError, match="its features were made elsewhere and can be scored, not made again"):
        run(made.record.run_config, tmp_path / "r2", mini_data, Runtime(device="cpu", threads=1))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"test": {"features": np.full((24, WIDTH), np.nan, np.float32)}},
            "features: mini/test has NaN or infinity in 24 of 24 rows"),
    "widths": ({"mini_ood": {"features": np.ones((20, 5), np.float32)}},
               "features: mini-ood/test has 5 numbers a row, mini/train has 6"),
    "logits' widths": ({"train": {"logits": np.ones((40, 9), np.float32)}},
                       "logits: mini-ood/test has 4 numbers a row, mini/train has 9"),
    "logits of some": ({"train": {"logits": None}}, "logits: mini-ood/test has some, mini/train has none"),
    "rows": ({"test": {"features": np.ones((23, WIDTH), np.float32), "logits": np.ones((23, 4), np.float32)}},
             "test.npz: has 23 rows, and mini/test has 24 images here"),
    "rows of logits": ({"test": {"logits": np.ones((23, 4), np.float32)}}, "test.npz: logits: float32 (23, 4) given"),
    "flat": ({"test": {"features": np.ones(24, np.float32)}}, "test.npz: features: float32 (24,) given"),
    "whole": ({"test": {"features": np.ones((24, WIDTH), np.int64)}}, "test.npz: features: int64"),
    "none": ({"test": {"features": np.ones((0, WIDTH), np.float32), "logits": None}},
             "test.npz: features: float32 (0, "),
    "labels": ({"test": {"labels": np.zeros(24)}}, "test.npz: labels: float64 (24,) given, allowed are whole numbers"),
    "other labels": ({"test": {"labels": np.arange(24) % 3}}, "test.npz: its labels are not those of mini/test here"),
    "array": ({"test": {"feature": np.ones(3)}}, "test.npz: unknown array 'feature' (did you mean 'features'?)"),
    "no features": ({"test": {"features": None}}, "test.npz: has no array 'features'"),
    "pickle": ({"test": {"labels": np.array([{}], dtype=object)}}, "test.npz: not a readable .npz of numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BAD))
def test_bad_files_are_one_line_and_leave_nothing(name: str, mini_data: Path, tmp_path: Path) -> None:
    changes, says = BAD[name]
    folder = write(tmp_path / "f", mini_data, **changes)
    with pytest.raises(BenchError) as caught:
        import_features(folder, told(), mini_data, tmp_path / "r")
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"column": "frozen"}, "column 'frozen': is what Frozen is called"),
        ({"column": "rot-imgn"}, "column 'rot-imgn': is what Rot. ImgN is called"),
        ({"column": "My net"}, "method.column"),
        ({"training_data": "pretrained"}, "training data: unknown word 'pretrained' (did you mean 'pretrained (sup"),
        ({"scores": ["eq6-rotations"]}, "'eq6-rotations' needs rotations, which 'features' does not have"),
    ],
)
def test_what_is_said_must_fit(changes: dict[str, Any], says: str, mini_data: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError) as caught:
        import_features(write(tmp_path / "f", mini_data), told(**changes), mini_data, tmp_path / "r")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_answers_that_are_no_features_are_told(mini_data: Path, tmp_path: Path) -> None:
    for answer, says in (
        (lambda images: images, r"features of 40 images are shape \(40, 3, 32, 32\), not one row per image"),
        (lambda images: {"x": images}, "features of 40 images are dict"),
        (lambda images: (images.mean((2, 3)), images), "the network's logits of 40 images are shape"),
        (lambda images: images.mean((2, 3))[:1], r"are shape \(1, 3\)"),
    ):
        with pytest.raises(BenchError, match=says):
            benchmark.evaluate(answer, in_dist="mini", ood=["mini-ood"], training_data="scratch", data=mini_data,
                               results=tmp_path / "r", device="cpu")  # type: ignore[arg-type]  # fmt: skip


def test_the_command_says_what_it_found_and_where_it_is(
    mini_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "f", mini_data)
    given = ["import-features", folder, "--in-dist", "mini", "--training-data", "labels", "--column", "mine",
             "--score", "msp", "--data", mini_data, "--results", tmp_path / "r"]  # fmt: skip
    said = run_bench(monkeypatch, capsys, *given)
    assert said.code == 0
    (kept,) = (tmp_path / "r").iterdir()
    record = RunFolder(kept).read_record()
    assert record is not None
    assert f"{record.scores['msp'].ood['mini-ood'].auroc:.2f}" in said.out
    assert str(kept) in said.out.replace("\n", "") and "training data: labels" in said.out
    (folder / "train.npz").unlink()
    said = run_bench(monkeypatch, capsys, *given)
    assert said.code == 2 and "has no train.npz" in said.err


def test_a_set_by_another_name_is_another_run_and_a_further_score_needs_no_images(
    mini_data: Path, tmp_path: Path
) -> None:
    """Of images that are not stored here: names are part of what was brought, scores are added to the same run."""
    folder, results, nowhere = write(tmp_path / "f", mini_data), tmp_path / "r", tmp_path / "no data"
    first = import_features(folder, told(in_dist="mine-alone"), nowhere, results)
    more = import_features(folder, told(in_dist="mine-alone", scores=["knn-2"]), nowhere, results)
    assert more.folder.path == first.folder.path and list(more.record.scores) == ["eq6", "knn-2"]
    less = import_features(folder, told(in_dist="mine-alone"), nowhere, results)
    assert list(less.record.scores) == ["eq6", "knn-2"]
    (folder / "mini-ood.npz").rename(folder / "mini-zoo.npz")  # in the same place of their order
    with pytest.raises(BenchError, match="has other features of column 'mine'"):
        import_features(folder, told(in_dist="mine-alone"), nowhere, results)
    (verdict,) = verify([first.folder], nowhere)
    assert verdict.problems == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"in_dist": "../x"}, "image set name '../x'"), ({"in_dist": "mi/ne"}, "image set name 'mi/ne'"),
     ({"column": "config"}, "column 'config'")],
)  # fmt: skip
def test_names_that_are_no_file_names_are_one_line(
    changes: dict[str, Any], says: str, mini_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(BenchError, match=says):
        import_features(write(tmp_path / "f", mini_data), told(**changes), tmp_path / "none", tmp_path / "r")
    assert [path.name for path in tmp_path.iterdir() if path.name != "data0"] == ["f"]
