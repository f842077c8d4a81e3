"""The claims in the paper's text, checked one by one against a group of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from benchmark.data.catalog import info
from benchmark.plan.titles import title_of
from benchmark.report.claims_text import Checked, Claim, join, judged, judged_least
from benchmark.report.figures.of_sets import measures, near_and_far, variant_points
from benchmark.report.groups import Group
from benchmark.report.images import OfImages, of_records
from benchmark.report.intervals import Correlation, correlate
from benchmark.report.numbers import auroc, average_over, occupancy_reading, occupied
from benchmark.report.published import sets as published
from benchmark.report.table_notes import about
from benchmark.report.verdicts import ABOVE, BELOW, HOW, Interval, Measured, verdict, within
from benchmark.store.records import Record

ON_PAR = 2.0  # points of average AUROC, above or below
PAR = f"within {ON_PAR:g} points either way"
AT_PAR = ("pixperm-imgn", "perm-4-imgn", "perm-16-imgn")  # with DINO, as the paper has them
_GAPS = [published.PRINTED_AVERAGES[name] - published.PRINTED_AVERAGES["dino"] for name in AT_PAR]
TITLE = "The paper's claims, checked against these runs"
RULES = (
    *HOW,
    "A difference is claimed to have the sign of the published one, whatever its size.",
    f"On par with DINO is {PAR}; the published differences are from "
    f'{min(_GAPS):+.2f} to {max(_GAPS):+.2f}. The paper has "on par with or below", which holds of all that collapsed.',
    "The best of several, and more than each of several: every margin is held to it, not the smallest alone.",
    "Fig. 3's correlations are claimed to be above 0: Pearson's r over the variants (n of them), Fisher's interval.",
    "Averages are over the OOD sets of the table that the paper has; where these are not its eight, the note says so.",
    "A rival's published figure is compared with the paper's sets alone, never with a stand-in.",
)


@dataclass(frozen=True)
class Of:
    """A number of a record. images: the same by its test images, for one that is no AUROC never."""

    value: Callable[[Record], float | None]
    images: Callable[[Record], OfImages | None] = lambda record: None


def check(group: Group) -> list[Claim]:
    """Every claim, in the paper's order; none where the sets are not the paper's. Claims about CIFAR10 without a named
    OOD set are checked on CIFAR100 where CIFAR10 is not among the group's sets, and say so."""
    papers = [in_dist for in_dist in group.in_dists if _papers_oods(group, in_dist)]
    if not papers:
        return []
    checks = _Checks(group, _find(papers, "cifar10") or papers[0])
    return [
        checks.average_gain("rot-imgn", "imgn", "Rot. ImgN beats ImgN on average"),
        checks.average_gain("rot-dti", "dti", "Rot. DTI beats DTI on average"),
        checks.average_gain("rot360-imgn", "imgn", "Rot.360 ImgN is below ImgN on average"),
        checks.gain_on("cifar10", "stl10", "rot-imgn", "dino", "STL10 gains over DINO by Rot. ImgN"),
        checks.gain_on("cifar10", "stl10", "rot-dti", "dino", "STL10 gains over DINO by Rot. DTI"),
        checks.best_single_source(),
        checks.gain_on("cifar10", "cifar100", "combined", "rot-in-dist",
                       "Combined beats Rot. In-Dist. on CIFAR10 → CIFAR100"),
        *(checks.average_gain(name, "dino", f"{title_of(name)} is on par with DINO on average, {PAR}", within(ON_PAR))
          for name in AT_PAR),
        checks.occupancy(),
        checks.rival("cifar10", "cifar100", "combined", published.LABEL_FREE_RIVALS, "label-free rival"),
        checks.rival("cifar10", "cifar100", "combined", published.SUPERVISED_RIVALS, "supervised-helped rival"),
        checks.rival("cifar100", "lsun", "rot-imgn", published.LABEL_FREE_RIVALS, "self-supervised rival"),
        *checks.correlations(),
    ]  # fmt: skip


def rules(group: Group, claims: list[Claim]) -> list[str]:
    """How the claims are judged; where there are none, why."""
    if claims:
        return list(RULES)
    titles = ", ".join(info(in_dist).title for in_dist in group.in_dists)
    return [
        "None is judged: the paper's claims are about CIFAR10 and CIFAR100 against its OOD sets, and these runs are "
        f"on other images ({titles})."
    ]


def checked(group: Group) -> Checked:
    """Every claim of the paper with what it was judged by, to be written down."""
    claims = check(group)
    notes = rules(group, claims)
    return Checked(TITLE, group.heading, claims, [*notes, *about(group, group.in_dists)] if claims else notes)


