"""Each loader on a miniature of its set's official files."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import run_bench
from picture_files import noise, one_line, quiet, reference, save

from benchmark.data import archives, catalog, images, prepare
from benchmark.errors import BenchError


def trusting(path: str, md5: str | None = None) -> bool:
    return os.path.isfile(path)


@pytest.fixture
def any_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    """A miniature cannot have the official check sums."""
    for module in ("cifar", "svhn", "stl10", "places365"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", trusting)
    monkeypatch.setattr(archives, "check_md5", lambda *_: None)


def cifar_batch(path: Path, pixels: np.ndarray, key: str, labels: list[int]) -> None:
    """CIFAR's format: a pickled dict, each row of `data` the red, then green, then blue plane."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        pickle.dump({"data": pixels.transpose(0, 3, 1, 2).reshape(len(pixels), 3072), key: labels}, stream, protocol=2)


def test_cifar10(tmp_path: Path, any_md5: None) -> None:
    train, test = noise(10, 32, 32, 3), noise(3, 32, 32, 3, seed=1)
    source = tmp_path / "source/cifar-10-batches-py"
    for i in range(5):
        cifar_batch(source / f"data_batch_{i + 1}", train[2 * i : 2 * i + 2], "labels", [i, i + 5])
    cifar_batch(source / "test_batch", test, "labels", [9, 0, 4])
    names = [f"class {i}" for i in range(10)]
    (source / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))
    stored = prepare.prepare("cifar10", tmp_path / "data", tmp_path / "source", report=quiet)
    assert [s.split for s in stored] == ["train", "test"]
    assert np.array_equal(stored[0].images, train) and stored[0].labels.tolist() == [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]
    assert np.array_equal(stored[1].images, test) and stored[1].labels.tolist() == [9, 0, 4]
    assert stored[0].manifest["classes"] == names
    assert stored[0].manifest["official"] is False  # ten images are not the whole of CIFAR10


