"""Commit, packages and hardware: what someone needs to run the same again."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmark import plugins
from benchmark.cores import usable_cores
from benchmark.provenance import code_fingerprint, source_commit
from benchmark.store.folders import RunFolder

CODE = code_fingerprint()  # when it is imported: a fork of a server that imported earlier runs what was there then


def environment(device: torch.device) -> dict[str, Any]:
    """Commit, packages and hardware: what someone needs to run the same again."""
    packages = {}
    for name in ("torch", "torchvision", "timm", "numpy", "scikit-learn"):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = "unknown"
    return {
        "commit": source_commit(),
        "code": CODE,
        "packages": packages,
        **({"plugins": loaded} if (loaded := plugins.loaded()) else {}),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }


def commits(folder: RunFolder) -> dict[str, Any]:
    """The commits of all attempts, in order, where the run went on with other code than it began with; and the
    fingerprints of the code that makes numbers likewise, of attempts that noted theirs."""
    attempts = folder.read_attempts()
    commits = list(dict.fromkeys(attempt.get("commit") for attempt in attempts))
    codes = list(dict.fromkeys(attempt["code"] for attempt in attempts if "code" in attempt))
    return ({"commits": commits} if len(commits) > 1 else {}) | ({"codes": codes} if len(codes) > 1 else {})


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
