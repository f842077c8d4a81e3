"""The claims in the paper's text, checked one by one against a group of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

from benchmark.data.catalog import info
from benchmark.plan.titles import title_of
from benchmark.report.claims_text import Checked, Claim, Verdict, join, judged
from benchmark.report.figures.of_sets import measures, near_and_far, variant_points
from benchmark.report.groups import Group
from benchmark.report.intervals import Correlation, correlate
from benchmark.report.numbers import auroc, average_over, occupancy_reading, occupied
from benchmark.report.published import sets as published
from benchmark.report.table_notes import about
from benchmark.store.records import Record

ON_PAR = 1.0  # points of average AUROC
TITLE = "The paper's claims, checked against these runs"
RULES = (
    "A difference holds when ours has the sign of the published one, whatever its size; several seeds are compared "
    "seed by seed, and the interval is the 95% Student-t interval of the mean difference over n seeds.",
    f'"On par with or below DINO" holds when the average is at most {ON_PAR:g} point above DINO\'s.',
    "Fig. 3's correlations hold when Pearson's r over the variants (n of them) is above 0; the interval is Fisher's.",
    "Averages are over the OOD sets of the table; where these are not the paper's eight, the note says so.",
    "Not measured: a run or set is missing, or only a stand-in is there where a rival's published figure is compared.",
)

Of = Callable[[Record], float | None]


def check(group: Group) -> list[Claim]:
    """Every claim, in the paper's order. Claims about CIFAR10 without a named OOD set are checked on the group's first
    in-distribution set where CIFAR10 is not among its sets, and say so."""
    main = _find(group.in_dists, "cifar10") or group.in_dists[0]
    checks = _Checks(group, main)
    return [
        checks.average_gain("rot-imgn", "imgn", "Rot. ImgN beats ImgN on average"),
        checks.average_gain("rot-dti", "dti", "Rot. DTI beats DTI on average"),
        checks.average_gain("rot360-imgn", "imgn", "Rot.360 ImgN is below ImgN on average"),
        checks.gain_on("cifar10", "stl10", "rot-imgn", "dino", "STL10 gains over DINO by Rot. ImgN"),
        checks.gain_on("cifar10", "stl10", "rot-dti", "dino", "STL10 gains over DINO by Rot. DTI"),
        checks.best_single_source(),
        checks.gain_on("cifar10", "cifar100", "combined", "rot-in-dist",
                       "Combined beats Rot. In-Dist. on CIFAR10 → CIFAR100"),
        *(checks.average_gain(name, "dino", f"{title_of(name)} is on par with or below DINO on average", at_most=ON_PAR)
          for name in ("pixperm-imgn", "perm-4-imgn", "perm-16-imgn")),
        checks.occupancy(),
        checks.rival("cifar10", "cifar100", "combined", published.LABEL_FREE_RIVALS, "label-free rival"),
        checks.rival("cifar10", "cifar100", "combined", published.SUPERVISED_RIVALS, "supervised-helped rival"),
        checks.rival("cifar100", "lsun", "rot-imgn", published.LABEL_FREE_RIVALS, "self-supervised rival"),
        *checks.correlations(),
    ]  # fmt: skip


def checked(group: Group) -> Checked:
    """Every claim of the paper with what it was judged by, to be written down."""
    return Checked(TITLE, group.heading, check(group), [*RULES, *about(group, group.in_dists)])


class _Checks:
    def __init__(self, group: Group, main: str) -> None:
        self.group = group
        self.main = main
        self.elsewhere = "" if published.original(main) == "cifar10" else f"on {info(main).title}, not CIFAR10"

    def average_gain(self, ours: str, base: str, text: str, at_most: float | None = None) -> Claim:
        """Average of `ours` less average of `base`; holds with the published sign, or up to `at_most` where given."""
        sets = published.paper_sets("cifar10")
        paper = published.PRINTED_AVERAGES[ours] - published.PRINTED_AVERAGES[base]  # as the text took it
        oods = self.group.ood_sets(self.main)
        rule = (lambda value: value <= at_most) if at_most is not None else (lambda value: value * paper > 0)

        def average(record: Record) -> float | None:
            found, shared = average_over(oods, {0: record})
            return found.mean if found and shared == oods else None

        notes = [self.elsewhere, self._stand_ins(oods)]
        if sorted(map(published.original, oods)) != sorted(sets):
            notes.append(f"over {len(oods)} sets, not the paper's eight")
        return self._paired(text, paper, self.main, (ours, average), (base, average), rule, notes)

    def gain_on(self, in_dist: str, ood: str, ours: str, base: str, text: str) -> Claim:
        """AUROC of `ours` less that of `base` on one named set; holds when positive, as published."""
        paper = _minus(published.value(in_dist, ood, ours), published.value(in_dist, ood, base))
        here, there = self._locate(in_dist, ood)
        if not here or not there:
            return Claim(text, f"{paper:+.2f}", note=f"no {info(in_dist).title} → {info(ood).title} in these runs")
        return self._paired(text, paper, here, (ours, _at(there)), (base, _at(there)), lambda value: value > 0,
                            [self._stand_ins([there])])  # fmt: skip

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
        reading = occupancy_reading(self.group)
        return self._margin(
            text, "> 0 (Fig. 2)", self.main, "dino", negatives, partial(occupied, reading=reading), self.elsewhere, 0
        )

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
        values = _values(self.group.records(here, ours), _at(there))
        if not values:
            return Claim(text, paper, note=f"no {title_of(ours)} on {pair}")
        data = self.group.data()
        ours_only = [seen for key, seen in data.items() if key in (f"{here}/train", f"{here}/test", f"{there}/test")]
        note = "" if all(seen.official for seen in ours_only) else "our images are imported, not the official sets"
        return judged(text, paper, [value - best[1] for value in values.values()], lambda value: value > 0, note)

    def correlations(self) -> list[Claim]:
        claims = []
        for measure, of in measures(self.group, self.main).items():
            for kind, ood in near_and_far(self.group, self.main).items():
                points = variant_points(self.group, self.main, of, _at(ood))
                result = correlate([x.mean for x, _ in points.values()], [y.mean for _, y in points.values()])
                where = f"{info(self.main).title} → {info(ood).title}"
                text = f"{measure} correlates positively with AUROC on {where} (Fig. 3, {kind})"
                claims.append(_correlated(text, result, join([self.elsewhere, self._stand_ins([ood])])))
        return claims

    def _paired(self, text: str, paper: float, in_dist: str, ours: tuple[str, Of], base: tuple[str, Of],
                rule: Callable[[float], bool], notes: list[str]) -> Claim:  # fmt: skip
        sides = [_values(self.group.records(in_dist, label), of) for label, of in (ours, base)]
        lacking = [title_of(label) for (label, _), side in zip((ours, base), sides, strict=True) if not side]
        if lacking:
            return Claim(text, f"{paper:+.2f}", note=f"no complete run of {' and '.join(lacking)}")
        seeds = sorted(sides[0].keys() & sides[1].keys())
        if not seeds:
            return Claim(text, f"{paper:+.2f}", note="the two have no seed in common")
        return judged(text, f"{paper:+.2f}", [sides[0][s] - sides[1][s] for s in seeds], rule, join(notes))

    def _margin(self, text: str, paper: str, in_dist: str, top: str, others: list[str], of: Of, note: str,
                decimals: int) -> Claim:  # fmt: skip
        """The mean of `top` less the highest mean of the others, over the seeds that all have."""
        sides = {label: _values(self.group.records(in_dist, label), of) for label in [top, *others]}
        lacking = [title_of(label) for label, side in sides.items() if not side]
        if lacking:
            return Claim(text, paper, note=f"no run of {', '.join(lacking)}")
        seeds = sorted(set.intersection(*(set(side) for side in sides.values())))
        if not seeds:
            return Claim(text, paper, note="the variants have no seed in common")
        means = {label: math.fsum(side[seed] for seed in seeds) / len(seeds) for label, side in sides.items()}
        next_best = max(others, key=lambda label: means[label])
        differences = [sides[top][seed] - sides[next_best][seed] for seed in seeds]
        note = join([note, f"next: {title_of(next_best)}"])
        return judged(text, paper, differences, lambda value: value > 0, note, decimals)

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
    return partial(auroc, ood=ood)


def _values(records: dict[int, Record], of: Of) -> dict[int, float]:
    return {seed: value for seed, record in records.items() if (value := of(record)) is not None}


def _minus(left: float | None, right: float | None) -> float:
    assert left is not None and right is not None  # both are in the published tables
    return left - right


def _correlated(text: str, result: Correlation, note: str) -> Claim:
    if result.r is None:
        note = join([note, "fewer than three variants, or all of them equal"])
        return Claim(text, "r > 0", n=result.n, note=note)
    interval = f" [{result.low:.2f}, {result.high:.2f}]" if result.low is not None else ""
    note = join([note, f"Spearman's ρ = {result.rho:.2f}"])
    verdict: Verdict = "holds" if result.r > 0 else "fails"
    return Claim(text, "r > 0", verdict, result.r, f"r = {result.r:.2f}{interval}", result.n, note)
