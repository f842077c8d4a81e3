"""`bench preview`: what a sweep's trainings see, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Data, SetOption
from benchmark.commands.terminal import say, warn
from benchmark.errors import BenchError


def preview(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="The sweep whose images to show.")],
    picture: Annotated[Path, typer.Argument(metavar="FILE.png", help="Where the picture goes.")],
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
    from benchmark.files import atomic_write
    from benchmark.plan import sweep as sweeps
    from benchmark.training.preview import preview as drawn

    if picture.suffix.lower() != ".png":
        raise BenchError(f"{picture}: pictures are written as PNG; end its name in .png")
    root = resolve_data(data_root)
    warn(sweeps.other_images(file, root))
    configs = [run.config for run in sweeps.load(file, set_, only, data=root).runs]
    sheet = drawn(configs, root, count, as_seen=views)
    with atomic_write(picture) as stream:
        sheet.save(stream, "PNG", optimize=True)
    others = sorted({one.in_dist for one in configs} - {configs[0].in_dist})
    say(f"written: {picture}, of {configs[0].in_dist}" + (f"; --only shows {others[0]}" if others else ""))
