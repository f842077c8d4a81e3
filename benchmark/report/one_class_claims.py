"""What is claimed of the one-class protocol, by others and by this project, checked against a group of its runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from functools import partial

from benchmark.data.catalog import info
from benchmark.negatives import OURS as OUR_NEGATIVES
from benchmark.negatives import variant
from benchmark.plan.methods import REFERENCES
from benchmark.plan.titles import background_of, title_of
from benchmark.plan.training_data import training_data
from benchmark.report.claims_text import Checked, Claim, join, judged, judged_least
from benchmark.report.groups import at, differences
from benchmark.report.images import OfImages
from benchmark.report.intervals import estimate
from benchmark.report.one_class import Column, OneClass, of_images, settings_of
from benchmark.report.one_class_notes import about
from benchmark.report.own_claims import OURS, claim_text, cost, scores_claimed, so_by
from benchmark.report.own_claims import RULES as OF_SCORES
from benchmark.report.published import one_class as published
from benchmark.report.verdicts import HOW, Measured, within

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


def check(group: OneClass) -> list[Claim]:
    """Every claim about the columns that the group has; those of rotation prediction even where it has none. What
    others have published is about CIFAR10's classes, and is asked of no other set."""
    rotation, plain = (_labelled(group, label) for label in ("rotation", "dino"))
    beats = "Rotation prediction beats the untrained network and image statistics on every class (smallest margin)"
    claims = [_beats_references(group, column, beats) for column in rotation] or [_none(beats, OURS, "rotation")]
    if published.is_known(group.parent):
        claims += _published(group, rotation)
    for column in group.columns:
        if column.config.kinds():
            claims.append(_negative(group, column, plain))
        if column.label in OUR_NEGATIVES:
            text = f"{column.title} negatives beat Rot. In-Dist., mean over the classes"
            claims.append(_alike(group, column, "rot-in-dist", text))
        unchanged, background = background_of(column.label)
        if background:
            text = f"{background} in its views raises {title_of(unchanged)}'s mean over the classes"
            claims.append(_alike(group, column, unchanged, text, despite=_BACKGROUNDS))
    for column in group.columns:
        for score in scores_claimed(column.config):
            text = claim_text(column.config, score)
            claims.append(_paired(group, _named(text, column), OURS, column, column, cost(score), score))
    return claims


def _published(group: OneClass, rotation: list[Column]) -> list[Claim]:
    near = f"Rotation prediction's mean is within {WITHIN:g} points of the published {published.MEANS['rotation']:.1f}"
    claims = [_near_published(group, column, near) for column in rotation] or [
        _none(near, f"{published.MEANS['rotation']:.1f}", "rotation")
    ]
    gain = published.MEANS["rotation-translation"] - published.MEANS["rotation"]
    adds = "Translation adds to rotation, mean over the classes"
    claims += [
        _translation(group, column, rotation, adds, gain) for column in _labelled(group, "rotation-translation")
    ] or [_none(adds, f"{gain:+.2f}", "rotation-translation")]
    return claims + _contrastive(group)


def rules(group: OneClass) -> list[str]:
    """How the claims are judged, and of which none is."""
    if published.is_known(group.parent):
        return list(RULES)
    return [*RULES, f"What others have published is about CIFAR10's classes: none of it is judged on "
                    f"{info(group.parent).title}."]  # fmt: skip


def checked(group: OneClass) -> Checked:
    """Every claim with what it was judged by, to be written down."""
    heading = info(group.parent).title + (f"; {group.heading}" if group.heading else "")
    return Checked(TITLE, heading, check(group), [*rules(group), *about(group)])


def _labelled(group: OneClass, label: str) -> list[Column]:
    return [column for column in group.columns if column.label == label]


def _none(text: str, paper: str, label: str) -> Claim:
    return Claim(text, paper, note=f"no {label} in this sweep")


def _named(text: str, column: Column) -> str:
    """The text, with the column's letter where its label has several."""
    return text + (f" [{column.title}]" if column.own else "")


def _beats_references(group: OneClass, column: Column, text: str) -> Claim:
    text = _named(text, column)
    references = [one for one in group.columns if one.is_reference]
    lacking = [label.replace("-", " ") for label in REFERENCES if label not in {one.label for one in references}]
    if lacking:
        return Claim(text, OURS, note=f"no {' and no '.join(lacking)} in this sweep")
    if len(group.classes) < group.total:
        return Claim(text, OURS, note=f"{len(group.classes)} of {group.total} classes in this sweep")
    margins: dict[str, Measured] = {}
    hardest: dict[str, Column] = {}
    for name in group.classes:
        ours = group.values(column, name)
        theirs = {one.key: group.values(one, name) for one in references}
        gone = [one.title for one in (column, *references) if not (theirs | {column.key: ours})[one.key]]
        if gone:
            return Claim(text, OURS, note=f"no value of {', '.join(gone)} on {name}")
        levels = {key: estimate(list(values.values())).mean for key, values in theirs.items()}
        hardest[name] = max(references, key=lambda one: levels[one.key])
        level = levels[hardest[name].key]
        images = partial(_less, group, [name], (column, None, list(ours)[:1]), (hardest[name], None, None))
        margins[name] = Measured([value - level for value in ours.values()], images)
    ordered = sorted(margins, key=lambda name: margins[name].mean)
    above = sum(one.mean > 0 for one in margins.values())
    worst = ordered[0]
    note = f"smallest on {worst}, against {hardest[worst].title}; above on {above} of {len(margins)} classes"
    return judged_least(text, OURS, [margins[name] for name in ordered], note)


