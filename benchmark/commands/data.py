"""`bench data`: image sets, what there is, how to get it, whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Data, Picture, SetOption
from benchmark.commands.terminal import print_checklist, print_table, say, warn
from benchmark.errors import BenchError
from benchmark.exits import FAILED


def data_list(data_root: Data = None) -> None:
    """Every image set: its role, whether it is here, how many images, how to get it.

    \b
    Examples:
      bench data list
      bench data list --data /scratch/images
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.data.inventory import listing

    root = resolve_data(data_root)
    sets = listing(root)
    columns = ["name", "split", "role", "state", "count", "official_count", "classes"]
    lines = [["" if entry[key] is None else str(entry[key]) for key in columns] for entry in sets]
    print_table([column.replace("_", " ") for column in columns], lines, f"Image sets in {root}")
    say(
        "A class of a set with classes is a set too: cifar10:automobile, and cifar10:not-automobile for the other nine."
    )
    for entry in sets:
        if entry["state"] not in ("ready", "built-in"):
            say(f"{entry['name']}/{entry['split']}: {entry['how_to_get']}")


def data_prepare(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Sets by name, as `bench data list` has them.")
    ] = None,
    for_: Annotated[
        Path | None,
        typer.Option("--for", metavar="SWEEP.yaml", help="All sets that this sweep needs and that are missing."),
    ] = None,
    set_: SetOption = None,
    source: Annotated[
        Path | None,
        typer.Option("--source", "--from", metavar="DIR", help="Files you have already, in the set's official form."),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", metavar="N", min=8, help="Side in pixels to store.  [default: 32]")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace sets that are there with other images.")] = False,
    data_root: Data = None,
) -> None:
    """Download a set where that is allowed, or read the files given, and store it as uint8 arrays.

    With --for: fetch what a sweep still needs, and list what must come by hand. Exit code 1 while something is missing.

    \b
    Examples:
      bench data prepare cifar10 cifar100 svhn
      bench data prepare --for sweeps/table2.yaml
      bench data prepare imagenet30 --source /scratch/ILSVRC2012
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.data.prepare import prepare

    if bool(names) == (for_ is not None):
        raise BenchError("bench data prepare: give names of sets, or --for SWEEP.yaml")
    root = resolve_data(data_root)
    if for_ is None:
        if set_:
            raise BenchError("--set: overrides fields of a sweep's runs; give it with --for SWEEP.yaml")
        for name in names or []:
            prepare(name, root, source, size or 32, report=say, replace=replace)
        return
    for option, given in (("--source", source), ("--size", size), ("--replace", replace or None)):
        if given is not None:
            raise BenchError(f"{option}: is for sets that are named; name them in place of --for")
    from benchmark.plan import sweep as sweeps
    from benchmark.store import missing, states

    planned = states.plan(sweeps.load(for_, set_, data=root), Path("results"), root, store=True)
    lacking = missing.fetch(missing.missing_sets(planned), root, say)
    if lacking:
        print_checklist(f"{len(lacking)} image sets of {for_} must come by hand:", lacking)
        raise typer.Exit(FAILED)
    say(f"all images of {for_} are in {root}")


def data_import(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds NAME-SPLIT.npz files or folders of images.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace sets that are there with other images.")] = False,
    data_root: Data = None,
) -> None:
    """Take in your own in-distribution, auxiliary and OOD sets.

    \b
    Examples:
      bench data import my-images/
      bench data import my-images/ --replace
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.data.importing import import_dir

    import_dir(folder, resolve_data(data_root), replace, report=say, warn=warn)


def data_backgrounds(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A set with test images that is here.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace such a set that holds other images.")] = False,
    data_root: Data = None,
) -> None:
    """Store NAME-other-backgrounds: the test images before one another's backgrounds.

    In eval.ood it shows how far a detector goes by backgrounds; it counts in no mean.

    \b
    Examples:
      bench data backgrounds cifar10
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.views.controls import write_other_backgrounds

    made = write_other_backgrounds(resolve_data(data_root), name, replace)
    say(f"{made.name}/{made.split}: {made.count} images, sha256 {made.fingerprint[:12]}")


def data_masks(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A set that is here, or a class of one.")],
    file: Picture,
    split: Annotated[str, typer.Option("--split", metavar="train|test|aux", help="Of which images.")] = "train",
    count: Annotated[int, typer.Option("--count", metavar="N", min=2, max=100, help="Images shown.")] = 8,
    data_root: Data = None,
) -> None:
    """Draw what is taken for foreground in some images of a set, and what is made of it.

    One row per image: the image, its foreground, and the views and negatives of runs.

    \b
    Examples:
      bench data masks synthetic masks.png
      bench data masks cifar10:automobile masks.png
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.data.images import load
    from benchmark.views.pictures import foregrounds_picture, write

    write(foregrounds_picture(load(resolve_data(data_root), name, split), count), file)
    say(f"written: {file}")


def data_verify(data_root: Data = None) -> None:
    """Recompute every stored set's hash and hold it against its manifest. Exit code 1 if one differs.

    \b
    Examples:
      bench data verify
    """
    from benchmark.data.images import data_root as resolve_data
    from benchmark.data.inventory import verify

    root = resolve_data(data_root)
    problems = verify(root)
    for problem in problems:
        say(str(problem))
    if problems:
        raise typer.Exit(FAILED)
    say(f"all sets in {root} are as their manifests say")
