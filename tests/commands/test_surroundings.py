"""What a container, a cron job, a notebook or a closed pipe leaves a command with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bad_sweeps import SWEEP
from command import run_bench

from benchmark import files
from benchmark.plan.resources import Site, SiteFile, load_site
from benchmark.report.page.gallery import GalleryItem, write_gallery

NOBODY = "import os; os.environ.pop('HOME', None); import pwd; pwd.getpwuid = lambda uid: {}[uid]; "
FIGURE = "import matplotlib.pyplot as plt; plt.figure().savefig('x.png')"
MAIN = "from benchmark.commands.app import main; main()"


def bench(folder: Path, *words: str, before: str = "", **how: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", before + MAIN, *words],
        cwd=folder, capture_output=True, text=True, timeout=300, **how,
    )  # type: ignore[call-overload]  # fmt: skip


def test_a_user_without_a_home_reads_sweeps_and_is_told_where_one_is_needed(bench_in_process, tmp_path: Path) -> None:
    data = ["--data", str(tmp_path / "data")]
    said = bench(tmp_path, "sweep", "mine.yaml", "--dry-run", "--executor", "local", *data, before=NOBODY)
    assert said.returncode == 0 and "3 to do" in said.stdout, said
    environment = {key: value for key, value in os.environ.items() if key not in ("BENCH_DATA", "XDG_CACHE_HOME")}
    said = bench(tmp_path, "sweep", "mine.yaml", "--dry-run", before=NOBODY, env=environment)
    assert said.returncode == 2 and len(said.stderr.splitlines()) == 1 and "no home folder is known" in said.stderr


@pytest.fixture
def bench_in_process(bench_with_slurm, tmp_path: Path) -> None:
    """The sweep mine.yaml and its images in `tmp_path`."""
    (tmp_path / "mine.yaml").write_text(SWEEP)


def test_without_a_home_there_is_no_site_file_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    assert load_site(None) == SiteFile(Site())
    monkeypatch.setenv("XDG_CONFIG_HOME", "~nobody-of-that-name/x")
    assert load_site(None) == SiteFile(Site())


def test_a_notebooks_backend_is_not_taken_over(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline_that_is_not_here")
    assert run_bench(monkeypatch, capsys, "--version").code == 0
    assert os.environ["MPLBACKEND"] == "agg"
    assert subprocess.run([sys.executable, "-c", FIGURE], cwd=tmp_path).returncode == 0


def test_figures_are_drawn_for_a_user_without_a_home(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("MPLCONFIGDIR", "XDG_CONFIG_HOME")}
    before = NOBODY + "from benchmark.commands.app import _suit_matplotlib; _suit_matplotlib(); "
    said = subprocess.run([sys.executable, "-c", before + FIGURE], cwd=tmp_path, env=environment, timeout=300)
    assert said.returncode == 0 and (tmp_path / "x.png").exists()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_kills_no_command(tmp_path: Path, closed: str) -> None:
    (tmp_path / "data").mkdir()
    script = "import sys; from benchmark.commands import app; app._make_streams_safe(); "
    script += "print('said'); print(sys.stdin.buffer.read(), sys.stdout.isatty(), file=sys.stderr); "
    script += "open('file', 'w').write('own'); import os; os.write(1, b'more'); open('ended', 'w')"
    said = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, script],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert said.returncode == 0 and (tmp_path / "ended").exists() and "Traceback" not in said.stderr, said
    assert (tmp_path / "file").read_text() == "own", "what is printed went into a file that took the stream's number"


def test_any_name_can_be_printed_in_any_locale(tmp_path: Path) -> None:
    script = "from benchmark.commands.app import _make_streams_safe; _make_streams_safe(); print('\\udcff', '±', 'τ')"
    for encoding in ("ascii", "latin-1", "utf-8"):
        said = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True, timeout=120,
        )  # fmt: skip
        assert said.returncode == 0 and said.stdout.startswith(b"\\udcff "), said


def test_a_file_name_that_is_not_utf_8_can_be_written_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    with files.atomic_write(tmp_path / "x.md", "w") as stream:
        stream.write(f"{name} ± τ")
    assert (tmp_path / "x.md").read_bytes() == "caf\\udce9.png ± τ".encode()
    write_gallery(tmp_path / "x.html", [GalleryItem(name, 1.0, True, 0.5, (), b"")], "t", {})
    assert "caf\\udce9.png" in (tmp_path / "x.html").read_text(encoding="utf-8")
    files.write_json(tmp_path / "x.json", [name])
    assert files.read_json(tmp_path / "x.json") == [name]


def test_looking_writes_nothing_also_where_built_in_images_are_not_there(bench, tmp_path: Path) -> None:
    """The names of the runs, which depend on the images, are told all the same."""
    (tmp_path / "mine.yaml").write_text(SWEEP.replace("[other]", "[synthetic-digits]"))
    before = sorted(tmp_path.rglob("*"))
    shown = [bench(*words, "mine.yaml").out for words in (("sweep", "--dry-run"), ("status",))]
    assert sorted(tmp_path.rglob("*")) == before and "to do" in shown[0] and "to do" in shown[1]
    names = {line.split()[0] for line in shown[0].splitlines() if line.startswith("mine-")}
    assert bench("data", "prepare", "--for", "mine.yaml").code == 0
    assert (tmp_path / "data/synthetic-digits/test/manifest.json").exists()
    again = bench("sweep", "--dry-run", "mine.yaml").out
    assert {line.split()[0] for line in again.splitlines() if line.startswith("mine-")} == names and len(names) == 3
