"""All records as one table, and the report's tables as DataFrames: the Python side."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from report_fakes import config, record_of, with_scores, write_runs, write_sweep

import benchmark
from benchmark.errors import BenchError
from benchmark.plan.config import RunConfig
from benchmark.report.grouping import group_runs
from benchmark.report.tables.auroc import table2
from benchmark.store.measurements import METRICS, frame_of
from benchmark.store.records import IntermediateMeasures, OODMetrics, Record, ScoreInRecord

REPOSITORY = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").exists())
EXAMPLES = sorted((REPOSITORY / "reports" / "examples").glob("*.py"))
MEASURES = {"aupr_ood": 1.5, "aupr_id": 2.5, "fpr95_id": 3.5, "fpr95_ood": 4.5, "n_id": 9, "n_ood": 7}


def full(one: RunConfig) -> Record:
    """A record with every kind of number."""
    ood = {"cifar100": OODMetrics(auroc=81.0, **MEASURES), "svhn": OODMetrics(auroc=92.0, aupr_oe=5.5, **MEASURES)}
    further = {name: m.model_copy(update={"auroc": m.auroc - 10}) for name, m in ood.items()}
    record = record_of(
        one, ood=ood, sensitivity=51.0, knn_accuracy={"20": 70.0, "10": None}, extra={"accuracy": 88.0, "how": "text"},
        training={"alarms": ["x"], "losses": {"loss": 0.5}}, timings={"train": 3.0, "score": 1.0},
        trajectory=[IntermediateMeasures(epoch=5, knn_accuracy={"20": 60.0}, ood={"svhn": 75.0}, sensitivity=50.5,
                         occupancy={"paper": 12.0})],
    )  # fmt: skip
    return with_scores(record, {"knn-5": ScoreInRecord(ood=further, sensitivity=49.0, passes=4)})


def at(frame: pd.DataFrame, **where: object) -> pd.DataFrame:
    for column, value in where.items():
        frame = frame[frame[column].isna()] if value is None else frame[frame[column] == value]
    return frame


def test_every_number_of_a_record_is_one_row() -> None:
    one = config(variant="rot-imgn", seed=2, eval={"ood": ["cifar100", "svhn"], "scores": ["knn-5"]})
    frame = frame_of([full(one)], ["here/run"])
    (row,) = at(frame, metric="auroc", ood="svhn", score="knn-5").to_dict("records")
    assert (row["value"], row["own"], row["passes"], row["n_id"], row["n_ood"]) == (82.0, False, 4, 9, 7)
    (row,) = at(frame, metric="auroc", ood="cifar100", own=True, epoch=None).to_dict("records")
    assert (row["value"], row["score"], row["passes"]) == (81.0, "eq6", 1)
    said = {"folder": "here/run", "label": "rot-imgn", "title": "Rot. ImgN", "training_data": "aux", "seed": 2,
            "in_dist": "cifar10", "method.name": "dino", "images.train": 50, "seconds": 4.0, "hardware": "one GPU",
            "packages.torch": "2.11", "commit": "0123456789abcdef", "eval.ood": "cifar100, svhn"}  # fmt: skip
    assert {key: row[key] for key in said} == said
    assert row["train.lr"] == one.train.lr and row["views.global_size"] == one.views.global_size
    end = frame[frame["epoch"].isna()]
    plain = {"accuracy": 88.0, "knn_accuracy_20": 70.0, "training.losses.loss": 0.5, "seconds.train": 3.0,
             "seconds.score": 1.0, "occupied_classes": 4096.0}  # fmt: skip
    for metric, value in plain.items():
        (of,) = at(end, metric=metric).to_dict("records")
        assert of["value"] == value and pd.isna(of["score"]) and pd.isna(of["ood"]) and not of["own"], metric
    assert at(end, metric="sensitivity").set_index("score")["value"].to_dict() == {"eq6": 51.0, "knn-5": 49.0}
    assert at(end, metric="aupr_oe")["ood"].tolist() == ["svhn", "svhn"]  # an older metric is not there
    # Two scores of two sets with all metrics, less two that are not there; two sensitivities; and the plain ones.
    occupied, trajectory = 3, 4
    assert len(frame) == 2 * 2 * len(METRICS) - 2 + 2 + len(plain) - 1 + occupied + trajectory
    on_the_way = frame[frame["epoch"] == 5].set_index("metric")
    assert on_the_way["value"].to_dict() == {
        "sensitivity": 50.5, "auroc": 75.0, "knn_accuracy_20": 60.0, "occupied_paper": 12.0,
    }  # fmt: skip
    assert on_the_way.loc["auroc", "score"] == "eq6" and on_the_way.loc["auroc", "ood"] == "svhn"


def test_runs_keep_their_own_numbers_and_settings() -> None:
    configs = [config(variant=v, seed=s) for v in ("dino", "imgn") for s in (0, 1)]
    configs.append(configs[0].reference("image-statistics"))
    frame = frame_of([record_of(one, lambda c, ood: 60.0 + c.seed) for one in configs], list("abcde"))
    values = at(frame, metric="auroc", ood="svhn").set_index("folder")
    assert values["value"].to_dict() == {"a": 60.0, "b": 61.0, "c": 60.0, "d": 61.0, "e": 60.0}
    assert values["label"].tolist() == ["dino", "dino", "imgn", "imgn", "image-statistics"]
    assert values["method.classes"].isna().tolist() == [False] * 4 + [True]
    assert frame["folder"].is_monotonic_increasing if frame["folder"].dtype != "category" else True
    assert values["score"].tolist()[-1] == "image-statistics" and values["own"].all()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    sweep = write_sweep(tmp_path, variant=["dino", "rot-imgn"], seed=[0, 1])
    write_runs(tmp_path / "results" / "deep", sweep)
    return tmp_path


def test_from_a_folder_and_what_is_wrong_with_one(place: Path) -> None:
    frame = benchmark.measurements(place / "results")  # runs lie below it
    assert frame["name"].nunique() == 6 and frame["folder"].nunique() == 6  # with two references a seed... of seed 0
    with pytest.raises(BenchError, match="no such folder"):
        benchmark.measurements(place / "nothing")
    for file in (place / "results").rglob("record.json"):
        file.unlink()
    with pytest.raises(BenchError, match="none is finished"):
        benchmark.measurements(str(place / "results"))


def test_a_table_is_the_printed_one(place: Path) -> None:
    frame = benchmark.measurements(place / "results")
    made = benchmark.table(frame, "2")
    records = [Record.model_validate(json.loads(file.read_text())) for file in (place / "results").rglob("record.json")]
    (printed,) = table2(group_runs([r.run_config for r in records], records)[0])
    for row in (row for row in printed.rows if row.cells):
        for key, column in printed.columns.items():
            ours, title = row.cells[key].ours, column.heading
            assert (made.loc[row.title, title] == ours.mean) if ours else pd.isna(made.loc[row.title, title])
    assert list(made.columns) == [column.heading for column in printed.columns.values()]
    both = benchmark.table(frame, "2", published=True)
    assert (
        both.loc["SVHN", ("DINO", "published")] == 99.38
        and both.loc["SVHN", ("DINO", "ours")] == made.loc["SVHN", "DINO"]
    )
    assert "SVHN" in made.to_latex() and "SVHN" in made.style.to_html()
    first = benchmark.table(frame, "1")
    assert first.index.names == ["ID", "OOD"] and first.loc[("CIFAR10", "SVHN"), "DINO"] == made.loc["SVHN", "DINO"]
    some = benchmark.table(frame[frame["seed"] == 1], "2")
    assert list(some.columns) == ["DINO", "Rot. ImgN"]


def test_what_cannot_stand_in_one_table_is_said(place: Path) -> None:
    frame = benchmark.measurements(place / "results")
    with pytest.raises(BenchError, match="unknown table '3'"):
        benchmark.table(frame, "3")
    with pytest.raises(BenchError, match="table one-class: none of these 6 runs"):
        benchmark.table(frame, "one-class")
    longer = write_sweep(place, variant=["dino"], extra="base: {train: {lr: 0.25}}", name="longer.yaml")
    write_runs(place / "results" / "longer", longer)
    frame = benchmark.measurements(place / "results")
    with pytest.raises(BenchError, match=r"of 2 settings, which cannot stand.*differ in .*train\.lr = 0\.25"):
        benchmark.table(frame, "2")
    assert benchmark.table(frame[frame["train.lr"] == 0.25], "2")["DINO"].notna().any()


def test_the_package_is_light_until_it_is_used() -> None:
    code = (
        "import sys, benchmark; heavy = {'torch', 'pandas', 'numpy', 'scipy', 'pydantic'} & set(sys.modules); "
        "assert not heavy, heavy; benchmark.measurements; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
    assert {"Detector", "measurements", "table"} <= set(benchmark.__all__)
    with pytest.raises(AttributeError, match="no attribute 'tables'"):
        benchmark.tables  # noqa: B018


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_examples_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(file)])
    runpy.run_path(str(file), run_name="__main__")
    assert capsys.readouterr().out or os.listdir(tmp_path)


def test_links_are_followed_and_a_loop_ends(place: Path) -> None:
    (place / "linked").mkdir()
    for folder in (place / "results").iterdir():
        (place / "linked" / folder.name).symlink_to(folder)
    (place / "linked" / "up").symlink_to(place / "linked")
    frame = benchmark.measurements(place / "linked")
    assert frame["name"].nunique() == 6 == frame["folder"].nunique()


def test_a_record_of_a_package_that_is_not_installed_is_left_out(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next(file for file in (place / "results").rglob("record.json") if '"rot-imgn"' in file.read_text())
    file.write_text(file.read_text().replace('"variant": "rot-imgn"', '"variant": "mirror-imgn"'))
    frame = benchmark.measurements(place / "results")
    assert frame["name"].nunique() == 5 and "unknown variant 'mirror-imgn'" in capsys.readouterr().err


def test_rows_of_a_set_and_a_block_have_both_before_them() -> None:
    frame = benchmark.measurements(REPOSITORY / "results" / "reference" / "frozen")
    made = benchmark.table(frame, "scores")
    assert made.index.is_unique and made.index.names == ["ID", "", "OOD"]
