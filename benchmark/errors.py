"""The one exception that a user is meant to see, and what goes into its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class BenchError(Exception):
    """Something the user can mend. Its text is one line; the command line prints it and exits with code 2.

    The line names the file or thing, the key, what was given and what is allowed.
    """


class StillToDo(BenchError):
    """What keeps a run from going on now and passes: the run is not failed, but interrupted, and still to do.

    The one rule for it: `Reporter` leaves it so in the run's status, and what starts runs goes by that.
    """


@contextmanager
def about(where: object) -> Iterator[None]:
    """Within the block the line of a BenchError begins with `where`, the file or key that the mistake is in."""
    try:
        yield
    except BenchError as error:
        raise type(error)(f"{where}: {error}") from error


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its type's name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def some_of(names: Iterable[str], most: int = 5) -> str:
    """The first few names, for a line that must stay one of a terminal: 'a, b, ... (150 in all)'."""
    known = list(dict.fromkeys(names))
    rest = f", ... ({len(known)} in all)" if len(known) > most else ""
    return ", ".join(known[:most]) + rest


def unknown(kind: str, given: object, allowed: Iterable[str]) -> str:
    """One line that names an unknown thing, what is allowed, and the nearest allowed spelling."""
    names = sorted(allowed)
    close = difflib.get_close_matches(str(given), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown {kind} {given!r}{hint}; allowed: {', '.join(names)}"