def _papers_oods(group: Group, in_dist: str) -> list[str]:
    """The OOD sets of the group that the paper has for this in-distribution set, or that stand for one of them."""
    known = published.paper_sets(in_dist)
    return [ood for ood in group.ood_sets(in_dist) if published.original(ood) in known]


class _Checks:
    def __init__(self, group: Group, main: str) -> None:
        self.group = group
        self.main = main
        self.elsewhere = "" if published.original(main) == "cifar10" else f"on {info(main).title}, not CIFAR10"

    def average_gain(self, ours: str, base: str, text: str, region: Interval | None = None) -> Claim:
        """Average of `ours` less average of `base`; by default claimed to have the published sign."""
        sets = published.paper_sets("cifar10")
        paper = published.PRINTED_AVERAGES[ours] - published.PRINTED_AVERAGES[base]  # as the text took it
        oods = _papers_oods(self.group, self.main)

        def average(record: Record) -> float | None:
            found, shared = average_over(oods, {0: record})
            return found.mean if found and shared == oods else None

        notes = [self.elsewhere, self._stand_ins(oods)]
        if sorted(map(published.original, oods)) != sorted(sets):
            notes.append(f"over {len(oods)} sets, not the paper's eight")
        of = Of(average, lambda record: of_records([record], oods))
        region = region or (ABOVE if paper > 0 else BELOW)
        return self._paired(text, paper, self.main, (ours, base), of, region, notes)

    def gain_on(self, in_dist: str, ood: str, ours: str, base: str, text: str) -> Claim:
        """AUROC of `ours` less that of `base` on one named set; holds when positive, as published."""
        paper = _minus(published.value(in_dist, ood, ours), published.value(in_dist, ood, base))
        here, there = self._locate(in_dist, ood)
        if not here or not there:
            return Claim(text, f"{paper:+.2f}", note=f"no {info(in_dist).title} → {info(ood).title} in these runs")
        return self._paired(text, paper, here, (ours, base), _at(there), ABOVE, [self._stand_ins([there])])

    def best_single_source(self) -> Claim:
        text = "Rot. In-Dist. is the best single source on CIFAR10 → CIFAR100 (margin to the next)"
        others = [name for name in published.SINGLE_SOURCE if name != "rot-in-dist"]
        paper = _minus(published.value("cifar10", "cifar100", "rot-in-dist"),
                       max(published.value("cifar10", "cifar100", name) or 0.0 for name in others))  # fmt: skip
        here, there = self._locate("cifar10", "cifar100")
        if not here or not there:
            return Claim(text, f"{paper:+.2f}", note="no CIFAR10 → CIFAR100 in these runs")
        return self._margin(text, f"{paper:+.2f}", here, "rot-in-dist", others, _at(there), "", 2)

    def occupancy(self) -> Claim:
        text = "Every negative variant occupies fewer soft classes than DINO (DINO less the fullest variant)"
        negatives = [name for name in published.SINGLE_SOURCE if name != "dino"]
        if "combined" in self.group.labels(self.main):
            negatives.append("combined")
        of = Of(partial(occupied, reading=occupancy_reading(self.group)))
        return self._margin(text, "> 0 (Fig. 2)", self.main, "dino", negatives, of, self.elsewhere, 0)

    def rival(self, in_dist: str, ood: str, ours: str, rivals: tuple[str, ...], kind: str) -> Claim:
        """Ours less the best rival's published figure on the same pair of sets."""
        best = published.best_rival(in_dist, ood, rivals)
        assert best is not None
        pair = f"{info(in_dist).title} → {info(ood).title}"
        text = f"{title_of(ours)} exceeds the best {kind} on {pair} ({best[0]}, {best[1]:.2f})"
        paper = f"{_minus(published.value(in_dist, ood, ours), best[1]):+.2f}"
        here, there = self._locate(in_dist, ood)
        if not here or not there:
            return Claim(text, paper, note=f"no {pair} in these runs")
        if published.is_stand_in(here) or published.is_stand_in(there):
            return Claim(text, paper, note=f"{self._stand_ins([here, there])}: the rival's figure is of other images")
        records = self.group.records(here, ours)
        values = _values(records, (of := _at(there)).value)
        if not values:
            return Claim(text, paper, note=f"no {title_of(ours)} on {pair}")
        data = self.group.data()
        ours_only = [seen for key, seen in data.items() if key in (f"{here}/train", f"{here}/test", f"{there}/test")]
        note = "" if all(seen.official for seen in ours_only) else "our images are imported, not the official sets"

        def images() -> OfImages | None:
            one = of.images(records[next(iter(values))])
            return one - best[1] if one else None

        return judged(text, paper, Measured([value - best[1] for value in values.values()], images), note)

    def correlations(self) -> list[Claim]:
        claims = []
        for measure, of in measures(self.group, self.main).items():
            for kind, ood in near_and_far(self.group, self.main).items():
                if ood not in _papers_oods(self.group, self.main):
                    continue
                points = variant_points(self.group, self.main, of, partial(auroc, ood=ood))
                result = correlate([x.mean for x, _ in points.values()], [y.mean for _, y in points.values()])
                where = f"{info(self.main).title} → {info(ood).title}"
                text = f"{measure} correlates positively with AUROC on {where} (Fig. 3, {kind})"
                claims.append(_correlated(text, result, join([self.elsewhere, self._stand_ins([ood])])))
        return claims

    def _paired(self, text: str, paper: float, in_dist: str, labels: tuple[str, str], of: Of, region: Interval,
                notes: list[str]) -> Claim:  # fmt: skip
        sides = [_values(self.group.records(in_dist, label), of.value) for label in labels]
        lacking = [title_of(label) for label, side in zip(labels, sides, strict=True) if not side]
        if lacking:
            return Claim(text, f"{paper:+.2f}", note=f"no complete run of {' and '.join(lacking)}")
        seeds = sorted(sides[0].keys() & sides[1].keys())
        if not seeds:
            return Claim(text, f"{paper:+.2f}", note="the two have no seed in common")
        value = self._less(in_dist, labels, seeds, of)
        return judged(text, f"{paper:+.2f}", value, join(notes), region)

    def _margin(self, text: str, paper: str, in_dist: str, top: str, others: list[str], of: Of, note: str,
                decimals: int) -> Claim:  # fmt: skip
        """That `top` is above each of the others, over the seeds that all have; told by the highest of them."""
        sides = {label: _values(self.group.records(in_dist, label), of.value) for label in [top, *others]}
        lacking = [title_of(label) for label, side in sides.items() if not side]
        if lacking:
            return Claim(text, paper, note=f"no run of {', '.join(lacking)}")
        seeds = sorted(set.intersection(*(set(side) for side in sides.values())))
        if not seeds:
            return Claim(text, paper, note="the variants have no seed in common")
        means = {label: math.fsum(side[seed] for seed in seeds) / len(seeds) for label, side in sides.items()}
        ordered = sorted(others, key=lambda label: -means[label])
        margins = [self._less(in_dist, (top, label), seeds, of) for label in ordered]
        return judged_least(text, paper, margins, join([note, f"next: {title_of(ordered[0])}"]), decimals)

    def _less(self, in_dist: str, labels: tuple[str, str], seeds: list[int], of: Of) -> Measured:
        """What the first label has less what the second has, seed by seed."""
        ours, theirs = (self.group.records(in_dist, label) for label in labels)

        def images() -> OfImages | None:
            one, other = (of.images(side[seeds[0]]) for side in (ours, theirs))
            return one - other if one and other else None

        pairs = ((of.value(ours[seed]), of.value(theirs[seed])) for seed in seeds)
        return Measured([_minus(one, other) for one, other in pairs], images)

    def _locate(self, in_dist: str, ood: str) -> tuple[str | None, str | None]:
        """The sets of this group that are, or stand for, the two named ones."""
        here = _find(self.group.in_dists, in_dist)
        return here, _find(self.group.ood_sets(here), ood) if here else None

    def _stand_ins(self, names: Iterable[str]) -> str:
        return ", ".join(f"{info(name).title} stands in for {info(published.original(name)).title}"
                         for name in names if published.is_stand_in(name))  # fmt: skip


