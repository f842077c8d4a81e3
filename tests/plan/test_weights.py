"""`model.weights` in a run's settings: what is resolved, what is identity, and one line for what does not fit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import TINY, tiny
from weight_files import INPUT, model_section, save, tiny_vit

from benchmark.errors import BenchError
from benchmark.plan import weights
from benchmark.plan.config import RunConfig
from benchmark.plan.sweep import load
from benchmark.plan.training_data import caveats, meaning, training_data
from benchmark.plan.validation import validate
from benchmark.report.tables.about import describe


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save(tmp_path / "weights.pth", tiny_vit())


def frozen(file: Path | str, views: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    keys = {"in_dist", "seed", "variant", "method", "data", "eval"}
    top = {key: value for key, value in changes.items() if key in keys}
    model = {key: value for key, value in changes.items() if key not in keys}
    raw = {**TINY, "variant": "none", "method": {"name": "frozen"}, **top, "model": model_section(file, **model)}
    config: RunConfig = validate(RunConfig, raw | ({"views": views} if views is not None else {}), "test")
    return config


def test_a_run_is_known_by_its_weights_and_not_by_where_they_lie(file: Path, tmp_path: Path) -> None:
    config = frozen(file)
    assert config.model.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    copy = tmp_path / "elsewhere.pth"
    copy.write_bytes(file.read_bytes())
    assert frozen(copy).recipe_id() == config.recipe_id() and "weights" not in config.identity()["model"]
    assert frozen(copy).setting() == config.setting()
    other = save(tmp_path / "other.pth", tiny_vit(seed=2))
    assert frozen(other).recipe_id() != config.recipe_id()


@pytest.mark.parametrize(
    "change",
    [{"weights_by": "order"}, {"pretraining": "supervised"}, {"pretraining_data": "imagenet-1k"},
     {"mean": [0.1, 0.5, 0.6]}, {"std": [0.1, 0.2, 0.3]}, {"interpolation": "bilinear"}],
)  # fmt: skip
def test_whatever_is_said_of_the_weights_is_in_the_recipe(change: dict[str, Any], file: Path) -> None:
    assert frozen(file, **change).recipe_id() != frozen(file).recipe_id()


def test_nothing_of_a_frozen_runs_training_is_in_its_recipe(file: Path) -> None:
    """All seeds are one run, whose settings of training mean nothing."""
    config = frozen(file)
    assert {"seed", "train"} & config.identity().keys() == set()
    assert frozen(file, seed=3).recipe_id() == config.recipe_id()
    assert frozen(file, drop_path=0.5).recipe_id() == config.recipe_id()
    bigger = frozen(file, views={"global_size": 48})
    assert bigger.recipe_id() != config.recipe_id() and bigger.identity()["views"] == {"global_size": 48}


def test_kept_settings_are_read_without_the_file(file: Path) -> None:
    config = frozen(file)
    file.unlink()
    assert validate(RunConfig, config.model_dump(mode="json"), "kept") == config


def test_a_relative_path_is_kept_as_a_whole_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs start in other folders."""
    monkeypatch.chdir(file.parent)
    assert frozen("weights.pth").model.weights == str(file)


def test_the_reference_row_has_no_weights_and_keeps_its_name(file: Path) -> None:
    for name in ("untrained", "image-statistics"):
        row = frozen(file).reference(name)
        plain = tiny(model={"drop_path": 0.1}).reference(name)
        assert row.model.weights is None and row.recipe_id() == plain.recipe_id()


def test_what_timm_knows_of_a_backbone_fills_what_is_not_given(file: Path) -> None:
    """vit_tiny_patch16_224 of timm: 224 pixels, mean and deviation one half."""
    raw = model_section(file)
    for key in INPUT:
        del raw[key]
    settings = {"in_dist": "mini", "method": {"name": "frozen"}, "model": raw, "eval": {"ood": []}}
    config = validate(RunConfig, settings, "t")
    assert config.views.global_size == 224
    assert (config.model.mean, config.model.std, config.model.interpolation) == ([0.5] * 3, [0.5] * 3, "bicubic")
    kept = validate(RunConfig, settings | {"views": TINY["views"], "model": raw | {"std": [0.2] * 3}}, "t")
    assert kept.views.global_size == 32 and kept.model.std == [0.2] * 3 and kept.model.mean == [0.5] * 3


def test_a_file_of_an_installed_package_is_found_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "weights_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('run')")
    save(package / "w.pth", tiny_vit())
    monkeypatch.syspath_prepend(str(tmp_path))
    config = frozen("package:weights_of_a_test/w.pth")
    assert config.model.weights == "package:weights_of_a_test/w.pth"
    assert weights.find_weights(config.model.weights, "") == package / "w.pth"


