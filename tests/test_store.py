from __future__ import annotations

import errno
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import TINY, tiny

from benchmark import files
from benchmark.errors import BenchError
from benchmark.files import atomic_write
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.store import folders, leases
from benchmark.store.folders import RunFolder
from benchmark.store.leases import RunIsHeld
from benchmark.store.measurements import load_records
from benchmark.store.records import OODMetrics, Record, ScoreInRecord, SetInRecord

METRICS = OODMetrics(auroc=90.0, aupr_ood=80.0, aupr_id=95.0, fpr95_id=30.0, fpr95_ood=35.0, n_id=24, n_ood=20)


def record(seed: int = 0) -> Record:
    config = tiny(seed=seed)
    return Record(
        run_id=config.run_id({}),
        recipe_id=config.recipe_id(),
        name=config.run_name(config.run_id({})),
        config=config.model_dump(mode="json"),
        data={"mini/train": SetInRecord(count=40, fingerprint="ab")},
        own="eq6",
        scores={"eq6": ScoreInRecord(ood={"mini-ood": METRICS}, sensitivity=55.0, passes=1)},
        knn_accuracy={"5": 50.0},
        occupancy={"paper": 7.0, "authors": 8.0, "classes": 16.0},
    )


def test_record_round_trip(tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = RunFolder(tmp_path / record(seed).name)
        folder.path.mkdir()
        folder.write_config(tiny(seed=seed))
        folder.write_record(record(seed))
    assert load_records(tmp_path) == sorted([record(0), record(1)], key=lambda r: r.name)
    assert [found.name for found in folders.runs_by_recipe(tmp_path)[tiny(seed=1).recipe_id()]] == [record(1).name]


def test_a_run_whose_settings_cannot_be_read_is_known_by_its_record(tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = RunFolder(tmp_path / record(seed).name)
        folder.path.mkdir()
        folder.config.write_text("model: [cut")
    folder.write_record(record(1))
    assert {recipe: [run.name for run in runs] for recipe, runs in folders.runs_by_recipe(tmp_path).items()} == {
        record(1).recipe_id: [record(1).name]
    }


def test_an_older_record_with_a_value_that_its_upgrade_cannot_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "record.json").write_text('{"schema_version": 1}')
    monkeypatch.setattr(folders, "UPGRADES", {1: lambda raw: {"seconds": int("many")}})
    with pytest.raises(BenchError, match=r"record\.json: not a record of schema 1: invalid literal"):
        RunFolder(tmp_path).read_record()


def test_the_seconds_of_training_are_of_all_its_attempts() -> None:
    def seconds(training: dict[str, float], timings: dict[str, float]) -> dict[str, float]:
        return record().model_copy(update={"training": training, "timings": timings}).seconds

    resumed, whole = {"train": 30.5, "score": 2.0}, {"train": 91.5, "score": 2.0}
    assert seconds({"seconds": 90.0}, resumed) == {"train": 90.0, "score": 2.0}
    assert seconds({"seconds": 90.0}, whole) == whole  # with what comes before the first step
    assert seconds({}, {"train": 0.0, "score": 2.0}) == {"train": 0.0, "score": 2.0}  # nothing is trained


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not readable as JSON"),
        ('{"schema_version": 99}', "newer release"),
        ("[]", "schema_version"),
        ('{"schema_version": 1, "extra_key": 3}', "not a record of schema 1: 'config'"),
        ('{"schema_version": 2, "extra_key": 3}', "not a record"),
        (
            json.dumps(record().model_dump(mode="json") | {"knn_accuracy": {"5": "high"}}),
            "record.json: not a record: knn_accuracy.5: input should be a valid number, .*, given 'high'",
        ),
        (
            json.dumps(record().model_dump(mode="json") | {"environment": {"packages": ["torch"]}}),
            "packages: must be a map",
        ),
    ],
)
def test_broken_records_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(BenchError, match=words) as caught:
        RunFolder(tmp_path).read_record()
    assert str(tmp_path / "record.json") in str(caught.value) and "\n" not in str(caught.value)


def of_schema_1(record: Record) -> dict[str, Any]:
    """As a release wrote it in whose records a method's own score had no name."""
    raw = record.model_dump(mode="json")
    own = raw["scores"].pop(raw.pop("own"))
    return raw | {"schema_version": 1, "ood": own["ood"], "sensitivity": own["sensitivity"]}


