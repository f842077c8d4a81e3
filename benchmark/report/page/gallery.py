"""`bench score --page`: a gallery of images by score as one HTML file that fetches nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmark.report.page import document


@dataclass(frozen=True)
class GalleryItem:
    """One scored image.

    score: larger = more OOD. ood: whether it is beyond the detector's threshold. p_value: share of in-distribution
    test scores that are at least as large. neighbours: names of the nearest training images, the nearest first.
    thumbnail: the image as a PNG, small. where: a PNG with transparency to lay over it, of the same shape: what in the
    image is unlike the training images; None where that is not known.
    """

    path: str
    score: float
    ood: bool
    p_value: float
    neighbours: tuple[str, ...]
    thumbnail: bytes
    where: bytes | None = None

    @property
    def name(self) -> str:
        return self.path.replace("\\", "/").rpartition("/")[2]

    @property
    def verdict(self) -> str:
        return "OOD" if self.ood else "in-distribution"

    @property
    def source(self) -> str:
        return document.png(self.thumbnail)

    @property
    def overlay(self) -> str | None:
        return None if self.where is None else document.png(self.where)


def write_gallery(out: Path, items: Iterable[GalleryItem], title: str, about: dict[str, str]) -> None:
    """Write the gallery of `items` to the file `out`, the highest scores first.

    about: what stands above the images, name -> text: the detector, the folder, the threshold. The file grows with
    the thumbnails, about 4/3 of their bytes: pass on as many items as one will look at.
    """
    ordered = sorted(items, key=lambda item: (-item.score, item.path))
    document.write(
        out, "gallery.html", ["page.css", "gallery.css"], "gallery.js", title=title, items=ordered, about=about
    )
