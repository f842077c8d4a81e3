"""Classes of labelled sets as sets of their own: names, images, fingerprints, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from picture_files import noise, one_line, quiet, save

from benchmark.data import catalog, classes, images
from benchmark.data.images import ImageSet, write_set
from benchmark.data.importing import import_dir
from benchmark.data.inventory import listing, verify
from benchmark.data.subsets import limited
from benchmark.errors import BenchError

TITLES = ["Cat", "big cat", "Dog_2"]
LABELS = np.array([2, 0, 1, -1, 0, 2, 2, 0, 1, 0])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """pets: named classes, one image of none. plain: labels without names. bare: no labels."""
    for number, split in enumerate(("train", "test", "aux")):
        write_set(tmp_path, "pets", split, noise(10, 32, 32, 3, seed=number), LABELS, "noise", TITLES)
    write_set(tmp_path, "plain", "train", noise(10, 32, 32, 3, seed=4), np.where(LABELS == 1, 7, LABELS), "noise")
    write_set(tmp_path, "plain", "test", noise(10, 32, 32, 3, seed=5), np.minimum(LABELS, 0), "noise")
    write_set(tmp_path, "bare", "test", noise(4, 32, 32, 3, seed=6), np.full(4, -1), "noise")
    return tmp_path


def refused(root: Path, name: str, split: str = "train") -> str:
    """What both `load` and, where it can tell, `fingerprint` say."""
    with pytest.raises(BenchError) as caught:
        images.load(root, name, split)
    return one_line(caught)


# --- names -----------------------------------------------------------------------------------------------------------


def test_slugs() -> None:
    titles = {"aquarium_fish": "aquarium-fish", "American alligator": "american-alligator", "A (b) - c": "a-b-c"}
    assert {title: classes.slug(title) for title in titles} == titles


def test_the_catalogue_has_the_official_classes() -> None:
    assert [len(catalog.CLASSES[name]) for name in ("cifar10", "cifar100")] == [10, 100]
    assert catalog.CLASSES["cifar10"][1] == "automobile" and catalog.CLASSES["cifar10"][9] == "truck"
    fine = catalog.CLASSES["cifar100"]
    assert list(fine) == sorted(fine) and len(set(fine)) == 100  # the official order is the alphabet's
    assert [fine[k] for k in (0, 1, 41, 47, 99)] == ["apple", "aquarium_fish", "lawn_mower", "maple_tree", "worm"]


def test_the_official_classes_are_those_of_real_files(real_images: Path) -> None:
    there = json.loads((real_images / "classes.json").read_text())
    for name, titles in catalog.CLASSES.items():
        assert list(titles) == there[f"{name}-train"] == there[f"{name}-test"]


def test_classes_of_one_slug_or_none_go_by_number() -> None:
    assert classes.names_of(["a b", "A_B", "c", "!"], "x") == {"0": 0, "1": 1, "c": 2, "3": 3}
    with pytest.raises(BenchError) as caught:
        classes.names_of(["1", "a b", "a-b"], "image set x/test")
    said = one_line(caught)
    assert all(part in said for part in ("image set x/test", "'1'", "'a b'", "both be called"))


@pytest.mark.parametrize(
    ("name", "title", "counts"),
    [
        ("cifar10:automobile", "CIFAR10 automobile", {"train": 5000, "test": 1000}),
        ("cifar10:not-automobile", "CIFAR10 not automobile", {"train": 45000, "test": 9000}),
        ("cifar100@64:aquarium-fish", "CIFAR100 (64 px) aquarium fish", {"train": 500, "test": 100}),
        ("synthetic:fish", "Synthetic fish", {"train": 200, "test": 60}),
        ("pets:3", "pets 3", {}),
        ("svhn:3", "SVHN 3", {"test": None}),
    ],
)
def test_facts(name: str, title: str, counts: dict[str, int | None]) -> None:
    found = catalog.info(name)
    assert (found.name, found.title, found.counts) == (name, title, counts)
    parent = catalog.info(name.split(":")[0])
    assert found.how_to_get == parent.how_to_get and found.licence == parent.licence


def test_near() -> None:
    assert catalog.is_near("cifar10:automobile", "cifar10:not-automobile")
    assert catalog.is_near("cifar10:not-automobile", "cifar10@64:automobile")
    assert catalog.is_near("cifar10:automobile", "cifar100") and catalog.is_near("cifar10", "cifar100:apple")
    assert not catalog.is_near("cifar10:automobile", "svhn") and not catalog.is_near("pets:cat", "cifar10:cat")
    assert catalog.is_near("pets:cat", "pets:not-cat") and not catalog.is_near("pets", "pets")


# --- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("pets:cat", [1, 4, 7, 9]),
        ("pets:not-cat", [0, 2, 5, 6, 8]),  # image 3 is of no known class
        ("pets:dog-2", [0, 5, 6]),
        ("pets:not-big-cat", [0, 1, 4, 5, 6, 7, 9]),
        ("plain:7", [2, 8]),
        ("plain:not-7", [0, 1, 4, 5, 6, 7, 9]),
    ],
)
def test_a_class_is_its_rows_of_the_set(root: Path, name: str, rows: list[int]) -> None:
    before = sorted(root.rglob("*"))
    whole, part = images.load(root, name.split(":")[0], "train"), images.load(root, name, "train")
    assert (part.name, part.split, part.count) == (name, "train", len(rows))
    assert np.array_equal(part.images, whole.images[rows]) and part.labels.tolist() == whole.labels[rows].tolist()
    assert part.rows is not None and part.rows.tolist() == rows and not part.images.flags.writeable
    assert not isinstance(part.images, np.memmap) and isinstance(whole.images, np.memmap)
    manifest = images.read_manifest(root, name, "train")
    assert manifest is not None and manifest == part.manifest
    assert manifest["count"] == len(rows) and manifest["classes"] == whole.manifest["classes"]
    assert sorted(root.rglob("*")) == before  # nothing on disk


def test_the_fingerprint_needs_the_manifest_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["pets", "pets:cat", "pets:not-cat", "pets:big-cat", "pets:not-big-cat"]
    loaded = {(name, split): images.load(root, name, split).fingerprint for name in names for split in images.SPLITS}
    assert len(set(loaded.values())) == len(loaded) == 15
    monkeypatch.setattr(images, "_read_array", lambda path: pytest.fail(f"read {path}"))
    assert {key: images.fingerprint(root, *key) for key in loaded} == loaded
    assert images.fingerprint(root, "absent:cat", "train") is None
    assert images.read_manifest(root, "absent:cat", "train") is None


def test_the_fingerprint_never_changes(root: Path) -> None:
    """Names of runs hang on it."""
    import hashlib

    whole = images.fingerprint(root, "pets", "test")
    for name, text in (("pets:big-cat", "only label 1 of "), ("pets:not-big-cat", "all but label 1 of ")):
        assert images.fingerprint(root, name, "test") == hashlib.sha256(f"{text}{whole}".encode()).hexdigest()


def test_a_limit_takes_part_of_a_class(root: Path) -> None:
    part = images.load(root, "pets:not-cat", "train")
    rows = limited(part, 3)
    assert len(rows) == 3 and rows.max() < 5 and limited(part, 9).tolist() == [0, 1, 2, 3, 4]


def test_an_exact_class_wins_over_all_but_one(tmp_path: Path) -> None:
    labels = np.arange(9) % 3
    write_set(tmp_path, "odd", "test", noise(9, 32, 32, 3), labels, "noise", ["ripe", "not ripe", "rotten"])
    assert set(images.load(tmp_path, "odd:not-ripe", "test").labels) == {1}
    assert set(images.load(tmp_path, "odd:not-not-ripe", "test").labels) == {0, 2}
    assert set(images.load(tmp_path, "odd:not-rotten", "test").labels) == {0, 1}


def test_a_built_in_set_is_drawn_for_its_class(tmp_path: Path) -> None:
    sha = images.fingerprint(tmp_path, "synthetic-near:not-balloon", "test")
    names = images.class_names(tmp_path, "synthetic-near", "test")
    assert names is not None and len(names) == 8
    other = "balloon"
    part, rest = (images.load(tmp_path, f"synthetic-near:{of}", "test") for of in (other, f"not-{other}"))
    assert (part.count, rest.count) == (50, 350) and sha != part.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic-near"]


def test_class_folders_brought_by_the_user(tmp_path: Path) -> None:
    kept: dict[str, list[np.ndarray]] = {}
    for number, (folder, count) in enumerate((("Great_Dane", 3), ("whippet", 2), ("Été", 1))):
        for k in range(count):
            pixels = save(tmp_path / "in/dogs-test" / folder / f"{k}.png", noise(32, 32, 3, seed=10 * number + k))
            kept.setdefault(folder, []).append(pixels)
    root = tmp_path / "data"
    import_dir(tmp_path / "in", root, report=quiet)
    assert list(images.class_names(root, "dogs", "test") or ()) == ["great-dane", "whippet", "t"]
    dane, others = images.load(root, "dogs:great-dane", "test"), images.load(root, "dogs:not-great-dane", "test")
    assert np.array_equal(dane.images, np.stack(kept["Great_Dane"])) and others.count == 3
    assert images.file_names(dane, root) == [f"Great_Dane/{k}.png" for k in range(3)]
    assert images.file_names(others, root) == ["whippet/0.png", "whippet/1.png", "Été/0.png"]


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("pets:cow", ["unknown class of pets 'cow'", "allowed: big-cat, cat, dog-2"]),
        ("pets:not-dog-3", ["unknown class of pets 'dog-3'", "did you mean 'dog-2'"]),
        ("pets:Cat", ["'pets:Cat'", "is called pets:cat"]),
        ("pets:not-Dog_2", ["is called pets:not-dog-2"]),
        ("pets:2", ["is called pets:dog-2"]),
        ("pets:not-0", ["is called pets:not-cat"]),
        ("pets:*", ["in the in_dist of a grid alone"]),
        ("pets:cat@64", ["unknown class of pets 'cat@64'"]),
        ("pets:cat:dog", ["'pets:cat:dog'", "SET:CLASS"]),
        ("pets:", ["'pets:'", "SET:CLASS"]),
        (":cat", ["':cat'", "SET:CLASS"]),
        ("plain:1", ["unknown class of plain '1'", "allowed: 0, 2, 7"]),
        ("plain:07", ["is called plain:7"]),
        ("cifar10:cat", ["image set cifar10/train is not in", "bench data prepare cifar10`"]),
    ],
)
def test_names_that_are_no_class(root: Path, name: str, parts: list[str]) -> None:
    said = refused(root, name)
    assert all(part in said for part in parts), said


def test_a_set_without_labels_has_no_classes(root: Path) -> None:
    assert "bare/test: has no labels" in refused(root, "bare:0", "test")
    with pytest.raises(BenchError, match="has no labels"):
        images.fingerprint(root, "bare:0", "test")


def test_a_class_without_images_in_a_split(root: Path) -> None:
    assert refused(root, "plain:7", "test") == "image set plain:7/test: plain/test has no images of it"
    assert refused(root, "plain:not-0", "test") == "image set plain:not-0/test: plain/test has no images of it"
    with pytest.raises(BenchError, match="no images of it"):
        images.read_manifest(root, "plain:7", "test")
    assert images.load(root, "plain:not-7", "test").count == 9


def stored_cifar(root: Path, titles: list[str] | None, labels: np.ndarray) -> ImageSet:
    return write_set(root, "cifar10", "test", noise(len(labels), 32, 32, 3), labels, "noise", titles)


def test_other_classes_than_the_catalogues_are_refused(tmp_path: Path) -> None:
    official = list(catalog.CLASSES["cifar10"])
    stored_cifar(tmp_path / "same", [title.upper() for title in official], np.arange(20) % 10)
    assert images.load(tmp_path / "same", "cifar10:automobile", "test").labels.tolist() == [1, 1]
    for number, titles in enumerate((official[::-1], official[:3], ["a", *official[1:]])):
        stored_cifar(tmp_path / str(number), titles, np.arange(3))
        said = refused(tmp_path / str(number), "cifar10:automobile", "test")
        assert "image set cifar10/test: its stored classes" in said and "airplane, automobile, bird" in said


def test_the_catalogues_names_hold_for_labels_without_names(tmp_path: Path) -> None:
    stored_cifar(tmp_path / "a", None, np.arange(20) % 10)
    assert images.load(tmp_path / "a", "cifar10:truck", "test").labels.tolist() == [9, 9]
    assert "is called cifar10:truck" in refused(tmp_path / "a", "cifar10:9", "test")
    stored_cifar(tmp_path / "b", None, np.arange(20))  # twenty classes: not CIFAR10's
    assert images.load(tmp_path / "b", "cifar10:19", "test").count == 1


# --- sets held against each other ------------------------------------------------------------------------------------


NAMES = {"cat": 0, "big-cat": 1, "dog-2": 2}


@pytest.mark.parametrize(
    ("in_dist", "ood", "plain"),
    [
        ("pets:cat", "pets:cat", True),
        ("pets:cat", "pets", True),
        ("pets:cat", "pets@64", True),
        ("pets", "pets:cat", True),
        ("pets:cat", "pets:not-dog-2", False),
        ("pets:not-cat", "pets:dog-2", False),
        ("pets:not-cat", "pets@64:not-dog-2", False),
    ],
)
def test_shared_images_are_refused(in_dist: str, ood: str, plain: bool) -> None:
    """plain: seen without knowing the classes."""
    with pytest.raises(BenchError) as caught:
        classes.check_apart(in_dist, ["svhn", ood], NAMES)
    assert repr(ood) in one_line(caught) and repr(in_dist) in str(caught.value)
    if plain:
        with pytest.raises(BenchError):
            classes.check_apart(in_dist, [ood], None)
    else:
        classes.check_apart(in_dist, [ood], None)


def test_sets_without_shared_images_pass() -> None:
    for in_dist, oods in (
        ("pets:cat", ["pets:not-cat", "pets:dog-2", "pets@64:big-cat", "dogs", "dogs:cat"]),
        ("pets:not-cat", ["pets:cat", "svhn"]),
        ("pets", ["pets", "svhn"]),  # whole sets are the user's own concern
    ):
        classes.check_apart(in_dist, oods, NAMES, by_default=True)


def test_all_other_classes_by_default_are_all_of_them() -> None:
    names = {"ripe": 0, "not-ripe": 1, "rotten": 2}
    classes.check_apart("odd:ripe", ["odd:not-ripe"], names)
    with pytest.raises(BenchError, match="name the sets in eval"):
        classes.check_apart("odd:ripe", ["odd:not-ripe"], names, by_default=True)
    classes.check_apart("odd:ripe", ["odd:not-ripe"], {"ripe": 0, "not-ripe": 1}, by_default=True)


# --- listing ---------------------------------------------------------------------------------------------------------


def test_the_listing_counts_classes_and_verify_passes_them_by(root: Path) -> None:
    found = {(row["name"], row["split"]): row["classes"] for row in listing(root)}
    assert found["pets", "train"] == 3 and found["plain", "train"] == 3 and found["bare", "test"] is None
    assert found["cifar10", "train"] == 10 and found["cifar100", "test"] == 100 and found["synthetic", "train"] == 10
    assert found["svhn", "test"] is None and not any(":" in name for name, _ in found)
    assert verify(root) == []
