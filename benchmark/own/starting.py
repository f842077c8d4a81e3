"""`bench init`: what would spoil a result with someone's own images, and the sweep file to start from."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.detection.metrics import auroc
from benchmark.detection.statistics import StatisticsDetector, image_statistics, single_statistic_auroc
from benchmark.errors import BenchError
from benchmark.files import atomic_write
from benchmark.negatives import IN_DIST, VARIANTS, Variant, variant
from benchmark.own.images import Loaded, Own, stored_name
from benchmark.own.orientation import Upright, upright
from benchmark.plan import sweep

EASY = 70.0  # AUROC in % from which image statistics alone tell a set from ID
LOOKED_AT = 2000  # images a set that the statistics are taken of
REACH = 3.0  # points of AUROC: what a 95% interval should be narrower than, for the images' part in it
TRAINABLE = 2000  # ID images below which a transformer from scratch learns little


@dataclass(frozen=True)
class LowLevel:
    """How far image statistics alone tell a set from ID test, AUROC in %: all four, and the one that tells most."""

    auroc: float
    strongest: str
    strongest_auroc: float

    @property
    def is_easy(self) -> bool:
        return max(self.auroc, 100 - self.auroc, self.strongest_auroc, 100 - self.strongest_auroc) >= EASY


@dataclass(frozen=True)
class Findings:
    """What `examine` found. low_level: by stored name of each auxiliary and OOD set. warnings: one line each."""

    low_level: dict[str, LowLevel]
    upright: Upright
    warnings: list[str]


# --- what would spoil the result -------------------------------------------------------------------------------------


def examine(own: Own) -> Findings:
    """Measure what can be known of the images before anything is trained."""
    statistics = _low_level(own)
    inside = own.loaded[0]
    turned = upright(inside.images(_some(len(inside.names))))
    warnings = [
        *_few(own), *_broken(own), *_repeats(own), *_overlapping(own), *_easy(own, statistics), *_pipelines(own),
        *_turning(turned),
    ]  # fmt: skip
    return Findings(statistics, turned, warnings)


def _some(count: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(count)[:LOOKED_AT])


def _low_level(own: Own) -> dict[str, LowLevel]:
    """Half of the ID images teach what is usual, the other half stands for ID; the split does not matter here."""
    chosen = np.random.default_rng(0).permutation(len(own.loaded[0].names))[: 2 * LOOKED_AT]
    inside = image_statistics(own.loaded[0].images(np.sort(chosen)))
    train, test = inside[::2], inside[1::2]
    detector = StatisticsDetector().fit(train)
    found = {}
    for one in own.loaded[1:]:
        outside = image_statistics(one.images(_some(len(one.names))))
        single = single_statistic_auroc(test, outside)
        strongest = max(single, key=lambda name: abs(single[name] - 50))
        together = auroc(detector.score(test), detector.score(outside))
        found[stored_name(own, one.source)] = LowLevel(together, strongest, single[strongest])
    return found


def auroc_reach(n_id: int, n_ood: int) -> float:
    """Half the 95% interval, in points, of an AUROC near 50% from so many images a side: the rank-sum variance
    (m + n + 1) / (12 m n) of Mann and Whitney."""
    return 196 * math.sqrt((n_id + n_ood + 1) / (12 * n_id * n_ood))


def _few(own: Own) -> list[str]:
    lines = []
    reach = auroc_reach(own.train, own.test)
    if reach > REACH:
        need = next(n for n in range(own.test, 10**6) if auroc_reach(n * own.train // own.test, n) <= REACH)
        lines.append(
            f"few ID images: with {own.test} to test on, a sensitivity is known to ±{reach:.1f} points at best, "
            f"whatever the seeds; ±{REACH:g} take {need} test images ({need - own.test} more)"
        )
    if own.train < TRAINABLE:
        lines.append(
            f"few ID images: {own.train} to train on; a vision transformer from scratch learns little from fewer than "
            f"about {TRAINABLE}, so expect AUROCs near those of the untrained network"
        )
    for one in own.of("ood"):
        wide = auroc_reach(own.test, len(one.names))
        if wide > 2 * REACH:
            lines.append(
                f"{one.source.title}: {len(one.names)} images; its AUROC is known to ±{wide:.1f} points at best"
            )
    if len(own.loaded) > 1 and own.of("aux") and len(own.of("aux")[0].names) < own.train / 4:
        one = own.of("aux")[0]
        lines.append(
            f"{one.source.title}: {len(one.names)} auxiliary images for {own.train} ID ones; each serves as a negative "
            f"{own.train / len(one.names):.0f} times an epoch, and the network may learn them by heart"
        )
    return lines


def _broken(own: Own) -> list[str]:
    return [
        f"{one.source.title}: {len(one.broken)} unreadable files skipped: {_examples(one.broken)}"
        for one in own.loaded
        if one.broken
    ]


def _examples(lines: list[str], most: int = 3) -> str:
    return "; ".join(lines[:most]) + (f"; and {len(lines) - most} more" if len(lines) > most else "")


def _repeats(own: Own) -> list[str]:
    lines = []
    for one in own.loaded:
        if one.copies:
            lines.append(f"{one.source.title}: {len(one.copies)} copies left out: {_examples(one.copies)}")
        if len(one.repeated) > 0.05 * len(one.names):
            largest = int(np.bincount(one.cluster).max())
            harm = (
                "training images find their likes in the bank and test images do not, which raises every sensitivity"
                if one.source.role == "id"
                else "they count as several and are one"
            )
            lines.append(
                f"{one.source.title}: {len(one.repeated)} of {len(one.names)} images have a near-duplicate in the set "
                f"(up to {largest} alike; frames of one film?): {harm}"
            )
    return lines


_HARM = {
    ("aux", "id"): "what is to be known would be trained as unknown",
    ("ood", "id"): "they are not OOD, and lower the AUROC",
    ("ood", "aux"): "they are seen in training as negatives, which raises the AUROC",
}


def _overlapping(own: Own) -> list[str]:
    lines = []
    for overlap in own.overlaps:
        harm = "left out" if own.dropped else _HARM[overlap.one.role, overlap.other.role] + " (--drop-duplicates)"
        named = _examples([f"{a} = {b}" for a, b in overlap.pairs])
        what = f"{len(overlap.pairs)} images are near-duplicates of {overlap.other.title}'s"
        lines.append(f"{overlap.one.title}: {what}: {harm}; {named}")
    return lines


def _easy(own: Own, statistics: dict[str, LowLevel]) -> list[str]:
    lines = []
    for one in own.loaded[1:]:
        found = statistics[stored_name(own, one.source)]
        if found.is_easy:
            harm = (
                "as negatives they teach that statistic first"
                if one.source.role == "aux"
                else "an AUROC below that proves nothing about what was learnt"
            )
            more = "more" if found.strongest_auroc > 50 else "less"
            alone = max(found.strongest_auroc, 100 - found.strongest_auroc)
            lines.append(
                f"{one.source.title}: image statistics alone tell it from ID (AUROC {found.auroc:.0f}; "
                f"{found.strongest} alone {alone:.0f}, it has {more}): {harm}"
            )
    return lines


def _pipelines(own: Own) -> list[str]:
    """Traces of how the files were made: enlarged, cropped, JPEG here and PNG there, shrunk by different factors."""
    lines = []
    lossy = {stored_name(own, one.source): _share_lossy(one.formats) for one in own.loaded}
    sides = {stored_name(own, one.source): float(np.median(one.original.min(1))) for one in own.loaded}
    first = stored_name(own, own.loaded[0].source)
    for one in own.loaded:
        name, short = stored_name(own, one.source), one.original.min(1)
        enlarged = int((short < own.size).sum())
        if enlarged:
            lines.append(
                f"{one.source.title}: {enlarged} of {len(one.names)} images are smaller than {own.size} pixels (down "
                f"to {short.min()}) and were enlarged, which makes them smooth; take a smaller --size"
            )
        lost = float(np.median(1 - short / one.original.max(1)))
        if lost > 1 / 3:
            lines.append(
                f"{one.source.title}: only the central square is used, which leaves out {100 * lost:.0f}% of the "
                "median image"
            )
        if abs(lossy[name] - lossy[first]) > 0.5:
            lines.append(
                f"{one.source.title}: {_kinds(one.formats)} beside ID's {_kinds(own.loaded[0].formats)}: traces of "
                "compression can tell the sets apart; save all in one format, the lossy one"
            )
        if max(sides[name], sides[first]) >= 2 * min(sides[name], sides[first]):
            lines.append(
                f"{one.source.title}: median side {sides[name]:.0f} pixels beside ID's {sides[first]:.0f}, brought to "
                f"{own.size}: shrinking by another factor leaves another sharpness"
            )
    return lines


def _share_lossy(formats: Counter[str]) -> float:
    return sum(count for kind, count in formats.items() if kind in ("JPEG", "WEBP", "MPO")) / max(formats.total(), 1)


def _kinds(formats: Counter[str]) -> str:
    return " and ".join(f"{kind} ({count})" for kind, count in formats.most_common(2))


def _turning(turned: Upright) -> list[str]:
    if turned.verdict == "yes":
        return []
    if turned.verdict == "no":
        return [
            f"no up and down: rotations of the ID images are told apart with {turned}; variants that rotate ID images "
            "are left out of the sweep, since a rotated ID image is still an ID image"
        ]
    return [
        f"doubtful up and down: rotations of the ID images are told apart with {turned}; variants that rotate ID "
        "images are in the sweep, but may train on negatives that look like ID"
    ]


# --- the sweep file --------------------------------------------------------------------------------------------------


def variants(has_auxiliary: bool) -> list[str]:
    """The variants that can be made: those whose sources are there. The auxiliary set stands behind "imagenet" alone:
    "dti" is for one that was cleaned of ID classes by labels."""
    names = [*VARIANTS, *([] if has_auxiliary else ["perm-16-in-dist", "perm-4-in-dist"])]
    there = {IN_DIST, "imagenet"} if has_auxiliary else {IN_DIST}
    return [name for name in names if all(negative.source in there for negative in variant(name).negatives)]


def rotates_id(chosen: Variant) -> bool:
    """Whether one of its negatives is a rotated ID image."""
    return any(negative.source == IN_DIST and negative.transform.startswith("rot") for negative in chosen.negatives)


def write_sweep(path: Path, own: Own, found: Findings, gpu: bool, data: Path | None, force: bool = False) -> None:
    """Write the sweep file, with the reasons for its settings. Raises BenchError where a file is there, unless `force`.

    gpu: settings for one GPU, else for a CPU core a run. data: the data folder, where it is not the usual one.
    """
    refuse_to_overwrite(path, force)
    with atomic_write(path, "w") as stream:
        stream.write(sweep_text(path, own, found, gpu, data))
    sweep.load(path)


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raise BenchError where `path` exists, unless `force`."""
    if path.exists() and not force:
        raise BenchError(f"{path}: is there already; write another with --to FILE, or over it with --force")


