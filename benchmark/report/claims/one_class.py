"""What is claimed of the one-class protocol, by others and by this project, checked against a group of its runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from benchmark.data.catalog import info
from benchmark.negatives import OURS, variant
from benchmark.plan.methods import REFERENCES
from benchmark.plan.scores import OWN
from benchmark.plan.titles import background_of, title_of
from benchmark.plan.training_data import training_data
from benchmark.report.claims.compare import NOT_PUBLISHED, Side, minus, paired
from benchmark.report.claims.ours import RULES as OF_SCORES
from benchmark.report.claims.ours import against, by_further_scores
from benchmark.report.claims.text import Checked, Claim, join, judged, judged_least
from benchmark.report.claims.verdicts import HOW, Measured, within
from benchmark.report.groups import Column, Group
from benchmark.report.published import one_class as published
from benchmark.report.settings import differences, of_run, settings_of
from benchmark.report.tables.about import about

_BACKGROUNDS = ("views.background", "views.background_p")  # the settings of a view's other background
WITHIN = 2.0  # points of mean AUROC
TITLE = "The one-class protocol: what is claimed of it, checked against these runs"
RULES = (
    *HOW,
    "Beats on every class: the margin is above 0 on each class, not the smallest alone; it is the mean over seeds less "
    "the highest of the references.",
    f"Within {WITHIN:g} points: the mean over the ten classes is not further than that from the published one, "
    "above or below.",
    "Adds to, raises, beats in the mean, detects better: the difference of the means over the classes is above 0. It "
    "is paired, class by class and seed by seed. The note has the 95% Student-t interval over the classes, of the "
    "differences averaged over seeds: how much it depends on the class.",
    "Test images are resampled class by class, as if each class had images of its own.",
    *OF_SCORES,
    "Settings that differ where they must not leave a claim without a verdict.",
)


def check(group: Group) -> list[Claim]:
    """Every claim about the columns that the group has; those of rotation prediction even where it has none. What
    others have published is about CIFAR10's classes, and is asked of no other set."""
    rotation, plain = (_labelled(group, label) for label in ("rotation", "dino"))
    beats = "Rotation prediction beats the untrained network and image statistics on every class (smallest margin)"
    claims = [_beats_references(group, column, beats) for column in rotation] or [
        _none(beats, NOT_PUBLISHED, "rotation")
    ]
    if published.is_known(group.parent):
        claims += _published(group, rotation)
    for column in group.columns():
        if column.config.kinds():
            claims.append(_negative(group, column, plain))
        if column.label in OURS:
            text = f"{column.title} negatives beat Rot. In-Dist., mean over the classes"
            claims.append(_alike(group, column, "rot-in-dist", text))
        unchanged, background = background_of(column.label)
        if background:
            text = f"{background} in its views raises {title_of(unchanged)}'s mean over the classes"
            claims.append(_alike(group, column, unchanged, text, despite=_BACKGROUNDS))
    for column in group.columns():
        claims += by_further_scores(group, column, group.cases(group.parent))
    return claims


def _published(group: Group, rotation: list[Column]) -> list[Claim]:
    wanted = published.MEANS["rotation"]
    near = f"Rotation prediction's mean is within {WITHIN:g} points of the published {wanted:.1f}"
    claims = [_near_published(group, column, near) for column in rotation] or [_none(near, f"{wanted:.1f}", "rotation")]
    gain = f"{published.MEANS['rotation-translation'] - wanted:+.2f}"
    adds = "Translation adds to rotation, mean over the classes"
    both = _labelled(group, "rotation-translation")
    claims += [_translation(group, column, rotation, adds, gain) for column in both] or [
        _none(adds, gain, "rotation-translation")
    ]
    return claims + _contrastive(group)


def rules(group: Group, claims: Sequence[Claim] = ()) -> list[str]:
    """How the claims are judged, and of which none is."""
    if published.is_known(group.parent):
        return list(RULES)
    title = info(group.parent).title
    return [*RULES, f"What others have published is about CIFAR10's classes: none of it is judged on {title}."]


def checked(group: Group) -> Checked:
    """Every claim with what it was judged by, to be written down."""
    heading = info(group.parent).title + (f"; {group.heading}" if group.heading else "")
    return Checked(TITLE, heading, check(group), [*rules(group), *about(group, group.subjects)])


def _labelled(group: Group, label: str) -> list[Column]:
    return [column for column in group.columns() if column.label == label]


def _none(text: str, paper: str, label: str) -> Claim:
    return Claim(text, paper, note=f"no {label} in this sweep")


def _named(text: str, column: Column) -> str:
    """The text, with the column's letter where its label has several."""
    return text + (f" [{column.title}]" if column.own else "")


def _beats_references(group: Group, column: Column, text: str) -> Claim:
    text, cases = _named(text, column), group.cases(group.parent)
    references = [one for one in group.columns() if one.is_reference]
    lacking = [label.replace("-", " ") for label in REFERENCES if label not in {one.label for one in references}]
    if lacking:
        return Claim(text, NOT_PUBLISHED, note=f"no {' and no '.join(lacking)} in this sweep")
    if len(cases) < group.total:
        return Claim(text, NOT_PUBLISHED, note=f"{len(cases)} of {group.total} classes in this sweep")
    margins: dict[str, tuple[Measured, str]] = {}
    for case in cases:
        sides = [Side(one, (case,)) for one in (column, *references)]
        seeds = [side.by_seed(group) for side in sides]
        gone = [side.column.title for side, values in zip(sides, seeds, strict=True) if not values]
        if gone:
            return Claim(text, NOT_PUBLISHED, note=f"no value of {', '.join(gone)} on {case.title}")
        means = group.values("auroc", case.in_dist, case.ood).mean()
        hardest = max(sides[1:], key=lambda side: means[side.column.key])
        margins[case.title] = minus(group, sides[0], list(seeds[0]), hardest), hardest.column.title
    ordered = sorted(margins, key=lambda name: margins[name][0].mean)
    above = sum(margin.mean > 0 for margin, _ in margins.values())
    worst = ordered[0]
    note = f"smallest on {worst}, against {margins[worst][1]}; above on {above} of {len(margins)} classes"
    return judged_least(text, NOT_PUBLISHED, [margins[name][0] for name in ordered], note)


