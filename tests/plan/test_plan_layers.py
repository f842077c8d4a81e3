"""Settings laid over each other: model.args belong to the backbone that they stand beside, in every layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import run_bench

from benchmark.errors import BenchError
from benchmark.plan import sweep as sweeps
from benchmark.plan import yamlfile

VIT: dict[str, Any] = {
    "backbone": "vit_tiny_patch16_224",
    "args": {"patch_size": 8, "embed_dim": 24},
    "drop_path": 0.0,
}
RESNET: dict[str, Any] = {"backbone": "resnet10t", "args": {"channels": [8, 16, 32, 64]}}


def write(path: Path, model: dict[str, Any] | None = None, **keys: Any) -> Path:
    base: dict[str, Any] = {} if model is None else {"model": model}
    if "extends" not in keys:
        base |= {"in_dist": "synthetic", "variant": "dino", "eval": {"ood": []}}
        keys = {"references": []} | keys
    path.write_text(yamlfile.write({"base": base, **keys}))
    return path


def models(path: Path, *sets: str) -> list[tuple[str, dict[str, Any]]]:
    """Backbone and args of each run."""
    runs = sweeps.load(path, list(sets)).runs
    return [(run.config.model.backbone, run.config.model.args) for run in runs]


# --- a file that extends another -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        (VIT, {"backbone": "resnet10t"}, ("resnet10t", {})),
        (VIT, RESNET, ("resnet10t", RESNET["args"])),
        (VIT, {"backbone": VIT["backbone"]}, (VIT["backbone"], VIT["args"])),
        (VIT, {"backbone": VIT["backbone"], "args": {"depth": 2}}, (VIT["backbone"], {**VIT["args"], "depth": 2})),
        (VIT, {"args": {"patch_size": 4}}, (VIT["backbone"], {"patch_size": 4, "embed_dim": 24})),
        ({"args": {"patch_size": 8}}, {"backbone": VIT["backbone"]}, (VIT["backbone"], {"patch_size": 8})),
        (VIT, None, (VIT["backbone"], VIT["args"])),
    ],
)
def test_extending_file(
    tmp_path: Path, below: dict[str, Any], above: dict[str, Any] | None, expected: tuple[str, dict[str, Any]]
) -> None:
    write(tmp_path / "below.yaml", below)
    assert models(write(tmp_path / "above.yaml", above, extends="below.yaml")) == [expected]


def test_drop_path_is_no_backbones_own(tmp_path: Path) -> None:
    write(tmp_path / "below.yaml", VIT)
    [run] = sweeps.load(write(tmp_path / "above.yaml", RESNET, extends="below.yaml")).runs
    assert run.config.model.drop_path == 0.0


def test_three_files(tmp_path: Path) -> None:
    """What counts is what the files below amount to, whichever of them named the backbone."""
    write(tmp_path / "a.yaml", VIT)
    write(tmp_path / "b.yaml", {"args": {"depth": 2}}, extends="a.yaml")
    assert models(write(tmp_path / "c.yaml", {"backbone": "resnet10t"}, extends="b.yaml")) == [("resnet10t", {})]
    again = write(tmp_path / "d.yaml", {"backbone": VIT["backbone"]}, extends="c.yaml")
    assert models(again) == [(VIT["backbone"], {})]  # dropped is dropped


# --- grid, overrides, --set ------------------------------------------------------------------------------------------


def test_grid(tmp_path: Path) -> None:
    both = ["resnet10t", VIT["backbone"]]
    path = write(tmp_path / "s.yaml", VIT, grid={"model.backbone": both})
    assert models(path) == [("resnet10t", {}), (VIT["backbone"], VIT["args"])]
    path = write(tmp_path / "s.yaml", VIT, grid={"model.args.depth": [2], "model.backbone": both})  # in any order
    assert models(path) == [("resnet10t", {"depth": 2}), (VIT["backbone"], {**VIT["args"], "depth": 2})]
    path = write(tmp_path / "s.yaml", {"args": {"in_chans": 3}}, grid={"model.backbone": both})
    assert models(path) == [("resnet10t", {"in_chans": 3}), (VIT["backbone"], {"in_chans": 3})]
    path = write(tmp_path / "s.yaml", VIT, grid={"model": [RESNET, VIT]})  # the section as a whole
    assert models(path) == [("resnet10t", RESNET["args"]), (VIT["backbone"], VIT["args"])]


def test_override(tmp_path: Path) -> None:
    def with_set(**fields: Any) -> Path:
        overrides = [{"when": {"variant": "imgn"}, "set": {key.replace("__", "."): v for key, v in fields.items()}}]
        return write(tmp_path / "s.yaml", VIT, grid={"variant": ["imgn", "dino"]}, overrides=overrides)

    kept = (VIT["backbone"], VIT["args"])  # dino's, after imgn's was changed
    assert models(with_set(model__backbone="resnet10t")) == [("resnet10t", {}), kept]
    assert models(with_set(model__args=RESNET["args"], model__backbone="resnet10t")) == [
        ("resnet10t", RESNET["args"]), kept,
    ]  # fmt: skip
    assert models(with_set(model__backbone=VIT["backbone"], model__args__depth=2)) == [
        (VIT["backbone"], {**VIT["args"], "depth": 2}), kept,
    ]  # fmt: skip


def test_what_an_override_sets_stays_with_its_runs(tmp_path: Path) -> None:
    overrides = [{"when": {"variant": "imgn"}, "set": {"train.lr": 0.5}}]
    path = write(tmp_path / "s.yaml", grid={"variant": ["imgn", "dino"]}, overrides=overrides)
    path.write_text(path.read_text().replace("base: {", "base: {train: {epochs: 40}, "))
    assert [run.config.train.lr for run in sweeps.load(path).runs] == [0.5, 0.004]


def test_an_override_is_found_by_any_field_of_the_grid(tmp_path: Path) -> None:
    overrides = [{"when": {"model.backbone": "resnet*"}, "set": {"model.args": RESNET["args"]}}]
    path = write(tmp_path / "s.yaml", VIT, grid={"model.backbone": ["resnet10t", VIT["backbone"]]}, overrides=overrides)
    assert models(path) == [("resnet10t", RESNET["args"]), (VIT["backbone"], VIT["args"])]


def test_set(tmp_path: Path) -> None:
    path = write(tmp_path / "s.yaml", VIT)
    channels = "model.args.channels=[8, 16, 32, 64]"
    assert models(path, "model.backbone=resnet10t") == [("resnet10t", {})]
    for sets in ([channels, "model.backbone=resnet10t"], ["model.backbone=resnet10t", channels]):
        assert models(path, *sets) == [("resnet10t", RESNET["args"])]
    assert models(path, f"model.backbone={VIT['backbone']}") == [(VIT["backbone"], VIT["args"])]


# --- values ----------------------------------------------------------------------------------------------------------

SHAPES = "{a: [1, 2.5, [x]], b: {c: null, d: true}, e: null}"


def test_args_are_any_json_value_and_come_back_from_the_file(tmp_path: Path) -> None:
    [run] = sweeps.load(write(tmp_path / "s.yaml"), [f"model.args={SHAPES}"]).runs
    args = {"a": [1, 2.5, ["x"]], "b": {"c": None, "d": True}, "e": None}
    assert run.config.model.args == args
    again = yamlfile.parse(yamlfile.write(run.config.model_dump(mode="json")), "x")
    assert again["model"]["args"] == args
    assert run.recipe != sweeps.load(tmp_path / "s.yaml", ["model.args={a: [1, 2.5, [y]]}"]).runs[0].recipe


def test_what_is_not_json_is_refused(tmp_path: Path) -> None:
    for text in ("[1, !!float nan]", "!!float inf", "!!timestamp 2020-01-01", "{a: !!binary aGk=}"):
        with pytest.raises(BenchError, match=r"^--set model\.args=.*: model\.args\.k") as caught:
            sweeps.load(write(tmp_path / "s.yaml"), [f"model.args={{k: {text}}}"])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("{patch_size: 8}", "'patch_size'"),
        ("{channels: [8, null, 16, 32]}", "channels"),
        ("{pretrained_cfg_overlay: {file: x.pth}}", "pretrained_cfg_overlay cannot be set here"),
    ],
)
def test_args_that_do_not_fit_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: str, says: str
) -> None:
    """`bench sweep` builds each model before it starts anything."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    path = write(tmp_path / "s.yaml", RESNET, grid={"variant": ["dino"]})
    said = run_bench(
        monkeypatch, capsys, "sweep", path, "--results", tmp_path / "results", "--executor", "local",
        "--set", f"model.args={args}", "--set", "views={global_size: 32, local_size: 16, local_views: 0}",
        "--set", "train={epochs: 1, warmup_epochs: 0}",
    )  # fmt: skip
    assert said.code == 2 and said.err.count("\n") == 1 and "model.args" in said.err and says in said.err
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())
