"""Weights from a file into a backbone: the forms that load, and one line for what does not."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from weight_files import (
    FOCUS,
    FOCUS_POSITIONS,
    FOCUS_TOKENS,
    FORMS,
    LITE0,
    VIT,
    focus_backbone,
    focus_graph,
    in_form,
    model,
    needs_focus,
    needs_lite0,
    save,
    state,
    tiny_vit,
)

from benchmark.errors import BenchError
from benchmark.models import weights
from benchmark.models.backbones import build_backbone
from benchmark.plan.sections import ModelConfig


def built(config: ModelConfig, size: int = 32) -> nn.Module:
    return build_backbone(config, size, size, 0.0)[0]


def assert_holds(network: nn.Module, wanted: dict[str, Tensor]) -> None:
    found = network.state_dict()
    assert found.keys() == wanted.keys()
    for name, rows in wanted.items():
        assert torch.equal(found[name], rows), name


@pytest.mark.parametrize("form", FORMS)
def test_each_authors_form_gives_the_network_its_numbers(form: str, tmp_path: Path) -> None:
    args = {"class_token": True, "init_values": 0.5} if form.startswith("dinov2") else {}
    mine = tiny_vit(**args)
    file = save(tmp_path / "weights.pth", in_form(form, mine))
    config = model(file, args={**model(file).args, **args})
    assert_holds(built(config), mine)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_each_kind_of_file_loads(suffix: str, tmp_path: Path) -> None:
    mine = tiny_vit()
    assert_holds(built(model(save(tmp_path / f"weights{suffix}", mine))), mine)


def test_positions_of_another_size_are_resampled_as_timm_does(tmp_path: Path) -> None:
    """The mean of bicubically resampled positions of a constant is that constant; the class token's stays."""
    mine = tiny_vit(size=64)
    mine["pos_embed"] = torch.cat([torch.full((1, 1, 24), 7.0), torch.full((1, 64, 24), 3.0)], 1)
    network = built(model(save(tmp_path / "w.pth", mine)))
    positions = network.state_dict()["pos_embed"]
    assert positions.shape == (1, 17, 24)
    assert torch.allclose(positions[:, 0], torch.tensor(7.0)) and torch.allclose(positions[:, 1:], torch.tensor(3.0))


def test_names_of_ones_own_load_by_order_alone(tmp_path: Path) -> None:
    mine = tiny_vit()
    renamed = {f"layer_{number}": rows for number, rows in enumerate(mine.values())}
    file = save(tmp_path / "w.pth", renamed)
    with pytest.raises(BenchError, match=r"30 tensors of the network are not in it \(cls_token, pos_embed, patch_embed."
                       r"proj.weight, ...\); 30 of its tensors are not the network's \(layer_0, layer_1, layer_2, "
                       r"...\); all match in order and shape: say model.weights_by: order") as caught:  # fmt: skip
        built(model(file))
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)
    assert_holds(built(model(file, weights_by="order")), mine)


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("counters", [False, True])
def test_order_matches_with_the_head_and_without_the_counters_of_batch_normalisation(
    head: bool, counters: bool, tmp_path: Path
) -> None:
    whole = state("resnet10t", None, 3, num_classes=1000)
    kept = {name: rows for name, rows in whole.items() if (head or not name.startswith("fc."))
            and (counters or not name.endswith("num_batches_tracked"))}  # fmt: skip
    file = save(tmp_path / "w.pth", {f"_{name}": rows for name, rows in kept.items()})
    found = built(model(file, "resnet10t", weights_by="order")).state_dict()
    for name, rows in whole.items():
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked"):
            assert torch.equal(found[name], rows), name


def test_order_needs_every_shape(tmp_path: Path) -> None:
    mine = list(tiny_vit().items())
    mine[2], mine[3] = mine[3], mine[2]
    file = save(tmp_path / "w.pth", dict(mine))
    with pytest.raises(BenchError, match="its 30 tensors do not have the shapes of vit_tiny_patch16_224 in order, "
                       "which has 30, and with its head 32"):  # fmt: skip
        built(model(file, weights_by="order"))


class _Runs:
    def __reduce__(self) -> Any:
        return (open, ("made-by-the-file", "w"))


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """What each bad file is told as."""
    torn = folder / "torn.pth"
    torn.write_bytes(b"PK\x03\x04 nothing else")
    (folder / "torn.safetensors").write_bytes(b"\x10")
    (folder / "weights.onnx").write_bytes(b"x")
    (folder / "pickle.pt").write_bytes(pickle.dumps({"w": _Runs()}))
    lacking = tiny_vit()
    del lacking["norm.weight"]
    nan = tiny_vit()
    nan["norm.bias"][3] = torch.nan
    wide = tiny_vit() | {"norm.bias": torch.rand(25)}
    return {
        "code": (save(folder / "code.pth", {"model": {"w": _Runs()}}), "could run code, and is not loaded"),
        "pickle": (folder / "pickle.pt", "could run code, and is not loaded"),
        "torn": (torn, "cannot be read as weights"),
        "torn safetensors": (folder / "torn.safetensors", "cannot be read as weights"),
        "another kind": (folder / "weights.onnx", "is no .safetensors, .pth or .pt file"),
        "no tensors": (save(folder / "none.pth", {"epoch": 3, "note": "x"}), "holds no tensors by name"),
        "one tensor": (save(folder / "one.pth", torch.rand(3)), "holds no tensors by name"),
        "lacking": (save(folder / "lacking.pth", lacking), r"1 tensors of the network are not in it \(norm.weight\)"),
        "deeper": (
            save(folder / "deeper.pth", tiny_vit(depth=3)),
            r"12 of its tensors are not the network's \(blocks.2.norm1.weight, blocks.2.norm1.bias, .*, ...\)",
        ),
        "another width": (
            save(folder / "wide.pth", wide),
            r"does not fit vit_tiny_patch16_224: 1 have another shape \(norm.bias \(25,\), not \(24,\)\)",
        ),
        "another family": (
            save(folder / "family.pth", state("resnet10t", None, 0)),
            r"30 tensors of the network are not in it .*; 84 of its tensors are not the network's \(conv1.0.weight",
        ),
        "nan": (save(folder / "nan.pth", nan), r"holds NaN or infinity in norm.bias"),
    }


