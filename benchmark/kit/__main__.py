"""`python -m benchmark.kit`: its command line. Exit codes: see benchmark/exits.py."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmark.errors import BenchError, unknown
from benchmark.exits import FAILED, exit_code
from benchmark.files import expanded, write_json
from benchmark.kit import luggage, measure, speed, train
from benchmark.kit.measure import PARTS
from benchmark.kit.parts import Deadline, Parts
from benchmark.kit.places import REPOSITORY, Places, image_keys, images_lacking, prepare, take_in

RESERVES = (10.0, 75.0)  # seconds; of `table2`, which stops runs, reports and packs, the larger one


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmark.kit", description="What to do with half an hour of a GPU.")
    commands = made.add_subparsers(dest="verb", required=True)

    bring = commands.add_parser("bring", help="where there is a network: gather wheels and images, say their sizes")
    bring.add_argument("images", type=expanded, metavar="IMAGES", help="a folder of NAME-SPLIT.npz")
    bring.add_argument("--to", type=expanded, default=Path(".kit"), metavar="DIR")
    bring.add_argument("--lacking", action="append", metavar="NAME", help="what the machine lacks [pydantic]")
    bring.add_argument("--python", default="3.12", metavar="VERSION", help="of the machine [3.12]")
    bring.add_argument("--machine", default="x86_64", metavar="ARCH", help="of the machine [x86_64]")
    bring.add_argument("--carry", type=float, default=64.0, metavar="MIB", help="the most that may travel [64]")
    bring.add_argument("--loads", type=int, default=1, metavar="N", help="to bring the images in, one a command [1]")
    bring.add_argument("--sweep", type=expanded, default=Path("half-hour"), metavar="SWEEP")

    measuring = commands.add_parser("measure", help="first: doctor, tests on the GPU, speeds; chooses epochs")
    table2 = commands.add_parser("table2", help="then, again and again: trains Table 2, and reports on what there is")
    take = commands.add_parser("take", help="there, for each load but the last: takes in the images that were brought")
    speeds = commands.add_parser("speed", help="a part of `measure`: speeds side by side")
    for command in (measuring, table2, speeds, take):
        command.add_argument("--limit", type=float, default=540.0, metavar="SECONDS", help="it ends by then [540]")
        reserve = RESERVES[command is table2]
        command.add_argument("--reserve", type=float, default=reserve, metavar="SECONDS",
                             help=f"of these, to stop in order and pack what there is [{reserve:g}]")  # fmt: skip
        command.add_argument("--out", type=expanded, metavar="DIR", help="what goes home [$OUT, or RESULTS-home]")
        command.add_argument("--results", type=expanded, default=Path("results/half-hour"), metavar="DIR")
        command.add_argument(
            "--data", type=expanded, metavar="DIR", help="of the image sets [$BENCH_DATA, or in RESULTS]"
        )
        command.add_argument("--brought", type=expanded, default=Path(".kit"), metavar="DIR",
                             help="holds wheels, images, and back: what went home before [.kit]")  # fmt: skip
        command.add_argument("--sweep", type=expanded, default=Path("half-hour"), metavar="SWEEP")
    for command in (measuring, speeds):
        command.add_argument("--jobs", type=_numbers, default=[6, 4, 1], metavar="N,...",
                             help="numbers of runs side by side to try [6,4,1]")  # fmt: skip
        command.add_argument("--seconds", type=float, default=10.0, help="for which each number is watched [10]")
        command.add_argument("--commands", type=int, default=2, metavar="N", help="`table2` that will follow [2]")
        command.add_argument("--window", type=float, default=465.0, metavar="SECONDS",
                             help="for training in each of these: its --limit less its --reserve [465]")  # fmt: skip
    measuring.add_argument("--perf-sweep", type=expanded, default=Path("table2"), metavar="SWEEP")
    measuring.add_argument("--rounds", type=int, default=3, metavar="N", help="of bench perf [3]")
    measuring.add_argument("--steps", type=int, default=6, metavar="N", help="of bench perf, a round [6]")
    measuring.add_argument(
        "--tests", type=expanded, default=REPOSITORY / "tests/cuda", metavar="DIR", help="for pytest"
    )
    measuring.add_argument(
        "--parts", type=_parts, default=PARTS, metavar="NAME,...", help=f"of {', '.join(PARTS)} [all]"
    )
    table2.add_argument("--epochs", type=int, metavar="N", help="instead of what `measure` chose")
    table2.add_argument("--jobs", type=int, metavar="N", help="instead of what `measure` chose")
    return made


def verbs() -> dict[str, argparse.ArgumentParser]:
    """The commands, by name."""
    [made] = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(made.choices)


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text}: must be whole numbers above 0, as in 6,4,1")
    return [int(part) for part in parts]


def _parts(text: str) -> list[str]:
    wrong = [name for name in text.split(",") if name not in PARTS]
    if wrong:
        raise argparse.ArgumentTypeError(unknown("part", wrong[0], PARTS))
    return text.split(",")


def main(words: list[str] | None = None) -> int:
    """Do a command; returns its exit code."""

    def do() -> int:
        told = parser().parse_args(words)
        return bring(told) if told.verb == "bring" else on_the_machine(told)

    return exit_code(do)


def bring(told: argparse.Namespace) -> int:
    """Put wheels and images into a folder, say what travels, and check that it may.

    Raises BenchError for what is not to be had, and where it is too much.
    """
    from benchmark.plan import sweep as sweeps

    if told.loads < 1:
        raise BenchError(f"--loads {told.loads}: must be at least 1")
    keys = dict.fromkeys(key for run in sweeps.load(told.sweep).runs for key in image_keys(run.config))
    print(f"packing {len(keys)} sets of images", flush=True)
    folders = [folder.name for folder in luggage.take_images(told.images, keys, told.to, told.loads)]
    requirements = luggage.with_needs(told.lacking or ["pydantic"], told.python)
    print(f"wheels for CPython {told.python}: {' '.join(requirements)}", flush=True)
    luggage.fetch_wheels(requirements, told.to / "wheels", told.python, told.machine)
    found = luggage.sizes(REPOSITORY, told.to)
    for name, size in found.items():
        print(f"{name:<14}{size / luggage.MIB:8.1f} MiB")
    for folder in folders:
        load = {name: size for name, size in found.items() if name == folder or name not in folders}
        with_it = "all" if told.loads == 1 else f"with {folder}"
        print(f"{with_it:<14}{sum(load.values()) / luggage.MIB:8.1f} MiB of {told.carry:g}")
        luggage.check_sizes(load, told.carry)
    return 0


def on_the_machine(told: argparse.Namespace) -> int:
    """The commands with a time limit. Raises BenchError."""
    if told.limit <= told.reserve:
        raise BenchError(f"--limit {told.limit:g}: must be more than --reserve {told.reserve:g}")
    beside = told.results.with_name(f"{told.results.name}-home")
    where = Places(
        out=told.out or Path(os.environ.get("OUT") or beside),
        results=told.results,
        data=told.data or Path(os.environ.get("BENCH_DATA") or told.results / ".images"),
        images=tuple(sorted(told.brought.glob("images*"))),
        wheels=told.brought / "wheels",
        back=told.brought / "back",
    )
    deadline = Deadline(told.limit, told.reserve)
    with deadline.signals():
        if told.verb == "take":
            fine = take(where, told.sweep, deadline)
        elif told.verb == "table2":
            fine = train.train(where, told.sweep, told.epochs, told.jobs, deadline)
        elif told.verb == "speed":
            asked = speed.Asked(
                told.sweep, where.data, where.results / ".speed", told.jobs, told.seconds, told.commands, told.window
            )
            write_json(where.out / "choice.json", speed.choose(asked, deadline, dict(os.environ)))
            fine = True
        else:
            effort = [f"--rounds={told.rounds}", f"--steps={told.steps}", "--warmup=3"]
            fine = measure.measure(
                where,
                measure.Measuring(
                    limit=told.limit,
                    window=told.window,
                    sweep=told.sweep,
                    perf_sweep=told.perf_sweep,
                    jobs=told.jobs,
                    seconds=told.seconds,
                    commands=told.commands,
                    effort=effort,
                    tests=told.tests,
                    parts=told.parts,
                ),
                deadline,
            )
    return 0 if fine else FAILED


def take(where: Places, sweep: Path, deadline: Deadline) -> bool:
    """Take in the images that were brought, and say which of the sweep's are still to come."""
    parts = Parts(where.out, where.results / ".logs", prepare(where), {"command": sys.argv[1:]})
    take_in(where, sweep, parts, deadline, deadline.for_work())
    lacking = images_lacking(where, sweep)
    print(f"still to bring: {', '.join(lacking)}" if lacking else "all images are there")
    return all(part.state == "done" for part in parts.ended)


if __name__ == "__main__":
    sys.exit(main())
