"""Which images `bench score` scores: each file once, by whatever ways it is named, and nothing dropped in silence."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Said
from detector_runs import Made
from PIL import Image

from benchmark.detector.sources import find_images
from benchmark.errors import BenchError


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.png", "photos/b.png", "photos/sub/c.png", "photos/sub/deep/d.png", "photos [1]/e.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(name)
    Path("photos/notes.txt").write_text("no image")
    return tmp_path / "photos"


ALL = ["photos/a.png", "photos/b.png", "photos/sub/c.png", "photos/sub/deep/d.png"]


def paths(*arguments: str, listed: bytes = b"", left_out: Counter[str] | None = None) -> list[str]:
    return [source.path for source in find_images(arguments, io.BytesIO(listed), left_out)]


@pytest.mark.parametrize("arguments", [
    ("photos",), ("photos/**",), ("photos/",), ("photos/**", "photos"), ("photos", "photos/sub"),
    ("photos", "photos/a.png"), ("photos", "./photos/sub/../a.png", "photos/*.png"), ("photos", "photos"),
])  # fmt: skip
def test_each_file_comes_once(photos: Path, arguments: tuple[str, ...]) -> None:
    left_out: Counter[str] = Counter()
    assert paths(*arguments, left_out=left_out) == ALL
    assert dict(+left_out) == {".txt": 1}


def test_each_file_comes_once_whichever_way_is_first(photos: Path) -> None:
    assert paths("photos/sub", "photos") == [*ALL[2:], *ALL[:2]]
    assert paths("photos/b.png", "photos", str(photos / "b.png")) == ["photos/b.png", ALL[0], *ALL[2:]]
    assert paths("photos/*", "photos/**/*.png") == [*ALL[:2], "photos/notes.txt", *ALL[2:]]
    assert [os.path.normpath(path) for path in paths("**")] == [*ALL, "photos [1]/e.png"]
    Path("other").symlink_to("photos")
    assert paths("photos", "other", "other/a.png") == ALL
    Path("photos/link.png").symlink_to("a.png")  # a name of its own
    assert paths("photos") == [*ALL[:2], "photos/link.png", *ALL[2:]]
    assert paths("-", "photos/sub", listed=b"photos/a.png\nphotos/sub\nphotos/a.png\n") == [ALL[0], *ALL[2:]]
    Path("photos/.hidden.png").touch()
    assert paths("photos", "photos/.hidden.png")[-1] == "photos/.hidden.png"
    assert paths("photos/sub", "photos/.hidden.png", "photos") == [*ALL[2:], "photos/.hidden.png", *ALL[:2],
                                                                  "photos/link.png"]  # fmt: skip


def test_arrays_come_once_too(photos: Path) -> None:
    np.savez("some.npz", images=np.zeros((2, 8, 8, 3), np.uint8))
    Path("data/mine/test").mkdir(parents=True)
    np.save("data/mine/test/images.npy", np.zeros((2, 8, 8, 3), np.uint8))
    both = ["some.npz[0]", "some.npz[1]", "data/mine/test[0]", "data/mine/test[1]"]
    assert paths("some.npz", "./some.npz", "data/mine/test", "data/mine/test") == both


def test_brackets_in_the_names_of_folders_and_files(photos: Path) -> None:
    inside = ["photos [1]/e.png"]
    for pattern in ("photos [1]/*.png", "photos [1]/**", "photos [1]", "photo* [1]/*.png", str(photos) + " [1]/*.png"):
        assert [os.path.relpath(path) for path in paths(pattern)] == inside, pattern
    assert paths("photos/[ab].png") == ALL[:2]  # and a set of letters stays one
    Path("photos/x[2] a.png").touch()
    assert paths("photos/x[2]*.png") == ["photos/x[2] a.png"]
    with pytest.raises(BenchError, match=r"photos \[2\]/\*\.png: matches no file"):
        find_images(["photos [2]/*.png"])


LISTS = {
    "lines": b"photos/a.png\nphotos/b.png\n",
    "lines of Windows, the last open": b"photos/a.png\r\n\r\nphotos/b.png",
    "a mark before UTF-8": b"\xef\xbb\xbfphotos/a.png\r\nphotos/b.png\r\n",
    "UTF-16 as PowerShell writes it": "\ufeffphotos/a.png\r\nphotos/b.png\r\n".encode("utf-16-le"),
    "UTF-16 the other way": "\ufeffphotos/a.png\nphotos/b.png".encode("utf-16-be"),
    "NULs": b"photos/a.png\0photos/b.png\0",
    "a mark and NULs": b"\xef\xbb\xbfphotos/a.png\0photos/b.png",
}


@pytest.mark.parametrize("form", LISTS)
def test_lists_of_every_form_are_read(photos: Path, form: str) -> None:
    assert paths("-", listed=LISTS[form]) == ["photos/a.png", "photos/b.png"]


def test_a_list_with_nuls_holds_names_with_line_breaks_and_comes_in_pieces(photos: Path) -> None:
    names = [f"photos/{'x' * 150}\n{i}.png" for i in range(1000)]
    assert paths("-", listed=b"".join(name.encode() + b"\0" for name in names)) == names
    plain = [name.replace("\n", "") for name in names]
    assert paths("-", listed="\n".join(plain).encode()) == plain

    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(7)

    assert [source.path for source in find_images(["-"], Slow("\n".join(plain).encode()))] == plain
    assert [source.path for source in find_images(["-"], Slow(b"a.png\nb\0c.png\n"))] == ["a.png", "b\0c.png"]


def test_a_list_is_read_as_it_grows(photos: Path) -> None:
    """`find / | bench score DET -` says something before the whole disk is searched."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as listed:
        os.write(writer, b"photos/a.png\nphotos/b")
        found = find_images(["-"], listed)
        assert next(found).path == "photos/a.png"
        os.write(writer, b".png\n")
        assert next(found).path == "photos/b.png"
        os.close(writer)
        assert next(found, None) is None


def test_links_to_nowhere_and_what_is_not_read_are_said(bench: Callable[..., Said], made: Made, photos: Path) -> None:
    Path("photos/gone.png").symlink_to("nowhere.png")
    for name in ("x.heic", "y.HEIC", "z.avif", "plain", ".hidden.png", "__MACOSX/._a.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).touch()
    said = bench("score", made.whole, "photos/**", "photos/sub")
    rows = {row["path"]: row["error"] for row in said.rows}
    assert sorted(rows) == sorted([*ALL, "photos/gone.png"]) and len(said.rows) == 5
    assert "No such file" in rows["photos/gone.png"] and "5 images" in said.err and "1 not readable" in said.err
    (line,) = [line for line in said.err.splitlines() if line.startswith("not read: ")]
    assert sorted(line[10:].split(";")[0].split(", ")) == [
        "1 .avif", "1 .txt", "1 __MACOSX folder", "1 hidden", "1 without suffix", "2 .heic",
    ]  # fmt: skip
    assert "a sixteenth of the range" in said.err  # all black
    one = bench("score", made.whole, "photos/gone.png")
    assert one.code == 1 and "No such file" in one.rows[0]["error"]
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save("photos/a.png")
    said = bench("score", made.whole, "photos/a.png")
    assert said.code == 0 and "sixteenth" not in said.err and "not read" not in said.err


def test_a_folder_of_other_files_alone_says_which(bench: Callable[..., Said], made: Made, photos: Path) -> None:
    Path("phone").mkdir()
    Path("phone/x.heic").touch()
    said = bench("score", made.whole, "phone")
    assert said.code == 2 and "phone: no image files inside" in said.err and "not read: 1 .heic" in said.err
