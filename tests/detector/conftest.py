"""Detectors to use, detectors to spoil, the commands, and a folder of pictures."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import Said, run_bench
from detector_runs import RUNTIME, Made
from PIL import Image
from tiny_runs import tiny

from benchmark.data.images import load
from benchmark.detector.export import export
from benchmark.run import run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, mini_data: Path) -> Made:
    base = tmp_path_factory.mktemp("detectors")
    record = run(tiny(eval={"ood": ["mini-ood", "mini-ood2"]}), base / "results", mini_data, RUNTIME)
    done = Made(base / "results", mini_data, record, base / "whole", base / "thinned")
    export(done.folder, done.whole, mini_data, 0.1)
    export(done.folder, done.thinned, mini_data, 0.1, bank="25%")
    return done


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    """A detector to spoil."""
    return Path(shutil.copytree(made.whole, tmp_path / "copy"))


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object, stdin: bytes = b"") -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return run_bench(monkeypatch, capfd, *arguments)

    yield call


@pytest.fixture
def pictures(tmp_path: Path, made: Made) -> Path:
    """photos/: six images in two folders, one of them broken, and a file that is none."""
    images = load(made.data, "mini-ood", "test").images
    for i, name in enumerate(["a.png", "b.png", "sub/c.png", "sub/d.png", "sub/e.png"]):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(tmp_path / "photos" / name)
    (tmp_path / "photos/bad.png").write_bytes((tmp_path / "photos/a.png").read_bytes()[:60])
    (tmp_path / "photos/notes.txt").write_text("no image")
    return tmp_path / "photos"
