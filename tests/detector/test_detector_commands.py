"""`bench export` and `bench score` as a user sees them."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Said
from detector_runs import Made
from PIL import Image

from benchmark import Detector
from benchmark.data.images import load
from benchmark.data.pictures import Values
from benchmark.detector import artifact
from benchmark.detector.output import Counts, Progress
from benchmark.detector.rows import Row, decoded
from benchmark.detector.sources import Source
from benchmark.detector.worst import Top, _thumbnail, write_page


def test_export_as_a_user_sees_it(bench: Callable[..., Said], made: Made) -> None:
    said = bench(
        "export", made.record.name, "--results", made.results, "--data", made.data, "--to", "d", "--bank", "25%",
        "--false-alarms", "10%",
    )  # fmt: skip
    assert said.code == 0 and max(map(len, said.out.splitlines())) <= 80
    assert "whole bank" in said.out and f"{made.record.own_score.ood['mini-ood'].auroc:.2f}" in said.out
    assert "score: eq6, 1 pass of the network per image: a thinned bank is for Eq. 6 alone" in said.out
    assert "8.00% (95% interval" in said.out and "bench score d IMAGES..." in said.out
    again = bench("export", made.record.name, "--results", made.results, "--data", made.data, "--to", "d")
    assert again.code == 2 and again.err.count("\n") == 1 and "--replace" in again.err
    assert bench("export", "x", "--results", made.results, "--to", "e", "--false-alarms", "5").code == 2


def test_rows_are_the_api_s_and_a_broken_image_is_a_row(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    said = bench("score", made.whole, "photos", "--batch", "4")
    assert said.code == 0 and "6 images" in said.err and "1 not readable" in said.err
    names = ["photos/a.png", "photos/b.png", "photos/bad.png", "photos/sub/c.png", "photos/sub/d.png"]
    assert [row["path"] for row in said.rows] == [*names, "photos/sub/e.png"]
    detector = Detector.load(made.whole)
    for row in said.rows:
        if row["path"] == "photos/bad.png":
            assert row["error"] and not row["score"] + row["ood"] + row["p_value"] + row["nearest_1"]
            continue
        score = detector.score(row["path"])
        assert not row["error"] and float(row["score"]) == pytest.approx(score[0], rel=1e-5)
        assert row["ood"] == ("yes" if detector.is_ood(score)[0] else "no")
        assert float(row["p_value"]) == pytest.approx(detector.p_values(score)[0])
        rows, cosines = detector.nearest(row["path"])
        assert [int(row[f"nearest_{i}"]) for i in (1, 2, 3)] == detector.index[rows[0]].tolist()
        assert [float(row[f"cosine_{i}"]) for i in (1, 2, 3)] == pytest.approx(cosines[0].tolist(), abs=1e-5)


def test_json_lines_a_list_globs_and_arrays_agree(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    by_folder = {row["path"]: row["score"] for row in bench("score", made.whole, "photos").rows}
    listed = bench("score", made.whole, "-", stdin=b"photos/b.png\r\nphotos/sub/d.png\n\nphotos/gone.png\n")
    assert listed.code == 0
    assert {row["path"]: row["score"] for row in listed.rows[:2]} == {
        name: pytest.approx(by_folder[name]) for name in ("photos/b.png", "photos/sub/d.png")
    }
    assert listed.rows[2]["path"] == "photos/gone.png" and "No such file" in listed.rows[2]["error"]
    said = bench("score", made.whole, "photos/**/*.png", "--format", "jsonl", "--nearest", "1")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["path"] for line in lines] == sorted(by_folder)
    assert [line for line in lines if "error" in line] == [{"path": "photos/bad.png", "error": lines[2]["error"]}]
    assert lines[0]["score"] == pytest.approx(float(by_folder["photos/a.png"])) and lines[0]["ood"] in (True, False)
    assert lines[0]["nearest"][0].keys() == {"index", "cosine", "label"}
    images = load(made.data, "mini-ood", "test").images
    np.savez("some.npz", images=images[:2])
    arrays = bench("score", made.whole, "some.npz", made.data / "mini-ood/test").rows
    assert [row["path"] for row in arrays[:2]] == ["some.npz[0]", "some.npz[1]"] and len(arrays) == 22
    kept = np.load(made.folder.scores)["mini-ood/test:eq6"]
    assert [float(row["score"]) for row in arrays] == pytest.approx([*kept[:2], *kept], rel=1e-5)


def test_threshold_and_out(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    said = bench("score", made.whole, "photos/a.png", "photos/b.png", "--threshold", "-1e9", "--out", "new/s.csv")
    assert said.code == 0 and said.out == "" and "2 OOD" in said.err
    assert Path("new/s.csv").read_text().count(",yes,") == 2
    assert bench("score", made.whole, "photos/a.png", "--threshold", "1e9", "--nearest", "0").rows[0]["ood"] == "no"


def test_a_locked_folder_is_a_row_and_what_follows_is_read(
    bench: Callable[..., Said], made: Made, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "sub" / "a-locked").mkdir()
    scandir = os.scandir

    def refuse(folder: str) -> Any:
        if str(folder).endswith("a-locked"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    rows = {row["path"]: row["error"] for row in bench("score", made.whole, "photos").rows}
    assert "ermission denied" in rows["photos/sub/a-locked"]
    assert rows["photos/sub/c.png"] == rows["photos/sub/e.png"] == "" and len(rows) == 7


def test_links_to_folders_are_followed_and_end(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    (pictures / "sub").rename(pictures.parent / "elsewhere")
    (pictures / "sub").symlink_to(pictures.parent / "elsewhere")
    (pictures.parent / "elsewhere" / "up").symlink_to(pictures)
    (pictures.parent / "elsewhere" / "loop.png").symlink_to("loop.png")
    rows = {row["path"]: row["error"] for row in bench("score", made.whole, "photos").rows}
    assert rows["photos/sub/c.png"] == "" and not [path for path in rows if "up" in path]
    assert "symbolic links" in rows["photos/sub/loop.png"]


def test_interrupted_rows_are_kept_beside_and_it_is_said(
    bench: Callable[..., Said], made: Made, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(lines: Iterator[bytes], file: Any) -> None:
        file.write(b"some rows\n")
        raise KeyboardInterrupt

    Path("rows.csv").write_text("of before")
    monkeypatch.setattr("benchmark.detector.output.write_lines", interrupted)
    said = bench("score", made.whole, "photos", "--out", "rows.csv")
    assert said.code == 130 and "rows so far: rows.csv.partial; the command begins at the first image" in said.err
    assert Path("rows.csv.partial").read_text() == "some rows\n" and Path("rows.csv").read_text() == "of before"
    said = bench("score", made.whole, "photos", "--out", os.devnull)
    assert said.code == 130 and "rows so far" not in said.err


@pytest.mark.parametrize(("options", "words"), [
    (["--out", "same.csv", "--page", "./same.csv"], "--page same.csv: is where --out writes its rows"),
    (["--threshold", "nan"], "--threshold nan: must be a finite number"),
    (["--page-size", "3"], "--page-size 3: is of --page FILE.html, which is not given"),
    (["--window", "5"], "--window 5: is of --watch FOLDER, which is not given"),
])  # fmt: skip
def test_options_that_cannot_be_meant(
    bench: Callable[..., Said], made: Made, pictures: Path, options: list[str], words: str
) -> None:
    said = bench("score", made.whole, "photos", *options)
    assert said.code == 2 and words in said.err and said.err.count("\n") == 1


def test_out_may_be_a_pipe_or_a_link_and_stays_one(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    """Renamed over, a device such as /dev/stdout would be gone for every program on the machine."""
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert bench("score", made.whole, "photos/a.png", "--out", "pipe").code == 0
    assert os.read(reader, 10_000).startswith(b"path,score,ood") and Path("pipe").is_fifo()
    os.close(reader)
    Path("real.csv").write_text("old")
    Path("link.csv").symlink_to("real.csv")
    assert bench("score", made.whole, "photos/a.png", "--out", "link.csv").code == 0
    assert Path("link.csv").is_symlink() and Path("real.csv").read_text().startswith("path,score,ood")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["photos/bad.png", "photos/notes.txt"], 1, "2 not readable"),
        (["nowhere"], 2, "nowhere: no such file or folder"),
        (["*.gif"], 2, "*.gif: matches no file"),
        (["empty"], 2, "empty: no image files inside"),
        (["-"], 2, "no images in the list"),
        ([], 2, "IMAGES"),
        (["photos", "--device", "tpu"], 2, "--device tpu"),
        (["photos", "--batch", "0"], 2, "--batch"),
        (["photos", "--nearest", "99"], 2, "--nearest 99: allowed with a bank of 40 images: 0 to 40"),
    ],
)
def test_exit_codes(
    bench: Callable[..., Said], made: Made, pictures: Path, arguments: list[str], code: int, says: str
) -> None:
    Path("empty").mkdir()
    said = bench("score", made.whole, *arguments)
    assert said.code == code and says in said.err and "Traceback" not in said.err


def test_a_spoilt_detector_is_one_line_and_exit_code_2(bench: Callable[..., Said], copy: Path, pictures: Path) -> None:
    (copy / artifact.BANK).write_bytes(b"short")
    said = bench("score", copy, "photos")
    assert said.code == 2 and said.err.count("\n") == 1 and artifact.BANK in said.err and said.out == ""


def test_names_that_are_odd(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    odd = [b'photos/comma, "quote".png', b"photos/\xff.png", "photos/ä.png".encode()]
    for name in odd:
        shutil.copy("photos/a.png", os.fsdecode(name))
    said = bench("score", made.whole, *(os.fsdecode(name) for name in odd))
    assert said.code == 0 and [row["path"] for row in said.rows] == [
        'photos/comma, "quote".png', "photos/\\udcff.png", "photos/ä.png",
    ]  # fmt: skip
    os.mkfifo("photos/pipe.png")
    errors = [row["error"] for row in bench("score", made.whole, "photos").rows]
    assert len(errors) == 10 and "not a file" in errors  # and does not wait for the pipe
    assert bench("score", made.whole, "photos/pipe.png").rows[0]["error"] == "not a file"


def test_the_page_gets_the_highest_scores(
    bench: Callable[..., Said], made: Made, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Any] = []
    monkeypatch.setattr(
        "benchmark.report.page.gallery.write_gallery",
        lambda out, items, title, about: called.append((out, list(items), title, about)),
    )
    said = bench("score", made.whole, "photos", "--page", "worst.html", "--page-size", "2")
    [(out, items, _, about)] = called
    best = sorted((float(row["score"]) for row in said.rows if row["score"]), reverse=True)[:2]
    assert out == Path("worst.html") and [item.score for item in items] == best
    assert about["not readable"].startswith("1;") and about["images"].startswith("5 scored")
    assert about["images"].endswith("here the 2 with the highest scores") and "page: worst.html" in said.err
    for item in items:
        with Image.open(io.BytesIO(item.thumbnail)) as thumbnail, Image.open(item.path) as original:
            assert thumbnail.format == "PNG" and np.array_equal(np.asarray(thumbnail), np.asarray(original))
        assert len(item.neighbours) == 3 and "cosine" in item.neighbours[0]


def test_a_broken_npz_of_any_kind_is_a_row(bench: Callable[..., Said], made: Made, pictures: Path) -> None:
    images = load(made.data, "mini-ood", "test").images
    np.savez_compressed(pictures / "cut.npz", images=images)
    whole = bytearray((pictures / "cut.npz").read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 64] = bytes(64)
    (pictures / "cut.npz").write_bytes(whole)
    with (pictures / "alone.npz").open("wb") as stream:
        np.save(stream, images)
    for name in ("cut.npz", "alone.npz"):
        (row,) = bench("score", made.whole, f"photos/{name}").rows
        assert row["error"].startswith("not a readable npz"), name


def test_a_thumbnail_of_16_bits_is_not_a_white_square() -> None:
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    detector = Detector.load(Path(__file__).parent / "exported_by_0_1", "cpu")  # which has no patches
    png, where = _thumbnail(Source("a", lambda: Image.fromarray(grey)), detector)
    assert where is None
    with Image.open(io.BytesIO(png)) as thumbnail:
        assert np.array_equal(np.asarray(thumbnail)[:, :, 0], grey >> 8)


def test_images_are_read_a_bounded_number_ahead() -> None:
    read: list[int] = []

    def endless() -> Iterator[Source]:
        number = 0
        while True:
            read.append(number)
            number += 1
            yield Source(str(number), lambda: Image.new("RGB", (8, 8)))

    squares = decoded(endless(), 8, 6, Values())
    for _ in range(10):
        next(squares)
    assert len(read) <= 16
    squares.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("scores", "kept"), [([1, 1, 1, 1], "ab"), ([1, 2, 1, 2], "bd"), ([0, 1, 3, 1], "cb")])
def test_of_equal_scores_the_first_images_are_kept_and_shown_in_their_order(scores: list[int], kept: str) -> None:
    top = Top(2)
    sources = [Source(name, lambda: Image.new("RGB", (8, 8))) for name in "abcd"]
    seen = [Row(one, score=float(score), ood=True, p_value=0.5) for one, score in zip(sources, scores, strict=True)]
    assert list(top.watch(seen)) == seen
    detector = Detector.load(Path(__file__).parent / "exported_by_0_1", "cpu")
    assert "".join(item.path for item in top.items(detector)) == kept


def test_what_stands_above_the_page(monkeypatch: pytest.MonkeyPatch, made: Made) -> None:
    told: list[dict[str, str]] = []
    gallery = "benchmark.report.page.gallery.write_gallery"
    monkeypatch.setattr(gallery, lambda out, items, title, about: told.append(about))
    progress = Progress(6)
    progress.counts = Counts(seen=6, ood=2, broken=1)
    detector = Detector.load(made.whole)
    for threshold in (None, 0.5):
        write_page(Path("a.html"), Top(2), progress, detector, threshold)
    images = "5 scored, 2 above the threshold (OOD: unlike the training images); here the 0 with the highest scores"
    assert [about["images"] for about in told] == [images] * 2 and told[0]["not readable"] == "1; the rows name them"
    rate = detector.settings.threshold
    low, high = (f"{100 * end:.2g}" for end in rate.rate_interval)
    own = f"{100 * rate.rate:.2g}% ({low} to {high}%) of usual images are above it"
    assert told[0]["threshold"] == f"{detector.threshold:.6g}; a larger score is more anomalous; {own}"
    assert told[1]["threshold"] == "0.5; a larger score is more anomalous; as given"
    assert told[0]["detector"] == f"{made.record.name} (40 training images)"
