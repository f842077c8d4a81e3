"""What this project claims of scores, of runs whose networks have seen negatives; nobody has published it."""

from __future__ import annotations

from benchmark.data.catalog import info
from benchmark.negatives import perm_count, variant
from benchmark.plan.config import RunConfig
from benchmark.plan.scores import passes
from benchmark.report.claims_text import Checked, Claim, judged
from benchmark.report.groups import Group
from benchmark.report.numbers import mean_auroc, measured
from benchmark.report.table_notes import about

OURS = "none: ours"  # in place of a published value
TESTED = "eq6-rotations+energy-gap"  # the score that uses the negatives at test time, fixed before it was measured
PERMUTED = "eq6-permutations+energy-gap-permutations"  # the same of shuffled negatives, fixed with it
RESPONSE = "msp"  # seen to stand out once the first seed was measured: for other seeds to confirm
CONFIDENT = "eq6-confident"  # fixed after one run had been scored so, before any other
RULES = (
    f"{RESPONSE} was seen to stand out after the first seed had been measured; of that seed it is no test.",
    f"{CONFIDENT} was fixed after one set of one run had been scored so (CIFAR10, Rot. ImgN, seed 0, TinyImageNet), "
    "and before any other was.",
    f'"{OURS}": nobody has published it, this project asks it.',
)
TITLE = "What this project claims of scores, checked against these runs"


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


def checked(group: Group) -> Checked | None:
    """The claims about a group's runs on whole sets, None where none of them is asked for such a score."""
    claims = []
    for in_dist in group.in_dists:
        dino = {run.config.label: run.config for run in group.runs_of(in_dist) if run.config.method.name == "dino"}
        for label in (label for label in group.labels(in_dist) if label in dino):
            for score in scores_claimed(dino[label]):
                claims.append(_claim(group, in_dist, dino[label], score))
    rules = (
        "Detects better: the difference of the averages over the OOD sets is above 0, seed by seed; the interval is "
        "the 95% Student-t interval over n seeds.",
        *RULES,
    )
    return Checked(TITLE, group.heading, claims, [*rules, *about(group, group.in_dists)]) if claims else None


def _claim(group: Group, in_dist: str, config: RunConfig, score: str) -> Claim:
    text = claim_text(config, score)
    if len(group.in_dists) > 1:
        text += f" on {info(in_dist).title}"
    oods = group.ood_sets(in_dist)
    gains, above = [], []
    for record in group.records(in_dist, config.label).values():
        own, other = measured(record), measured(record, score)
        if oods and all(ood in own and ood in other for ood in oods):
            gains.append(mean_auroc(record, oods, score) - mean_auroc(record, oods))
            above.append(sum(other[ood].auroc > own[ood].auroc for ood in oods))
    if not gains:
        return Claim(text, OURS, note="no run has been scored so on all sets")
    least = min(above)
    note = f"above on {least}{f' to {max(above)}' if max(above) > least else ''} of {len(oods)} sets; {cost(score)}"
    return judged(text, OURS, gains, lambda value: value > 0, note)