def sweep_text(path: Path, own: Own, found: Findings, gpu: bool, data: Path | None) -> str:
    """The sweep file: a comment that says what is in it and why, then the settings."""
    chosen = variants(bool(own.of("aux")))
    left_out = [name for name in chosen if found.upright.verdict == "no" and rotates_id(variant(name))]
    kept = [name for name in chosen if name not in left_out]
    settings = _settings(own, gpu)
    runs = 3 * len(kept)
    where = f" --data {data}" if data else ""
    oods = [stored_name(own, one.source) for one in own.of("ood")]
    head = [
        f"Which negatives suit {own.name}? {len(kept)} variants x 3 seeds, written by `bench init`.",
        "",
        f"Images: {own.train} to train on, {own.test} to test on, {own.size}x{own.size}; no labels, no k-NN accuracy.",
        f"Rotations of the ID images are told apart with {found.upright}: an up and down, {found.upright.verdict}.",
        f"Settings for {'one GPU' if gpu else 'CPU cores, one a run'}: {settings.why}",
        f"Cost: {settings.cost(runs)}",
        f"Command: bench sweep {path}{where} && bench recommend {path}",
    ]
    if found.warnings:
        head += ["", "What `bench init` warned of:", *(f"- {line}" for line in found.warnings)]
    comment = "\n".join(_commented(line) for line in head)
    sources = auxiliary = ""
    for one in own.of("aux"):
        sources = f"sources: {{imagenet: {stored_name(own, one.source)}}}, "
        auxiliary = "  # `imagenet` is the name of the auxiliary source, whatever its images"
    out = ""
    if left_out:
        out = f"  # left out, for the ID images have no up and down: {', '.join(left_out)}\n"
    note = "" if oods else "  # none given: `bench recommend` needs none"
    return f"""{comment}
title: Negatives for {own.name}

base:
  in_dist: {own.name}
  data: {{{sources}image_size: {own.size}}}{auxiliary}
{settings.text}
  eval: {{ood: [{", ".join(oods)}]}}{note}

grid:
{out}  variant: [{", ".join(kept)}]
  seed: [0, 1, 2]  # three, for an interval; the ranking means little with one

{settings.resources}
"""


