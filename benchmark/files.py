"""Files that are never seen half-written, and JSON that says so when it is broken."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from benchmark.errors import BenchError, first_line

if TYPE_CHECKING:
    import numpy as np


def expanded(path: str | Path) -> Path:
    """A path that a user gave, with `~` and `~NAME` at its beginning as a shell has them.

    Raises BenchError for an empty one, as a shell makes of a variable that is not set, where there is no such user, and
    where nobody knows whose home is meant.
    """
    if not str(path):
        raise BenchError("an empty name or path was given; the folder that you are in is .")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise BenchError(f"{path}: no home folder is known for its first part; write the path in full") from error


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Write `path` whole or not at all: temporary name, fsync, `os.replace`, fsync of the folder.

    A reader sees the old file or the new one. If the block raises (a full disk, an interrupt) the old file stays
    and the temporary one is removed. A link stays one: what it points to is replaced. A device or a pipe is written to
    as it is: a rename would put a file in its place, and /dev/null would be gone for the whole machine.
    """
    if path.exists() and not path.is_file():
        with _opened(path, mode) as stream:
            yield stream
        return
    if path.is_symlink():
        path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with _opened(temporary, mode) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say which file it was
        raise
    sync_folder(path.parent)


def _opened(path: Path, mode: str) -> IO[Any]:
    """Text is UTF-8, whatever the locale; of a file's name in it that is none, the odd bytes are \\udcXX."""
    return open(path, mode) if "b" in mode else open(path, mode, encoding="utf-8", errors="backslashreplace")


def remove_torn(path: Path) -> None:
    """Remove what killed processes left of their writing `path`. Nobody may be at it: theirs would go as well."""
    for torn in path.parent.glob(f".{path.name}.*.tmp"):
        with suppress(OSError):
            torn.unlink()


LOCK_STALE_SECONDS = 60.0  # of a lock file whose owner died, where the file system has no locks of its own


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`: one process at a time, the others wait. Not for the length of a run.

    `flock`, which ends with its process and reaches other hosts where the mount supports it. Where the file system
    refuses it (Lustre mounted without it), a second file that only one process can create stands for the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL):
                raise
            with _only_creator(path.with_name(path.name + ".taken")):
                yield
        else:
            yield


@contextmanager
def _only_creator(path: Path) -> Iterator[None]:
    while True:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            with suppress(FileNotFoundError):
                if clock_of(path.parent) - path.stat().st_mtime > LOCK_STALE_SECONDS:
                    path.unlink()
            time.sleep(0.02)
    ended = threading.Event()
    beat = threading.Thread(target=_keep_fresh, args=(path, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        path.unlink(missing_ok=True)


def _keep_fresh(path: Path, ended: threading.Event) -> None:
    """Keep the lock file of a living owner from looking stale: a large sweep is submitted for minutes under it."""
    while not ended.wait(LOCK_STALE_SECONDS / 6):
        with suppress(OSError):
            os.utime(path)


def clock_of(folder: Path) -> float:
    """Now, in seconds, by the clock that stamps files in `folder`: a file server's, which may differ from ours."""
    probe = folder / f".clock.{secrets.token_hex(4)}.tmp"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()
    except OSError:  # somebody else's folder, a full disk
        return time.time()


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the file system allows it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused: JSON has none."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    with atomic_write(path, "w") as stream:
        stream.write(text + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; raises BenchError that names the file when it is not JSON."""
    try:
        return json.loads(path.read_text("utf-8-sig"))  # a mark at the beginning is no fault
    except (ValueError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: not readable as JSON ({error})") from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, none where there is no file. A line that a kill, a full disk or a bad sector
    has spoilt is left out."""
    lines, rows = [], []
    with suppress(OSError):
        lines = path.read_text(errors="replace").splitlines()
    for line in lines:
        with suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


class NewerRelease(BenchError):
    """A file that a newer release has written."""


def schema_version(path: Path, raw: Any, oldest: int, newest: int, key: str = "schema_version") -> int:
    """The version that the JSON `raw` read from `path` has. Raises BenchError for none, or one not known here."""
    version = raw.get(key) if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < oldest:
        raise BenchError(f"{path}: {key}: must be a whole number from {oldest}, given {str(version)[:40]}")
    if version > newest:
        raise NewerRelease(f"{path}: {key}: {version} was written by a newer release; this one reads up to {newest}")
    return version


def read_names(path: Path, count: int, remedy: str) -> list[str]:
    """The JSON list of `count` file names in `path`. Raises BenchError, which ends in `remedy`, where it is not one."""
    names = read_json(path)
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise BenchError(f"{path}: not a list of {count} file names; {remedy}")
    return names


def read_npz(path: Path, keys: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz that a run kept; with `keys`, only those of them that it has, and nothing else is read.

    Raises BenchError that names the file when it is missing or broken.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if keys is None or key in keys}
    except FileNotFoundError as error:
        raise BenchError(f"{path}: is missing") from error
    except Exception as error:  # numpy and zipfile raise whatever a broken file leads them to
        raise BenchError(
            f"{path}: not a readable npz ({first_line(error)}); put back a copy of it, or delete it"
        ) from error
