"""Exit codes, and the one line on stderr for whatever the user can mend.

0 all is done; 1 a run failed or a check found problems; 2 something the user can mend, said in one line; 75 another
process is on the run (`bench run`); 130 stopped by Ctrl-C or a signal, what is done and saved is kept.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from benchmark.errors import BenchError

# Ctrl-C; the end of a job, `docker stop`, systemd; a closed terminal.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], object] | int  # as `signal.signal` takes them

FAILED, USER_ERROR, HELD_ELSEWHERE, INTERRUPTED = 1, 2, 75, 130


def exit_code(call: Callable[[], int | None], describe: Callable[[Exception], str | None] = lambda error: None) -> int:
    """What `call` returns, or the exit code for what it raises, with one line on stderr.

    describe: the line for exceptions that only the caller knows, None for others.
    """
    try:
        code = call()
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code or 0
    except BenchError as error:
        complain(str(error))
        return USER_ERROR
    except KeyboardInterrupt:
        # Signals often come in pairs, and the terminal may be gone.
        with signals_go_to(signal.SIG_IGN, STOP_SIGNALS), suppress(OSError):
            again = shlex.join(["bench", *sys.argv[1:]])
            print(f"stopped; what is done and saved is kept. To go on: {again}", file=sys.stderr, flush=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`bench status | head`): no complaint, nor one at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        complain(explain_os(error))
        return USER_ERROR
    except Exception as error:
        line = describe(error)
        if line is None:
            raise
        complain(line)
        return USER_ERROR


@contextmanager
def signals_go_to(handler: Handler, numbers: Iterable[int]) -> Iterator[None]:
    """Within the block these signals go to `handler`, and after it to whoever had them before. In another thread than
    the main one, which no signal reaches, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def note(text: str) -> None:
    """One line on stderr of what is worth knowing and ends nothing."""
    with suppress(OSError):
        print("note: " + " ".join(text.split()), file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """One line on stderr, where that can still be written to."""
    with suppress(OSError):
        print("error: " + " ".join(text.split()), file=sys.stderr, flush=True)


def no_room(error: BaseException) -> bool:
    """Whether it says that a disk, or one's share of it, is full. numpy then says how little it has written."""
    return isinstance(error, OSError) and (
        error.errno in (errno.ENOSPC, errno.EDQUOT) or " requested and " in str(error)
    )


def explain_os(error: OSError) -> str:
    """What an operating system's error means to a user, with the file's name."""
    file = error.filename2 or error.filename or "a file"
    if no_room(error):
        why = error.strerror or error
        return f"{file}: disk full ({why}); make room and give the same command again, nothing done is lost"
    return f"{file}: {error.strerror or error}"
