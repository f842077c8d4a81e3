"""The claims in the paper's text, checked one by one against a group of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.data.catalog import info
from benchmark.plan.titles import title_of
from benchmark.report.claims.compare import Side, column_of, less, minus, paired, shared_seeds
from benchmark.report.claims.text import Checked, Claim, join, judged, judged_least
from benchmark.report.claims.verdicts import ABOVE, BELOW, HOW, Interval, verdict, within
from benchmark.report.figures.paper import measures, near_and_far, points
from benchmark.report.groups import Case, Group
from benchmark.report.intervals import Correlation, correlate
from benchmark.report.published import sets as published
from benchmark.report.tables.about import about

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


def check(group: Group) -> list[Claim]:
    """Every claim, in the paper's order; none where the sets are not the paper's. Claims about CIFAR10 without a named
    OOD set are checked on CIFAR100 where CIFAR10 is not among the group's sets, and say so."""
    papers = [in_dist for in_dist in group.in_dists if _papers_cases(group, in_dist)]
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


def rules(group: Group, claims: Sequence[Claim]) -> list[str]:
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


def _papers_cases(group: Group, in_dist: str) -> tuple[Case, ...]:
    """The OOD sets of the group that the paper has for this in-distribution set, or that stand for one of them."""
    known = published.paper_sets(in_dist)
    return tuple(case for case in group.cases(in_dist) if published.original(case.ood) in known)


