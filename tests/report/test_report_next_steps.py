"""What commands choose when nobody has said it: the score of a detector, the sweep of a report; and what is next."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from command import run_bench
from report_fakes import config, record_of, write_runs, write_sweep
from test_report_advice import of, ranking

from benchmark.advise import wording
from benchmark.advise.supported import supported
from benchmark.advise.wording import Advice, Stand, brief, sections, to_do
from benchmark.plan.config import RunConfig
from benchmark.report.here import sweeps_here
from benchmark.store.folders import RunFolder
from benchmark.store.measurements import load_records
from benchmark.store.records import Record, ScoreInRecord

RESNET = {"backbone": "resnet10t"}


def scored(run: RunConfig, **gains: float) -> Record:
    """A record whose further scores are so many points above Eq. 6 on every set."""
    made = record_of(run, lambda _, ood: 60.0)
    further = {}
    for name, gain in gains.items():
        ood = {key: seen.model_copy(update={"auroc": seen.auroc + gain}) for key, seen in made.own_score.ood.items()}
        further[name.replace("_", "-")] = ScoreInRecord(ood=ood, sensitivity=50, passes=1)
    return made.model_copy(update={"scores": made.scores | further})


def write(folder: Path, *records: Record) -> None:
    for number, record in enumerate(records):
        place = RunFolder(folder / f"{record.name}-{number:08x}")
        place.write_config(record.run_config)
        place.write_record(record)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """Records with negatives of both kinds of statistics, and DINO's without: msp gains where eq6-confident loses."""
    place = tmp_path / "reference"
    for variant, msp, confident in (("imgn", 6.0, 1.0), ("rot-imgn", 5.0, -3.0), ("rot-in-dist", -1.0, -2.0),
                                    ("dti", 4.0, -4.0)):  # fmt: skip
        write(place / f"a-{variant}", scored(config(variant=variant, model=RESNET), msp=msp, eq6_confident=confident))
        older = config(variant=variant, model=RESNET | {"batch_statistics": "positives"})
        write(place / f"b-{variant}", scored(older, msp=msp, eq6_confident=30 + confident))
    write(place / "c", scored(config(variant="dino", model=RESNET), msp=9.0))
    return place


def test_the_score_that_records_of_such_runs_support(reference: Path) -> None:
    new = scored(config(variant="combined", model=RESNET), msp=-20.0, eq6_confident=20.0)  # its own sets have no say
    chosen = supported(new, reference)
    assert chosen.score == "msp" and "mean AUROC is 3.5 points above Eq. 6's, and it is above in 3 of 4" in chosen.why
    older = config(variant="combined", model=RESNET | {"batch_statistics": "positives"})
    assert supported(scored(older, msp=0.0, eq6_confident=0.0), reference).score == "eq6-confident"
    assert supported(scored(older, msp=0.0), reference).score == "msp"  # of those that the run has


