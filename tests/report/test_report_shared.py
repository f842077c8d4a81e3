"""That sets share images stands under whatever is made of runs that used them."""

from __future__ import annotations

from pathlib import Path

import pytest
from one_class_fakes import one_record, runs, table_of
from report_fakes import record_of, write_runs, write_sweep

from benchmark.advise import recommend as choosing
from benchmark.advise import wording
from benchmark.plan.config import RunConfig
from benchmark.report.build import report
from benchmark.store.records import Record, SetInRecord


def spoilt(record: Record, key: str, shared: dict[str, int]) -> Record:
    seen = SetInRecord(**{**record.data[key].model_dump(), "shared": shared})
    return record.model_copy(update={"data": {**record.data, key: seen}})


@pytest.mark.parametrize("asked", [{"tables": ["2"]}, {"claims": True}])
def test_they_stand_under_every_table(tmp_path: Path, asked: dict[str, object]) -> None:
    sweep = write_sweep(tmp_path, variant=["dino", "rot-imgn"])

    def made(config: RunConfig) -> Record:
        record = record_of(config)
        return spoilt(record, "svhn/test", {"cifar10/train": 7}) if config.label == "dino" else record

    line = "Identical images: 7 of 50 of SVHN test are in CIFAR10 train too."
    for make, told in ((record_of, False), (made, True)):
        write_runs(tmp_path / f"results{told}", sweep, make)
        asked = {"tables": [], "figures": [], "claims": False} | asked
        written = report(tmp_path / f"results{told}", tmp_path / f"out{told}", sweep=sweep, **asked)  # type: ignore[arg-type]
        texts = [path.read_text() for path in written if path.suffix == ".md"]
        assert texts and all((line in text) is told for text in texts)


def test_they_stand_under_the_one_class_table_and_the_ranking(tmp_path: Path) -> None:
    def made(config: RunConfig) -> Record:
        return spoilt(one_record(config), config.test_key, {config.train_key: 2})

    notes = table_of(runs(["rotation"], ["ship", "cat"]), made).notes
    (line,) = [note for note in notes if note.startswith("Identical images: ")]
    assert line.count(" test are in ") == 2 and "2 of 50" in line
    sweep = write_sweep(tmp_path, variant=["dino", "rot-imgn"])
    write_runs(tmp_path / "results", sweep, lambda c: spoilt(record_of(c), "cifar10/test", {"cifar10/train": 9}))
    (ranking,) = choosing.recommend(sweep, tmp_path / "results").rankings
    assert ranking.shared == ("Identical images: 9 of 50 of CIFAR10 test are in CIFAR10 train too.",)
    assert ranking.shared[0] in wording.markdown(choosing.recommend(sweep, tmp_path / "results"))
