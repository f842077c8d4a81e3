"""A drawing as SVG within the page: text is text, colours are the page's own (light or dark), and what stands for a
column is lit up with it and says its numbers."""

from __future__ import annotations

import io
import re
from functools import cache
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from markupsafe import Markup

from benchmark.report.figures.files import Picture, styled
from benchmark.report.figures.panels import Bars, Histogram, Marks, Panel
from benchmark.report.figures.style import VARIABLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_KEPT = ("fill", "stroke", "opacity", "text-anchor")  # of the styles: these and what begins with fill-, stroke-


def panel(shown: Panel) -> Markup:
    """A panel alone, without its title and what stands below it, which the page says in words."""
    from matplotlib.figure import Figure

    with styled(**{"svg.fonttype": "none", "xtick.major.size": 0, "ytick.major.size": 0}):
        marks = Marks()
        if isinstance(shown, Histogram):
            figure = Figure(figsize=(4.4, 1.5))
            axes = figure.add_axes((0.02, 0.17, 0.96, 0.8))
        else:
            height = 0.24 * len(shown.bars) + 0.7 if isinstance(shown, Bars) else 3.3
            figure = Figure(figsize=(4.4, height), layout="constrained")
            axes = figure.subplots()
        shown.draw(axes, marks)
        return _markup(figure, marks, shown.title)


def together(picture: Picture, title: str) -> Markup:
    """The panels of a row that share their axis, as one."""
    from matplotlib.figure import Figure

    with styled(**{"svg.fonttype": "none", "xtick.major.size": 0, "ytick.major.size": 0}):
        marks = Marks()
        figure = Figure(figsize=(9.4, 3.6), layout="constrained")
        axes_of = figure.subplots(1, len(picture.widths), sharey=True, width_ratios=picture.widths)
        for axes, shown in zip(axes_of, picture.panels, strict=True):
            shown.draw(axes, marks)
        return _markup(figure, marks, title)


@cache
def outline(shape: str, radius: float = 5.0) -> str:
    """The outline of a marker around (0, 0), as an SVG path."""
    from matplotlib.markers import MarkerStyle
    from matplotlib.transforms import Affine2D

    style = MarkerStyle(shape)
    size = radius * {"*": 2.9, "D": 1.6, "s": 1.75}.get(shape, 2.0)
    path = style.get_path().transformed(style.get_transform() + Affine2D().scale(size, -size))
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    return "".join(letters[int(code)] + ("" if code == 79 else " ".join(f"{value:.2f}" for value in points))
                   for points, code in path.iter_segments(simplify=False))  # fmt: skip


def _markup(figure: Figure, marks: Marks, title: str) -> Markup:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(stream.getvalue())
    shapes = {f"#{path.get('id')}": path.attrib for path in root.iterfind(f".//{_SVG}defs/{_SVG}path")}
    out = Element("svg", {"viewBox": root.get("viewBox", ""), "role": "group", "aria-label": title})
    if any(said for _, said in marks.named.values()):
        out.set("data-roving", "")
    for child in root:
        _copy(child, out, marks, shapes)
    text = ElementTree.tostring(out, encoding="unicode")  # which has escaped every text
    return Markup(text.replace("&#10;", "\n"))


def _copy(element: Element, parent: Element, marks: Marks, shapes: dict[str, dict[str, str]]) -> None:
    """The element without what a page has no use for: ids, clips, styles (which its policy forbids), definitions."""
    name = element.tag.removeprefix(_SVG)
    if name in ("metadata", "defs") or (element.get("id", "").startswith("patch_") and _is_clear(element)):
        return
    places = ("d", "x", "y", "transform")
    attributes = {key: _short(value) for key, value in element.attrib.items() if key in places and "(-0 " not in value}
    styles = element.get("style", "")
    if name == "use":
        shape = shapes[element.get(f"{_XLINK}href", "")]
        name = "path"
        attributes = {
            "d": _short(shape["d"], 2),
            "transform": _short(f"translate({element.get('x')} {element.get('y')})"),
        }
        styles = f"{shape.get('style', '')};{styles}"
    attributes |= _plain(styles)
    if "d" in attributes:
        attributes["d"] = re.sub(r"\s*([A-Za-z])\s*", r"\1", attributes["d"]).strip()
    label, said = marks.named.get(element.get("id", ""), ("", ""))
    made = parent
    if name != "g" or label or attributes:
        if label:
            attributes |= {"class": "mark", "data-v": label}
        if said:
            attributes |= {"data-tip": said, "role": "img", "aria-label": said.replace("\n", ", ")}
        made = ElementTree.SubElement(parent, name, attributes)
        made.text = element.text.strip() if name == "text" and element.text else None
    for child in element:
        _copy(child, made, marks, shapes)
    lines = [path for path in made if path.get("fill") == "none" and not path.get("transform")] if said else []
    for line in lines[:1]:  # a broad one, for the pointer
        made.insert(0, Element("path", {"d": line.get("d", ""), "class": "hit"}))


def _is_clear(element: Element) -> bool:
    """Whether it draws nothing: the background of a figure."""
    return all(path.get("style") == "fill: none" for path in element)


def _plain(style: str) -> dict[str, str]:
    """Styles as attributes, colours by their names on the page."""
    found = {}
    for one in style.split(";"):
        key, _, value = (part.strip() for part in one.partition(":"))
        if key == "font-size" or key.startswith(("fill-", "stroke-")) or key in _KEPT:
            colour = VARIABLES.get(value)
            found[key] = f"var(--{colour})" if colour else value.removesuffix("px")
    return found


def _short(numbers: str, decimals: int = 1) -> str:
    """Numbers to a tenth of a point: no screen shows more, but of a small shape."""
    return re.sub(r"-?\d+\.\d+", lambda found: f"{round(float(found[0]), decimals):g}", numbers)
