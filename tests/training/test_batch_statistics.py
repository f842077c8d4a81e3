"""One population for student, teacher and test, where a network normalises over images."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from tiny_runs import tiny
from torch import Tensor, nn
from weight_files import INPUT, save

from benchmark import methods
from benchmark.data.images import load
from benchmark.detector.detector import Detector
from benchmark.detector.export import export
from benchmark.errors import BenchError
from benchmark.evaluation.verify import verify
from benchmark.methods.base import Moment
from benchmark.methods.dino import Dino, positive_loss
from benchmark.models.backbones import normalises_over_images
from benchmark.plan import sections, yamlfile
from benchmark.plan.config import RunConfig, as_kept
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record
from benchmark.training import statistics
from benchmark.training.batches import Batches, DeviceImages
from benchmark.views.render import evaluation_view

CPU = torch.device("cpu")
NETWORK = {"backbone": "small_convnet", "args": {"width": 4}, "drop_path": 0.0}


def build(variant: str = "imgn", batch: int = 8, **model: Any) -> tuple[Dino, Batches]:
    """A tiny DINO with batch normalisation, and its batches: dark training images, bright auxiliary ones."""
    config = tiny(variant=variant, model=NETWORK | model, train={"batch": batch})
    torch.manual_seed(0)
    method = methods.build(config, CPU)
    assert isinstance(method, Dino)
    rng = np.random.default_rng(0)
    dark, bright = (rng.integers(low, low + 100, (40, 32, 32, 3), dtype=np.uint8) for low in (0, 150))
    auxiliary = {name: DeviceImages(bright, CPU) for name in ("imagenet", "dti")}
    return method, Batches(config, DeviceImages(dark, CPU), auxiliary, recipe=method.batch_recipe())


def first_norm(network: nn.Module) -> nn.BatchNorm2d:
    return next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))


def seen_by(network: nn.Module, act: Any) -> list[torch.Tensor]:
    """The images that go through `network` while it normalises over them."""
    passes: list[torch.Tensor] = []
    hook = network.register_forward_pre_hook(lambda _, given: passes.append(given[0]) if network.training else None)
    act()
    hook.remove()
    return passes


@pytest.mark.parametrize(("variant", "negatives"), [("dino", 0), ("imgn", 1), ("rot-in-dist", 1), ("combined", 2)])
def test_the_teacher_is_normalised_over_what_the_student_is(variant: str, negatives: int) -> None:
    method, batches = build(variant)
    batch = batches.batch(0, 0)
    passes: dict[str, list[torch.Tensor]] = {}

    def step() -> None:
        with torch.no_grad():
            method.losses(batch, Moment(0, 2, 0, 10))

    passes["teacher"] = seen_by(method.teacher["backbone"], step)
    passes["student"] = [x for x in seen_by(method.student["backbone"], step) if x.shape[-1] == 32]
    (teacher,), (student,) = passes["teacher"], passes["student"]
    assert len(teacher) == 8 * (2 + negatives) and torch.equal(teacher, student)


def test_with_positives_alone_the_teacher_sees_no_negative_as_before_there_was_a_choice() -> None:
    method, batches = build("combined", batch_statistics="positives")
    (seen,) = seen_by(method.teacher["backbone"], lambda: method.losses(batches.batch(0, 0), Moment(0, 2, 0, 10)))
    assert torch.equal(seen, batches.batch(0, 0).positives["globals"])
    assert method.recalibrated_after_training() is None


def test_the_teacher_answers_for_positives_which_it_sees_beside_negatives() -> None:
    """The negatives' rows of its answer are of no use but to its normalisation: loss and centre take the first ones."""
    method, batches = build("imgn")
    batch, moment = batches.batch(0, 0), Moment(0, 2, 0, 10)
    student, teacher = copy.deepcopy(method.student), copy.deepcopy(method.teacher)
    found = method.losses(batch, moment)
    together = {size: torch.cat([batch.positives[size], batch.negatives[0][size]]) for size in ("globals", "locals")}
    with torch.no_grad():
        seen = teacher["head"](teacher["backbone"](together["globals"]))[:16]
        shown = [student["head"](student["backbone"](together[size]))[:16] for size in ("globals", "locals")]
    assert method._last_teacher_rows is not None
    torch.testing.assert_close(method._last_teacher_rows, seen)
    target = torch.softmax((seen - method.centre) / method.teacher_temperature(moment), 1).unflatten(0, (2, 8))
    expected = positive_loss(torch.cat(shown).unflatten(0, (4, 8)), target, 0.1)
    assert float(found["positive"].detach()) == pytest.approx(float(expected), rel=1e-5)


