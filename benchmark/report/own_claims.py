"""What this project claims of scores, of runs whose networks have seen negatives, and asks of backgrounds; nobody has
published it."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.data.catalog import info, is_near
from benchmark.negatives import OURS as OUR_NEGATIVES
from benchmark.negatives import perm_count, variant
from benchmark.plan.config import RunConfig
from benchmark.plan.scores import passes
from benchmark.plan.titles import background_of, title_of
from benchmark.report.claims_text import Checked, Claim, judged
from benchmark.report.groups import Group
from benchmark.report.images import OfImages, of_records
from benchmark.report.numbers import mean_auroc, measured
from benchmark.report.table_notes import about, about_controls
from benchmark.report.verdicts import ABOVE, BELOW, HOW, Interval, Measured, Verdict, tally
from benchmark.store.records import Record

OURS = "none: ours"  # in place of a published value
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
    f'"{OURS}": nobody has published it, this project asks it.',
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


def claim_text(config: RunConfig, score: str) -> str:
    return f"With {variant(config.variant).label} negatives, {score} detects better than Eq. 6"


def cost(score: str) -> str:
    """What the score takes at test time, in words."""
    count = passes(score)
    return f"{count} pass{'es' if count > 1 else ''} an image at test time"


def so_by(further: Sequence[Verdict]) -> str:
    """In words, what becomes of the claim by each of the further scores in place of the method's own."""
    told = ", ".join(part for part in tally(further) if not part.startswith("0 "))
    return f"by {len(further)} further scores: {told}" if further else ""


def less(one: Record, other: Record, oods: Sequence[str], scores: tuple[str | None, str | None]) -> OfImages | None:
    """What the first detects on average less what the second does, by the two scores, by their test images."""
    sides = [of_records([record], oods, score) for record, score in zip((one, other), scores, strict=True)]
    return sides[0] - sides[1] if sides[0] and sides[1] else None


def checked(group: Group) -> Checked | None:
    """The claims about a group's runs on whole sets, None where there are none."""
    claims = []
    for in_dist in group.in_dists:
        dino = {run.config.label: run.config for run in group.runs_of(in_dist) if run.config.method.name == "dino"}
        for label in (label for label in group.labels(in_dist) if label in dino):
            for score in scores_claimed(dino[label]):
                claims.append(_claim(group, in_dist, dino[label], score))
        for label in group.labels(in_dist):
            claims += _of_backgrounds(group, in_dist, label)
        for label in (label for label in group.labels(in_dist) if label in OUR_NEGATIVES):
            oods = group.ood_sets(in_dist)
            text = f"{title_of(label)} negatives beat Rot. In-Dist. on average"
            claims.append(_against(group, in_dist, text, (label, "rot-in-dist"), oods))
    rules = (
        *HOW,
        "Detects better, beats: the difference of the averages over the OOD sets (the near ones, where it says so) is "
        "above 0.",
        *RULES,
        *dict.fromkeys(note for in_dist in group.in_dists for note in about_controls(group, in_dist)),
    )
    return Checked(TITLE, group.heading, claims, [*rules, *about(group, group.in_dists)]) if claims else None


def _claim(group: Group, in_dist: str, config: RunConfig, score: str) -> Claim:
    text = claim_text(config, score)
    if len(group.in_dists) > 1:
        text += f" on {info(in_dist).title}"
    oods = group.ood_sets(in_dist)
    gains, above, scored = [], [], []
    for record in group.records(in_dist, config.label).values():
        own, other = measured(record), measured(record, score)
        if oods and all(ood in own and ood in other for ood in oods):
            gains.append(mean_auroc(record, oods, score) - mean_auroc(record, oods))
            scored.append(record)
            above.append(sum(other[ood].auroc > own[ood].auroc for ood in oods))
    if not gains:
        return Claim(text, OURS, note="no run has been scored so on all sets")
    least = min(above)
    note = f"above on {least}{f' to {max(above)}' if max(above) > least else ''} of {len(oods)} sets; {cost(score)}"
    return judged(text, OURS, Measured(gains, lambda: less(scored[0], scored[0], oods, (score, None))), note)


def _of_backgrounds(group: Group, in_dist: str, label: str) -> list[Claim]:
    """Of a run whose views get other backgrounds, against the same with its own: near OOD, and the control."""
    plain, background = background_of(label)
    if not background:
        return []
    both, title = (label, plain), title_of(plain)
    near = [ood for ood in group.ood_sets(in_dist) if is_near(in_dist, ood)]
    text = f"{background} in {title}'s views detects near OOD better"
    claims = [_against(group, in_dist, text, both, near)]
    for control in group.controls(in_dist):
        text = f"{background} in {title}'s views lowers the control, {info(control).title}"
        claims.append(_against(group, in_dist, text, both, [control], BELOW))
    return claims


def _against(
    group: Group,
    in_dist: str,
    text: str,
    labels: tuple[str, str],
    oods: Sequence[str],
    region: Interval = ABOVE,
) -> Claim:
    """The average over `oods` of the first label less that of the second, each by its own score, seed by seed."""
    if len(group.in_dists) > 1:
        text += f" on {info(in_dist).title}"
    ours, theirs = (group.records(in_dist, label) for label in labels)
    seeds = [seed for seed in sorted(ours.keys() & theirs.keys()) if oods and
             all(ood in measured(side[seed]) for side in (ours, theirs) for ood in oods)]  # fmt: skip
    if not seeds:
        return Claim(text, OURS, note=f"no seed has {' and '.join(map(title_of, labels))} on all of its sets")

    def claim(score: str | None, note: str) -> Claim:
        sides = [[mean_auroc(side[seed], oods, score) for seed in seeds] for side in (ours, theirs)]
        steps = [one - other for one, other in zip(*sides, strict=True)]
        value = Measured(steps, lambda: less(ours[seeds[0]], theirs[seeds[0]], oods, (score, score)))
        return judged(text, OURS, value, note, region)

    records = [side[seed] for side in (ours, theirs) for seed in seeds]
    further = [
        claim(score, "").verdict
        for score in records[0].scores
        if score != records[0].own and all(ood in measured(one, score) for one in records for ood in oods)
    ]
    prints = [{seen.fingerprint for side in (ours, theirs) if (seen := side[seed].data.get(f"{ood}/test"))}
              for seed in seeds for ood in oods]  # fmt: skip
    other_images = "the two saw other images of it" if any(len(one) > 1 for one in prints) else ""
    return claim(None, "; ".join(filter(None, (so_by(further), other_images))))
