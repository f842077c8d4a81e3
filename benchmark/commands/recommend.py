"""`bench recommend`: which negatives, judged without any OOD image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import next_steps
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
    options, where = ["--score", score] if score != OWN else [], next_steps.places(data_root, results)
    decided = {one.in_dist for one in found.frozen if one.is_told and not one.is_behind}
    for ranking in found.rankings:
        if ranking.in_dist not in decided:
            command = next_steps.export(ranking.run, ranking.counts[1], where, *options)
            say(f"What to do now: {wording.to_do(ranking, bool(found.frozen))}: {command}")
    for one in found.frozen:
        if words := wording.to_do_frozen(one):
            first = "Or" if one.in_dist not in decided and found.rankings else "What to do now"
            say(f"{first}: {words}: {next_steps.export(one.run, one.counts[1], where, *options)}")
