"""`bench recommend` of a frozen network beside trained ones: by OOD images alone, with an interval."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run_bench
from report_fakes import record_of, write_runs
from scipy import stats
from sklearn.metrics import roc_auc_score

from benchmark.advise import recommend as choosing
from benchmark.advise import wording
from benchmark.advise.frozen import Against, Beside
from benchmark.plan.config import RunConfig
from benchmark.report.intervals import delong, delong_of_means, hanley_mcneil
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record

SWEEP = """
base: {{in_dist: pets, eval: {{ood: [{ood}]}}}}
grids:
  - base:
      method: {{name: frozen}}
      model: {{backbone: resnet10t, weights: w.pth, weights_sha256: {sha}, pretraining: supervised,
              mean: [0, 0, 0], std: [1, 1, 1], interpolation: bicubic}}
      views: {{global_size: 64}}
  - grid: {{variant: [dino, rot-in-dist], seed: [0, 1, 2]}}
references: [image-statistics]
"""
FROZEN, LEVELS = 80.0, {"dino": 70.0, "rot-in-dist": 79.5, "image-statistics": 55.0}
STEP = {0: -1.0, 1: 0.0, 2: 1.0}


def level(run: RunConfig, ood: str) -> float:
    """Of the frozen network 80, and 84 on dogs; of the others less, by seed."""
    if run.method.name == "frozen":
        return FROZEN + 4 * (ood == "pets-dogs")
    return LEVELS[run.label] + STEP[run.seed] * (run.label != "image-statistics")


def place(folder: Path, monkeypatch: pytest.MonkeyPatch, ood: str = "pets-cats, pets-dogs", only: str = "") -> Path:
    monkeypatch.chdir(folder)
    sweep = folder / "pets.yaml"
    sweep.write_text(SWEEP.format(ood=ood, sha="0" * 64))

    def make(run: RunConfig) -> Record | None:
        return record_of(run, level, sensitivity=60.0 + run.seed) if only in run.label else None

    write_runs(folder / "results", sweep, make)
    return sweep


def advised(sweep: Path) -> tuple[Any, Beside]:
    advice = choosing.recommend(sweep, sweep.parent / "results")
    [one] = advice.frozen
    return advice, one


def test_it_is_not_ranked_by_sensitivity_and_is_told_by_ood_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advice, one = advised(place(tmp_path, monkeypatch))
    [ranking] = advice.rankings
    assert {rank.label for rank in ranking.places} == {"dino", "rot-in-dist"} == set(ranking.costs)
    assert "frozen" not in ranking.settings and "views" in ranking.settings
    assert (one.label, one.learns_from, one.parts) == ("frozen", "pretrained (supervised)", ("cats", "dogs", "mean"))
    assert one.aurocs == {"cats": 80.0, "dogs": 84.0, "mean": 82.0}
    assert [(other.label, other.learns_from, other.n) for other in one.others] == [
        ("rot-in-dist", "scratch", 3), ("dino", "scratch", 3)
    ]  # fmt: skip
    near, far = one.others
    assert (near.ahead, far.ahead) == pytest.approx((2.5, 12.0))
    # Scores are not kept here: of seeds that differ by one point, t of two degrees of freedom.
    assert near.half == pytest.approx(stats.t.ppf(0.975, 2) / 3**0.5) and near.how == "seeds"
    p = stats.ttest_1samp([81.0 - 9, 82.0 - 9, 83.0 - 9], 82.0 - 9 - 2.5).pvalue
    assert near.p == pytest.approx(p) and far.p == pytest.approx(2 * stats.t.sf(12 * 3**0.5, 2) * 2)
    assert (near.verdict, far.verdict) == ("frozen ahead" if p < 0.05 else "within noise", "frozen ahead")


def keep_scores(sweep: Path, spread: float) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """Scores of the images of every run of a network; a part is common to all of them."""
    rng, kept = np.random.default_rng(0), {}
    sizes = {"pets/train": 90, "pets/test": 60, "pets-cats/test": 40, "pets-dogs/test": 50}
    common = {key: rng.normal(size=n) for key, n in sizes.items()}
    for folder in (sweep.parent / "results").iterdir():
        record = RunFolder(folder).read_record()
        assert record is not None
        config = record.run_config
        if config.label == "image-statistics":
            continue
        shift = {"frozen": 1.5, "rot-in-dist": 1.2, "dino": 0.2}[config.label]
        kept[config.label, config.seed] = {
            key: rows + spread * rng.normal(size=len(rows)) + shift * ("pets/" not in key)
            for key, rows in common.items()
        }
        np.savez(RunFolder(folder).scores, **kept[config.label, config.seed])
    return kept


def test_with_the_scores_of_the_images_the_wider_of_seeds_and_images_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = place(tmp_path, monkeypatch)
    kept = keep_scores(sweep, 0.8)

    def pairs(label: str, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        of = kept[label, seed]
        return [(of["pets/test"], of[f"pets-{name}/test"]) for name in ("cats", "dogs")]

    _, one = advised(sweep)
    far = next(other for other in one.others if other.label == "dino")
    error = np.mean([delong_of_means(pairs("frozen", 0), pairs("dino", seed)) for seed in range(3)])
    assert far.how == "images" and far.half == pytest.approx(1.96 * error, rel=1e-3)
    assert far.half > stats.t.ppf(0.975, 2) / 3**0.5


def test_the_error_of_a_difference_of_means_is_a_bootstraps() -> None:
    rng = np.random.default_rng(1)
    inside, outside = rng.normal(size=(2, 80)), [rng.normal(size=(2, n)) + 0.8 for n in (40, 60)]
    inside[1] = 0.6 * inside[0] + 0.8 * inside[1]
    one, other = ([(inside[side], rows[side]) for rows in outside] for side in (0, 1))
    assert delong_of_means(one[:1], other[:1]) == pytest.approx(delong(one[0], other[0]))

    def mean(side: int, rows: np.ndarray, columns: list[np.ndarray]) -> float:
        of = [(inside[side][rows], each[side][place]) for each, place in zip(outside, columns, strict=True)]
        return float(np.mean([100 * roc_auc_score(np.r_[0 * a, 0 * b + 1], np.r_[a, b]) for a, b in of]))

    drawn = [(rng.integers(0, 80, 80), [rng.integers(0, n, n) for n in (40, 60)]) for _ in range(400)]
    steps = [mean(0, *where) - mean(1, *where) for where in drawn]
    assert delong_of_means(one, other) == pytest.approx(np.std(steps), rel=0.12)


def test_without_ood_images_nothing_is_claimed_and_both_commands_stand_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = place(tmp_path, monkeypatch, ood="")
    advice, one = advised(sweep)
    assert one.parts == () and not one.is_told and all(other.p is None for other in one.others)
    assert one.error == pytest.approx(1.96 * hanley_mcneil(one.sensitivity, *one.counts))
    assert advice.rankings[0].places
    said = run_bench(monkeypatch, capsys, "recommend", sweep)
    words = " ".join(said.out.split())
    assert "Without OOD images nothing here tells whether it or a trained network detects better" in words
    assert "is 50 but for chance however well it detects" in words
    assert "What to do now: export the first" in words or "take the frozen network below, or export the first" in words
    assert "Or: export the frozen network, which nothing here compares with trained ones: bench export pets-f" in words


@pytest.mark.parametrize("only", ["frozen", ""])
def test_the_last_line_is_the_command_for_the_better_one(
    only: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = place(tmp_path, monkeypatch, only=only)
    said = run_bench(monkeypatch, capsys, "recommend", sweep)
    last = said.out.strip().splitlines()[-1]
    assert (
        said.code == 0 and last.startswith("What to do now: export the frozen network") and last.count("bench export")
    )
    assert said.out.count("bench export") == 1
    assert ("No trained network is done to compare it with" in " ".join(said.out.split())) == bool(only)
    LEVELS["dino"], before = 95.0, LEVELS["dino"]
    try:
        said = run_bench(monkeypatch, capsys, "recommend", place(tmp_path, monkeypatch))
    finally:
        LEVELS["dino"] = before
    assert "bench export pets-frozen" not in said.out and "frozen behind" in said.out


@pytest.mark.parametrize(
    ("ahead", "p", "verdict"),
    [(3.0, 0.04, "frozen ahead"), (-3.0, 0.04, "frozen behind"), (3.0, 0.06, "within noise"), (None, None, "")],
)
def test_what_a_difference_is_called(ahead: float | None, p: float | None, verdict: str) -> None:
    assert Against("dino", "scratch", 3, {}, ahead, 1.0, p).verdict == verdict


def test_what_other_records_say_of_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = place(tmp_path, monkeypatch)
    advice = choosing.recommend(sweep, tmp_path / "results", tmp_path / "results")
    [told] = advice.told
    assert told.startswith(
        "on pets (n = 1) resnet10t, frozen, weights sha256 00000000, 64 px has a mean AUROC of 82.0,"
    )
    assert told.endswith("the best network trained on those images alone 79.5")
    write_runs(tmp_path / "others", sweep, lambda run: record_of(run, level, prints={"pets/test": run.label}))
    assert choosing.recommend(sweep, tmp_path / "results", tmp_path / "others").told == ()
    text = wording.markdown(advice)
    assert "mean AUROC of 82.0" in text and "from weights trained elsewhere, with labels" in text


def test_means_are_over_the_same_sets_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained runs that have not been scored on dogs yet: their mean is of nothing, not of cats alone."""
    sweep = place(tmp_path, monkeypatch)
    shutil.rmtree(tmp_path / "results")

    def partly(run: RunConfig, ood: str) -> float | None:
        return None if ood == "pets-dogs" and run.label == "dino" else level(run, ood)

    write_runs(tmp_path / "results", sweep, lambda run: record_of(run, partly))
    _, one = advised(sweep)
    by_label = {other.label: other for other in one.others}
    assert by_label["dino"].aurocs == {"cats": 70.0} and by_label["dino"].p is None
    assert by_label["rot-in-dist"].ahead == pytest.approx(2.5)


