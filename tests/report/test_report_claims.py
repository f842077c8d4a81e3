"""The paper's claims, held against invented runs."""

from __future__ import annotations

import csv
import io
from collections import Counter

import pytest
from report_fakes import config, paper_auroc, record_of
from scipy import stats

from benchmark.negatives import VARIANTS
from benchmark.report.claims.paper import RULES, check, checked
from benchmark.report.claims.text import Checked, Claim, as_csv, markdown
from benchmark.report.grouping import group_runs
from benchmark.report.groups import Group


def group_of(configs, make=record_of) -> Group:
    (group,) = group_runs(configs, [record for c in configs if (record := make(c))])
    return group


def paper_runs(seeds=(0, 1), **fields):
    """Of two seeds, which agree in these tests: intervals of no width."""
    named = [{"variant": name} for name in VARIANTS]
    named += [{"in_dist": "cifar100", "variant": name} for name in ("rot-imgn", "combined")]
    return [config(**one, seed=seed, **fields) for one in named for seed in seeds]


def find(results: list[Claim], text: str) -> Claim:
    (claim,) = [claim for claim in results if text in claim.text]
    return claim


def test_the_papers_own_numbers_reproduce_the_papers_claims():
    occupied = {"dino": 2000.0}
    make = lambda c: record_of(c, occupancy={"paper": occupied.get(c.variant, 1500.0), "classes": 4096})  # noqa: E731
    results = check(group_of(paper_runs(), make))
    wanted = {  # as the text has them: methods/PAPER.md, "Claims"
        "Rot. ImgN beats ImgN on average": 2.63, "Rot. DTI beats DTI": 1.55, "Rot.360 ImgN is below": -1.57,
        "over DINO by Rot. ImgN": 10.79, "over DINO by Rot. DTI": 14.99, "best single source": 0.19,
        "Combined beats": 0.24, "Pix. Perm. is on par": -0.60, "Perm-4 ImgN is on par": -1.93,
        "Perm-16 ImgN is on par": 0.12,
        "best label-free rival on": 3.57, "supervised-helped": 0.96, "self-supervised rival on CIFAR100 → LSUN": 5.53,
    }  # fmt: skip
    for text, number in wanted.items():
        claim = find(results, text)
        assert float(claim.published) == pytest.approx(number, abs=0.0001), text
        assert claim.ours == pytest.approx(number, abs=0.011), text  # the text subtracts rounded averages
        assert (claim.verdict, claim.n) == ("holds", 2), text
    assert find(results, "fewer soft classes").ours == 500
    assert len(results) == len(wanted) + 1 + 4


def test_claims_fail_when_the_numbers_turn():
    turned = lambda c: record_of(c, lambda c, ood: 150 - paper_auroc(c, ood))  # noqa: E731
    results = check(group_of(paper_runs(), turned))
    for text in ("Rot. ImgN beats ImgN", "Rot. DTI beats", "is below", "by Rot. DTI", "best single", "Combined beats",
                 "supervised-helped"):  # fmt: skip
        assert find(results, text).verdict == "fails", text


@pytest.mark.parametrize(
    ("above", "apart", "verdict"),
    [(-31, 0, "fails"), (-2.01, 0, "fails"), (-1.99, 0, "holds"), (1.99, 0, "holds"), (2.01, 0, "fails"),
     (1.0, 0.1, "unclear"), (-1.0, 0.1, "unclear"), (0.0, 0.1, "holds"), (3.5, 0.1, "fails")],
)  # fmt: skip
def test_on_par_means_two_points_either_way_of_the_whole_interval(above, apart, verdict):
    """Two seeds `apart` from their mean leave an interval of 12.7 times that to either side."""

    def auroc(c, ood):
        return 80 + (above + apart * (2 * c.seed - 1)) * (c.variant == "perm-4-imgn")

    assert find(check(group_of(paper_runs(), lambda c: record_of(c, auroc))), "Perm-4").verdict == verdict
    assert "within 2 points either way" in find(check(group_of(paper_runs())), "Perm-4").text
    assert any("within 2 points" in rule and "-1.93 to +0.12" in rule for rule in RULES)


@pytest.mark.parametrize(("gain", "apart", "verdict"), [
    (2.0, 0.1, "holds"), (1.0, 0.1, "unclear"), (-1.0, 0.1, "unclear"), (-2.0, 0.1, "fails"), (0.0, 0.0, "unclear"),
])  # fmt: skip
def test_the_whole_interval_decides_of_a_difference(gain, apart, verdict):
    def auroc(c, ood):
        return 80 + (gain + apart * (2 * c.seed - 1)) * (c.variant == "rot-imgn")

    results = check(group_of(paper_runs(), lambda c: record_of(c, auroc)))
    assert find(results, "Rot. ImgN beats ImgN").verdict == verdict