@pytest.mark.parametrize(
    ("method", "own", "passes"),
    [
        ({"name": "dino"}, "eq6", 1),
        ({"name": "untrained"}, "eq6", 1),
        ({"name": "image-statistics"}, "image-statistics", 0),
        ({"name": "rotation"}, "rotation-prediction", 4),
        ({"name": "rotation", "shift": 8}, "rotation-prediction", 36),
        ({"name": "simclr"}, "cosine-times-norm", 10),
        ({"name": "csi", "test_crops": 3}, "csi", 12),
        ({"name": "classifier"}, "max-probability", 1),
        ({"name": "classifier", "rotation_weight": 0.5}, "classes-and-rotations", 4),
    ],
)
def test_a_method_s_own_score_gets_its_name(method: dict[str, Any], own: str, passes: int, tmp_path: Path) -> None:
    fields = {**TINY, "method": method, "variant": "dino" if method["name"] == "dino" else "none"}
    config: RunConfig = validate(RunConfig, fields, "test")
    further = ScoreInRecord(ood={"mini-ood": METRICS}, sensitivity=51.0, passes=1)
    ours = ScoreInRecord(ood={"mini-ood": METRICS.model_copy(update={"auroc": 70.0})}, sensitivity=52.0, passes=passes)
    now = record().model_copy(
        update={"config": config.model_dump(mode="json"), "own": own, "scores": {"knn-5": further, own: ours}}
    )
    (tmp_path / "record.json").write_text(json.dumps(of_schema_1(now)))
    assert RunFolder(tmp_path).read_record() == now


def test_a_run_that_was_asked_for_its_own_score_too_has_it_once(tmp_path: Path) -> None:
    """As untrained networks were, whose eq6 is their own."""
    raw = of_schema_1(record())
    raw["scores"] = {"eq6": {"ood": raw["ood"], "sensitivity": 55.0, "passes": 1}}
    (tmp_path / "record.json").write_text(json.dumps(raw))
    assert RunFolder(tmp_path).read_record() == record()


def test_scores_of_older_files_have_their_names(tmp_path: Path) -> None:
    """Of a class as of a set: the method's own stood under "set/split" alone."""
    keys = ("cifar10:cat/train", "mini/test")
    arrays = {name: np.full(3, place) for place, name in enumerate([*keys, *(f"{key}:knn-5" for key in keys)])}
    np.savez(tmp_path / "scores.npz", **arrays)
    folder, config = RunFolder(tmp_path), tiny()
    expected = {f"{keys[0]}:eq6": 0, f"{keys[1]}:eq6": 1, f"{keys[0]}:knn-5": 2, f"{keys[1]}:knn-5": 3}
    assert {name: rows[0] for name, rows in folder.read_scores(config).items()} == expected
    some = folder.read_scores(config, ["mini/test:eq6", "cifar10:cat/train:knn-5", "gone/test:eq6"])
    assert {name: rows[0] for name, rows in some.items()} == {"mini/test:eq6": 1, "cifar10:cat/train:knn-5": 2}
    np.savez(tmp_path / "scores.npz", **{f"{key}:eq6": np.zeros(3) for key in keys})  # as they are now
    assert set(folder.read_scores(config)) == {f"{key}:eq6" for key in keys}


def test_atomic_write_keeps_the_old_file_when_the_new_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path, "w") as stream:
        stream.write("half of the new")
        raise RuntimeError
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


# The lease ------------------------------------------------------------------------------------------------------------


def test_a_held_run_is_refused_and_freed_at_the_end(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.hold():
        assert folder.lease_is_live()
        with pytest.raises(RunIsHeld), RunFolder(folder.path).hold():
            pass
    assert not folder.lease_is_live()
    with folder.hold():
        pass


def test_a_dead_process_loses_its_lease_at_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")

    def die_holding() -> None:
        held = folder.hold()
        held.__enter__()
        os._exit(0)  # no clean-up, as after SIGKILL

    child = multiprocessing.get_context("fork").Process(target=die_holding)
    child.start()
    child.join()
    assert folder.lease.exists() and not folder.lease_is_live()
    with folder.hold():
        assert folder.lease_is_live()


@pytest.mark.parametrize("text", ["[]", '"x"', "{", '{"pid": "12"}', '{"host": "elsewhere", "pid": null}'])
def test_a_damaged_lease_is_nobodys(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.lease.write_text(text)
    assert not folder.lease_is_live()
    with folder.hold():
        assert folder.lease_is_live()


@pytest.mark.parametrize(
    "note", ["[]", "{", '{"index": "a"}', '{"folder": 5}', '{"submitted": "now"}', '{"name": ["s"]}']
)
def test_a_damaged_note_of_a_job_says_nothing(tmp_path: Path, note: str) -> None:
    (tmp_path / "job.json").write_text(note)
    assert RunFolder(tmp_path).read_job() == {}


def test_a_lease_of_another_host_expires_without_heartbeat(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.lease.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "x"}))
    assert folder.lease_is_live()
    old = time.time() - leases.LEASE_EXPIRES_SECONDS - 1
    os.utime(folder.lease, (old, old))
    assert not folder.lease_is_live()


