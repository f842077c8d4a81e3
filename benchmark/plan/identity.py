"""Hashes that name a run: the same settings give the same hash, on any machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(value: Any) -> str:
    """`value` as JSON in its one canonical form: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def sha256(text: str) -> str:
    """sha256 in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of `value`."""
    return sha256(canonical(value))


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings by their dotted keys, {"train": {"lr": 1}} -> {"train.lr": 1}. A list is one."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        key: leaf
        for name, inner in value.items()
        for key, leaf in flat(inner, f"{prefix}.{name}" if prefix else str(name)).items()
    }
