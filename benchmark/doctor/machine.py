"""Packages, GPUs, cores, memory and disks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from benchmark.doctor.findings import Finding
from benchmark.errors import first_line
from benchmark.launch.slots import visible_gpus
from benchmark.provenance import source_commit

FREE_GB = {"results": 5.0, "data": 2.0}  # below which a folder's disk is soon full
COMPILE_SECONDS = 120
OPTIONAL = {"submitit": "SLURM"}  # a package that only something needs
COMPILES = "import torch; f = torch.compile(lambda x: x.sin() + 1); f(torch.ones(8, device='cuda'))"


def packages() -> list[Finding]:
    """The package's own version, and its dependencies against what it requires."""
    from packaging.requirements import Requirement

    try:
        version, required = metadata.version("ood-bench"), metadata.requires("ood-bench") or []
    except metadata.PackageNotFoundError:
        return [Finding("note", "packages", "ood-bench is not installed but run from its folder", "pip install -e .")]
    commit = source_commit()
    known = "" if commit == "unknown" else f" (code {commit[:12]}{'+edited' if commit.endswith('+edited') else ''})"
    found, there = [], []
    for requirement in map(Requirement, required):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name, wanted = requirement.name, f"{requirement.name}{requirement.specifier}"
        try:
            seen = metadata.version(name)
        except metadata.PackageNotFoundError:
            needed = f", which {OPTIONAL[name]} alone needs" if name in OPTIONAL else ""
            found.append(
                Finding("missing" if needed else "broken", "packages", f"no {name}{needed}", f"pip install '{wanted}'")
            )
            continue
        there.append(f"{name} {seen}")
        if not requirement.specifier.contains(seen, prereleases=True):
            found.append(Finding("broken", "packages", f"{name} {seen} is not {wanted}", f"pip install '{wanted}'"))
    return [
        Finding("ok", "ood-bench", f"{version}{known}, Python {sys.version.split()[0]}"),
        Finding("ok", "packages", ", ".join(there)),
        *found,
    ]


def gpus() -> list[Finding]:
    """Each GPU that torch sees, computed with in bf16; or that there is none."""
    import torch

    seen = visible_gpus()
    if not torch.cuda.is_available():
        if seen:
            using = f"torch {torch.__version__} (CUDA: {torch.version.cuda or 'none'})"
            to_do = "install a torch that fits the driver which nvidia-smi names"
            return [Finding("broken", "GPU", f"{len(seen)} on this machine that {using} cannot use", to_do)]
        return [Finding("note", "GPU", "none: runs train on the CPU's cores; paper-scale sweeps need one")]
    found = []
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        name = f"{number}: {about.name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, "
        name += f"compute capability {about.major}.{about.minor}, CUDA {torch.version.cuda}"
        try:
            one = torch.ones(64, 64, device=f"cuda:{number}", dtype=torch.bfloat16)
            works = float((one @ one).sum()) == 64.0**3
        except Exception as error:
            found.append(Finding("broken", "GPU", f"{name}; does not compute: {first_line(error)}"))
            continue
        if works:
            found.append(Finding("ok", "GPU", f"{name}, bf16 works"))
        else:
            found.append(Finding("note", "GPU", f"{name}, wrong in bf16", "train with train.precision: fp32"))
    return [*found, *_compiler()]


def _compiler() -> list[Finding]:
    """Whether torch.compile works, in a process of its own: a compiler that hangs or crashes takes nothing along."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", COMPILES], capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return [
            Finding("note", "compile", f"torch.compile did not end in {COMPILE_SECONDS} s: views are made without it")
        ]
    if done.returncode == 0:
        return [Finding("ok", "compile", "torch.compile works")]
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    to_do = "a C compiler and Triton make views on GPUs quicker; without them all else is the same"
    return [Finding("note", "compile", f"torch.compile does not work: {said}", to_do)]


def cores_and_memory(root: Path = Path("/")) -> list[Finding]:
    """What this process may use, container limits included; `root` is where /proc and /sys are looked for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    detail = f"{cores} of {os.cpu_count()}"
    quota = _words(root / "sys/fs/cgroup/cpu.max")
    if len(quota) == 2 and quota[0] != "max" and int(quota[0]) / int(quota[1]) < cores:
        limit = int(quota[0]) / int(quota[1])
        found = [Finding("note", "cores", f"{detail}, of which a container limit leaves {limit:.3g}", "use --jobs")]
    else:
        found = [Finding("ok", "cores", detail)]
    memory = dict(line.split(":", 1) for line in _text(root / "proc/meminfo").splitlines() if ":" in line)
    if "MemTotal" in memory:
        total, free = (int(memory[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
        limit_text = _text(root / "sys/fs/cgroup/memory.max").strip()
        limited = f", a container limit of {int(limit_text) / 2**30:.1f} GiB" if limit_text.isdecimal() else ""
        found.append(Finding("ok", "memory", f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free{limited}"))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _words(path: Path) -> list[str]:
    return _text(path).split()


def disk(what: str, folder: Path) -> list[Finding]:
    """Whether a folder, or the nearest one above it that is there, can be written to, and its free space."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return [
            Finding("broken", what, f"{folder}: cannot be written to ({error.strerror})", f"choose another: --{what}")
        ]
    free = shutil.disk_usage(place).free / 2**30
    if free < FREE_GB[what]:
        return [Finding("note", what, f"{folder}: {free:.1f} GiB free, which is soon full", "make room before a sweep")]
    return [Finding("ok", what, f"{folder}: {free:,.0f} GiB free")]
