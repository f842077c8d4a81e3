"""The places to run on a machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import benchmark
from benchmark.cores import usable_cores
from benchmark.launch import slots
from benchmark.launch.slots import Slot


def test_slots_divide_gpus_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slots.make_slots(20, None) == [Slot(None, 1)] * 8
    assert slots.make_slots(20, 3) == [Slot(None, 2)] * 3
    assert slots.make_slots(2, None) == [Slot(None, 4)] * 2
    assert slots.make_slots(1, 30) == [Slot(None, 8)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert slots.make_slots(20, None) == [Slot("2", 4), Slot("5", 4)]
    assert [slot.gpu for slot in slots.make_slots(20, 4)] == ["2", "5", "2", "5"]
    assert Slot("5", 4).environment()["CUDA_VISIBLE_DEVICES"] == "5"
    assert Slot("5", 4).environment()["OMP_NUM_THREADS"] == "4"


def test_however_many_runs_there_are_the_way_to_the_package_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    package = str(Path(benchmark.__file__).parent.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/mine", "/yours"]))
    for _ in range(3):
        paths = Slot(None, 1).environment()["PYTHONPATH"]
        assert paths.split(os.pathsep) == [package, "/mine", "/yours"]
        monkeypatch.setenv("PYTHONPATH", paths)


def test_a_system_that_binds_no_process_to_cores_has_slots_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slots.make_slots(20, None) == [Slot(None, 1)] * 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
