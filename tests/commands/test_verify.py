"""`bench verify`: a record is believed as far as the files beside it bear it out, and no further."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Said, run_bench
from sklearn.metrics import average_precision_score, roc_auc_score
from tiny_runs import TINY, write_mini_sets

from benchmark.data.images import write_set
from benchmark.evaluation.verify import verify
from benchmark.files import read_npz
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.store.folders import RunFolder, runs_below

SHIPPED = Path(__file__).parents[2] / "results" / "reference"
ONE = SHIPPED / "one-class" / "cifar10.ship-image-statistics-s0-3b92a50b"
OODS = ["mini-ood", "mini-ood2"]
METHODS: dict[str, dict[str, Any]] = {
    "dino": {"variant": "dino"},
    "rotation": {"variant": "none", "method": {"name": "rotation"}},
    "untrained": {"variant": "none", "method": {"name": "untrained"}},
    "image-statistics": {"variant": "none", "method": {"name": "image-statistics"}},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images `data` and finished runs of every method in `results`."""
    place = tmp_path_factory.mktemp("verified")
    write_mini_sets(place / "data")
    for changes in METHODS.values():
        less = {"train": {**TINY["train"], "epochs": 1}, "eval": {"ood": OODS, "knn": [5, 3]}}
        config: RunConfig = validate(RunConfig, {**TINY, **less, **changes}, "test")
        run(config, place / "results", place / "data", Runtime(device="cpu", threads=1))
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of `made`, to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "made"))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Said:
        said = run_bench(monkeypatch, capsys, "verify", *words)
        assert "Traceback" not in said.err + said.out
        return said

    return call


def the(place: Path, method: str) -> RunFolder:
    (path,) = (place / "results").glob(f"mini-{method}-s0-*")
    return RunFolder(path)


def edit(folder: RunFolder, change: Callable[[dict[str, Any]], object]) -> None:
    raw = json.loads(folder.record.read_text())
    change(raw)
    folder.record.write_text(json.dumps(raw))


