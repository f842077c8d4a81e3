"""Who imports whom in a package, read from its source without running it, and the rules that the house keeps.

Each rule takes a `Tree` and returns its breaches, a line each: an empty list is a kept rule.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# lazy: inside a function, when it is called. types: under `if TYPE_CHECKING`, never when the program runs.
When = Literal["import", "lazy", "types"]


@dataclass(frozen=True)
class Import:
    """`source` imports `target`; both are dotted names of modules of the tree, or `target` is one from outside."""

    source: str
    target: str
    when: When
    line: int

    def __str__(self) -> str:
        how = {"import": "imports", "lazy": "imports, inside a function,", "types": "imports, for its types,"}[
            self.when
        ]
        return f"{self.source}:{self.line} {how} {self.target}"


@dataclass(frozen=True)
class Tree:
    """A package's modules: dotted name -> path (a package's own name stands for its __init__), and their imports."""

    name: str
    files: Mapping[str, Path] = field(repr=False)
    own: Sequence[Import] = field(repr=False)  # of modules of the tree
    outside: Sequence[Import] = field(repr=False)  # of anything else, by its full name

    @classmethod
    def read(cls, folder: Path) -> Tree:
        files = {}
        for path in sorted(folder.rglob("*.py")):
            parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        own, outside = [], []
        for name, path in files.items():
            for target, when, line in _imports(ast.parse(path.read_text()), name, path.name == "__init__.py"):
                known = target
                while known and known not in files:  # `from a.b import name`: a module a.b.name, else the module a.b
                    known = known.rpartition(".")[0]
                if known:
                    own.append(Import(name, known, when, line))
                else:
                    outside.append(Import(name, target, when, line))
        return cls(folder.name, files, own, outside)

    def room(self, module: str) -> str:
        """The folder or module directly below the package that `module` is or lies in; "" for the package itself."""
        return module.removeprefix(self.name).removeprefix(".").partition(".")[0]


def _imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, When, int]]:
    """Everything imported, by its full name: for `from a import b` that is a.b."""

    def walk(node: ast.AST, when: When) -> Iterator[tuple[str, When, int]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, when, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: None if is_package else -1]
            above = above[: len(above) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from ((f"{base}.{alias.name}", when, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((arg.value, when, node.lineno) for arg in node.args[:1] if isinstance(arg, ast.Constant))
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                yield from walk(child, "types")
            for child in node.orelse:
                yield from walk(child, when)
            return
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and when == "import"
        for child in ast.iter_child_nodes(node):
            yield from walk(child, "lazy" if inside else when)

    yield from walk(tree, "import")


# The rules ----------------------------------------------------------------------------------------------------------


def circles(tree: Tree) -> list[str]:
    """Modules that import each other, in whatever number of steps, each circle once."""
    below: dict[str, set[str]] = {name: set() for name in tree.files}
    for one in tree.own:
        if one.when != "types" and one.source != one.target:
            below[one.source].add(one.target)
    found = {}
    for start in sorted(below):
        ways: list[tuple[str, ...]] = [(start,)]  # breadth first: the shortest way back is the one to show
        seen: set[str] = set()
        while ways:
            way = ways.pop(0)
            if start in below[way[-1]]:
                found.setdefault(frozenset(way), " -> ".join([*way, start]))
                break
            ways += [(*way, name) for name in sorted(below[way[-1]] - seen)]
            seen |= below[way[-1]]
    return list(found.values())


def against_the_flow(tree: Tree, flow: Sequence[Sequence[str]]) -> list[str]:
    """Imports from a room of one that stands later in `flow`, or beside it, and rooms that have no place there."""
    place = {room: number for number, rooms in enumerate(flow) for room in rooms}
    rooms = sorted({tree.room(name) for name in tree.files} - {""})
    breaches = [f"{tree.name}/{room}: has no place in the flow" for room in rooms if room not in place]
    for one in tree.own:
        source, target = tree.room(one.source), tree.room(one.target)
        if source == target or not target or source not in place or target not in place:
            continue  # a name of the package itself, as its version, is anyone's
        if place[target] > place[source] or (place[target] == place[source] and len(flow[place[source]]) == 1):
            breaches.append(f"{one}: {target} comes after {source}")
    return breaches


def reach(tree: Tree, room: str, forbidden: Iterable[str]) -> list[str]:
    """Ways by which the modules of `room` come to import one of the packages `forbidden`, through whichever of ours."""
    breaches = []
    # Of the packages around a module only what runs when they are imported, of the modules also what functions import.
    ways = [((name,), True) for name in tree.files if tree.room(name) == room]
    seen = {(way[0], whole) for way, whole in ways}
    while ways:
        way, whole = ways.pop(0)
        counts = ("import", "lazy") if whole else ("import",)
        for one in tree.outside:
            if one.source == way[-1] and one.when in counts and one.target.partition(".")[0] in forbidden:
                breaches.append(" -> ".join([*way, one.target]))
        parts = way[-1].split(".")
        following = [(one.target, True) for one in tree.own if one.source == way[-1] and one.when in counts]
        following += [(".".join(parts[:size]), False) for size in range(1, len(parts))]
        for name, all_of_it in following:
            if (name, all_of_it) not in seen and (name, True) not in seen:
                seen.add((name, all_of_it))
                ways.append(((*way, name), all_of_it))
    return sorted(set(breaches))


def only_in(tree: Tree, package: str, allowed: str) -> list[str]:
    """Imports of the outside `package` by any other module than `allowed`."""
    return [str(one) for one in tree.outside if one.target.partition(".")[0] == package and one.source != allowed]


def long_files(folder: Path, most: int, exceptions: Iterable[str] = ()) -> list[str]:
    """Python files of more than `most` lines, less those whose path in `folder` is among the exceptions."""
    counts = {str(path.relative_to(folder)): len(path.read_text().splitlines()) for path in folder.rglob("*.py")}
    return [f"{name}: {n} lines" for name, n in sorted(counts.items()) if n > most and name not in set(exceptions)]


def lonely_modules(folder: Path) -> list[str]:
    """Folders that hold one module beside __init__.py and nothing else to import: it needs no folder."""
    breaches = []
    for place in sorted({path.parent for path in folder.rglob("*.py")} - {folder}):
        modules = [path for path in place.glob("*.py") if path.name != "__init__.py"]
        packages = [path for path in place.iterdir() if path.is_dir() and any(path.rglob("*.py"))]
        if len(modules) + len(packages) == 1:
            breaches.append(f"{place.relative_to(folder)}: holds only {[*modules, *packages][0].name}")
    return breaches


def nameless_modules(folder: Path) -> list[str]:
    """Files and folders whose name says nothing of what is in them."""
    empty = {"utils", "util", "helpers", "helper", "common", "misc"}
    paths = sorted(path for path in folder.rglob("*") if path.suffix == ".py" or path.is_dir())
    return [str(path.relative_to(folder)) for path in paths if path.stem in empty]
