"""`~` in a path that is given to a command: a shell does not see to it in `--out=~/x`, nor in quotes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Said
from PIL import Image

from benchmark.commands.app import app, data, perf
from benchmark.data.images import data_root
from benchmark.detector.export import find_run
from benchmark.detector.sources import find_images
from benchmark.errors import BenchError
from benchmark.files import expanded
from benchmark.own.layout import layout
from benchmark.plan import sweep


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_every_command_is_given_its_paths_as_a_shell_would_have_them() -> None:
    commands = [*app.registered_commands, *data.registered_commands, *perf.registered_commands]
    assert len(commands) == 26
    for command in commands:
        seen: dict[str, object] = {}

        def body(seen: dict[str, object] = seen, **given: object) -> None:
            seen.update(given)

        wrapper = command.callback
        assert wrapper is not None and wrapper.__closure__, command.name
        [cell] = [cell for cell in wrapper.__closure__ if cell.cell_contents is wrapper.__wrapped__]  # type: ignore[attr-defined]
        cell.cell_contents, true = body, cell.cell_contents
        try:
            wrapper(path=Path("~/x"), name="~/x", nothing=None)
        finally:
            cell.cell_contents = true
        assert seen == {"path": Path.home() / "x", "name": "~/x", "nothing": None}, command.name


def test_paths_of_options_arguments_and_the_environment(
    bench: Callable[..., Said], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench("sweep", "mine.yaml", "--dry-run", "--results=~/runs").code == 0
    assert bench("doctor", "--no-speed", "--json=~/doctor.json", "--results=~/runs").code in (0, 1)
    assert (home / "doctor.json").is_file()
    assert bench("data", "masks", "synthetic", "~/masks.png").code == 0 and (home / "masks.png").is_file()
    monkeypatch.setenv("BENCH_SITE", "~/site.yaml")
    said = bench("sweep", "mine.yaml", "--dry-run")
    assert said.code == 2 and f"{home}/site.yaml" in said.err
    assert not Path("~").exists()


def test_words_that_may_be_paths(home: Path) -> None:
    (home / "run").mkdir()
    (home / "run/config.yaml").write_text("")
    assert find_run("~/run", Path("results")).path == home / "run"
    with pytest.raises(BenchError, match=f"{home}/none.yaml: no such file"):
        sweep.find(Path("~/none.yaml"))
    for place in ("mine/in", "textures"):
        (home / place).mkdir(parents=True)
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(home / place / "a.png")
    assert [source.folder for source in layout(home / "mine", "x", ood=["~/textures"]).ood] == [home / "textures"]


@pytest.mark.parametrize("arguments", [
    ("status", "--results=~nouser-x/r"), ("score", "~nouser-x/detector", "a.png"), ("cancel", "~nouser-x/run"),
    ("sweep", "~nouser-x/a.yaml"), ("init", "~nouser-x/pets"), ("data", "list", "--data", "~nouser-x/data"),
    ("export", "~nouser-x/run", "--to", "d"),
])  # fmt: skip
def test_a_home_that_nobody_knows_is_one_line(bench: Callable[..., Said], arguments: tuple[str, ...]) -> None:
    said = bench(*arguments)
    assert said.code == 2 and said.err.startswith("error: ~nouser-x/") and said.err.count("\n") == 1


def test_a_home_that_nobody_knows_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", "~nouser-x/data")
    with pytest.raises(BenchError, match="~nouser-x/data: no home folder"):
        data_root()
    assert expanded("a/~/b") == Path("a/~/b")


def test_an_empty_path_is_no_folder(tmp_path: Path) -> None:
    """As a shell gives for a variable that is not set: the folder that one is in is not meant by it."""
    with pytest.raises(BenchError, match="an empty name or path was given"):
        expanded("")
    with pytest.raises(BenchError, match="an empty name or path was given"):
        list(find_images([""]))
