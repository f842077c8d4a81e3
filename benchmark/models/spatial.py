"""Where in an image a network's features are: a map of them, before they become one vector.

Shapes: B images, S their side, h x w places, C features of a place.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.errors import BenchError
from benchmark.models.backbones import convolves

PLACES = 8  # a side: a coarser map says little of where


def has_map(network: nn.Module) -> bool:
    """Whether a network has features of places at all; of timm's families all have."""
    return hasattr(network, "forward_features")


def spatial_features(network: nn.Module, views: Tensor) -> Tensor:
    """Features (B, h, w, C) of the places of views (B, 3, S, S), top row first.

    A transformer's patch tokens. Of a network of convolutions the deepest feature map of at least PLACES a side, each
    place the mean of 3 x 3. Raises BenchError for features that are no square map.
    """
    if convolves(network):
        return F.avg_pool2d(_feature_map(network, views), 3, 1, 1, count_include_pad=False).permute(0, 2, 3, 1)
    tokens: Tensor = network.forward_features(views)  # type: ignore[operator]
    if tokens.ndim == 4:
        return tokens if tokens.shape[3] == network.num_features else tokens.permute(0, 2, 3, 1)
    tokens = tokens[:, int(getattr(network, "num_prefix_tokens", 0)) :]  # type: ignore[arg-type]
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1]:
        raise BenchError(f"{type(network).__name__}: its {tokens.shape[1]} patches are no square map")
    return tokens.unflatten(1, (side, side))


def _feature_map(network: nn.Module, views: Tensor) -> Tensor:
    """(B, C, h, w)."""
    if not hasattr(network, "forward_intermediates"):
        found: Tensor = network.forward_features(views)  # type: ignore[operator]
        return found
    maps: list[Tensor] = network.forward_intermediates(views, intermediates_only=True)  # type: ignore[operator]
    return next((found for found in reversed(maps) if min(found.shape[2:]) >= PLACES), maps[0])