def test_eq_6_stays_where_nothing_is_clearly_above_it(reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run, scores in (
        (config(variant="imgn", model=RESNET), {"eq6_confident": 9.0}),  # 1 of 4 is above
        (config(variant="dino", model=RESNET), {"msp": 9.0}),  # one record is too few
        (config(variant="imgn"), {"msp": 9.0}),  # a ViT: of its kind there is none
        (config(variant="imgn", model=RESNET), {}),
    ):
        chosen = supported(scored(run, **scores), reference)
        assert chosen.score == "eq6" and "no other of this run is clearly above it" in chosen.why
    monkeypatch.setattr("benchmark.advise.supported.reference_folder", lambda given: None)
    assert "are not here" in supported(scored(config(variant="imgn", model=RESNET), msp=9.0)).why


def test_a_small_mean_gain_is_none(tmp_path: Path) -> None:
    write(tmp_path / "r", *(scored(config(variant=v, model=RESNET), msp=0.9) for v in ("imgn", "dti", "rot-dti")))
    assert supported(scored(config(variant="imgn", model=RESNET), msp=0.9), tmp_path / "r").score == "eq6"


def test_one_large_gain_among_losses_is_none(tmp_path: Path) -> None:
    gains = {"imgn": 20.0, "dti": -1.0, "rot-dti": -1.0, "rot-imgn": -1.0}  # 4.25 in the mean, above in one of four
    write(tmp_path / "r", *(scored(config(variant=v, model=RESNET), msp=gain) for v, gain in gains.items()))
    assert supported(scored(config(variant="combined", model=RESNET), msp=0.0), tmp_path / "r").score == "eq6"


def test_a_folder_with_many_runs_weighs_no_more_than_another(tmp_path: Path) -> None:
    variants = ["imgn", "dti", "rot-imgn", "rot-dti", "rot-in-dist"]
    many = [scored(config(variant=v, model=RESNET), msp=2.0, energy=1.5) for v in variants]
    write(tmp_path / "r/a", *many)
    write(tmp_path / "r/b", scored(config(variant="imgn", model=RESNET, seed=1), msp=1.0, energy=9.0))
    chosen = supported(scored(config(variant="combined", model=RESNET), msp=0.0, energy=0.0), tmp_path / "r")
    assert chosen.score == "energy" and "5.2 points" in chosen.why  # (1.5 + 9) / 2, where msp has 1.5


def test_a_score_over_copies_is_supported_by_runs_with_such_negatives_alone(tmp_path: Path) -> None:
    made = [config(variant="perm-4-in-dist", model=RESNET, seed=seed) for seed in range(3)]
    write(tmp_path / "r", *(scored(one, energy_gap_permutations=9.0, msp=2.0) for one in made))

    def chosen(variant: str) -> str:
        own = scored(config(variant=variant, model=RESNET, seed=9), energy_gap_permutations=0.0, msp=0.0)
        return supported(own, tmp_path / "r").score

    assert chosen("rot-in-dist") == "msp" and chosen("perm-16-imgn") == "energy-gap-permutations"


def test_a_run_has_no_say_in_its_own_choice_and_none_counts_twice(tmp_path: Path) -> None:
    records = [scored(config(variant="imgn", model=RESNET, seed=seed), msp=9.0) for seed in range(3)]
    for folder in ("a", "b"):
        write(tmp_path / "r" / folder, *records[:2])
    assert supported(scored(config(variant="dti", model=RESNET), msp=0.0), tmp_path / "r").score == "eq6"  # 2 of them
    write(tmp_path / "r/b", records[2])
    assert supported(records[2], tmp_path / "r").score == "eq6"
    assert supported(scored(config(variant="dti", model=RESNET), msp=0.0), tmp_path / "r").score == "msp"


def test_of_two_scores_that_gain_as_much_the_runs_first_is_taken(tmp_path: Path) -> None:
    names = ["msp", "energy", "max_logit", "cosine", "mahalanobis", "eq6_confident"]
    gains = dict.fromkeys(names, 5.0)
    write(tmp_path / "r", *(scored(config(variant="imgn", model=RESNET, seed=seed), **gains) for seed in range(3)))
    for order in (names, names[::-1]):
        own = scored(config(variant="dti", model=RESNET), **dict.fromkeys(order, 0.0))
        assert supported(own, tmp_path / "r").score == order[0].replace("_", "-")


def test_other_methods_keep_their_score(reference: Path) -> None:
    run = config(method={"name": "rotation"}, train={"epochs": 50})
    assert supported(record_of(run), reference).score == "rotation-prediction"


# --- what is here -------------------------------------------------------------------------------------------------


def test_a_report_without_a_sweep_takes_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_bench(monkeypatch, capsys, "report").code == 2
    mine = write_sweep(tmp_path, variant=["dino", "imgn"], name="mine.yaml", extra="references: []")
    mine.write_text(mine.read_text() + "base: {train: {epochs: 60}}\n")
    more = write_sweep(tmp_path, variant=["dti"], name="more.yaml", extra="base: {train: {epochs: 61}}")
    write_sweep(tmp_path, variant=["dino", "imgn", "rot-imgn"], name="wider.yaml",
                extra="base: {train: {epochs: 60}}")  # fmt: skip
    write_runs(Path("results"), mine)
    write_runs(Path("results"), more, lambda run: record_of(run) if run.method.trains else None)
    here = Path("sweeps/mine.yaml"), Path("sweeps/more.yaml")
    paper = [Path("table1"), Path("table2")]
    assert sweeps_here(load_records(Path("results")), paper, None, None) == [
        *here
    ]  # not wider.yaml, of which less is done
    said = run_bench(monkeypatch, capsys, "report", "--table", "2")
    assert said.code == 0 and "those of sweeps/mine.yaml, sweeps/more.yaml" in said.out, said
    assert {path.parent.name for path in Path("reports").glob("*/table2.md")} == {"mine", "more"}
    write_runs(Path("results"), Path("table2"), lambda run: record_of(run) if run.variant == "dti" else None)
    assert sweeps_here(load_records(Path("results")), paper, None, None) == []  # the paper's own come first


# --- recommend ----------------------------------------------------------------------------------------------------


def test_recommend_says_little_and_what_to_do() -> None:
    one = ranking(of("dino", 60.0, 60.1, 59.9), of("imgn", 50.0, 50.2, 49.9), of("rot-imgn", 59.9, 60.3, 59.5))
    short, long = brief(Advice("mine", (one,), None, ())), sections(Advice("mine", (one,), None, ()))
    assert len(short) == 1 and short[0].rows == long[0].rows and short[0].notes[:1] == long[0].notes[:1]
    assert [note.partition(":")[0] for note in short[0].notes[1:]] == ["sensitivity", "lost mean"]
    assert to_do(one) == "export the first; another is within noise of it and as good a choice"
    assert to_do(ranking(of("dino", 60.0, 60.1, 59.9), of("imgn", 50.0, 50.2, 49.9))) == "export the first"
    assert to_do(ranking(of("dino", 50.1), of("imgn", 49.9))).startswith("train longer (--set train.epochs=N) before")
    few = ranking(of("dino", 50.1, counts=(250, 63)), of("imgn", 49.9, counts=(250, 63)))
    assert to_do(few).startswith("250 images are too few to choose by sensitivity; take a frozen network instead")
    assert "; take the frozen network below, or export" in to_do(few, has_frozen=True)


def test_the_strongest_word_on_the_rule_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    stands = {"a": Stand(2, "no evidence for or against the rule", []), "b": Stand(1, "the rule holds on CIFAR100", []),
              "c": Stand(0, "the rule points the WRONG way", [])}  # fmt: skip
    monkeypatch.setattr(wording, "_stand", lambda trial: stands[trial.name])
    trials = tuple(SimpleNamespace(name=name) for name in stands)
    [section] = brief(Advice("mine", (ranking(of("dino", 60.0), of("imgn", 50.0)),), None, trials))
    order = [section.notes[-1].index(f"({name})") for name in "cba"]
    assert order == sorted(order) and "records: the rule points the WRONG way (c); " in section.notes[-1]


def test_the_untrained_row_is_not_counted_among_the_trained() -> None:
    one = ranking(of("dino", 50.1), of("imgn", 49.9))
    notes = " ".join(wording._main_notes(one))
    assert "The sensitivity of every trained variant is within ±2.6 of 50" in notes and "Every sensitivity" not in notes
