"""`bench init`: own images, without labels, become a sweep file."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import next_steps
from benchmark.commands.options import Data
from benchmark.commands.terminal import print_table, progress, say, say_wrapped, warn
from benchmark.errors import BenchError


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Holds the images, or in/ and, if you like, aux/ and ood/SET/.")
    ],
    in_dist: Annotated[
        str | None, typer.Option("--in-dist", metavar="SUB", help="In-distribution images. [default: in, id or train]")
    ] = None,
    auxiliary: Annotated[
        str | None, typer.Option("--auxiliary", metavar="SUB", help="Images to make negatives of. [default: aux]")
    ] = None,
    ood: Annotated[
        list[str] | None, typer.Option("--ood", metavar="SUB", help="An OOD set. Repeatable. [default: ood/*]")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call the sets. [default: as FOLDER]")] = None,
    size: Annotated[
        int | None, typer.Option("--size", metavar="N", help="Side in pixels to bring images to. [default: 32, or 224]")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", metavar="FILE", help="Score a frozen network with these weights, beside what is trained."
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", metavar="NAME", help="timm's name of the network of --weights.")
    ] = None,
    pretraining: Annotated[
        str | None,
        typer.Option("--pretraining", metavar="HOW", help="How --weights were trained: supervised or self-supervised."),
    ] = None,
    weights_by: Annotated[
        str, typer.Option("--weights-by", metavar="name|order", help="How tensors are matched with the network's.")
    ] = "name",
    test_share: Annotated[float, typer.Option("--test-share", help="Share of the ID images to test on.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the split.")] = 0,
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Leave out auxiliary and OOD images that repeat others.")
    ] = False,
    gpu: Annotated[
        bool | None, typer.Option("--gpu/--cpu", help="What to set the sweep up for. [default: what is here]")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="The sweep file. [default: NAME.yaml]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a sweep file that is there.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace sets that are there with other images.")] = False,
    data_root: Data = None,
) -> None:
    """Bring your own images, without labels: store them, warn of what would spoil a result, write a sweep file.

    \b
    Examples:
      bench init photos/
      bench init my-images/ --size 64 --to sweeps/mine.yaml
      bench init plants/ --in-dist healthy --auxiliary other --ood mildew --ood rust
      bench init photos/ --weights dino.pth --backbone vit_small_patch16_224 --pretraining self-supervised
    """
    from benchmark.data.catalog import CATALOG
    from benchmark.data.finding import LeftOut, image_files, not_read
    from benchmark.data.images import data_root as resolve_data
    from benchmark.launch.slots import visible_gpus
    from benchmark.own import layout, summary, sweepfile
    from benchmark.own.bring import bring
    from benchmark.own.examine import examine

    if name in CATALOG:
        raise BenchError(f"--name {name}: is a set of the catalogue, beside which values are published; take another")
    called = name or layout.free_name(folder)
    file = to or Path(f"{called}.yaml")
    sweepfile.refuse_to_overwrite(file, force)
    model = sweepfile.frozen_model(weights, backbone, pretraining, weights_by)
    side = size or (sweepfile.FROZEN_SIZE if model else sweepfile.TRAINED_SIZE)
    if model is not None:
        warn(sweepfile.tried(model, side))
    found = layout.layout(folder, called, in_dist, auxiliary, ood or ())
    if found.unused:
        warn(f"not used: {', '.join(found.unused)}; choose with --in-dist (. for all), --auxiliary and --ood")
    left_out: LeftOut = Counter()
    image_files(folder, left_out)
    warn(not_read(left_out))
    with progress() as tick:
        brought = bring(found, resolve_data(data_root), side, test_share, seed, drop_duplicates, replace, tick)
        examined = examine(brought, tick, frozen=model is not None)
    for_gpu = bool(visible_gpus()) if gpu is None else gpu
    sweepfile.write_sweep(file, brought, examined, for_gpu, data_root, force, model)
    print_table(summary.COLUMNS, summary.rows(brought, examined), f"{folder}, stored in {brought.root}")
    more = summary.larger(brought, folder)
    if model is not None:
        more = [summary.beside(brought, sweepfile.beside_size(brought, for_gpu))]
    for line in [*summary.notes(brought, examined), *more]:
        say_wrapped(line)
    where = next_steps.places(data_root)
    sweep, recommend = (shlex.join(["bench", word, str(file), *where]) for word in ("sweep", "recommend"))
    if model is None:
        say(f"written: {file}\nNext: {sweep}\nthen: {recommend}")
        say_wrapped(f"Cost: {sweepfile.cost(brought, examined, for_gpu)}")
        return
    then = next_steps.export(f"{brought.name}-frozen-s0", brought.test, where, "--page", f"{called}-worst.html")
    say(
        f"written: {file}\nNext: {sweep} --only {sweepfile.FROZEN_ALONE}\nthen: {then}\n"
        f"To train DINO beside it and compare: {sweep} && {recommend}"
    )
