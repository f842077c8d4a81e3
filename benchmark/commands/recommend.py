"""`bench recommend`: which negatives, judged without any OOD image."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Data, Results, SetOption
from benchmark.commands.terminal import print_table, say, say_wrapped, warn
from benchmark.plan.scores import OWN


def recommend(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="The sweep whose variants to choose from.")],
    set_: SetOption = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", metavar="DIR", help="Records to try the rule on. [default: results/reference]"),
    ] = None,
    score: Annotated[
        str,
        typer.Option("--score", metavar="NAME", help="One of eval.scores that will detect, in place of Eq. 6."),
    ] = OWN,
    details: Annotated[
        bool, typer.Option("--details", help="Also all rules that were tried on the records, and how each is judged.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all of it as JSON.")] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write all of it as Markdown.")
    ] = None,
    results: Results = Path("results"),
    data_root: Data = None,
) -> None:
    """Rank a sweep's negatives by sensitivity, without any OOD image, and say how far that can be trusted.

    \b
    Examples:
      bench recommend my-images.yaml
      bench recommend sweeps/cpu.yaml --results results/reference/cpu
      bench recommend my-images.yaml --score eq6-confident --json choice.json
    """
    from benchmark.advise import recommend as choosing
    from benchmark.advise import wording
    from benchmark.data.images import data_root as resolve_data
    from benchmark.files import atomic_write, write_json
    from benchmark.plan import sweep as sweeps
    from benchmark.plan.run_names import without_id

    warn(sweeps.other_images(file, resolve_data(data_root)))
    found = choosing.recommend(file, results, reference, set_, resolve_data(data_root), score)
    for section in wording.sections(found) if details else wording.brief(found):
        print_table(section.columns, section.rows, section.title)
        for note in section.notes:
            say_wrapped(f"- {note}")
        say("")
    if json_file:
        write_json(json_file, wording.as_json(found))
    if markdown_file:
        with atomic_write(markdown_file, "w") as stream:
            stream.write(wording.markdown(found))
    written = [str(path) for path in (json_file, markdown_file) if path]
    if written:
        say("written: " + " ".join(written))
    for ranking in found.rankings:
        words = ["bench", "export", ranking.run, "--to", f"{without_id(ranking.run)}-detector"]
        words += ["--score", score] if score != OWN else []
        least = math.ceil(100 / (ranking.counts[1] + 1))  # % of false alarms that so few ID test images allow
        words += ["--false-alarms", f"{least}%"] if least > 5 else []
        words += ["--results", str(results)] if results != Path("results") else []
        words += ["--data", str(data_root)] if data_root else []
        say(f"What to do now: {wording.to_do(ranking)}: {shlex.join(words)}")
