"""Bringing one's own images: npz files, folders, and what is wrong with them."""

from __future__ import annotations

import io
import json
import os
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from picture_files import noise, npz, one_line, quiet, reference, save
from PIL import Image, ImageOps
from tiny_runs import tiny

from benchmark.data import catalog, images
from benchmark.data.finding import image_files, not_read
from benchmark.data.importing import import_dir
from benchmark.data.inventory import listing, verify
from benchmark.data.pictures import class_folders, read_picture, turned_by_exif
from benchmark.data.prepare import prepare
from benchmark.errors import BenchError
from benchmark.running.images import load_images


def test_import_npz(tmp_path: Path) -> None:
    content = npz(tmp_path / "stl10-unlabeled-test.npz")
    npz(tmp_path / "cifar10-train.npz", 4)
    (tmp_path / "classes.json").write_text(json.dumps({"cifar10-train": ["a", "b", "c"]}))
    said: list[str] = []
    stored = import_dir(tmp_path, tmp_path / "data", report=said.append)
    assert [(s.name, s.split) for s in stored] == [("cifar10", "train"), ("stl10-unlabeled", "test")]
    assert np.array_equal(stored[1].images, content["images"]) and stored[1].labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert stored[0].manifest["classes"] == ["a", "b", "c"] and stored[1].manifest["classes"] is None
    assert stored[0].manifest["official"] is False and stored[0].manifest["recipe"].startswith("imported")
    assert any("4 images (official: 50000)" in line for line in said)


def test_import_again_and_replace(tmp_path: Path) -> None:
    npz(tmp_path / "mine-test.npz")
    first = import_dir(tmp_path, tmp_path / "data", report=quiet)
    assert import_dir(tmp_path, tmp_path / "data", report=quiet)[0].fingerprint == first[0].fingerprint
    npz(tmp_path / "mine-test.npz", 5)
    with pytest.raises(BenchError, match="--replace"):
        import_dir(tmp_path, tmp_path / "data", report=quiet)
    assert images.load(tmp_path / "data", "mine", "test").count == 6
    assert import_dir(tmp_path, tmp_path / "data", replace=True, report=quiet)[0].count == 5


def saved_alone() -> bytes:
    """A .npy file's content, which somebody may have renamed."""
    written = io.BytesIO()
    np.save(written, noise(6, 32, 32, 3))
    return written.getvalue()


def object_array() -> np.ndarray:
    return np.array([{}] * 6, dtype=object)


BAD: dict[str, Callable[[Path], object]] = {
    "a single array": lambda p: p.write_bytes(saved_alone()),
    "no images": lambda p: np.savez(p, labels=np.arange(6)),
    "no labels": lambda p: np.savez(p, images=noise(6, 32, 32, 3)),
    "float images": lambda p: npz(p, images=noise(6, 32, 32, 3) / 255),
    "wrong size": lambda p: npz(p, images=noise(6, 28, 28, 3)),
    "grey": lambda p: npz(p, images=noise(6, 32, 32)),
    "channels first": lambda p: npz(p, images=noise(6, 3, 32, 32)),
    "none at all": lambda p: npz(p, images=noise(0, 32, 32, 3), labels=np.zeros(0, int)),
    "too few labels": lambda p: npz(p, labels=np.arange(5)),
    "float labels": lambda p: npz(p, labels=np.arange(6) / 2),
    "labels below -1": lambda p: npz(p, labels=np.full(6, -2)),
    "labels beyond classes.json": lambda p: npz(p, labels=np.arange(6)),
    "pickled labels": lambda p: npz(p, labels=object_array()),
    "not a zip": lambda p: p.write_bytes(b"hello"),
    "empty file": lambda p: p.write_bytes(b""),
    "an npy inside the name": lambda p: p.write_bytes(b"\x93NUMPY\x01\x00"),
    "cut short": lambda p: (npz(p), p.write_bytes(p.read_bytes()[:-3000])),
    "flipped bits": lambda p: (npz(p), p.write_bytes(p.read_bytes()[:2000] + b"????" + p.read_bytes()[2004:])),
}