def rewrite(file: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    arrays = read_npz(file)
    change(arrays)
    np.savez(file, **arrays)  # type: ignore[arg-type]


def plain(said: Said) -> str:
    """What was said, as if lines had no end."""
    return " ".join(said.out.split())


def problems(folder: RunFolder, data: Path) -> list[str]:
    """Of one folder, as lines."""
    (verdict,) = verify([folder], data)
    return [str(problem) for problem in verdict.problems]


# --- what is fine -------------------------------------------------------------------------------------------------


def test_fresh_runs_of_every_method_are_recomputed_from_scores_and_features(
    made: Path, bench: Callable[..., Said]
) -> None:
    said = bench(made / "results", "--data", made / "data", "--json", "found.json")
    assert said.code == 0 and "nothing differs" in said.out, said
    assert max(map(len, said.out.splitlines())) <= 80
    runs = json.loads(Path("found.json").read_text())["runs"]
    # Two OOD sets of eight numbers, sensitivity, passes, two k-NN accuracies, and what the method alone measures.
    extras = {"dino": 0, "rotation": 1, "untrained": 0, "image-statistics": 8}
    assert {Path(one["folder"]).name.rpartition("-s0")[0]: one["recomputed"] for one in runs} == {
        f"mini-{name}": 20 + extra for name, extra in extras.items()
    }
    assert {one["rescored"] for one in runs} == {40 + 24 + 20 + 20}
    assert all(one["images"] == {"the same": 4} for one in runs)
    assert "4 records: 89 numbers recomputed, 416 scores from features" in plain(said)
    assert "occupancy: the logits are not kept" in plain(said) and "k-NN" not in said.out


def test_without_features_or_images_it_says_what_cannot_be_checked(place: Path, bench: Callable[..., Said]) -> None:
    said = plain(bench(place / "results", "--data", place / "data", "--no-features"))
    assert "4 records: 72 numbers recomputed" in said and "from features: left out" in said
    said = plain(bench(place / "results"))  # no images here
    assert "4 records: 72 numbers recomputed, 416 scores from features" in said
    assert "17 numbers: k-NN accuracy and the method's own measures: the run's images are not on this machine" in said
    assert "0 the same, 0 others, 16 not here" in said and not Path("nothing").exists()
    for folder in runs_below(place / "results"):
        folder.features.unlink()
    said = plain(bench(place / "results", "--data", place / "data"))
    assert "17 numbers: scores, k-NN accuracy and the method's own measures from features: features.npz is not" in said


def test_other_images_here_are_said_and_no_fault_of_the_record(place: Path, bench: Callable[..., Said]) -> None:
    pixels = np.zeros((24, 32, 32, 3), np.uint8)
    write_set(place / "data", "mini", "test", pixels, np.arange(24) % 4, "black", replace=True)
    said = bench(place / "results", "--data", place / "data")
    assert said.code == 0 and "12 the same, 4 others, 0 not here" in plain(said), said
    assert "17 numbers: k-NN accuracy" in plain(said)


def test_every_committed_record_is_fine(bench: Callable[..., Said]) -> None:
    said = bench(SHIPPED)
    records = len(list(SHIPPED.rglob("record.json")))
    assert said.code == 0 and f"{records} records: " in said.out and "nothing differs" in said.out, said.out


def test_committed_numbers_by_scikit_learn() -> None:
    for path in (ONE, SHIPPED / "cpu" / "cifar10-dino-s0-0e7452ef"):
        record = json.loads((path / "record.json").read_text())
        scores = np.load(path / "scores.npz")
        mine = record["config"]["in_dist"]
        train, test = scores[f"{mine}/train"], scores[f"{mine}/test"]
        pairs = {name: (test, scores[f"{name}/test"]) for name in record["ood"]}
        for name, (inside, outside) in pairs.items():
            truth, values = np.repeat([0, 1], [len(inside), len(outside)]), np.concatenate([inside, outside])
            assert record["ood"][name]["auroc"] == pytest.approx(100 * roc_auc_score(truth, values))
            assert record["ood"][name]["aupr_ood"] == pytest.approx(100 * average_precision_score(truth, values))
            assert record["ood"][name]["aupr_id"] == pytest.approx(100 * average_precision_score(1 - truth, -values))
        truth, values = np.repeat([0, 1], [len(train), len(test)]), np.concatenate([train, test])
        assert record["sensitivity"] == pytest.approx(100 * roc_auc_score(truth, values))


def test_unfinished_and_running_runs_are_left_out(place: Path, bench: Callable[..., Said]) -> None:
    the(place, "untrained").record.unlink()
    edit(the(place, "dino"), lambda raw: raw["scores"]["eq6"].update(sensitivity=1.0))
    with the(place, "dino").hold():
        said = bench(place / "results")
    assert said.code == 0 and "1 runs, each of which has no record yet" in plain(said)
    assert "1 runs, each of which is worked on now" in plain(said) and "2 records: " in said.out


# --- what is not --------------------------------------------------------------------------------------------------


def test_an_auroc_edited_by_hand_is_found(place: Path, bench: Callable[..., Said]) -> None:
    folder = the(place, "dino")
    before = json.loads(folder.record.read_text())["scores"]["eq6"]["ood"]["mini-ood"]["auroc"]
    edit(folder, lambda raw: raw["scores"]["eq6"]["ood"]["mini-ood"].update(auroc=before + 0.01))
    said = bench(place / "results", "--json", "found.json")
    assert said.code == 1 and said.out.count("\n- ") == 1
    where = f"{folder.path.name}: - record.json: scores.eq6.ood.mini-ood.auroc"
    assert f"{where}: recorded {before + 0.01}, recomputed" in plain(said)
    assert "1 problems in 1 of them" in plain(said)
    assert max(len(line) for line in said.out.splitlines() if "/" not in line) <= 80  # paths are as long as they are
    (problem,) = [one for run in json.loads(Path("found.json").read_text())["runs"] for one in run["problems"]]
    assert problem["key"] == "scores.eq6.ood.mini-ood.auroc" and problem["recomputed"] == pytest.approx(before)


@pytest.mark.parametrize("metric", ["auroc", "aupr_ood", "aupr_id", "fpr95_id", "fpr95_ood", "n_id", "n_ood"])
def test_every_metric_is_recomputed(metric: str, tmp_path: Path) -> None:
    folder = RunFolder(Path(shutil.copytree(ONE, tmp_path / ONE.name)))

    def change(raw: dict[str, Any]) -> None:
        raw["ood"]["cifar10:not-ship"][metric] += 1 if metric.startswith("n_") else 1e-6

    edit(folder, change)
    (line,) = problems(folder, tmp_path)
    assert line.startswith(f"record.json: scores.image-statistics.ood.cifar10:not-ship.{metric}: recorded ")


def swap(first: str, second: str) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[first], arrays[second] = arrays[second], arrays[first]

    return change


def test_swapped_scores_are_found(place: Path, tmp_path: Path) -> None:
    folder = the(place, "dino")
    rewrite(folder.scores, swap("mini-ood/test:eq6", "mini-ood2/test:eq6"))  # as many of one as of the other
    folder.features.unlink()
    lines = problems(folder, tmp_path)
    assert any(".mini-ood.auroc: " in line for line in lines) and any(".mini-ood2.auroc: " in line for line in lines)
    folder = the(place, "untrained")
    rewrite(folder.scores, swap("mini/test:eq6", "mini/train:eq6"))
    lines = problems(folder, tmp_path)
    assert "scores.npz: mini/test:eq6: holds float32 (40,), not scores of 24 images" in lines


def test_scores_that_are_not_those_of_the_features_are_found(place: Path, tmp_path: Path) -> None:
    for method in METHODS:
        folder = the(place, method)
        key = f"mini-ood/test:{folder.read_config().method.own_score}"
        rewrite(folder.scores, lambda arrays, key=key: arrays[key].sort())  # every metric stays
        (line,) = problems(folder, tmp_path)
        assert line.startswith(f"scores.npz: {key}: ") and "not those of features.npz" in line


def test_accuracy_and_own_measures_are_recomputed(place: Path) -> None:
    folder = the(place, "rotation")
    edit(folder, lambda raw: raw["knn_accuracy"].update({"3": 99.0}))
    edit(folder, lambda raw: raw["extra"].update(rotation_accuracy=99.0))
    lines = problems(folder, place / "data")
    assert [line.split(": ")[1] for line in lines] == ["knn_accuracy.3", "extra.rotation_accuracy"]
    folder = the(place, "image-statistics")
    edit(folder, lambda raw: raw["extra"]["single_statistic_auroc"]["mini-ood2"].update(contrast=float("nan")))
    (line,) = problems(folder, place / "data")
    assert line.startswith("record.json: extra.single_statistic_auroc.mini-ood2.contrast: recorded nan, recomputed ")


def test_a_renamed_folder_is_found(place: Path, tmp_path: Path) -> None:
    folder = the(place, "dino")
    other = RunFolder(folder.path.rename(folder.path.with_name("mini-dti-s0-01234567")))
    assert problems(other, tmp_path) == [
        f"record.json: name: is {folder.name}, its folder is called mini-dti-s0-01234567"
    ]


def test_edited_settings_are_found_in_either_file(place: Path, tmp_path: Path) -> None:
    folder = the(place, "dino")
    folder.config.write_text(folder.config.read_text().replace("batch: 8", "batch: 16"))
    assert problems(folder, tmp_path) == ["config.yaml: train.batch: is 16, in record.json 8"]
    edit(folder, lambda raw: raw["config"]["train"].update(batch=16))  # now both alike
    keys = [line.split(": ")[1] for line in problems(folder, tmp_path)]
    assert keys == ["recipe_id", "run_id"]
    edit(folder, lambda raw: raw["config"]["train"].update(batch=0))
    (line,) = problems(folder, tmp_path)
    assert "config.train.batch" in line


def test_more_sets_asked_for_since_are_no_fault(place: Path, tmp_path: Path) -> None:
    folder = the(place, "dino")
    folder.config.write_text(folder.config.read_text().replace("[mini-ood, mini-ood2]", "[mini-ood, mini-ood2, x]"))
    assert "mini-ood2, x" in folder.config.read_text() and problems(folder, tmp_path) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda raw: raw["data"]["mini/train"].update(fingerprint="0" * 64), ["run_id: recorded"]),
        (lambda raw: raw.update(run_id="0" * 64), ["run_id: recorded", "name: recorded"]),
        (lambda raw: raw.update(recipe_id="0" * 64), ["recipe_id: recorded 000"]),
        (lambda raw: raw["scores"]["eq6"].update(sensitivity=float("nan")), ["record.json: not a record"]),
        (lambda raw: raw["data"]["mini-ood/test"].update(count=19), ["mini-ood/test:eq6: holds float32 (20,), not"]),
        (lambda raw: raw["data"].pop("mini-ood/test"), ["data.mini-ood/test: is missing"]),
        (lambda raw: raw["scores"]["eq6"]["ood"].pop("mini-ood"), ["scores.eq6.ood.mini-ood: is missing"]),
        (lambda raw: raw["config"]["eval"].update(ood=["mini-ood"]), [
            "data.mini-ood2/test: is no set of this run", "ood.mini-ood2: is no set of this run",
            "mini-ood2/test:eq6: stands for nothing in the record",
        ]),
        (lambda raw: raw.update(schema_version=99), ["schema_version: 99 was written by a newer release"]),
        (lambda raw: raw.update(further=1), ["record.json: not a record"]),
    ],
)  # fmt: skip
def test_what_else_can_be_wrong_with_a_record(
    change: Callable[[dict[str, Any]], object], found: list[str], place: Path, tmp_path: Path
) -> None:
    folder = the(place, "dino")
    folder.features.unlink()
    edit(folder, change)
    lines = problems(folder, tmp_path)
    assert len(lines) == len(found), lines
    assert all(text in line for text, line in zip(found, lines, strict=True)), lines


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("name", ["scores.npz", "features.npz", "record.json", "config.yaml"])
@pytest.mark.parametrize("spoil", [cut, lambda file: file.write_bytes(b""), lambda file: file.unlink()])
def test_files_cut_short_empty_or_missing_are_a_line_each(
    name: str, spoil: Callable[[Path], object], place: Path, bench: Callable[..., Said]
) -> None:
    spoil(the(place, "rotation").path / name)
    said = bench(place / "results")
    gone = not (the(place, "rotation").path / name).exists()
    if gone and name in ("features.npz", "record.json"):  # committed records have no features, begun runs no record
        assert said.code == 0
        return
    assert said.code == 1 and said.out.count("\n- ") == 1 and f"- {name}:" in said.out, said.out
    if name == "scores.npz":
        assert "17 numbers: metrics: their scores are missing or broken" in plain(said)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda arrays: arrays.pop("mini/test:eq6"), "mini/test:eq6: is missing"),
        (lambda arrays: arrays.update({"x/more:eq6": np.zeros(3)}), "x/more:eq6: stands for nothing in the record"),
        (lambda arrays: arrays["mini/test:eq6"].fill(np.nan), "mini/test:eq6: 24 of 24 scores are not finite"),
        (lambda arrays: arrays.update({"mini/test:eq6": np.array(["x"] * 24)}), "mini/test:eq6: holds <U1 (24,), not"),
    ],
)
def test_arrays_that_are_no_scores_of_the_run(
    change: Callable[[dict[str, np.ndarray]], object], found: str, place: Path, tmp_path: Path
) -> None:
    folder = the(place, "untrained")
    rewrite(folder.scores, change)
    (line,) = problems(folder, tmp_path)
    assert line.startswith(f"scores.npz: {found}")


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("mini/test:logits"),
        lambda arrays: arrays.pop("mini-ood/test"),
        lambda arrays: arrays.update({"mini/test": arrays["mini/train"]}),
        lambda arrays: arrays["mini/test:logits"].fill(np.inf),
        lambda arrays: arrays.update({"mini/test": np.array(1.0)}),
        lambda arrays: arrays.update({"mini/test:logits": arrays["mini/test:logits"][:, :, :2]}),
    ],
)
def test_features_that_cannot_be_scored_are_a_line(
    change: Callable[[dict[str, np.ndarray]], object], place: Path, tmp_path: Path
) -> None:
    folder = the(place, "rotation")
    rewrite(folder.features, change)
    (line,) = problems(folder, tmp_path)
    assert line.startswith("features.npz: ")


