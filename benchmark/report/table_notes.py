"""The notes below a table: what is missing, stood in for, published elsewhere, and how the runs were made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from benchmark.data.catalog import info, is_near, set_behind
from benchmark.errors import some_of
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import REFERENCES
from benchmark.plan.titles import title_of
from benchmark.report.cells import Row
from benchmark.report.groups import Group
from benchmark.report.published import sets as published
from benchmark.store.measurements import hardware
from benchmark.store.records import Record, SetInRecord

CONTROL = (
    "control: the in-distribution test images before one another's backgrounds, against themselves as they are. 50 is "
    "whoever does not look at backgrounds, or not at the seams and mistakes of the masks either; in no mean."
)

# --- notes below a table ------------------------------------------------------------------------------------------


def missing_notes(rows: list[Row], columns: dict[str, str], group: Group, in_dists: list[str]) -> list[str]:
    planned = missing = 0
    parts = []
    for in_dist in in_dists:
        of_set = [row for row in rows if row.section == "ood" and row.in_dist == in_dist]
        gaps = {}
        for column in columns:
            wanted = [row for row in of_set if row.cells[column].planned]
            gone = [row.title for row in wanted if not row.cells[column].ours]
            planned, missing = planned + len(wanted), missing + len(gone)
            if gone:
                gaps[column] = "all" if len(gone) == len(wanted) else ", ".join(gone)
        if gaps:
            where = f"{info(in_dist).title}: " if len(in_dists) > 1 else ""
            parts.append(where + ", ".join(f"{columns[column]} ({gone})" for column, gone in gaps.items()))
    notes = [f"{missing} of {planned} cells missing: {'; '.join(parts)}."] if missing else []
    runs = [run for run in group.runs if run.config.in_dist in in_dists]
    todo = [r.config.short_name for r in runs if not r.record]
    if todo:
        more = f" and {len(todo) - 6} more" if len(todo) > 6 else ""
        notes.append(f"{len(todo)} of {len(runs)} runs have no record yet: {', '.join(todo[:6])}{more}.")
    return notes


def seed_notes(rows: list[Row], columns: dict[str, str]) -> list[str]:
    """What ± is, where there is one, and where a column's rows are over fewer seeds than its others."""
    notes = []
    cells = [(row, column, row.cells[column]) for row in rows for column in columns if column in row.cells]
    estimates = [cell.ours for _, _, cell in cells if cell.ours]
    if any(one.half is not None for one in estimates):
        notes.append("± is half of the 95% Student-t interval of the mean over n runs (seeds); n = 1 has none.")
    mixed = []
    for column in columns:
        usual = max((cell.ours.n for _, c, cell in cells if c == column and cell.ours), default=0)
        fewer = [
            f"{row.title} n = {cell.ours.n}"
            for row, c, cell in cells
            if c == column and cell.ours and cell.ours.n < usual
        ]
        if fewer and len({row.in_dist for row in rows}) == 1:
            mixed.append(f"{columns[column]}: {', '.join(fewer)}, the rest n = {usual}")
    if mixed:
        notes.append(f"n differs within a column: {'; '.join(mixed)}.")
    return notes


def row_notes(rows: list[Row], columns: dict[str, str]) -> list[str]:
    notes = ["These runs score no OOD set (eval.ood: []): no AUROC is measured."] if _unscored(rows) else []
    notes += seed_notes(rows, columns)
    cells = [(row, column, row.cells[column]) for row in rows for column in columns if column in row.cells]
    incomplete = [f"{columns[column]}, {row.title}: over {cell.over} sets" for row, column, cell in cells if cell.over]
    if incomplete:
        notes.append(f"* incomplete, over the sets measured only: {'; '.join(incomplete)}.")
    oods = [row for row in rows if row.section == "ood"]
    stand_ins = dict.fromkeys(
        f"{info(row.key).title} stands in for {info(published.original(row.key)).title}"
        for row in oods
        if row.title.endswith("†")
    )
    if stand_ins:
        notes.append(f"† {'; '.join(stand_ins)}: the published value is of other images.")
    if any(set_behind(row.in_dist) == "cifar10" and published.original(row.key) == "stl10" for row in oods):
        notes.append("STL10 shares all its classes but monkey with CIFAR10: a test of shift, not of new classes.")
    references = [column for column in columns if column in REFERENCES]
    if references:
        notes.append("untrained, image statistics: references. An OOD set that they already separate proves nothing.")
    else:
        notes.append("This sweep has no reference rows (untrained, image-statistics): easy OOD sets go unseen.")
    return notes


