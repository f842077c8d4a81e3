"""Writing a detector's folder: whole, or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
from torch import Tensor

from benchmark.detector.artifact import BACKBONE, BANK, CARD, HEAD, NAMES, ONNX, PATCHES, SETTINGS
from benchmark.errors import BenchError
from benchmark.files import atomic_write


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    with atomic_write(path) as stream:
        stream.write(safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}))


@contextmanager
def in_place_of(to: Path) -> Iterator[Path]:
    """A new folder that takes the place of `to` when all in it is written; detector.json, with the checksums, last."""
    made = to.absolute().with_name(f".{to.name}.{secrets.token_hex(4)}.tmp")
    made.mkdir(parents=True)
    try:
        yield made
        if (to / SETTINGS).exists():
            for name in (BACKBONE, HEAD, BANK, PATCHES, NAMES, ONNX, CARD, SETTINGS):
                if (made / name).exists():
                    os.replace(made / name, to / name)
                else:
                    (to / name).unlink(missing_ok=True)
        else:
            os.rename(made, to)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def check_target(to: Path, replace: bool) -> None:
    if to.exists() and not to.is_dir():
        raise BenchError(f"--to {to}: is a file; a detector is a folder")
    if to.is_dir() and any(to.iterdir()):
        if not (to / SETTINGS).exists():
            raise BenchError(f"--to {to}: holds other files; choose a new folder")
        if not replace:
            raise BenchError(f"--to {to}: holds a detector; allow its replacement with --replace")
