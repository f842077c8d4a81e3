"""Weights that a network begins with: which file is meant, its SHA-256, and what it was trained on. No network here."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from benchmark.errors import BenchError, first_line
from benchmark.files import expanded
from benchmark.plan.methods import REFERENCES
from benchmark.plan.validation import Strict

TIMM = "timm"  # in `model.weights`: timm's own for the backbone
PACKAGE = "package:"  # before NAME/FILE: a file that an installed Python package holds
SIZES = (32, 518)  # pixels a side of the images of a frozen network
FILTERS = ("bicubic", "bilinear")  # that images can be resized with
BACKBONE = "vit_small_patch16_224"  # where none is named: the paper's

Colours = Annotated[list[float], Field(min_length=3, max_length=3)]


class WeightsConfig(Strict):
    """The weights that a backbone begins with, and the images that they are used to."""

    # A .safetensors, .pth or .pt file, package:NAME/FILE, or "timm". A run is known by the SHA-256, wherever the file
    # lies; where none is given it is taken when the settings are read.
    weights: Annotated[str, Field(min_length=1)] | None = None
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    weights_by: Literal["name", "order"] = "name"  # how the file's tensors are matched with the network's
    # How the weights were trained, and on what. Nobody can tell from the file, so it must be said.
    pretraining: Literal["supervised", "self-supervised"] | None = None
    pretraining_data: str | None = None  # "imagenet-1k" is known by its classes
    # What the network's images have subtracted (in 0..1) and are divided by, and the filter that resizes whole images;
    # where not given, as timm has it for the backbone.
    mean: Colours | None = None
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)] | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(given := raw.get("weights"), str) or not given:
            return raw
        backbone = str(raw.get("backbone", BACKBONE))
        try:
            if raw.get("weights_sha256") is None:
                path = find_weights(given, backbone)
                kept = given if given == TIMM or given.startswith(PACKAGE) else str(path.absolute())
                raw = raw | {"weights": kept, "weights_sha256": sha256_of(path)}
            if any(raw.get(key) is None for key in ("mean", "std", "interpolation")):
                known = {key: value for key, value in used_to(backbone).items() if key != "size"}
                raw = known | {key: value for key, value in raw.items() if key not in known or value is not None}
        except BenchError as error:
            raise ValueError(str(error)) from error
        return raw

    @model_validator(mode="after")
    def _belong_together(self) -> WeightsConfig:
        if self.weights is not None:
            if self.pretraining is None:
                raise ValueError("pretraining: must be given with weights: supervised or self-supervised")
            if self.weights_by == "order" and (self.weights == TIMM or self.weights.endswith(".safetensors")):
                raise ValueError("weights_by: order is for .pth and .pt files; a .safetensors file keeps no order")
            return self
        for key in WeightsConfig.model_fields:
            if getattr(self, key) != WeightsConfig.model_fields[key].default:
                raise ValueError(f"{key}: {getattr(self, key)!r} given, but there are no weights")
        return self


# Of the settings above, those of a run without weights.
NO_WEIGHTS = {key: field.default for key, field in WeightsConfig.model_fields.items()}


def find_weights(given: str, backbone: str) -> Path:
    """The file that `model.weights` means, of timm fetched where it is not here yet. Raises BenchError, one line."""
    if given == TIMM:
        return _timm_file(backbone)
    path = _in_package(given) if given.startswith(PACKAGE) else expanded(given)
    if not path.is_file():
        raise BenchError(f"weights: {path}: {'is no file' if path.exists() else 'no such file'}")
    return path


def sha256_of(path: Path) -> str:
    """In hexadecimal digits. Raises BenchError where the file cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BenchError(f"weights: {path}: cannot be read ({error.strerror})") from error


def _in_package(given: str) -> Path:
    name, _, file = given.removeprefix(PACKAGE).partition("/")
    found = importlib.util.find_spec(name) if name.isidentifier() else None  # finds it, and runs nothing of it
    if not file or ".." in Path(file).parts:
        raise BenchError(f"weights: {given}: is written {PACKAGE}NAME/FILE, FILE within the Python package NAME")
    if found is None or not found.submodule_search_locations:
        raise BenchError(f"weights: {given}: no Python package {name} is installed here; install it with pip")
    return Path(next(iter(found.submodule_search_locations))) / file


# Asked in a process of its own: it takes seconds and imports torch, which reading a plan must not.
_ASK_TIMM = """
import json, sys, timm
known = timm.models.get_pretrained_cfg(sys.argv[1])
print(json.dumps(known and {key: getattr(known, key) for key in
    ("hf_hub_id", "hf_hub_filename", "input_size", "mean", "std", "interpolation")}))
"""


@functools.cache
def _known_to_timm(backbone: str) -> dict[str, Any]:
    """What timm knows of the weights it has for a backbone; {} for a name that is not timm's."""
    asked = subprocess.run([sys.executable, "-c", _ASK_TIMM, backbone], capture_output=True, text=True)
    if asked.returncode:
        return {}
    return json.loads(asked.stdout.splitlines()[-1]) or {}


def _timm_file(backbone: str) -> Path:
    known = _known_to_timm(backbone)
    if not (place := known.get("hf_hub_id")):
        raise BenchError(f"weights: {TIMM}: timm has no weights for {backbone!r}; name a file")
    from huggingface_hub import hf_hub_download

    file = known["hf_hub_filename"] or "model.safetensors"
    try:
        return Path(hf_hub_download(place, file))
    except Exception as error:  # no network, no such file, a full disk: whatever, there are no weights
        raise BenchError(
            f"weights: {TIMM}: {file} of {place} cannot be fetched here ({first_line(error)}); "
            "copy that file here and name it"
        ) from error


def used_to(backbone: str) -> dict[str, Any]:
    """The images that timm's weights for a backbone are used to: size (pixels), mean, std, interpolation.

    Raises BenchError where timm knows none.
    """
    known = _known_to_timm(backbone)
    if known.get("interpolation") not in FILTERS:
        raise BenchError(
            f"timm does not say which images weights for {backbone!r} are used to; give mean, std, interpolation "
            f"({' or '.join(FILTERS)}) and, with method frozen, views.global_size"
        )
    return {
        "size": known["input_size"][-1],
        **{key: [float(value) for value in known[key]] for key in ("mean", "std")},
        "interpolation": known["interpolation"],
    }


def sized(views: Any, model: Any) -> Any:
    """The `views` of a frozen network as given, with the size that its weights are used to where none is."""
    if not isinstance(views, dict) or "global_size" in views or not isinstance(model, dict):
        return views
    try:
        return {**views, "global_size": used_to(str(model.get("backbone", BACKBONE)))["size"]}
    except BenchError as error:
        raise ValueError(f"views.global_size: {error}") from error


def check_method(method: str, model: WeightsConfig, size: int) -> None:
    """Raise ValueError, one line with the key, where a run of this method cannot have these weights, or images of so
    many pixels a side."""
    if method == "frozen" and model.weights is None:
        raise ValueError("model.weights: method frozen scores a network with weights, and none are given")
    if method in REFERENCES and model.weights is not None:
        raise ValueError(f"model.weights: {method} is a row without any; method frozen scores a network with weights")
    if method == "frozen" and not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"views.global_size: {size} given; method frozen takes {SIZES[0]} to {SIZES[1]} pixels")
