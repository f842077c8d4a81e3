"""Each loader on a miniature of its set's official files, and bringing one's own images."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data import catalog, images, prepare
from benchmark.errors import BenchError


def quiet(_: str) -> None:
    pass


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Write a PNG or, under another name, a lossless stand-in for JPEG: PIL goes by content, as it does for users."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        Image.fromarray(pixels).save(stream, "PNG")
    return pixels


def reference(pixels: np.ndarray, size: int = 32, first: int | None = None) -> np.ndarray:
    """torchvision's own transforms on a PIL image, which resize as PIL does."""
    from torchvision.transforms import v2

    bicubic = v2.InterpolationMode.BICUBIC
    image = Image.fromarray(pixels).convert("RGB")
    if first:
        image = v2.CenterCrop(first)(v2.Resize(first, bicubic)(image))
    image = v2.Resize(size, bicubic)(v2.CenterCrop(min(image.size))(image))
    return np.asarray(image)


def one_line(error: pytest.ExceptionInfo[BenchError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def trusting(path: str, md5: str | None = None) -> bool:
    return os.path.isfile(path)


@pytest.fixture
def any_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    """A miniature cannot have the official check sums."""
    for module in ("cifar", "svhn", "stl10", "places365"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", trusting)
    monkeypatch.setattr(prepare, "check_md5", lambda *_: None)


# --- the 32x32 step --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 64, 3), (75, 50, 3), (41, 90, 3), (33, 32, 3), (20, 20, 3), (300, 257, 3)])
def test_to_square_is_torchvisions_on_pil_images(shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    assert np.array_equal(prepare.to_square(Image.fromarray(pixels), 32), reference(pixels))
    assert np.array_equal(prepare.to_square(Image.fromarray(pixels), 32, first=256), reference(pixels, first=256))


def test_to_square_antialiases() -> None:
    """A fine chequerboard turns grey; bicubic without antialias would pick single pixels."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    small = prepare.to_square(Image.fromarray(board), 32)
    assert small.shape == (32, 32, 3) and np.abs(small.astype(int) - 127).max() < 4


def test_to_square_leaves_native_images_alone_and_takes_any_mode() -> None:
    pixels = noise(32, 32, 3)
    assert np.array_equal(prepare.to_square(Image.fromarray(pixels), 32), pixels)
    grey = noise(32, 32)
    assert np.array_equal(prepare.to_square(Image.fromarray(grey), 32), np.repeat(grey[..., None], 3, 2))
    deep = grey.astype(np.uint16) * 257
    assert np.array_equal(prepare.to_square(Image.fromarray(deep), 32)[..., 1], grey)
    assert prepare.to_square(Image.fromarray(noise(40, 32, 4), "RGBA"), 32).shape == (32, 32, 3)


def test_balanced_is_even_and_repeatable() -> None:
    labels = np.repeat([0, 1, 2, -1], [50, 5, 30, 40])
    chosen = prepare.balanced(labels, 45)
    assert len(set(chosen.tolist())) == 45 and np.array_equal(chosen, np.sort(chosen))
    assert np.bincount(labels[chosen] + 1, minlength=4).tolist() in ([14, 13, 5, 13], [13, 14, 5, 13], [13, 13, 5, 14])
    assert np.array_equal(chosen, prepare.balanced(labels, 45))
    assert len(prepare.balanced(labels, 1000)) == len(labels)


# --- official formats ------------------------------------------------------------------------------------------------


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
    (some,) = prepare.prepare("imagenet", tmp_path / "part", tmp_path / "in", report=quiet, limit=6)
    assert np.bincount(some.labels).tolist() == [2, 2, 2] and "6 of 12" in some.manifest["recipe"]
    assert {im.tobytes() for im in some.images} <= {im.tobytes() for im in stored.images}


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


def test_no_download_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="bench data prepare cifar10"):
        prepare.prepare("cifar10", tmp_path, download=False, report=quiet)
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


def test_builtin_sets_are_prepared_too(tmp_path: Path) -> None:
    (stored,) = prepare.prepare("synthetic-digits", tmp_path, report=quiet)
    assert stored.count == 400 and stored.manifest["official"]


# --- one's own images ------------------------------------------------------------------------------------------------


def npz(path: Path, n: int = 6, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    content = {"images": noise(n, 32, 32, 3), "labels": np.arange(n) % 3} | arrays
    np.savez(path, **content)  # type: ignore[arg-type]
    return content


def test_import_npz(tmp_path: Path) -> None:
    content = npz(tmp_path / "stl10-unlabeled-test.npz")
    npz(tmp_path / "cifar10-train.npz", 4)
    (tmp_path / "classes.json").write_text(json.dumps({"cifar10-train": ["a", "b", "c"]}))
    said: list[str] = []
    stored = prepare.import_dir(tmp_path, tmp_path / "data", report=said.append)
    assert [(s.name, s.split) for s in stored] == [("cifar10", "train"), ("stl10-unlabeled", "test")]
    assert np.array_equal(stored[1].images, content["images"]) and stored[1].labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert stored[0].manifest["classes"] == ["a", "b", "c"] and stored[1].manifest["classes"] is None
    assert stored[0].manifest["official"] is False and stored[0].manifest["recipe"].startswith("imported")
    assert any("4 images (official: 50000)" in line for line in said)
    only = prepare.import_dir(tmp_path, tmp_path / "other", names=["cifar10"], report=quiet)
    assert [s.name for s in only] == ["cifar10"]
    with pytest.raises(BenchError, match="cifar11"):
        prepare.import_dir(tmp_path, tmp_path / "other", names=["cifar11"], report=quiet)


def test_import_again_and_replace(tmp_path: Path) -> None:
    npz(tmp_path / "mine-test.npz")
    first = prepare.import_dir(tmp_path, tmp_path / "data", report=quiet)
    assert prepare.import_dir(tmp_path, tmp_path / "data", report=quiet)[0].fingerprint == first[0].fingerprint
    npz(tmp_path / "mine-test.npz", 5)
    with pytest.raises(BenchError, match="--replace"):
        prepare.import_dir(tmp_path, tmp_path / "data", report=quiet)
    assert images.load(tmp_path / "data", "mine", "test").count == 6
    assert prepare.import_dir(tmp_path, tmp_path / "data", replace=True, report=quiet)[0].count == 5


def object_array() -> np.ndarray:
    return np.array([{}] * 6, dtype=object)


BAD: dict[str, Callable[[Path], object]] = {
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
        prepare.import_dir(tmp_path, tmp_path / "data", report=quiet)
    assert str(file) in one_line(error) or "mine/test" in one_line(error)
    assert images.stored(tmp_path / "data") == []


def test_folder_level_mistakes(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such folder"):
        prepare.import_dir(tmp_path / "x", tmp_path / "data")
    with pytest.raises(BenchError, match="nothing to import"):
        prepare.import_dir(tmp_path, tmp_path / "data")
    npz(tmp_path / "mine.npz")
    with pytest.raises(BenchError, match=r"mine\.npz"):
        prepare.import_dir(tmp_path, tmp_path / "data")
    (tmp_path / "mine.npz").unlink()
    for name, text in (("synthetic-test", "built-in"), ("cifar10-aux", "no split 'aux'"), ("My Set-test", "My Set")):
        npz(tmp_path / f"{name}.npz")
        with pytest.raises(BenchError, match=text):
            prepare.import_dir(tmp_path, tmp_path / "data", report=quiet)
        (tmp_path / f"{name}.npz").unlink()
    npz(tmp_path / "mine-test.npz")
    for content in ("[1]", '{"a": 3}', '{"a": [1]}', "{"):
        (tmp_path / "classes.json").write_text(content)
        with pytest.raises(BenchError, match=r"classes\.json"):
            prepare.import_dir(tmp_path, tmp_path / "data", report=quiet)


def test_import_folders_of_images(tmp_path: Path) -> None:
    colour = save(tmp_path / "pets-train/dog/x.png", noise(50, 40, 3, seed=1))
    grey = save(tmp_path / "pets-train/cat/deep/er/y.JPG", noise(37, 64, seed=2))
    (tmp_path / "pets-train/cat/broken.png").write_bytes(b"not an image")
    half = (tmp_path / "pets-train/dog/x.png").read_bytes()
    (tmp_path / "pets-train/dog/half.png").write_bytes(half[: len(half) // 2])
    (tmp_path / "pets-train/cat/notes.txt").write_text("ignored")
    said: list[str] = []
    (stored,) = prepare.import_dir(tmp_path, tmp_path / "data", report=said.append)
    assert stored.manifest["classes"] == ["cat", "dog"] and stored.labels.tolist() == [0, 1]
    assert np.array_equal(stored.images, np.stack([reference(grey), reference(colour)]))
    text = "\n".join(said)
    assert "broken.png" in text and "half.png" in text and "2 unreadable files skipped" in text
    assert "notes.txt" not in text and stored.manifest["official"] is False


def test_import_flat_folder_at_another_size_and_by_exif(tmp_path: Path) -> None:
    pixels = np.kron(noise(6, 6, 3), np.ones((8, 8, 1), np.uint8))
    (tmp_path / "mine-aux").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 3  # the camera was upside down
    Image.fromarray(pixels).save(tmp_path / "mine-aux/a.png", exif=exif)
    (stored,) = prepare.import_dir(tmp_path, tmp_path / "data", size=48, report=quiet)
    assert (stored.name, stored.labels.tolist(), stored.manifest["size"]) == ("mine@48", [-1], 48)
    assert np.array_equal(stored.images[0], pixels[::-1, ::-1])


def test_image_folders_that_cannot_be_read_as_meant(tmp_path: Path) -> None:
    (tmp_path / "mine-test").mkdir()
    with pytest.raises(BenchError, match="no image files"):
        prepare.import_dir(tmp_path, tmp_path / "data", report=quiet)
    save(tmp_path / "mine-test/a.png", noise(32, 32, 3))
    save(tmp_path / "mine-test/dog/a.png", noise(32, 32, 3))
    with pytest.raises(BenchError, match="beside class folders"):
        prepare.import_dir(tmp_path, tmp_path / "data", report=quiet)
    (tmp_path / "mine-test/a.png").unlink()
    (tmp_path / "classes.json").write_text('{"mine-test": ["cat"]}')
    with pytest.raises(BenchError, match=r"classes\.json"):
        prepare.import_dir(tmp_path, tmp_path / "data", report=quiet)
    (tmp_path / "mine-test/dog/a.png").write_bytes(b"")
    (tmp_path / "classes.json").unlink()
    with pytest.raises(BenchError, match="no images"):
        prepare.import_dir(tmp_path, tmp_path / "data", report=quiet)


# --- what is there ---------------------------------------------------------------------------------------------------


def rows(root: Path) -> dict[tuple[str, str], dict[str, object]]:
    return {(row["name"], row["split"]): row for row in prepare.listing(root)}


def test_listing_shows_ready_missing_builtin_and_counts_beside_the_official_ones(tmp_path: Path) -> None:
    npz(tmp_path / "svhn-test.npz")
    npz(tmp_path / "mine-aux.npz")
    before = rows(tmp_path / "data")
    assert before["svhn", "test"]["state"] == "missing" and before["svhn", "test"]["count"] is None
    assert before["synthetic", "train"]["state"] == "built-in" and before["synthetic", "train"]["count"] == 2000
    prepare.import_dir(tmp_path, tmp_path / "data", report=quiet)
    after = rows(tmp_path / "data")
    svhn = after["svhn", "test"]
    assert (svhn["state"], svhn["count"], svhn["official_count"], svhn["official"]) == ("ready", 6, 26032, False)
    assert svhn["role"] == "ood" and svhn["path"] == str(tmp_path / "data/svhn/test")
    assert after["mine", "aux"]["state"] == "ready" and after["mine", "aux"]["role"] == "aux"
    assert after["cifar10", "train"]["role"] == "id" and after["cifar10", "test"]["role"] == "id/ood"
    assert set(after) - set(before) == {("mine", "aux")}
    (tmp_path / "data/svhn/test/manifest.json").write_text("{")
    assert rows(tmp_path / "data")["svhn", "test"]["state"] == "damaged"


def test_verify_finds_one_flipped_bit_a_missing_manifest_and_leftovers(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        npz(tmp_path / f"{name}-test.npz")
    data = tmp_path / "data"
    assert prepare.verify(data) == []
    prepare.import_dir(tmp_path, data, report=quiet)
    assert prepare.verify(data) == []
    content = bytearray((data / "one/test/images.npy").read_bytes())
    content[-1] ^= 1
    (data / "one/test/images.npy").write_bytes(content)
    np.save(data / "two/test/labels.npy", np.arange(6)[::-1].copy())
    (data / "three/test/manifest.json").unlink()
    (data / "three/.test.abcd.tmp").mkdir()
    problems = prepare.verify(data)
    assert len(problems) == 4 and all("\n" not in line for line in problems)
    for part in ("one/test", "two/test", "three/test", "three/.test.abcd.tmp"):
        assert any(part in line for line in problems), part


# --- real images -----------------------------------------------------------------------------------------------------


def test_real_images(tmp_path: Path) -> None:
    folder = os.environ.get("BENCH_TEST_IMAGES")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set BENCH_TEST_IMAGES to a folder of NAME-SPLIT.npz with real images to run this test")
    stored = prepare.import_dir(Path(folder), tmp_path, report=quiet)
    assert {f"{s.name}-{s.split}" for s in stored} == {file.stem for file in Path(folder).glob("*.npz")}
    for kept in stored:
        with np.load(Path(folder) / f"{kept.name}-{kept.split}.npz", allow_pickle=False) as archive:
            assert kept.count == len(archive["labels"]) > 0
            assert np.array_equal(kept.images, archive["images"]) and np.array_equal(kept.labels, archive["labels"])
    assert prepare.verify(tmp_path) == []
    assert all(row["official"] is False for row in prepare.listing(tmp_path) if row["state"] == "ready")
