"""Score images as they come: find, decode in threads, score in batches, write rows; memory does not grow with them."""

from __future__ import annotations

import csv
import glob
import heapq
import io
import json
import os
import sys
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmark.data.pictures import SUFFIXES, read_picture
from benchmark.detector.detector import Detector, square_of
from benchmark.errors import BenchError, first_line

if TYPE_CHECKING:
    from benchmark.report.gallery import GalleryItem

THUMBNAIL = 160  # pixels a side at most, on the page


@dataclass(frozen=True)
class Source:
    """An image to score: what it is called, and how it is read."""

    path: str
    read: Callable[[], Image.Image]


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


@dataclass
class Counts:
    """How many images were seen, how many of them called OOD, and how many not readable."""

    seen: int = 0
    ood: int = 0
    broken: int = 0
    seconds: float = 0.0


# --- finding images --------------------------------------------------------------------------------------------------


def find_images(arguments: Sequence[str], listed: Iterable[bytes] = ()) -> Iterator[Source]:
    """The images of files, folders (and theirs, in the order of their names), glob patterns, .npz files with `images`
    (N, H, W, 3) uint8, stored splits (SET/SPLIT of the data folder), and of a list of paths, one a line, for "-".

    Raises BenchError at once, before the first image, for an argument that is nothing of the kind.
    """
    groups = [_resolve(argument) for argument in arguments]

    def walk() -> Iterator[Source]:
        for group in groups:
            for path in group if group is not None else _lines(listed):
                try:
                    yield from _images_of(path)
                except (BenchError, OSError) as error:  # a broken .npz or a locked folder: a row, not a stop
                    yield _broken(path, _why(error))

    return walk()


def _broken(path: str, why: str) -> Source:
    def read() -> Image.Image:
        raise BenchError(why)

    return Source(path, read)


def _resolve(argument: str) -> list[str] | None:
    """The existing paths that an argument names; None for the list on the standard input."""
    if argument == "-":
        return None
    if os.path.exists(argument):
        return [argument]
    if glob.has_magic(argument):
        found = sorted(glob.glob(argument, recursive=True))
        if found:
            return found
        raise BenchError(f"{argument}: matches no file")
    raise BenchError(f"{argument}: no such file or folder")


def _lines(listed: Iterable[bytes]) -> Iterator[str]:
    for line in listed:
        path = os.fsdecode(line.rstrip(b"\r\n"))
        if path:
            yield path


def _images_of(path: str) -> Iterator[Source]:
    if os.path.isdir(path):
        if os.path.isfile(os.path.join(path, "images.npy")):
            yield from _array(path, _npy_images(os.path.join(path, "images.npy")))
        else:
            for file in _walk(path):
                yield Source(file, lambda file=file: read_picture(file))  # type: ignore[misc]
    elif path.lower().endswith(".npz"):
        yield from _array(path, _npz_images(path))
    else:
        yield Source(path, lambda: _read_file(path))


def _walk(folder: str) -> Iterator[str]:
    """Image files under a folder, by name, a folder at a time. Links to folders are not followed."""
    with os.scandir(folder) as entries:
        inside = sorted(entries, key=lambda entry: entry.name)
    for entry in inside:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
            yield entry.path


def _read_file(path: str) -> Image.Image:
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device would be waited for for ever
        raise OSError("not a file")
    return read_picture(path)


def _array(path: str, images: np.ndarray) -> Iterator[Source]:
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise BenchError(f"images are {images.dtype} {images.shape}, not uint8 (N, H, W, 3)")
    for i in range(len(images)):
        yield Source(f"{path}[{i}]", lambda i=i: Image.fromarray(np.array(images[i])))  # type: ignore[misc]


def _npy_images(path: str) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BenchError(f"images.npy is not a readable array ({_why(error)})") from error


