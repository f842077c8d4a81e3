"""A figure as PNG and SVG, the same bytes every time. The files carry a fingerprint of what they show, and are left
alone while it is the same."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from benchmark import negatives
from benchmark.data import catalog
from benchmark.plan import titles
from benchmark.plan.identity import digest
from benchmark.report.figures.panels import Marks, Panel
from benchmark.report.figures.style import Look, marker
from benchmark.report.groups import Group
from benchmark.store import measurements

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAD_BYTES = 4096  # of an SVG, in which its description stands
DPI = 200


@dataclass(frozen=True)
class Key:
    """An entry of a legend."""

    label: str
    title: str
    colour: str
    shape: str
    look: Look = "interval"


@dataclass(frozen=True)
class Picture:
    """A figure: rows of panels, None where one is lacking and `lacking` says why; above them a heading, below a legend.

    size: inches. widths: of the columns, and then the panels share their vertical axis.
    """

    heading: str
    rows: tuple[tuple[Panel | None, ...], ...]
    keys: tuple[Key, ...]
    size: tuple[float, float]
    lacking: str = ""
    widths: tuple[float, ...] = ()

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row if panel]


@contextmanager
def styled(**more: Any) -> Iterator[None]:
    """Within it matplotlib draws in the style of all figures."""
    import matplotlib

    style: dict[Any, Any] = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.25,
        "font.size": 9,
        "svg.hashsalt": "bench",
    }
    with matplotlib.rc_context(style | more):
        yield


def figure_of(picture: Picture) -> Figure:
    """The whole figure, with letters before the titles where its panels have titles."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=picture.size, layout="constrained")
    shape = len(picture.rows), len(picture.rows[0])
    grid = figure.subplots(*shape, squeeze=False, sharey=bool(picture.widths), width_ratios=picture.widths or None)
    marks = Marks()
    for letter, axes, panel in zip("abcdefgh", grid.flat, (p for row in picture.rows for p in row), strict=False):
        if panel is None:
            axes.set_axis_off()
            axes.text(0.5, 0.5, picture.lacking, transform=axes.transAxes, ha="center")
            continue
        panel.draw(axes, marks)
        if panel.title:
            axes.set_title("\n".join(filter(None, (f"({letter}) {panel.title}", panel.more))), loc="left", fontsize=9)
        axes.set_xlabel("\n".join([axes.get_xlabel(), *(fill(line, 52) for line in panel.below.splitlines())]))
    handles = [Line2D([], [], label=key.title, **marker(key.shape, key.colour, key.look, 0.95)) for key in picture.keys]
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, min(7, math.ceil(len(handles) / 2))),
                  fontsize=8, frameon=False, handletextpad=0.2, columnspacing=1.2)  # fmt: skip
    figure.suptitle(picture.heading, fontsize=10)
    return figure


def content(picture: Picture, key: str = "") -> dict[str, bytes]:
    """ "png" and "svg" -> what goes into the file, with `key` as its description."""
    made = {}
    with styled():
        figure = figure_of(picture)
        figure.draw_without_rendering()  # lay out once, for both files
        figure.set_layout_engine("none")
        for suffix, own in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            stream = io.BytesIO()
            figure.savefig(stream, format=suffix, dpi=DPI, metadata={**own, "Description": key})
            made[suffix] = stream.getvalue()
    return made


def fingerprint(name: str, group: Group, subject: str) -> str:
    """sha256 of all that a figure is made of: its name, the runs' settings and numbers, and the code that draws."""
    return digest([name, group.heading, subject, [run.fingerprint for run in group.runs_of(subject)], _code()])


@cache
def _code() -> list[str]:
    here = Path(__file__).parents[1]
    named = [Path(str(module.__file__)) for module in (catalog, measurements, negatives, titles)]  # names, and numbers
    files = [*sorted([*here.rglob("*.py"), *here.rglob("*.csv")]), *named]
    versions = [f"{package} {metadata.version(package)}" for package in ("matplotlib", "numpy", "scipy")]
    return [*versions, *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)]


def are_there(paths: list[Path], key: str) -> bool:
    """Whether these files, PNG or SVG, are whole and show what has the fingerprint `key`."""
    return all(_key_of(path) == key for path in paths)


def _key_of(path: Path) -> str | None:
    """The fingerprint that a figure's file carries; None where there is none, or the file is cut off or damaged."""
    try:
        if path.suffix == ".png":
            from PIL import Image

            with Image.open(path) as image:
                key = image.info.get("Description")
                image.load()  # a cut or damaged picture raises
                return key
        text = path.read_text()
    except (OSError, SyntaxError, ValueError):
        return None
    found = re.search(r"<dc:description>([0-9a-f]{64})</dc:description>", text[:HEAD_BYTES])
    return found.group(1) if found and text.rstrip().endswith("</svg>") else None
