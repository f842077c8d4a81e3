"""The recommendation in words: sections for a terminal, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from benchmark.advise.frozen import Beside
from benchmark.advise.ranking import LEVEL, Place
from benchmark.advise.recommend import Advice, Ranking
from benchmark.advise.rules import ANY, RULES, RulesTried
from benchmark.advise.trial import Agreement, Trial
from benchmark.data.catalog import info
from benchmark.plan.titles import title_of
from benchmark.plan.training_data import TRAINABLE, meaning
from benchmark.report.intervals import hanley_mcneil
from benchmark.report.tables.text import md, md_grid, md_section

PUBLISHED = (
    "Published: the paper finds a positive correlation (its Figure 3: CIFAR10 against CIFAR100 and Texture, single "
    "runs), but none of its tables prints a sensitivity, so there is no published figure to compute one from."
)


@dataclass(frozen=True)
class Section:
    """A part of what is said: a title, a table, and sentences below it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def sections(advice: Advice, wide: bool = False) -> list[Section]:
    """The ranking of each group, then how far the rule can be trusted. wide: with AUROCs, p-values and methods too."""
    made = [_ranking_section(ranking, wide) for ranking in advice.rankings]
    made += [_beside_section(one, advice.told) for one in advice.frozen]
    trials = [ranking.trial for ranking in advice.rankings if ranking.trial] + list(advice.trials)
    rows = [
        [trial.name, one.title, one.kind, *_tau(one), str(one.n)]
        for trial in trials
        for one in (trial.agreements if wide else _heads(trial.agreements))
    ]
    if not wide:  # say the name of the records once
        rows = [[row[0] if i == 0 or rows[i - 1][0] != row[0] else "", *row[1:]] for i, row in enumerate(rows)]
    notes = [_verdict(trial) for trial in trials]
    if advice.reference is None:
        notes.append(
            "The benchmark's own records (results/reference) are not here: name their folder with --reference."
        )
    notes += [
        PUBLISHED,
        "τ: Kendall's rank correlation, over n variants, of sensitivity with AUROC; the rule wants +1. p: two-sided, "
        "of no correlation. The sets share variants and ID images, so their rows are not independent.",
    ]
    made.append(Section("How far to trust the rule", ["records", "OOD set", "kind", "τ", "p", "n"], rows, notes))
    return made + [_rules_section(one) for one in advice.rules]


def brief(advice: Advice) -> list[Section]:
    """The rankings with what must be known of them, and in a few sentences how far the rule can be trusted."""
    sensitivity = "sensitivity: AUROC in % of ID training against ID test images, ± half its 95% interval."
    made = [
        replace(_ranking_section(ranking, False), notes=[*_main_notes(ranking), sensitivity, *_lost(ranking)])
        for ranking in advice.rankings
    ]
    stands: dict[str, list[str]] = {}
    for stand, name in sorted(((_stand(trial), trial.name) for trial in advice.trials), key=lambda each: each[0].place):
        stands.setdefault(stand.what, []).append(name)
    if stands and made:
        said = "; ".join(f"{what} ({', '.join(names)})" for what, names in stands.items())
        made[-1].notes.append(
            f"Whether to trust the rule (take the largest sensitivity), on the benchmark's own records: {said}. All of "
            "it: --details."
        )
    return made + [_beside_section(one, advice.told) for one in advice.frozen]


def _error(ranking: Ranking) -> float:
    """Half the 95 % interval that the numbers of ID images leave the best sensitivity, in points."""
    return 1.96 * hanley_mcneil(ranking.best.sensitivity, *ranking.counts)


def _tells_nothing(ranking: Ranking) -> bool:
    """Whether every trained variant's sensitivity is 50 within its error."""
    return max(abs(place.sensitivity - 50) for place in ranking.places) < _error(ranking)


