"""`bench report --table scores`: against means taken by hand of invented records."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path
from statistics import mean, stdev

import pandas as pd
import pytest
from one_class_fakes import T975, runs
from page_fakes import rendered
from report_fakes import config, make, record_of, with_scores, write_runs, write_sweep
from rich.console import Console

from benchmark.errors import BenchError
from benchmark.plan.config import RunConfig
from benchmark.report import build
from benchmark.report.grouping import class_groups, group_runs
from benchmark.report.page import tables
from benchmark.report.tables.cells import Cell
from benchmark.report.tables.scores import _block, scores
from benchmark.report.tables.text import as_csv, markdown
from benchmark.store.records import OODMetrics, Record, ScoreInRecord

ASKED = ["knn-5", "eq6-rotations"]


def invented(config: RunConfig, score: str, ood: str) -> float:
    """An AUROC that is different for each score, set, label and seed."""
    return 50 + 3 * len(score) + len(ood) + len(config.label) / 4 + (0.5, -0.3, 1.1)[config.seed]


def scored(config: RunConfig, without: str = "") -> Record:
    """The record of a run that has all scores it is asked for but `without`."""
    record = record_of(config, lambda c, ood: invented(c, "", ood))

    def measured(score: str) -> dict[str, OODMetrics]:
        return {o: m.model_copy(update={"auroc": invented(config, score, o)}) for o, m in record.own_score.ood.items()}

    wanted = [name for name in config.scores() if name != without]
    return with_scores(record, {n: ScoreInRecord(ood=measured(n), sensitivity=50, passes=1) for n in wanted})


OODS = ["cifar100", "svhn", "texture"]


def of_sets(label: str, seed: int) -> RunConfig:
    return config(variant=label, seed=seed, eval={"ood": OODS, "scores": ASKED})


def test_on_the_page_a_block_is_named_once_and_a_turned_column_by_its_own() -> None:
    configs = [of_sets(label, 0) for label in ("dino", "rot-in-dist")]
    [table] = scores(group_runs(configs, [scored(one) for one in configs])[0])
    plain, turned = re.findall(r"<table.*?</table>", rendered("tables", tables.shown([table])), re.DOTALL)
    names = ["own", "knn-5", "eq6-rotations, 4 passes"]
    blocks = ["near (CIFAR100)", "far (SVHN, Texture)", "all (3 sets)"]
    shown = [title for block in blocks for title in (block, *names)]
    assert re.findall(r'<th scope="row">(.*?)</th>', plain) == [*shown, "n (runs)"]
    headings = [html.unescape(text) for text in re.findall(r"<button[^>]*>(.*?)</button>", turned)]
    assert [text.replace("\N{NON-BREAKING HYPHEN}", "-") for text in headings] == [
        "variant", *(f"{name}, {part}" for part in ("near", "far", "all") for name in names), "n (runs)"
    ]  # fmt: skip


def test_whole_sets_near_far_and_all() -> None:
    configs = [of_sets(label, seed) for label in ("dino", "rot-in-dist") for seed in (0, 1, 2)]
    configs.append(configs[0].reference("image-statistics"))
    [table] = scores(group_runs(configs, [scored(one) for one in configs])[0])
    rows = {row.key: row for row in table.rows}
    assert list(table.columns) == ["dino", "rot-in-dist", "image-statistics"]
    for part, sets in (("near", OODS[:1]), ("far", OODS[1:]), ("all", OODS)):
        for key, score in (("own", ""), ("knn-5", "knn-5"), ("eq6-rotations", "eq6-rotations")):
            for label in ("dino", "rot-in-dist"):
                by_seed = [mean(invented(of_sets(label, s), score, ood) for ood in sets) for s in (0, 1, 2)]
                cell = rows[f"{part}:{key}"].cells[label]
                assert cell.ours is not None and cell.ours.mean == pytest.approx(mean(by_seed)) and cell.ours.n == 3
                assert cell.ours.half == pytest.approx(T975[2] * stdev(by_seed) / 3**0.5)
                assert cell.best == (key == "eq6-rotations")  # the longest name has the highest invented value
        assert rows[f"{part}:knn-5"].cells["image-statistics"].ours is None
        assert rows[f"{part}:own"].cells["image-statistics"].ours is not None
    assert rows["n"].texts == {"dino": "3", "rot-in-dist": "3", "image-statistics": "1"}
    assert any(note.startswith("± is half of the 95% Student-t interval") for note in table.notes)
    assert rows["near"].title == "near (CIFAR100)" and rows["all"].title == "all (3 sets)"
    assert rows["far:eq6-rotations"].title == "eq6-rotations, 4 passes" and rows["far:knn-5"].title == "knn-5"


def test_test_images_before_other_backgrounds_are_a_control_and_in_no_mean() -> None:
    def asked(label: str, oods: list[str]) -> RunConfig:
        return config(variant=label, eval={"ood": oods, "scores": ASKED})

    control = "cifar10-other-backgrounds"
    [plain], [table] = (
        scores(group_runs(some, [scored(one) for one in some])[0])
        for some in ([asked(label, oods) for label in ("dino", "rot-in-dist")] for oods in (OODS, [control, *OODS]))
    )
    rows = {row.key: row for row in table.rows}
    values = {row.key: [cell.ours for cell in row.cells.values()] for row in plain.rows}
    assert {key: [cell.ours for cell in rows[key].cells.values()] for key in values} == values
    for key, score in (("own", ""), ("knn-5", "knn-5"), ("eq6-rotations", "eq6-rotations")):
        cell = rows[f"control:{key}"].cells["dino"]
        assert cell.ours is not None and not cell.best
        assert cell.ours.mean == pytest.approx(invented(asked("dino", OODS), score, control))
    assert rows["control"].title == "control (CIFAR10 before other backgrounds)"
    assert any(note.startswith("control: ") for note in table.notes)
    assert not any(note.startswith("control: ") for note in plain.notes)
    assert not any("not the same images" in note for note in table.notes)

    both = [asked(label, [control, *OODS]) for label in ("dino", "rot-in-dist", "imgn")]
    records = [scored(one) for one in both]
    for key, groups in ((f"{control}/test", 1), ("cifar100/test", 2)):
        anew = records[1].data[key].model_copy(update={"fingerprint": "abcdef0123"})
        other = records[1].model_copy(update={"data": records[1].data | {key: anew}})
        found = group_runs(both, [records[0], other, records[2]])
        assert len(found) == groups
        mine = records[0].data[key].fingerprint[:8]
        said = "CIFAR10 before other backgrounds: not the same images in every column: sha256 "
        notes = scores(found[0])[0].notes
        assert (f"{said}abcdef01 in Rot. In-Dist.; {mine} elsewhere." in notes) == (groups == 1)


def test_classes_are_averaged_seed_by_seed_and_what_is_not_scored_is_starred() -> None:
    classes = ("bird", "horse")
    configs = runs(["rot-in-dist", "dino"], classes, seeds=(0, 1))
    asked = [one.model_copy(update={"eval": one.eval.model_copy(update={"scores": ASKED})}) for one in configs]
    records = [
        scored(one, "knn-5" if one.label == "dino" and one.in_dist == "cifar10:bird" and one.seed else "")
        for one in asked
    ]
    [table] = scores(class_groups(asked, records)[0])
    rows = {row.key: row for row in table.rows}

    def by_hand(label: str, score: str, of: tuple[str, ...], seed: int) -> float:
        found = [one for one in asked if one.label == label and one.seed == seed]
        return mean(invented(one, score, f"cifar10:not-{one.in_dist[8:]}") for one in found if one.in_dist[8:] in of)

    for key, score in (("own", ""), ("knn-5", "knn-5"), ("eq6-rotations", "eq6-rotations")):
        for label in ("rot-in-dist", "dino"):
            part = classes[1:] if (label, score) == ("dino", "knn-5") else classes
            cell = rows[f"near:{key}"].cells[label]
            assert cell.ours is not None
            assert cell.ours.mean == pytest.approx(mean(by_hand(label, score, part, seed) for seed in (0, 1)))
            assert cell.over == (1 if len(part) == 1 else 0)
    assert "* over the classes that have been scored so: DINO, knn-5: 1 of 2; never bold." in table.notes
    assert rows["n"].texts == {"rot-in-dist": "2", "dino": "2"}
    text = markdown(table)
    assert "eq6-rotations, 4 passes" in text and "mean of 2 classes" in text
    frame = pd.read_csv(io.StringIO(as_csv([table])))
    assert set(frame["ood"]) == {"near:own", "near:knn-5", "near:eq6-rotations"}


def test_a_mean_over_part_of_the_classes_is_never_the_best() -> None:
    cells = {"own": Cell({0: 45.5}), "knn-5": Cell({0: 59.7}, over=3), "cosine": Cell({0: 44.0})}
    rows = _block("cifar10", "near", "mean of 10 classes", {score: {"dino": cell} for score, cell in cells.items()})
    assert {row.key: row.cells["dino"].best for row in rows[1:]} == {
        "near:own": True, "near:knn-5": False, "near:cosine": False
    }  # fmt: skip


def test_rows_of_one_column_over_fewer_seeds_are_said() -> None:
    configs = [of_sets("dino", seed) for seed in (0, 1, 2)]
    records = [scored(one, "knn-5" if one.seed == 2 else "") for one in configs]
    [table] = scores(group_runs(configs, records)[0])
    said = "n differs within a column: DINO: knn-5 n = 2, the rest n = 3."
    assert said in table.notes
    far = [one.model_copy(update={"eval": one.eval.model_copy(update={"ood": OODS[1:]})}) for one in configs]
    [table] = scores(group_runs(far, [scored(one, "knn-5" if one.seed == 2 else "") for one in far])[0])
    assert said in table.notes and "far" in {row.block for row in table.rows}


def test_the_command_writes_the_table_and_it_fits_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    extra = f"base: {{eval: {{ood: [{', '.join(OODS)}], scores: [{', '.join(ASKED)}]}}}}"
    sweep = write_sweep(tmp_path, variant=["dino", "rot-in-dist", "rot-imgn"], extra=extra, name="mine.yaml")
    write_runs(tmp_path / "results", sweep, scored)
    _, printed = make(tmp_path, tables=["scores"], sweep=sweep)
    assert max(map(len, printed.splitlines())) <= 80 and "eq6-rotations" in printed
    assert (tmp_path / "reports/mine/table-scores.md").exists()
    assert (tmp_path / "reports/mine/table-scores.tex").read_text().count(r"\begin{tabular}") == 1


def test_the_page_shows_it_where_there_are_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    extra = f"base: {{eval: {{ood: [{', '.join(OODS)}], scores: [{', '.join(ASKED)}]}}}}"
    for name, more, shown in (("with.yaml", extra, True), ("without.yaml", "", False)):
        sweep = write_sweep(tmp_path, variant=["dino", "rot-in-dist"], extra=more, name=name)
        write_runs(tmp_path / "results" / name, sweep, scored)
        build.report(tmp_path / "results" / name, tmp_path / "reports", tables=[], figures=[], claims=False, page=True,
                     sweep=sweep, show=Console(file=io.StringIO()))  # fmt: skip
        text = (tmp_path / "reports" / sweep.stem / "page.html").read_text()
        assert ("Table of scores" in text) == shown and ("eq6-rotations, 4 passes" in text) == shown
        assert text.count('id="table-scores-0"') == shown == text.count('href="#table-scores-0"')


def test_without_scores_there_is_no_such_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = write_sweep(tmp_path, variant=["dino"], name="mine.yaml")
    write_runs(tmp_path / "results", sweep)
    with pytest.raises(
        BenchError, match=r"table scores: no run of mine has further scores of an OOD set; name some in eval\.scores"
    ):
        make(tmp_path, tables=["scores"], sweep=sweep)
    make(tmp_path, tables=[], everything=True, sweep=sweep)
    assert not list((tmp_path / "reports/mine").glob("table-scores*"))
    assert (tmp_path / "reports/mine/table2.md").exists()


def test_without_ood_sets_there_is_no_table_of_scores() -> None:
    one = config(variant="dino", eval={"ood": [], "scores": ASKED})
    assert scores(group_runs([one], [record_of(one)])[0]) == []


def test_a_score_that_lacks_a_set_has_no_mean_over_it() -> None:
    configs = [of_sets(label, 0) for label in ("dino", "rot-in-dist")]
    records = [scored(one) for one in configs]
    less = records[0].scores["knn-5"]
    less = less.model_copy(update={"ood": {ood: m for ood, m in less.ood.items() if ood != "svhn"}})
    records[0] = records[0].model_copy(update={"scores": records[0].scores | {"knn-5": less}})
    [table] = scores(group_runs(configs, records)[0])
    of_dino = {row.key: row.cells["dino"].ours for row in table.rows if row.cells}
    assert of_dino["near:knn-5"] is not None and of_dino["far:knn-5"] is None and of_dino["all:knn-5"] is None
    assert of_dino["far:own"] is not None and of_dino["far:eq6-rotations"] is not None


def test_scores_that_print_the_same_are_both_bold() -> None:
    cells = {"own": Cell({0: 59.74}), "knn-5": Cell({0: 59.66}), "cosine": Cell({0: 59.64})}
    rows = _block("cifar10", "all", "all", {score: {"dino": cell} for score, cell in cells.items()})
    assert [row.cells["dino"].best for row in rows[1:]] == [True, True, False]