def test_one_ood_image_is_judged_by_the_numbers_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = place(tmp_path, monkeypatch, ood="pets-cats")
    keep_scores(sweep, 0.8)
    for folder in (tmp_path / "results").iterdir():
        if (folder / "scores.npz").exists():
            arrays = dict(np.load(folder / "scores.npz"))
            np.savez(folder / "scores.npz", **arrays | {"pets-cats/test": arrays["pets-cats/test"][:1]})
    _, one = advised(sweep)
    assert all(other.how == "seeds" and 0 < (other.p or 0) <= 1 for other in one.others)
    assert np.isnan(delong((np.arange(5.0), np.ones(1)))) and np.isnan(delong((np.ones(1), np.arange(5.0))))
    sweep.write_text(sweep.read_text().replace("[0, 1, 2]", "[0]"))
    _, one = advised(sweep)
    assert {other.how for other in one.others} == {"numbers of images"}


def test_other_records_are_held_by_recipe_and_each_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DINO of two lengths is two networks, of which one may be the best; a run in two folders is one."""
    sweep, longer = place(tmp_path, monkeypatch), tmp_path / "longer.yaml"
    longer.write_text(sweep.read_text().replace("- grid:", "- base: {train: {epochs: 400}}\n    grid:"))

    def better(run: RunConfig, ood: str) -> float:
        return level(run, ood) + 12.0 * (run.label == "dino")

    for name in ("one", "two"):
        write_runs(tmp_path / "others" / name, longer, lambda run: record_of(run, better))
    write_runs(tmp_path / "others" / "short", sweep, lambda run: record_of(run, level))
    [told] = choosing.recommend(sweep, tmp_path / "results", tmp_path / "others").told
    assert "(n = 1)" in told and told.endswith("the best network trained on those images alone 82.0")
