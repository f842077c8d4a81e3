"""Where in an image a network's features are: a map of them, before they become one vector.

Shapes: B images, S their side, h x w places, C features of a place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.errors import BenchError
from benchmark.models.backbones import convolves

PLACES = 8  # a side: a coarser map says little of where
MAPS = 2  # as PatchCore takes two: the deeper knows more of what is there, the finer where it ends


def has_map(network: nn.Module) -> bool:
    """Whether a network has features of places at all; of timm's families all have."""
    return hasattr(network, "forward_features")


def spatial_features(network: nn.Module, views: Tensor, maps: int = MAPS) -> Tensor:
    """Features (B, h, w, C) of the places of views (B, 3, S, S), top row first.

    A transformer's patch tokens. Of a network of convolutions the deepest `maps` feature maps of at least PLACES a
    side, one behind the other on the grid of the finest; of each, a place is the mean of 3 x 3, of unit length. A
    network that does not give its maps has its last alone. Raises BenchError for features that are no square map.
    """
    if convolves(network):
        pooled = [F.avg_pool2d(each, 3, 1, 1, count_include_pad=False) for each in _feature_maps(network, views, maps)]
        finest = pooled[0].shape[2:]
        upsampled = [F.interpolate(each, finest, mode="bilinear") for each in pooled]
        return torch.cat([F.normalize(each.float(), dim=1) for each in upsampled], 1).permute(0, 2, 3, 1)
    tokens: Tensor = network.forward_features(views)  # type: ignore[operator]
    if tokens.ndim == 4:
        return tokens if tokens.shape[3] == network.num_features else tokens.permute(0, 2, 3, 1)
    tokens = tokens[:, int(getattr(network, "num_prefix_tokens", 0)) :]  # type: ignore[arg-type]
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1]:
        raise BenchError(f"{type(network).__name__}: its {tokens.shape[1]} patches are no square map")
    return tokens.unflatten(1, (side, side))


def _feature_maps(network: nn.Module, views: Tensor, maps: int) -> list[Tensor]:
    """Each (B, C, h, w), finest first."""
    if not hasattr(network, "forward_intermediates"):
        return [network.forward_features(views)]  # type: ignore[operator]
    found: list[Tensor] = network.forward_intermediates(views, intermediates_only=True)  # type: ignore[operator]
    return [each for each in found if min(each.shape[2:]) >= PLACES][-maps:] or found[:1]