def test_cifar100_takes_fine_labels(tmp_path: Path, any_md5: None) -> None:
    train, test = noise(4, 32, 32, 3), noise(2, 32, 32, 3, seed=1)
    source = tmp_path / "cifar-100-python"
    cifar_batch(source / "train", train, "fine_labels", [99, 3, 5, 7])
    cifar_batch(source / "test", test, "fine_labels", [1, 98])
    meta = {"fine_label_names": [f"fine {i}" for i in range(100)], "coarse_label_names": ["no"] * 20}
    (source / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    stored = prepare.prepare("cifar100", tmp_path / "data", tmp_path, report=quiet)
    assert np.array_equal(stored[0].images, train) and stored[1].labels.tolist() == [1, 98]
    assert stored[0].manifest["classes"][99] == "fine 99"


def test_svhn(tmp_path: Path, any_md5: None) -> None:
    from scipy.io import savemat

    pixels = noise(4, 32, 32, 3)  # the file has the images on the last axis, and calls the digit 0 "10"
    mat = {"X": pixels.transpose(1, 2, 3, 0), "y": np.array([[10], [1], [9], [10]], np.uint8)}
    savemat(tmp_path / "test_32x32.mat", mat)
    (stored,) = prepare.prepare("svhn", tmp_path / "data", tmp_path, report=quiet)
    assert np.array_equal(stored.images, pixels) and stored.labels.tolist() == [0, 1, 9, 0]


def test_stl10(tmp_path: Path, any_md5: None) -> None:
    pixels = noise(3, 96, 96, 3)
    source = tmp_path / "stl10_binary"
    source.mkdir()
    for file in ("train_X.bin", "train_y.bin", "unlabeled_X.bin"):
        (source / file).write_bytes(b"")
    pixels.transpose(0, 3, 2, 1).tofile(source / "test_X.bin")  # planes, each column by column
    np.array([1, 10, 3], np.uint8).tofile(source / "test_y.bin")
    (source / "class_names.txt").write_text("\n".join(f"c{i}" for i in range(10)))
    (stored,) = prepare.prepare("stl10", tmp_path / "data", tmp_path, report=quiet)
    assert np.array_equal(stored.images, np.stack([reference(p) for p in pixels]))
    assert stored.labels.tolist() == [0, 9, 2] and stored.manifest["classes"][9] == "c9"
    (full,) = prepare.prepare("stl10@96", tmp_path / "data", tmp_path, report=quiet)
    assert full.name == "stl10@96" and np.array_equal(full.images, pixels)


@pytest.mark.parametrize("layout", ["dtd/dtd", "dtd", "."])
def test_texture_first_split(tmp_path: Path, layout: str) -> None:
    base = tmp_path / "source" / layout
    names = ["zigzagged/zigzagged_0001.jpg", "banded/banded_0002.jpg", "banded/banded_0007.jpg"]
    pixels = [save(base / "images" / name, noise(48, 60 + 9 * i, 3, seed=i)) for i, name in enumerate(names)]
    save(base / "images/banded/banded_0003.jpg", noise(40, 40, 3))  # belongs to another split
    (base / "labels").mkdir()
    (base / "labels/test1.txt").write_text("\n".join(names) + "\n")
    (base / "labels/train1.txt").write_text("banded/banded_0003.jpg\n")
    (base / "imdb").mkdir()
    (stored,) = prepare.prepare("texture", tmp_path / "data", tmp_path / "source", report=quiet)
    assert np.array_equal(stored.images, np.stack([reference(p) for p in pixels]))
    assert stored.labels.tolist() == [1, 0, 0] and stored.manifest["classes"] == ["banded", "zigzagged"]


def test_places365_small_validation(tmp_path: Path, any_md5: None) -> None:
    pixels = [save(tmp_path / f"val_256/Places365_val_0000000{i}.jpg", noise(256, 256, 3, seed=i)) for i in (1, 2)]
    (tmp_path / "categories_places365.txt").write_text("/a/airfield 0\n/b/bar 1\n")
    (tmp_path / "places365_val.txt").write_text("Places365_val_00000001.jpg 1\nPlaces365_val_00000002.jpg 0\n")
    (stored,) = prepare.prepare("places365", tmp_path / "data", tmp_path, report=quiet)
    assert np.array_equal(stored.images, np.stack([reference(p) for p in pixels]))
    assert stored.labels.tolist() == [1, 0] and stored.manifest["classes"] == ["/a/airfield", "/b/bar"]


@pytest.mark.parametrize("inside", ["", "train", "ILSVRC/Data/CLS-LOC/train"])
def test_imagenet_train_tree(tmp_path: Path, inside: str) -> None:
    made = {}
    for label, wnid in enumerate(("n01440764", "n01443537", "n15075141")):
        for i in range(4):
            pixels = save(tmp_path / "in" / inside / wnid / f"{wnid}_{i}.JPEG", noise(60, 80, 3, seed=10 * label + i))
            made[label, i] = reference(pixels)
    (tmp_path / "in" / inside / "readme.txt").write_text("no image")
    (stored,) = prepare.prepare("imagenet", tmp_path / "data", tmp_path / "in", report=quiet)
    assert stored.split == "aux" and stored.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert np.array_equal(stored.images, np.stack([made[k] for k in sorted(made)]))


def test_imagenet30_picks_its_classes_and_uses_the_256_pixel_recipe(tmp_path: Path) -> None:
    wnids = list(catalog.IMAGENET30)
    for i, wnid in enumerate([*wnids, "n01440764"]):  # a tench is not one of the thirty
        save(tmp_path / "val" / wnid / "a.JPEG", noise(50, 70, 3, seed=i))
    (stored,) = prepare.prepare("imagenet30", tmp_path / "data", tmp_path, report=quiet)
    expected = [reference(noise(50, 70, 3, seed=i), first=256) for i in range(30)]
    assert np.array_equal(stored.images, np.stack(expected)) and stored.labels.tolist() == list(range(30))
    assert stored.manifest["classes"][:2] == ["acorn", "airliner"] and "256" in stored.manifest["recipe"]
    os.rename(tmp_path / "val" / wnids[7], tmp_path / "val" / "n99999999")
    with pytest.raises(BenchError) as error:
        prepare.prepare("imagenet30", tmp_path / "again", tmp_path, report=quiet)
    assert wnids[7] in one_line(error)


def test_other_images_under_the_name_are_replaced_when_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "b.jpg"):
        save(tmp_path / "lsun" / name, noise(40, 40, 3))
        words = ("data", "prepare", "lsun", "--source", tmp_path / "lsun", "--data", tmp_path / "data")
        said = run_bench(monkeypatch, capsys, *words)
    assert said.code == 2 and "allow it with --replace" in said.err
    assert run_bench(monkeypatch, capsys, *words, "--replace").code == 0
    assert images.load(tmp_path / "data", "lsun", "test").count == 2


