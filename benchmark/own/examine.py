"""What would spoil a result with someone's own images, measured before anything is trained."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from benchmark.detection.metrics import auroc
from benchmark.detection.statistics import StatisticsDetector, image_statistics, single_statistic_auroc
from benchmark.own.bring import SIZES, Own, Tick, stored_name
from benchmark.own.orientation import Upright, upright
from benchmark.plan.training_data import TRAINABLE

EASY = 70.0  # AUROC in % from which image statistics alone tell a set from ID
LOOKED_AT = 2000  # images a set that the statistics are taken of
REACH = 3.0  # points of AUROC: what a 95% interval should be narrower than, for the images' part in it


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


def examine(own: Own, tick: Tick = lambda what, done, total: None, frozen: bool = False) -> Findings:
    """Measure what can be known of the images before anything is trained. tick: as in `bring`. frozen: they are for a
    network with weights, which few of them do for."""
    statistics = _low_level(own, tick)
    inside = own.loaded[0]
    turned = upright(inside.images(_some(len(inside.names))))
    warnings = [
        *_few(own, frozen), *_broken(own), *_narrow(own), *_repeats(own), *_overlapping(own), *_easy(own, statistics),
        *_pipelines(own), *_turning(turned),
    ]  # fmt: skip
    return Findings(statistics, turned, warnings)


def _some(count: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(count)[:LOOKED_AT])


def _low_level(own: Own, tick: Tick = lambda what, done, total: None) -> dict[str, LowLevel]:
    """Half of the ID images teach what is usual, the other half stands for ID; the split does not matter here."""
    tick("sets compared by image statistics", 0, len(own.loaded))
    chosen = np.random.default_rng(0).permutation(len(own.loaded[0].names))[: 2 * LOOKED_AT]
    inside = image_statistics(own.loaded[0].images(np.sort(chosen)))
    train, test = inside[::2], inside[1::2]
    detector = StatisticsDetector().fit(train)
    found = {}
    for number, one in enumerate(own.loaded[1:], 1):
        tick("sets compared by image statistics", number, len(own.loaded))
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


def _few(own: Own, frozen: bool = False) -> list[str]:
    lines = []
    reach = auroc_reach(own.train, own.test)
    if reach > REACH and not frozen:
        need = next(n for n in range(own.test, 10**6) if auroc_reach(n * own.train // own.test, n) <= REACH)
        lines.append(
            f"few ID images: with {own.test} to test on, a sensitivity is known to ±{reach:.1f} points at best, "
            f"whatever the seeds; ±{REACH:g} take {need} test images ({need - own.test} more)"
        )
    if own.train < TRAINABLE and not frozen:
        lines.append(
            f"few ID images: {own.train} to train on; a network from scratch learns little from fewer than "
            f"about {TRAINABLE}, so expect AUROCs near those of the untrained network"
        )
    for one in own.with_role("ood"):
        wide = auroc_reach(own.test, len(one.names))
        if wide > 2 * REACH:
            lines.append(
                f"{one.source.title}: {len(one.names)} images; its AUROC is known to ±{wide:.1f} points at best"
            )
    if len(own.loaded) > 1 and own.with_role("aux") and len(own.with_role("aux")[0].names) < own.train / 4:
        one = own.with_role("aux")[0]
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


def _narrow(own: Own) -> list[str]:
    return [f"{one.source.title}: {one.narrow}" for one in own.loaded if one.narrow]


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
                f"to {short.min()}) and were enlarged, which makes them smooth"
                + ("; take a smaller --size" if own.size > min(SIZES) else "")
            )
        lost = float(np.median(one.cut_off))
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
