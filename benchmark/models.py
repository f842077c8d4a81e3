"""timm backbones that yield a feature vector, and the projection heads that turn it into soft-class logits.

Shapes: B images, D features, K soft classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.config import DinoConfig, ModelConfig
from benchmark.errors import BenchError, first_line, unknown

# The benchmark's own: a run starts from scratch, and `drop_path` has its own key.
RESERVED_ARGS = {"pretrained", "checkpoint_path", "pretrained_cfg", "num_classes", "drop_path_rate"}


def build_backbone(config: ModelConfig, global_size: int, local_size: int, drop_path: float) -> tuple[nn.Module, int]:
    """A freshly initialised timm backbone and its feature width D; images (B, 3, S, S) -> features (B, D).

    A vision transformer gets positions for `global_size` and interpolates them for other sizes; its feature is the
    class token. Raises BenchError when the name is unknown, an argument does not fit, or a view size does not.
    """
    import timm  # three seconds, which a run without a backbone need not wait

    reserved = RESERVED_ARGS & config.args.keys()
    if reserved:
        raise BenchError(f"model.args: {', '.join(sorted(reserved))} cannot be set here; the benchmark sets it itself")
    if not timm.is_model(config.backbone):
        raise BenchError("model.backbone: " + _shorten(unknown("backbone", config.backbone, timm.list_models())))
    arguments: dict[str, Any] = {"num_classes": 0, "drop_path_rate": drop_path}
    positions: dict[str, Any] = {
        "img_size": global_size,
        "dynamic_img_size": True,
    }  # a transformer's; other families refuse them
    try:
        try:
            model = timm.create_model(config.backbone, **(arguments | positions | config.args))
        except TypeError:
            model = timm.create_model(config.backbone, **(arguments | config.args))
    except Exception as error:
        raise BenchError(f"model.args: {config.args} do not fit {config.backbone}: {first_line(error)}") from error
    model.eval()
    for size in {global_size, local_size}:
        try:
            with torch.no_grad():
                features = model(torch.zeros(1, 3, size, size))
        except Exception as error:
            raise BenchError(
                f"model.backbone: {config.backbone} cannot take views of {size} pixels: {first_line(error)}"
            ) from error
        if features.ndim != 2:
            raise BenchError(
                f"model.backbone: {config.backbone} yields shape {tuple(features.shape)}, "
                "not one feature vector an image"
            )
    return model.train(), int(features.shape[1])


def _shorten(text: str) -> str:
    return text.split("; allowed:")[0] + "; any timm model name is allowed"


def normalises_over_images(network: nn.Module) -> bool:
    """Whether a network's answer to an image depends on the others that go through it together."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


# The last layer of a head is float32 also where the rest is bf16: rounded to bf16, a logit is off by up to 0.002, which
# the teacher's temperature of 0.01 would make 0.2 nats.


class DinoHead(nn.Module):
    """The authors' head: three-layer MLP to a bottleneck, L2-normalised, then a weight-normed layer to K logits.

    The last layer's weight is `scale` (K, 1) times unit rows, so a logit is `scale` times a cosine; `norm_last_layer`
    is off, so `scale` learns (METHOD: Model).
    """

    def __init__(self, features: int, config: DinoConfig) -> None:
        super().__init__()
        hidden, bottleneck = config.head_hidden, config.head_bottleneck
        self.mlp = nn.Sequential(
            nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.mlp.apply(_initialise)
        self.direction = nn.Parameter(torch.empty(config.classes, bottleneck))
        nn.init.kaiming_uniform_(self.direction, a=5**0.5)  # as nn.Linear; only its direction matters
        self.scale = nn.Parameter(torch.ones(config.classes, 1))

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.mlp(features)
        with torch.autocast(hidden.device.type, enabled=False):
            bottleneck = F.normalize(hidden.to(self.direction.dtype), dim=-1)
            return F.linear(bottleneck, self.scale * F.normalize(self.direction, dim=1))

    def last_layer(self) -> list[nn.Parameter]:
        return [self.direction, self.scale]


class TextHead(nn.Module):
    """The head as the paper's text has it: two fully connected layers to K logits."""

    def __init__(self, features: int, config: DinoConfig) -> None:
        super().__init__()
        self.first = nn.Linear(features, config.head_hidden)
        self.last = nn.Linear(config.head_hidden, config.classes)
        self.apply(_initialise)

    def forward(self, features: Tensor) -> Tensor:
        hidden = F.gelu(self.first(features))
        with torch.autocast(hidden.device.type, enabled=False):
            logits: Tensor = self.last(hidden.to(self.last.weight.dtype))
        return logits

    def last_layer(self) -> list[nn.Parameter]:
        return list(self.last.parameters())


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


HEADS: dict[str, type[DinoHead] | type[TextHead]] = {"dino": DinoHead, "text": TextHead}
