"""`bench import-features`: features that a network of one's own gave become a run, scored like any other."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Data, Results
from benchmark.commands.terminal import print_table, say


def import_features(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="train.npz, test.npz and NAME.npz of each OOD set NAME.")
    ],
    in_dist: Annotated[str, typer.Option("--in-dist", metavar="SET", help="The in-distribution set's name.")],
    training_data: Annotated[
        str,
        typer.Option(
            "--training-data",
            metavar="WORDS",
            help="What the network may have learnt from: scratch, aux, labels, 'pretrained (supervised)', "
            "'pretrained (self-supervised)'; several with a comma.",
        ),
    ],
    column: Annotated[str, typer.Option("--column", metavar="NAME", help="What its column is called.")] = "own",
    score: Annotated[
        list[str] | None, typer.Option("--score", metavar="NAME", help="A score beside Eq. 6. Repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="The seed that it was trained with.")] = 0,
    results: Results = Path("results"),
    data_root: Data = None,
) -> None:
    """Score features of a network of your own, and keep them as a run.

    A file holds `features` (N, D) and may hold `logits` (N, K) and `labels` (N,), -1 where unknown. Of a set whose
    images are stored here, row i is taken for image i; such runs stand beside those trained here on the same images.

    \b
    Examples:
      bench import-features my-features --in-dist cifar10 --training-data labels
      bench import-features f --in-dist cifar10 --training-data scratch --column mine --score knn-5
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.evaluation.elsewhere import ColumnOfOthers
    from benchmark.evaluation.elsewhere import import_features as bring

    told = ColumnOfOthers(in_dist, column, training_data, tuple(score or ()), seed)
    made = bring(folder, told, resolve_data(data_root), results)
    names = list(made.record.scores)
    lines = [
        [ood, *(f"{made.record.scores[name].ood[ood].auroc:.2f}" for name in names), str(metrics.n_ood)]
        for ood, metrics in made.record.own_score.ood.items()
    ]
    if lines:
        print_table(["OOD set", *names, "n"], lines, f"AUROC in % of {column}, training data: {training_data}")
    say(
        f"kept: {made.folder.path}\n"
        f"In tables: bench report --all --results {shlex.quote(str(results))} --sweep {shlex.quote(str(made.sweep))}"
    )