def _near_published(group: Group, column: Column, text: str) -> Claim:
    text, paper, cases = _named(text, column), published.MEANS["rotation"], group.cases(group.parent)
    mean = group.mean(cases)
    shared, wanted = mean.cases[column.key], len(published.CLASSES)
    if len(shared) < wanted:
        done = sum(bool(Side(column, (case,)).by_seed(group)) for case in cases)
        seeds = "all seeds have" if done > len(shared) else "are done"
        return Claim(text, f"{paper:.1f}", note=f"{len(shared)} of {wanted} classes {seeds}")
    records = [(case, record) for case in cases for record in group.records(case.in_dist, column.key).values()]
    counts = sorted({seen.count for case, record in records if (seen := record.data.get(f"{case.in_dist}/train"))})
    fewer = ""
    if counts and counts != [published.TRAINING_IMAGES]:
        here = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
        fewer = f"trained on {here} images per class, published on {published.TRAINING_IMAGES:,}"
    official = all(seen.official for _, record in records for seen in record.data.values())
    note = join([fewer, "" if official else "our images are imported, not the official sets"])
    side = Side(column, tuple(shared))
    return judged(text, f"{paper:.1f}", minus(group, side, list(side.by_seed(group)), paper), note, within(WITHIN))


def _translation(group: Group, column: Column, rotation: list[Column], text: str, paper: str) -> Claim:
    text = _named(text, column)
    matching = [other for other in rotation if not _differing(column, other)]
    if not matching and len(rotation) == 1:  # two networks to compare as they are, which is said
        matching = rotation
    if not matching:
        several = f"none of {len(rotation)} rotation columns has its settings"
        return Claim(text, paper, note=several if rotation else "no rotation in this sweep")
    return _paired(group, text, paper, column, matching[0], _told(column, matching[0]))


def _negative(group: Group, column: Column, plain: list[Column]) -> Claim:
    """A negative variant against DINO without negatives, both of the same settings."""
    text = _named(f"{variant(column.config.variant).label} negatives raise DINO's mean over the classes", column)
    matching = [other for other in plain if not _differing(column, other)]
    if not matching:
        told = _told(column, plain[0]) if len(plain) == 1 else ""
        return Claim(text, NOT_PUBLISHED, note=told or f"no DINO of its settings ({len(plain)} in this sweep)")
    return _paired(group, text, NOT_PUBLISHED, column, matching[0], f"training data: {training_data(column.config)}")


def _alike(group: Group, column: Column, label: str, text: str, despite: Collection[str] = ()) -> Claim:
    """A column against the one called `label` whose settings it shares, but for those in `despite`, and of how many
    further scores it is true."""
    text = _named(text, column)
    matching = [other for other in _labelled(group, label) if set(_differing(column, other)) <= set(despite)]
    if not matching:
        return Claim(text, NOT_PUBLISHED, note=f"no {title_of(label)} of its settings in this sweep")
    return against(group, text, (column, matching[0]), group.cases(group.parent), by_case="classes")


def _contrastive(group: Group) -> list[Claim]:
    """CSI against SimCLR, and SSD, which is SimCLR's features by Mahalanobis distance, against their largest cosine."""
    simclr, csi = (_labelled(group, label) for label in ("simclr", "csi"))
    paper = f"{published.MEANS_ALONE['CSI'] - published.MEANS_ALONE['SimCLR']:+.2f}"
    claims = [
        _paired(group, _named("CSI beats SimCLR, mean over the classes", one), paper, one, other, _told(one, other))
        for one in csi
        for other in simclr
    ]
    for column in simclr:
        if {"mahalanobis", "cosine"} <= set(column.config.scores()):
            text = _named("SSD (SimCLR by mahalanobis) beats SimCLR by cosine, mean over the classes", column)
            claims.append(_paired(group, text, "> 0", column, column, "", "mahalanobis", "cosine"))
    return claims


def _differing(one: Column, other: Column) -> list[str]:
    """The settings in which two columns differ, but for the method's name and its negatives."""
    return differences([settings_of(column.config) for column in (one, other)])


def _told(one: Column, other: Column) -> str:
    """In what the settings of two columns differ, "" where in nothing."""
    told = [
        f"{key} = {of_run(one.config, key)}, {other.title} has {of_run(other.config, key)}"
        for key in _differing(one, other)
    ]
    return f"settings differ: {'; '.join(told)}" if told else ""


def _paired(
    group: Group, text: str, paper: str, one: Column, other: Column, note: str, score: str = OWN, than: str = OWN
) -> Claim:
    """The mean over classes of `one` less that of `other`. score: that of `one`; than: that of `other`."""
    cases = tuple(group.cases(group.parent))
    return paired(group, text, paper, Side(one, cases, score), Side(other, cases, than), note, by_case="classes")
