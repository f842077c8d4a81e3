"""Several grids in a sweep file, sections as axes, every class of a set, and references where methods are mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import noise, quiet, save
from report_fakes import record_of

from benchmark.data import catalog
from benchmark.data.images import write_set
from benchmark.data.importing import import_dir
from benchmark.errors import BenchError
from benchmark.plan import sweep as sweeps
from benchmark.plan import yamlfile
from benchmark.plan.config import RunConfig
from benchmark.report.grouping import group_runs

BASE: dict[str, Any] = {
    "in_dist": "synthetic",
    "eval": {"ood": ["synthetic-near"]},
    "views": {"global_size": 32, "local_size": 16},
    "train": {"epochs": 9, "lr": 0.5, "warmup_epochs": 0.0},
}
SGD = {"base": {"method": {"name": "rotation"}, "train": {"optimiser": "sgd", "lr": 0.1}}}
ADAM = {"base": {"method": {"classes": 64}}, "grid": {"variant": ["dino", "rot-in-dist"]}}


def write(path: Path, base: dict[str, Any] | None = None, **keys: Any) -> Path:
    keys = {"references": []} | keys
    base = (base or {}) if "extends" in keys else BASE | (base or {})
    path.write_text(yamlfile.write({"base": base} | keys))
    return path


def names(path: Path, **options: Any) -> list[str]:
    return [run.short_name for run in sweeps.load(path, **options).runs]


def configs(path: Path, *sets: str) -> list[RunConfig]:
    return [run.config for run in sweeps.load(path, list(sets)).runs]


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(BenchError) as caught:
        sweeps.load(path, **options)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


# --- several grids ---------------------------------------------------------------------------------------------------


def test_each_grid_has_its_base_and_all_share_the_files_axes(tmp_path: Path) -> None:
    path = write(tmp_path / "s.yaml", grid={"seed": [0, 1]}, grids=[SGD, ADAM])
    assert names(path) == [
        "synthetic-rotation-s0", "synthetic-rotation-s1", "synthetic-dino-s0", "synthetic-rot-in-dist-s0",
        "synthetic-dino-s1", "synthetic-rot-in-dist-s1",
    ]  # fmt: skip
    found = configs(path)
    assert [(c.train.optimiser, c.train.lr, c.train.epochs) for c in found] == [("sgd", 0.1, 9)] * 2 + [
        ("adamw", 0.5, 9)
    ] * 4
    assert [getattr(c.method, "classes", None) for c in found] == [None] * 2 + [64] * 4


def test_an_axis_of_an_entry_is_instead_of_the_files(tmp_path: Path) -> None:
    entries = [SGD | {"grid": {"variant": ["none"]}}, ADAM | {"grid": {"seed": [7]}}]
    path = write(tmp_path / "s.yaml", grid={"variant": ["dino", "rot-in-dist"], "seed": [0]}, grids=entries)
    assert names(path) == ["synthetic-rotation-s0", "synthetic-dino-s7", "synthetic-rot-in-dist-s7"]


def test_grids_give_no_run_twice(tmp_path: Path) -> None:
    entries = [ADAM, {"grid": {"variant": ["rot-in-dist", "rot360-in-dist"]}}, ADAM]
    path = write(tmp_path / "s.yaml", {"method": {"classes": 64}}, grids=entries[:1] + entries[2:])
    assert names(path) == ["synthetic-dino-s0", "synthetic-rot-in-dist-s0"]
    more = [{"base": {"eval": {"ood": ["synthetic-digits", "synthetic-near"]}}, "grid": {"variant": ["dino"]}}]
    path = write(tmp_path / "s.yaml", {"method": {"classes": 64}}, grids=[ADAM, *more])
    first, second = configs(path)  # one run, which scores what both ask for
    assert first.ood_sets() == ["synthetic-near", "synthetic-digits"] and second.ood_sets() == ["synthetic-near"]
    scores = [
        {"base": {"eval": {"scores": names}}, "grid": {"variant": ["dino"]}} for names in (["knn-5"], ["eq6@0.1"])
    ]
    [one, _] = configs(write(tmp_path / "s.yaml", {"method": {"classes": 64}}, grids=[*scores, ADAM]))
    assert one.eval.scores == ["knn-5", "eq6@0.1"] and one.ood_sets() == ["synthetic-near"]


def test_one_grid_is_as_it_was_as_an_entry(tmp_path: Path) -> None:
    grid = {"variant": ["dino", "rot-in-dist"], "seed": [0, 1]}
    plain = sweeps.load(write(tmp_path / "a.yaml", grid=grid)).runs
    assert plain == sweeps.load(write(tmp_path / "b.yaml", grids=[{"grid": grid}])).runs and len(plain) == 4


def test_overrides_and_set_reach_into_grids(tmp_path: Path) -> None:
    overrides = [
        {"when": {"method.name": "rotation"}, "set": {"train.epochs": 3}, "resources": {"hours": 7}},
        {"when": {"method.name": "dino", "variant": "rot-*"}, "set": {"train.epochs": 5}},
    ]
    path = write(tmp_path / "s.yaml", grids=[SGD, ADAM], overrides=overrides)
    runs = sweeps.load(path, ["train.lr=0.25"], "*-s0").runs
    assert [(run.config.train.epochs, run.resources.hours) for run in runs] == [(3, 7), (9, 24), (5, 24)]
    assert {run.config.train.lr for run in runs} == {0.25}
    assert names(path, only="*rot-*") == ["synthetic-rot-in-dist-s0"]


def test_grids_of_an_extended_file(tmp_path: Path) -> None:
    write(tmp_path / "below.yaml", grid={"seed": [0]}, grids=[SGD, ADAM])
    child = write(tmp_path / "child.yaml", extends="below.yaml", base={"train": {"epochs": 4}}, grid={"seed": [5]})
    assert [(c.short_name, c.train.epochs, c.train.optimiser) for c in configs(child)] == [
        ("synthetic-rotation-s5", 4, "sgd"), ("synthetic-dino-s5", 4, "adamw"),
        ("synthetic-rot-in-dist-s5", 4, "adamw"),
    ]  # fmt: skip
    child = write(tmp_path / "child.yaml", extends="below.yaml", grids=[ADAM])
    assert names(child) == ["synthetic-dino-s0", "synthetic-rot-in-dist-s0"]
    child = write(tmp_path / "child.yaml", extends="below.yaml", grids=[], base={"variant": "dino"})
    assert names(child) == ["synthetic-dino-s0"]


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"grids": [{"gird": {}}]}, ["grids.0", "unknown key 'gird'", "did you mean 'grid'"]),
        ({"grids": [SGD, {"grid": {"variant": []}}]}, ["grids.1.grid.variant", "at least 1"]),
        ({"grids": [SGD, {"grid": {"seed": [1, 1]}}]}, ["grids.1.grid.seed", "1 is listed twice"]),
        ({"grids": [{"base": {"train": {"epoch": 1}}}]}, ["unknown key 'epoch'"]),
        ({"grids": {"base": {}}}, ["grids", "list"]),
        ({"grid": [{"seed": [0]}]}, ["grid", "dictionary"]),
        ({"grids": [SGD], "overrides": [{"when": {"train.lr": "*"}}]}, ["overrides.0.when", "unknown field"]),
        ({"grid": {"method": ["rotation"]}}, ["method", "'rotation'"]),
    ],
)
def test_bad_grids(tmp_path: Path, keys: dict[str, Any], parts: list[str]) -> None:
    said = refused(write(tmp_path / "s.yaml", **keys))
    assert all(part in said for part in parts), said


# --- sections as axes ------------------------------------------------------------------------------------------------


def test_a_section_as_an_axis_lies_over_the_base(tmp_path: Path) -> None:
    axis = [{"lr": 0.1}, {"epochs": 2, "optimiser": "sgd"}]
    found = configs(write(tmp_path / "s.yaml", {"variant": "dino"}, grid={"train": axis}))
    assert [(c.train.lr, c.train.epochs, c.train.optimiser) for c in found] == [(0.1, 9, "adamw"), (0.5, 2, "sgd")]


def test_another_methods_settings_are_dropped_and_its_own_kept(tmp_path: Path) -> None:
    base = {"method": {"classes": 64, "head": "text"}}
    axis = [{"name": "rotation"}, {"name": "dino", "classes": 32}, {"head": "dino"}]
    path = write(tmp_path / "s.yaml", base, grid={"method": axis, "seed": [0, 1]},
                 overrides=[{"when": {"method.name": "dino"}, "set": {"variant": "dino"}}])  # fmt: skip
    found = [(c.method.name, getattr(c.method, "classes", 0), getattr(c.method, "head", "")) for c in configs(path)]
    assert found[::2] == found[1::2] == [("rotation", 0, ""), ("dino", 32, "text"), ("dino", 64, "dino")]
    path = write(tmp_path / "s.yaml", {"variant": "none", **base}, grid={"method.name": ["rotation", "untrained"]})
    assert [c.method.name for c in configs(path)] == ["rotation", "untrained"]
    assert [c.method.name for c in configs(path, "method={name: dino, classes: 8}", "variant=dino")] == ["dino"]
    write(tmp_path / "below.yaml", base)
    child = write(tmp_path / "child.yaml", extends="below.yaml", base={"method": {"name": "rotation"}})
    assert [c.method.name for c in configs(child)] == ["rotation"]


# --- every class of a set --------------------------------------------------------------------------------------------


def test_every_class_of_a_known_set(tmp_path: Path) -> None:
    path = write(tmp_path / "s.yaml", {"eval": {"ood": ["other-classes", "svhn"]}, "variant": "dino"},
                 grid={"in_dist": ["cifar10:*"]})  # fmt: skip
    found = configs(path)
    assert [c.in_dist for c in found] == [f"cifar10:{title}" for title in catalog.CLASSES["cifar10"]]
    assert [c.ood_sets() for c in found] == [[f"cifar10:not-{t}", "svhn"] for t in catalog.CLASSES["cifar10"]]
    path.write_text(path.read_text().replace("'cifar10:*'", "cifar100:*").replace("cifar10:*", "cifar100:*"))
    assert len(configs(path)) == 100 and configs(path)[1].in_dist == "cifar100:aquarium-fish"


def test_every_class_beside_other_sets(tmp_path: Path) -> None:
    given = ["synthetic:not-fish", "synthetic:fish", "synthetic:*", "svhn"]
    grid = {"in_dist": given, "seed": [0, 1]}
    found = configs(write(tmp_path / "s.yaml", {"eval": {"ood": ["texture"]}, "variant": "dino"}, grid=grid))
    sets = [c.in_dist for c in found][::2]
    assert sets[:2] == given[:2] and sets[-1] == "svhn" and len(sets) == len(set(sets)) == 12
    assert [c.seed for c in found] == [0, 1] * 12


def test_classes_of_an_imported_set_are_read_from_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "elsewhere"))
    for split in ("train", "test"):
        for number, folder in enumerate(("Zebra", "Ant_eater", "mole")):
            save(tmp_path / f"in/zoo-{split}" / folder / "0.png", noise(32, 32, 3, seed=number))
    import_dir(tmp_path / "in", tmp_path / "data", report=quiet)
    path = write(tmp_path / "s.yaml", {"eval": {}, "variant": "dino"}, grid={"in_dist": ["zoo:*"]})
    wanted = ["zoo.ant-eater-dino-s0", "zoo.zebra-dino-s0", "zoo.mole-dino-s0"]
    assert names(path, data=tmp_path / "data") == wanted
    said = refused(path)
    assert all(part in said for part in ("grid.in_dist: 'zoo:*'", "zoo/train is not in", "elsewhere", "data import"))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    assert names(path) == wanted


def test_labels_without_names_expand_to_numbers(tmp_path: Path) -> None:
    labels = np.array([4, 0, 4, 11, -1, 0])
    write_set(tmp_path, "plain", "train", noise(6, 32, 32, 3), labels, "noise")
    path = write(tmp_path / "s.yaml", {"eval": {}, "variant": "dino"}, grid={"in_dist": ["plain:*"]})
    assert names(path, data=tmp_path) == ["plain.0-dino-s0", "plain.4-dino-s0", "plain.11-dino-s0"]


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"grid": {"in_dist": ["bare:*"]}}, ["grid.in_dist: 'bare:*'", "has no labels"]),
        ({"grids": [{"grid": {"in_dist": ["absent:*"]}}]}, ["grids.0.grid.in_dist: 'absent:*'", "absent/train is not"]),
        ({"grid": {"in_dist": ["a:b:*"]}}, ["grid.in_dist: 'a:b:*'", "SET:CLASS"]),
        ({"base": BASE | {"in_dist": "cifar10:*", "variant": "dino"}}, ["base.in_dist: 'cifar10:*'", "grid alone"]),
    ],
)
def test_classes_that_cannot_be_known(tmp_path: Path, keys: dict[str, Any], parts: list[str]) -> None:
    write_set(tmp_path / "data", "bare", "train", noise(4, 32, 32, 3), np.full(4, -1), "noise")
    path = tmp_path / "s.yaml"
    path.write_text(yamlfile.write({"base": BASE | {"variant": "dino"}} | keys))
    said = refused(path, data=tmp_path / "data")
    assert all(part in said for part in parts), said


# --- references ------------------------------------------------------------------------------------------------------


def references(path: Path) -> list[tuple[str, int]]:
    found = [c for c in configs(path) if not c.method.trains]
    return [(f"{c.in_dist} {c.method.name}", c.views.global_size) for c in found]


def test_methods_of_one_size_and_network_share_their_references(tmp_path: Path) -> None:
    both = ["untrained", "image-statistics"]
    path = write(tmp_path / "s.yaml", {"eval": {}}, references=both, grids=[SGD, ADAM],
                 grid={"in_dist": ["synthetic:fish", "synthetic:car"], "seed": [0, 1]})  # fmt: skip
    found = references(path)
    assert len(found) == len(set(found)) == 4 and {size for _, size in found} == {32}
    groups = group_runs(configs(path), [])
    assert len(groups) == 2  # SGD and AdamW: tables never mix settings
    for group in groups:
        for in_dist in group.in_dists:
            assert group.labels(in_dist)[-2:] == both


def test_each_size_has_its_untrained_network(tmp_path: Path) -> None:
    """DINO's large views and rotation's whole images, with all else the same."""
    base = {"views": {"global_size": 64, "local_size": 32}}
    path = write(tmp_path / "s.yaml", base, references=["untrained", "image-statistics"],
                 grids=[{"base": {"method": {"name": "rotation"}}}, {"grid": {"variant": ["dino"]}}])  # fmt: skip
    assert references(path) == [
        ("synthetic untrained", 32), ("synthetic image-statistics", 32), ("synthetic untrained", 64),
    ]  # fmt: skip
    found = configs(path)
    groups = group_runs(found, [record_of(c, lambda config, ood: 60.0) for c in found])
    shown = {
        group.runs[0].config.label: [run for run in group.runs if not run.config.method.trains] for group in groups
    }
    assert {label: [r.config.views.global_size for r in runs if r.config.label == "untrained"]
            for label, runs in shown.items()} == {"rotation": [32], "dino": [64]}  # fmt: skip
    assert all(len(runs) == 2 and all(r.record for r in runs) for runs in shown.values())
    assert [group.heading for group in groups] == ["method.name = rotation", "method.name = dino"]


def test_references_score_what_any_of_their_runs_does(tmp_path: Path) -> None:
    entries = [SGD | {"base": {**SGD["base"], "eval": {"ood": ["synthetic-digits"]}}}, ADAM]
    path = write(tmp_path / "s.yaml", references=["untrained"], grids=entries)
    [reference] = [c for c in configs(path) if not c.method.trains]
    assert reference.ood_sets() == ["synthetic-digits", "synthetic-near"]


def test_headings_name_a_methods_own_setting_where_it_varies(tmp_path: Path) -> None:
    entries = [SGD, {"base": {"variant": "dino"}, "grid": {"method.classes": [32, 64]}}]
    headings = [group.heading for group in group_runs(configs(write(tmp_path / "s.yaml", grids=entries)), [])]
    assert "method.classes = 32" in headings[1] and "method.classes = 64" in headings[2]
    assert all("method.name = " in heading and "head_hidden" not in heading for heading in headings)