def test_imagenet30_is_never_made_of_the_training_images_that_are_negatives(tmp_path: Path) -> None:
    for i, wnid in enumerate(catalog.IMAGENET30):
        save(tmp_path / "train" / wnid / "a.JPEG", noise(50, 70, 3, seed=i))
    save(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG", noise(50, 70, 3))  # flat, as the official archive unpacks
    with pytest.raises(BenchError, match="that lie flat must be sorted"):
        prepare.prepare("imagenet30", tmp_path / "data", tmp_path, report=quiet)
    for wnid in catalog.IMAGENET30:
        save(tmp_path / "val" / wnid / "a.JPEG", noise(50, 70, 3, seed=99))
    (stored,) = prepare.prepare("imagenet30", tmp_path / "data", tmp_path, report=quiet)
    assert np.array_equal(stored.images[0], reference(noise(50, 70, 3, seed=99), first=256))


@pytest.mark.parametrize("form", ["folder", "parent", "zip"])
def test_tinyimagenet_validation_images(tmp_path: Path, any_md5: None, form: str) -> None:
    base = tmp_path / "tiny-imagenet-200"
    rows = [("val_0.JPEG", "n02000000"), ("val_1.JPEG", "n01000000"), ("val_2.JPEG", "n02000000")]
    pixels = [save(base / "val/images" / file, noise(64, 64, 3, seed=i)) for i, (file, _) in enumerate(rows)]
    (base / "wnids.txt").write_text("n02000000\nn01000000\n")
    (base / "val/val_annotations.txt").write_text("".join(f"{f}\t{w}\t0\t0\t62\t62\n" for f, w in rows))
    source = {"folder": base, "parent": tmp_path, "zip": tmp_path / "tiny-imagenet-200.zip"}[form]
    if form == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            for file in base.rglob("*"):
                archive.write(file, file.relative_to(tmp_path))
    (stored,) = prepare.prepare("tinyimagenet", tmp_path / "data", source, report=quiet)
    assert np.array_equal(stored.images, np.stack([reference(p) for p in pixels]))
    assert stored.labels.tolist() == [1, 0, 1]


def test_lsun_by_scene_or_flat(tmp_path: Path) -> None:
    for i, scene in enumerate(catalog.LSUN_SCENES):
        save(tmp_path / "scenes" / scene / "a" / "b" / f"{i}.webp", noise(64, 90, 3, seed=i))
        save(tmp_path / "flat" / f"{i}.jpg", noise(64, 90, 3, seed=i))
    (scenes,) = prepare.prepare("lsun", tmp_path / "data", tmp_path / "scenes", report=quiet)
    expected = np.stack([reference(noise(64, 90, 3, seed=i), first=256) for i in range(10)])
    assert np.array_equal(scenes.images, expected) and scenes.labels.tolist() == list(range(10))
    (flat,) = prepare.prepare("lsun", tmp_path / "flat-data", tmp_path / "flat", report=quiet)
    assert np.array_equal(flat.images, expected) and set(flat.labels.tolist()) == {-1}
    os.rename(tmp_path / "scenes/tower", tmp_path / "scenes/towers")
    with pytest.raises(BenchError, match="tower"):
        prepare.prepare("lsun", tmp_path / "x", tmp_path / "scenes", report=quiet)


def test_dti_checks_its_md5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, pixels = tmp_path / "300K_random_images.npy", noise(20, 32, 32, 3)
    np.save(file, pixels)
    with pytest.raises(BenchError) as error:
        prepare.prepare("dti", tmp_path / "data", file, report=quiet)
    assert "64ca64357de98351f28454274a112dc3" in one_line(error)
    md5 = hashlib.md5(file.read_bytes()).hexdigest()
    known = replace(catalog.CATALOG["dti"], checksum={file.name: md5}, counts={"aux": 20})
    monkeypatch.setitem(catalog.CATALOG, "dti", known)
    (stored,) = prepare.prepare("dti", tmp_path / "data", tmp_path, report=quiet)
    assert np.array_equal(stored.images, pixels) and set(stored.labels.tolist()) == {-1}
    assert stored.manifest["official"] is True  # the whole count, from the official file


def test_dti_that_hides_a_pickle_is_refused(tmp_path: Path, any_md5: None) -> None:
    np.save(tmp_path / "300K_random_images.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(BenchError) as error:
        prepare.prepare("dti", tmp_path / "data", tmp_path, report=quiet)
    assert "300K_random_images.npy" in one_line(error)


@pytest.mark.parametrize("name", ["cifar10", "svhn", "stl10", "texture", "places365", "imagenet", "imagenet30",
                                  "tinyimagenet", "dti"])  # fmt: skip
def test_a_source_without_the_files_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(BenchError) as error:
            prepare.prepare(name, tmp_path / "data", source, report=quiet)
        assert str(source) in one_line(error)
    assert images.stored(tmp_path / "data") == []


@pytest.mark.parametrize("name", ["imagenet", "imagenet30", "tinyimagenet", "lsun", "places365", "dti", "lsunlike"])
def test_sets_that_may_not_be_downloaded_say_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchError) as error:
        prepare.prepare(name, tmp_path, report=quiet)
    assert catalog.info(name).how_to_get in one_line(error)
    assert not list(tmp_path.iterdir())


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="did you mean 'cifar10'"):
        prepare.prepare("cifar11", tmp_path, report=quiet)


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network\nat all")

    monkeypatch.setattr(datasets, "SVHN", offline)
    with pytest.raises(BenchError) as error:
        prepare.prepare("svhn", tmp_path, report=quiet)
    assert "download failed (no network)" in one_line(error)


