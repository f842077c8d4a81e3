"""Whole documents from the templates: one file that needs no other and can fetch nothing."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from benchmark.files import atomic_write
from benchmark.plan.methods import REFERENCES
from benchmark.report.figures.style import VARIABLES, style_of


def write(path: Path, template: str, styles: list[str], script: str, **shown: Any) -> Path:
    """Write a page. template, styles, script: names of files in templates/; shown: what the template asks for.

    The policy in its head lets the browser run and apply those two alone and fetch nothing, whatever the text holds.
    """
    style, code = "\n".join(map(_read, styles)), _read(script)
    text = environment().get_template(template).render(
        style=Markup(style), style_hash=_hash(style), script=Markup(code), script_hash=_hash(code), **shown
    )  # fmt: skip
    with atomic_write(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))  # names of files need not be UTF-8
    return path


@cache
def environment() -> Environment:
    """The templates. `key` gives a column's colour, outline and whether it is a reference; a name that a template asks
    for and nobody gives is an error."""
    made = Environment(loader=PackageLoader("benchmark.report.page"), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    made.globals["key_of"] = key_of
    return made


def key_of(label: str, shape: str | None = None, hollow: bool | None = None) -> dict[str, Any]:
    """A column's marker for a legend: its outline, its colour's name, and whether it is hollow."""
    from benchmark.report.figures.embed import outline

    colour, own = style_of(label)
    return {"d": outline(shape or own), "colour": VARIABLES[colour],
            "hollow": label in REFERENCES if hollow is None else hollow}  # fmt: skip


def png(content: bytes) -> str:
    """A PNG as a data: address."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def read_bytes(name: str) -> bytes:
    """A file beside the templates."""
    return (resources.files("benchmark.report.page") / "templates" / name).read_bytes()


def _read(name: str) -> str:
    return read_bytes(name).decode("utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
