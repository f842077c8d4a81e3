"""What is in the data folder, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.data import catalog, classes, images
from benchmark.errors import BenchError


def listing(root: Path) -> list[dict[str, Any]]:
    """Every split of the catalogue, then the user's own: name, title, split, role, state ("ready", "missing",
    "built-in", "damaged"), count (None if not stored), official_count (None if not known), official (True if stored
    from the set's official files, whole), classes (how many can be used by name, None for none), how_to_get, path."""
    wanted = [(name, split) for name, info in catalog.CATALOG.items() for split in info.counts]
    rows = []
    for name, split in wanted + [found for found in images.stored(root) if found not in wanted]:
        info = catalog.info(name)
        state, count, official = "built-in" if info.builtin else "missing", None, None
        try:
            manifest = images.read_manifest(root, name, split)
        except BenchError as error:
            manifest, state, note = None, "damaged", str(error)
        else:
            note = info.how_to_get
        if manifest:
            count, official = manifest["count"], bool(manifest.get("official"))
            state = "built-in" if info.builtin else "ready"
        elif info.builtin and state != "damaged":
            count, official = info.counts.get(split), True
        rows.append({
            "name": name, "title": info.title, "split": split, "role": _role(info, split), "state": state,
            "count": count, "official_count": info.counts.get(split), "official": official, "how_to_get": note,
            "classes": _classes(root, name, split, manifest), "path": str(images.folder(root, name, split)),
        })  # fmt: skip
    return rows


def _classes(root: Path, name: str, split: str, manifest: dict[str, Any] | None) -> int | None:
    """How many classes of a split are sets of their own."""
    try:
        names = images.class_names(root, name, split) if manifest else classes.official_names(name)
    except BenchError:  # no labels, or classes that cannot be told apart by name
        return None
    return len(names) if names else None


def _role(info: catalog.SetInfo, split: str) -> str:
    """What a split is for: an in-distribution set's test split may be another set's OOD test."""
    roles = {"train": ("id",), "aux": ("aux",), "test": ("id", "ood")}[split]
    return "/".join(role for role in roles if role in info.roles)


def verify(root: Path) -> list[str]:
    """Recompute the hash of every stored split. One line a problem; an empty list means that all is well."""
    problems = []
    for name, split in images.stored(root):
        where = images.folder(root, name, split)
        try:
            manifest = images.read_manifest(root, name, split)
            if manifest is None:
                problems.append(f"{where}: no manifest.json, so it counts as missing; delete it or get {name} again")
            elif (sha := images.rehash(root, name, split)) != manifest["sha256"]:
                problems.append(f"{where}: sha256 {sha[:12]} is not the manifest's {manifest['sha256'][:12]}: changed")
        except BenchError as error:
            problems.append(str(error))
    for path in sorted(Path(root).glob("*/.*.tmp")):
        target = path.with_name(path.name.split(".")[1])
        whole = path.name.endswith(".old.tmp") and not target.exists()
        problems.append(
            f"{path}: left by an interrupted write; " + (f"rename it to {target}" if whole else "delete it")
        )
    return problems
