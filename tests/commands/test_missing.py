"""Images that a sweep lacks: listed by a dry run, fetched by `bench data prepare --for`, and never trained without."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import Said, run_bench

from benchmark.data import prepare
from benchmark.data.images import write_set
from benchmark.errors import BenchError

SWEEP = "base: {in_dist: cifar10, eval: {ood: [svhn, lsun, texture]}}\ngrid: {variant: [dino]}\nreferences: []\n"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("benchmark.launch.slurm.is_available", lambda: False)
    (tmp_path / "lacking.yaml").write_text(SWEEP)
    return lambda *words: run_bench(monkeypatch, capsys, *words, "--data", tmp_path / "data")


def downloads(monkeypatch: pytest.MonkeyPatch, broken: tuple[str, ...] = ()) -> list[str]:
    """As if the sets' hosts answered, but for those of `broken`; returns the sets asked for."""
    asked: list[str] = []

    def fetched(name: str, root: Path, source: Path | None = None, size: int = 32, **_: object) -> Any:
        import numpy as np

        asked.append(name)
        assert source is None and size == 32
        if name in broken:
            raise BenchError(f"image set {name}: its host does not answer")
        for number, split in enumerate(("train", "test") if name == "cifar10" else ("test",)):
            images = np.random.default_rng([number, *name.encode()]).integers(0, 256, (130, 32, 32, 3), dtype=np.uint8)
            write_set(root, name, split, images, np.zeros(130, np.int64), recipe="random numbers")

    monkeypatch.setattr(prepare, "prepare", fetched)
    return asked


def test_a_dry_run_lists_missing_sets_a_line_each(bench: Callable[..., Said]) -> None:
    said = bench("sweep", "lacking.yaml", "--dry-run")
    lines = said.out.splitlines()
    assert said.code == 0 and "nothing started" in said.out
    assert all(len(line) <= 80 for line in lines if not line.startswith("Get them: bench ")), "prose, none to be copied"
    for key in ("cifar10/train", "cifar10/test", "svhn/test", "lsun/test", "texture/test"):
        assert sum(line.startswith(f"- {key}: ") for line in lines) == 1, key


def test_all_that_can_be_fetched_is_and_the_rest_is_a_checklist(
    bench: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = downloads(monkeypatch, broken=("texture",))
    said = bench("data", "prepare", "--for", "lacking.yaml")
    assert sorted(asked) == ["cifar10", "svhn", "texture"]  # each once, LSUN never: it has no download
    assert said.code == 1 and "texture: its host does not answer" in said.out
    listed = [line.split(":")[0] for line in said.out.splitlines() if line.startswith("- ")]
    assert listed == ["- lsun/test", "- texture/test"] and "2 image sets of lacking.yaml" in said.out


@pytest.mark.parametrize("option", [["--source", "here"], ["--size", "64"], ["--replace"]])
def test_options_of_named_sets_are_not_for_a_sweep(bench: Callable[..., Said], option: list[str]) -> None:
    said = bench("data", "prepare", "--for", "lacking.yaml", *option)
    assert said.code == 2 and f"{option[0]}: is for sets that are named" in said.err


def test_what_is_advised_works_as_copied(
    bench: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "two words.yaml"
    file.write_text(SWEEP)
    options = ["--set", "eval.ood=[texture, svhn]"]
    shown = bench("sweep", file, *options, "--dry-run").out
    refused = bench("sweep", file, *options).err
    asked = downloads(monkeypatch)
    for text in (shown, refused):
        [advice] = [line.partition("et them: ")[2] for line in text.splitlines() if "et them: " in line]
        words = shlex.split(advice)
        assert words[:4] == ["bench", "data", "prepare", "--for"] and words[-2:] == ["--data", str(tmp_path / "data")]
        asked.clear()
        assert bench(*words[1:-2]).code == 0
    assert asked == [], "the second advice was the first"
    assert "missing" not in bench("sweep", file, *options, "--dry-run").out


def test_where_nothing_is_missing_it_says_so(bench: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = downloads(monkeypatch)
    Path("lacking.yaml").write_text(SWEEP.replace("lsun, ", ""))
    said = bench("data", "prepare", "--for", "lacking.yaml")
    assert said.code == 0 and said.out.startswith("all images of lacking.yaml are in ")
    asked.clear()
    assert bench("data", "prepare", "--for", "lacking.yaml").code == 0 and asked == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "names of sets, or --for"),
        (["svhn", "--for", "lacking.yaml"], "names of sets, or --for"),
        (["--for", "lacking.yaml", "--source", "x"], "--source"),
        (["svhn", "--set", "train.epochs=2"], "--set"),
        (["--for", "absent.yaml"], "absent.yaml"),
    ],
)
def test_bad_input_is_one_line(bench: Callable[..., Said], words: list[str], said: str) -> None:
    answer = bench("data", "prepare", *words)
    assert answer.code == 2 and said in answer.err and len(answer.err.splitlines()) == 1
