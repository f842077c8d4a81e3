"""Where a table's numbers come from: settings, runs, machines, code, images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmark.data.catalog import info
from benchmark.errors import some_of
from benchmark.plan.config import RunConfig
from benchmark.plan.titles import title_of
from benchmark.plan.training_data import caveats, made_elsewhere
from benchmark.report.groups import Column, Group
from benchmark.report.published import one_class as published
from benchmark.store.measurements import hardware
from benchmark.store.records import Record, SetInRecord, different_codes

CONTROL = (
    "control: the in-distribution test images before one another's backgrounds, against themselves as they are. 50 is "
    "whoever does not look at backgrounds, or not at the seams and mistakes of the masks either; in no mean."
)


def about(group: Group, subjects: Sequence[str]) -> list[str]:
    """Where the numbers of these in-distribution sets, or of their classes, come from."""
    runs = [run for subject in subjects for run in group.runs_of(subject)]
    records = [run.record for run in runs if run.record]
    made = _settings(group)
    if group.parent and published.is_known(group.parent):
        made.append(f"Published values are of all {published.TRAINING_IMAGES:,} training images of a class.")
    machines = " | ".join(sorted({machine(record.environment) for record in records} - {""}))
    made.append(f"Runs: {len(records)} of {len(runs)} done{'; ' + machines if machines else ''}.")
    made += by_different_code(records)
    made += _images_of_classes(group) if group.parent else _images(group, subjects)
    beware = dict.fromkeys(line for run in runs for line in caveats(run.config))
    return [*made, *shared_notes(records), *beware, *_swapped(group)]


def _settings(group: Group) -> list[str]:
    """The settings, of each column of classes and of each method of whole sets where they differ."""
    told: dict[str, dict[str, None]] = {}
    if group.parent:
        for column in group.columns():
            told.setdefault(f"{describe(column.config)}{_of_a_class(group, column)}", {})[column.title] = None
        return [f"{', '.join(titles)}: {text}." for text, titles in told.items()]
    for config in group.trained:
        name = "DINO" if config.method.name == "dino" else title_of(config.method.label)
        told.setdefault(describe(config), {})[name] = None
    if len(told) < 2:
        return [f"Settings: {text}." for text in told]
    return [f"Settings of {', '.join(names)}: {text}." for text, names in told.items()]


def describe(config: RunConfig) -> str:
    """The network and the training of a run, on one line."""
    method, train = config.method, config.train
    if elsewhere := made_elsewhere(config):
        return elsewhere
    if not config.input_sizes():
        return "no network"
    args = "".join(f", {key} {value}" for key, value in config.model.args.items())
    sizes = f"{config.views.global_size}/{config.views.local_size}" if method.multi_crop else config.input_sizes()[0]
    parts = [f"{config.model.backbone}{args}", f"views {sizes} px" if method.multi_crop else f"{sizes} px"]
    if not method.trains:
        return ", ".join(parts)
    if method.multi_crop:
        parts += [f"K = {method.classes}"] if hasattr(method, "classes") else []
    else:  # what a small sweep changes of a method as published
        changed = method.model_dump(exclude_defaults=True, exclude={"name", "classes", "tune"})
        parts += [f"{key} {value}" for key, value in changed.items()]
        parts += [f"weight of negatives {config.negatives.weight}"] if method.negatives else []
    parts += [f"{train.epochs} epoch{'' if train.epochs == 1 else 's'}", f"batch {train.batch}", f"lr {train.lr}"]
    return ", ".join([*parts, train.precision, f"protocol {config.protocol}"])


def _of_a_class(group: Group, column: Column) -> str:
    """What the column's runs read of each class, and were scored on."""
    trained, held, others = set(), set(), set()
    for case in group.cases(group.parent):
        for record in group.records(case.in_dist, column.key).values():
            if seen := record.data.get(f"{case.in_dist}/train"):
                trained.add(seen.count)
            if measured := record.own_score.ood.get(case.ood):
                held.add(measured.n_id)
                others.add(measured.n_ood)
    if not trained or not held:
        return ""
    return f"; a class: {_range(trained)} training images, {_range(held)} test images against {_range(others)}"