def to_do(ranking: Ranking, has_frozen: bool = False) -> str:
    """What the ranking says to do, in a sentence that a command follows. has_frozen: a frozen network stands beside."""
    near = [place for place in ranking.places[1:] if place.within_noise]
    if _tells_nothing(ranking) and ranking.counts[0] < TRAINABLE:
        instead = "the frozen network below" if has_frozen else "a frozen network instead (bench init with --weights)"
        few = f"{ranking.counts[0]:,} images are too few to choose by sensitivity"
        return f"{few}; take {instead}, or export the first all the same"
    if _tells_nothing(ranking):
        return "train longer (--set train.epochs=N) before choosing by sensitivity, or export the first all the same"
    if near:
        others = "another is" if len(near) == 1 else f"{len(near)} others are"
        return f"export the first; {others} within noise of it and as good a choice"
    return "export the first"


def to_do_frozen(one: Beside) -> str:
    """What to do about a network that was not trained here, in words that a command follows; "" where a trained one is
    better."""
    if one.is_behind:
        return ""
    if not one.is_told:
        return "export the frozen network, which nothing here compares with trained ones"
    if all(other.verdict == "frozen ahead" for other in one.others if other.p is not None):
        return "export the frozen network, which is ahead of every trained one beyond noise"
    return "export the frozen network, which is not behind any trained one beyond noise"


def _beside_section(one: Beside, told: Sequence[str]) -> Section:
    last = one.parts[-1] if one.parts else ""
    columns = ["network", "training data", "n", *(f"AUROC {part}" for part in one.parts)]
    columns += [f"frozen - it, {last}", "noise"] if one.is_told else []
    rows = [[title_of(one.label), one.learns_from, "1", *(f"{one.aurocs[part]:.1f}" for part in one.parts)]]
    rows[0] += ["", ""] if one.is_told else []
    for other in one.others:
        cells = [f"{other.aurocs[part]:.1f}" if part in other.aurocs else "—" for part in one.parts]
        if one.is_told:
            cells += [f"{other.ahead:+.1f} ±{other.half:.1f}" if other.p is not None else "—", other.verdict]
        rows.append([title_of(other.label), other.learns_from, str(other.n), *cells])
    notes = [
        f"{title_of(one.label)} is {one.what}. It was not trained on these images, so that its sensitivity "
        f"({one.sensitivity:.1f} ±{one.error:.1f}) is 50 but for chance however well it detects: it is not ranked."
    ]
    if not one.others:
        notes.append("No trained network is done to compare it with.")
    elif one.is_told:
        ways = {
            "seeds": "over seeds of training",
            "images": "over images (DeLong), which leave more open than seeds",
            "numbers of images": "from the numbers of images (Hanley-McNeil), as scores are not kept: too wide",
        }
        used = dict.fromkeys(other.how for other in one.others if other.how)
        notes.append(
            f"frozen - it: points of AUROC, ± half the 95% interval {'; '.join(ways[how] for how in used)}. "
            "p after Holm over all rows."
        )
    else:
        notes.append(
            "Without OOD images nothing here tells whether it or a trained network detects better. A few in an OOD set "
            "of `bench init` would."
        )
    if told:
        notes.append(f"In the benchmark's own records {'; '.join(told)}.")
    notes.append(meaning([one.learns_from, *(other.learns_from for other in one.others)]))
    notes += one.warnings
    return Section(f"Frozen beside trained, {info(one.in_dist).title}", columns, rows, notes)


def _heads(agreements: Sequence[Agreement]) -> list[Agreement]:
    """The first agreement of each kind, which stands for it."""
    by_kind = {agreement.kind: agreement for agreement in reversed(agreements)}
    return sorted(by_kind.values(), key=lambda a: ["near", "far", "", "all"].index(a.kind))


def _rules_section(one: RulesTried) -> Section:
    rows = []
    for score, of in one.lost.items():
        best = f"{one.best[score]:.1f}" if score in one.best else ""
        rows.append([score, best, *(f"{of[rule]:.1f}" if rule in of else "" for rule in RULES)])
    rule, lost = one.least
    notes = [
        f"Points of AUROC that each rule loses against the best of {one.n} variants (best: their AUROC), mean over "
        f"{one.tasks} {one.kind}, by the score that detects. The rules choose the largest sensitivity by that score, "
        f"k-NN accuracy, number of occupied soft classes; others: what is best on the other {one.kind} of these "
        "records, so the only one that has seen OOD images; random: any variant. Least is lost, in the mean over "
        f"scores, by {rule}: {lost:.1f}."
    ]
    if ANY in one.lost:
        chosen = one.lost[ANY]
        notes.append(
            f"Any score: where the others choose the score too, {chosen['others']:.1f} are lost against the best "
            f"variant and score; {chosen['random']:.1f} where neither is chosen."
        )
    return Section(f"Rules tried on {one.name}", ["score", "best", *RULES], rows, notes)


