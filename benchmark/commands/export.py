"""`bench export`: a finished run becomes a detector."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Data, Results
from benchmark.commands.terminal import print_table, say


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run: its name under --results, or its folder.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where the detector goes.")],
    false_alarms: Annotated[
        str, typer.Option("--false-alarms", metavar="SHARE", help="Share of ID images that may be called OOD.")
    ] = "5%",
    bank: Annotated[
        str | None,
        typer.Option("--bank", metavar="10%|N", help="Thin the bank of training features by k-means. [default: all]"),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(
            "--score",
            metavar="NAME",
            help="Score by which it detects: eq6 or one of eval.scores. [default: what our records support]",
        ),
    ] = None,
    patches: Annotated[
        int,
        typer.Option(
            "--patches", metavar="N", min=0, help="Places of training images to keep, to show where an image is odd."
        ),
    ] = 2000,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write it as one ONNX graph too; needs the extra [onnx].")
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE.html", help="A gallery of the most anomalous images of the run itself."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a detector that is there.")] = False,
    results: Results = Path("results"),
    data_root: Data = None,
) -> None:
    """Make a self-contained detector of a finished run: backbone, feature bank, threshold and model card.

    The threshold is set on the run's ID test images. With the run's images at hand (--data) the detector is checked
    against the run, and its nearest training images have labels and file names. --page looks through the run's own
    images, training images against the others, which a thinned bank leaves out.

    \b
    Examples:
      bench export cifar10-rot-imgn-s0-3f9a1c2b --to my-detector
      bench export results/cifar10-rot-imgn-s0-3f9a1c2b --to small --bank 10% --false-alarms 1%
      bench export cifar10-rot-in-dist-s0-3f9a1c2b --to mine --score knn-5 --onnx
      bench export photos@224-frozen --to my-detector --page worst.html
    """
    from benchmark.advise.supported import Choice, supported
    from benchmark.data.images import data_root as resolve_data
    from benchmark.detector import run_images, worst
    from benchmark.detector.bank import parse_rate
    from benchmark.detector.detector import Detector
    from benchmark.detector.export import export as write_detector
    from benchmark.detector.export import find_run
    from benchmark.plan.scores import EQ6, OWN

    rate = parse_rate(false_alarms, "--false-alarms")
    folder = find_run(run, results)
    record = folder.read_record()
    choice = Choice(score or EQ6, "as --score says" if score else "a thinned bank is for Eq. 6 alone")
    if score is None and bank is None and record is not None:
        choice = supported(record)
    asked = choice.score if record is not None and choice.score in record.scores else score or OWN
    root = resolve_data(data_root)
    if page is not None and record is not None:
        run_images.to_look_through(record, record.run_config, root, bank is None)  # refused before an hour's export
    made = write_detector(folder, to, root, rate, bank, replace, asked, onnx, patches)
    full = ["whole bank"] if made.bank.thinned else []
    lines = [
        [name, *([f"{ood.auroc_full_bank:.2f}"] if full else []), f"{ood.auroc:.2f}", f"{ood.found:.1f}", str(ood.n)]
        for name, ood in made.figures.ood.items()
    ]
    if lines:
        print_table(["OOD set", *full, "AUROC", "found", "n"], lines, f"{made.run} as a detector, in %")
    low, high = (100 * bound for bound in made.threshold.rate_interval)
    number = record.scores[made.score].passes if record else 1
    other = "" if score or made.score == EQ6 else "; --score eq6 takes Eq. 6"
    found = "; found: share of OOD above it" if lines else ""
    places, size = made.patches, sum(path.stat().st_size for path in to.iterdir() if path.is_file())
    maps = f"{places.count} of {places.of} places of training images" if places else "none"
    graph = f"ONNX: {made.onnx.checked}; opset {made.onnx.opset}\n" if made.onnx else ""
    say(
        f"score: {made.score}, {number} pass{'es' * (number > 1)} of the network per image: {choice.why}{other}\n"
        f"bank: {made.bank.count} of {made.bank.of} training images\n"
        f"maps: {maps}\n"
        f"check: {made.checked}\n{graph}"
        f"threshold: {made.threshold.value:.6g}, set on {made.threshold.n} ID test images; false alarms expected\n"
        f"  {100 * made.threshold.rate:.2f}% (95% interval {low:.2f}% to {high:.2f}%){found}\n"
        f"size: {size / 1e6:.1f} MB\n"
        f"Use it: bench score {shlex.quote(str(to))} IMAGES..."
    )
    if page is not None and record is not None:
        images = run_images.to_look_through(record, record.run_config, root, made.bank.hashed)
        seen = worst.look_through(Detector.load(to), images, page)
        say(f"page: {page}, the most anomalous of the run's own images: {seen}")
