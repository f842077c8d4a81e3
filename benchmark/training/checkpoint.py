"""Checkpoints: written whole, sealed with their checksum, and one kept in reserve."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmark.errors import BenchError, first_line
from benchmark.files import atomic_write


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all, its own sha256 at its end; the one before becomes *.previous.pt."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getbuffer()
    with atomic_write(path.with_suffix(".new.pt")) as stream:
        stream.write(payload)
        stream.write(hashlib.sha256(payload).digest())
    # Between these two renames only the previous and the new file exist; loading looks at all three.
    if path.exists():
        path.replace(path.with_suffix(".previous.pt"))
    path.with_suffix(".new.pt").replace(path)


def load_checkpoint(path: Path, identity: str, say: Callable[[str], None] = print) -> dict[str, Any] | None:
    """The newest readable checkpoint, or None where there is none.

    Raises BenchError when there are checkpoints but none can be read, or when one belongs to another run.
    """
    found = [p for p in (path.with_suffix(".new.pt"), path, path.with_suffix(".previous.pt")) if p.exists()]
    for candidate in found:
        try:
            content = _read_checkpoint(candidate)
        except Exception as error:
            say(f"{candidate}: broken checkpoint ({first_line(error)}); trying the one before")
            continue
        if content["identity"] != identity:
            raise BenchError(f"{candidate}: belongs to another run ({content['identity'][:8]}, not {identity[:8]})")
        return content
    if found:
        raise BenchError(
            f"{path}: no readable checkpoint: {', '.join(p.name for p in found)} broken; "
            "delete them to start the run again"
        )
    return None


def _read_checkpoint(path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    payload, seal = raw[:-32], raw[-32:]
    if hashlib.sha256(payload).digest() != seal:
        raise ValueError("its checksum does not match")
    content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return content
