"""One class of a set through the commands: trained, scored, reported, exported, listed, cancelled by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Said, run_bench
from safetensors.torch import load_file
from tiny_runs import TINY

from benchmark.data import prepare
from benchmark.data.images import write_set
from benchmark.detector.artifact import BANK
from benchmark.errors import BenchError
from benchmark.plan import yamlfile

TITLES = ["Red fox", "owl", "toad", "carp"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("benchmark.launch.slurm.is_available", lambda: False)
    rng = np.random.default_rng(0)
    for split, count in (("train", 48), ("test", 24)):
        pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        write_set(tmp_path / "data", "zoo", split, pixels, np.arange(count) % 4, "random", TITLES)
    return lambda *words: run_bench(monkeypatch, capsys, *words)


def write(path: Path, **keys: object) -> Path:
    base = {**TINY, "variant": "dino", "in_dist": "zoo:red-fox", "eval": {"ood": ["other-classes"], "knn": [5]}}
    path.write_text(yamlfile.write({"base": base, "resources": {"gpus": 0, "cpus": 1}, **keys}))
    return path


def test_from_a_sweep_to_a_report_and_a_detector(bench: Callable[..., Said], tmp_path: Path) -> None:
    path = write(tmp_path / "s.yaml", grid={"in_dist": ["zoo:red-fox", "zoo:not-owl"]}, references=["image-statistics"])
    said = bench("sweep", path, "--jobs", "2")
    assert said.code == 0, said
    folders = {folder.name.rpartition("-")[0]: folder for folder in (tmp_path / "results").iterdir() if folder.is_dir()}
    assert sorted(folders) == ["zoo.not-owl-dino-s0", "zoo.not-owl-image-statistics-s0", "zoo.red-fox-dino-s0",
                               "zoo.red-fox-image-statistics-s0"]  # fmt: skip
    fox, rest = (json.loads((folders[name] / "record.json").read_text())
                 for name in ("zoo.red-fox-dino-s0", "zoo.not-owl-dino-s0"))  # fmt: skip
    of_fox, of_rest = (record["scores"]["eq6"]["ood"] for record in (fox, rest))
    assert list(of_fox) == ["zoo:not-red-fox"] and list(of_rest) == ["zoo:owl"]
    assert (of_fox["zoo:not-red-fox"]["n_id"], of_fox["zoo:not-red-fox"]["n_ood"]) == (6, 18)
    assert fox["knn_accuracy"] == {"5": None} and 0 <= rest["knn_accuracy"]["5"] <= 100
    assert {key: seen["count"] for key, seen in rest["data"].items()} == {
        "zoo:not-owl/train": 36, "zoo:not-owl/test": 18, "zoo:owl/test": 6,
    }  # fmt: skip

    again = bench("sweep", path, "--dry-run")
    assert "4 runs: 4 done" in again.out and "4 done" in bench("status", path).out
    assert bench("status", "--only", "zoo.red-fox-*").out.count("zoo.red-fox-") == 2
    assert "0 of 1 runs cancelled" in bench("cancel", "zoo.red-fox-dino-*").out
    report = bench("report", "--all", "--page", "--sweep", path)
    assert report.code == 0, report
    rest_table, fox_table = (
        (tmp_path / f"reports/s/{name}.md").read_text() for name in ("table2", "table-one-class")
    )  # one class against all others has a table of its own
    assert "AUROC in % of zoo not owl (in-distribution)" in rest_table and "red fox" not in rest_table
    assert "zoo owl" in rest_table and "k-NN accuracy" in rest_table and "near average (1)" in rest_table
    assert "One-class protocol on zoo" in fox_table and "red-fox" in fox_table and "k-NN" not in fox_table
    page = (tmp_path / "reports/s/page.html").read_text()
    assert "zoo not red fox" in page and "not on this machine" not in page and "not those that the run saw" not in page

    exported = bench("export", folders["zoo.red-fox-dino-s0"].name, "--to", "det", "--false-alarms", "50%")
    assert exported.code == 0 and "features of 6 ID test images as the run's" in exported.out, exported
    settings = json.loads((tmp_path / "det/detector.json").read_text())
    assert settings["in_dist"] == "zoo:red-fox" and settings["figures"]["knn_accuracy"] == {"5": None}
    bank = load_file(tmp_path / "det" / BANK)
    assert bank["index"].tolist() == list(range(0, 48, 4))  # places in the set's own split, which is what is on disk


def test_too_few_images_for_a_batch_names_the_class(bench: Callable[..., Said], tmp_path: Path) -> None:
    run = {**TINY, "variant": "dino", "in_dist": "zoo:owl", "train": {"epochs": 1, "batch": 16, "warmup_epochs": 0.0},
           "eval": {"knn": [5]}}  # fmt: skip
    (tmp_path / "one.yaml").write_text(yamlfile.write(run))
    said = bench("run", "one.yaml", "--device", "cpu")
    assert said.code == 2 and "train.batch: 16 is more than the 12 training images of zoo:owl" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("in_dist=zoo:fox", ["s.yaml: in_dist: unknown class of zoo 'fox'", "allowed: carp, owl, red-fox, toad"]),
        ("in_dist=zoo", ["s.yaml: ", "eval.ood: 'other-classes' needs a class as in_dist"]),
        (
            "eval.ood=[zoo]",
            ["--set eval.ood=['zoo']: eval.ood: 'zoo' holds images of in_dist 'zoo:red-fox'", "zoo:not-red-fox"],
        ),
        ("eval.ood=[a:b:c]", ["--set eval.ood=['a:b:c']: eval.ood: ", "SET:CLASS"]),
    ],
)
def test_mistakes_are_one_line(bench: Callable[..., Said], tmp_path: Path, setting: str, parts: list[str]) -> None:
    said = bench("sweep", write(tmp_path / "s.yaml", grid={"variant": ["dino"]}), "--set", setting)
    assert said.code == 2 and len(said.err.splitlines()) == 1 and not (tmp_path / "results").exists()
    assert all(part in said.err for part in parts), said.err


def test_missing_classes_are_listed_and_fetched_as_their_set(
    bench: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "s.yaml", grid={"in_dist": ["cifar10:ship", "cifar10:cat"]}, references=[])
    said = bench("sweep", path, "--dry-run")
    assert [line.partition(": ")[0] for line in said.out.splitlines() if line.startswith("- ")] == [
        "- cifar10/train", "- cifar10/test",
    ]  # fmt: skip
    refused = bench("sweep", path)
    assert refused.code == 2 and "2 runs have no images: cifar10/train, cifar10/test; get them" in refused.err
    asked: list[str] = []

    def fetched(name: str, root: Path, source: Path | None, size: int) -> None:
        asked.append(name)
        raise BenchError("its host does not answer")

    monkeypatch.setattr(prepare, "prepare", fetched)
    said = bench("data", "prepare", "--for", path)
    assert asked == ["cifar10"] and said.code == 1 and "2 image sets of" in said.out


def test_every_class_is_found_in_the_folder_that_the_command_names(
    bench: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "elsewhere"))
    path = write(tmp_path / "s.yaml", references=["image-statistics"], grid={"in_dist": ["zoo:*"]},
                 grids=[{"base": {"variant": "none", "method": {"name": "rotation"}}}, {}])  # fmt: skip
    for words in (["sweep", path, "--dry-run"], ["status", path]):
        said = bench(*words, "--data", tmp_path / "data")
        assert said.code == 0 and "12 runs: 12 to do" in said.out, said
        lost = bench(*words)
        assert lost.code == 2 and "grid.in_dist: 'zoo:*': zoo/train is not in" in lost.err, lost
        assert len(lost.err.splitlines()) == 1
    assert "all images of" in bench("data", "prepare", "--for", path, "--data", tmp_path / "data").out
    for words in (["report", "--sweep", path], ["report", "--page", "--sweep", path], ["cancel", path]):
        assert "not known" not in bench(*words, "--data", tmp_path / "data").err
        assert "not known" in bench(*words).err
    timed: list[str] = []
    monkeypatch.setattr("benchmark.perf.step.perf_step", lambda config, *_, **__: timed.append(config.in_dist) or {})
    monkeypatch.setattr("benchmark.perf.step.rows", lambda result: [])
    for words, found in ((["perf", "step", path], ""), (["recommend", path], f"no trained runs of {path} yet")):
        assert found in bench(*words, "--data", tmp_path / "data").err
        assert "zoo/train is not in" in bench(*words).err
    assert timed == ["zoo:red-fox"]


def test_the_list_says_that_classes_are_sets(bench: Callable[..., Said]) -> None:
    said = bench("data", "list")
    [zoo, _] = [line.split() for line in said.out.splitlines() if line.split()[:1] == ["zoo"]]
    assert zoo[-1] == "4" and "cifar10:automobile" in said.out and "zoo:owl" not in said.out
