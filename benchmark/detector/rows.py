"""A row for each image: decoded in threads, scored in batches; memory does not grow with the images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from benchmark.cores import usable_cores
from benchmark.data.pictures import Values, to_square
from benchmark.detector.detector import Detector
from benchmark.detector.sources import Source, why


@dataclass(frozen=True)
class Neighbour:
    """A training image: its place in the training split, cosine, and label and file where they are known."""

    index: int
    cosine: float
    label: str | None
    file: str | None

    def __str__(self) -> str:
        what = self.file or (f"{self.label}, training image {self.index}" if self.label else f"image {self.index}")
        return f"{what} (cosine {self.cosine:.3f})"


@dataclass(frozen=True)
class Row:
    """What is said of one image: score and the rest, or the error that kept it from being scored."""

    source: Source
    error: str = ""
    score: float | None = None
    ood: bool | None = None
    p_value: float | None = None
    nearest: tuple[Neighbour, ...] = ()


def score_images(
    detector: Detector,
    sources: Iterable[Source],
    batch: int,
    nearest: int,
    threshold: float | None = None,
    values: Values | None = None,
) -> Iterator[Row]:
    """A row for each image, in their order. nearest: how many training images to name. threshold: in place of the
    detector's. values: is told which the images have."""
    limit = detector.threshold if threshold is None else threshold
    size = detector.settings.image_size
    squares = decoded(sources, size, 2 * batch, values or Values())
    while True:
        part = list(islice(squares, batch))
        if not part:
            return
        good = [pixels for _, pixels in part if isinstance(pixels, np.ndarray)]
        scored = iter(_score_batch(detector, np.stack(good), nearest, limit, batch) if good else [])
        for source, pixels in part:
            yield Row(source, **next(scored)) if isinstance(pixels, np.ndarray) else Row(source, error=pixels)


def _score_batch(
    detector: Detector, squares: np.ndarray, nearest: int, threshold: float, batch: int
) -> list[dict[str, Any]]:
    outputs = detector.outputs(squares, batch)
    scores = detector.score_outputs(outputs)
    p_values = detector.p_values(scores)
    rows, cosines = detector.nearest_outputs(outputs, nearest) if nearest else (np.empty((len(scores), 0)),) * 2
    return [
        {
            "score": float(str(score)),  # the shortest number that is this float32
            "ood": bool(score > threshold),
            "p_value": float(p),
            "nearest": tuple(_neighbour(detector, row, cosine) for row, cosine in zip(near, cos, strict=True)),
        }
        for score, p, near, cos in zip(scores, p_values, rows, cosines, strict=True)
    ]


def _neighbour(detector: Detector, row: int, cosine: np.float32) -> Neighbour:
    label, classes = int(detector.label[row]), detector.settings.classes
    known = None if label < 0 else classes[label] if classes and label < len(classes) else str(label)
    return Neighbour(
        int(detector.index[row]), float(str(cosine)), known, detector.names[row] if detector.names else None
    )


def decoded(
    sources: Iterable[Source], size: int, ahead: int, values: Values
) -> Iterator[tuple[Source, np.ndarray | str]]:
    """Each image as stored, or why not; up to `ahead` of them are decoded, by threads, before they are asked for."""

    def decode(source: Source) -> np.ndarray | str:
        try:
            return to_square(values.of(source.read()), size)
        except Exception as error:  # PIL's readers raise whatever a broken file leads them to
            return why(error)

    waiting: deque[tuple[Source, Future[np.ndarray | str]]] = deque()
    with ThreadPoolExecutor(usable_cores()) as pool:
        try:
            for source in sources:
                waiting.append((source, pool.submit(decode, source)))
                if len(waiting) >= ahead:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