@pytest.mark.parametrize(("apart", "verdict"), [(0.7, "holds"), (0.9, "unclear")])
def test_the_best_must_be_told_from_every_other_not_from_the_next_alone(apart, verdict):
    """ImgN comes next without a spread; DTI is 10 below, with one of 12.7 times `apart`."""

    def auroc(c, ood):
        others = {"rot-in-dist": 90.0, "imgn": 89.0, "dti": 80.0 + apart * (2 * c.seed - 1)}
        return others.get(c.variant, 50.0)

    claim = find(check(group_of(paper_runs(), lambda c: record_of(c, auroc))), "best single source")
    assert (claim.verdict, claim.ours, claim.note) == (verdict, 1, "next: ImgN")


@pytest.mark.parametrize(("apart", "verdict"), [(0.005, "fails"), (0.05, "unclear")])
def test_the_best_fails_by_an_interval_that_knows_of_the_choice_of_its_rival(apart, verdict):
    """1 below, by 12.7 times 0.05 either way at 95%: but the next was chosen from nine."""

    def auroc(c, ood):
        return {"rot-in-dist": 89.0 + apart * (2 * c.seed - 1), "imgn": 90.0}.get(c.variant, 50.0)

    claim = find(check(group_of(paper_runs(), lambda c: record_of(c, auroc))), "best single source")
    assert (claim.verdict, claim.ours) == (verdict, pytest.approx(-1))


def test_occupancy_fails_when_one_negative_fills_more_than_dino():
    counts = {"dino": 1000.0, "dti": 1001.0}
    make = lambda c: record_of(c, occupancy={"paper": counts.get(c.variant, 900.0), "classes": 4096})  # noqa: E731
    claim = find(check(group_of(paper_runs(), make)), "fewer soft classes")
    assert (claim.verdict, claim.ours) == ("fails", -1) and "next: DTI" in claim.note


def test_seeds_are_paired():
    # The seeds differ by far more than the variants: only a paired interval sees the gain.
    def auroc(c, ood):
        return 50 + 10.0 * c.seed + (1.0 + 0.1 * c.seed) * (c.variant == "rot-imgn")

    configs = [config(variant=name, seed=seed) for name in ("imgn", "rot-imgn") for seed in (0, 1, 2)]
    claim = find(check(group_of(configs, lambda c: record_of(c, auroc))), "Rot. ImgN beats ImgN")
    half = stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert (claim.ours, claim.n) == (pytest.approx(1.1), 3)
    assert claim.ours_text == f"+1.10 ± {half:.2f}"


def test_missing_runs_and_sets_are_not_measured():
    results = check(group_of([config(variant="dino"), config(variant="imgn")]))
    for text in ("Rot. ImgN beats", "by Rot. ImgN", "best single", "label-free rival", "CIFAR100 → LSUN", "fewer"):
        claim = find(results, text)
        assert (claim.verdict, claim.ours, claim.n) == ("not judged", None, 0) and claim.note, text
    assert "Rot. ImgN" in find(results, "Rot. ImgN beats").note
    for claim in results[-4:]:  # two points make no correlation
        assert claim.verdict == "not judged" and claim.n == 2


def test_an_average_needs_every_set_of_the_table():
    def auroc(c, ood):
        return None if (c.variant, ood) == ("imgn", "lsun") else paper_auroc(c, ood)

    results = check(group_of(paper_runs(), lambda c: record_of(c, auroc)))
    assert find(results, "Rot. ImgN beats").verdict == "not judged"


def test_of_sets_that_are_not_the_papers_none_of_its_claims_is_judged():
    sets = {"ood": ["synthetic-near", "synthetic-digits"]}
    for in_dist in ("synthetic", "photos"):
        group = group_of([config(in_dist=in_dist, variant=name, eval=sets) for name in VARIANTS])
        one = checked(group)
        assert one.claims == [] and len(one.notes) == 1
        assert one.notes[0].startswith("None is judged: the paper's claims are about CIFAR10 and CIFAR100")
        assert one.notes[0] in markdown(one) and "| claim" not in markdown(one) and "claims:" not in markdown(one)
    group = group_of([config(variant=name, eval={"ood": ["photos"]}) for name in VARIANTS])
    assert checked(group).claims == []


def test_sets_of_ones_own_beside_the_papers_are_in_no_claim():
    oods = {"ood": ["photos", "cifar100", "svhn"]}
    value = {"photos": 10.0, "cifar100": 70.0, "svhn": 80.0}
    make = lambda c: record_of(c, lambda c, ood: value[ood] + (ood != "photos") * (c.variant == "rot-imgn"))  # noqa: E731
    results = check(group_of(paper_runs(eval=oods)[:22], make))
    claim = find(results, "Rot. ImgN beats ImgN")
    assert claim.ours == 1 and "over 2 sets, not the paper's eight" in claim.note
    assert not any("photos" in claim.text for claim in results)
    assert [claim.text.partition("→ ")[2] for claim in results[-2:]] == ["CIFAR100 (Fig. 3, near)"] * 2


def test_on_cifar100_alone_the_claims_about_cifar10_say_so():
    results = check(group_of([config(in_dist="cifar100", variant=name, seed=s) for name in VARIANTS for s in (0, 1)]))
    assert "on CIFAR100, not CIFAR10" in find(results, "Rot. ImgN beats ImgN").note


