"""`report`: from result folders to files, with what is missing, mixed or broken on the way."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
from report_fakes import VARIANTS10, make, record_of, write_runs, write_sweep

from benchmark.errors import BenchError
from benchmark.report import build
from benchmark.report.figures import files
from benchmark.store.folders import RunFolder


def test_everything_from_the_papers_sweeps(place):
    two = write_sweep(place, variant=VARIANTS10)
    one = write_sweep(place, variant=["rot-imgn", "combined"], in_dist=["cifar10", "cifar100"], name="table1.yaml")
    write_runs(Path("results"), two)
    write_runs(Path("results"), one)
    names, text = make(place, tables=["1", "2"], figures=["2", "3"], claims=True)
    assert names == [
        "table1/table1.md", "table1/table1.csv", "table1/table1.tex", "table2/table2.md", "table2/table2.csv",
        "table2/table2.tex", "table2/figure2.png", "table2/figure2.svg", "table2/figure3.png", "table2/figure3.svg",
        "table1+table2/claims.md", "table1+table2/claims.csv",
    ]  # fmt: skip
    assert max(map(len, text.splitlines())) <= 80
    assert "Table 1." in text and "Table 2." in text and "18 claims:" in text
    assert not list((place / "reports").rglob("*.tmp"))


def test_a_named_sweep_picks_the_runs_and_the_folder(place):
    path = write_sweep(place, variant=["dino"], name="mine.yaml")
    write_runs(Path("results"), path)
    names, _ = make(place, tables=["2"], sweep=path)
    assert names == ["mine/table2.md", "mine/table2.csv", "mine/table2.tex"]


def test_records_of_several_folders_stand_in_one_table(place):
    path = write_sweep(place, variant=["dino", "imgn"])
    for name, sweep in (("one", write_sweep(place, variant=["dino"], name="one.yaml")), ("two", path)):
        write_runs(Path(name), sweep)
    asked = {"tables": ["2"], "figures": [], "claims": False, "sweep": path}
    counts = []
    for places in (Path("one"), [Path("one"), Path("two")]):
        build.report(places, Path("reports"), **asked)
        rows = list(csv.DictReader(Path("reports/table2/table2.csv").read_text().splitlines()))
        counts.append([(row["column"], row["n"]) for row in rows if row["ood"] == "cifar100"])
    assert counts[0] != counts[1] and {n for _, n in counts[1]} == {"1"}  # a record that is in both counts once
    with pytest.raises(BenchError, match=r"^three and four: no records for .*table2.yaml yet; run: bench sweep"):
        build.report([Path("three"), Path("four")], Path("reports"), **asked)


def test_a_page_of_several_folders_reads_each_record_where_it_lies(place):
    whole = write_sweep(place, variant=["dino", "imgn"])
    for name, variant in (("one", "dino"), ("two", "imgn")):
        write_runs(Path(name), write_sweep(place, variant=[variant], name=f"{name}.yaml"))
    lines = []
    for folder in (*Path("one").glob("*-dino-*"), *Path("two").glob("*-imgn-*")):
        rows = [json.dumps({"step": i, "epoch": i / 10, "loss": 9 - i / 9, "positive": 8.3}) for i in range(1, 31)]
        (folder / "metrics.jsonl").write_text("\n".join(rows))
        (page,) = build.report(
            [Path("one"), Path("two")], Path("reports"), tables=[], figures=[], claims=False, page=True, sweep=whole
        )
        lines.append(page.read_text().count('class="hit"'))
    assert 0 < lines[0] < lines[1]


def test_the_same_records_give_the_same_bytes(place):
    path = write_sweep(place, variant=["dino", "imgn", "dti"])
    write_runs(Path("results"), path)
    names, _ = make(place, tables=["2"], figures=["2"], claims=True, sweep=path)
    before = {name: (place / "reports" / name).read_bytes() for name in names}
    make(place, tables=["2"], figures=["2"], claims=True, sweep=path)
    assert before == {name: (place / "reports" / name).read_bytes() for name in names}


def test_figures_are_drawn_again_only_where_something_changed(place, monkeypatch):
    path = write_sweep(place, variant=["dino", "imgn", "dti"])
    records = write_runs(Path("results"), path)
    drawn: list[str] = []
    honest = files.content

    def noted(picture, *rest):
        drawn.append(picture.heading.partition(":")[0])
        return honest(picture, *rest)

    monkeypatch.setattr(files, "content", noted)

    def report() -> list[str]:
        drawn.clear()
        make(place, figures=["2", "3"], sweep=path)
        return list(drawn)

    folder = place / "reports" / path.stem
    assert report() == ["Figure 2", "Figure 3"] and report() == []
    png, svg = folder / "figure2.png", folder / "figure3.svg"
    whole = png.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-500] + bytes(400) + whole[-100:], b"no picture"):
        png.write_bytes(damaged)
        assert report() == ["Figure 2"] and png.read_bytes() == whole
    svg.write_text(svg.read_text()[:-20])
    assert report() == ["Figure 3"]
    svg.unlink()
    assert report() == ["Figure 3"] and svg.exists()
    record = next(record for record in records if record.config["variant"] == "imgn")
    file = RunFolder(Path("results") / record.name).record
    raw = json.loads(file.read_text())
    raw["scores"][raw["own"]]["sensitivity"] += 1
    file.write_text(json.dumps(raw))
    assert report() == ["Figure 2", "Figure 3"] and report() == []


def test_no_records_is_one_line_that_says_what_to_run(place):
    write_sweep(place, variant=["dino"])
    with pytest.raises(BenchError) as error:
        make(place, tables=["2"])
    assert str(error.value) == "results: no records for sweeps/table2.yaml yet; run: bench sweep sweeps/table2.yaml"
    assert not (place / "reports").exists()


def test_runs_made_with_set_are_found_with_the_same_set(place):
    path = write_sweep(place, variant=["dino"], extra="base: {train: {warmup_epochs: 1}}")
    short = write_sweep(place, variant=["dino"], extra="base: {train: {warmup_epochs: 1, epochs: 2}}", name="s.yaml")
    write_runs(Path("results"), short, lambda c: record_of(c) if c.variant == "dino" else None)
    with pytest.raises(BenchError, match="its 1 records are of other sweeps"):
        make(place, tables=["2"], sweep=path)
    _, text = make(place, tables=["2"], sweep=path, sets=["train.epochs=2"])
    assert "2 epochs" in text
    lacking = place / "lacking.yaml"  # what only --set gives
    lacking.write_text("base: {train: {warmup_epochs: 1}}\ngrid: {variant: [dino], seed: [0]}\n")
    make(place, page=True, sweep=lacking, sets=["train.epochs=2", "in_dist=cifar10"])


def test_one_sweep_without_records_does_not_hide_the_other(place):
    write_runs(Path("results"), write_sweep(place, variant=["dino"]))
    write_sweep(place, variant=["combined"], in_dist=["cifar100"], name="table1.yaml")
    names, text = make(place, tables=["1", "2"])
    assert names == ["table2/table2.md", "table2/table2.csv", "table2/table2.tex"]
    assert "no records for sweeps/table1.yaml yet" in text


def test_a_half_finished_sweep_reports_what_there_is(place):
    path = write_sweep(place, variant=VARIANTS10)
    write_runs(Path("results"), path, lambda c: record_of(c) if c.variant in ("dino", "imgn") else None)
    names, text = make(place, tables=["2"], figures=["2", "3"], claims=True, sweep=path)
    assert len(names) == 9
    joined = " ".join(text.split())
    assert "80 of 96 cells missing" in joined and "10 of 12 runs have no record yet" in joined
    assert "not judged" in text


def test_protocols_get_tables_of_their_own(place):
    path = write_sweep(place, variant=["dino", "imgn"], protocol=["paper", "authors"])
    write_runs(Path("results"), path)
    names, _ = make(place, tables=["2"], figures=["3"], claims=True, sweep=path)
    text = (place / "reports/table2/table2.md").read_text()
    assert text.count("## Table 2") == 2
    assert "### protocol = paper" in text and "### protocol = authors" in text
    assert "table2/figure3-2.png" in names
    rows = (place / "reports/table2/table2.csv").read_text().splitlines()
    assert len(rows) == len(set(rows))


def test_a_newer_schema_is_one_line(place):
    path = write_sweep(place, variant=["dino"])
    (record, *_) = write_runs(Path("results"), path)
    file = RunFolder(Path("results") / record.name).record
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 99}))
    with pytest.raises(BenchError, match="newer release") as error:
        make(place, tables=["2"])
    assert str(file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("asked", "line"), [({"tables": [3]}, "unknown table 3"), ({"figures": [1]}, "unknown figure 1")]
)
def test_unknown_tables_and_figures(place, asked, line):
    with pytest.raises(BenchError, match=line):
        make(place, **asked)


def test_the_papers_sweeps_are_those_of_this_folder_and_else_the_built_in_ones(place):
    assert build.find_sweep("table2") == Path("table2")
    with pytest.raises(BenchError, match=r"no records for table2 yet; run: bench sweep table2$"):
        build.report(Path("results"), Path("reports"), tables=["2"], figures=[], claims=False)
    write_sweep(place, variant=["dino"])
    assert build.find_sweep("table2") == Path("sweeps/table2.yaml")


def test_2000_records_take_less_than_5_seconds(place):
    path = write_sweep(place, variant=VARIANTS10, seed=list(range(200)))
    from benchmark.plan import sweep as sweeps

    for run in sweeps.load(path).runs:  # without fsync, which 4,000 times over is the slow part
        record = record_of(run.config)
        folder = RunFolder(Path("results") / record.name)
        folder.path.mkdir(parents=True)
        folder.config.write_text("{}")
        folder.record.write_text(record.model_dump_json())
    start = time.process_time()  # of this process alone: the machine may be busy
    make(place, tables=["2"], claims=True, sweep=path)
    seconds = time.process_time() - start
    print(f"2,000 records: {seconds:.1f} s")
    assert seconds < 5


def test_sweeps_stand_side_by_side_and_columns_are_left_out(place):
    one = write_sweep(place, variant=["dino", "imgn"], extra="references: [untrained]", name="one.yaml")
    two = write_sweep(place, variant=["rot-imgn", "rot-dti"], extra="references: [untrained]", name="two.yaml")
    for sweep in (one, two):
        write_runs(place / "results", sweep)

    def columns(**asked) -> set[str]:
        written, _ = make(place, tables=["2"], **asked)
        text = (place / "reports" / written[0]).with_suffix(".csv").read_text()
        return {row["column"] for row in csv.DictReader(text.splitlines())}

    assert columns(sweep=[one, two]) == {"dino", "imgn", "rot-imgn", "rot-dti", "untrained"}
    assert (place / "reports/one+two/table2.csv").exists()
    assert columns(sweep=one) == {"dino", "imgn", "untrained"}
    assert columns(sweep=[one, two], only=["rot-*", "dino"]) == {"dino", "rot-imgn", "rot-dti", "untrained"}
    with pytest.raises(BenchError, match="--only rotated: no column is called so; allowed: dino, imgn"):
        columns(sweep=one, only=["rotated"])


def test_only_names_columns_of_any_of_the_papers_sweeps(place):
    """Without a sweep a report is of several: a column that one of them has is no mistake in the others."""
    for name in ("table1", "table2"):
        write_runs(Path("results"), Path(name))
    for label, name in (("combined", "1"), ("imgn", "2"), ("rot-imgn", "1"), ("rot-imgn", "2")):
        files, _ = make(place, everything=True, only=[label])
        assert f"table{name}/table{name}.md" in files
        assert label in (place / f"reports/table{name}/table{name}.csv").read_text()
    with pytest.raises(BenchError, match=r"--only mirror: no column is called so; allowed: .*combined"):
        make(place, everything=True, only=["mirror"])
