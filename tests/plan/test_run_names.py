"""Runs by name, with or without id, by the beginning of a name or a glob: the same in every command."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_runs import TINY

from benchmark.detector.export import find_run
from benchmark.errors import BenchError
from benchmark.launch.board import rows_of_results, runs_named
from benchmark.plan import sweep, yamlfile
from benchmark.plan.run_names import meant, without_id
from benchmark.store.folders import RunFolder

NAMES = ["a-dino-s0-00000001", "a-dino-s0-00000002", "a-dino-s1-0000000f", "a-dino-s10-0000000a", "a-rot-s0-00000003",
         "set.cat-imgn-s0-00000004"]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a-dino-s0-00000002", [1]),
        ("a-dino-s0", [0, 1]),  # both settings
        ("a-dino-s1", [2]),  # and not s10
        ("a-dino-s10-0", [3]),
        ("a-rot", [4]),
        ("a-r*", [4]),
        ("*-s0", [0, 1, 4, 5]),  # without the ids
        ("*-0000000[1f]", [0, 2]),
        ("set:cat-imgn", [5]),
        ("b", []),
        ("rot", []),
    ],
)
def test_what_a_text_means(text: str, found: list[int]) -> None:
    assert meant(text, NAMES) == [NAMES[i] for i in found]


def test_the_beginning_of_several_names_is_refused() -> None:
    with pytest.raises(BenchError, match=r"a-dino: 4 runs are called so: a-dino-s0-00000001, .*; a-dino\* means all"):
        meant("a-dino", NAMES)
    assert without_id("a-dino-s0-00000001") == "a-dino-s0" and without_id("a-dino-s0") == "a-dino-s0"
    assert meant("x", []) == []


def test_an_empty_text_means_no_run() -> None:
    with pytest.raises(BenchError, match="an empty name was given"):
        meant("", NAMES[:1])


def test_sweeps_take_names_with_ids_and_beginnings(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yamlfile.write({"base": TINY, "grid": {"variant": ["dino", "imgn", "rot-imgn"], "seed": [0, 1]}}))
    for text, names in {
        "mini-imgn-s1-0123abcd": ["mini-imgn-s1"],
        "mini-rot-imgn-s0": ["mini-rot-imgn-s0"],
        "mini-untr": ["mini-untrained-s0"],
        "*-imgn-s1": ["mini-imgn-s1", "mini-rot-imgn-s1"],
    }.items():
        assert [run.short_name for run in sweep.load(path, only=text).runs] == names
    with pytest.raises(BenchError, match="2 runs are called so: mini-dino-s0, mini-dino-s1"):
        sweep.load(path, only="mini-dino")
    with pytest.raises(BenchError, match=r"--only mini-dti: matches no run of .*: mini-dino-s0"):
        sweep.load(path, only="mini-dti")


def test_runs_in_a_folder_are_found_alike(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    assert [folder.name for folder in runs_named("a-rot", tmp_path)] == [NAMES[4]]
    assert [folder.name for folder in runs_named("a-dino-s0", tmp_path)] == NAMES[:2]
    assert find_run("a-rot-s0", tmp_path).path == find_run(str(tmp_path / NAMES[4]), Path("x")).path
    for text in ("a-dino", "a-dino-s0"):
        with pytest.raises(BenchError, match="runs are called so"):
            find_run(text, tmp_path)
    with pytest.raises(BenchError, match="unknown run"):
        find_run("b", tmp_path)
    for find in (runs_named, find_run):
        with pytest.raises(BenchError, match="an empty name"):
            find("", tmp_path)
    with pytest.raises(BenchError, match="holds no runs that match b"):
        rows_of_results(tmp_path, "b", print)
    assert isinstance(find_run(NAMES[0], tmp_path), RunFolder)