def _npz_images(path: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            images: np.ndarray = archive["images"]
            return images
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = first_line(error)
        raise BenchError(f"not a readable npz with `images` ({reason})") from error


# --- scoring ---------------------------------------------------------------------------------------------------------


def score_images(
    detector: Detector, sources: Iterable[Source], batch: int, nearest: int, threshold: float | None = None
) -> Iterator[Row]:
    """A row for each image, in their order. nearest: how many training images to name. threshold: the detector's."""
    limit = detector.threshold if threshold is None else threshold
    size = detector.settings.image_size
    squares = _decoded(sources, size, ahead=2 * batch)
    while True:
        part = list(islice(squares, batch))
        if not part:
            return
        good = [pixels for _, pixels in part if isinstance(pixels, np.ndarray)]
        values = iter(_score_batch(detector, np.stack(good), nearest, limit, batch) if good else [])
        for source, pixels in part:
            yield Row(source, **next(values)) if isinstance(pixels, np.ndarray) else Row(source, error=pixels)


def _score_batch(
    detector: Detector, squares: np.ndarray, nearest: int, threshold: float, batch: int
) -> list[dict[str, Any]]:
    features = detector.features(squares, batch)
    scores = detector.score_features(features)
    p_values = detector.p_values(scores)
    rows, cosines = detector.nearest_features(features, nearest) if nearest else (np.empty((len(scores), 0)),) * 2
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


def _decoded(sources: Iterable[Source], size: int, ahead: int) -> Iterator[tuple[Source, np.ndarray | str]]:
    """Each image as stored, or why not; up to `ahead` of them are decoded, by threads, before they are asked for."""

    def decode(source: Source) -> np.ndarray | str:
        try:
            return square_of(source.read(), size)
        except Exception as error:  # PIL's readers raise whatever a broken file leads them to
            return _why(error)

    waiting: deque[tuple[Source, Future[np.ndarray | str]]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
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


def _why(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


# --- writing ---------------------------------------------------------------------------------------------------------


def csv_lines(rows: Iterable[Row], nearest: int, with_files: bool) -> Iterator[str]:
    """Header and rows; nearest_1, cosine_1, ... are the nearest training images, file_1 where files are known."""
    parts = ["nearest", "cosine", *(["file"] if with_files else [])]
    columns = [f"{part}_{i}" for i in range(1, nearest + 1) for part in parts]
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")

    def take(cells: Sequence[object]) -> str:
        line.seek(0)
        line.truncate()
        writer.writerow(cells)
        return line.getvalue()

    yield take(["path", "score", "ood", "p_value", *columns, "error"])
    for row in rows:
        ood = "" if row.ood is None else "yes" if row.ood else "no"
        p_value = "" if row.p_value is None else f"{row.p_value:.6g}"
        near: list[object] = []
        for one in row.nearest:
            near += [one.index, one.cosine, *([one.file] if with_files else [])]
        near += [""] * (len(columns) - len(near))
        yield take([row.source.path, "" if row.score is None else row.score, ood, p_value, *near, row.error])


def json_lines(rows: Iterable[Row]) -> Iterator[str]:
    """One JSON object a line; of an image that could not be read only path and error."""
    for row in rows:
        if row.error:
            value: dict[str, Any] = {"path": row.source.path, "error": row.error}
        else:
            near = [{key: value for key, value in vars(one).items() if value is not None} for one in row.nearest]
            value = {
                "path": row.source.path, "score": row.score, "ood": row.ood, "p_value": row.p_value, "nearest": near,
            }  # fmt: skip
        yield json.dumps(value) + "\n"


def write_lines(lines: Iterable[str], stream: IO[bytes]) -> None:
    """As UTF-8; of a path that is none, the odd bytes as \\udcXX."""
    for line in lines:
        stream.write(line.encode("utf-8", "backslashreplace"))


class Progress:
    """Counts the rows that pass, and shows how far it is on stderr: a bar on a terminal, else a line now and then."""

    def __init__(self, total: int | None, every_seconds: float = 10.0) -> None:
        self.counts = Counts()
        self._total, self._every = total, every_seconds

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        counts, started = self.counts, time.monotonic()
        told = started
        with self._bar() as bar:
            task = bar.add_task("", total=self._total, found=0) if bar is not None else None
            for row in rows:
                counts.seen += 1
                counts.broken += bool(row.error)
                counts.ood += bool(row.ood)
                now = time.monotonic()
                counts.seconds = now - started
                if bar is not None and task is not None and (now - told > 0.1 or counts.seen == self._total):
                    told = now
                    bar.update(task, completed=counts.seen, found=counts.ood)
                elif bar is None and now - told > self._every:
                    told = now
                    print(self.text(), file=sys.stderr, flush=True)
                yield row

    def text(self) -> str:
        counts = self.counts
        of = "" if self._total in (None, counts.seen) else f" of {self._total}"
        speed = f"; {counts.seen / counts.seconds:.0f} images/s" if counts.seconds > 0 else ""
        broken = f", {counts.broken} not readable" if counts.broken else ""
        return f"{counts.seen}{of} images, {counts.ood} OOD{broken}{speed}"

    def _bar(self) -> AbstractContextManager[Any]:
        if not sys.stderr.isatty():
            return nullcontext()
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        return RichProgress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[found]} OOD"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )


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

    def items(self) -> Iterator[GalleryItem]:
        """Highest score first, each with a thumbnail made now: the images are not kept in memory."""
        from benchmark.report.gallery import GalleryItem

        for score, _, row in sorted(self._heap, reverse=True):
            assert row.ood is not None and row.p_value is not None
            yield GalleryItem(
                path=row.source.path,
                score=score,
                ood=row.ood,
                p_value=row.p_value,
                neighbours=tuple(str(one) for one in row.nearest),
                thumbnail=_thumbnail(row.source),
            )


def write_page(out: Path, top: Top, progress: Progress, detector: Detector, threshold: float | None) -> None:
    """The gallery of the rows that `top` kept."""
    from benchmark.report.gallery import write_gallery

    limit = detector.threshold if threshold is None else threshold
    about = {
        "images": f"{progress.counts.seen - progress.counts.broken} scored, {progress.counts.ood} OOD",
        "not readable": str(progress.counts.broken),
        "detector": f"{detector.settings.run} ({detector.settings.bank.count} training images)",
        "threshold": f"{limit:.6g}"
        + (f" ({100 * detector.settings.threshold.asked:g}% false alarms)" if threshold is None else " (given)"),
    }
    write_gallery(out, top.items(), "Most anomalous images", about)


def _thumbnail(source: Source) -> bytes:
    try:
        image = source.read().convert("RGB")
    except Exception:  # it was there a moment ago
        image = Image.new("RGB", (1, 1))
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
