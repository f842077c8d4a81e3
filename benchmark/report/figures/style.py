"""Colours and markers, one table for all figures and the page.

Okabe and Ito's colours, told apart by colour-blind people: the colour says where negatives come from, the shape what
was done to them.
"""

from __future__ import annotations

from typing import Any, Literal
from zlib import crc32

from benchmark.errors import BenchError
from benchmark.negatives import variant

_BLACK, _BLUE, _SKY, _VERMILION, _GREEN, _PURPLE = "#000000", "#0072b2", "#56b4e9", "#d55e00", "#009e73", "#cc79a7"
_ORANGE, GREY = "#e69f00", "#666666"  # methods without negatives of their own; references
STYLES: dict[str, tuple[str, str]] = {
    "dino": (_BLACK, "o"),
    "imgn": (_BLUE, "o"),
    "rot-imgn": (_BLUE, "^"),
    "rot360-imgn": (_BLUE, "v"),
    "dti": (_VERMILION, "o"),
    "perm-16-imgn": (_SKY, "s"),
    "perm-4-imgn": (_SKY, "D"),
    "rot-dti": (_VERMILION, "^"),
    "pixperm-imgn": (_SKY, "X"),
    "rot-in-dist": (_GREEN, "^"),
    "combined": (_PURPLE, "*"),
    "patch-rot-in-dist": (_GREEN, "D"),
    "background-in-dist": (_GREEN, "s"),
    "blend-imgn": (_PURPLE, "D"),
    "foreground-imgn": (_PURPLE, "s"),
    "frequencies-imgn": (_PURPLE, "X"),
    "dino-bg-remove": (_BLACK, "s"),
    "dino-bg-random": (_BLACK, "D"),
    "rotation": (_ORANGE, "o"),
    "rotation-translation": (_ORANGE, "D"),
    "simclr": (_ORANGE, "v"),
    "simclr-bg-remove": (_ORANGE, "s"),
    "simclr-bg-random": (_ORANGE, "X"),
    "simclr-bg-swaps": (_ORANGE, "^"),
    "csi": (_ORANGE, "*"),
    "untrained": (GREY, "o"),
    "image-statistics": (GREY, "s"),
}
_OTHER = (_ORANGE, "P")  # other methods
# Variants that the table lacks: of these shapes, which it leaves free and which look like no circle, one by the
# transform's name.
_SOURCES = {"imagenet": _BLUE, "dti": _VERMILION, "in-dist": _GREEN}
_FREE = "P<>pd"
RULE, FRAME, BACK = "#444444", "#b0b0b0", "#ffffff"  # lines with a name, the grid, what lies behind
# What the page calls these colours, which it has in two sets, light and dark (page.css).
VARIABLES = {_BLACK: "ink", _BLUE: "blue", _SKY: "sky", _VERMILION: "vermilion", _GREEN: "green", _PURPLE: "purple",
             _ORANGE: "orange", GREY: "grey", RULE: "muted", FRAME: "frame", BACK: "bg"}  # fmt: skip

Look = Literal["interval", "single", "reference", "published"]  # of a marker: n > 1, n = 1, not trained, not ours


def style_of(label: str) -> tuple[str, str]:
    """Colour and marker (matplotlib's letter) of a column, the same in every figure."""
    if label in STYLES:
        return STYLES[label]
    try:
        kinds = variant(label).negatives
    except BenchError:  # the label of a method
        return _OTHER
    colours = {_SOURCES[kind.source] for kind in kinds}
    names = "+".join(kind.transform for kind in kinds)
    return colours.pop() if len(colours) == 1 else _PURPLE, _FREE[crc32(names.encode()) % len(_FREE)]


def marker(shape: str, colour: str, look: Look, scale: float = 1.0) -> dict[str, Any]:
    """matplotlib's arguments for one marker. Full: a mean with an interval; pale: n = 1; open: a reference, or larger a
    published value, so that both are seen where they agree. All shapes look alike large."""
    size = {"*": 12.0, "D": 7.0, "s": 7.5}.get(shape, 8.5) * scale
    face, edge, width = {
        "interval": (colour, BACK, 0.6),
        "single": ((colour, 0.35), colour, 0.9),
        "reference": (BACK, colour, 1.4),
        "published": ("none", colour, 1.1),
    }[look]
    return {"linestyle": "", "marker": shape, "markersize": size, "color": colour, "markerfacecolor": face,
            "markeredgecolor": edge, "markeredgewidth": width}  # fmt: skip
