"""`bench score`: images scored by a detector."""

from __future__ import annotations

import math
import os
import shutil
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from benchmark.commands.options import Device, RowFormat, check_device
from benchmark.errors import BenchError
from benchmark.exits import FAILED

if TYPE_CHECKING:
    from benchmark.detector.detector import Detector
    from benchmark.detector.rows import Row

WINDOW, PAGE_SIZE = 200, 100  # by default; None is what is not given, and may not go with what is


def score(
    detector: Annotated[Path, typer.Argument(metavar="DETECTOR", help="The folder that `bench export` wrote.")],
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGES...]",
            help="Files, folders, glob patterns, .npz arrays; - reads a list of files: one per line, or NUL between.",
        ),
    ] = None,
    watch: Annotated[
        Path | None, typer.Option("--watch", metavar="FOLDER", help="Score pictures as they arrive in this folder.")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            "--window",
            metavar="N",
            min=1,
            help=f"Pictures that a drift line of --watch looks back on. [default: {WINDOW}]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the rows go. [default: standard output]")
    ] = None,
    format_: Annotated[RowFormat, typer.Option("--format", help="CSV, or one JSON object a line.")] = RowFormat.csv,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Call OOD above this score. [default: the detector's]")
    ] = None,
    nearest: Annotated[int, typer.Option("--nearest", metavar="K", min=0, help="Nearest training images to name.")] = 3,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE.html", help="A gallery of the most anomalous images.")
    ] = None,
    page_size: Annotated[
        int | None, typer.Option("--page-size", metavar="N", min=1, help=f"Images on that page. [default: {PAGE_SIZE}]")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Images a forward pass.")] = 256,
    device: Device = "auto",
) -> None:
    """Score images: path, score (larger = more OOD), OOD or not, p-value, nearest training images.

    Each file comes once. One that is given, or in a folder and called as images are, but cannot be read is a row with
    its error; other files in folders are counted on stderr. Exit code 1 where no image could be read.

    --watch keeps one process: each picture that comes to lie in the folder is one line on standard output, written at
    once; every N pictures a line on stderr says whether as many are above the threshold as it promises. Ctrl-C or
    SIGTERM end it.

    \b
    Examples:
      bench score my-detector photos/ > scores.csv
      bench score my-detector 'photos/**/*.png' --out scores.csv --page worst.html
      find / -name '*.jpg' | bench score my-detector - --format jsonl
      bench score my-detector --watch incoming/ >> scores.csv
    """
    from benchmark.data.finding import LeftOut, none_inside, not_read
    from benchmark.data.pictures import Values
    from benchmark.detector.output import Progress, csv_lines, json_lines, write_lines
    from benchmark.detector.rows import score_images
    from benchmark.detector.sources import find_images
    from benchmark.detector.worst import Top, write_page
    from benchmark.files import atomic_write

    check_device(device)
    if threshold is not None and not math.isfinite(threshold):
        raise BenchError(f"--threshold {threshold}: must be a finite number")
    if watch is not None:
        _refuse_with_watch({"IMAGES": images, "--out": out, "--page": page, "--page-size": page_size})
        _watch(detector, watch, window or WINDOW, format_, threshold, nearest, batch, device)
    if window is not None:
        raise BenchError(f"--window {window}: is of --watch FOLDER, which is not given")
    if page is None and page_size is not None:
        raise BenchError(f"--page-size {page_size}: is of --page FILE.html, which is not given")
    if not images:
        raise BenchError("IMAGES: none given; name files or folders, or one to watch: --watch FOLDER")
    if out is not None and page is not None and out.resolve() == page.resolve():
        raise BenchError(f"--page {page}: is where --out writes its rows; take another file")
    left_out: LeftOut = Counter()
    total = None if "-" in images else sum(1 for _ in find_images(images, left_out=left_out))
    if total == 0:
        raise BenchError(none_inside(" ".join(images), left_out))
    left_out.clear()
    sources, values = find_images(images, sys.stdin.buffer, left_out), Values()
    loaded = _loaded(detector, device, nearest)
    top, progress = Top(0 if page is None else page_size or PAGE_SIZE), Progress(total)
    rows = progress.watch(top.watch(score_images(loaded, sources, batch, nearest, threshold, values)))
    as_csv = format_ is RowFormat.csv
    lines = csv_lines(rows, nearest, loaded.names is not None) if as_csv else json_lines(rows)
    if out is None:
        write_lines(lines, sys.stdout.buffer)
        sys.stdout.flush()
    else:
        with atomic_write(out) as file:
            try:
                write_lines(lines, file)
            except KeyboardInterrupt:
                if Path(file.name) != out:  # what goes to a pipe or a device has gone there
                    file.flush()
                    part = out.with_name(f"{out.name}.partial")
                    shutil.copyfile(file.name, part)
                    print(f"rows so far: {part}; the command begins at the first image again", file=sys.stderr)
                raise
    print(progress.text(), file=sys.stderr)
    for line in filter(None, (not_read(left_out), values.narrow())):
        print(line, file=sys.stderr)
    if page is not None:
        write_page(page, top, progress, loaded, threshold)
        print(f"page: {page}", file=sys.stderr)
    if progress.counts.seen == 0:
        raise BenchError("no images in the list")
    if progress.counts.broken == progress.counts.seen:
        raise typer.Exit(FAILED)


def _loaded(folder: Path, device: str, nearest: int) -> Detector:
    """The detector. Raises BenchError, before a row is written, where it has not so many training images to name."""
    from benchmark.detector.detector import Detector

    loaded = Detector.load(folder, device)
    if nearest > (count := loaded.settings.bank.count):
        raise BenchError(f"--nearest {nearest}: allowed with a bank of {count} images: 0 to {count}")
    return loaded


def _refuse_with_watch(given: dict[str, object]) -> None:
    for name, value in given.items():
        if value:
            raise BenchError(f"--watch: does not go with {name}; it writes rows to standard output until it is stopped")


def _watch(
    folder: Path, where: Path, window: int, format_: RowFormat, threshold: float | None, nearest: int, batch: int,
    device: str,
) -> NoReturn:  # fmt: skip
    """Score what arrives, until a signal ends it: raises typer.Exit with 128 and the signal's number."""
    from benchmark.data.pictures import Values
    from benchmark.detector.output import Progress, csv_lines, json_lines, write_lines
    from benchmark.detector.watch import Arrivals, Drift, Stop, watched
    from benchmark.running.signals import stop_signals_answered

    arrivals, stop, values = Arrivals(str(where)), Stop(), Values()
    with stop_signals_answered(stop.on_signal):
        loaded = _loaded(folder, device, nearest)
        drift, progress = Drift.of(loaded, window, threshold), Progress(None)

        def rows() -> Iterator[Row]:
            for row in watched(loaded, arrivals, batch, nearest, threshold, values, stop):
                yield row  # its line is written before the one on the drift
                progress.counts.add(row)
                _tell(drift.add(row))

        header = not _goes_on()
        as_csv = format_ is RowFormat.csv
        for line in csv_lines(rows(), nearest, loaded.names is not None, header) if as_csv else json_lines(rows()):
            write_lines([line], sys.stdout.buffer)
            sys.stdout.buffer.flush()
        for text in (drift.line(), progress.text(), values.narrow()):
            _tell(text)
    raise typer.Exit(stop.exit_code)


def _goes_on() -> bool:
    """Whether standard output is a file with rows already, as with >>."""
    try:
        found = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def _tell(line: str | None) -> None:
    if line:
        print(line, file=sys.stderr, flush=True)
