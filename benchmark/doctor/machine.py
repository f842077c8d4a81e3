"""Packages, GPUs, cores, memory and disks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from benchmark.cores import usable_cores
from benchmark.doctor.findings import Finding
from benchmark.launch.slots import visible_gpus
from benchmark.provenance import source_commit

FREE_GB = {"results": 5.0, "data": 2.0}  # below which a folder's disk is soon full
FULL_GB = 0.05
COMPILE_SECONDS, COMPUTE_SECONDS = 120, 60
OPTIONAL = {"submitit": "SLURM"}  # a package that only something needs
COMPUTES = """
import torch
one = torch.ones(64, 64, device="cuda:{number}", dtype=torch.bfloat16)
print("right" if float((one @ one).sum()) == 64.0**3 else "wrong")
"""
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
        answer, said = _in_a_process(COMPUTES.format(number=number), COMPUTE_SECONDS)
        if answer is None:
            found.append(Finding("broken", "GPU", f"{name}; does not compute: {said}"))
        elif answer == "right":
            found.append(Finding("ok", "GPU", f"{name}, bf16 works"))
        else:
            found.append(Finding("note", "GPU", f"{name}, wrong in bf16", "train with train.precision: fp32"))
    return [*found, *_compiler()]


def _in_a_process(script: str, seconds: float) -> tuple[str | None, str]:
    """What a script prints, or None and why: whatever hangs or crashes in it takes nothing along."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"did not end in {seconds:g} s"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return done.stdout.strip(), ""


def _compiler() -> list[Finding]:
    """Whether torch.compile works."""
    answer, said = _in_a_process(COMPILES, COMPILE_SECONDS)
    if answer is not None:
        return [Finding("ok", "compile", "torch.compile works")]
    to_do = "a C compiler and Triton make views on GPUs quicker; without them all else is the same"
    return [Finding("note", "compile", f"torch.compile does not work: {said}", to_do)]


def cores_and_memory(root: Path = Path("/")) -> list[Finding]:
    """What this process may use, container limits included; `root` is where /proc and /sys are looked for."""
    cores = usable_cores()
    detail = f"{cores} of {os.cpu_count()}"
    cgroups = root / "sys/fs/cgroup"
    quota = _words(cgroups / "cpu.max")
    if not quota:  # the first version of cgroups
        quota = [*_words(cgroups / "cpu/cpu.cfs_quota_us"), *_words(cgroups / "cpu/cpu.cfs_period_us")]
    if len(quota) == 2 and quota[0] not in ("max", "-1") and int(quota[0]) / int(quota[1]) < cores:
        limit = int(quota[0]) / int(quota[1])
        found = [Finding("note", "cores", f"{detail}, of which a container limit leaves {limit:.3g}", "use --jobs")]
    else:
        found = [Finding("ok", "cores", detail)]
    memory = dict(line.split(":", 1) for line in _text(root / "proc/meminfo").splitlines() if ":" in line)
    if "MemTotal" in memory:
        total, free = (int(memory[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
        said = _text(cgroups / "memory.max") or _text(cgroups / "memory/memory.limit_in_bytes")
        limited = said.strip().isdecimal() and int(said) < total
        limit_text = f", a container limit of {int(said) / 2**30:.1f} GiB" if limited else ""
        found.append(Finding("ok", "memory", f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free{limit_text}"))
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
    if folder.exists() and not folder.is_dir():
        return [Finding("broken", what, f"{folder}: is a file, not a folder", f"choose another: --{what}")]
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return [
            Finding("broken", what, f"{folder}: cannot be written to ({error.strerror})", f"choose another: --{what}")
        ]
    free = shutil.disk_usage(place).free / 2**30
    if free < FULL_GB:
        return [Finding("broken", what, f"{folder}: its disk is full", "make room: nothing can be written")]
    if free < FREE_GB[what]:
        return [Finding("note", what, f"{folder}: {free:.1f} GiB free, which is soon full", "make room before a sweep")]
    return [Finding("ok", what, f"{folder}: {free:,.0f} GiB free")]