def test_stand_ins_are_named_and_never_held_against_a_rival():
    sets = {"ood": ["cifar10", "lsunlike"]}
    configs = [config(in_dist="cifar100", variant="rot-imgn", eval=sets)]
    claim = find(check(group_of(configs)), "self-supervised rival")
    assert claim.verdict == "not judged" and "LSUN-like stands in for LSUN" in claim.note
    sets = {"ood": ["cifar100", "stl10-unlabeled"]}
    configs = [config(variant=name, seed=seed, eval=sets) for name in ("dino", "rot-imgn") for seed in (0, 1)]
    claim = find(check(group_of(configs)), "by Rot. ImgN")
    assert claim.verdict == "holds" and "stands in for STL10" in claim.note


def test_imported_images_are_named_beside_a_rival():
    claim = find(check(group_of(paper_runs(), lambda c: record_of(c, official=False))), "best label-free rival")
    assert claim.verdict == "holds" and "imported" in claim.note


def test_files_hold_every_claim_and_the_rules():
    group = group_of(paper_runs())
    results = check(group)
    text = markdown(checked(group))
    assert all(claim.text.replace("_", r"\_") in text for claim in results)
    assert "on par with or below" in text and f"{len(results)} claims" in text
    assert len(as_csv([checked(group)]).splitlines()) == len(results) + 1
    counts = Counter(claim.verdict for claim in results)
    assert f"{len(results)} claims: {counts['holds']} hold, " in text
    assert f", {counts['unclear']} unclear, " in text and f" fail, {counts['not judged']} could not be judged." in text


def test_a_correlation_holds_where_its_interval_is_positive_and_says_both_coefficients():
    sensitivity = {name: 50.0 + (3 * place) % 11 for place, name in enumerate(VARIANTS)}
    knn = {name: 90.0 - value / 4 for name, value in sensitivity.items()}
    place = list(VARIANTS).index
    auroc = lambda c, ood: 60 + sensitivity[c.variant] / 9 + (ood == "texture") * place(c.variant) ** 2 / 9  # noqa: E731
    make = lambda c: record_of(c, auroc, sensitivity=sensitivity[c.variant],  # noqa: E731
                               knn_accuracy={"20": knn[c.variant], "10": 1.0})  # fmt: skip
    results = check(group_of([config(variant=name) for name in VARIANTS], make))[-4:]
    assert [claim.verdict for claim in results[:1] + results[2:3]] == ["fails", "holds"]
    for claim, measure in ((results[0], knn), (results[1], knn), (results[2], sensitivity), (results[3], sensitivity)):
        ood = "cifar100" if "CIFAR100" in claim.text else "texture"
        y = [auroc(config(variant=name), ood) for name in VARIANTS]
        r, rho = stats.pearsonr(list(measure.values()), y), stats.spearmanr(list(measure.values()), y).statistic
        assert claim.ours == pytest.approx(r.statistic)
        assert claim.n == 11 and f"Spearman's ρ = {rho:.2f}" in claim.note
        low, high = r.confidence_interval(0.95)
        assert claim.verdict == ("holds" if low > 0 else "fails" if high < 0 else "unclear")
        if abs(r.statistic) < 0.999:
            assert claim.ours_text == f"r = {r.statistic:.2f} [{low:.2f}, {high:.2f}]"


def test_each_column_of_the_csv_is_what_its_heading_says():
    claim = Claim("rain falls", "+1.50", "fails", -0.123456, "-0.12", 3, "over 2 sets")
    (cells,) = csv.DictReader(io.StringIO(as_csv([Checked("Claims", "here", [claim], [])])))
    assert cells == {"claim": "rain falls", "published": "+1.50", "ours": "-0.123456", "ours_text": "-0.12", "n": "3",
                     "verdict": "fails", "note": "over 2 sets", "group": "here"}  # fmt: skip


def test_a_margin_is_over_the_seeds_that_all_have():
    """DTI would come next with its third seed, which DINO has not."""
    counts = {"dino": [1000, 1010], "dti": [900, 910, 2000], "imgn": [950, 940]}
    configs = [config(variant=name, seed=seed) for name in VARIANTS for seed in range(len(counts.get(name, [0, 0])))]
    make = lambda c: record_of(c, occupancy={"paper": counts.get(c.variant, [800, 800, 800])[c.seed], "classes": 4096})  # noqa: E731
    claim = find(check(group_of(configs, make)), "fewer soft classes")
    assert (claim.ours, claim.n, claim.verdict) == (60, 2, "unclear") and claim.note == "next: ImgN"
    assert claim.ours_text == f"+60 ± {stats.t.ppf(0.975, 1) * 10:.0f}"  # 50 and 70


def test_the_set_itself_is_taken_before_what_stands_for_it():
    ours = {"lsun": 90.0, "lsunlike": 99.0}
    for oods in (["lsunlike", "lsun"], ["lsun", "lsunlike"]):
        both = [config(in_dist="cifar100", variant="rot-imgn", eval={"ood": oods}, seed=seed) for seed in (0, 1)]
        claim = find(check(group_of(both, lambda c: record_of(c, lambda c, ood: ours[ood]))), "self-supervised rival")
        assert (claim.verdict, claim.ours) == ("holds", pytest.approx(90.0 - 79.50))
