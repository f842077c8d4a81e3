"""Weights from a file into a backbone, in the forms that their authors give them: timm, DINO, DINOv2, MAE.

Nothing that is read can run code: safetensors, or `torch.load` with `weights_only=True`.
"""

from __future__ import annotations

import argparse
import pickle
import re
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from benchmark.errors import BenchError, first_line
from benchmark.plan.sections import ModelConfig
from benchmark.plan.weights import find_weights, sha256_of

Tensors = dict[str, Tensor]

# Checkpoints hold the network below one of these, the better one first: DINO's teacher is what is evaluated.
INSIDE = ("teacher", "model", "state_dict")
# What names begin with where a network was part of a larger module.
PREFIXES = ("module.", "_orig_mod.", "state_dict.", "teacher.", "model.", "backbone.")
# What a file holds beyond features: heads, and what masked training needs.
HEADS = re.compile(r"(head|head_dist|fc|classifier|last_linear|dino_head|ibot_head|mask_token|decoder\w*)(\.|$)")
COUNTER = "num_batches_tracked"  # of batch normalisation: no evaluation reads it, and older files lack it
NAMED = 3  # names in a line, of each side


def load(network: nn.Module, with_head: Callable[[], nn.Module], config: ModelConfig) -> None:
    """Give `network` the weights that `config` names. with_head: makes the same network with the head that its
    weights come with, whose tensors files matched by order may hold too.

    Raises BenchError, one line with the file, where it is not the file whose hash the settings hold, cannot be read
    without running code, or does not fit.
    """
    assert config.weights is not None
    path = find_weights(config.weights, config.backbone)
    if (found := sha256_of(path)) != config.weights_sha256:
        raise BenchError(
            f"model.weights: {path}: is another file than the settings mean: its SHA-256 is {found[:12]}..., "
            f"model.weights_sha256 {str(config.weights_sha256)[:12]}..."
        )
    tensors = inside(read(path), path)
    fitted = _by_order(tensors, network, with_head) if config.weights_by == "order" else _by_name(tensors, network)
    if fitted is None:
        raise BenchError(f"model.weights: {path}: {_misfit(tensors, network, with_head, config)}")
    bad = [name for name, tensor in fitted.items() if not torch.isfinite(tensor.float()).all()]
    if bad:
        raise BenchError(f"model.weights: {path}: holds NaN or infinity in {_some(bad)}")
    network.load_state_dict(fitted, strict=False)  # strict but for the counters, which `_fits` has seen to


def read(path: Path) -> Any:
    """What a file of weights holds, on the CPU. Raises BenchError for one that is broken or could run code."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix in (".pth", ".pt"):
            with torch.serialization.safe_globals([argparse.Namespace]):  # a plain record, which DINO and MAE keep
                return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BenchError(
            f"model.weights: {path}: holds more than tensors, which could run code, and is not loaded; "
            "ask its author for a .safetensors file"
        ) from error
    except Exception as error:  # whatever the parsers find wrong
        raise BenchError(f"model.weights: {path}: cannot be read as weights ({first_line(error)})") from error
    raise BenchError(f"model.weights: {path}: is no .safetensors, .pth or .pt file")


def inside(raw: Any, path: Path) -> Tensors:
    """The tensors of a checkpoint by name, taken out of what they lie in. Raises BenchError where there are none."""
    while isinstance(raw, Mapping):
        found = next((raw[key] for key in INSIDE if isinstance(raw.get(key), Mapping)), None)
        if found is None:
            break
        raw = found
    items = raw.items() if isinstance(raw, Mapping) else ()
    tensors = {str(name): rows for name, rows in items if isinstance(rows, Tensor)}
    if not tensors:
        raise BenchError(f"model.weights: {path}: holds no tensors by name")
    return tensors


def _by_name(tensors: Tensors, network: nn.Module) -> Tensors | None:
    """The tensors for `network`, None where they do not fit it."""
    tensors, own = _renamed(tensors, network), network.state_dict()
    kept = {name: rows for name, rows in tensors.items() if name in own or not HEADS.match(name)}
    return kept if _fits(kept, own) else None


def _renamed(tensors: Tensors, network: nn.Module) -> Tensors:
    """Tensors by the names of timm's network: without prefixes, and from their authors' form as timm converts it, which
    also resamples positions and patches of another size."""
    tensors = _without_prefixes(tensors, network.state_dict())
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        return dict(convert(dict(tensors), network))
    except Exception:  # a file of another family: its names as they are tell what is wrong
        return tensors


def _without_prefixes(tensors: Tensors, own: Collection[str]) -> Tensors:
    """Tensors by their names without `PREFIXES`, as long as none of them is called as one of the network's own. What
    does not have the prefix that others have is not of the network: DINO's head beside its backbone."""
    while not tensors.keys() & set(own):
        prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): rows for name, rows in tensors.items() if name.startswith(prefix)}
    return tensors


def _by_order(tensors: Tensors, network: nn.Module, with_head: Callable[[], nn.Module]) -> Tensors | None:
    """The tensors for `network`, matched one by one with its own or with those that it has with a head."""
    kept = network.state_dict()
    for own in (kept, with_head().state_dict()):
        if not any(name.endswith(COUNTER) for name in tensors):
            own = {name: rows for name, rows in own.items() if not name.endswith(COUNTER)}
        if [rows.shape for rows in own.values()] == [rows.shape for rows in tensors.values()]:
            return {name: rows for name, rows in zip(own, tensors.values(), strict=True) if name in kept}
    return None


def _fits(tensors: Tensors, own: Tensors) -> bool:
    wanted = {name: rows.shape for name, rows in own.items() if not name.endswith(COUNTER)}
    return {name: rows.shape for name, rows in tensors.items() if not name.endswith(COUNTER)} == wanted


def _misfit(tensors: Tensors, network: nn.Module, with_head: Callable[[], nn.Module], config: ModelConfig) -> str:
    """Why the tensors do not fit: how many names of each side have no partner, and the first few."""
    own = network.state_dict()
    if config.weights_by == "order":
        return (
            f"its {len(tensors)} tensors do not have the shapes of {config.backbone} in order, which has {len(own)}, "
            f"and with its head {len(with_head().state_dict())}"
        )
    named = _renamed(tensors, network)
    lacking = [name for name in own if name not in named and not name.endswith(COUNTER)]
    foreign = [name for name in named if name not in own and not HEADS.match(name)]
    shapes = [
        f"{name} {tuple(rows.shape)}, not {tuple(own[name].shape)}"
        for name, rows in named.items()
        if name in own and rows.shape != own[name].shape
    ]
    said = [f"{len(lacking)} tensors of the network are not in it ({_some(lacking)})"] if lacking else []
    said += [f"{len(foreign)} of its tensors are not the network's ({_some(foreign)})"] if foreign else []
    said += [f"{len(shapes)} have another shape ({_some(shapes)})"] if shapes else []
    if _by_order(tensors, network, with_head) is not None:
        said.append(
            "all match in order and shape: say model.weights_by: order (bench init: --weights-by order) if that is "
            "what is meant"
        )
    return f"does not fit {config.backbone}: {'; '.join(said)}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
