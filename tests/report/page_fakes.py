"""Invented runs with everything that a page shows: seeds, scores, curves and the images themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from report_fakes import paper_auroc, record_of, write_sweep

from benchmark.data.images import write_set
from benchmark.plan import sweep as sweeps
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import REFERENCES
from benchmark.report import build
from benchmark.report.page import document
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record

OODS = ["cifar100", "svhn", "texture"]
HOSTILE = """</script><script>window.pwned = 1</script><img src=x onerror="pwned=2"> & 'quoted'"""


def write_images(root: Path, count: int = 24) -> dict[str, str]:
    """Random images of each OOD set; "set/test" -> fingerprint."""
    rng = np.random.default_rng(0)
    prints = {}
    for name in OODS:
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        labels = np.arange(count) % 2
        kept = write_set(root, name, "test", images, labels, "random numbers", classes=["cat & <b>dog</b>", HOSTILE])
        prints[f"{name}/test"] = kept.fingerprint
    return prints


def write_everything(
    place: Path, variants: list[str], seeds: list[int], title: str = "A title", count: int = 24
) -> Path:
    """A sweep file, its run folders in place/results, their images in place/data; returns the sweep file."""
    extra = f"title: {json.dumps(title)}\nbase: {{eval: {{ood: [{', '.join(OODS)}]}}}}"
    sweep = write_sweep(place, variant=variants, seed=seeds, extra=extra, name="mine.yaml")
    prints = write_images(place / "data", count)
    for run in sweeps.load(sweep).runs:
        write_run(place / "results", run.config, prints, count)
    return sweep


def write_run(results: Path, config: RunConfig, prints: dict[str, str], count: int = 24) -> Record:
    record = record_of(config, lambda c, ood: paper_auroc(c, ood) - 1.25 * c.seed, prints)
    environment = {"hardware": HOSTILE, "packages": {"torch": "2.11"}, "commit": "0123456789abcdef"}
    record = record.model_copy(update={"environment": environment})
    folder = RunFolder(results / record.name)
    folder.write_config(config)
    folder.write_record(record)
    rng = np.random.default_rng(len(config.label) + config.seed)
    scores = {f"{ood}/test": rng.normal(1, 1, count).astype(np.float32) for ood in OODS}
    np.savez(folder.scores, **{"cifar10/test": rng.normal(0, 1, 40).astype(np.float32)}, **scores)
    if config.label not in REFERENCES:
        rows = [{"step": i, "epoch": i / 10, "loss": 9 - i / 9, "positive": 8.3} for i in range(1, 31)]
        if config.variant != "dino":
            rows = [{**row, "negative": 9.0 - row["step"] / 50} for row in rows]
        text = "\n".join(map(json.dumps, rows)) + '\n{"step": 31, "epo'
        folder.metrics.write_text(text)  # the last line half-written, as of a run that is going on
    return record


def write_page(place: Path, sweep: Path) -> Path:
    (path,) = build.report(
        place / "results", place / "reports", tables=[], figures=[], claims=False, page=True, sweep=sweep,
        data=place / "data",
    )  # fmt: skip
    return path


def rendered(template: str, content: object) -> str:
    """A section of the page, as its template shows this content."""
    return document.environment().get_template(f"{template}.html").render(content=content)