@pytest.mark.parametrize("words", [["nowhere"], ["."]])
def test_a_folder_without_runs_is_one_line(words: list[str], bench: Callable[..., Said]) -> None:
    said = bench(*words)
    assert said.code == 2 and len(said.err.splitlines()) == 1 and words[0] in said.err


# --- further scores, and how long it takes ------------------------------------------------------------------------


@pytest.fixture
def scored(place: Path) -> RunFolder:
    """The run of DINO, asked for further scores since."""
    folder = the(place, "dino")
    asked = folder.read_config().model_dump(mode="json")
    asked["eval"]["scores"] = ["knn-3", "eq6-rotations+energy-gap"]
    run(validate(RunConfig, asked, "test"), place / "results", place / "data", Runtime(device="cpu", threads=1))
    return folder


def test_further_scores_are_verified_alike(scored: RunFolder, place: Path) -> None:
    assert problems(scored, place / "data") == []
    for name in ("knn-3", "eq6-rotations+energy-gap"):
        before = json.loads(scored.record.read_text())
        edit(scored, lambda raw, name=name: raw["scores"][name]["ood"]["mini-ood"].update(auroc=99.0))  # type: ignore
        edit(scored, lambda raw, name=name: raw["scores"][name].update(sensitivity=1.0, passes=2))  # type: ignore
        assert [line.split(": ")[1] for line in problems(scored, place / "data")] == [
            f"scores.{name}.ood.mini-ood.auroc", f"scores.{name}.sensitivity", f"scores.{name}.passes",
        ]  # fmt: skip
        edit(scored, lambda raw, before=before: raw.update(before))  # type: ignore[misc]


def test_further_scores_are_recomputed_from_features(scored: RunFolder, place: Path) -> None:
    key = "mini/test:eq6-rotations+energy-gap"
    rewrite(scored.scores, lambda arrays: arrays.update({key: arrays[key] + np.float32(0.01)}))
    assert any(
        line.startswith(f"scores.npz: {key}: 24 of 24 scores are not") for line in problems(scored, place / "data")
    )
    edit(scored, lambda raw: raw["scores"].pop("knn-3"))
    assert "scores.npz: mini-ood/test:knn-3: stands for nothing in the record" in problems(scored, place / "data")


def test_a_thousand_records_take_seconds(tmp_path: Path) -> None:
    folder = RunFolder(SHIPPED / "cpu" / "cifar10-image-statistics-s0-7177d610")
    begun = time.process_time()
    verdicts = list(verify([folder] * 1000, tmp_path))
    assert {one.verified for one in verdicts} == {58} and time.process_time() - begun < 20