def test_statistics_are_the_means_and_variances_over_plain_images_and_as_many_negatives() -> None:
    """Against float64 sums over the first layer's own answers to the images, taken one by one."""
    method, batches = build("imgn")
    network = method.recalibrated_after_training()
    assert network is not None
    views = torch.cat(list(statistics.plain_views(batches)))
    expected_rows = []
    for step in range(5):
        positives, (negatives,) = batches.plain(step)
        expected_rows += [evaluation_view(positives, 32), evaluation_view(negatives, 32)]
    assert torch.equal(views, torch.cat(expected_rows)) and len(views) == 40 + 40
    statistics.recalibrate(method, batches)
    convolution, norm = network.blocks[0], first_norm(network)  # type: ignore[index]
    answers = torch.nn.functional.conv2d(views.double(), convolution.weight.double(), padding=1)
    pixels = answers.transpose(0, 1).flatten(1)
    torch.testing.assert_close(norm.running_mean, pixels.mean(1).float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, pixels.var(1).float(), rtol=1e-3, atol=1e-5)
    assert norm.momentum == 0.1 and network.training  # as it trains on


def test_what_a_network_drops_while_it_trains_is_kept_when_statistics_are_taken() -> None:
    method, batches = build("imgn")
    network = method.recalibrated_after_training()
    assert network is not None
    network.blocks[1] = nn.Sequential(nn.Dropout(0.5), network.blocks[1])  # type: ignore[index,operator]
    network.train()
    network.blocks[1][0].eval()  # type: ignore[index]
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        statistics.recalibrate(method, batches)
        found.append({name: rows.clone() for name, rows in network.named_buffers()})
        assert network.training and not network.blocks[1][0].training  # type: ignore[index]
    for name, rows in found[0].items():
        assert torch.equal(rows, found[1][name]), name


def test_plain_images_are_whole_and_transformed_as_the_variant_says() -> None:
    _, batches = build("rot-imgn")
    positives, (negatives,) = batches.plain(1)
    stored = batches.images["in-dist"].take(torch.arange(40))
    assert all(any(torch.equal(image, one) for one in stored) for image in positives)
    auxiliary = batches.images["imagenet"].take(torch.arange(40))
    turned = torch.cat([torch.rot90(auxiliary, turn, (2, 3)) for turn in (1, 2, 3)])
    assert all(any(torch.equal(image, one) for one in turned) for image in negatives)
    again = build("rot-imgn")[1].plain(1)
    assert torch.equal(again[0], positives) and torch.equal(again[1][0], negatives)
    assert not torch.equal(batches.plain(2)[0], positives)

    def turns(step: int) -> list[int]:
        return [next(k for k, one in enumerate(turned) if torch.equal(image, one)) // 40 for image in
                batches.plain(step)[1][0]]  # fmt: skip

    assert turns(1) == turns(1) and len({tuple(turns(step)) for step in range(4)}) == 4  # each step draws its own


def test_passes_are_of_one_size_and_large(monkeypatch: pytest.MonkeyPatch) -> None:
    _, batches = build("combined", batch=8)  # 5 steps of 8 + 8 + 8
    monkeypatch.setattr(statistics, "TOGETHER", 40)
    assert [len(views) for views in statistics.plain_views(batches)] == [48, 48]
    monkeypatch.setattr(statistics, "TRAINING_IMAGES", 17)
    assert [len(views) for views in statistics.plain_views(batches)] == [48]
    _, one = build("dino", batch=40)
    assert [len(views) for views in statistics.plain_views(one)] == [40]


def test_a_look_sees_the_statistics_of_the_end_and_training_none_of_it() -> None:
    method, batches = build("imgn")
    network = method.recalibrated_after_training()
    assert network is not None
    before = {name: rows.clone() for name, rows in network.state_dict().items()}
    seen: dict[str, torch.Tensor] = {}

    def look(epoch: int) -> int:
        seen.update({name: rows.clone() for name, rows in network.state_dict().items()})
        return epoch

    assert statistics.recalibrated(method, batches, look)(7) == 7
    assert all(torch.equal(rows, before[name]) for name, rows in network.state_dict().items())
    statistics.recalibrate(method, batches)
    assert all(torch.equal(rows, seen[name]) for name, rows in network.state_dict().items())
    assert not torch.equal(seen["blocks.1.running_mean"], before["blocks.1.running_mean"])

    def broken(epoch: int) -> int:
        raise KeyboardInterrupt

    kept = {name: rows.clone() for name, rows in network.state_dict().items()}
    first_norm(network).running_mean.add_(1)  # type: ignore[union-attr]
    with pytest.raises(KeyboardInterrupt):
        statistics.recalibrated(method, batches, broken)(1)
    torch.testing.assert_close(first_norm(network).running_mean, kept["blocks.1.running_mean"] + 1)


