"""Claims of our own about scores, on whole sets: against differences taken by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_fakes import config, make, record_of, write_runs, write_sweep

from benchmark.plan.config import RunConfig
from benchmark.report.groups import group_runs
from benchmark.report.own_claims import CONFIDENT, RESPONSE, RULES, TESTED, checked
from benchmark.store.records import Record, ScoreInRecord

OODS = ["cifar100", "svhn"]


def gain(config: RunConfig, ood: str) -> float:
    return (3.0 if ood == "svhn" else -1.0) + len(config.variant) / 10 + config.seed


def scored(config: RunConfig, lacks: str = "") -> Record:
    record = record_of(config, lambda c, ood: 60.0)
    better = {o: m.model_copy(update={"auroc": m.auroc + gain(config, o)}) for o, m in record.ood.items() if o != lacks}
    further = ScoreInRecord(ood=better, sensitivity=50, passes=1)
    return record.model_copy(update={"scores": dict.fromkeys(config.scores(), further)})


def runs(scores: list[str]) -> list[RunConfig]:
    wanted = {"ood": OODS, "scores": scores}
    return [config(variant=v, seed=s, eval=wanted) for v in ("dino", "imgn", "rot-in-dist") for s in (0, 1)]


def test_a_score_is_held_against_the_own_one_by_averages_and_seeds() -> None:
    configs = runs([CONFIDENT, RESPONSE, TESTED])
    found = checked(group_runs(configs, [scored(c) for c in configs])[0])
    assert found is not None and all(rule in found.notes for rule in RULES)
    assert [claim.text for claim in found.claims] == [
        f"With {title} negatives, {score} detects better than Eq. 6"
        for title, scores in (("ImgN", (RESPONSE, CONFIDENT)), ("Rot. In-Dist.", (TESTED, RESPONSE, CONFIDENT)))
        for score in scores
    ]  # no negatives, no claim; over rotations where negatives are rotated
    for claim in found.claims:
        expected = 1.0 + len("imgn" if " ImgN " in claim.text else "rot-in-dist") / 10 + 0.5
        assert (claim.n, claim.verdict) == (2, "holds") and claim.ours == pytest.approx(expected)
        low, high = (1, 2) if " ImgN " in claim.text else (2, 2)  # -1 + 0.4, and a whole point more by the second seed
        assert claim.note.startswith(f"above on {low}{f' to {high}' if high > low else ''} of 2 sets; ")
        assert ("4 passes" in claim.note) == (TESTED in claim.text)


def test_what_has_not_been_scored_so_is_said_and_without_such_scores_there_is_nothing() -> None:
    configs = runs([CONFIDENT])
    found = checked(group_runs(configs, [scored(c, lacks="svhn") for c in configs])[0])
    assert found is not None and {claim.verdict for claim in found.claims} == {"not measured"}
    assert found.claims[0].note == "no run has been scored so on all sets"
    plain = runs(["knn-5"])
    assert checked(group_runs(plain, [scored(c) for c in plain])[0]) is None


def test_they_are_written_below_the_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    extra = f"base: {{eval: {{ood: [cifar100, svhn], scores: [{CONFIDENT}]}}}}"
    sweep = write_sweep(tmp_path, variant=["dino", "imgn"], extra=extra)
    write_runs(Path("results"), sweep, scored)
    written, text = make(tmp_path, claims=True, sweep=sweep)
    assert written == ["table2/claims.md", "table2/claims.csv"] and "What this project claims" in text
    content = Path("reports/table2/claims.md").read_text()
    assert "## The paper's claims" in content and f"{CONFIDENT} detects better than Eq. 6" in content
