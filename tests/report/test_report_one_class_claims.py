"""The claims of the one-class protocol, held against invented runs."""

from __future__ import annotations

import numpy as np
import pytest
from one_class_fakes import CIFAR10, TRANSLATION, by_hand, everything, group_of, level, one_record, run, runs
from report_fakes import with_scores

from benchmark.report.claims.one_class import RULES, check, checked
from benchmark.report.claims.ours import CONFIDENT, NOT_PUBLISHED, PERMUTED, RESPONSE, TESTED
from benchmark.report.claims.text import Claim, as_csv, markdown
from benchmark.report.published import one_class as published
from benchmark.store.records import ScoreInRecord

REFERENCES = ["untrained", "image-statistics"]
BOTH = (0, 1)  # seeds; where they agree, intervals have no width


def find(claims: list[Claim], text: str) -> Claim:
    (claim,) = [claim for claim in claims if text in claim.text]
    return claim


def claims_of(configs, value=level, **fields) -> list[Claim]:
    return check(group_of(configs, lambda c: one_record(c, value, **fields)))


def name_of(c) -> str:
    return c.in_dist.partition(":")[2]


def papers(c) -> float:
    """The published values of rotation prediction; 50 for all others."""
    return published.VALUES.get((c.label, name_of(c)), 50.0)


def test_the_papers_own_numbers_reproduce_the_papers_claims():
    claims = claims_of(runs(["rotation", TRANSLATION, *REFERENCES], seeds=BOTH), papers)
    beats, near, adds = claims
    assert (beats.verdict, beats.published, beats.ours) == ("holds", NOT_PUBLISHED, pytest.approx(78.3 - 50))
    assert "smallest on airplane" in beats.note and "above on 10 of 10 classes" in beats.note
    assert (near.verdict, near.published, near.ours) == ("holds", "88.4", pytest.approx(0.0, abs=1e-9))
    assert (adds.verdict, adds.published) == ("holds", "+1.40")
    both = np.array([[published.VALUES[label, name] for name in CIFAR10] for label in (TRANSLATION, "rotation")])
    assert adds.ours == pytest.approx(both[0].mean() - both[1].mean())
    # bird is the one class on which translation does not help
    assert (
        "above on 9 of 10 classes" in adds.note
        and f"± {by_hand(both[0] - both[1])[1]:.2f} over the classes" in adds.note
    )


def test_one_class_below_one_reference_fails_the_first_claim():
    seeds = {0: 60.0, 1: 60.01}

    def value(c):
        levels = {"rotation": seeds[c.seed], "untrained": 50.0, "image-statistics": 55.0}
        return 64.0 if (c.label, name_of(c)) == ("image-statistics", "frog") else levels[c.label]

    claim = find(claims_of(runs(["rotation", *REFERENCES], seeds=[0, 1]), value), "on every class")
    mean, half = by_hand(np.array([60.0 - 64.0, 60.01 - 64.0]))
    assert (claim.verdict, claim.ours, claim.n) == ("fails", pytest.approx(mean), 2)
    assert claim.ours_text == f"{mean:+.2f} ± {half:.2f}"
    assert claim.note == "smallest on frog, against image statistics; above on 9 of 10 classes"


def test_every_reference_of_every_network_must_be_beaten():
    other = {"backbone": "resnet18"}
    configs = [*runs(["rotation", *REFERENCES], seeds=BOTH), *runs(["untrained"], model=other)]

    def value(c):
        return 70.0 if c.label == "rotation" else 71.0 if c.model.backbone == "resnet18" else 50.0

    claim = find(claims_of(configs, value), "on every class")
    assert claim.verdict == "fails" and "against untrained (b)" in claim.note


@pytest.mark.parametrize(("shift", "verdict"), [(-2.01, "fails"), (-1.99, "holds"), (1.99, "holds"), (2.01, "fails")])
def test_near_the_published_mean_is_two_points_either_way(shift, verdict):
    claim = find(claims_of(runs(["rotation"], seeds=BOTH), lambda c: papers(c) + shift), "within 2 points")
    assert (claim.verdict, claim.ours) == (verdict, pytest.approx(shift))
    assert claim.note == "trained on 2,000 images per class, published on 5,000"


