"""Backbones that yield a feature vector: images (B, 3, S, S) -> features (B, D). timm's, by name, and our own."""

from __future__ import annotations

import copy
import sys
from typing import Any

import torch
from torch import nn

from benchmark.errors import BenchError, first_line, unknown
from benchmark.models import weights
from benchmark.plan.sections import ModelConfig

# The benchmark's own: weights are `model.weights`, and `drop_path` has its own key.
RESERVED_ARGS = {
    "pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "num_classes", "drop_path_rate",
}  # fmt: skip


# Pixels of the images that go through a network at once, per thread of a CPU. A large batch of large images takes new
# memory layer by layer: 64 images of 224 pixels cost EfficientNet-Lite0 2.8 seconds of processor time in one batch, 1.6
# of them the system's for memory, 2.0 in batches of 20 and 1.6 in batches of 5 (one thread, a busy EPYC, n = 1).
PIXELS = 2**18


def at_once(side: int, device: torch.device) -> int:
    """How many images of side x side pixels to give to a network at a time."""
    return max(1, PIXELS * torch.get_num_threads() // side**2) if device.type == "cpu" else sys.maxsize


def build_backbone(config: ModelConfig, global_size: int, local_size: int, drop_path: float) -> tuple[nn.Module, int]:
    """A backbone, freshly initialised or with `config.weights`, and its feature width D; images (B, 3, S, S) ->
    features (B, D).

    A vision transformer gets positions for `global_size` and interpolates them for other sizes; its feature is the
    class token. A network of convolutions is in `channels_last` form: the same numbers in another order in memory, in
    which CPUs and GPUs convolve faster; images may come in either. Raises BenchError when the name is unknown, an
    argument does not fit, a view size does not, or the weights do not.
    """
    timm = _timm()
    reserved = RESERVED_ARGS & config.args.keys()
    if reserved:
        raise BenchError(f"model.args: {', '.join(sorted(reserved))} cannot be set here; the benchmark sets it itself "
                         "(weights are model.weights)")  # fmt: skip
    if not timm.is_model(config.backbone):
        raise BenchError("model.backbone: " + _shorten(unknown("backbone", config.backbone, timm.list_models())))
    try:
        model, _ = create(config, global_size, drop_path_rate=drop_path)
    except Exception as error:
        raise BenchError(f"model.args: {config.args} do not fit {config.backbone}: {first_line(error)}") from error
    if config.weights is not None:
        weights.load(model, lambda: _with_head(config, global_size), config)
    model.eval()
    for size in {global_size, local_size}:
        try:
            with torch.no_grad():
                features = model(torch.zeros(1, 3, size, size))
        except Exception as error:
            raise BenchError(
                f"model.backbone: {config.backbone} cannot take views of {size} pixels: {first_line(error)}"
            ) from error
        if not isinstance(features, torch.Tensor) or features.ndim != 2:
            given = f"shape {tuple(features.shape)}" if isinstance(features, torch.Tensor) else "several tensors"
            raise BenchError(f"model.backbone: {config.backbone} yields {given}, not one feature vector an image")
    if convolves(model):
        model = model.to(memory_format=torch.channels_last)
    return model.train(), int(features.shape[1])


def _with_head(config: ModelConfig, size: int) -> nn.Module:
    """The same network with as many classes as timm gives it by default; it draws no random number that others miss."""
    known = _timm().models.get_pretrained_cfg(config.backbone, allow_unregistered=True)
    args = {**config.args, "num_classes": getattr(known, "num_classes", None) or 1000}
    with torch.random.fork_rng(devices=[]):
        return create(config.model_copy(update={"args": args}), size)[0]


def create(config: ModelConfig, size: int, **more: Any) -> tuple[nn.Module, dict[str, Any]]:
    """The model that timm makes of `config` for images of `size` pixels, and the arguments that it took.

    more: further arguments of `timm.create_model`, not among those returned. Raises whatever timm raises.
    """
    timm = _timm()
    plain: dict[str, Any] = {"num_classes": 0, **config.args}
    positions = {"img_size": size, "dynamic_img_size": True}  # a transformer's; other families refuse them
    try:
        arguments = positions | plain
        return timm.create_model(config.backbone, **copy.deepcopy(arguments), **more), arguments
    except TypeError:
        return timm.create_model(config.backbone, **copy.deepcopy(plain), **more), plain


def _timm() -> Any:
    """timm, which knows our own networks too. It takes three seconds, which a run without a backbone need not wait."""
    import timm

    import benchmark.models.small_images  # noqa: F401  it registers them

    return timm


def _shorten(text: str) -> str:
    return text.split("; allowed:")[0] + "; any timm model name is allowed"


def normalises_over_images(network: nn.Module) -> bool:
    """Whether a network's answer to an image depends on the others that go through it together: it has batch
    normalisation that is not by kept statistics (`keep_statistics`)."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return any(_evaluating not in norm._forward_pre_hooks.values() for norm in norms)


def keep_statistics(network: nn.Module) -> None:
    """From now on batch normalisation is by the statistics that the network has, in training too; its scale and shift
    are trained. An image's answer then depends on no other."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(_evaluating)


def _evaluating(layer: nn.Module, _: object) -> None:
    layer.eval()  # just before it answers: whoever trains the whole network sets all its layers to train


def convolves(network: nn.Module) -> bool:
    """Whether a network is one of convolutions; a transformer's only one cuts the image into patches."""
    return sum(isinstance(module, nn.Conv2d) for module in network.modules()) > 1
