"""`bench verify`: whether records are what the files beside them say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.commands.options import Data
from benchmark.commands.terminal import progress, say, say_wrapped
from benchmark.exits import FAILED


def verify(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="[RESULTS]", file_okay=False, help="A run's folder, or one that holds such, at any depth."
        ),
    ] = Path("results"),
    no_features: Annotated[
        bool, typer.Option("--no-features", help="Only from the scores, even where features are kept: fast.")
    ] = False,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all of it as JSON too.")] = None,
    data_root: Data = None,
) -> None:
    """Recompute every number of the records that can be, and name each that differs.

    From scores.npz: all OOD metrics and the sensitivity. From features.npz, where it is kept: the scores themselves
    and, where the images are here, k-NN accuracy. Names and ids are held against settings and image hashes. What can
    no longer be checked is counted, with the reason. Exit code 1 if anything differs.

    \b
    Examples:
      bench verify
      bench verify results/reference
      bench verify results/reference/one-class --json verified.json
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.evaluation import verify as verifying
    from benchmark.files import write_json
    from benchmark.store.folders import runs_below

    folders = runs_below(results)
    root = resolve_data(data_root)
    verdicts = []
    with progress() as tell:
        for verdict in verifying.verify(folders, root, not no_features):
            verdicts.append(verdict)
            tell("records verified", len(verdicts), len(folders))
    wrong = [verdict for verdict in verdicts if verdict.problems]
    for verdict in wrong:
        say(f"{verdict.path}:")
        for problem in verdict.problems:
            say_wrapped(f"- {problem}")
    _summarise(verdicts, root)
    if json_ is not None:
        write_json(json_, {"results": str(results), "runs": [_as_json(verdict) for verdict in verdicts]})
        say(f"written: {json_}")
    if wrong:
        raise typer.Exit(FAILED)


def _summarise(verdicts: list[Any], root: Path) -> None:
    states = Counter(verdict.state for verdict in verdicts)
    images: Counter[str] = sum((verdict.images for verdict in verdicts), Counter())
    unchecked: Counter[str] = sum((verdict.unchecked for verdict in verdicts), Counter())
    for why, count in unchecked.most_common():
        say_wrapped(f"not checkable: {count:,} numbers: {why}")
    if images:
        found = f"{images['the same']:,} the same, {images['others']:,} others, {images['none']:,} not here"
        say_wrapped(f"image sets of the records in {root}: {found}")
    for state, why in (("unfinished", "has no record yet"), ("running", "is worked on now")):
        if states[state]:
            say_wrapped(f"left out: {states[state]:,} runs, each of which {why}")
    rescored = sum(verdict.rescored for verdict in verdicts)
    more = f", {rescored:,} scores from features" if rescored else ""
    problems = sum(len(verdict.problems) for verdict in verdicts)
    wrong = sum(bool(verdict.problems) for verdict in verdicts)
    say_wrapped(
        f"{states['verified']:,} records: {sum(verdict.verified for verdict in verdicts):,} numbers recomputed{more}, "
        f"{unchecked.total():,} not checkable; "
        + (f"{problems:,} problems in {wrong:,} of them" if problems else "nothing differs")
    )


def _as_json(verdict: Any) -> dict[str, Any]:
    def shown(value: Any) -> Any:
        return str(value) if isinstance(value, float) and value - value != 0 else value  # JSON has no NaN

    problems = [
        {"file": one.file, "key": one.key, "recorded": shown(one.recorded), "recomputed": shown(one.recomputed),
         "line": str(one)}
        for one in verdict.problems
    ]  # fmt: skip
    return {
        "folder": str(verdict.path), "state": verdict.state, "recomputed": verdict.verified,
        "rescored": verdict.rescored, "problems": problems, "not_checkable": dict(+verdict.unchecked),
        "images": dict(verdict.images),
    }  # fmt: skip
