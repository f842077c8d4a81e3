"""A folder that pictures arrive in: each is scored once, when it is whole; and whether the threshold holds there."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmark.data.finding import walk
from benchmark.data.pictures import Values, read_picture
from benchmark.detection.threshold import exact_interval
from benchmark.detector.detector import Detector
from benchmark.detector.rows import Row, score_images
from benchmark.detector.sources import Source
from benchmark.errors import BenchError
from benchmark.exits import note
from benchmark.running.signals import Requests

LOOK_EVERY = 0.5  # seconds; a file that two looks in a row find alike is taken to be written
LOOSE = 0.5  # the length of a share's interval above which it tells nothing
PATIENCE = 30.0  # seconds without a change, after which a file that cannot be read is said to be broken

_Stamp = tuple[int, int, int]  # inode, bytes, time of the last change: another one is another picture


@dataclass
class _Seen:
    stamp: _Stamp
    since: float  # on the clock
    done: bool = False


class Arrivals:
    """The pictures of a folder and of those in it, as they come: what lies there already, then what is new. One that
    is written again comes again."""

    def __init__(self, folder: str, clock: Callable[[], float] = time.monotonic) -> None:
        if not os.path.isdir(folder):
            raise BenchError(f"--watch {folder}: no such folder")
        self.folder, self._clock = folder, clock
        self._seen: dict[str, _Seen] = {}
        self._told: set[str] = set()  # folders that cannot be listed, which is said once

    def scan(self) -> list[Source]:
        """What is written and was not given out as done, in the order of names."""
        now, found, errors = self._clock(), [], not os.path.isdir(self.folder)
        if errors:
            self._tell(self.folder, "the folder is gone; waiting for it")
        here: dict[str, _Seen] = {}
        for path, error in () if errors else walk(self.folder, Counter()):
            if error is not None:
                errors = True
                self._tell(path, str(error.strerror))
            elif (stamp := _stamp(path)) is not None:
                before = self._seen.get(path)
                here[path] = before if before is not None and before.stamp == stamp else _Seen(stamp, now)
                if before is here[path] and not before.done:
                    found.append(Source(path, partial(read_picture, path)))
        # What is gone is forgotten, but not what lies where nothing can be seen just now: it would come again.
        self._seen = {**self._seen, **here} if errors else here
        return found

    def is_final(self, row: Row) -> bool:
        """Whether a row says the last word on its picture: it has not changed since it was looked at, and where it
        could not be read there is no more hope that it is being written. If not, it comes again."""
        seen = self._seen[row.source.path]
        if _stamp(row.source.path) != seen.stamp:
            return False
        seen.done = not row.error or self._clock() - seen.since >= PATIENCE
        return seen.done

    def _tell(self, folder: str, why: str) -> None:
        if folder not in self._told:
            self._told.add(folder)
            note(f"{folder}: {why}")


def _stamp(path: str) -> _Stamp | None:
    try:
        found = os.stat(path)
    except OSError:  # gone since it was listed, or a link to nowhere
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class Stop:
    """Whether a signal has asked to end, and which; a second one ends at once."""

    def __init__(self) -> None:
        self.number = 0
        self._requests = Requests()

    @property
    def exit_code(self) -> int:
        return 128 + (self.number or signal.SIGINT)

    def on_signal(self, number: int) -> None:
        if not self._requests.is_new(number):
            return
        if self.number:
            raise KeyboardInterrupt
        self.number = number


def watched(
    detector: Detector,
    arrivals: Arrivals,
    batch: int,
    nearest: int,
    threshold: float | None,
    values: Values,
    stop: Stop,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[Row]:
    """A row for each picture that arrives, until `stop`; a batch that has begun is finished."""
    while not stop.number:
        started = time.monotonic()
        ready = arrivals.scan()
        for start in range(0, len(ready), batch):
            if stop.number:
                return
            rows = score_images(detector, ready[start : start + batch], batch, nearest, threshold, values)
            yield from filter(arrivals.is_final, rows)
        # A folder of very many files is not looked through all the time.
        wait(max(LOOK_EVERY, 10 * (time.monotonic() - started) if not ready else 0.0))


class Drift:
    """How many of the last pictures were above the threshold, against what it promises for ID images.

    promised: the expected share above it among new ID images, with its 95% interval.
    """

    def __init__(self, window: int, promised: float, interval: tuple[float, float]) -> None:
        self._flags: deque[bool] = deque(maxlen=window)
        self._since = 0
        self.promised, self.interval = promised, interval

    @classmethod
    def of(cls, detector: Detector, window: int, threshold: float | None) -> Drift:
        """threshold: in place of the detector's; its promise is then the share of the held-out ID scores above it."""
        if threshold is None:
            low, high = detector.settings.threshold.rate_interval
            return cls(window, detector.settings.threshold.rate, (low, high))
        above, count = int((detector.id_scores > threshold).sum()), len(detector.id_scores)
        return cls(window, above / count, exact_interval(above, count))

    def add(self, row: Row) -> str | None:
        """Count a row; the line to print where a whole window has passed since the last one."""
        if row.ood is None:
            return None
        self._flags.append(row.ood)
        self._since += 1
        return self.line() if self._since == self._flags.maxlen else None

    def line(self) -> str | None:
        """What the last pictures say; None where no picture came since the last line."""
        if not self._since:
            return None
        self._since = 0
        above, count = sum(self._flags), len(self._flags)
        low, high = exact_interval(above, count)
        verdict = "as promised" if high - low <= LOOSE else "too few to tell"
        if low > self.interval[1]:
            verdict = "more than promised: these pictures are not drawn as the held-out ID images were"
        elif high < self.interval[0]:
            verdict = "fewer than promised"
        return (
            f"drift: {above} of the last {count} above the threshold, {_percent(above / count)} (95% interval "
            f"{_percent(low)} to {_percent(high)}); it promises {_percent(self.promised)} of ID images "
            f"({_percent(self.interval[0])} to {_percent(self.interval[1])}): {verdict}"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
