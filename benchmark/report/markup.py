"""HTML that is escaped unless said otherwise, and whole documents that can fetch nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from benchmark.files import atomic_write

_VOID = {"br", "col", "img", "input", "path", "rect"}


class Html(str):
    """Markup as it stands; every other string is text and gets escaped."""


Child = Html | str | int | float | None | Iterable["Child"]


def tag(name: str, /, *children: Child, **attributes: Any) -> Html:
    """One element. class_="x" becomes class="x", data_v becomes data-v; None and False leave an attribute out."""
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(key if value is True else f'{key}="{html.escape(str(value))}"')
    opening = " ".join(parts)
    return Html(f"<{opening}/>" if name in _VOID else f"<{opening}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Html:
    """Children one after the other, text escaped."""
    return Html("".join(map(_markup, children)))


def _markup(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, (str, int, float)):
        return html.escape(str(child))
    return join(child)


def png(content: bytes) -> str:
    """A PNG as a data: address."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def embed(value: Any) -> Html:
    """`value` as JSON in a block that no browser runs; no text in it can end the block."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="data">{text}</script>')


def write_document(path: Path, title: str, body: Html, styles: list[str], script: str) -> Path:
    """Write one file that needs no other. styles, script: names of files beside this module, put into the document.

    The policy in its head lets the browser run and apply those two alone and fetch nothing, whatever the text holds.
    """
    style, code = "\n".join(map(_read, styles)), _read(script)
    document = Template(_read("page.html")).substitute(
        title=html.escape(title), body=body, style=style, style_hash=_hash(style), script=code, script_hash=_hash(code)
    )
    with atomic_write(path) as stream:
        stream.write(document.encode())
    return path


def _read(name: str) -> str:
    return (resources.files("benchmark.report") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def summary_cards(items: Sequence[tuple[str, str, str]]) -> Html:
    """What a section says at a glance: a card for each name, value and, where there is more to say, a small line."""
    cards = [tag("div", tag("dt", name), tag("dd", value, tag("small", more) if more else None))
             for name, value, more in items]  # fmt: skip
    return tag("dl", cards, class_="summary")