def _near_published(group: OneClass, column: Column, text: str) -> Claim:
    text, paper = _named(text, column), published.MEANS["rotation"]
    mean = group.mean(column)
    if len(mean.classes) < len(published.CLASSES):
        done = sum(bool(group.values(column, name)) for name in group.classes)
        seeds = "all seeds have" if done > len(mean.classes) else "are done"
        return Claim(text, f"{paper:.1f}", note=f"{len(mean.classes)} of {len(published.CLASSES)} classes {seeds}")
    counts = sorted({record.data[key].count for name, record in group.records(column)
                     if (key := f"{group.parent}:{name}/train") in record.data})  # fmt: skip
    fewer = ""
    if counts and counts != [published.TRAINING_IMAGES]:
        here = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
        fewer = f"trained on {here} images a class, published on {published.TRAINING_IMAGES:,}"
    official = all(seen.official for _, record in group.records(column) for seen in record.data.values())
    note = join([fewer, "" if official else "our images are imported, not the official sets"])

    def images() -> OfImages | None:
        one = of_images(group, mean.classes, column, None, list(mean.by_seed))
        return one - paper if one else None

    steps = Measured([value - paper for value in mean.by_seed.values()], images)
    return judged(text, f"{paper:.1f}", steps, note, within(WITHIN))


def _translation(group: OneClass, column: Column, rotation: list[Column], text: str, gain: float) -> Claim:
    text, paper = _named(text, column), f"{gain:+.2f}"
    matching = [other for other in rotation if not _differing(column, other)]
    if not matching and len(rotation) == 1:  # two networks to compare as they are, which is said
        matching = rotation
    if not matching:
        lacking = (
            "no rotation in this sweep"
            if not rotation
            else f"none of {len(rotation)} rotation columns has its settings"
        )
        return Claim(text, paper, note=lacking)
    return _paired(group, text, paper, column, matching[0], _told(column, matching[0]))


def _negative(group: OneClass, column: Column, plain: list[Column]) -> Claim:
    """A negative variant against DINO without negatives, both of the same settings."""
    title = variant(column.config.variant).label
    text = _named(f"{title} negatives raise DINO's mean over the classes", column)
    matching = [other for other in plain if not _differing(column, other)]
    if not matching:
        told = _told(column, plain[0]) if len(plain) == 1 else ""
        return Claim(text, OURS, note=told or f"no DINO of its settings ({len(plain)} in this sweep)")
    return _paired(group, text, OURS, column, matching[0], f"training data: {training_data(column.config)}")


def _alike(group: OneClass, column: Column, label: str, text: str, despite: Collection[str] = ()) -> Claim:
    """A column against the one called `label` whose settings it shares, but for those in `despite`, and of how many
    further scores it is true."""
    text = _named(text, column)
    matching = [other for other in _labelled(group, label) if set(_differing(column, other)) <= set(despite)]
    if not matching:
        return Claim(text, OURS, note=f"no {title_of(label)} of its settings in this sweep")
    further = [_paired(group, text, OURS, column, matching[0], "", score, score) for score in column.config.scores()]
    agree = so_by([claim.verdict for claim in further if claim.n])
    return _paired(group, text, OURS, column, matching[0], agree)


def _contrastive(group: OneClass) -> list[Claim]:
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
    here, there = settings_of(one.config), settings_of(other.config)
    told = [f"{key} = {at(here, key)}, {other.title} has {at(there, key)}" for key in _differing(one, other)]
    return f"settings differ: {'; '.join(told)}" if told else ""


def _paired(
    group: OneClass,
    text: str,
    paper: str,
    one: Column,
    other: Column,
    note: str,
    score: str | None = None,
    against: str | None = None,
) -> Claim:
    """The mean over classes of `one` less that of `other`, over the seeds that have all classes of both. score: that
    of `one`; against: that of `other`; by default each method's own."""
    classes, both = group.classes, ((one, score), (other, against))
    sides = [{name: group.values(column, name, of) for name in classes} for column, of in both]
    seeds = sorted(set.intersection(*(set(values) for side in sides for values in side.values())))
    if not seeds:
        short = [f"{column.title} {sum(bool(v) for v in side.values())} of {len(classes)}"
                 for column, side in zip((one, other), sides, strict=True) if not all(side.values())]  # fmt: skip
        why = f"classes done: {', '.join(dict.fromkeys(short))}" if short else "no seed has all classes of both"
        return Claim(text, paper, note=why)
    steps = {name: [sides[0][name][seed] - sides[1][name][seed] for seed in seeds] for name in classes}
    by_seed = [math.fsum(steps[name][place] for name in classes) / len(classes) for place in range(len(seeds))]
    by_class = [math.fsum(steps[name]) / len(seeds) for name in classes]
    above = sum(step > 0 for step in by_class)
    spread = estimate(by_class)
    half = f", ± {spread.half:.2f} over the classes" if spread.half is not None else ""
    fewer = f"over {len(classes)} of {group.total} classes" if len(classes) < group.total else ""
    note = join([f"above on {above} of {len(classes)} classes{half}", fewer, note])
    images = partial(_less, group, classes, (one, score, seeds), (other, against, seeds))
    return judged(text, paper, Measured(by_seed, images), note)


_Side = tuple[Column, str | None, Sequence[int] | None]  # a column, a score of it, and of which seeds


def _less(group: OneClass, names: Iterable[str], one: _Side, other: _Side) -> OfImages | None:
    """The mean over these classes of `one` less that of `other`, by their test images."""
    sides = [of_images(group, names, *side) for side in (one, other)]
    return sides[0] - sides[1] if sides[0] and sides[1] else None
