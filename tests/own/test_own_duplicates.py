"""Copies and near-duplicates, against pairwise loops and PIL's own changes of an image."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from own_pictures import pictures
from PIL import Image

from benchmark.own import duplicates


def jpeg(pixels: np.ndarray, quality: int = 60) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """The same in float64, block by block, colour by colour."""

    def blocks(image: np.ndarray) -> np.ndarray:
        step = len(image) // 8
        means = np.array(
            [
                [[image[y : y + step, x : x + step, c].astype(np.float64).mean() for c in range(3)]
                 for x in range(0, len(image), step)]
                for y in range(0, len(image), step)
            ]
        )  # fmt: skip
        for c in range(3):
            means[..., c] -= means[..., c].mean()
        return means.ravel()

    left, right = blocks(a), blocks(b)
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))


@pytest.mark.parametrize("size", [32, 48])
def test_signatures_give_the_correlation_of_block_means(size: int) -> None:
    images = pictures(6, size=size)
    products = duplicates.signatures(images, chunk=4) @ duplicates.signatures(images).T
    for i, j in itertools.product(range(6), repeat=2):
        assert products[i, j] == pytest.approx(correlation(images[i], images[j]), abs=1e-4)


def test_near_pairs_are_those_of_a_double_loop() -> None:
    images = pictures(12)
    images[7], images[9] = images[3][:, ::-1], jpeg(images[1])
    rows = duplicates.signatures(images)
    for same in (0.96, 0.3):
        wanted = [
            (i, j)
            for i, j in itertools.combinations(range(12), 2)
            if max(correlation(images[i], images[j]), correlation(images[i][:, ::-1], images[j])) >= same
        ]
        assert [tuple(pair) for pair in duplicates.near_pairs(rows, same=same)] == wanted
    found = [tuple(pair) for pair in duplicates.near_pairs(rows)]
    assert (3, 7) in found and (1, 9) in found
    across = {tuple(pair) for pair in duplicates.near_pairs(rows[:5], rows[5:], same=0.3)}
    assert across == {(i, j - 5) for i, j in wanted if i < 5 <= j}


def test_near_pairs_in_blocks_and_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.concatenate([pictures(20), pictures(20)])
    rows = duplicates.signatures(images)
    whole = duplicates.near_pairs(rows)
    monkeypatch.setattr(duplicates, "_blocks", lambda count, _: ((s, min(s + 7, count)) for s in range(0, count, 7)))
    told: list[tuple[int, int]] = []
    assert np.array_equal(duplicates.near_pairs(rows, tick=lambda done, total: told.append((done, total))), whole)
    assert told[0] == (0, 40) and told[-1] == (40, 40)
    assert [tuple(pair) for pair in whole] == [(i, i + 20) for i in range(20)]


@pytest.mark.parametrize("change", ["jpeg", "half", "brighter", "mirror", "noise"])
def test_real_near_duplicates_are_found_and_others_are_not(real_images: Path, change: str) -> None:
    images = np.load(real_images / "cifar10-train.npz")["images"][:200]

    def half(pixels: np.ndarray) -> np.ndarray:
        image = Image.fromarray(pixels)
        return np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC).resize((32, 32)))

    changed = {
        "jpeg": lambda p: jpeg(p, 50),
        "half": half,
        "brighter": lambda p: np.clip(p * 1.2 + 10, 0, 255).astype(np.uint8),
        "mirror": lambda p: p[:, ::-1],
        "noise": lambda p: np.clip(p + np.random.default_rng(0).normal(0, 10, p.shape), 0, 255).astype(np.uint8),
    }[change]
    pairs = duplicates.near_pairs(
        duplicates.signatures(images), duplicates.signatures(np.stack([changed(p) for p in images]))
    )
    assert len({i for i, j in pairs if i == j}) >= 0.95 * len(images)
    assert sum(i != j for i, j in pairs) <= 0.05 * len(images)


def test_flat_images_are_nobodys_likeness() -> None:
    flat = np.full((3, 32, 32, 3), 100, np.uint8) + np.arange(3, dtype=np.uint8)[:, None, None, None]
    assert not duplicates.signatures(flat).any()
    assert len(duplicates.near_pairs(duplicates.signatures(flat))) == 0


def test_one_colour_is_not_one_picture() -> None:
    """Slides of one stain differ in structure, not in colour."""
    structure = pictures(10, seed=1).astype(np.float64).mean(-1, keepdims=True) / 255
    stained = (structure * 60 + np.array([190, 60, 120])).clip(0, 255).astype(np.uint8)
    assert len(duplicates.near_pairs(duplicates.signatures(stained))) == 0


def test_clusters_follow_chains() -> None:
    found = duplicates.clusters(6, np.array([[0, 1], [1, 4], [2, 3]]))
    assert found[0] == found[1] == found[4] and found[2] == found[3]
    assert len(set(found.tolist())) == 3
    assert len(set(duplicates.clusters(3, np.empty((0, 2), np.int64)).tolist())) == 3


def test_first_of_copies() -> None:
    images = pictures(4)
    assert duplicates.first_of_copies(images[[0, 1, 0, 2, 1, 0]]).tolist() == [0, 1, 0, 3, 1, 0]


def test_split_keeps_clusters_whole_and_has_its_share() -> None:
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 300, 500)
    cluster[:90] = 1000  # larger than what the test side may have: goes to train
    for seed in range(5):
        train, test = duplicates.split(cluster, 0.1, seed)
        assert sorted([*train, *test]) == list(range(500))
        assert not set(cluster[train]) & set(cluster[test])
        assert len(test) == 50
        assert np.array_equal(test, duplicates.split(cluster, 0.1, seed)[1])
    assert not np.array_equal(test, duplicates.split(cluster, 0.1, 0)[1])


@pytest.mark.parametrize(("depth", "length"), [(2, 0.0), (4, 1.0)])
def test_flat_is_by_the_deviation_of_the_block_means(depth: int, length: float) -> None:
    """A chequered pattern of 8x8 blocks this far from the mean: that is its deviation; within the blocks noise is."""
    blocks = 128 + depth * (2 * (np.indices((8, 8)).sum(0) % 2) - 1)
    noise = np.tile([[40, -40], [-40, 40]], (16, 16))  # without a trace in the means
    image = (np.kron(blocks, np.ones((4, 4))) + noise)[None, :, :, None].repeat(3, 3).astype(np.uint8)
    assert np.linalg.norm(duplicates.signatures(image)) == pytest.approx(length, abs=1e-5)
