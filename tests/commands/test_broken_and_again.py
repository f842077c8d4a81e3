"""A record that cannot be read, runs made by other code, runs trained anew, and what is said of a run that failed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmark import provenance
from benchmark.errors import BenchError
from benchmark.launch.status import Row, about_code
from benchmark.store.folders import RunFolder
from benchmark.store.measurements import load_records
from benchmark.store.records import Record

DELETE = "put back a copy of it, or delete it: `bench sweep` then scores the run again"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('{"schema_version": 99}', ["record.json", "99", "newer"]),
        ("{ torn", ["record.json", "JSON", DELETE]),
        ("", ["record.json", "JSON", DELETE]),
        ('{"schema_version": 1, "name": "x"}', ["record.json", "not a record", DELETE]),
        ("[]", ["record.json", "schema_version", DELETE]),
    ],
)
def test_a_record_that_cannot_be_read_is_named_and_stops_nothing(
    bench, fake_run, tmp_path: Path, text: str, parts: list[str]
) -> None:
    assert bench("sweep", "mine.yaml", "--only", "*rot*").code == 0
    path = next((tmp_path / "results").glob("*/record.json"))
    path.write_text(text)
    name = path.parent.name
    said = bench("sweep", "mine.yaml", "--only", "*rot*", "--only", "*stat*")
    assert said.code == 1 and fake_run[1:] == [RunFolder(p).name for p in (tmp_path / "results").glob("*stat*")]
    for words in (["status"], ["status", "mine.yaml"], ["sweep", "mine.yaml", "--dry-run"]):
        said = bench(*words)
        assert said.code == 0 and "1 broken" in said.out and "1 done" in said.out and said.err == ""
        [line] = [line for line in said.out.splitlines() if line.startswith("broken: ")]
        assert name in line and all(part in line for part in parts), line
    assert path.read_text() == text, "it stays"
    told: list[str] = []
    if "newer" in parts:
        with pytest.raises(BenchError, match="newer release"):
            load_records(tmp_path / "results", told.append)
        return
    assert len(load_records(tmp_path / "results", told.append)) == 1
    assert len(told) == 1 and name in told[0] and all(part in told[0] for part in parts)


def test_reports_leave_a_broken_record_out_and_say_so(bench, fake_run, tmp_path: Path) -> None:
    assert bench("sweep", "mine.yaml", "--only", "*rot*", "--only", "*stat*").code == 0
    path = next((tmp_path / "results").glob("*rot*/record.json"))
    path.write_text("{ torn")
    for words in (["report", "--table", "2", "--sweep", "mine.yaml"], ["recommend", "mine.yaml"]):
        said = bench(*words)
        assert "Traceback" not in said.err and "not readable" not in said.out
        [line] = [line for line in said.err.splitlines() if line.startswith("note: ")]
        assert path.parent.name in line and DELETE in line


def test_a_config_that_is_torn_is_named_and_written_anew(bench, fake_run, tmp_path: Path) -> None:
    assert bench("sweep", "mine.yaml", "--only", "*stat*").code == 0
    [path] = (tmp_path / "results").glob("*/config.yaml")
    path.write_text("in_dist: [")
    said = bench("status")
    assert said.code == 0 and "1 broken" in said.out and "config.yaml" in said.out
    assert bench("sweep", "mine.yaml", "--only", "*rot*").code == 0
    (path.parent / "record.json").unlink()
    assert bench("sweep", "mine.yaml", "--only", "*stat*").code == 0
    assert RunFolder(path.parent).read_config().in_dist == "mine"


def test_after_a_failed_run_the_last_lines_say_how_to_see_why_and_to_run_it_again(
    bench, fake_run, tmp_path: Path
) -> None:
    for _ in range(2):  # it fails; it is left alone
        said = bench("sweep", "mine.yaml", "--results", "my results")
        [name] = [name for name in fake_run if "dino" in name]
        assert said.code == 1
        why, again = said.out.splitlines()[-2:]
        assert why == f"Why it failed: bench logs {name} --results 'my results'"
        assert again == "Run them again: bench sweep mine.yaml --results 'my results' --retry-failed"
    assert "RuntimeError: no good" in bench("logs", name, "--results", "my results").out


# Which code made the numbers ------------------------------------------------------------------------------------------


def write_code(path: Path, code: str | None) -> None:
    raw = json.loads(path.read_text())
    raw["environment"] = {} if code is None else {"code": code}
    path.write_text(json.dumps(raw))


def test_records_of_other_code_and_of_different_code_are_told_and_older_ones_are_not(
    bench, fake_run, tmp_path: Path
) -> None:
    now = provenance.code_fingerprint()
    assert bench("sweep", "mine.yaml", "--only", "*rot*", "--only", "*stat*").code == 0
    one, other = sorted((tmp_path / "results").glob("*/record.json"))
    looks = (["sweep", "mine.yaml", "--dry-run"], ["status"], ["status", "mine.yaml"])
    write_code(one, None)
    for code in (None, now):
        write_code(other, code)
        assert not [look for look in looks if "other code" in bench(*look).out or "different code" in bench(*look).out]
    write_code(other, "abcdefabcdef")
    for look in looks:
        said = " ".join(bench(*look).out.split())
        assert f"made by other code than is here now ({now}): {other.parent.name}; to train runs anew" in said
        assert "different code" not in said
    write_code(one, now)
    for look in looks:
        said = bench(*look).out
        assert "made by different code" in said and f"1 by {now}" in said and "1 by abcdefabcdef" in said


def test_a_run_that_went_on_with_other_code_is_of_both(tmp_path: Path) -> None:
    both = Record.model_construct(environment={"code": "b", "codes": ["a", "b"]}).codes
    assert both == ("a", "b") and Record.model_construct(environment={}).codes == ()
    [other, mixed] = about_code([Row("x", "done", codes=both), Row("y", "done", codes=("b",))], "b")
    assert "(b): x; to train" in other and "1 by a then b, 1 by b" in mixed


def test_the_fingerprint_is_of_the_code_that_makes_numbers(tmp_path: Path) -> None:
    package = Path(shutil.copytree(provenance.PACKAGE, tmp_path / "benchmark"))
    for place in provenance.MAKES_NUMBERS:
        assert (package / place).exists(), place
    before = provenance.code_fingerprint.__wrapped__(package)
    assert before == provenance.code_fingerprint()
    for name in ("report/tables.py", "commands/sweep.py", "launch/local.py", "store/records.py"):
        with open(package / name, "a") as stream:
            stream.write("\n# other\n")
    (package / "views/README.md").write_text("other")
    assert provenance.code_fingerprint.__wrapped__(package) == before
    seen = {before}
    for name in ("negatives.py", "views/transforms.py", "training/loop.py", "detection/knn.py", "scoring/base.py",
                 "models/heads.py", "methods/dino.py", "evaluation/measures.py", "seeds.py"):  # fmt: skip
        with open(package / name, "a") as stream:
            stream.write("\n# other\n")
        seen.add(provenance.code_fingerprint.__wrapped__(package))
    assert len(seen) == 10
    (package / "views/transforms.py").rename(package / "views/changes.py")
    assert provenance.code_fingerprint.__wrapped__(package) not in seen


# Trained anew ---------------------------------------------------------------------------------------------------------


def test_runs_that_are_named_are_trained_anew_and_keep_what_they_had_until_then(
    bench, fake_run, tmp_path: Path
) -> None:
    assert bench("sweep", "mine.yaml", "--only", "*rot*", "--only", "*stat*").code == 0
    [folder] = [RunFolder(path.parent) for path in (tmp_path / "results").glob("*rot*/record.json")]
    old = folder.record.read_text()
    folder.weights.write_text("old weights")
    folder.checkpoint.write_text("of the old code")
    assert "nothing to do" in bench("sweep", "mine.yaml", "--only", "*rot*").out
    shown = bench("sweep", "mine.yaml", "--again", "*rot*", "--dry-run")
    assert f"to be trained anew: {folder.name}" in shown.out and folder.checkpoint.exists()
    del fake_run[:]
    said = bench("sweep", "mine.yaml", "--only", "*rot*", "--only", "*stat*", "--again", folder.name)
    assert said.code == 0 and fake_run == [folder.name], said
    assert (folder.before / "record.json").read_text() == old, "the stand-in writes its record by itself"
    assert (folder.before / "weights.safetensors").read_text() == "old weights"
    assert folder.weights.read_text() == "" and not folder.checkpoint.exists()
    record = folder.read_record()
    assert record is not None
    folder.write_record(record)
    assert not folder.before.exists(), "the new one is there"


def test_a_failed_or_broken_run_can_be_trained_anew_too(bench, fake_run, tmp_path: Path) -> None:
    assert bench("sweep", "mine.yaml").code == 1
    next((tmp_path / "results").glob("*rot*/record.json")).write_text("{ torn")
    del fake_run[:]
    said = bench("sweep", "mine.yaml", "--again", "*-rot-*", "--again", "mine-dino-s0")
    assert sorted("dino" in name for name in fake_run) == [False, True] and said.code == 1
    assert "left alone" not in said.out and "1 failed" in said.out
    by_name = sorted(fake_run)
    del fake_run[:]
    bench("sweep", "mine.yaml", "--again", "rot-*", "--again", "dino")  # variants
    assert sorted(fake_run) == by_name


def test_runs_to_do_that_are_here_with_other_settings_are_told(bench, fake_run) -> None:
    assert bench("sweep", "mine.yaml", "--set", "train.lr=0.5", "--only", "rot-imgn").code == 0
    said = bench("status", "mine.yaml")
    assert "\n1 of those to do are here with other settings (another --set?): mine-rot-imgn-s0\n" in said.out
    assert "other settings" not in bench("status", "mine.yaml", "--set", "train.lr=0.5").out + bench("status").out


def test_a_sweep_without_negatives_names_the_run_to_export_with_its_id(bench, fake_run) -> None:
    said = bench("sweep", "mine.yaml", "--only", "dino")
    [name] = fake_run
    assert f"\nA detector: bench export {name} --to DIR\n" in said.out and name.startswith("mine-dino-s0-")


def test_what_is_kept_is_of_the_last_time_that_the_run_was_finished(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for content in ("finished", "interrupted"):
        folder.weights.write_text(content)
        folder.metrics.write_text(content)
        folder.set_aside()
    folder.record.write_text("late")
    folder.set_aside()
    kept = {path.name: path.read_text() for path in folder.before.iterdir()}
    assert kept == {"weights.safetensors": "finished", "metrics.jsonl": "finished", "record.json": "late"}
    assert [path.name for path in tmp_path.iterdir()] == ["before"]


def test_a_glob_that_matches_nothing_is_one_line(bench, fake_run) -> None:
    said = bench("sweep", "mine.yaml", "--again", "*rto*")
    assert said.code == 2 and "--again *rto*: matches no run of mine.yaml" in said.err and fake_run == []
