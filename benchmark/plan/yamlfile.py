"""Read YAML the way people mean it: no code, no duplicate keys, and none of YAML 1.1's surprises.

PyYAML alone reads `1e-4` as text, `on` as true, `010` as 8 and `3:30:00` as 12600. Here numbers are decimal, with or
without an exponent, only `true` and `false` are booleans, and everything else is text.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import BenchError, first_line


def _decimal_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


def _decimal_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node))


def _strict(base: Any) -> Any:
    """A loader class with the rules above, on PyYAML's Python parser or its C one."""

    class Loader(base):
        yaml_implicit_resolvers: dict[str, list[Any]] = {}

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key_node, _ in node.value:
                if key_node.tag != "tag:yaml.org,2002:str":
                    raise yaml.MarkedYAMLError(None, None, f"key {key_node.value!r} is not text", key_node.start_mark)
                if key_node.value in seen:
                    raise yaml.MarkedYAMLError(None, None, f"duplicate key {key_node.value!r}", key_node.start_mark)
                seen.add(key_node.value)
            return super().construct_mapping(node, deep)

    Loader.add_constructor("tag:yaml.org,2002:int", _decimal_int)
    Loader.add_constructor("tag:yaml.org,2002:float", _decimal_float)
    for tag, pattern, first in (
        ("bool", r"true|false", "tf"),
        ("null", r"null|~|", ["n", "~", ""]),
        ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
        ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))
    return Loader


_Loader = _strict(yaml.SafeLoader)
_FastLoader = _strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # libyaml, ten times as fast
_READ_DIFFERENTLY = re.compile(r"[^\n -~]|[?!%|>]")  # where the two parsers take different texts for YAML


def parse(text: str, origin: str) -> Any:
    """The value of one YAML document. Raises BenchError, one line that names `origin`, line and column."""
    if not _READ_DIFFERENTLY.search(text):
        with suppress(yaml.YAMLError, ValueError):  # the Python parser finds it too, and says it in its own words
            return yaml.load(text, Loader=_FastLoader)
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a tag that its text does not fit, as in "!!int x"
        mark = getattr(error, "problem_mark", None)
        where = f"{origin}:{mark.line + 1}:{mark.column + 1}" if mark else origin
        problem = getattr(error, "problem", None) or first_line(error)
        raise BenchError(f"{where}: {problem}") from error


def read(path: Path) -> dict[str, Any]:
    """The mapping in the YAML file `path`. Raises BenchError when it is missing, broken or no mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BenchError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: cannot be read as text ({error})") from error
    value = parse(text, str(path))
    if not isinstance(value, dict):
        raise BenchError(f"{path}: must be a mapping of keys, is {type(value).__name__}")
    return value


def write(value: Any) -> str:
    """`value` as YAML text that `parse` reads back unchanged."""
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=110)
