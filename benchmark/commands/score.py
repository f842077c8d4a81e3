"""`bench score`: images scored by a detector."""

from __future__ import annotations

import math
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Device, RowFormat, check_device
from benchmark.errors import BenchError
from benchmark.exits import FAILED


def score(
    detector: Annotated[Path, typer.Argument(metavar="DETECTOR", help="The folder that `bench export` wrote.")],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Files, folders, glob patterns, .npz arrays; - reads a list of files: one per line, or NUL between.",
        ),
    ],
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
    page_size: Annotated[int, typer.Option("--page-size", metavar="N", min=1, help="Images on that page.")] = 100,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Images a forward pass.")] = 256,
    device: Device = "auto",
) -> None:
    """Score images: path, score (larger = more OOD), OOD or not, p-value, nearest training images.

    Each file comes once. One that is given, or in a folder and called as images are, but cannot be read is a row with
    its error; other files in folders are counted on stderr. Exit code 1 where no image could be read.

    \b
    Examples:
      bench score my-detector photos/ > scores.csv
      bench score my-detector 'photos/**/*.png' --out scores.csv --page worst.html
      find / -name '*.jpg' | bench score my-detector - --format jsonl
    """
    from benchmark.data.finding import LeftOut, none_inside, not_read
    from benchmark.data.pictures import Values
    from benchmark.detector.detector import Detector
    from benchmark.detector.output import Progress, csv_lines, json_lines, write_lines
    from benchmark.detector.rows import score_images
    from benchmark.detector.sources import find_images
    from benchmark.detector.worst import Top, write_page
    from benchmark.files import atomic_write

    check_device(device)
    if threshold is not None and not math.isfinite(threshold):
        raise BenchError(f"--threshold {threshold}: must be a finite number")
    if out is not None and page is not None and out.resolve() == page.resolve():
        raise BenchError(f"--page {page}: is where --out writes its rows; take another file")
    left_out: LeftOut = Counter()
    total = None if "-" in images else sum(1 for _ in find_images(images, left_out=left_out))
    if total == 0:
        raise BenchError(none_inside(" ".join(images), left_out))
    left_out.clear()
    sources, values = find_images(images, sys.stdin.buffer, left_out), Values()
    loaded = Detector.load(detector, device)
    top, progress = Top(page_size if page is not None else 0), Progress(total)
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
    if progress.counts.seen == 0:
        raise BenchError("no images in the list")
    if progress.counts.broken == progress.counts.seen:
        raise typer.Exit(FAILED)