def line(**changes: Any) -> str:
    with pytest.raises(BenchError) as caught:
        frozen(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_does_not_fit_is_one_line(file: Path) -> None:
    assert "model: weights: /none.pth: no such file" in line(file="/none.pth")
    assert f"model: weights: {file.parent}: is no file" in line(file=file.parent)
    assert "model: pretraining: must be given with weights" in line(file=file, pretraining=None)
    assert "pretraining: input should be 'supervised' or 'self-supervised', given 'labels'" in line(
        file=file, pretraining="labels"
    )
    assert "no Python package nobody_has is installed here; install it with pip" in line(
        file="package:nobody_has/w.pth"
    )
    assert "is written package:NAME/FILE" in line(file="package:timm")
    assert "is written package:NAME/FILE" in line(file="package:timm/../w.pth")
    assert "model.weights_sha256" in line(file=file, weights_sha256="12")
    for size in (31, 519):
        assert f"views.global_size: {size} given; method frozen takes 32 to 518 pixels" in line(
            file=file, views={"global_size": size}
        )
    assert "'msp' needs logits, which 'frozen' does not have" in line(file=file, eval={"ood": [], "scores": ["msp"]})
    for name in ("untrained", "image-statistics"):
        assert f"model.weights: {name} is a row without any" in line(file=file, method={"name": name})
    with pytest.raises(BenchError, match=r"model\.weights: method frozen scores a network with weights, and none are"):
        validate(RunConfig, {"in_dist": "mini", "method": {"name": "frozen"}, "eval": {"ood": []}}, "test")
    assert "weights_by: order is for .pth and .pt files" in line(file="w.safetensors", weights_sha256="0" * 64,
                                                                 weights_by="order")  # fmt: skip
    with pytest.raises(BenchError, match=r"model: mean: \[0.5, 0.5, 0.5\] given, but there are no weights"):
        tiny(model={"mean": [0.5, 0.5, 0.5]})


def test_a_backbone_that_timm_knows_no_images_of_must_say_them(file: Path) -> None:
    with pytest.raises(BenchError, match="timm does not say which images weights for 'small_convnet' are used to; give "
                       "mean, std, interpolation"):  # fmt: skip
        validate(RunConfig, {"in_dist": "mini", "method": {"name": "frozen"}, "views": {"global_size": 32},
                             "model": {"backbone": "small_convnet", "weights": str(file), "pretraining": "supervised"}},
                 "t")  # fmt: skip


def test_timms_own_weights_are_fetched_or_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    there = save(tmp_path / "model.safetensors", tiny_vit())
    asked = []

    def fetch(place: str, file: str) -> str:
        asked.append((place, file))
        return str(there)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    config = frozen("timm")
    assert asked == [("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "model.safetensors")]
    assert config.model.weights == "timm"
    assert config.model.weights_sha256 == hashlib.sha256(there.read_bytes()).hexdigest()

    def unreachable(place: str, file: str) -> str:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    assert ("weights: timm: model.safetensors of timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k cannot be fetched here "
            "(no route to host); copy that file here and name it") in line(file="timm")  # fmt: skip


def test_the_league_is_what_the_sweep_says(file: Path) -> None:
    assert training_data(frozen(file)) == "pretrained (self-supervised)"
    assert training_data(frozen(file, pretraining="supervised")) == "pretrained (supervised)"
    assert "pretrained (supervised): from weights trained elsewhere, with labels" in meaning(
        ["pretrained (supervised)"]
    )


def test_what_a_reader_must_know_is_said(file: Path) -> None:
    """The counts are those of tests/data/test_pretraining.py."""
    asked = {"in_dist": "cifar10", "eval": {"ood": ["cifar100", "imagenet30", "svhn"], "scores": ["mahalanobis-2"]}}
    seen, soft, score = caveats(frozen(file, {"global_size": 128}, **asked, pretraining_data="imagenet-1k"))
    assert "9 of 10 of CIFAR10, 70 of 100 of CIFAR100, 30 of 30 of ImageNet30, not known of SVHN" in seen
    assert soft == "Images of 32 pixels are enlarged to 128: softer than what the weights were trained on."
    assert score.startswith("Mahalanobis depends on")
    part = caveats(frozen(file, in_dist="cifar10:cat", eval={"ood": ["other-classes"]}, pretraining_data="imagenet-1k"))
    assert part[0].startswith("Classes that the weights have seen in ImageNet-1k: 9 of 10 of CIFAR10. ")
    unsaid = caveats(frozen(file, in_dist="cifar10", eval={"ood": ["svhn"]}))
    assert len(unsaid) == 1 and "model.pretraining_data is not given" in unsaid[0]
    assert "the classes of my-scans are not known here" in caveats(frozen(file, pretraining_data="my-scans"))[0]
    direct = frozen(file, {"global_size": 64}, in_dist="cifar10", eval={"ood": ["texture"], "ood_resize": "direct"})
    assert "than Texture, stored larger, which sharpness alone tells" in caveats(direct)[1]
    assert caveats(tiny()) == []


def test_tables_say_what_a_column_is_that_was_not_trained_here(file: Path) -> None:
    sha = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    told = describe(frozen(file))
    assert told.startswith("vit_tiny_patch16_224, patch_size 8")
    assert told.endswith(f"frozen, weights sha256 {sha}, 32 px")
    method = {"name": "features", "column": "mine", "sha256": "ab" * 32, "training_data": "labels"}
    brought = validate(RunConfig, {"in_dist": "mini", "method": method, "eval": {"ood": []}}, "t")
    assert describe(brought) == "features from elsewhere, sha256 abababab"


def test_frozen_and_trained_rows_have_reference_rows_of_their_own_sizes(file: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "s.yaml"
    section = model_section(file)
    sweep.write_text(
        f"base: {{in_dist: mini, model: {section}, eval: {{ood: []}}, views: {{global_size: 64}}}}\n"
        "grids:\n"
        "  - base: {method: {name: frozen}}\n    grid: {seed: [0, 1]}\n"
        "  - base: {method: {name: rotation}}\n"
        "references: [untrained]\n".replace("None", "null")
    )
    runs = load(sweep).runs
    assert [run.short_name for run in runs] == ["mini-frozen-s0", "mini-rotation-s0"] + ["mini-untrained-s0"] * 2
    assert [run.config.views.global_size for run in runs[2:]] == [64, 32]
