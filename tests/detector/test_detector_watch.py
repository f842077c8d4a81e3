"""`bench score --watch`: what arrives in a folder, each picture once and whole, and the drift line."""

from __future__ import annotations

import csv
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from command import Said
from detector_runs import Made
from PIL import Image

from benchmark import Detector
from benchmark.data.images import load
from benchmark.data.pictures import Values
from benchmark.detection.threshold import exact_interval
from benchmark.detector.rows import Row
from benchmark.detector.sources import Source
from benchmark.detector.watch import PATIENCE, Arrivals, Drift, Stop, watched
from benchmark.errors import BenchError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def names(found: list[Source], folder: Path) -> list[str]:
    return [os.path.relpath(one.path, folder) for one in found]


def row_of(path: Path, error: str = "") -> Row:
    return Row(Source(str(path), lambda: Image.new("RGB", (8, 8))), error=error)


def test_a_file_is_given_out_when_it_has_stopped_growing_and_once(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"there before")
    clock = Clock()
    arrivals = Arrivals(str(tmp_path), clock)
    assert arrivals.scan() == []  # it may be growing
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/new.png").write_bytes(b"half")
    (tmp_path / ".hidden.png").write_bytes(b"as rsync calls what it is writing")
    (tmp_path / "notes.txt").write_bytes(b"no picture")
    assert names(arrivals.scan(), tmp_path) == ["old.png"]
    assert arrivals.is_final(row_of(tmp_path / "old.png"))
    (tmp_path / "sub/new.png").write_bytes(b"half and more")
    assert arrivals.scan() == []
    assert names(arrivals.scan(), tmp_path) == ["sub/new.png"]  # not said to be done: it comes again
    assert names(arrivals.scan(), tmp_path) == ["sub/new.png"]
    assert arrivals.is_final(row_of(tmp_path / "sub/new.png"))
    assert arrivals.scan() == [] == arrivals.scan()
    os.utime(tmp_path / "old.png", ns=(1, 1))  # written anew
    assert arrivals.scan() == [] and names(arrivals.scan(), tmp_path) == ["old.png"]


def test_what_changed_while_it_was_read_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"whole, by chance")
    arrivals = Arrivals(str(tmp_path), Clock())
    arrivals.scan(), arrivals.scan()
    path.write_bytes(b"whole, by chance, and more")
    assert not arrivals.is_final(row_of(path))
    assert arrivals.scan() == [] and names(arrivals.scan(), tmp_path) == ["a.png"]


def test_what_cannot_be_read_is_tried_again_until_it_has_not_changed_for_long(tmp_path: Path) -> None:
    path, clock = tmp_path / "a.png", Clock()
    path.write_bytes(b"half")
    arrivals = Arrivals(str(tmp_path), clock)
    arrivals.scan()
    for clock.now in (1.0, 20.0, PATIENCE - 1):
        assert names(arrivals.scan(), tmp_path) == ["a.png"]
        assert not arrivals.is_final(row_of(path, "image file is truncated"))
    path.write_bytes(b"more, but still not all")
    arrivals.scan()
    clock.now += PATIENCE - 1
    arrivals.scan()
    assert not arrivals.is_final(row_of(path, "image file is truncated"))  # the wait begins with the last change
    clock.now += 1
    arrivals.scan()
    assert arrivals.is_final(row_of(path, "image file is truncated")) and arrivals.scan() == []
    path.write_bytes(b"all of it, very late")
    assert arrivals.scan() == [] and names(arrivals.scan(), tmp_path) == ["a.png"]