def _range(counts: Iterable[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _images_of_classes(group: Group) -> list[str]:
    imported = sorted(key for key, seen in group.data().items() if not seen.official)
    return [f"Imported, not the official files: {some_of(imported)}."] if imported else []


def _images(group: Group, subjects: Sequence[str]) -> list[str]:
    seen = group.data()
    keys = [f"{in_dist}/{split}" for in_dist in subjects for split in ("train", "test")]
    keys += sorted(key for key in seen if key.endswith("/aux"))
    keys += [f"{case.ood}/test" for subject in subjects for case in group.cases(subject)]
    keys = [key for key in dict.fromkeys(keys) if key in seen]
    made = [f"Images: {', '.join(_counted(key, seen[key]) for key in keys)}."] if keys else []
    if any(not seen[key].official for key in keys):
        made.append("Imported: brought under the set's name, a part of it or a stand-in; nobody has checked which.")
    return made


def _counted(key: str, seen: SetInRecord) -> str:
    there = f"{seen.official_count:,}" if seen.official_count else ""
    if not seen.official:  # whose images they are nobody has checked
        of = f" imported (official {there})" if there else " imported"
    else:
        of = f" of {there}" if there and seen.official_count != seen.count else ""
    return f"{_called(key)} {seen.count:,}{of}"


def _called(key: str) -> str:
    name, _, split = key.rpartition("/")
    return f"{info(name).title.removesuffix(f' {split}')} {split}"


def _swapped(group: Group) -> list[str]:
    """Where negatives of a source are drawn from another set."""
    seen = group.data()
    swapped = [f"{info(source).title} negatives are drawn from {info(name).title}"
               for source, name in (group.trained[0].data.sources if group.trained else {}).items()
               if name != source and f"{name}/aux" in seen]  # fmt: skip
    return [f"{'; '.join(swapped)}."] if swapped else []


def shared_notes(records: Iterable[Record]) -> list[str]:
    """Which sets of these runs have the very same images; [] for none, and for records that do not count them."""
    found: dict[tuple[str, str], str] = {}
    for record in records:
        for key, seen in record.data.items():
            for other, count in seen.shared.items():
                found[key, other] = f"{count:,} of {seen.count:,} of {_called(key)} are in {_called(other)} too"
    return [f"Identical images: {some_of(found.values())}."] if found else []


def about_controls(group: Group, in_dist: str) -> list[str]:
    """What a control is, and which columns had the images of which, where not all had the same; [] without one."""
    made = [CONTROL] if group.controls(in_dist) else []
    for name in group.controls(in_dist):
        readers: dict[str, list[str]] = {}
        for column in group.columns(in_dist):
            read = (record.data.get(f"{name}/test") for record in group.records(in_dist, column.key).values())
            for fingerprint in sorted({seen.fingerprint for seen in read if seen}):
                readers.setdefault(fingerprint, []).append(column.title)
        if len(readers) > 1:
            most = max(readers, key=lambda fingerprint: len(readers[fingerprint]))
            of = [f"sha256 {print_[:8]} in {'; '.join(titles)}" for print_, titles in readers.items() if print_ != most]
            made.append(
                f"{info(name).title}: not the same images in every column: {', '.join(of)}; {most[:8]} elsewhere."
            )
    return made


def by_different_code(records: Iterable[Record]) -> list[str]:
    """A note where the code that makes numbers was not the same for all of these records, as far as they know it."""
    records = list(records)
    counted = different_codes(record.codes for record in records)
    made = f"Made by different code, so that numbers may differ for that alone: {counted} (bench sweep --again)."
    return ([made] if counted else []) + _by_edited_packages(records)


def _by_edited_packages(records: Iterable[Record]) -> list[str]:
    """A note where one package of the user's own was in several states, of those that say so."""
    states: dict[str, set[str]] = {}
    for record in records:
        for key, state in record.plugins.items():
            states.setdefault(key.partition(": ")[2], set()).add(state)
    return [
        f"{name}: its package was edited between these runs ({'; '.join(sorted(each))})."
        for name, each in states.items()
        if len(each) > 1
    ]


def machine(environment: dict[str, Any]) -> str:
    """Hardware, torch and commit of a record, on one line."""
    torch = (environment.get("packages") or {}).get("torch")
    commit = environment.get("commit")
    parts = [hardware(environment), f"torch {torch}" if torch else "", f"commit {str(commit)[:10]}" if commit else ""]
    return ", ".join(part for part in parts if part)