BAD = ("code", "pickle", "torn", "torn safetensors", "another kind", "no tensors", "one tensor", "lacking", "deeper",
       "another width", "another family", "nan")  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_that_names_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, says = bad_files(tmp_path)[name]
    config = model(file)
    with pytest.raises(BenchError, match=says) as caught:
        built(config)
    assert "\n" not in str(caught.value) and f"model.weights: {file}: " in str(caught.value)
    assert not (tmp_path / "made-by-the-file").exists()


def test_all_bad_files_are_tried(tmp_path: Path) -> None:
    assert set(bad_files(tmp_path)) == set(BAD)


def test_another_file_than_the_settings_mean_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "w.pth", tiny_vit())
    config = model(file)
    save(file, tiny_vit(seed=2))
    with pytest.raises(BenchError, match=r"is another file than the settings mean: its SHA-256 is [0-9a-f]{12}\.\.\."):
        built(config)
    file.unlink()
    with pytest.raises(BenchError, match=r"weights: .*w\.pth: no such file"):
        built(config)


def test_what_is_not_of_the_network_is_left_by_its_prefix() -> None:
    """A student beside a teacher, and heads beside a backbone, go; a network's own names stay as they are."""
    own = {"a.weight": torch.zeros(1)}
    flat = {
        f"{who}.backbone.a.weight": torch.full((1,), float(number)) for number, who in enumerate(("student", "teacher"))
    }
    assert weights._without_prefixes(flat, own) == {"a.weight": torch.ones(1)}
    named = {"model.a": torch.zeros(1), "b": torch.zeros(1)}
    assert weights._without_prefixes(named, named) == named


def test_loading_draws_no_random_number(tmp_path: Path) -> None:
    """What is drawn after a backbone is built, heads above all, is the same with weights and without."""
    file = save(tmp_path / "w.pth", {f"x{n}": rows for n, rows in enumerate(tiny_vit().values())})
    after = []
    for config in (ModelConfig(backbone=VIT, args=model(file).args), model(file, weights_by="order")):
        torch.manual_seed(0)
        built(config)
        after.append(torch.rand(1))
    assert after[0] == after[1]


@needs_lite0
def test_lite0_loads_by_order_and_knows_what_it_sees() -> None:
    """ImageNet-1k's weights in the names of another code. A grey image is none; the first filters see edges: a step
    answers more than a uniform image, which fresh weights of zero mean need not."""
    config = ModelConfig.model_validate(
        {"backbone": "tf_efficientnet_lite0", "weights": LITE0, "weights_by": "order", "pretraining": "supervised"}
    )
    assert config.weights_sha256 is not None and config.weights_sha256.startswith("57934424")
    assert (config.mean, config.std, config.interpolation) == ([0.5] * 3, [0.5] * 3, "bicubic")
    raw = torch.load(weights.find_weights(LITE0, ""), weights_only=True)
    found = built(config, 64).state_dict()
    assert torch.equal(found["conv_stem.weight"], raw["_conv_stem.weight"])
    assert torch.equal(found["bn2.running_var"], raw["_bn1.running_var"])
    with pytest.raises(BenchError, match=r"all match in order and shape: say model.weights_by: order"):
        built(config.model_copy(update={"weights_by": "name"}), 64)


@needs_focus
def test_a_real_vit_answers_as_its_authors_graph_does(tmp_path: Path) -> None:
    """A ViT-S/14 trained by somebody else, on crops of two photographs: its features are what onnxruntime has of the
    file that it was taken from. That graph resamples positions otherwise than timm, so it gives its own."""
    import onnx
    import onnxruntime
    from sklearn.datasets import load_sample_images

    graph = focus_graph()
    graph.graph.output.extend([onnx.ValueInfoProto(name=name) for name in (FOCUS_TOKENS, FOCUS_POSITIONS)])
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    photos = [photo[y : y + 224, 100:324] for photo in load_sample_images().images for y in (0, 100, 200)]
    views = torch.stack([torch.from_numpy(photo.copy()) for photo in photos]).permute(0, 3, 1, 2) / 127.5 - 1
    tokens, positions = session.run([FOCUS_TOKENS, FOCUS_POSITIONS], {"input_image": views.numpy()})
    weights = focus_backbone(graph)
    resampled = built(model(save(tmp_path / "518.safetensors", weights), FOCUS), 224).eval()
    weights["pos_embed"] = torch.from_numpy(positions)
    config = model(save(tmp_path / "224.pth", in_form("dinov2", weights)), FOCUS)
    with torch.no_grad():
        found, nearly = built(config, 224).eval()(views), resampled(views)
    theirs = torch.from_numpy(tokens[:, 0])
    assert found.shape == (6, 384) and torch.allclose(found, theirs, atol=1e-3 * float(theirs.std()))
    assert torch.cosine_similarity(nearly, theirs).min() > 0.99
    # And it is a network that has learnt: any two crops of one photograph are nearer than two of different ones.
    unit = torch.nn.functional.normalize(found)
    near, one = unit @ unit.T, torch.arange(6) // 3
    assert near[one[:, None] == one].min() > near[one[:, None] != one].max()