def _ranking_section(ranking: Ranking, wide: bool) -> Section:
    columns = ["#", "variant", "sensitivity", "n", "vs best", "noise"]
    if wide:
        columns += ["p (Holm)", "judged by"]
    columns += [f"lost {c}" for c in ranking.columns]
    if wide:
        columns += [f"AUROC {c}" for c in ranking.columns]
    rows = []
    for place in ranking.places:
        row = [str(place.rank), title_of(place.label), f"{place.sensitivity:.2f} ±{place.half:.2f}", str(place.n)]
        if place.p is None:
            row += ["", "best", *(["", ""] if wide else [])]
        else:
            row += [
                f"{place.difference:+.2f} ±{place.difference_half:.2f}",
                "within" if place.within_noise else "beyond",
            ]
            row += [f"{place.p:.2g}", place.how] if wide else []
        lost, values = ranking.costs.get(place.label, {}), ranking.aurocs.get(place.label, {})
        row += [f"{lost[c]:.1f}" if c in lost else "—" for c in ranking.columns]
        row += [f"{values[c]:.1f}" if c in values else "—" for c in ranking.columns] if wide else []
        rows.append(row)
    for label, value in ranking.references.items():
        rows.append(["", title_of(label), f"{value:.2f}", "1"] + [""] * (len(columns) - 4))
    heading = f" ({ranking.heading})" if ranking.heading else ""
    title = f"Negatives for {info(ranking.in_dist).title}, by sensitivity{heading}"
    return Section(title, columns, rows, _ranking_notes(ranking))


def _ranking_notes(ranking: Ranking) -> list[str]:
    notes = [*_main_notes(ranking), *_explained(ranking.places)]
    return [*notes, *_lost(ranking), *ranking.shared, f"Settings: {ranking.settings}."]


def _lost(ranking: Ranking) -> list[str]:
    """What the columns "lost" are."""
    said = (
        f"lost {', '.join(ranking.columns)}: points of AUROC lost by this choice against the best variant there (0.0: "
        "it is the best), known only with OOD images; the ranking does not use them."
    )
    return [said] if ranking.columns else []


def _main_notes(ranking: Ranking) -> list[str]:
    """What the ranking says, and what keeps it from saying more."""
    places, best = ranking.places, ranking.best
    others = places[1:]
    beyond = [title_of(place.label) for place in others if not place.within_noise]
    near = [title_of(place.label) for place in others if place.within_noise]
    name = title_of(best.label)
    if not others:
        notes = [f"One variant, {name}: there is nothing to choose from."]
    elif not beyond:
        notes = [
            f"No variant differs from the first, {name}, beyond noise: this ranking gives no reason to prefer any."
        ]
    elif not near:
        notes = [f"{name} leads, and every other variant is behind it by more than noise."]
    else:
        notes = [f"{name} leads; within noise of it: {', '.join(near)}. Behind it beyond noise: {', '.join(beyond)}."]
    if _tells_nothing(ranking):
        error = _error(ranking)
        notes.append(
            f"The sensitivity of every trained variant is within ±{error:.1f} of 50, the error that "
            f"{ranking.counts[0]:,} training and "
            f"{ranking.counts[1]:,} test images leave: the score does not tell unseen ID images from seen ones. Train "
            "longer, or on more images, before choosing by it."
        )
    if ranking.replaced:
        notes.append(
            f"What is stored here now as {', '.join(ranking.replaced)} are other images than these runs read: the "
            "ranking is of those before, until the sweep runs again."
        )
    if ranking.missing:
        more = f" and {len(ranking.missing) - 8} more" if len(ranking.missing) > 8 else ""
        notes.append(f"{len(ranking.missing)} runs not done: {', '.join(ranking.missing[:8])}{more}.")
    return notes