def _unscored(rows: list[Row]) -> bool:
    return any(row.section == "average" and row.key == "none" for row in rows)


def published_notes(with_rivals: bool, rows: list[Row], columns: dict[str, str]) -> list[str]:
    shown = {(published.original(row.in_dist), published.original(row.key), column)
             for row in rows for column, cell in row.cells.items() if cell.published is not None}  # fmt: skip
    if not shown:
        return []
    notes = ["Published: ViT-S/16, views of 256 and 128 px, K = 4096, 500 epochs, single runs (arXiv 2201.06378). "
             "Published averages are shown where the sets are the paper's."]  # fmt: skip
    if with_rivals and any(title.endswith("(publ.)") for title in columns.values()):
        notes.append("Columns marked (publ.) are the paper's figures for others' systems, not run here.")
    trained = [rival for rival in published.TRAINED_AS if columns.get(rival) == rival]
    if with_rivals and trained:
        how = "; ".join(f"{rival}: {_named(*published.TRAINED_AS[rival])}" for rival in trained)
        notes.append(f"Trained here, each with settings of its own: {how}. Their published values are others' systems.")
    if any(key in shown for key in published.DOUBTFUL):
        notes.append(
            "The paper prints the same CIFAR100 (93.77) and SVHN (99.86) for DTI and Rot. DTI, probably a slip."
        )
    if order := rank_agreement(rows, columns):
        notes.append(order)
    return notes


def _named(label: str, score: str | None) -> str:
    return title_of(label) + (f" by {score}" if score else "")


def rank_agreement(rows: list[Row], columns: Iterable[str]) -> str | None:
    """Kendall's tau between the columns' order in our averages and in the published ones, None below three columns.

    Over the OOD sets that the paper has and that all compared columns have; over the near ones of these too.
    """
    oods = [row for row in rows if row.section == "ood" and any(c.published is not None for c in row.cells.values())]
    chosen = [column for column in columns if oods and any(row.cells[column].difference is not None for row in oods)]
    oods = [row for row in oods if all(row.cells[column].difference is not None for column in chosen)]
    if len(chosen) < 3 or not oods:
        return None

    def agreement(over: list[Row]) -> str:
        ours = [math.fsum(row.cells[column].ours.mean for row in over) for column in chosen]  # type: ignore[union-attr]
        return kendall(ours, [math.fsum(row.cells[column].published or 0.0 for row in over) for column in chosen])

    near = [row for row in oods if is_near(row.in_dist, row.key)]
    alone = f"; by {', '.join(row.title for row in near)} alone {agreement(near)}" if 0 < len(near) < len(oods) else ""
    return (f"Kendall's τ of our order of columns with the published one, n = {len(chosen)} columns: "
            f"by the average over {len(oods)} OOD sets {agreement(oods)}{alone}.")  # fmt: skip


def kendall(ours: list[float], paper: list[float]) -> str:
    """Kendall's tau-b of two orders and its p; that it is undefined where all of one are equal."""
    from scipy import stats

    if len(set(ours)) == 1 or len(set(paper)) == 1:
        return "undefined (all equal)"
    tau, p = stats.kendalltau(ours, paper)
    return f"{tau:.2f} (p = {p:.2g})"


def about(group: Group, in_dists: Sequence[str]) -> list[str]:
    """Where the numbers come from: settings, runs, images, machines."""
    runs = [run for run in group.runs if run.config.in_dist in in_dists]
    notes = _settings(group)
    machines = {machine(run.record.environment) for run in runs if run.record} - {""}
    done = sum(run.record is not None for run in runs)
    notes.append(f"Runs: {done} of {len(runs)} done{'; ' + ' | '.join(sorted(machines)) if machines else ''}.")
    notes += by_different_code(run.record for run in runs if run.record)
    seen = group.data()
    keys = [f"{in_dist}/{split}" for in_dist in in_dists for split in ("train", "test")]
    keys += sorted(key for key in seen if key.endswith("/aux"))
    keys += [f"{ood}/test" for in_dist in in_dists for ood in group.ood_sets(in_dist)]
    images = [_images(key, seen[key]) for key in dict.fromkeys(keys) if key in seen]
    if images:
        notes.append(f"Images: {', '.join(images)}.")
    if any(not seen[key].official for key in dict.fromkeys(keys) if key in seen):
        notes.append("Imported: brought under the set's name, a part of it or a stand-in; nobody has checked which.")
    notes += shared_notes(run.record for run in runs)
    swapped = [f"{info(source).title} negatives are drawn from {info(name).title}"
               for source, name in (group.trained[0].data.sources if group.trained else {}).items()
               if name != source and f"{name}/aux" in seen]  # fmt: skip
    return notes + ([f"{'; '.join(swapped)}."] if swapped else [])