def test_the_published_number_of_images_needs_no_note_and_imported_ones_do():
    assert find(claims_of(runs(["rotation"], seeds=BOTH), papers, train=5000), "within 2").note == ""
    note = find(claims_of(runs(["rotation"], seeds=BOTH), papers, train=5000, official=False), "within 2").note
    assert note == "our images are imported, not the official sets"


def test_the_means_interval_is_over_seeds():
    claim = find(claims_of(runs(["rotation"], seeds=[0, 1, 2])), "within 2")
    means = np.array([[level(run(name, seed=s)) for name in CIFAR10] for s in range(3)]).mean(axis=1)
    mean, half = by_hand(means)
    assert claim.ours_text == f"{mean - 88.4:+.2f} ± {half:.2f}" and claim.n == 3


def test_negatives_are_paired_by_class_and_seed():
    # Classes and seeds differ by far more than the variants: only a pairing of both sees the gain.
    rng = np.random.default_rng(1)
    base = rng.normal(70, 10, (10, 3))
    gain = rng.normal(1.0, 0.4, (10, 3))

    def value(c):
        at = CIFAR10.index(name_of(c)), c.seed
        return float(base[at] + gain[at] * (c.label == "rot-in-dist"))

    configs = [*runs(["dino"], seeds=[0, 1, 2]), *runs(["rot-in-dist"], seeds=[2, 1, 0])]
    claim = find(claims_of(configs, value), "Rot. In-Dist. negatives")
    mean, half = by_hand(gain.mean(axis=0))
    assert (claim.verdict, claim.published, claim.n, claim.ours) == ("holds", NOT_PUBLISHED, 3, pytest.approx(mean))
    assert claim.ours_text == f"{mean:+.2f} ± {half:.2f}"
    above = int((gain.mean(axis=1) > 0).sum())
    over_classes = by_hand(gain.mean(axis=1))[1]
    assert (
        claim.note == f"above on {above} of 10 classes, ± {over_classes:.2f} over the classes; training data: scratch"
    )


def test_statistics_from_before_the_choice_are_named_where_settings_differ():
    model = {"backbone": "resnet10t"}
    plain = runs(["dino"], model=model | {"batch_statistics": "positives"})
    claim = find(claims_of([*plain, *runs(["rot-in-dist"], model=model)]), "Rot. In-Dist. negatives")
    assert claim.note == "settings differ: model.batch_statistics = mixture, DINO has positives"


def test_only_seeds_with_all_classes_of_both_are_paired():
    configs = [*runs(["dino"], seeds=[0, 1, 2]), *runs(["rot-imgn"], seeds=[0, 1, 2, 3])]
    value = lambda c: 70.0 + (1.0, 9.0, 1.5, 9.0)[c.seed] * (c.label == "rot-imgn")  # noqa: E731
    lost = lambda c: None if (c.seed, c.in_dist) == (1, "cifar10:dog") else one_record(c, value)  # noqa: E731
    claim = find(check(group_of(configs, lost)), "Rot. ImgN negatives")
    assert (claim.n, claim.ours, claim.verdict) == (2, 1.25, "unclear") and "training data: aux" in claim.note
    none = lambda c: None if (c.label, name_of(c)) == ("dino", "dog") else one_record(c, value)  # noqa: E731
    claim = find(check(group_of(configs, none)), "Rot. ImgN negatives")
    assert (claim.verdict, claim.n, claim.note) == ("not judged", 0, "DINO on 9 of 10 classes alone")
    apart = [*runs(["dino"], seeds=[0]), *runs(["rot-imgn"], seeds=[1])]
    assert find(claims_of(apart, value), "Rot. ImgN").note == "no seed has all of both"


def test_a_negative_variant_below_dino_fails():
    configs = runs(["dino", "combined"], seeds=BOTH)
    claim = find(claims_of(configs, lambda c: 60.0 - (c.label == "combined")), "Combined negatives")
    assert (claim.verdict, claim.ours) == ("fails", -1.0)


def test_every_negative_variant_and_no_other_column_is_held_against_dino():
    claims = claims_of(everything())
    titles = [claim.text.split(" negatives")[0] for claim in claims if "raise DINO's mean" in claim.text]
    assert titles == ["Rot. ImgN", "Rot. DTI", "Rot. In-Dist.", "Combined"]
    assert all(claim.published == NOT_PUBLISHED for claim in claims if "raise DINO's mean" in claim.text)
    assert "made with labels" in find(claims, "Rot. DTI").note


