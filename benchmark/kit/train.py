"""The kit's further commands: Table 2, some runs side by side, until all are done; each shows what there is so far."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from benchmark.errors import BenchError
from benchmark.files import read_json, write_json
from benchmark.kit import home, speed
from benchmark.kit.parts import Deadline, Part, Parts, bench
from benchmark.kit.places import Places, prepare, take_in

# 130: stopped, the runs with their checkpoints; SIGTERM's own: stopped before any run was started; None: not begun.
FINE = (0, 130, -signal.SIGTERM, None)


def train(places: Places, sweep: Path, epochs: int | None, jobs: int | None, deadline: Deadline) -> bool:
    """Train what is not done yet until the time is up, report on what is there, and pack it. Whether nothing failed."""
    environment = prepare(places)
    choice = read_choice(places, epochs, jobs)
    brought = home.unpack_runs(places.back, places.results) if places.back.is_dir() else 0
    home.clear(places.out)
    parts = Parts(places.out, places.results / ".logs", environment, {"command": sys.argv[1:], "brought_back": brought})
    write_json(places.out / "choice.json", choice)
    take_in(places, sweep, parts, deadline, deadline.for_work())
    sets = speed.settings(choice)
    again = [word for text in sets for word in ("--set", text)]
    where = ["--results", places.results, "--data", places.data]
    options = ["--jobs", choice["jobs"], "--executor", "local", "--checkpoint-every", 60, "--retry-failed"]
    command = bench(sys.executable, "sweep", sweep, *again, *options, *where)
    parts.run("sweep", command, deadline.for_work(), left=deadline.for_work, fine=(0, 130), in_order=True)
    _report(places, sweep, again, parts, deadline)
    if places.out.resolve() not in places.results.resolve().parents:
        parts.about["stays"] = home.pack_runs(places.results, places.out, home.Limits())
    done, of = _counted(places, sweep, sets)
    parts.about |= {"runs_done": done, "runs": of}
    parts.write()
    for line in parts.about.get("stays", ()):  # type: ignore[attr-defined]
        print(line)
    print(f"{done} of {of} runs are done" + ("" if done == of else "; to go on, give the same command again"))
    return all(part.state != "failed" and part.code in FINE for part in parts.ended)


def _report(places: Places, sweep: Path, again: list[str], parts: Parts, deadline: Deadline) -> None:
    """The report on what there is; its Table 2 as it is, all of it as an archive."""
    if not any(places.results.glob("*/record.json")):
        parts.add(Part("report", "skipped", last_words=["no run is done yet"]))
        return
    made = places.results / ".report"
    shutil.rmtree(made, ignore_errors=True)
    where = ["--results", places.results, "--data", places.data, "--out", made]
    command = bench(sys.executable, "report", "--all", "--sweep", sweep, *again, *where)
    parts.run("report", command, deadline.for_packing(), left=deadline.for_packing)
    files = sorted(path for path in made.rglob("*") if path.is_file())
    if files:
        home.pack(places.out / home.REPORT, [(file, str(file.relative_to(made))) for file in files], home.Limits())
    for file in files:
        if file.name == "table2.md":
            shutil.copyfile(file, places.out / file.name)


def _counted(places: Places, sweep: Path, sets: list[str]) -> tuple[int, int]:
    """How many of the sweep's runs are done, and how many there are."""
    from benchmark.plan import sweep as sweeps
    from benchmark.store import states

    planned = states.plan(sweeps.load(sweep, sets), places.results, places.data, need_data=False)
    return sum(item.state == "done" for item in planned), len(planned)


def read_choice(places: Places, epochs: int | None, jobs: int | None) -> dict[str, Any]:
    """What `measure` chose, here or where it was brought back from, or what is given instead; kept beside the results.

    Raises BenchError where there is none.
    """
    kept = places.results / "choice.json"
    files = [file for file in (kept, places.back / "choice.json") if file.exists()]
    choice: dict[str, Any] = read_json(files[0]) if files else {}
    given = {key: value for key, value in (("epochs", epochs), ("jobs", jobs)) if value is not None}
    choice |= given
    wrong = [key for key in ("epochs", "jobs") if not isinstance(choice.get(key), int) or choice[key] < 1]
    if wrong:
        where = files[0] if files else f"{kept}: is not there, nor in {places.back}"
        raise BenchError(f"{where}: says no {' and '.join(wrong)}; give --{' and --'.join(wrong)}, or measure first")
    write_json(kept, choice)
    return choice