def shared_notes(records: Iterable[Record | None]) -> list[str]:
    """Which sets of these runs have the very same images; [] for none, and for records that do not count them."""
    found: dict[tuple[str, str], str] = {}
    for record in records:
        for key, seen in record.data.items() if record else ():
            for other, count in seen.shared.items():
                found[key, other] = f"{count:,} of {seen.count:,} of {_called(key)} are in {_called(other)} too"
    return [f"Identical images: {some_of(found.values())}."] if found else []


def _called(key: str) -> str:
    name, _, split = key.rpartition("/")
    return f"{info(name).title} {split}"


def about_controls(group: Group, in_dist: str) -> list[str]:
    """What a control is, and which columns had the images of which, where not all had the same; [] without one."""
    notes = [CONTROL] if group.controls(in_dist) else []
    for name in group.controls(in_dist):
        readers: dict[str, list[str]] = {}
        for label in group.labels(in_dist):
            read = (record.data.get(f"{name}/test") for record in group.records(in_dist, label).values())
            for fingerprint in sorted({seen.fingerprint for seen in read if seen}):
                readers.setdefault(fingerprint, []).append(title_of(label))
        if len(readers) > 1:
            most = max(readers, key=lambda fingerprint: len(readers[fingerprint]))
            of = [f"sha256 {print_[:8]} in {'; '.join(titles)}" for print_, titles in readers.items() if print_ != most]
            notes.append(
                f"{info(name).title}: not the same images in every column: {', '.join(of)}; {most[:8]} elsewhere."
            )
    return notes


def _settings(group: Group) -> list[str]:
    """The settings, of each method where they differ."""
    said: dict[str, list[str]] = {}
    for config in group.trained:
        name = config.method.label if config.method.name != "dino" else "DINO"
        found = said.setdefault(describe(config), [])
        if name not in found:
            found.append(name)
    if len(said) < 2:
        return [f"Settings: {one}." for one in said]
    return [f"Settings of {', '.join(map(title_of, names))}: {one}." for one, names in said.items()]


def _images(key: str, seen: SetInRecord) -> str:
    name, _, split = key.rpartition("/")
    there = f"{seen.official_count:,}" if seen.official_count else ""
    if not seen.official:  # whose images they are nobody has checked
        of = f" imported (official {there})" if there else " imported"
    else:
        of = f" of {there}" if there and seen.official_count != seen.count else ""
    return f"{info(name).title} {split} {seen.count:,}{of}"


def describe(config: RunConfig) -> str:
    """The settings that matter most, on one line."""
    args = "".join(f", {key} {value}" for key, value in config.model.args.items())
    soft_classes = getattr(config.method, "classes", None) if config.method.multi_crop else None
    k = f", K = {soft_classes}" if soft_classes else ""
    views = f"views {config.views.global_size}/{config.views.local_size} px"
    sees = views if config.method.multi_crop else f"{config.data.image_size} px"
    if not config.method.multi_crop:  # what a small sweep changes of a method as published
        changed = config.method.model_dump(exclude_defaults=True, exclude={"name", "classes", "tune"})
        sees += "".join(f", {key} {value}" for key, value in changed.items())
        sees += f", weight of negatives {config.negatives.weight}" if config.method.negatives else ""
    train = config.train
    return (f"{config.model.backbone}{args}, {sees}{k}, {train.epochs} epochs, batch {train.batch}, lr {train.lr}, "
            f"{train.precision}, protocol {config.protocol}")  # fmt: skip


def by_different_code(records: Iterable[Record]) -> list[str]:
    """A note where the code that makes numbers was not the same for all of these records, as far as they know it."""
    kinds = Counter(" then ".join(record.codes) for record in records if record.codes)
    if len(kinds) < 2:
        return []
    counted = ", ".join(f"{count} by {code}" for code, count in kinds.most_common())
    return [f"Made by different code, so that numbers may differ for that alone: {counted} (bench sweep --again)."]


def machine(environment: dict[str, Any]) -> str:
    """Hardware, torch and commit of a record, on one line."""
    torch = environment.get("torch") or (environment.get("packages") or {}).get("torch")
    commit = environment.get("commit")
    parts = [hardware(environment), f"torch {torch}" if torch else "", f"commit {str(commit)[:10]}" if commit else ""]
    return ", ".join(part for part in parts if part)