def test_negatives_are_never_held_against_dino_of_other_settings():
    longer = {"train": {"epochs": 600}}
    alike = lambda c: level(run(name_of(c), c.label))  # noqa: E731  of seed 0, whichever
    configs = [*runs(["dino"], seeds=BOTH), *runs(["rot-imgn"], seeds=BOTH, **longer)]
    claim = find(claims_of(configs, alike), "Rot. ImgN negatives")
    assert claim.verdict == "not judged"
    assert claim.note == "settings differ: train.epochs = 600, DINO has 500"
    configs += [*runs(["dino"], seeds=BOTH, **longer), *runs(["rot-imgn"], seeds=BOTH)]
    claims = claims_of(configs, alike)
    assert [c.verdict for c in claims if "Rot. ImgN" in c.text] == ["holds", "holds"]
    assert [c.text[-15:] for c in claims if "Rot. ImgN" in c.text] == ["[Rot. ImgN (a)]", "[Rot. ImgN (b)]"]


def test_two_recipes_are_each_held_against_their_own():
    def value(c):
        return {(500, "dino"): 60.0, (600, "dino"): 80.0, (500, "rot-imgn"): 61.0, (600, "rot-imgn"): 79.0}[
            c.train.epochs, c.label
        ]

    both = ["dino", "rot-imgn"]
    configs = [*runs(both, seeds=BOTH), *runs(both, seeds=BOTH, train={"epochs": 600})]
    claims = [c for c in claims_of(configs, value) if "Rot. ImgN" in c.text]
    assert [(c.ours, c.verdict) for c in claims] == [(1.0, "holds"), (-1.0, "fails")]


def test_translation_with_other_settings_is_compared_and_said():
    configs = [*runs(["rotation"], seeds=BOTH, train={"batch": 64})]
    configs += runs([TRANSLATION], seeds=BOTH, train={"batch": 32})
    claim = find(claims_of(configs), "Translation adds")
    assert claim.verdict == "holds" and "settings differ: train.batch = 32, rotation has 64" in claim.note


def test_what_is_not_there_is_not_measured():
    claims = claims_of(runs(["dino", "rot-imgn"]))
    for text, note in (
        ("on every class", "no rotation in this sweep"),
        ("within 2", "no rotation in this sweep"),
        ("Translation adds", "no rotation-translation in this sweep"),
    ):
        claim = find(claims, text)
        assert (claim.verdict, claim.ours, claim.n, claim.note) == ("not judged", None, 0, note)
    assert find(claims_of(runs(["rotation", "untrained"])), "on every").note == "no image statistics in this sweep"
    few = runs(["rotation", *REFERENCES], classes=["cat", "dog"])
    assert find(claims_of(few), "on every").note == "2 of 10 classes in this sweep"
    assert find(claims_of(few), "within 2").note == "2 of 10 classes are done"
    lost = lambda c: None if (c.label, c.in_dist) == ("untrained", "cifar10:cat") else one_record(c)  # noqa: E731
    claim = find(check(group_of(runs(["rotation", *REFERENCES]), lost)), "on every")
    assert (claim.verdict, claim.note) == ("not judged", "no value of untrained on cat")
    apart = [*runs(["rotation"], seeds=[0]), *runs(["rotation"], classes=["cat"], seeds=[1])]
    assert find(claims_of(apart), "within 2").note == "1 of 10 classes all seeds have"


def test_of_other_sets_nothing_published_is_judged():
    labels = ("rotation", TRANSLATION, "dino", "rot-in-dist")
    configs = runs(labels, ("a", "b"), BOTH, parent="photos")
    configs += [run(name, seed=seed, parent="photos", method={"name": method})
                for method in ("simclr", "csi") for name in ("a", "b") for seed in BOTH]  # fmt: skip
    one = checked(group_of(configs, lambda c: one_record(c, lambda c: 70.0 + (c.label == "rot-in-dist"))))
    assert [claim.published for claim in one.claims] == [NOT_PUBLISHED] * len(one.claims)
    assert find(one.claims, "Rot. In-Dist. negatives").verdict == "holds"
    (note,) = [note for note in one.notes if "is judged on" in note]
    assert note == "What others have published is about CIFAR10's classes: none of it is judged on photos."
    assert not any("is judged on" in note for note in checked(group_of(everything())).notes)