def _commented(line: str) -> str:
    """One or more lines of comment; a command stays in one piece, to be copied."""
    width = 10**6 if line.startswith("Command:") else 117
    return textwrap.fill(f"# {line}", width, subsequent_indent="#   ", break_on_hyphens=False).rstrip()


@dataclass(frozen=True)
class _Settings:
    text: str
    resources: str
    why: str
    hours: float  # a run, roughly
    gpu: bool

    def cost(self, runs: int) -> str:
        one = f"{60 * self.hours:.0f} minutes" if self.hours < 1.5 else f"{self.hours:.0f} hours"
        each = "a GPU" if self.gpu else "a core"
        total = f"{runs * self.hours:.0f}" if runs * self.hours >= 2 else f"{runs * self.hours:.1f}"
        sure = "a guess: " if self.gpu else "roughly "
        return f"{sure}{one} a run, {total} hours in all on {each}; fewer with --only '*-s0' (one seed)."


# Images a second and run, with their negatives: measured with the model below at 32 pixels on a core of an EPYC;
# guessed for a GPU and, by tokens and pixels, for other sizes.
_CPU_RATE, _GPU_RATE = 200.0, 1500.0


def _settings(own: Own, gpu: bool) -> _Settings:
    """Model, views and training by hardware, size and number of images, after sweeps/small.yaml and small-cpu.yaml."""
    size = own.size
    patch = min(16, size // 8) if gpu else size // 4
    batch = max(8, 1 << int(math.log2(max(8, min(256 if gpu else 64, own.train // 8)))))
    seen = 2_000_000 if gpu else 85_000  # images over the whole training
    epochs = int(np.clip(round(seen / own.train), 5, 400 if gpu else 100))
    warmup = max(epochs / 10, 0.5)
    tokens = (size // patch) ** 2
    rate = _GPU_RATE * 64 / tokens if gpu else _CPU_RATE * min(1, (48 / size) ** 2)
    hours = epochs * own.train / rate / 3600
    model = f"{{patch_size: {patch}}}" if gpu else f"{{patch_size: {patch}, embed_dim: 64, depth: 3, num_heads: 2}}"
    drop = "" if gpu else ", drop_path: 0.0"
    method = (
        "{name: dino, classes: 4096, teacher_momentum: 0.99}"
        if gpu
        else "{name: dino, classes: 256, head_hidden: 256, head_bottleneck: 64,\n"
        "           teacher_momentum: 0.97, teacher_temperature_start: 0.03}"
    )
    precision = "bf16" if gpu else "fp32"
    rate_text = "0.002" if gpu else "0.004"
    text = f"""\
  model: {{backbone: vit_tiny_patch16_224, args: {model}{drop}}}
  views: {{global_size: {size}, local_size: {size // 2}, local_views: {8 if gpu else 2}}}
  method: {method}
  train: {{epochs: {epochs}, batch: {batch}, lr: {rate_text}, warmup_epochs: {warmup}, precision: {precision}}}"""
    if gpu:
        resources = f"resources: {{gpus: 1, cpus: 4, memory_gb: 16, hours: {max(1, math.ceil(3 * hours))}}}"
    else:
        resources = f"resources: {{gpus: 0, cpus: 1, memory_gb: 4, hours: {max(1, math.ceil(3 * hours))}}}"
    why = (
        f"{'ViT-Ti' if gpu else 'a very small ViT (0.2 M parameters)'} with patches of {patch} pixels ({tokens} a "
        f"global view), {epochs} epochs, so that it sees about {epochs * own.train:,} images."
    )
    if not gpu:
        why += " On a GPU: `bench init` there, or longer training, gives a ranking to trust more."
    return _Settings(text, resources, why, hours, gpu)


# --- what is printed -------------------------------------------------------------------------------------------------

COLUMNS = ["set", "role", "stored", "copies", "alike", "pixels", "statistics against ID"]


def rows(own: Own, found: Findings) -> list[list[str]]:
    """A line a set: what it is stored as, how many images, copies left out, near-duplicates, original sides in pixels,
    AUROC by image statistics."""
    made = []
    for one in own.loaded:
        name = stored_name(own, one.source)
        low = found.low_level.get(name)
        split = f"{own.train}+{own.test}" if one.source.role == "id" else str(len(one.names))
        made.append([
            name, one.source.role, split, str(len(one.copies)), str(len(one.repeated)), _sides(one),
            f"{low.auroc:.0f} ({low.strongest} {low.strongest_auroc:.0f})" if low else "",
        ])  # fmt: skip
    return made


def _sides(one: Loaded) -> str:
    low, high = int(one.original.min()), int(one.original.max())
    return str(low) if low == high else f"{low}-{high}"


def notes(own: Own, found: Findings) -> list[str]:
    """What stands below the table."""
    lines = [
        "copies: the same pixels, left out. alike: near-duplicates within the set, kept on one side of the split. "
        "statistics: AUROC in % against ID by sharpness, brightness, contrast and colourfulness together (and by "
        "the strongest alone; above 50 it has more of it, below 50 less); 50 is none."
    ] if len(own.loaded) > 1 else []  # fmt: skip
    lines.append(f"rotations of the ID images told apart: {found.upright}; an up and down: {found.upright.verdict}")
    lines += [f"warning: {line}" for line in found.warnings]
    return lines or ["nothing found that would spoil a result"]