@pytest.mark.parametrize("how", BAD)
def test_a_bad_npz_is_named_in_one_line_and_nothing_is_stored(tmp_path: Path, how: str) -> None:
    file = tmp_path / "mine-test.npz"
    BAD[how](file)
    (tmp_path / "classes.json").write_text('{"mine-test": ["a", "b", "c"]}')
    with pytest.raises(BenchError) as error:
        import_dir(tmp_path, tmp_path / "data", report=quiet)
    assert str(file) in one_line(error) or "mine/test" in one_line(error)
    assert images.stored(tmp_path / "data") == []


def test_folder_level_mistakes(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such folder"):
        import_dir(tmp_path / "x", tmp_path / "data")
    with pytest.raises(BenchError, match="nothing to import"):
        import_dir(tmp_path, tmp_path / "data")
    npz(tmp_path / "mine.npz")
    with pytest.raises(BenchError, match=r"mine\.npz"):
        import_dir(tmp_path, tmp_path / "data")
    (tmp_path / "mine.npz").unlink()
    for name, text in (("synthetic-test", "built-in"), ("cifar10-aux", "no split 'aux'"), ("My Set-test", "My Set")):
        npz(tmp_path / f"{name}.npz")
        with pytest.raises(BenchError, match=text):
            import_dir(tmp_path, tmp_path / "data", report=quiet)
        (tmp_path / f"{name}.npz").unlink()
    npz(tmp_path / "mine-test.npz")
    for content in ("[1]", '{"a": 3}', '{"a": [1]}', "{"):
        (tmp_path / "classes.json").write_text(content)
        with pytest.raises(BenchError, match=r"classes\.json"):
            import_dir(tmp_path, tmp_path / "data", report=quiet)


def test_import_folders_of_images(tmp_path: Path) -> None:
    colour = save(tmp_path / "pets-train/dog/x.png", noise(50, 40, 3, seed=1))
    grey = save(tmp_path / "pets-train/cat/deep/er/y.JPG", noise(37, 64, seed=2))
    (tmp_path / "pets-train/cat/broken.png").write_bytes(b"not an image")
    half = (tmp_path / "pets-train/dog/x.png").read_bytes()
    (tmp_path / "pets-train/dog/half.png").write_bytes(half[: len(half) // 2])
    (tmp_path / "pets-train/cat/notes.txt").write_text("ignored")
    said: list[str] = []
    (stored,) = import_dir(tmp_path, tmp_path / "data", report=said.append)
    assert stored.manifest["classes"] == ["cat", "dog"] and stored.labels.tolist() == [0, 1]
    assert np.array_equal(stored.images, np.stack([reference(grey), reference(colour)]))
    text = "\n".join(said)
    assert "broken.png" in text and "half.png" in text and "2 unreadable files skipped" in text
    assert "pets-train: not read: 1 .txt;" in text and stored.manifest["official"] is False
    assert "not imported" not in text


def test_import_flat_folder_at_another_size_and_by_exif(tmp_path: Path) -> None:
    pixels = np.kron(noise(6, 6, 3), np.ones((8, 8, 1), np.uint8))
    (tmp_path / "mine@48-aux").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 3  # the camera was upside down
    Image.fromarray(pixels).save(tmp_path / "mine@48-aux/a.png", exif=exif)
    (stored,) = import_dir(tmp_path, tmp_path / "data", report=quiet)
    assert (stored.name, stored.labels.tolist(), stored.manifest["size"]) == ("mine@48", [-1], 48)
    assert np.array_equal(stored.images[0], pixels[::-1, ::-1])


def test_folders_that_are_no_split_are_named_and_what_is_hidden_is_not_read(tmp_path: Path) -> None:
    for place in ("pets-train/cat", "pets-val", "pets-train/cat/.thumbnails", ".cache"):
        save(tmp_path / place / "a.png", noise(32, 32, 3))
    said: list[str] = []
    assert [s.count for s in import_dir(tmp_path, tmp_path / "data", report=said.append)] == [1]
    assert [line.split(";")[0] for line in said if "not imported" in line] == [f"{tmp_path}: not imported: pets-val/"]


def test_links_to_folders_are_followed_and_each_folder_is_read_once(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere/a.png", noise(32, 32, 3))
    (tmp_path / "pets-train").mkdir()
    (tmp_path / "pets-train/far").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/itself").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "elsewhere/loop")
    left_out: Counter[str] = Counter()
    assert image_files(tmp_path / "pets-train", left_out) == [str(tmp_path / "pets-train/far/a.png")]
    assert not_read(left_out) == "not read: 1 without suffix; convert what are images to PNG or JPEG"


def test_a_class_without_images_in_one_split_shifts_no_label(tmp_path: Path) -> None:
    for seed, place in enumerate(("train/ant", "train/bee", "train/cat", "test/bee", "test/cat", "aux/sky")):
        save(tmp_path / "in" / f"pets-{place}" / "a.png", noise(32, 32, 3, seed=seed))
    (tmp_path / "in/pets-test/__MACOSX").mkdir()
    aux, test, train = sorted(import_dir(tmp_path / "in", tmp_path / "data", report=quiet), key=lambda one: one.split)
    assert train.manifest["classes"] == test.manifest["classes"] == ["ant", "bee", "cat"]
    assert train.labels.tolist() == [0, 1, 2] and test.labels.tolist() == [1, 2]
    assert aux.manifest["classes"] == ["sky"] and aux.labels.tolist() == [0]
    for place in (
        "alone/pets-test/cat",
        "apart/pets-test/cat",
        "apart/pets-test/dog",
    ):  # brought later, in other folders
        save(tmp_path / place / "b.png", noise(32, 32, 3, seed=9))
    (later,) = import_dir(tmp_path / "alone", tmp_path / "data", replace=True, report=quiet)
    assert later.manifest["classes"] == ["ant", "bee", "cat"] and later.labels.tolist() == [2]
    (strange,) = import_dir(tmp_path / "apart", tmp_path / "data", replace=True, report=quiet)
    assert strange.manifest["classes"] == ["cat", "dog"]
    ours = tiny(in_dist="pets", variant="dino", train={"batch": 1}, eval={"ood": [], "knn": [1]})
    with pytest.raises(BenchError, match="pets: label 0 is 'ant' in its training images and 'cat' in its test images"):
        load_images(ours, tmp_path / "data")
    import_dir(tmp_path / "alone", tmp_path / "data", replace=True, report=quiet)
    load_images(ours, tmp_path / "data")


@pytest.mark.parametrize("other", ["dog", "DOG", "Dog ", "Do\u0067", "Ｄog"])
def test_classes_that_differ_by_their_spelling_alone_are_refused(tmp_path: Path, other: str) -> None:
    save(tmp_path / "in/pets-train/Dog/a.png", noise(32, 32, 3))
    save(tmp_path / "in/pets-test" / other / "a.png", noise(32, 32, 3, seed=1))
    if other == "Dog":
        assert import_dir(tmp_path / "in", tmp_path / "data", report=quiet)[0].manifest["classes"] == ["Dog"]
        return
    with pytest.raises(BenchError, match=r"is another class than .*, by its spelling alone") as error:
        import_dir(tmp_path / "in", tmp_path / "data", report=quiet)
    assert "pets-train/Dog" in one_line(error) and f"pets-test/{other}" in str(error.value)
    assert images.stored(tmp_path / "data") == []
    (tmp_path / "in/pets-test").rename(tmp_path / "pets-test")  # brought apart
    import_dir(tmp_path / "in", tmp_path / "data", report=quiet)
    (tmp_path / "later").mkdir()
    (tmp_path / "pets-test").rename(tmp_path / "later/pets-test")
    with pytest.raises(BenchError, match=f"later/pets-test/{other}: is another class than the class 'Dog' that pets"):
        import_dir(tmp_path / "later", tmp_path / "data", report=quiet)


def test_an_accent_in_one_character_or_two_is_one_class(tmp_path: Path) -> None:
    save(tmp_path / "in/pets-train/caf\u00e9/a.png", noise(32, 32, 3))
    save(tmp_path / "in/pets-test/cafe\u0301/a.png", noise(32, 32, 3, seed=1))
    with pytest.raises(BenchError, match="by its spelling alone"):
        import_dir(tmp_path / "in", tmp_path / "data", report=quiet)


def test_what_macos_and_cameras_leave_is_no_class_and_one_sided_classes_are_told(tmp_path: Path) -> None:
    for seed, place in enumerate(("train/ant", "train/bee", "test/bee", "test/wasp", "train/__MACOSX", "test/.cache")):
        save(tmp_path / "in" / f"pets-{place}" / "a.png", noise(32, 32, 3, seed=seed))
    save(tmp_path / "in/__MACOSX/pets-aux/a.png", noise(32, 32, 3))
    (tmp_path / "in/photo.jpg").touch()
    npz(tmp_path / "in/numbers-train.NPZ.npz").clear()
    (tmp_path / "in/numbers-train.NPZ.npz").rename(tmp_path / "in/numbers-train.NPZ")
    npz(tmp_path / "in/numbers-test.npz", images=noise(6, 32, 32, 3, seed=5), labels=np.arange(6))
    warned: list[str] = []
    stored = import_dir(tmp_path / "in", tmp_path / "data", report=quiet, warn=warned.append)
    assert {(one.name, one.split): one.manifest["classes"] for one in stored} == {
        ("numbers", "test"): None, ("numbers", "train"): None,
        ("pets", "test"): ["ant", "bee", "wasp"], ("pets", "train"): ["ant", "bee", "wasp"],
    }  # fmt: skip
    assert warned == [
        f"{tmp_path}/in: not imported: photo.jpg; wanted are NAME-SPLIT/, SPLIT one of train, test, aux",
        f"{tmp_path}/in/pets-train: not read: 1 __MACOSX folder; convert what are images to PNG or JPEG",
        "numbers: classes with test images and no train images: 3, 4, 5",
        "pets: classes with train images and no test images: ant",
        "pets: classes with test images and no train images: wasp",
    ]


@pytest.mark.parametrize("tag", range(1, 9))
def test_every_exif_turn_is_pils_own_and_an_odd_tag_beside_it_is_no_matter(tmp_path: Path, tag: int) -> None:
    picture = Image.fromarray(np.kron(noise(5, 7, 3), np.ones((8, 8, 1), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = tag
    picture.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as plain:
        expected = np.asarray(ImageOps.exif_transpose(plain))
    assert np.array_equal(np.asarray(read_picture(str(tmp_path / "a.png"))), expected)
    assert np.array_equal(np.asarray(turned_by_exif(read_picture(str(tmp_path / "a.png")))), expected)  # once
    # A TIFF directory of two tags: the width, as a text, which PIL reads and cannot write, and the turn.
    odd = b"II*\0" + struct.pack("<IH", 8, 2) + struct.pack("<HHI", 0x0100, 2, 4) + b"wid\0"
    odd += struct.pack("<HHIHHI", 0x0112, 3, 1, tag, 0, 0)
    picture.save(tmp_path / "b.png", exif=b"Exif\0\0" + odd)
    assert np.array_equal(np.asarray(read_picture(str(tmp_path / "b.png"))), expected)


def test_official_files_are_not_turned(tmp_path: Path) -> None:
    pixels, exif = np.kron(noise(4, 4, 3), np.ones((8, 8, 1), np.uint8)), Image.Exif()
    exif[0x0112] = 3
    for folder in ("scenes/bedroom", "own-test"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / folder / "a.png", exif=exif)
    official = class_folders(tmp_path / "scenes", ["bedroom"], "test", ["bedroom"])
    assert np.array_equal(np.asarray(official.open(0)), pixels)
    (own,) = import_dir(tmp_path, tmp_path / "data", report=quiet)
    assert np.array_equal(own.images[0], pixels[::-1, ::-1])


def test_a_name_at_a_size_is_of_that_size(tmp_path: Path) -> None:
    for folder in ("in", "bad"):
        (tmp_path / folder).mkdir()
    content = npz(tmp_path / "in/mine@48-train.npz", images=noise(6, 48, 48, 3))
    save(tmp_path / "in/mine@64-test/a.png", noise(90, 90, 3))
    done = import_dir(tmp_path / "in", tmp_path / "data", report=quiet)
    assert [(one.name, one.images.shape) for one in done] == [("mine@48", (6, 48, 48, 3)), ("mine@64", (1, 64, 64, 3))]
    assert np.array_equal(done[0].images, content["images"])
    npz(tmp_path / "bad/mine@64-train.npz")
    with pytest.raises(BenchError, match=r"mine@64-train\.npz: images are uint8 \(6, 32, 32, 3\), not .* 64, 64, 3"):
        import_dir(tmp_path / "bad", tmp_path / "data", report=quiet)


def test_a_damaged_official_file_is_not_the_whole_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.CATALOG, "lsun", replace(catalog.CATALOG["lsun"], counts={"test": 2}))
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name, noise(40, 40, 3))
    assert prepare("lsun", tmp_path / "whole", tmp_path / "in", report=quiet)[0].manifest["official"] is True
    (tmp_path / "in/b.png").write_bytes(b"")
    assert prepare("lsun", tmp_path / "part", tmp_path / "in", report=quiet)[0].manifest["official"] is False


def test_image_folders_that_cannot_be_read_as_meant(tmp_path: Path) -> None:
    (tmp_path / "mine-test").mkdir()
    with pytest.raises(BenchError, match="no image files"):
        import_dir(tmp_path, tmp_path / "data", report=quiet)
    save(tmp_path / "mine-test/a.png", noise(32, 32, 3))
    save(tmp_path / "mine-test/dog/a.png", noise(32, 32, 3))
    with pytest.raises(BenchError, match="beside class folders"):
        import_dir(tmp_path, tmp_path / "data", report=quiet)
    (tmp_path / "mine-test/a.png").unlink()
    (tmp_path / "classes.json").write_text('{"mine-test": ["cat"]}')
    with pytest.raises(BenchError, match=r"classes\.json"):
        import_dir(tmp_path, tmp_path / "data", report=quiet)
    (tmp_path / "mine-test/dog/a.png").write_bytes(b"")
    (tmp_path / "classes.json").unlink()
    with pytest.raises(BenchError, match="no images"):
        import_dir(tmp_path, tmp_path / "data", report=quiet)


def test_real_images(tmp_path: Path) -> None:
    folder = os.environ.get("BENCH_TEST_IMAGES")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set BENCH_TEST_IMAGES to a folder of NAME-SPLIT.npz with real images to run this test")
    stored = import_dir(Path(folder), tmp_path, report=quiet)
    assert {f"{s.name}-{s.split}" for s in stored} == {file.stem for file in Path(folder).glob("*.npz")}
    for kept in stored:
        with np.load(Path(folder) / f"{kept.name}-{kept.split}.npz", allow_pickle=False) as archive:
            assert kept.count == len(archive["labels"]) > 0
            assert np.array_equal(kept.images, archive["images"]) and np.array_equal(kept.labels, archive["labels"])
    assert verify(tmp_path) == []
    assert all(row["official"] is False for row in listing(tmp_path) if row["state"] == "ready")
