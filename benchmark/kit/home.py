"""What goes home: archives within the limits of whoever copies them, and back from there on another machine."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import BenchError, first_line

MIB = 2**20
KEPT = ("record.json", "checkpoint.pt")  # a run that has one of these here is at least as far as the one brought back
# Of a run, what is small and tells all: not its features and weights, nor who holds it.
SMALL = ("config.yaml", "record.json", "scores.npz", "metrics.jsonl", "log.txt", "status.json", "attempts.jsonl")
REPORT, RUNS, CHECKPOINTS = "report.tar.gz", "runs.tar.gz", "checkpoints.tar"
OURS = ("kit.json", "choice.json", "table2.md", REPORT, RUNS, CHECKPOINTS)  # all that a training command leaves


@dataclass(frozen=True)
class Limits:
    """What may be copied home of a command: so many files, MiB of each, MiB together."""

    files: int = 8
    file_mib: float = 15.0
    all_mib: float = 60.0


def clear(out: Path) -> None:
    """Remove what an earlier training command left in `out`: pieces of two archives do not go together."""
    for name in OURS:
        for old in out.glob(f"{name}*"):
            old.unlink()


def pack(archive: Path, members: Sequence[tuple[Path, str]], limits: Limits) -> list[Path]:
    """Write files, each with its name inside, as one archive, or as ARCHIVE.01-of-03, ... where it is over a file's
    limit. Returns what was written."""
    mode = "w:gz" if archive.suffix == ".gz" else "w"
    with tarfile.open(archive, mode) as made:  # type: ignore[call-overload]
        for file, name in members:
            made.add(file, name, recursive=False)
    most = int(limits.file_mib * MIB)
    if archive.stat().st_size <= most:
        return [archive]
    pieces = _pieces(archive, -(-archive.stat().st_size // most))
    with open(archive, "rb") as whole:
        for piece in pieces:
            piece.write_bytes(whole.read(most))
    archive.unlink()
    return pieces


def _pieces(archive: Path, count: int) -> list[Path]:
    return [archive.with_name(f"{archive.name}.{number:02d}-of-{count:02d}") for number in range(1, count + 1)]


def pack_runs(results: Path, out: Path, limits: Limits) -> list[str]:
    """Pack what is small of every run in `results`, and as many checkpoints as the limits leave room for, the smallest
    first. Returns lines on what stays behind."""
    runs = sorted(path.parent for path in results.glob("*/config.yaml"))
    small = [(run / name, f"{run.name}/{name}") for run in runs for name in SMALL if (run / name).exists()]
    if small:
        pack(out / RUNS, small, limits)
    files = [path for name in OURS for path in out.glob(f"{name}*")]
    room = limits.all_mib * MIB - sum(path.stat().st_size for path in files)
    room = min(room, max(0, limits.files - len(files)) * limits.file_mib * MIB)
    taken, stay = [], []
    unfinished = [run / "checkpoint.pt" for run in runs if not (run / "record.json").exists()]
    for file in sorted((path for path in unfinished if path.exists()), key=lambda path: (path.stat().st_size, path)):
        size = file.stat().st_size + 20_480  # of its header, and of the archive's end
        if size <= room:
            room -= size
            taken.append((file, f"{file.parent.name}/{file.name}"))
        else:
            stay.append(f"{file.parent.name}: its checkpoint of {size / MIB:.0f} MiB stays in {file.parent}")
    if taken:
        pack(out / CHECKPOINTS, taken, limits)
    return stay


def unpack_runs(back: Path, results: Path) -> int:
    """Put the runs that were packed into `back` into `results`, less those that are there and as far; how many.

    Raises BenchError that names an archive that cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        brought = Path(folder)
        for name in (RUNS, CHECKPOINTS):
            _unpack(back, name, brought)
        count = 0
        for run in sorted(path for path in brought.iterdir() if path.is_dir()):
            here = results / run.name
            if not any((here / name).exists() for name in KEPT):
                shutil.copytree(run, here, dirs_exist_ok=True)
                count += 1
    return count


def _unpack(back: Path, name: str, to: Path) -> None:
    pieces = [back / name] if (back / name).exists() else sorted(back.glob(f"{name}.*-of-*"))
    if not pieces:
        return
    if pieces[0].name != name:
        lost = [
            piece.name for piece in _pieces(back / name, int(pieces[0].name.rpartition("-")[2])) if piece not in pieces
        ]
        if lost:
            raise BenchError(f"{back}: {', '.join(lost)} did not come back, and the others are nothing without")
    try:
        with tempfile.TemporaryFile() as whole:
            for piece in pieces:
                whole.write(piece.read_bytes())
            whole.seek(0)
            with tarfile.open(fileobj=whole) as archive:
                archive.extractall(to, filter="data")
    except (OSError, EOFError, tarfile.TarError) as error:
        raise BenchError(f"{pieces[0]}: not a readable archive of the kit ({first_line(error)})") from error
