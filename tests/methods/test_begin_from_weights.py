"""Training that begins from weights trained elsewhere, whatever the method."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_runs import TINY
from view_references import exact_resize
from weight_files import INPUT, model_section, save, tiny_vit

from benchmark import methods
from benchmark.data.images import load
from benchmark.detector.export import export
from benchmark.evaluation.verify import verify
from benchmark.methods.base import Method
from benchmark.plan import starts
from benchmark.plan.config import RunConfig
from benchmark.plan.training_data import training_data
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.store.folders import RunFolder
from benchmark.training.statistics import plain_views
from benchmark.views.recipes import Normalisation

CPU = torch.device("cpu")
METHODS: dict[str, dict[str, Any]] = {
    "dino": {"variant": "combined"},
    "rotation": {"variant": "none", "method": {"name": "rotation"}},
    "simclr": {"variant": "none", "method": {"name": "simclr"}},
    "csi": {"variant": "none", "method": {"name": "csi"}},
    "classifier": {"variant": "none", "method": {"name": "classifier", "classes": 4}},
    "outlier-exposure": {"variant": "imgn", "method": {"name": "outlier-exposure", "classes": 4}},
}
every_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save(tmp_path / "weights.pth", tiny_vit())


def config_of(name: str, file: Path | None, **changes: Any) -> RunConfig:
    raw = {**TINY, **METHODS[name], **changes}
    if file is not None:
        raw["model"] = model_section(file)
    config: RunConfig = validate(RunConfig, raw, "test")
    return config


def backbones(method: Method) -> list[torch.nn.Module]:
    made = [module for name, module in method.modules().named_modules() if name.endswith("backbone")]
    assert len(made) == (2 if method.config.method.name == "dino" else 1)
    return made


@every_method
def test_every_backbone_begins_with_the_weights_and_the_heads_as_ever(name: str, file: Path) -> None:
    """Dropped paths aside, which the student alone has: the heads are drawn as they are without weights."""
    torch.manual_seed(0)
    method = methods.build(config_of(name, file), CPU)
    for backbone in backbones(method):
        for key, rows in tiny_vit().items():
            assert torch.equal(backbone.state_dict()[key], rows), key
    torch.manual_seed(0)
    scratch = methods.build(config_of(name, None), CPU).modules().state_dict()
    for key, rows in method.modules().state_dict().items():
        assert torch.equal(rows, scratch[key]) == ("backbone." not in key), key


@every_method
def test_views_and_test_images_are_normalised_as_the_weights_are_used_to(
    name: str, file: Path, mini_data: Path
) -> None:
    (m1, m2, m3), (s1, s2, s3) = INPUT["mean"], INPUT["std"]
    wanted = Normalisation((m1, m2, m3), (s1, s2, s3))
    method = methods.build(config_of(name, file), CPU)
    recipe = method.batch_recipe()
    seen = [one for block in (*recipe.positives.values(), *recipe.negatives.values()) for spec in block.specs
            for one in spec.recipes]  # fmt: skip
    assert seen and {one.normalisation for one in seen} == {wanted}
    scratch = methods.build(config_of(name, None), CPU).batch_recipe()
    assert all(spec.recipes[0].normalisation != wanted for block in scratch.positives.values() for spec in block.specs)
    images = torch.from_numpy(load(mini_data, "mini", "test").images[:3].copy()).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(INPUT[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        found = method.embed(images)["features"]  # which puts the networks in their mode for evaluation
        expected = backbones(method)[-1]((torch.stack([exact_resize(one, 32) for one in images]) - mean) / std)
    assert torch.allclose(found, expected, atol=1e-4)


def test_statistics_after_training_are_of_images_as_they_are_scored(file: Path, mini_data: Path) -> None:
    images = torch.from_numpy(load(mini_data, "mini", "test").images[:4].copy()).permute(0, 3, 1, 2)
    batches = SimpleNamespace(config=config_of("dino", file), batch_size=4, steps_per_epoch=1, kinds=(),
                              plain=lambda step: (images, []))  # fmt: skip
    (views,) = plain_views(batches)  # type: ignore[arg-type]
    mean, std = (torch.tensor(INPUT[key])[:, None, None] for key in ("mean", "std"))
    assert torch.allclose(views, (images / 255 - mean) / std, atol=1e-5)


def test_a_run_says_so_and_needs_the_file_only_until_it_is_trained(file: Path, tmp_path: Path, mini_data: Path) -> None:
    config = config_of("dino", file)
    assert training_data(config) == "pretrained (self-supervised), aux"
    assert config.recipe_id() != config_of("dino", None).recipe_id()
    runtime = Runtime(device="cpu", threads=1)
    record = run(config, tmp_path / "r", mini_data, runtime)
    assert record is not None
    file.unlink()
    folder = RunFolder(tmp_path / "r" / record.name)
    more = config.with_more(["mini-ood2"], ["knn-2"])
    again = run(more, tmp_path / "r", mini_data, runtime)
    assert again is not None and again.own_score.ood["mini-ood"] == record.own_score.ood["mini-ood"]
    assert set(again.scores) == {"eq6", "knn-2"} and "mini-ood2" in again.own_score.ood
    (verdict,) = verify([folder], mini_data)
    assert verdict.problems == [] and verdict.rescored > 0
    assert export(folder, tmp_path / "d", mini_data).checked.endswith("to within 0")


def test_the_reference_rows_stay_those_without_weights(file: Path) -> None:
    for name in ("untrained", "image-statistics"):
        assert (
            config_of("dino", file).reference(name).recipe_id() == config_of("dino", None).reference(name).recipe_id()
        )


def test_a_tuned_run_begins_with_the_weights_that_its_classifier_began_with(file: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "other.pth", tiny_vit(seed=4))
    classifier = config_of("classifier", file)
    tuned = {"method": {"name": "outlier-exposure", "classes": 4, "tune": "classifier"}}
    assert starts.misfit(config_of("outlier-exposure", file, **tuned), classifier) == ""
    for weights in (other, None):
        misfit = starts.misfit(config_of("outlier-exposure", weights, **tuned), classifier)
        assert misfit == "it began with other model.weights"