@pytest.mark.parametrize(
    ("model", "may"),
    [
        ({"backbone": "vit_small_patch16_224", "args": {}}, False),
        ({"backbone": "convnext_atto", "args": {}}, False),
        ({"backbone": "small_convnet", "args": {"norm": "group"}}, False),
        ({"backbone": "small_convnet", "args": {"width": 8}}, True),
        ({"backbone": "resnet10t", "args": {}}, True),
        ({"backbone": "resnet18_small", "args": {}}, True),
    ],
)
def test_the_choice_is_part_of_a_run_where_the_network_may_normalise_over_images(
    model: dict[str, Any], may: bool
) -> None:
    both = [tiny(model=model | {"batch_statistics": way}) for way in ("mixture", "positives")]
    assert both[0].chooses_statistics is may
    assert (both[0].recipe_id() != both[1].recipe_id()) is may
    assert (both[0].setting() != both[1].setting()) is may
    assert "batch_statistics" not in both[1].identity()["model"]


@pytest.mark.parametrize("name", ["simclr", "rotation", "untrained", "image-statistics"])
def test_other_methods_have_no_such_choice(name: str) -> None:
    ids = {
        config(method={"name": name}, model=NETWORK | {"batch_statistics": way}).recipe_id()
        for way in ("mixture", "positives")
    }
    assert len(ids) == 1


def config(**changes: Any) -> RunConfig:
    found: RunConfig = validate(
        RunConfig, {"in_dist": "mini", "eval": {"ood": ["mini-ood"], "knn": [5]}} | changes, "t"
    )
    return found


def test_a_network_whose_family_has_no_batch_normalisation_and_that_has_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its runs would have one name whatever they are normalised over."""
    monkeypatch.setattr(sections, "NORMALISED_ALONE", ("resnet",))
    with pytest.raises(BenchError, match=r"model.backbone: resnet10t has batch normalisation"):
        build(backbone="resnet10t", args={"channels": [4, 4, 4, 4]})


SMALLEST = {
    "vit_": "vit_tiny_patch16_224", "deit_": "deit_tiny_patch16_224", "deit3_": "deit3_small_patch16_224",
    "beit": "beit_base_patch16_224", "eva02_": "eva02_tiny_patch14_224", "swin_": "swin_tiny_patch4_window7_224",
    "swinv2_": "swinv2_tiny_window8_256", "convnext": "convnext_atto", "mixer_": "mixer_s32_224",
    "cait_": "cait_xxs24_224",
}  # fmt: skip


@pytest.mark.parametrize("family", sections.NORMALISED_ALONE)
def test_the_families_that_are_said_to_have_no_batch_normalisation_have_none(family: str) -> None:
    name = SMALLEST[family]
    assert name.startswith(family)
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0)
    assert not normalises_over_images(network)


def test_a_record_from_before_the_choice_is_read_as_what_it_was() -> None:
    raw = tiny(model=NETWORK | {"batch_statistics": "positives"}).model_dump(mode="json")
    older = raw | {"model": {key: value for key, value in raw["model"].items() if key != "batch_statistics"}}
    assert RunConfig.model_validate(as_kept(older)).model.batch_statistics == "positives"
    assert RunConfig.model_validate(older).model.batch_statistics == "mixture"  # a user's file, of today
    assert as_kept(raw) == raw and as_kept("text") == "text"


def test_reading_a_run_folder_and_its_record_knows_their_age(tmp_path: Path) -> None:
    config = tiny(model=NETWORK | {"batch_statistics": "positives"})
    folder = RunFolder(tmp_path)
    raw = config.model_dump(mode="json")
    del raw["model"]["batch_statistics"]
    folder.config.write_text(yamlfile.write(raw))
    assert folder.read_config() == config
    record = Record(run_id="", recipe_id="", name="", config=raw, data={}, own="", scores={}, knn_accuracy={})
    assert record.run_config == config


def test_a_run_is_scored_and_exported_with_the_statistics_of_plain_images(tmp_path: Path, mini_data: Path) -> None:
    """The weights that the run keeps have the first layer's mean over plain images, its record's scores are those of
    these weights, and so are the exported detector's."""
    config = tiny(variant="rot-imgn", model=NETWORK, eval={"every": 1, "scores": ["eq6-from-negatives"]})
    record = run(config, tmp_path, mini_data, Runtime(device="cpu", threads=1))
    assert record is not None and record.run_config.model.batch_statistics == "mixture"
    folder = RunFolder(tmp_path / record.name)
    weights = safetensors.torch.load_file(folder.weights)
    auxiliary = load(mini_data, "mini-aux", "aux").images
    both = [load(mini_data, "mini", "train").images, np.stack([np.rot90(x, k) for x in auxiliary for k in (1, 2, 3)])]
    kernel = weights["backbone.blocks.0.weight"].double()
    means = []
    for images in both:
        pixels = torch.from_numpy(images.copy()).permute(0, 3, 1, 2)
        answers = torch.nn.functional.conv2d(evaluation_view(pixels, 32).double(), kernel, padding=1)
        means.append(answers.transpose(0, 1).flatten(1).mean(1))
    # All 40 training images, and 40 of the turned auxiliary ones, whose mean is near that of them all.
    expected = (means[0] + means[1]) / 2
    assert (weights["backbone.blocks.1.running_mean"] - expected).abs().max() < 0.05 * (expected.abs().max() + 0.1)
    assert int(weights["backbone.blocks.1.num_batches_tracked"]) == 1  # one pass of 40 + 40
    method = methods.build(config, CPU)
    method.load_final_state(weights)
    kept = np.load(folder.features)
    pixels = torch.from_numpy(load(mini_data, "mini", "test").images.copy()).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = method.stored(method.embed(pixels))["features"]
    np.testing.assert_allclose(features.float(), kept["mini/test"].astype(np.float32), atol=2e-3)
    for score in ("eq6", "eq6-from-negatives"):
        export(folder, tmp_path / f"detector-{score}", mini_data, score=score)
        made = Detector.load(tmp_path / f"detector-{score}", device="cpu").score(
            load(mini_data, "mini-ood", "test").images
        )
        names = [name for name in np.load(folder.scores).files if name.startswith("mini-ood/test")]
        [name] = [name for name in names if name.endswith("from-negatives") == (score != "eq6")]
        np.testing.assert_allclose(made, np.load(folder.scores)[name], rtol=1e-3, atol=2e-2)
    assert not any(problem for verdict in verify([folder], mini_data) for problem in verdict.problems)