def test_a_folder_that_is_away_for_a_while_brings_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"x")
    arrivals = Arrivals(str(folder), Clock())
    arrivals.scan()
    for source in arrivals.scan():
        assert arrivals.is_final(row_of(Path(source.path)))
    folder.rename(tmp_path / "away")
    assert arrivals.scan() == [] == arrivals.scan()
    assert capsys.readouterr().err == f"note: {folder}: the folder is gone; waiting for it\n"
    (tmp_path / "away").rename(folder)
    assert arrivals.scan() == [] == arrivals.scan()
    (folder / "a.png").unlink()
    arrivals.scan()
    assert set(arrivals._seen) == {str(folder / "b.png")}  # what is gone takes no memory
    with pytest.raises(BenchError, match=r"--watch .*nowhere: no such folder"):
        Arrivals(str(tmp_path / "nowhere"))


def test_rows_are_the_api_s_and_a_batch_that_has_begun_is_finished(made: Made, pictures: Path) -> None:
    detector, arrivals, stop = Detector.load(made.whole, "cpu"), Arrivals(str(pictures)), Stop()
    rows: list[Row] = []
    for row in watched(detector, arrivals, 2, 1, None, Values(), stop, wait=lambda seconds: None):
        rows.append(row)
        if len(rows) == 1:  # the first of a batch of two
            stop.on_signal(signal.SIGTERM)
    assert [row.source.path for row in rows] == [f"{pictures}/a.png", f"{pictures}/b.png"]
    assert stop.exit_code == 143
    for row in rows:
        assert row.score == pytest.approx(detector.score(row.source.path)[0], rel=1e-5)


# The drift line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "n"), [(0, 20), (3, 200), (20, 20), (57, 200)])
def test_the_interval_is_clopper_and_pearsons(count: int, n: int) -> None:
    """Its ends are the probabilities under which what was seen, or more (or less) extreme, has 2.5%."""

    def at_least(k: int, p: float) -> float:
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))

    low, high = exact_interval(count, n)
    assert low == 0 if count == 0 else at_least(count, low) == pytest.approx(0.025, rel=1e-6)
    assert high == 1 if count == n else 1 - at_least(count + 1, high) == pytest.approx(0.025, rel=1e-6)


def drifted(flags: list[bool], window: int, rate: float = 0.05) -> list[str]:
    drift = Drift(window, rate, (rate - 0.01, rate + 0.01))
    lines = [line for flag in flags if (line := drift.add(Row(row_of(Path("a")).source, ood=flag)))]
    assert drift.add(row_of(Path("a"), "broken")) is None  # what could not be read is not counted
    return [*lines, *filter(None, [drift.line()])]


def test_drift_is_told_once_a_window_and_says_when_the_promise_is_broken() -> None:
    first, second, last = drifted([False] * 95 + [True] * 5 + [True] * 30 + [False] * 70 + [True] * 10, 100)
    low, high = exact_interval(5, 100)
    assert first == (
        f"drift: 5 of the last 100 above the threshold, 5.0% (95% interval {100 * low:.1f}% to {100 * high:.1f}%); it "
        "promises 5.0% of ID images (4.0% to 6.0%): as promised"
    )
    assert second.startswith("drift: 30 of the last 100 above") and "more than promised" in second
    assert last.startswith("drift: 30 of the last 100 above")  # 20 of before and 10 new ones
    assert "fewer than promised" in drifted([False] * 300, 300, rate=0.1)[0]
    assert drifted([], 10) == [] and drifted([True, False], 10)[0].endswith("(4.0% to 6.0%): too few to tell")


def test_a_share_whose_interval_meets_the_promised_one_is_as_promised() -> None:
    """5 of 20 is 8.7% to 49.1%: more than the least that is promised, and not more than the most."""
    picture = Source("a.png", lambda: Image.new("RGB", (8, 8)))
    for interval, verdict in (((0.02, 0.4), "as promised"), ((0.02, 0.08), "more than"), ((0.5, 0.6), "fewer than")):
        drift = Drift(20, 0.05, interval)
        lines = [drift.add(Row(picture, score=1.0, ood=number < 5)) for number in range(20)]
        assert lines[:-1] == [None] * 19 and f": {verdict}" in str(lines[-1])


