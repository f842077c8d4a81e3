"""How many epochs fit: held against hand-worked queues, and against a queue that is played second by second."""

from __future__ import annotations

import itertools

import pytest

from benchmark.kit.schedule import MOST_EPOCHS, commands_needed, most_epochs


def played(seconds: list[int], jobs: int, window: int) -> int:
    """Commands that runs of these whole seconds take, moment by moment: an independent account of the same queue."""
    left, commands = list(enumerate(seconds)), 0
    while left:
        commands += 1
        assert commands < 50
        queue, running, done = list(left), [], set()
        for _ in range(window):
            while queue and len(running) < jobs:
                number, length = queue.pop(0)
                running.append([number, length])
            for run in running:
                run[1] -= 1
            done |= {number for number, rest in running if rest == 0}
            running = [run for run in running if run[1] > 0]
        left = [run for run in left if run[0] not in done]
    return commands


@pytest.mark.parametrize(
    ("seconds", "jobs", "window", "commands"),
    [
        ([4, 2, 2], 1, 8, 1),
        ([4, 2, 2], 1, 7, 2),
        ([4, 2, 2], 2, 4, 1),
        ([3, 3], 1, 4, 2),  # the end of the first command meets the second run, which begins anew
        ([2, 3, 3, 2], 2, 5, 1),  # to the slot that is free first
        ([5, 1, 1], 2, 4, 0),  # no command is that long
        ([], 3, 4, 0),
    ],
)
def test_hand_worked_queues(seconds: list[int], jobs: int, window: int, commands: int) -> None:
    found = commands_needed([float(each) for each in seconds], 1, jobs, float(jobs), 0.0, float(window))
    assert found == commands
    if commands:
        assert played(seconds, jobs, window) == commands


def test_the_queue_played_second_by_second_agrees() -> None:
    for seconds in itertools.product((1, 2, 3, 5), repeat=5):
        for jobs, window in ((1, 6), (2, 5), (3, 7), (4, 5)):
            found = commands_needed([float(each) for each in seconds], 1, jobs, float(jobs), 0.0, float(window))
            assert found == played(list(seconds), jobs, window), (seconds, jobs, window)


def test_runs_side_by_side_share_the_speed_and_each_has_its_overhead() -> None:
    # 2 of them at 100 FLOP/s in all: 3 epochs of 50 FLOP take 3 s, beside an overhead of 2 s.
    assert commands_needed([50.0, 50.0], 3, 2, 100.0, 2.0, 5.0) == 1
    assert commands_needed([50.0, 50.0], 3, 2, 100.0, 2.0, 4.99) == 0
    assert commands_needed([0.0, 0.0], 3, 1, 100.0, 2.0, 4.0) == 1, "a reference row has its overhead alone"
    assert commands_needed([0.0, 0.0], 3, 1, 100.0, 2.0, 3.9) == 2


def test_the_most_epochs_are_the_last_that_fit() -> None:
    work = [30.0, 20.0, 20.0, 12.0, 0.0]
    for jobs, window, commands in itertools.product((1, 2, 3), (10.0, 33.0), (1, 2)):
        most = most_epochs(work, jobs, 60.0, 1.0, window, commands)
        needed = [commands_needed(work, epochs, jobs, 60.0, 1.0, window) for epochs in range(1, 200)]
        assert most == max((n for n, each in enumerate(needed, 1) if 0 < each <= commands), default=0)
    assert most_epochs(work, 1, 1e-3, 1.0, 100.0, 2) == 0
    assert most_epochs(work, 1, 1e12, 1.0, 100.0, 2) == MOST_EPOCHS
