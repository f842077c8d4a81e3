"""Which files under a folder are images, and what is said of the rest."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from benchmark.data.finding import image_files, is_hidden, not_read, walk, wanted_files
from benchmark.errors import BenchError


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_are_found_to_the_bottom_and_the_rest_is_counted(tmp_path: Path) -> None:
    make(tmp_path, "b/x.JPG", "a.png", "b/deep/er/y.tiff", "b.png/z.webp")
    make(tmp_path, "c.heic", "b/d.HEIC", "b/e.avif", "README", "b/f.jp2", ".hidden.png", ".notes", "b/._x.JPG")
    make(tmp_path, "__MACOSX/b/._x.png", "__MACOSX/seen.png", ".thumbnails/t.png", "b/__MACOSX/u.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "gone.txt").symlink_to("nowhere.txt")
    left_out: Counter[str] = Counter()
    found = [os.path.relpath(path, tmp_path) for path in image_files(tmp_path, left_out)]
    assert found == ["a.png", "b.png/z.webp", "b/deep/er/y.tiff", "b/x.JPG", "gone.png"]
    assert dict(+left_out) == {
        ".heic": 2, ".avif": 1, "without suffix": 1, ".jp2": 1, ".txt": 1, "hidden": 2, "__MACOSX folder": 2,
    }  # fmt: skip
    said = not_read(left_out)
    assert "2 .heic" in said and "1 without suffix" in said and "..." not in said and said.startswith("not read: 2 ")
    assert not_read(Counter(str(i) for i in range(9))).endswith(", 1 7, ...; convert what are images to PNG or JPEG")
    assert not_read(Counter({".heic": 0})) == ""
    assert [is_hidden(name) for name in (".a", "__MACOSX", "a", "MACOSX", "a.b")] == [True, True, False, False, False]


def test_the_walk_goes_by_name_and_takes_a_folder_once(tmp_path: Path) -> None:
    make(tmp_path, "a/2.png", "a/1/x.png", "a/3.png", "b/y.png")
    (tmp_path / "a/0").symlink_to(tmp_path / "b")
    (tmp_path / "a/again").symlink_to(tmp_path / "a")
    (tmp_path / "a/loop.png").symlink_to("loop.png")
    seen: set[str] = set()

    def walked(folder: str) -> list[str]:
        return [os.path.relpath(path, tmp_path) for path, _ in walk(str(tmp_path / folder), Counter(), seen)]

    assert walked("a") == ["a/0/y.png", "a/1/x.png", "a/2.png", "a/3.png", "a/loop.png"]
    assert walked("b") == walked("a/1") == []


def test_a_folder_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/x.png", "locked/y.png")
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if folder.endswith("locked"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    left_out: Counter[str] = Counter()
    assert image_files(tmp_path, left_out) == [str(tmp_path / "a/x.png")]
    assert not_read(left_out).startswith(f"not read: 1 folder without permission ({tmp_path}/locked)")


def test_a_folder_without_images_says_what_it_has(tmp_path: Path) -> None:
    make(tmp_path, "a.heic", "b.heic")
    with pytest.raises(BenchError, match=r"no image files inside .*; not read: 2 \.heic; convert"):
        wanted_files(tmp_path)
