"""Image sets, the cluster, and the site file."""

from __future__ import annotations

from pathlib import Path

from benchmark.doctor.findings import Finding
from benchmark.errors import BenchError


def image_sets(root: Path) -> list[Finding]:
    """How many of the paper's sets are here, and which of the stored ones are damaged."""
    from benchmark.data.catalog import PAPER_OOD
    from benchmark.data.inventory import listing

    sets = listing(root)
    names: dict[str, list[str]] = {"ready": [], "missing": [], "built-in": [], "damaged": []}
    papers = {"imagenet", "dti", *PAPER_OOD, *(ood for oods in PAPER_OOD.values() for ood in oods)}
    for entry in sets:
        if entry["state"] == "missing" and entry["name"] not in papers:
            continue  # a stand-in that nobody must have
        names[entry["state"]].append(f"{entry['name']}/{entry['split']}")
    damaged = [entry["how_to_get"] for entry in sets if entry["state"] == "damaged"]
    found = [Finding("broken", "images", told, "bench data verify") for told in damaged]
    if not names["missing"]:
        return [Finding("ok", "images", f"all sets of the paper are in {root}"), *found]
    detail = f"{len(names['ready'])} sets stored in {root}; not here: {', '.join(names['missing'])}"
    to_do = "bench data prepare --for SWEEP.yaml; built-in images need nothing"
    return [Finding("note" if names["ready"] else "missing", "images", detail, to_do), *found]


def cluster() -> list[Finding]:
    """Whether SLURM answers, and what of it runs would use."""
    from benchmark.launch import slurm
    from benchmark.launch.task import ask

    try:
        answers = slurm.is_available()
    except BenchError as error:
        return [Finding("broken", "SLURM", str(error))]
    if not answers:
        return [Finding("note", "SLURM", "does not answer here: sweeps run on this machine")]
    settings = dict(line.split("=", 1) for line in ask("scontrol", "show", "config").splitlines() if "=" in line)
    storage = {key.strip(): value.strip() for key, value in settings.items()}.get("AccountingStorageType", "none")
    told = "without accounting" if storage.endswith("none") or storage == "(null)" else "with accounting"
    return [Finding("ok", "SLURM", f"answers, {told}; arrays of up to {slurm.max_array_size()} jobs")]


def site_file(given: Path | None = None) -> list[Finding]:
    """The site file that is given, or the user's own where there is one."""
    from benchmark.plan.resources import load_site

    try:
        site = load_site(given)
    except BenchError as error:
        return [Finding("broken", "site file", str(error), "mend it: no sweep can be submitted with it")]
    if site.path is None:
        return []
    return [Finding("ok", "site file", f"{site.path}, profiles: {', '.join(site.site.profiles) or 'none'}")]
