"""The most anomalous images, on a page."""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from benchmark.data.pictures import to_rgb
from benchmark.detector.detector import Detector
from benchmark.detector.output import Progress
from benchmark.detector.rows import Row, score_images
from benchmark.detector.sources import Source
from benchmark.evaluation.features import EMBED_BATCH

if TYPE_CHECKING:
    from benchmark.report.page.gallery import GalleryItem

THUMBNAIL = 160  # pixels a side at most, on the page
SHOWN = 100  # images on the page, where no number is asked for
NEIGHBOURS = 3  # nearest training images that are named, likewise


class Top:
    """Keeps the rows with the highest scores among those that pass."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._heap: list[tuple[float, int, Row]] = []
        self._seen = 0

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            if row.score is not None:
                self._seen += 1
                entry = (row.score, -self._seen, row)  # of equal scores the first one stays
                if self._count == 0:
                    pass
                elif len(self._heap) < self._count:
                    heapq.heappush(self._heap, entry)
                else:
                    heapq.heappushpop(self._heap, entry)
            yield row

    def __len__(self) -> int:
        return len(self._heap)

    def items(self, detector: Detector) -> Iterator[GalleryItem]:
        """Highest score first, each with a thumbnail and a map made now: the images are not kept in memory."""
        from benchmark.report.page.gallery import GalleryItem

        for score, _, row in sorted(self._heap, reverse=True):
            assert row.ood is not None and row.p_value is not None
            thumbnail, where = _thumbnail(row.source, detector)
            yield GalleryItem(
                path=row.source.path,
                score=score,
                ood=row.ood,
                p_value=row.p_value,
                neighbours=tuple(str(one) for one in row.nearest),
                thumbnail=thumbnail,
                where=where,
            )


def look_through(detector: Detector, images: list[Source], out: Path) -> str:
    """Score these images and write the page of the most anomalous of them; how many there were, in words."""
    top, progress = Top(SHOWN), Progress(len(images))
    for _ in progress.watch(top.watch(score_images(detector, images, EMBED_BATCH, NEIGHBOURS))):
        pass
    write_page(out, top, progress, detector, None)
    return progress.text()


def write_page(out: Path, top: Top, progress: Progress, detector: Detector, threshold: float | None) -> None:
    """The gallery of the rows that `top` kept."""
    from benchmark.report.page.gallery import write_gallery

    limit = detector.threshold if threshold is None else threshold
    scored = progress.counts.seen - progress.counts.broken
    about = {
        "images": f"{scored} scored, {progress.counts.ood} above the threshold (OOD: unlike the training images)"
        + (f"; here the {len(top)} with the highest scores" if len(top) < scored else ""),
        **({"not readable": f"{progress.counts.broken}; the rows name them"} if progress.counts.broken else {}),
        "detector": f"{detector.settings.run} ({detector.settings.bank.count} training images)",
        "threshold": f"{limit:.6g}; a larger score is more anomalous; "
        + (f"{_rate(detector)} of usual images are above it" if threshold is None else "as given"),
    }
    if detector.patches is not None:
        about["colour"] = "places unlike those of the training images, crimson the most; not a part of the score"
    write_gallery(out, top.items(detector), "Most anomalous images", about)


def _rate(detector: Detector) -> str:
    """The share of ID images that are expected above a detector's threshold, and its 95% interval."""
    found = detector.settings.threshold
    low, high = (f"{100 * end:.2g}" for end in found.rate_interval)
    return f"{100 * found.rate:.2g}% ({low} to {high}%)"


def _thumbnail(source: Source, detector: Detector) -> tuple[bytes, bytes | None]:
    """An image as a PNG, and the map that goes over it where the detector has patches."""
    try:
        image = to_rgb(source.read())
    except Exception:  # it was there a moment ago
        return _png(Image.new("RGB", (1, 1))), None
    found = None if detector.patches is None else detector.explain(image)
    size = image.size
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
    if found is None:
        return _png(image), None
    scale = image.width / size[0]
    left, top, side = (round(scale * length) for length in found.box)
    over = Image.new("RGBA", image.size)
    over.paste(found.overlay(max(1, side)), (left, top))  # of a long strip it may be less than a pixel
    return _png(image), _png(over)


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
