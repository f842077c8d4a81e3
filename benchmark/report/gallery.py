"""`bench score --page`: a gallery of images by score as one HTML file that fetches nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmark.report.markup import Html, join, png, tag, write_document


@dataclass(frozen=True)
class GalleryItem:
    """One scored image.

    score: larger = more OOD. ood: whether it is beyond the detector's threshold. p_value: share of in-distribution
    test scores that are at least as large. neighbours: names of the nearest training images, the nearest first.
    thumbnail: the image as a PNG, small.
    """

    path: str
    score: float
    ood: bool
    p_value: float
    neighbours: tuple[str, ...]
    thumbnail: bytes


def write_gallery(out: Path, items: Iterable[GalleryItem], title: str, about: dict[str, str]) -> None:
    """Write the gallery of `items` to the file `out`, the highest scores first.

    about: what stands above the images, name -> text: the detector, the folder, the threshold. The file grows with
    the thumbnails, about 4/3 of their bytes: pass on as many items as one will look at.
    """
    ordered = sorted(items, key=lambda item: (-item.score, item.path))
    found = sum(item.ood for item in ordered)
    facts = tag("dl", [tag("div", tag("dt", name), tag("dd", text)) for name, text in about.items()], class_="about")
    figures = [_figure(item, place) for place, item in enumerate(ordered)]
    tools = tag(
        "form",
        tag("fieldset", tag("legend", "Show"), _choice("all", f"All ({len(ordered):,})", True),
            _choice("ood", f"OOD only ({found:,})", False)),
        tag("label", "Sort by ", tag("select", tag("option", "score", value="score"), tag("option", "path",
                                                                                         value="path"), id="sort")),
        tag("p", id="shown", class_="note", role="status"),
        class_="tools",
    )  # fmt: skip
    detail = tag(
        "aside",
        tag("button", "Close", type="button", id="close"),
        tag("img", alt="", id="large"),
        tag("div", id="facts"),
        id="detail", aria_label="The chosen image", aria_live="polite", hidden=True,
    )  # fmt: skip
    grid = tag("div", figures, id="grid", aria_label="Images; arrow keys move, Enter enlarges", role="group")
    nothing = tag("p", "No image to show.", id="nothing", class_="note", hidden=bool(ordered))
    body = join([
        tag("header", tag("h1", title), facts, class_="top"),
        tag("main", tools, nothing, tag("div", grid, detail, class_="look"), id="main", tabindex="-1"),
    ])  # fmt: skip
    write_document(out, title, body, ["page.css", "gallery.css"], "gallery.js")


def _choice(value: str, text: str, chosen: bool) -> Html:
    return tag("label", tag("input", type="radio", name="show", value=value, checked=chosen), text)


def _figure(item: GalleryItem, place: int) -> Html:
    """A button with the thumbnail; what is said about the image stands in it too, shown when it is chosen."""
    verdict = "OOD" if item.ood else "in-distribution"
    name = item.path.replace("\\", "/").rpartition("/")[2]
    pairs = [("Path", item.path), ("Score", f"{item.score:.4f}"), ("Verdict", verdict),
             ("p-value", f"{item.p_value:.3g}")]  # fmt: skip
    nearest = tag("ol", [tag("li", neighbour) for neighbour in item.neighbours])
    more = [tag("dt", "Nearest training images"), tag("dd", nearest)] if item.neighbours else None
    facts = tag("dl", [[tag("dt", key), tag("dd", value)] for key, value in pairs], more, hidden=True)
    return tag(
        "figure",
        tag("button", tag("img", src=png(item.thumbnail), alt=""), tag("b", f"{item.score:.2f}"),
            tag("span", "OOD", class_="flag") if item.ood else None, tag("small", name), type="button",
            tabindex="-1" if place else "0", aria_label=f"{name}, score {item.score:.3f}, {verdict}"),
        facts,
        data_score=item.score, data_path=item.path, data_ood="" if item.ood else None,
    )  # fmt: skip
