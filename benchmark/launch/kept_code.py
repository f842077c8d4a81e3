"""The package as it is now, kept for jobs that run later."""

from __future__ import annotations

import functools
import secrets
import shutil
from pathlib import Path

from benchmark.provenance import PACKAGE, digest_of, source_commit


def _package_files() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    ]


@functools.cache  # what this process runs does not change under it
def code_hash() -> str:
    """What tells this state of the package from others."""
    return digest_of((PACKAGE, path) for path in _package_files())


def keep_code(code: Path) -> None:
    """Copy this package to `code`, once for each state of it, with the commit it came from."""
    if code.exists():
        return
    draft = code.with_name(f".{code.name}.{secrets.token_hex(4)}")
    for path in _package_files():
        target = draft / PACKAGE.name / path.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (draft / PACKAGE.name / "COMMIT").write_text(source_commit() + "\n")
    try:
        draft.rename(code)
    except OSError:  # another submission was faster
        shutil.rmtree(draft)
        if not code.exists():
            raise
