"""The catalogue against facts written down a second time here, and against torchvision's own check sums."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmark.data import catalog, synthetic
from benchmark.data.catalog import CATALOG, PAPER_OOD, info, is_near

OFFICIAL = {  # set, split -> images, as published
    ("cifar10", "train"): 50000, ("cifar10", "test"): 10000, ("cifar100", "train"): 50000, ("cifar100", "test"): 10000,
    ("svhn", "test"): 26032, ("stl10", "test"): 8000, ("places365", "test"): 36500, ("lsun", "test"): 10000,
    ("tinyimagenet", "test"): 10000, ("imagenet30", "test"): 3000, ("texture", "test"): 1880,
    ("imagenet", "aux"): 1281167, ("dti", "aux"): 300000,
}  # fmt: skip


def test_every_set_of_the_paper_with_its_official_counts() -> None:
    paper = {name for names in PAPER_OOD.values() for name in names} | {"cifar10", "cifar100", "imagenet", "dti"}
    assert {(name, split): n for name in paper for split, n in CATALOG[name].counts.items()} == OFFICIAL


def test_paper_ood_keeps_the_order_of_the_tables() -> None:
    assert PAPER_OOD["cifar10"] == (
        "cifar100", "svhn", "imagenet30", "tinyimagenet", "lsun", "stl10", "places365", "texture",
    )  # fmt: skip
    assert PAPER_OOD["cifar100"] == ("cifar10", *PAPER_OOD["cifar10"][1:])


def test_auxiliary_sets_are_never_ood_tests() -> None:
    for entry in CATALOG.values():
        assert not {"aux", "ood"} <= set(entry.roles)
        assert ("aux" in entry.roles) == ("aux" in entry.counts)
        assert ("id" in entry.roles) == ("train" in entry.counts)


def test_every_entry_says_what_a_user_needs_in_one_line() -> None:
    for name, entry in CATALOG.items():
        assert entry.name == name and entry.title and entry.recipe and entry.how_to_get
        assert "\n" not in entry.how_to_get
        assert (entry.source and entry.licence) or entry.stands_for
        assert entry.stands_for is None or entry.stands_for in CATALOG


def test_near_follows_stand_ins_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_near("cifar10", "cifar100") and is_near("cifar100", "cifar10") and is_near("synthetic", "synthetic-near")
    assert is_near("cifar10", "cifar100@64")
    assert not is_near("cifar10", "texture") and not is_near("cifar10", "lsunlike") and not is_near("cifar10", "mine")
    assert not is_near("synthetic", "cifar100")
    like = catalog.SetInfo("like", "Like", ("ood",), {"test": None}, stands_for="cifar100")
    monkeypatch.setitem(CATALOG, "like", like)
    assert is_near("cifar10", "like") and not is_near("cifar100", "like")


def test_stand_ins_stand_for_the_sets_whose_cells_they_are_printed_in() -> None:
    found = {name: entry.stands_for for name, entry in CATALOG.items() if entry.stands_for}
    assert found == {"lsunlike": "lsun", "stl10-unlabeled": "stl10", "imagenet1k": "imagenet"}
    assert all(set(CATALOG[name].roles) <= set(CATALOG[of].roles) for name, of in found.items())


def test_info_of_another_size_and_of_a_users_set() -> None:
    big = info("texture@256")
    assert (big.name, big.title) == ("texture@256", "Texture (256 px)")
    assert "256x256" in big.recipe and "texture@256" in big.how_to_get and "32x32" not in big.recipe
    mine = info("my-xrays")
    assert mine.title == "my-xrays" and not mine.builtin and "bench data import" in mine.how_to_get


def test_builtin_entries_agree_with_what_is_drawn() -> None:
    built_in = {name: dict(entry.counts) for name, entry in CATALOG.items() if entry.builtin}
    assert built_in == {name: counts for name, (counts, _) in synthetic._SETS.items()}


def test_imagenet30_has_thirty_classes_and_lsun_ten() -> None:
    assert len(catalog.IMAGENET30) == len(set(catalog.IMAGENET30.values())) == 30
    assert all(len(wnid) == 9 and wnid[0] == "n" for wnid in catalog.IMAGENET30)
    assert len(set(catalog.LSUN_SCENES)) == 10


def test_checksums_are_torchvisions() -> None:
    from torchvision import datasets

    known = {
        "cifar10": datasets.CIFAR10.tgz_md5, "cifar100": datasets.CIFAR100.tgz_md5, "stl10": datasets.STL10.tgz_md5,
        "svhn": datasets.SVHN.split_list["test"][2], "texture": datasets.DTD._MD5,
        # torchvision has no TinyImageNet; this is what Avalanche's loader checks.
        "tinyimagenet": "90528d7ca1a48142e341f4ef8d21d0de",
        "places365": datasets.Places365._IMAGES_META[("val", True)][1],
    }  # fmt: skip
    for name, md5 in known.items():
        assert list(CATALOG[name].checksum.values()) == [md5], name


def test_light_modules_import_no_torch() -> None:
    heavy = {"torch", "torchvision", "pandas", "sklearn", "scipy"}
    code = f"import sys, benchmark.data.prepare; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
