"""`bench report --score`: another score in place of each method's own, against invented records."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from statistics import mean

import pandas as pd
import pytest
from one_class_fakes import write_sweep as write_class_sweep
from report_fakes import config, make, record_of, with_scores, write_runs, write_sweep

from benchmark.errors import BenchError
from benchmark.plan.config import RunConfig
from benchmark.plan.scores import OWN
from benchmark.report.grouping import by_score, group_runs
from benchmark.report.published import sets as published
from benchmark.report.tables.scores import scores
from benchmark.store.records import IntermediateMeasures, Record, ScoreInRecord

NAMES = ["dino", "imgn", "rot-imgn", "rot-in-dist"]
ASKED = "base: {eval: {every: 1, scores: [msp, knn-5]}}\nreferences: [untrained, image-statistics]"


def value(config: RunConfig, ood: str, score: str = "") -> float:
    """An AUROC: by msp the columns have the published order on every set, by their own score the reverse."""
    paper = published.value(config.in_dist, ood, config.variant) or 60.0
    return {"": 110 - paper, "msp": paper - 20, "knn-5": 50 + len(ood) / 8}[score]


def scored(config: RunConfig) -> Record:
    """untrained has knn-5 alone and image statistics have no further score, as it is of real ones."""
    record = record_of(config, value, sensitivity=31.0)
    has = {"untrained": ["knn-5"], "image-statistics": []}.get(config.method.name, ["msp", "knn-5"])
    measured = {
        name: {o: m.model_copy(update={"auroc": value(config, o, name)}) for o, m in record.own_score.ood.items()}
        for name in has
    }
    aurocs = dict.fromkeys(record.own_score.ood, 33.0)
    early = IntermediateMeasures(epoch=1, knn_accuracy={"20": 1.0}, ood=aurocs, sensitivity=50)
    further = {n: ScoreInRecord(ood=ood, sensitivity=62.0, passes=1) for n, ood in measured.items()}
    return with_scores(record, further).model_copy(update={"trajectory": [early] if config.method.trains else []})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_runs(tmp_path / "results", write_sweep(tmp_path, variant=NAMES, extra=ASKED), scored)
    return tmp_path


def numbers(path: Path) -> pd.DataFrame:
    return pd.read_csv(path / "table2.csv").pivot(index="ood", columns="column", values="mean")


def test_every_number_of_the_table_is_the_scores(place: Path) -> None:
    paths, shown = make(place, tables=["2"], sweep=Path("sweeps/table2.yaml"), score="msp")
    assert {Path(path).parent.name for path in paths} == {"by-msp"}
    table = numbers(place / "reports/table2/by-msp")
    sets = published.paper_sets("cifar10")
    for name in NAMES:
        wanted = {ood: published.VALUES["cifar10", ood, name] - 20 for ood in sets}
        assert table.loc[sets, name].to_dict() == pytest.approx(wanted)
        assert table.loc["average", name] == pytest.approx(mean(wanted.values()))
        assert table.loc["sensitivity", name] == 62.0
    for name in ("untrained", "image-statistics"):  # by their own
        assert table.loc["svhn", name] == 50.0  # where nothing is published: 110 - 60
        assert table.loc["sensitivity", name] == 31.0
    assert "by msp (untrained and image statistics by their own)" in " ".join(shown.split())


def test_without_it_the_methods_own_score_stays(place: Path) -> None:
    make(place, tables=["2"], sweep=Path("sweeps/table2.yaml"))
    table = numbers(place / "reports/table2")
    assert table.loc["svhn", "dino"] == pytest.approx(110 - 99.38) and table.loc["sensitivity", "dino"] == 31.0


def test_the_papers_claims_turn_with_the_score(place: Path) -> None:
    def verdict(score: str, folder: str) -> str:
        make(place, claims=True, sweep=Path("sweeps/table2.yaml"), score=score)
        claims = pd.read_csv(place / folder / "claims.csv").set_index("claim")
        assert any("detects better than" in text for text in claims.index) == (score == OWN)  # ours compare scores
        found = claims.loc["Rot. ImgN beats ImgN on average"]
        assert found["verdict"] == "not judged"  # one run, which has kept no scores of images
        return "below" if float(found["ours"]) < 0 else "above"

    assert verdict(OWN, "reports/table2") == "below"
    assert verdict("msp", "reports/table2/by-msp") == "above"


def test_everything_leaves_out_what_is_by_one_score_or_by_all(place: Path) -> None:
    paths, _ = make(place, everything=True, sweep=Path("sweeps/table2.yaml"), score="msp")
    names = {Path(path).name for path in paths}
    assert {"table1.md", "table2.md", "figure2.png", "figure3.png", "claims.md"} <= names
    assert not any("scores" in name or "training" in name for name in names)
    both, _ = make(place, everything=True, sweep=Path("sweeps/table2.yaml"))
    assert {"table-scores.md", "figure-training.png"} <= {Path(path).name for path in both}


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"tables": ["scores"]}, "--table scores cannot be by another score; allowed: --table 1, --table 2, "),
        ({"figures": ["training"]}, "--figure training cannot be by another score"),
        ({"tables": ["2"], "page": True}, "--page cannot be by another score"),
        ({"tables": ["2"], "score": "energy"}, r"none of the records has it \(they have: knn-5, msp\); add it to"),
        ({"tables": ["2"], "score": "foo"}, "unknown score 'foo'"),
    ],
)
def test_what_cannot_be_is_one_line(place: Path, asked: dict, line: str) -> None:
    with pytest.raises(BenchError, match=line) as caught:
        make(place, sweep=Path("sweeps/table2.yaml"), **{"score": "msp", **asked})
    assert "\n" not in str(caught.value) and not (place / "reports").exists()


def test_a_trained_run_without_the_score_is_missing_and_not_by_its_own() -> None:
    configs = [config(variant="dino"), config(variant="imgn")]
    made = [scored(configs[0]), record_of(configs[1], value)]
    (plain,) = group_runs(configs, made)
    group = by_score(plain, "knn-5")
    assert group.values("auroc", "cifar10", "svhn")["dino"].to_dict() == {0: 50.5}
    assert group.values("sensitivity", "cifar10")["dino"].to_dict() == {0: 62.0}
    assert group.values("auroc", "cifar10", "svhn")["imgn"].isna().all() and group.frame["epoch"].isna().all()
    assert group.values("sensitivity", "cifar10")["imgn"].isna().all()
    assert plain.values("auroc", "cifar10", "svhn")["dino"].to_dict() == pytest.approx({0: 110 - 99.38})


def test_a_reference_without_the_score_keeps_its_own() -> None:
    configs = [config(variant="dino"), config(method={"name": "image-statistics"})]
    (plain,) = group_runs(configs, [scored(one) for one in configs])
    group = by_score(plain, "msp")
    assert group.values("auroc", "cifar10", "svhn")["image-statistics"].to_dict() == {0: 50.0}
    assert group.heading == "by msp (image statistics by their own)"


def test_the_table_of_scores_says_how_each_orders_the_columns() -> None:
    configs = [config(variant=name, eval={"scores": ["msp", "knn-5"]}) for name in NAMES]
    [table] = scores(group_runs(configs, [scored(one) for one in configs])[0])
    near, everything = [note for note in table.notes if note.startswith("Kendall")]
    assert "n = 4, near: own -1.00 (p = 0.083), msp 1.00 (p = 0.083), knn-5 undefined (all equal)." in near
    paper = {name: published.average("cifar10", published.paper_sets("cifar10"), name) or 0.0 for name in NAMES}
    pairs = [math.copysign(1, paper[a] - paper[b]) for a, b in itertools.combinations(sorted(paper, key=paper.get), 2)]
    assert set(pairs) == {-1.0} and ", all: own -1.00 " in everything and "msp 1.00 " in everything


def test_one_class_has_its_table_by_the_score_and_no_claims_about_scores(place: Path) -> None:
    path = write_class_sweep(place, ["dino", "rot-in-dist"], ["cat", "dog"])
    path.write_text(path.read_text() + "base: {eval: {scores: [msp]}}\n")

    def record(config: RunConfig) -> Record:
        made = record_of(config, lambda c, ood: 40.0)
        by_msp = {o: m.model_copy(update={"auroc": 70.0 + len(config.in_dist)}) for o, m in made.own_score.ood.items()}
        return with_scores(made, {"msp": ScoreInRecord(ood=by_msp, sensitivity=50, passes=1)})

    write_runs(place / "results", path, record)
    asked = {"sweep": Path("sweeps/mine.yaml"), "score": "msp"}
    make(place, tables=["one-class"], **asked)
    table = pd.read_csv(place / "reports/mine/by-msp/table-one-class.csv")
    assert set(table[table.column == "dino"]["mean"]) == {70.0 + len("cifar10:cat")}
    with pytest.raises(BenchError, match="--score msp: the claims about single classes compare scores themselves"):
        make(place, claims=True, **asked)
    paths, _ = make(place, everything=True, **asked)
    assert not any("claims" in path for path in paths)


def test_each_methods_own_score_is_no_other_and_the_means_are_plain_ones() -> None:
    """Of the end of training, whatever was measured on the way."""
    configs = [config(variant=variant, seed=seed) for variant in ("dino", "imgn") for seed in (0, 1)]
    records = [record_of(one, lambda c, ood: 60.0 + c.seed + len(ood)) for one in configs]
    halfway = dict.fromkeys(records[0].own_score.ood, 33.0)
    early = IntermediateMeasures(epoch=1, knn_accuracy={}, ood=halfway, sensitivity=9)
    (group,) = group_runs(configs, [one.model_copy(update={"trajectory": [early]}) for one in records])
    assert by_score(group, OWN) is group
    cases = group.cases("cifar10")
    found = group.mean(cases)
    for key in ("dino", "imgn"):
        for seed in (0, 1):
            plain = mean(60.0 + seed + len(case.ood) for case in cases)
            assert found.whole.loc[seed, key] == pytest.approx(plain) == found.seeds(key)[seed]
