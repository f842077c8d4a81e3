"""The package as it is now, kept for jobs that run later."""

from __future__ import annotations

import functools
import hashlib
import secrets
import shutil
from pathlib import Path

import benchmark
from benchmark.provenance import source_commit


def _package_files() -> list[Path]:
    package = Path(benchmark.__file__).parent
    return [
        path
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    ]


@functools.cache  # what this process runs does not change under it
def code_hash() -> str:
    """What tells this state of the package from others."""
    package, digest = Path(benchmark.__file__).parent, hashlib.sha256()
    for path in _package_files():
        digest.update(f"{path.relative_to(package)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def keep_code(code: Path) -> None:
    """Copy this package to `code`, once for each state of it, with the commit it came from."""
    if code.exists():
        return
    package = Path(benchmark.__file__).parent
    draft = code.with_name(f".{code.name}.{secrets.token_hex(4)}")
    for path in _package_files():
        target = draft / package.name / path.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (draft / package.name / "COMMIT").write_text(source_commit() + "\n")
    try:
        draft.rename(code)
    except OSError:  # another submission was faster
        shutil.rmtree(draft)
        if not code.exists():
            raise