def _explained(places: Sequence[Place]) -> list[str]:
    ways = {
        "seeds": "paired by seed, Student's t over n seeds",
        "Welch": "Welch's t over the seeds of each",
        "DeLong": "DeLong's test on the same images, where their error is the wider one or there is one seed: what "
        "another seed would give is then not known",
        "Hanley-McNeil": "Hanley and McNeil's error of two AUROCs from their numbers of images, as there is one seed "
        "and no scores.npz: too wide, and what another seed would give is not known",
    }
    used = list(dict.fromkeys(place.how for place in places if place.how))
    kinds = list(dict.fromkeys(place.interval for place in places))
    tail = f"; p after Holm over {len(places) - 1} comparisons, {LEVEL:g}." if used else "."
    kind = " or ".join(f"over {one}" for one in kinds)
    judged = f". vs best, noise: {'; or '.join(ways[way] for way in used)}" if used else ""
    seeds = " Of seeds and images, the wider." if "seeds" in kinds else ""
    return [f"sensitivity: AUROC in % of ID train against ID test, ± half its 95% interval {kind}{judged}{tail}{seeds}"]


def _tau(one: Agreement) -> list[str]:
    return ["—", "—"] if one.tau is None or one.p is None else [f"{one.tau:+.2f}", f"{one.p:.2g}"]


def _judged(one: Trial) -> list[Agreement]:
    """The first agreement of each kind that has a τ and a p."""
    return _heads([a for a in one.agreements if a.tau is not None and a.p is not None])


class Stand(NamedTuple):
    """Whether the rule held on some records: what to say, and on which sets where it is not all of them.

    place: in which order it is told, the gravest first: wrong 0, held 1, no evidence 2.
    """

    place: int
    what: str
    on: list[str]


def _stand(one: Trial) -> Stand:
    heads = _judged(one)
    wrong = [a for a in heads if (a.tau or 0) < 0]
    sure = [a for a in heads if a.p is not None and a.p < LEVEL]
    if not sure:
        against = ", the signs are against it" if heads and heads == wrong else ""
        return Stand(2, f"no evidence for or against the rule{against}", [])
    if heads == wrong:
        return Stand(0, "the rule points the WRONG way", [])
    if any(a in wrong for a in sure):
        return Stand(0, "the rule points the WRONG way", [a.title for a in sure if a in wrong])
    return Stand(1, "the rule holds", [a.title for a in sure])


def _verdict(one: Trial) -> str:
    """In plain words whether the rule held on these records, by the first agreement of each kind."""
    _, stand, on = _stand(one)
    heads = _judged(one)
    says = f"{stand} on {', '.join(on)}" if on else stand
    values = ", ".join(f"{a.title} τ = {a.tau:+.2f} (p = {a.p:.2g})" for a in heads)
    text = (
        f"{one.name}: {says}: {values}, n = {one.n} variants. It chooses {title_of(one.chosen)}, which loses "
        f"{one.cost:.1f} points of average AUROC against the best, {title_of(one.best)}; a random choice loses "
        f"{one.at_random:.1f}."
    )
    if one.spread < 2 * one.error:
        text += (
            f" Its sensitivities differ by {one.spread:.1f} points at most, and its images leave each open by "
            f"±{one.error:.1f}: a weak test of the rule."
        )
    if one.halves and one.halves[0] < min(0.0, one.halves[1]):
        text += (
            f" Part of a negative τ is chance, as both measures share the ID test images: one seed each, on one half "
            f"of them τ = {one.halves[0]:+.2f} (average), with each measure on a half of its own {one.halves[1]:+.2f}."
        )
    return text


def markdown(advice: Advice) -> str:
    """The same as GitHub Markdown, with AUROCs and p-values."""
    parts = [f"# Which negatives? {md(advice.sweep)}\n"]
    for section in sections(advice, wide=True):
        rows = [[md(cell) for cell in row] for row in section.rows]
        grid = md_grid([md(column) for column in section.columns], rows)
        parts.append(md_section(section.title, "", grid, section.notes))
    return "\n".join(parts)


def as_json(advice: Advice) -> dict[str, Any]:
    """The same as plain values: every number unrounded."""
    plain = asdict(advice)
    for ranking, made in zip(advice.rankings, plain["rankings"], strict=True):
        for place, row in zip(ranking.places, made["places"], strict=True):
            row["within_noise"] = place.within_noise
    return plain