def of_weights(folder: Path, variant: str = "imgn", **more: Any) -> tuple[Dino, Batches]:
    """The same method, begun from weights whose statistics are no network's at birth."""
    made = build()[0].teacher["backbone"].state_dict()
    torch.manual_seed(3)
    file = save(folder / "w.pth", {k: v + torch.rand_like(v) if v.is_floating_point() else v for k, v in made.items()})
    return build(variant, weights=str(file), pretraining="supervised", batch_statistics="weights", **INPUT, **more)


def test_the_statistics_of_weights_are_kept_in_training_and_in_scoring(tmp_path: Path) -> None:
    method, batches = of_weights(tmp_path)
    kept = {name: rows.clone() for name, rows in method.teacher.state_dict().items() if "running" in name}
    batch = batches.batch(0, 0)
    method.modules().train()
    (seen,) = seen_by(method.teacher["backbone"], lambda: method.losses(batch, Moment(0, 2, 0, 10), Tensor.backward))
    assert torch.equal(seen, batch.positives["globals"])  # no negatives: an answer depends on no other image
    with torch.no_grad():
        method.student.train()
        together = method.student["backbone"](torch.cat([seen, batch.negatives[0]["globals"]]))[: len(seen)]
        torch.testing.assert_close(together, method.student["backbone"](seen))
        torch.testing.assert_close(together, method.student.eval()["backbone"](seen))
    assert method.recalibrated_after_training() is None
    for network in (method.student, method.teacher):
        assert all(torch.equal(network.state_dict()[name], rows) for name, rows in kept.items())
    norm = first_norm(method.student)
    assert norm.weight.grad is not None and norm.weight.grad.abs().max() > 0  # scale and shift are trained


def test_a_run_without_weights_has_no_statistics_of_theirs() -> None:
    with pytest.raises(BenchError, match=r"batch_statistics: 'weights' given, but there are no weights; allowed: mix"):
        build(batch_statistics="weights")
    build(backbone="vit_tiny_patch16_224", args={"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2},
          batch_statistics="weights")  # it changes nothing  # fmt: skip