def _try_to_hold(path: str, barrier: Any, held: Any) -> None:
    barrier.wait()
    try:
        with RunFolder(Path(path)).hold():
            held.put(1)
            barrier.wait()  # until all have tried: on a busy machine that takes any time
    except RunIsHeld:
        held.put(0)
        barrier.wait()


@pytest.mark.parametrize("locks", [True, False], ids=["flock", "file system without locks"])
def test_of_processes_racing_for_a_run_one_wins(tmp_path: Path, locks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    if not locks:
        monkeypatch.setattr("benchmark.files.fcntl.flock", refused)
    context = multiprocessing.get_context("fork")
    for trial in range(50):
        barrier, held = context.Barrier(4), context.Queue()
        path = str(tmp_path / f"run{trial}")
        racers = [context.Process(target=_try_to_hold, args=(path, barrier, held)) for _ in range(4)]
        for racer in racers:
            racer.start()
        assert sum(held.get(timeout=60) for _ in racers) == 1
        for racer in racers:
            racer.join()


def test_a_lock_file_whose_owner_died_is_broken_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("benchmark.files.fcntl.flock", refused)
    left = tmp_path / "lock.taken"
    left.touch()
    old = time.time() - files.LOCK_STALE_SECONDS - 1
    os.utime(left, (old, old))
    with files.locked(tmp_path / "lock"):
        assert left.exists()
    assert not left.exists()


def test_a_lock_file_whose_owner_lives_never_looks_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("benchmark.files.fcntl.flock", refused)
    monkeypatch.setattr(files, "LOCK_STALE_SECONDS", 0.1)
    threads = threading.active_count()
    with files.locked(tmp_path / "lock"):
        taken = tmp_path / "lock.taken"
        hour_ago = time.time() - 3600
        os.utime(taken, (hour_ago, hour_ago))
        give_up = time.monotonic() + 10
        while taken.stat().st_mtime < hour_ago + 60 and time.monotonic() < give_up:
            time.sleep(0.02)
        assert taken.stat().st_mtime > hour_ago + 60
    assert not taken.exists() and threading.active_count() == threads


def _silent_for_two_minutes(folder: RunFolder) -> None:
    """As if its holder were another host's, and had not been heard of since."""
    holder = json.loads(folder.lease.read_text())
    folder.lease.write_text(json.dumps(holder | {"host": "elsewhere"}))
    old = time.time() - leases.LEASE_EXPIRES_SECONDS - 1
    os.utime(folder.lease, (old, old))


def test_who_was_taken_over_learns_of_it_and_leaves_the_lease_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.05)
    folder = RunFolder(tmp_path / "run")
    with folder.hold() as first:
        first.check()
        first.ended.set()  # suspended: no heartbeat
        _silent_for_two_minutes(folder)
        with RunFolder(folder.path).hold() as second:
            assert not first.is_ours() and second.is_ours()
            with pytest.raises(RunIsHeld, match="taken over by another process"):
                first.check()
            first.ended.clear()
            first.beat()  # awake again: returns, because there is nothing to keep alive
            assert first.lost
            first.ended.set()
    assert not folder.lease.exists()


def test_a_heart_beats_while_a_run_is_held_and_much_oftener_than_a_dead_one_is_told_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert leases.HEARTBEAT_SECONDS * 4 <= leases.LEASE_EXPIRES_SECONDS, "a beat or two may be late on a busy disk"
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.02)
    folder = RunFolder(tmp_path / "run")
    with folder.hold():
        _silent_for_two_minutes(folder)
        give_up = time.monotonic() + 10
        while not folder.lease_is_live() and time.monotonic() < give_up:
            time.sleep(0.02)
        assert folder.lease_is_live()


def test_the_first_holders_end_does_not_free_the_second_ones_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    first = folder.hold()
    first.__enter__()
    _silent_for_two_minutes(folder)
    with RunFolder(folder.path).hold() as second:
        first.__exit__(None, None, None)
        assert second.is_ours() and folder.lease_is_live()


def test_a_lease_is_judged_by_the_file_servers_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.lease.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    monkeypatch.setattr(files.time, "time", lambda: 9e9)  # this host is far ahead
    assert folder.lease_is_live()


def test_attempts_are_kept_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_attempts() == []
    folder.note_attempt({"job": "1"})
    with open(folder.attempts, "a") as stream:
        stream.write('{"job": "2')
    assert [attempt["job"] for attempt in folder.read_attempts()] == ["1"]
    for job in "34":
        folder.note_attempt({"job": job})
    assert [attempt["job"] for attempt in folder.read_attempts()] == ["1", "3", "4"]
