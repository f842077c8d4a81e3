"""What this project claims of scores, of runs whose networks have seen negatives, and asks of backgrounds; nobody has
published it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.data.catalog import info
from benchmark.negatives import OURS, perm_count, variant
from benchmark.plan.config import RunConfig
from benchmark.plan.scores import passes
from benchmark.plan.titles import background_of, title_of
from benchmark.report.claims.compare import NOT_PUBLISHED, Side, column_of, paired, shared_seeds
from benchmark.report.claims.text import Checked, Claim, join
from benchmark.report.claims.verdicts import ABOVE, BELOW, HOW, Interval, Verdict, tally
from benchmark.report.groups import Case, Column, Group
from benchmark.report.tables.about import about, about_controls

TESTED = "eq6-rotations+energy-gap"  # the score that uses the negatives at test time, fixed before it was measured
PERMUTED = "eq6-permutations+energy-gap-permutations"  # the same of shuffled negatives, fixed with it
RESPONSE = "msp"  # seen to stand out once the first seed was measured: for other seeds to confirm
CONFIDENT = "eq6-confident"  # fixed after one run had been scored so, before any other
RULES = (
    f"{RESPONSE} was seen to stand out after seed 0 of sweeps/cpu.yaml and sweeps/one-class.yaml had been measured: of "
    "those runs it describes and tests nothing, and where n = 1 there is no other.",
    f"{CONFIDENT} was fixed after one set of one run had been scored so (CIFAR10, Rot. ImgN, seed 0, TinyImageNet), "
    "and before any other was.",
    "By further scores: what becomes of the claim where both sides are scored by one of these.",
    f'"{NOT_PUBLISHED}": nobody has published it, this project asks it.',
)
TITLE = "What this project claims of scores and asks of backgrounds, checked against these runs"


def scores_claimed(config: RunConfig) -> list[str]:
    """The scores that are claimed to detect better than the method's own, of those that the run is asked for: by
    negatives that are rotated, shuffled, or any."""
    kinds = config.kinds()
    sensible = {
        TESTED: any(kind.transform == "rot" for kind in kinds),
        PERMUTED: any(perm_count(kind.transform) for kind in kinds),
        RESPONSE: bool(kinds),
        CONFIDENT: bool(kinds),
    }
    return [name for name, fits in sensible.items() if fits and name in config.scores()]


def by_further_scores(group: Group, column: Column, cases: Sequence[Case]) -> list[Claim]:
    """That a score detects better than the method's own, of each that is claimed to."""
    claims = []
    for score in scores_claimed(column.config):
        text = f"With {variant(column.config.variant).label} negatives, {score} detects better than Eq. 6"
        count = passes(score)
        note = f"{count} pass{'es' if count > 1 else ''} an image at test time"
        text += f" [{column.title}]" if column.own else ""
        own = Side(column, tuple(cases))
        claims.append(paired(group, _on(group, text, cases), NOT_PUBLISHED, replace(own, score=score), own, note,
                             by_case="classes" if group.parent else "sets"))  # fmt: skip
    return claims


def against(
    group: Group,
    text: str,
    columns: tuple[Column, Column],
    cases: Sequence[Case],
    region: Interval = ABOVE,
    by_case: str = "",
) -> Claim:
    """The mean over cases of the first column less that of the second, each by its own score, and what becomes of it by
    each further score."""
    one, other = (Side(column, tuple(cases)) for column in columns)

    def told() -> str:
        sides = [(replace(one, score=score), replace(other, score=score)) for score in columns[0].config.scores()]
        further = [paired(group, text, NOT_PUBLISHED, *both, region=region) for both in sides]
        return join([so_by([claim.verdict for claim in further if claim.n]), _other_images(group, one, other)])

    return paired(group, _on(group, text, cases), NOT_PUBLISHED, one, other, told, region, by_case)


def so_by(further: Sequence[Verdict]) -> str:
    """In words, what becomes of the claim by each of the further scores in place of the method's own."""
    told = ", ".join(part for part in tally(further) if not part.startswith("0 "))
    return f"by {len(further)} further scores: {told}" if further else ""


def _on(group: Group, text: str, cases: Sequence[Case]) -> str:
    several = not group.parent and len(group.in_dists) > 1 and cases
    return f"{text} on {info(cases[0].in_dist).title}" if several else text


def _other_images(group: Group, one: Side, other: Side) -> str:
    """Whether the two were scored on other images of a set."""
    for case in one.cases:
        ours, theirs = (group.records(case.in_dist, side.column.key) for side in (one, other))
        for seed in shared_seeds(group, (one, other)):
            both = [side[seed].data.get(f"{case.ood}/test") for side in (ours, theirs)]
            if len({seen.fingerprint for seen in both if seen}) > 1:
                return "the two saw other images of it"
    return ""


def checked(group: Group) -> Checked | None:
    """The claims about a group's runs on whole sets, None where there are none."""
    claims = []
    for in_dist in group.in_dists:
        cases, columns = group.cases(in_dist), group.columns(in_dist)
        for column in columns:
            if column.config.method.name == "dino":
                claims += by_further_scores(group, column, cases)
        for column in columns:
            claims += _of_backgrounds(group, in_dist, column)
        for column in columns:
            if column.label in OURS:
                text = f"{column.title} negatives beat Rot. In-Dist. on average"
                claims.append(against(group, text, (column, column_of(group, "rot-in-dist")), cases))
    rules = (
        *HOW,
        "Detects better, beats: the difference of the averages over the OOD sets (the near ones, where it says so) is "
        "above 0.",
        *RULES,
        *dict.fromkeys(note for in_dist in group.in_dists for note in about_controls(group, in_dist)),
    )
    return Checked(TITLE, group.heading, claims, [*rules, *about(group, group.in_dists)]) if claims else None


def _of_backgrounds(group: Group, in_dist: str, column: Column) -> list[Claim]:
    """Of a run whose views get other backgrounds, against the same with its own: near OOD, and the control."""
    plain, background = background_of(column.label)
    if not background:
        return []
    both, title = (column, column_of(group, plain)), title_of(plain)
    text = f"{background} in {title}'s views detects near OOD better"
    claims = [against(group, text, both, [case for case in group.cases(in_dist) if case.near])]
    for control in group.controls(in_dist):
        case = Case(in_dist, control, info(control).title)
        text = f"{background} in {title}'s views lowers the control, {case.title}"
        claims.append(against(group, text, both, [case], BELOW))
    return claims