def test_files_hold_every_claim_and_the_rules():
    group = group_of(everything())
    one = checked(group)
    text = markdown(one)
    assert all(claim.text in text for claim in one.claims) and "CIFAR10" in one.heading
    assert all(rule in one.notes for rule in RULES) and NOT_PUBLISHED in text
    assert len(as_csv([one]).splitlines()) == len(one.claims) + 1


def test_csi_is_held_against_simclr_and_ssd_against_the_cosine_of_the_same_features():
    wanted = {"eval": {"ood": None, "scores": ["mahalanobis", "cosine"]}}
    configs = [run(name, "rotation", seed, method={"name": method}, **wanted)
               for method in ("simclr", "csi") for name in CIFAR10[:4] for seed in (0, 1)]  # fmt: skip
    higher = {"mahalanobis": 5.0, "cosine": 2.0, None: 0.0}

    def record(c):
        made = one_record(c, lambda c: 60 + len(name_of(c)) + (3 + c.seed / 50 if c.method.name == "csi" else 0))
        scores = {}
        for score in c.scores():
            ood = {of: one.model_copy(update={"auroc": one.auroc + higher[score] * len(name_of(c))})
                   for of, one in made.own_score.ood.items()}  # fmt: skip
            scores[score] = ScoreInRecord(ood=ood, sensitivity=50, passes=1)
        return with_scores(made, scores)

    claims = check(group_of(configs, record))
    csi, ssd = find(claims, "CSI beats SimCLR, mean over"), find(claims, "SSD (SimCLR by mahalanobis) beats SimCLR by")
    assert (csi.published, csi.ours, csi.n, csi.verdict) == ("+6.40", pytest.approx(3.01), 2, "holds")
    letters = np.mean([len(name) for name in CIFAR10[:4]])
    assert (ssd.published, ssd.ours, ssd.n, ssd.verdict) == ("> 0", pytest.approx(3 * letters), 2, "holds")
    assert "over 4 of 10 classes" in ssd.note and "above on 4 of 4 classes" in csi.note
    assert not any("SSD" in claim.text or "CSI" in claim.text for claim in claims_of(everything()))


@pytest.mark.parametrize(("name", "titles", "passes"), [
    (PERMUTED, ("Perm-4 ImgN",), "4 passes"),
    (TESTED, ("Rot. ImgN", "Rot. In-Dist."), "4 passes"),
    (RESPONSE, ("ImgN", "Rot. ImgN", "Perm-4 ImgN", "Rot. In-Dist."), "1 pass"),
    (CONFIDENT, ("ImgN", "Rot. ImgN", "Perm-4 ImgN", "Rot. In-Dist."), "1 pass"),
])  # fmt: skip
def test_a_score_is_held_against_eq_6_of_the_same_runs(name: str, titles: tuple[str, ...], passes: str):
    """That over rotations for variants with rotated negatives alone; class by class and seed by seed."""
    scored = {"eval": {"ood": None, "scores": [name]}}
    configs = runs(["dino", "imgn", "rot-in-dist", "rot-imgn", "perm-4-imgn"], CIFAR10[:3], seeds=[0, 1], **scored)

    def gain(c) -> float:
        return (4.0 if c.label == "rot-in-dist" else -2.0) + len(name_of(c)) / 10 + c.seed / 50

    def record(c):
        made = one_record(c, level)
        ood = {of: one.model_copy(update={"auroc": one.auroc + gain(c)}) for of, one in made.own_score.ood.items()}
        return with_scores(made, {name: ScoreInRecord(ood=ood, sensitivity=50, passes=4)})

    claims = [one for one in check(group_of(configs, record)) if name in one.text]
    assert [one.text for one in claims] == [
        f"With {title} negatives, {name} detects better than Eq. 6" for title in titles
    ]
    for claim in claims:
        base, verdict = (4.0, "holds") if "In-Dist." in claim.text else (-2.0, "fails")
        mean = np.mean([len(of) / 10 for of in CIFAR10[:3]])
        assert (claim.verdict, claim.ours, claim.n) == (verdict, pytest.approx(base + mean + 0.01), 2)
        assert f"{passes} an image at test time" in claim.note


