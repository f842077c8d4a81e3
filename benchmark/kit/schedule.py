"""How many epochs a sweep can have, so that all its runs end within a few commands. Nothing here is measured or run."""

from __future__ import annotations

from collections.abc import Sequence

MOST_EPOCHS = 1000


def commands_needed(work: Sequence[float], epochs: int, jobs: int, speed: float, overhead: float, window: float) -> int:
    """How many commands of `window` seconds a sweep's queue takes, where a run that a command's end meets is lost.

    work: floating-point operations an epoch of each run, in the order of the queue; 0 for one that trains nothing.
    speed: FLOP/s of `jobs` runs side by side, all together, each of which has an equal share. overhead: seconds of a
    run beside its training. Within a command each run goes to the slot that is free first; what has not ended is begun
    anew in the next. Returns 0 where a run is too long for any command.
    """
    left = [overhead + epochs * each * jobs / speed for each in work]
    if left and max(left) > window:
        return 0
    commands = 0
    while left:
        commands += 1
        free, lost = [0.0] * jobs, []
        for seconds in left:
            slot = free.index(min(free))
            begun = free[slot]
            if begun >= window:
                lost.append(seconds)  # never begun
                continue
            free[slot] = begun + seconds
            if free[slot] > window:
                lost.append(seconds)
        left = lost
    return commands


def most_epochs(work: Sequence[float], jobs: int, speed: float, overhead: float, window: float, commands: int) -> int:
    """The most epochs, up to MOST_EPOCHS, with which a sweep ends within so many commands; 0 where not even one."""
    fitting = 0
    # One by one: with other numbers runs meet the slots in another order, so that more may fit where fewer did not.
    for epochs in range(1, MOST_EPOCHS + 1):
        needed = commands_needed(work, epochs, jobs, speed, overhead, window)
        if needed == 0:
            break
        if needed <= commands:
            fitting = epochs
    return fitting
