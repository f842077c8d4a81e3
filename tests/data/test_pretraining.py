"""Which classes of the sets are classes of ImageNet-1k: the table against timm's list of these, and counts."""

from __future__ import annotations

import pytest
from timm.data import ImageNetInfo

from benchmark.data import catalog
from benchmark.data.catalog import IMAGENET30
from benchmark.data.pretraining import overlap, seen_classes

NAMES = {
    synset: ImageNetInfo("imagenet-1k").label_name_to_description(synset) for synset in ImageNetInfo().label_names()
}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_table_has_every_class_in_label_order_and_synsets_of_the_1000(name: str) -> None:
    seen = seen_classes(name)
    assert tuple(seen) == catalog.CLASSES[name]
    assert len(NAMES) == 1000 and {synset for synsets in seen.values() for synset in synsets} <= NAMES.keys()


@pytest.mark.parametrize(
    ("name", "title", "known"),
    [
        ("cifar10", "airplane", "airliner"),
        ("cifar10", "frog", "tree frog"),
        ("cifar10", "truck", "fire engine"),
        ("cifar100", "bear", "American black bear"),
        ("cifar100", "tank", "tank, army tank"),
        ("cifar100", "lamp", "table lamp"),
    ],
)
def test_synsets_are_kinds_of_the_class(name: str, title: str, known: str) -> None:
    assert any(NAMES[synset].startswith(known) for synset in seen_classes(name)[title])


def test_a_class_whose_name_alone_is_in_imagenet_is_not_one_it_has_seen() -> None:
    """ImageNet's mouse is a computer's, its breastplate is no dish."""
    assert seen_classes("cifar100")["mouse"] == seen_classes("cifar100")["plate"] == ()
    assert len(seen_classes("cifar10")["dog"]) == 118 and seen_classes("cifar10")["deer"] == ()


def test_counts_of_sets() -> None:
    names = ("cifar10", "cifar100", "imagenet30", "tinyimagenet", "svhn", "my-photos")
    assert [overlap(name) for name in names] == [(9, 10), (70, 100), (30, 30), (200, 200), None, None]


def test_imagenet30_is_of_the_1000_classes() -> None:
    assert len(IMAGENET30.keys() & NAMES.keys()) == 30