def test_a_texture_download_that_was_stopped_while_unpacking_is_unpacked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    unpacked, asked = tmp_path / ".downloads/texture/dtd/dtd", []

    def official(root: str, **_: object) -> None:
        """As torchvision does it: a folder that is there is taken for all of it."""
        asked.append(unpacked.exists())
        if not unpacked.exists():
            for name in ("banded/a.jpg", "banded/b.jpg"):
                save(unpacked / "images" / name, noise(40, 40, 3))
            (unpacked / "labels").mkdir()
            (unpacked / "labels/test1.txt").write_text("banded/a.jpg\nbanded/b.jpg\n")

    monkeypatch.setattr(datasets, "DTD", official)
    save(unpacked / "images/banded/a.jpg", noise(40, 40, 3))
    assert prepare.prepare("texture", tmp_path, report=quiet)[0].count == 2
    assert prepare.prepare("texture", tmp_path, report=quiet)[0].count == 2 and asked == [False, True]


def test_builtin_sets_are_prepared_too(tmp_path: Path) -> None:
    (stored,) = prepare.prepare("synthetic-digits", tmp_path, report=quiet)
    assert stored.count == 400 and stored.manifest["official"]


@pytest.mark.parametrize("option", ["--source", "--from"])
def test_the_command_reads_the_files_given_and_stores_the_size_asked_for(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    for wnid in ("n01440764", "n01443537"):
        made += [save(tmp_path / "in/train" / wnid / f"{i}.JPEG", noise(60, 80, 3, seed=len(made) + i)) for i in (0, 1)]
    root = tmp_path / "data"
    words = ["data", "prepare", "imagenet", option, tmp_path / "in", "--size", 16, "--data", root]
    said = run_bench(monkeypatch, capsys, *words)
    assert (said.code, said.err) == (0, "")
    stored = images.load(root, "imagenet@16", "aux")
    assert np.array_equal(stored.images, np.stack([reference(pixels, 16) for pixels in made]))
    assert stored.labels.tolist() == [0, 0, 1, 1]
    assert images.stored(root) == [("imagenet@16", "aux")]
    # Without a size of its own 32 pixels; without the files, whose licence forbids to fetch them, what to do.
    assert run_bench(monkeypatch, capsys, *words[:5], "--data", root).code == 0
    assert np.array_equal(images.load(root, "imagenet", "aux").images[0], reference(made[0]))
    lacking = run_bench(monkeypatch, capsys, *words[:3], "--data", tmp_path / "empty")
    assert lacking.code == 2 and catalog.info("imagenet").how_to_get in " ".join(lacking.err.split())