class _Checks:
    def __init__(self, group: Group, main: str) -> None:
        self.group = group
        self.main = main
        self.elsewhere = "" if published.original(main) == "cifar10" else f"on {info(main).title}, not CIFAR10"

    def average_gain(self, ours: str, base: str, text: str, region: Interval | None = None) -> Claim:
        """Average of `ours` less average of `base`; by default claimed to have the published sign."""
        sets = published.paper_sets("cifar10")
        paper = published.PRINTED_AVERAGES[ours] - published.PRINTED_AVERAGES[base]  # as the text took it
        cases = _papers_cases(self.group, self.main)
        oods = [case.ood for case in cases]
        whole = sorted(map(published.original, oods)) == sorted(sets)
        note = join([self.elsewhere, self._stand_ins(oods),
                     "" if whole else f"over {len(oods)} sets, not the paper's eight"])  # fmt: skip
        one, other = (Side(column_of(self.group, label), cases) for label in (ours, base))
        return paired(self.group, text, f"{paper:+.2f}", one, other, note, region or (ABOVE if paper > 0 else BELOW))

    def gain_on(self, in_dist: str, ood: str, ours: str, base: str, text: str) -> Claim:
        """AUROC of `ours` less that of `base` on one named set; holds when positive, as published."""
        paper = f"{_minus(published.value(in_dist, ood, ours), published.value(in_dist, ood, base)):+.2f}"
        case = self._locate(in_dist, ood)
        if not case:
            return Claim(text, paper, note=f"no {info(in_dist).title} → {info(ood).title} in these runs")
        one, other = (Side(column_of(self.group, label), (case,)) for label in (ours, base))
        return paired(self.group, text, paper, one, other, self._stand_ins([case.ood]))

    def best_single_source(self) -> Claim:
        text = "Rot. In-Dist. is the best single source on CIFAR10 → CIFAR100 (margin to the next)"
        others = [name for name in published.SINGLE_SOURCE if name != "rot-in-dist"]
        best = max(published.value("cifar10", "cifar100", name) or 0.0 for name in others)
        paper = f"{_minus(published.value('cifar10', 'cifar100', 'rot-in-dist'), best):+.2f}"
        case = self._locate("cifar10", "cifar100")
        if not case:
            return Claim(text, paper, note="no CIFAR10 → CIFAR100 in these runs")
        sides = [Side(column_of(self.group, name), (case,)) for name in ("rot-in-dist", *others)]
        return self._margin(text, paper, sides)

    def occupancy(self) -> Claim:
        text = "Every negative variant occupies fewer soft classes than DINO (DINO less the fullest variant)"
        names = ["dino", *(name for name in published.SINGLE_SOURCE if name != "dino")]
        names += ["combined"] if "combined" in self.group.labels(self.main) else []
        cases = (Case(self.main, "", ""),)
        sides = [Side(column_of(self.group, name), cases, metric=self.group.occupancy) for name in names]
        return self._margin(text, "> 0 (Fig. 2)", sides, self.elsewhere, 0)

    def rival(self, in_dist: str, ood: str, ours: str, rivals: tuple[str, ...], kind: str) -> Claim:
        """Ours less the best rival's published figure on the same pair of sets."""
        best = published.best_rival(in_dist, ood, rivals)
        assert best is not None
        pair = f"{info(in_dist).title} → {info(ood).title}"
        text = f"{title_of(ours)} exceeds the best {kind} on {pair} ({best[0]}, {best[1]:.2f})"
        paper = f"{_minus(published.value(in_dist, ood, ours), best[1]):+.2f}"
        case = self._locate(in_dist, ood)
        if not case:
            return Claim(text, paper, note=f"no {pair} in these runs")
        if published.is_stand_in(case.in_dist) or published.is_stand_in(case.ood):
            stands_in = self._stand_ins([case.in_dist, case.ood])
            return Claim(text, paper, note=f"{stands_in}: the rival's figure is of other images")
        side = Side(column_of(self.group, ours), (case,))
        seeds = list(side.by_seed(self.group))
        if not seeds:
            return Claim(text, paper, note=f"no {title_of(ours)} on {pair}")
        keys = (f"{case.in_dist}/train", f"{case.in_dist}/test", f"{case.ood}/test")
        official = all(seen.official for key, seen in self.group.data().items() if key in keys)
        note = "" if official else "our images are imported, not the official sets"
        return judged(text, paper, minus(self.group, side, seeds, best[1]), note)

    def correlations(self) -> list[Claim]:
        claims = []
        papers = _papers_cases(self.group, self.main)
        for measure, values in measures(self.group, self.main).items():
            for kind, case in near_and_far(self.group, self.main).items():
                if case not in papers:
                    continue
                auroc = self.group.values("auroc", case.in_dist, case.ood)
                both = points(self.group, self.main, values, auroc).values()
                result = correlate([x.mean for x, _ in both], [y.mean for _, y in both])
                where = f"{info(self.main).title} → {case.title}"
                text = f"{measure} correlates positively with AUROC on {where} (Fig. 3, {kind})"
                claims.append(_correlated(text, result, join([self.elsewhere, self._stand_ins([case.ood])])))
        return claims

    def _margin(self, text: str, paper: str, sides: list[Side], note: str = "", decimals: int = 2) -> Claim:
        """That the first is above each of the others, over the seeds that all have; told by the highest of them."""
        top, *others = sides
        lacking = [side.column.label for side in sides if not side.by_seed(self.group)]
        if lacking:
            return Claim(text, paper, note=f"no run of {', '.join(map(title_of, lacking))}")
        seeds = shared_seeds(self.group, sides)
        if not seeds:
            return Claim(text, paper, note="the variants have no seed in common")
        margins = {side.column.label: less(self.group, top, side, seeds) for side in others}
        ordered = sorted(margins, key=lambda label: margins[label].mean)
        note = join([note, f"next: {title_of(ordered[0])}"])
        return judged_least(text, paper, [margins[label] for label in ordered], note, decimals)

    def _locate(self, in_dist: str, ood: str) -> Case | None:
        """The case of this group that is, or stands for, the named one."""
        here = _find(self.group.in_dists, in_dist)
        there = _find(self.group.ood_sets(here), ood) if here else None
        return Case(here, there, info(there).title) if here and there else None

    def _stand_ins(self, names: Iterable[str]) -> str:
        return ", ".join(f"{info(name).title} stands in for {info(published.original(name)).title}"
                         for name in names if published.is_stand_in(name))  # fmt: skip


def _find(names: Iterable[str], wanted: str) -> str | None:
    """The name that is the wanted set, else one that stands for it."""
    matching = [name for name in names if published.original(name) == wanted]
    return min(matching, key=published.is_stand_in, default=None)


def _minus(left: float | None, right: float | None) -> float:
    assert left is not None and right is not None  # both are in the published tables
    return left - right


def _correlated(text: str, result: Correlation, note: str) -> Claim:
    if result.r is None:
        note = join([note, "fewer than three variants, or all of them equal"])
        return Claim(text, "r > 0", n=result.n, note=note)
    interval = None if result.low is None or result.high is None else (result.low, result.high)
    told = " [{:.2f}, {:.2f}]".format(*interval) if interval else ""
    note = join([note, f"Spearman's ρ = {result.rho:.2f}", "" if interval else "three variants, no interval"])
    return Claim(text, "r > 0", verdict(interval, ABOVE), result.r, f"r = {result.r:.2f}{told}", result.n, note)
