"""What must come along to a machine without a network: wheels of what it lacks, images, and whether all of it fits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from benchmark.errors import BenchError, unknown
from benchmark.kit import sheets

MIB = 2**20
NOT_NEEDED = {"submitit"}  # for SLURM alone
# pip takes a wheel for one of these and no other: it does not know that an older one will do.
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")


def lacking(pyproject: Path) -> list[str]:
    """The requirements of the package that this Python does not have; none where there is no `pyproject` to ask."""
    if not pyproject.exists():
        return []
    wanted = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    names = [re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in wanted]
    return [name for name in names if name not in NOT_NEEDED and _version(name) is None]


def with_needs(names: Iterable[str], python: str) -> list[str]:
    """NAME==VERSION of these packages and of all that they need, in the versions that are installed here.

    python: the version, as in 3.12, of the Python that they are for. Raises BenchError for one that is not here.
    """
    from packaging.requirements import Requirement

    found: dict[str, str] = {}
    left = [Requirement(name) for name in names]
    while left:
        requirement = left.pop(0)
        name = requirement.name.lower().replace("_", "-")
        if name in found:
            continue
        version = _version(name)
        if version is None:
            raise BenchError(f"--lacking {name}: is not installed here, so that its version is not known")
        found[name] = version
        for text in metadata.requires(name) or []:
            need = Requirement(text)
            where = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
            if need.marker is None or need.marker.evaluate({**where, "sys_platform": "linux"}):
                left.append(need)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def fetch_wheels(requirements: Sequence[str], to: Path, python: str, machine: str) -> None:
    """Fetch wheels of exactly these, for CPython `python` on Linux. Raises BenchError with what pip says."""
    shutil.rmtree(to, ignore_errors=True)  # two versions of one package would lie on each other
    platforms = [f"--platform={name}_{machine}" for name in PLATFORMS]
    how = ["--no-deps", "--only-binary=:all:", f"--python-version={python}", "--implementation=cp", *platforms]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", *how, "-d", str(to)]
    done = subprocess.run([*pip, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise BenchError(f"the wheels cannot be fetched: {said[-1] if said else f'pip ended with {done.returncode}'}")


def unpack_wheels(wheels: Path, to: Path) -> Path | None:
    """A folder for PYTHONPATH that holds what the wheels in a folder hold; None where there are none."""
    files = sorted(wheels.glob("*.whl"))
    if not files:
        return None
    shutil.rmtree(to, ignore_errors=True)
    for file in files:
        try:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(to)
        except (OSError, zipfile.BadZipFile) as error:
            raise BenchError(f"{file}: not a readable wheel ({error})") from error
    return to


def take_images(images: Path, keys: Iterable[str], to: Path, loads: int = 1) -> list[Path]:
    """Pack the NAME-SPLIT.npz of these "set/split", and the names of their classes, for so many `loads`: into the
    folder `to`/images, or into `to`/images-1, images-2, ... of about the same size. Returns these folders.

    Raises BenchError that names what is not there.
    """
    for old in to.glob("images*"):
        if re.fullmatch(r"images(-\d+)?", old.name):  # an earlier call's; others may lie beside
            shutil.rmtree(old)
    folders = [to / (f"images-{number}" if loads > 1 else "images") for number in range(1, loads + 1)]
    for folder in folders:
        folder.mkdir(parents=True)
    files = [images / f"{key.replace('/', '-')}.npz" for key in keys]
    for file in files:
        if not file.exists():
            there = [path.stem for path in images.glob("*.npz")]
            raise BenchError(f"{images}: {unknown('image set', file.stem, there)}")
    held = dict.fromkeys(folders, 0)
    for file in sorted(files, key=lambda file: -file.stat().st_size):  # the largest first fill evenly
        lightest = min(held, key=lambda folder: held[folder])
        held[lightest] += sheets.pack(file, lightest).stat().st_size
    if (images / "classes.json").exists():
        for folder in folders:
            shutil.copyfile(images / "classes.json", folder / "classes.json")
    return folders


def sizes(repository: Path, luggage: Path) -> dict[str, int]:
    """Bytes of what travels: the repository as git sees it, untracked files too, and each folder in `luggage`."""
    listed = subprocess.run(
        ["git", "-C", str(repository), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        files = [path for path in (repository / "benchmark").rglob("*") if "__pycache__" not in path.parts]
    else:
        files = [repository / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    inside = luggage.resolve()
    found = {"repository": sum(_size(file) for file in files if inside not in file.resolve().parents)}
    for folder in sorted(path for path in luggage.iterdir() if path.is_dir()):
        found[folder.name] = sum(map(_size, folder.rglob("*")))
    return found


def check_sizes(found: dict[str, int], limit_mib: float) -> None:
    """Raises BenchError where it is more than `limit_mib` in all. found: what travels at one time."""
    total = sum(found.values()) / MIB
    if total > limit_mib:
        largest = max(found, key=lambda name: found[name])
        raise BenchError(
            f"{total:.1f} MiB to carry, of which {largest} {found[largest] / MIB:.1f}; at most {limit_mib:g} "
            "(--carry): bring the images in more loads (--loads), or leave the reference records at home while it "
            "travels: git sparse-checkout set --no-cone '/*' '!/results/reference/'"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() and not path.is_symlink() else 0


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