def test_backgrounds_are_held_against_the_same_without_and_our_negatives_against_rotated_ones():
    """Whatever masks they were made by, by the own score and by how many further ones; class by class, seed by seed."""
    asked = {"eval": {"ood": None, "scores": ["knn-5", "msp", "energy"]}}
    views = {"background": "remove", "background_p": 0.4}
    some, seeds = CIFAR10[:3], [0, 1]
    configs = runs(["dino", "rot-in-dist"], some, seeds, **asked)
    configs += runs(["dino"], some, seeds, views=views, **asked)
    configs += runs(["background-in-dist"], some, seeds, **asked)
    own = {"dino": 60.0, "rot-in-dist": 66.0, "dino-bg-remove": 63.0, "background-in-dist": 61.0}
    # further scores: the one with its background away is above by two of three, the background by one of three
    more = {"dino-bg-remove": {"knn-5": 1.0, "msp": -8.0, "energy": 0.5}, "background-in-dist": {"knn-5": 7.0}}

    def record(c):
        step = (len(name_of(c)) / 10 + c.seed / 50) if c.label not in ("dino", "rot-in-dist") else 0.0
        made = one_record(c, lambda c: own[c.label] + step)
        scores = {}
        for score in c.scores():
            value = 75.0 + more.get(c.label, {}).get(score, 0.0) + (5.0 if c.label == "rot-in-dist" else 0.0)
            ood = {of: one.model_copy(update={"auroc": value}) for of, one in made.own_score.ood.items()}
            scores[score] = ScoreInRecord(ood=ood, sensitivity=50, passes=1)
        return with_scores(made, scores)

    claims = check(group_of(configs, record))
    step = np.mean([len(name) / 10 for name in some]) + 0.01
    removed = find(claims, "BG_RM in its views raises DINO's mean over the classes")
    assert (removed.verdict, removed.ours, removed.n) == ("holds", pytest.approx(3 + step), 2)
    assert "above on 3 of 3 classes" in removed.note and removed.note.endswith("by 3 further scores: 2 hold, 1 fails")
    ours = find(claims, "Backgr. In-Dist. (ours) negatives beat Rot. In-Dist., mean over the classes")
    assert (ours.verdict, ours.ours, ours.n) == ("fails", pytest.approx(-5 + step), 2)
    assert ours.note.endswith("by 3 further scores: 1 holds, 2 fail")
    raised = find(claims, "Backgr. In-Dist. (ours) negatives raise DINO's")
    assert (raised.verdict, raised.ours) == ("holds", pytest.approx(1 + step))
    assert not any("Rot. In-Dist. negatives beat" in claim.text for claim in claims)

    both = runs(["rot-in-dist"], some, seeds, views=views, **asked)
    claims = claims_of([*configs, *both])  # two things at once are told from neither
    assert [claim.verdict for claim in claims if claim.text.startswith("Rot. In-Dist. negatives raise")] == [
        "holds",
        "not judged",
    ]
    assert find(claims, "BG_RM in its views raises Rot. In-Dist.'s mean").n == 2

    alone = [c for c in configs if c.label in ("dino-bg-remove", "background-in-dist")]
    claims = check(group_of(alone, record))
    assert find(claims, "BG_RM in its views").note == "no DINO of its settings in this sweep"
    assert find(claims, "negatives beat Rot.").note == "no Rot. In-Dist. of its settings in this sweep"


@pytest.mark.parametrize(
    "other", [{"train": {"epochs": 70}}, {"views": {"local_views": 4}}, {"data": {"image_size": 64}}]
)
def test_other_backgrounds_are_not_held_against_dino_of_other_settings(other):
    configs = [
        *runs(["dino"], CIFAR10[:2]),
        *runs(["dino"], CIFAR10[:2], **(other | {"views": other.get("views", {}) | {"background": "random"}})),
    ]
    claim = find(claims_of(configs), "BG_Random in its views")
    assert claim.note == "no DINO of its settings in this sweep" and claim.verdict == "not judged"
