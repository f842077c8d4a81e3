"""Projection heads: features (B, D) -> logits over soft classes (B, K)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.plan.methods import DinoConfig

# The last layer of a head is float32 also where the rest is bf16: rounded to bf16, a logit is off by up to 0.002, which
# the teacher's temperature of 0.01 would make 0.2 nats.


class DinoHead(nn.Module):
    """The authors' head: three-layer MLP to a bottleneck, L2-normalised, then a weight-normed layer to K logits.

    The last layer's weight is `scale` (K, 1) times unit rows, so a logit is `scale` times a cosine; `norm_last_layer`
    is off, so `scale` learns (methods/PAPER.md, "Model").
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