def _find(names: Iterable[str], wanted: str) -> str | None:
    """The name that is the wanted set, else one that stands for it."""
    matching = [name for name in names if published.original(name) == wanted]
    return min(matching, key=published.is_stand_in, default=None)


def _at(ood: str) -> Of:
    return Of(partial(auroc, ood=ood), lambda record: of_records([record], [ood]))


def _values(records: dict[int, Record], of: Callable[[Record], float | None]) -> dict[int, float]:
    return {seed: value for seed, record in records.items() if (value := of(record)) is not None}


def _minus(left: float | None, right: float | None) -> float:
    assert left is not None and right is not None  # both are in the published tables, or among what was measured
    return left - right


def _correlated(text: str, result: Correlation, note: str) -> Claim:
    if result.r is None:
        note = join([note, "fewer than three variants, or all of them equal"])
        return Claim(text, "r > 0", n=result.n, note=note)
    interval = None if result.low is None or result.high is None else (result.low, result.high)
    told = " [{:.2f}, {:.2f}]".format(*interval) if interval else ""
    note = join([note, f"Spearman's ρ = {result.rho:.2f}", "" if interval else "three variants, no interval"])
    return Claim(text, "r > 0", verdict(interval, ABOVE), result.r, f"r = {result.r:.2f}{told}", result.n, note)
