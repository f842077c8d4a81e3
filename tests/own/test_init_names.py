"""`bench init` of several folders: whose images stand under a name, and who is told when that changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Said, run_bench
from own_pictures import fails, pictures, save
from PIL import Image

from benchmark.data import images
from benchmark.own.bring import bring
from benchmark.own.examine import examine
from benchmark.own.layout import free_name, layout, slug
from benchmark.own.summary import notes
from benchmark.plan import sweep

SEES = ("sweep {} --dry-run", "status {}", "report --table 2 --sweep {}", "recommend {}")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("benchmark.launch.slurm.is_available", lambda: False)
    return lambda *arguments: run_bench(monkeypatch, capsys, *arguments)


def test_two_folders_of_one_name(bench: Callable[..., Said]) -> None:
    save(Path("projA/images"), pictures(40, seed=1))
    save(Path("projB/images"), pictures(40, seed=2))
    said = bench("init", "projA/images", "--cpu")
    assert said.code == 0 and "other images" not in said.err
    before = (images.read_manifest(Path("data"), "images", "train") or {})["sha256"]
    said = bench("init", "projB/images", "--cpu")
    assert said.code == 2 and said.err.index("--name NAME") < said.err.index("--force")
    said = bench("init", "projB/images", "--cpu", "--to", "b.yaml")
    assert said.code == 2 and said.err.index("--name NAME") < said.err.index("--replace") and said.err.count("\n") == 1
    for words in SEES:
        assert "other images" not in bench(*words.format("images.yaml").split()).err
    assert bench("init", "projB/images", "--cpu", "--to", "b.yaml", "--replace").code == 0
    now = (images.read_manifest(Path("data"), "images", "train") or {})["sha256"]
    for words in SEES:
        said = bench(*words.format("images.yaml").split())
        (told,) = [line for line in said.err.splitlines() if "was written for other images than" in line]
        assert told.startswith("images.yaml: ") and "images/test" in told and "--name NAME" in told
        assert f"images/train (sha256 {before[:8]}, now {now[:8]})" in told
        assert "was written for" not in bench(*words.format("b.yaml").split()).err
    assert bench("init", "projA/images", "--cpu", "--name", "a", "--force").code == 0
    assert sweep.load(Path("a.yaml")).runs[0].config.in_dist == "a"


def test_a_set_that_is_not_there_is_none_that_changed(bench: Callable[..., Said]) -> None:
    save(Path("pets"), pictures(40, seed=1))
    assert bench("init", "pets", "--cpu").code == 0
    assert sweep.other_images(Path("pets.yaml"), Path("elsewhere")) == ""
    assert sweep.other_images(Path("smoke"), Path("data")) == ""  # written by hand


def test_names_carry_something_of_every_folder() -> None:
    names = [
        "猫",
        "犬",
        "фото 2",
        "видео 2",
        "Straße",
        "Strase",
        "!!!",
        "???",
        "caf",
        "café",
        "2024",
        "Stone Walls (2)",
    ]
    found = [slug(name) for name in names]
    assert len(set(found)) == len(names) and all(images.folder(Path(), name, "test") for name in found)
    assert found[8:] == ["caf", "cafe", "2024", "stone-walls-2"] and found[5] == "strase"
    assert found[0].startswith("images-") and found[2].startswith("2-") and found[4].startswith("strasse")
    assert slug("cafe\u0301") == "cafe" and slug("\u732b") == slug("猫")
    assert free_name(Path("a/猫")) == slug("猫") and slug(os.fsdecode(b"\xff"))


def test_sets_whose_names_lose_all_letters_stand_beside_each_other(tmp_path: Path) -> None:
    for seed, place in enumerate(("in", "ood/猫", "ood/犬")):
        save(tmp_path / "mine" / place, pictures(30, seed=seed))
    names = [source.name for source in layout(tmp_path / "mine", "mine").ood]
    assert len(set(names)) == 2 and all(name.startswith("mine-images-") for name in names)


def test_links_are_the_images_that_they_point_to(tmp_path: Path) -> None:
    base = tmp_path / "mine"
    save(base / "all", pictures(30, seed=1))
    save(base / "aux", pictures(10, seed=2))
    (base / "in").mkdir()
    for place in ("all", "aux"):
        for file in sorted((base / place).iterdir()):
            (base / "in" / f"{place}-{file.name}").symlink_to(Path("..") / place / file.name)
    found = layout(base, "mine")
    assert len(found.in_dist.files) == 40 and found.auxiliary is not None and len(found.auxiliary.files) == 10
    (base / "in").rename(base / "own")
    (base / "in").mkdir()
    (base / "in/far").symlink_to("../aux")  # a folder of another set, by a link
    assert len(layout(base, "mine").in_dist.files) == 10
    (base / "alias").symlink_to("aux")
    everything = layout(base, "mine", in_dist=".")  # less those of aux, by whatever way
    assert {Path(file).parent.name for file in everything.in_dist.files} == {"all", "own"}
    assert len(everything.in_dist.files) == 30 + 40  # a link of one's own is not of the set that it points into
    only = tmp_path / "only"
    save(only / "aux", pictures(10, seed=2))
    assert "all its images are those of the auxiliary or OOD folders" in fails(lambda: layout(only, "x", in_dist="."))
    for number in range(3):
        (only / f"in-{number}.png").symlink_to("nowhere.png")
    assert len(layout(only, "x").in_dist.files) == 3
    assert "none of its 3 image files can be read" in fails(lambda: bring(layout(only, "x"), tmp_path / "data"))


def test_hidden_folders_and_macos_ones_are_no_sets(tmp_path: Path) -> None:
    for place in ("in", "ood/far", "ood/.thumbnails", "ood/__MACOSX", "__MACOSX", ".cache"):
        save(tmp_path / "mine" / place, pictures(2))
    found = layout(tmp_path / "mine", "mine")
    assert [source.title for source in found.ood] == ["ood/far"] and found.unused == ()
    (tmp_path / "mine/in").rename(tmp_path / "mine/cats")
    assert "folders in it: cats, ood" in fails(lambda: layout(tmp_path / "mine", "mine"))


def said_of(folder: Path, size: int = 32) -> list[str]:
    brought = bring(layout(folder, "mine"), folder.parent / f"data-{folder.name}", size)
    return notes(brought, examine(brought))


def test_the_size_that_is_stored_and_what_it_loses(tmp_path: Path) -> None:
    for i, picture in enumerate(pictures(30, seed=1)):
        sides = (75, 90) if i == 0 else (528, 600) if i == 1 else (128, 100)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(picture).resize(sides).save(tmp_path / f"photos/{i}.png")
    (line,) = [line for line in said_of(tmp_path / "photos") if "stored at" in line]
    assert line == (
        "your images have 75 to 528 pixels (the shorter side); stored at 32: of the median image, detail finer than "
        "3.12 pixels is lost; --size 48 to 256 keeps more, and takes longer; only the central square is seen, without "
        "22% of the median image"
    )
    assert said_of(tmp_path / "photos", 128)[0].endswith(
        "; stored at 128: of the largest, detail finer than 4.12 pixels is lost; only the central square is seen, "
        "without 22% of the median image"
    )
    assert "--size" not in said_of(tmp_path / "photos", 64)[0]  # 1.6 pixels are little
    save(tmp_path / "small", pictures(30, seed=1))
    assert said_of(tmp_path / "small")[0] == "your images have 32 pixels (the shorter side); stored at 32"


def test_a_narrow_range_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for i, picture in enumerate(pictures(30, seed=1)):
        Image.fromarray(picture[..., 0].astype(np.uint16) * 16).save(tmp_path / f"scans/{i}.png")
    assert any(
        line.startswith("warning: scans: all pixels have values from 0 to 15 ") for line in said_of(tmp_path / "scans")
    )


def test_progress_says_what_it_counts(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    brought = bring(layout(folder, "mine"), tmp_path / "data", tick=lambda *line: told.append(line))
    examine(brought, lambda *line: told.append(line))
    kinds = dict.fromkeys(what for what, _, _ in told)
    assert "image files read of in" in kinds and "images of in compared with one another" in kinds
    assert "images of aux compared with those of in" in kinds
    steps = [(done, total) for what, done, total in told if what == "sets compared by image statistics"]
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4)]