def test_the_promise_of_a_given_threshold_is_its_share_of_the_held_out_scores(made: Made) -> None:
    detector = Detector.load(made.whole, "cpu")
    own = Drift.of(detector, 10, None)
    assert own.promised == pytest.approx(0.08) and list(own.interval) == detector.settings.threshold.rate_interval
    given = Drift.of(detector, 10, float(np.sort(detector.id_scores)[11]))
    assert given.promised == 0.5 and given.interval == exact_interval(12, 24)


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def watching(made: Made, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`bench score --watch incoming --window 2` in a process of its own."""
    (tmp_path / "incoming").mkdir()
    arguments = ["score", str(made.whole), "--watch", "incoming", "--window", "2", "--nearest", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark", *arguments, "--device", "cpu"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_half_written_file_waits_and_each_line_is_there_at_once(
    watching: subprocess.Popen[str], made: Made, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    assert watching.stdout is not None
    images = load(made.data, "mini-ood", "test").images
    for i, name in enumerate("ab"):
        Image.fromarray(images[i]).save(tmp_path / f"{name}.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "incoming/b.png").write_bytes(whole[:900])  # a writer that pauses
    shutil.copy(tmp_path / "a.png", tmp_path / "incoming/a.png")
    assert watching.stdout.readline() == "path,score,ood,p_value,nearest_1,cosine_1,error\n"
    first = watching.stdout.readline()
    assert first.startswith("incoming/a.png,")  # the other one is not whole
    time.sleep(1.2)
    with open(tmp_path / "incoming/b.png", "ab") as stream:
        stream.write(whole[900:])
    second = watching.stdout.readline()
    time.sleep(1.2)  # and nothing comes twice
    watching.send_signal(number)
    out, err = watching.communicate(timeout=60)
    rows = list(csv.reader([first, second]))
    expected = Detector.load(made.whole, "cpu").score([tmp_path / "a.png", tmp_path / "b.png"])
    assert out == "" and [row[0] for row in rows] == ["incoming/a.png", "incoming/b.png"]
    assert [float(row[1]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-5)
    assert watching.returncode == code and "Traceback" not in err
    assert "of the last 2 above the threshold" in err and "2 images, " in err


@pytest.mark.parametrize(("there", "header"), [("", True), ("path,score\nold.png,1\n", False)])
def test_a_file_that_has_rows_already_gets_no_second_header(
    made: Made, tmp_path: Path, there: str, header: bool
) -> None:
    """As with `bench score --watch incoming >> scores.csv`, given again."""
    (tmp_path / "incoming").mkdir()
    Image.fromarray(load(made.data, "mini-ood", "test").images[0]).save(tmp_path / "incoming/a.png")
    rows = tmp_path / "scores.csv"
    rows.write_text(there)
    with rows.open("a") as stream:
        command = [
            sys.executable,
            "-m",
            "benchmark",
            "score",
            str(made.whole),
            "--watch",
            "incoming",
            "--device",
            "cpu",
        ]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=stream, stderr=subprocess.PIPE)
        while "incoming/a.png" not in rows.read_text() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    text = rows.read_text()
    assert text.startswith(there) and ("path,score,ood" in text.removeprefix(there)) is header


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--watch", "nowhere"], "--watch nowhere: no such folder"),
        (["photos", "--watch", "photos"], "--watch: does not go with IMAGES"),
        (["--watch", "photos", "--out", "a.csv"], "--watch: does not go with --out"),
        (["--watch", "photos", "--page", "a.html"], "--watch: does not go with --page"),
        ([], "IMAGES: none given; name files or folders, or one to watch: --watch FOLDER"),
    ],
)
def test_what_cannot_be(
    bench: Callable[..., Said], made: Made, pictures: Path, arguments: list[str], says: str
) -> None:
    said = bench("score", made.whole, *arguments)
    assert said.code == 2 and said.err.count("\n") == 1 and says in said.err
