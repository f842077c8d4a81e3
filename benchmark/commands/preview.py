"""`bench preview`: what a sweep's trainings see, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Data, Picture, SetOption
from benchmark.commands.terminal import say, warn


def preview(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="The sweep whose images to show.")],
    picture: Picture,
    only: Annotated[
        str | None, typer.Option("--only", metavar="GLOB", help="Of the runs whose names match, as 'rot-*'.")
    ] = None,
    count: Annotated[int, typer.Option("--count", metavar="N", min=2, max=50, help="Training images shown.")] = 8,
    views: Annotated[
        bool, typer.Option("--views", help="Negatives as training sees them: cropped, coloured, flipped.")
    ] = False,
    set_: SetOption = None,
    data_root: Data = None,
) -> None:
    """Draw training images, the views that training makes of them, and each kind of negative. Nothing is trained.

    \b
    Examples:
      bench preview sweeps/smoke.yaml negatives.png
      bench preview my-images.yaml negatives.png --only 'rot-*' --views
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.plan import sweep as sweeps
    from benchmark.training.preview import preview as drawn
    from benchmark.views.pictures import write

    root = resolve_data(data_root)
    warn(sweeps.other_images(file, root))
    configs = [run.config for run in sweeps.load(file, set_, only, data=root).runs]
    write(drawn(configs, root, count, as_seen=views), picture)
    others = sorted({one.in_dist for one in configs} - {configs[0].in_dist})
    say(f"written: {picture}, of {configs[0].in_dist}" + (f"; --only shows {others[0]}" if others else ""))
